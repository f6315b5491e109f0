"""One process of a run over several: prints what it holds of the global batches, as JSON. Run by test_processes.py.

Arguments: rows directory, port, number of processes, number of this one.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import jax
import numpy as np

from jaxbert.config import MeshConfig
from jaxbert.core.sharding import global_batch, make_mesh
from jaxbert.data.pipeline import Batches, Rows
from jaxbert.tasks.base import batch_fields

BATCH, STEPS, DEVICES = 16, 5, 4


def main(directory: str, port: str, processes: int, process: int) -> None:
    jax.config.update("jax_num_cpu_devices", DEVICES // processes)
    if processes > 1:
        jax.distributed.initialize(f"localhost:{port}", processes, process)
    mesh = make_mesh(MeshConfig(data=2, fsdp=2))
    rows = Rows(Path(directory), "train")
    batches = Batches([(rows, 2.0), (rows, 1.0)], batch_size=BATCH, seed=3, window=2)
    held: dict[str, str] = {}
    asked: list[tuple[int, int]] = []
    for step in range(STEPS):

        def read(lo: int, hi: int, step: int = step) -> dict[str, np.ndarray]:
            asked.append((lo, hi))
            return batches.read(step, lo, hi)

        batch = global_batch(mesh, read, BATCH, batch_fields(rows.length))
        for name, array in batch.items():
            for shard in array.addressable_shards:
                lo, hi, _ = shard.index[0].indices(BATCH)
                data = np.ascontiguousarray(np.asarray(shard.data))
                held[f"{step} {name} {lo}:{hi}"] = hashlib.sha256(data.tobytes()).hexdigest()
    print("HELD " + json.dumps({"held": held, "rows_read": sum(hi - lo for lo, hi in asked)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
