"""The variables of the processes of a run: those by which a target says which devices each has, and the user's.

`jaxbert pretrain` checks the first ones.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from collections.abc import Mapping

from jaxbert.core.chips import GPU_POOL_FRACTION
from jaxbert.errors import InputError
from jaxbert.plan.topologies import Topology
from jaxbert.run.pool import OLD_POOL as OLD_POOL
from jaxbert.run.pool import POOL as POOL
from jaxbert.run.processes import COORDINATOR, DEVICES, LOCAL_ID, PLATFORM, PROCESS_ID, PROCESSES, SUPERVISED

from . import machines
from .job import Request

# The variables of one process or one job. No other process or job must have them. jax itself reads those of JAX_.
OF_PROCESS = (
    *(COORDINATOR, DEVICES, LOCAL_ID, PLATFORM, PROCESS_ID, PROCESSES, SUPERVISED),
    *("JAXBERT_CODE_SHA256", "JAXBERT_JOB", "JAXBERT_JOB_INDEX", "JAXBERT_PODS", "JAXBERT_PROFILE"),
    *("JAX_COORDINATOR_ADDRESS", "JAX_COORDINATOR_BIND_ADDRESS", "JAX_COORDINATOR_PORT", "JAX_LOCAL_DEVICE_IDS"),
    *("JAX_NUM_PROCESSES", "JAX_PARTITION_INDEX", "JAX_PROCESS_ID", "JAX_SLICE_INDEX"),
)
# The variables that the launcher, its scripts and the engines set.
ENGINES = ("MEGASCALE_", "SKYPILOT_", "SLURM_")
OWN = ("PYTHONPATH",)


def add_env(parser: ArgumentParser) -> None:
    """Adds --env."""
    parser.add_argument(
        "--env",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="set an environment variable of the run; for a secret use --secret",
    )


def of_user(request: Request) -> dict[str, str]:
    """Returns the variables of --env.

    Raises:
      InputError: the launcher or the engine sets one of them, a secret has its name, or it has two values.
    """
    given: dict[str, str] = {}
    for word in request.options.env:
        name, _, value = word.partition("=")
        if given.setdefault(name, value) != value:
            raise InputError(
                f"the variable has two values, {given[name]!r} and {value!r}",
                where=f"--env {name}",
                fix="Give one of them.",
                code="E-LAUNCH-OPTIONS",
            )
        if name in request.secrets or name in (*OF_PROCESS, *OWN) or name.startswith(ENGINES):
            raise InputError(
                "a secret has the same name" if name in request.secrets else "the launcher sets this variable",
                where=f"--env {name}",
                fix="Remove it.",
                code="E-LAUNCH-OPTIONS",
            )
    return given


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
