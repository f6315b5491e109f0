"""The CPU of this machine as a chip of the plan, with rates that small programs measure in about two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from jaxbert.core.chips import Chip, Power
from jaxbert.core.machine import memory_bytes
from jaxbert.plan.topologies import Topology

# The share of a CPU's memory that a run may plan with. Other programs and the operating system have the rest.
CPU_MEMORY = 0.5
_UNKNOWN_MEMORY = 8 * 2**30
# A desktop computer takes so much; a laptop less, a server more.
_POWER = Power(65, 15, 400, "assumed: a desktop computer; give --watts", 1.0, "no data centre")


def this_machine(seconds: float = 0.25) -> Topology:
    """Returns the topology "cpu": one device, whose rates are measured with jax on the CPU.

    Args:
      seconds: how long each of the six programs runs. The best of its runs counts.
    """
    return Topology(measured_cpu(seconds), (1,))


def measured_cpu(seconds: float = 0.25) -> Chip:
    """Measures the rates of this machine's CPU; see `this_machine`."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    device = jax.local_devices(backend="cpu")[0]

    def put(x: Any) -> Any:
        return jax.device_put(x, device)

    product = jax.jit(jnp.dot)
    flops = 0.0
    for m, k, n in ((1024, 1024, 1024), (512, 768, 3072), (4096, 768, 3072)):
        a, b = put(np.ones((m, k), np.float32)), put(np.ones((k, n), np.float32))
        flops = max(flops, 2 * m * k * n / _best(lambda a=a, b=b: product(a, b), seconds))  # type: ignore[misc]
    big = put(np.ones(1 << 25, np.float32))
    copied = jax.jit(lambda x: x + 1)
    bandwidth = 2 * big.nbytes / _best(lambda: copied(big), seconds)
    small, rounds = put(np.ones(1 << 15, np.float32)), 200

    def chain(x: Any) -> Any:
        for _ in range(rounds):
            x = x * 1.0001 + 0.5
        return x

    chained = jax.jit(chain)
    vector = 2 * rounds * small.size / _best(lambda: chained(small), seconds)
    table = put(np.ones((30592, 768), np.float32))
    ids = put(np.random.default_rng(0).integers(0, 30592, 4096))
    looked = jax.jit(lambda table, ids: table[ids])
    gather = 2 * 4096 * 768 * 4 / _best(lambda: looked(table, ids), seconds)
    return Chip(
        name="cpu",
        kind="cpu",
        flops=flops,
        float32_flops=flops,
        vector=vector,
        hbm=CPU_MEMORY * (memory_bytes() or _UNKNOWN_MEMORY),
        hbm_bandwidth=bandwidth,
        links=1,
        link_bandwidth=bandwidth,
        hop=0.0,
        network=1e9 / 8,
        chips_per_host=1,
        power=_POWER,
        gather=gather,
        measured=True,
    )


def _best(function: Callable[[], Any], seconds: float) -> float:
    """Returns the seconds of the fastest call. The first call, which compiles, does not count."""
    import jax

    jax.block_until_ready(function())
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - began)
    return min(times)
