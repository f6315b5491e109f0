"""Fixtures for all comparisons with a peer."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

# The rows and the run of tests/train, for what is trained here and opened there.
from tests.train.conftest import tiny, tiny_config, tiny_rows  # noqa: F401
