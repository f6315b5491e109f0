"""Deterministic kernels on a GPU: `numerics.deterministic`. Imports no jax.

The command line and `jaxbert.run.pretrain.pretrain` ask for them here. `jaxbert.training.step.build` alone touches no
state of the process: a loop that calls it without a run sets XLA's flag itself, and `build` logs a warning for a mesh
of GPUs whose process lacks the flag.

XLA reads its flags once, when jax makes its first backend. A run asks for the flag before that. Backends other than GPU
are deterministic without it and ignore it.
"""

from __future__ import annotations

import os

from jaxbert.config import RunConfig
from jaxbert.core.machine import DETERMINISTIC_OPS, backend
from jaxbert.errors import InputError

_FLAG = DETERMINISTIC_OPS
# What a run adds to XLA_FLAGS, so that a later run in the same process can tell it from the user's own flags.
_OURS = f"{_FLAG}=true"
_asked = False


def ask_for_deterministic_kernels(config: RunConfig) -> None:
    """Sets XLA's flag where the config wants deterministic kernels, unless the user has set it.

    Where the config does not want them, it takes back the flag of an earlier run in this process, unless a GPU is in
    use with it already.

    Raises:
      InputError: jax has made its backend on a GPU already, without the flag. Then the kernels would not be
        deterministic, and the run would not keep what its config promises.
    """
    global _asked
    if not config.numerics.deterministic:
        if _asked and backend() != "gpu":
            _take_back()
            _asked = False
        return
    flags = os.environ.get("XLA_FLAGS", "")
    if _FLAG in flags:
        return
    if backend() == "gpu":
        raise InputError(
            "numerics.deterministic needs an XLA flag that must be set before jax finds its devices",
            where=f"config {config.name}",
            fix=f"Set XLA_FLAGS={_FLAG}=true before the first use of jax, or set numerics.deterministic=false.",
            code="E-RUN-DETERMINISTIC",
        )
    os.environ["XLA_FLAGS"] = f"{flags} {_OURS}".strip()
    _asked = True


def _take_back() -> None:
    rest = os.environ.get("XLA_FLAGS", "").replace(_OURS, "").strip()
    if rest:
        os.environ["XLA_FLAGS"] = rest
    else:
        os.environ.pop("XLA_FLAGS", None)
