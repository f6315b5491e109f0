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
# XLA_FLAGS before and after a run added the flag, so that a later run in the same process can take it back.
_added: tuple[str | None, str] | None = None


def ask_for_deterministic_kernels(config: RunConfig) -> None:
    """Sets XLA's flag where the config wants deterministic kernels, unless the user has set it.

    Where the config does not want them, it takes back the flag of an earlier run in this process, unless a GPU is in
    use with it already.

    Raises:
      InputError: jax has made its backend on a GPU already, without the flag. Then the kernels would not be
        deterministic, and the run would not keep what its config promises.
    """
    global _added
    if not config.numerics.deterministic:
        if _added is not None and os.environ.get("XLA_FLAGS") == _added[1] and backend() != "gpu":
            os.environ.pop("XLA_FLAGS")
            if _added[0] is not None:
                os.environ["XLA_FLAGS"] = _added[0]
            _added = None
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
    _added = os.environ.get("XLA_FLAGS"), f"{flags} {_FLAG}=true".strip()
    os.environ["XLA_FLAGS"] = _added[1]
