"""What runs of several devices share: a process of its own with eight fake ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import fake_devices


@pytest.fixture(scope="session")
def on_eight_devices() -> Callable[[str], Any]:
    """Runs a program of this folder and gives the JSON that it prints last."""

    def run(program: str) -> Any:
        environment = os.environ | fake_devices.environment()
        path = Path(__file__).parent / program
        done = subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, timeout=580)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
