"""Eight fake devices in this process: set before anything imports jax."""

from __future__ import annotations

import os

from tests import fake_devices

os.environ.update(fake_devices.environment())
