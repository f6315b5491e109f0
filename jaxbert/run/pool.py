"""The share of a GPU's memory that jax takes for its arrays. Imports no jax.

`jaxbert plan` counts `GPU_POOL_FRACTION` of a card. jax by itself takes 75%, so that a run that fits by the plan would
end for want of memory. A run sets the share itself, before jax makes its backend: then a run that is typed by hand gets
the same memory as one that a launcher starts, and nobody must export a variable. Where other programs hold a part of
the card, XLA's allocator asks for less until it gets it.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from jaxbert.core.chips import GPU_POOL_FRACTION
from jaxbert.core.machine import backend

# The variable that jax reads when it makes its backend, and its old name. jax refuses to start where both are set
# (jaxlib/xla_client.py of jaxlib 0.10).
POOL, OLD_POOL = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"


def ask_for_gpu_memory(environment: MutableMapping[str, str] | None = None) -> None:
    """Sets the share of a GPU's memory that jax takes, unless the user has set one or jax has its backend already.

    Args:
      environment: the environment of this process.
    """
    environment = os.environ if environment is None else environment
    if backend() is None and not environment.get(POOL) and not environment.get(OLD_POOL):
        environment[POOL] = str(GPU_POOL_FRACTION)
