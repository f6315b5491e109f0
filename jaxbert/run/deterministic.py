"""Deterministic kernels on a GPU: `numerics.deterministic`. Imports no jax.

XLA reads its flags once, when jax makes its first backend. A run asks for the flag before that. Backends other than GPU
are deterministic without it and ignore it.
"""

from __future__ import annotations

import os
import sys

from jaxbert.config import RunConfig
from jaxbert.errors import InputError

_FLAG = "--xla_gpu_deterministic_ops"


def ask_for_deterministic_kernels(config: RunConfig) -> None:
    """Sets XLA's flag where the config wants deterministic kernels, unless the user has set it.

    Raises:
      InputError: jax has made its backend on a GPU already, without the flag. Then the kernels would not be
        deterministic, and the run would not keep what its config promises.
    """
    if not config.numerics.deterministic:
        return
    flags = os.environ.get("XLA_FLAGS", "")
    if _FLAG in flags:
        return
    if _backend() == "gpu":
        raise InputError(
            "numerics.deterministic needs an XLA flag that must be set before jax finds its devices",
            where=f"config {config.name}",
            fix=f"Set XLA_FLAGS={_FLAG}=true before the first use of jax, or set numerics.deterministic=false.",
            code="E-RUN-DETERMINISTIC",
        )
    os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}=true".strip()


def _backend() -> str | None:
    """Returns the platform of the backend that jax has made; None where it has made none yet."""
    if "jax" not in sys.modules:
        return None
    from jax._src import xla_bridge  # jax has no public name for this question.

    if not xla_bridge.backends_are_initialized():
        return None
    import jax

    return jax.default_backend()
