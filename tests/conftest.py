"""What every test shares: JAX on the CPU, whatever the machine has. Set before anything imports jax."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests run side by side on few cores; a terminal bar would tear their output.
os.environ.setdefault("TERM", "dumb")
# Compiling is most of what tests cost, and takes half the time without optimisation. It changes last bits at most:
# where bits count, both runs are compiled alike. The quickstart, in `.ci/run`, is compiled as users have it.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
# The same small programs are compiled again and again, also in processes that tests start and kill.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
