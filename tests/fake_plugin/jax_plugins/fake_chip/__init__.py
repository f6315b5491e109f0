"""A plugin of jax for tests: the platform `fake`, with as many devices as FAKE_CHIPS says. They are devices of the CPU.

jax finds it where the folder above `jax_plugins` is on PYTHONPATH.
"""

from __future__ import annotations

import os
from typing import Any


def initialize() -> None:
    """Tells jax about the platform. jax calls this function."""
    from jax._src import xla_bridge

    xla_bridge.register_backend_factory("fake", _client, priority=400, fail_quietly=False)


def _client() -> Any:
    from jax._src import distributed
    from jax._src.lib import xla_client

    if os.environ["FAKE_CHIPS"] == "none":
        raise RuntimeError("the fake library does not load")
    joined = distributed.global_state
    return xla_client.make_cpu_client(
        distributed_client=joined.client,
        node_id=joined.process_id,
        num_nodes=joined.num_processes,
        num_devices=int(os.environ["FAKE_CHIPS"]),
    )
