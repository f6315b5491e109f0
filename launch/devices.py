"""The variables by which a target tells each process of a run which devices it has. `jaxbert pretrain` checks them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from jaxbert.core.chips import GPU_POOL_FRACTION
from jaxbert.plan.topologies import Topology
from jaxbert.run.pool import OLD_POOL as OLD_POOL
from jaxbert.run.pool import POOL as POOL
from jaxbert.run.processes import DEVICES, PLATFORM

from . import machines


def of_host(place: Topology) -> int:
    """Returns the number of devices that jax makes of the chips of one machine."""
    return machines.chips_per_host(place) * place.chip.devices


def variables(platform: str, devices: int | None, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the variables of one process.

    Args:
      platform: "tpu", "gpu" or "cpu".
      devices: the number of devices of the process; None if the machine decides.
      environment: the environment that the process inherits. A share of the GPU's memory in it stays as it is.
    """
    environment = os.environ if environment is None else environment
    found = {PLATFORM: platform}
    if devices is not None:
        found[DEVICES] = str(devices)
    if platform == "gpu" and not {POOL, OLD_POOL} & set(environment):
        found[POOL] = str(GPU_POOL_FRACTION)
    return found
