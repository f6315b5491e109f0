"""What every comparison with a peer shares."""

from __future__ import annotations

import os

# Formulas are judged here, not programs: compiling them without optimisation takes half the time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

# The rows and the run of tests/train, for what is trained here and opened there.
from tests.train.conftest import tiny, tiny_config, tiny_rows  # noqa: F401
