"""Refuses sizes that no memory here can hold, before anything is made: a slip in a number must not end in a kill."""

from __future__ import annotations

import jax

from jaxbert.config import RunConfig
from jaxbert.core.machine import memory_bytes
from jaxbert.core.shapes import shapes_of
from jaxbert.errors import InputError
from jaxbert.models.model import count_parameters
from jaxbert.tasks import make_task

# Each parameter is float32, and has two moments of the optimizer and a gradient of the same size.
_PARAMETER_BYTES = 16
# A token of a batch is int32.
_TOKEN_BYTES = 4


def parameters_of(config: RunConfig) -> int:
    """Returns the number of parameters that a run trains, without making them."""
    return count_parameters(shapes_of(make_task(config, config.phases[0]).parts.init))


def check_memory(config: RunConfig) -> None:
    """Compares lower bounds of the memory that a run needs with the memory of all its devices and machines.

    The bounds leave out activations, so that a run which passes may still be too large. `jaxbert plan` estimates all.

    Raises:
      InputError: the parameters with the optimizer's state, or a batch, are larger than all memory.
    """
    here = memory_bytes()
    if here is None:
        return
    machines = here * jax.process_count()
    devices = _device_bytes() or machines
    parameters = parameters_of(config)
    what = f"{parameters:,} parameters and the state of their optimizer"
    _compare(config.name, what, parameters * _PARAMETER_BYTES, devices)
    for phase in config.phases:
        size = phase.batch_size * phase.length * _TOKEN_BYTES
        what = f"a batch of {phase.batch_size:,} rows of {phase.length} tokens"
        _compare(config.name, what, size, machines)


def _compare(name: str, what: str, needed: int, there: int) -> None:
    if needed > there:
        raise InputError(
            f"{what}: at least {needed / 2**30:,.1f} GiB are needed, but there are {there / 2**30:,.1f} GiB",
            where=f"config {name}",
            fix="Take smaller sizes, or more devices: `jaxbert plan` shows what a run needs.",
            code="E-RUN-MEMORY",
        )


def _device_bytes() -> int | None:
    """Returns the bytes of memory of all devices of the run; None where they share the memory of the machines."""
    sizes = [(device.memory_stats() or {}).get("bytes_limit") for device in jax.local_devices()]
    known = [size for size in sizes if size is not None]
    return sum(known) * jax.process_count() if len(known) == len(sizes) else None
