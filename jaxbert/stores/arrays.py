"""Reads the parameters of a checkpoint as arrays of numpy, without jax and without a device.

A page about a run shows a model while another process may hold the accelerator, so it must not start jax. Orbax writes
each array as one zarr in a database of the directory STEP/params. Its name is the path of the parameter, with points.
`jaxbert.stores.checkpoint` restores whole states, on any mesh.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.stores.s3 import kvstore
from jaxbert.stores.schemes import scheme_of
from jaxbert.stores.steps import check_whole, checkpoints_place
from jaxbert.stores.storage import is_remote

# The file that describes an array, by the version of zarr.
_DRIVERS = {"/zarr.json": "zarr3", "/.zarray": "zarr"}


def read_params(workdir: Path, step: int) -> dict[str, Any]:
    """Verifies a committed step and returns its parameters, a nested dict of arrays.

    Raises:
      Stopped: the checkpoint is damaged.
    """
    import tensorstore

    check_whole(workdir, step)
    place = checkpoints_place(workdir)
    params = f"{place if is_remote(place) else f'file://{os.path.realpath(place)}'}/{step}/params/"
    store = {"driver": "ocdbt", "base": kvstore(params) if scheme_of(params) == "s3" else params}
    names = [name.decode() for name in tensorstore.KvStore.open(store).result().list().result()]
    opened = {
        name.removesuffix(ending): tensorstore.open(
            {"driver": driver, "kvstore": {**store, "path": name.removesuffix(ending) + "/"}}, read=True
        )
        for name in names
        for ending, driver in _DRIVERS.items()
        if name.endswith(ending)
    }
    reading = {name: array.result().read() for name, array in opened.items()}
    found: dict[str, Any] = {}
    for name, read in reading.items():
        *inner, last = name.split(".")
        there = found
        for key in inner:
            there = there.setdefault(key, {})
        there[last] = np.asarray(read.result())
    return found
