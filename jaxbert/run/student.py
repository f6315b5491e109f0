"""The parameters with which a distilled student starts."""

from __future__ import annotations

import logging
from typing import Any

import jax
import numpy as np

from jaxbert.config import RunConfig
from jaxbert.run.teacher import student_start
from jaxbert.use.library import Loaded

_log = logging.getLogger(__name__)


def started_by(teacher: Loaded, config: RunConfig, state: Any) -> Any:
    """Returns the fresh `state` with the student's parameters from the teacher's, where the config names its layers."""
    distillation = config.objectives.distillation
    assert distillation is not None
    if not distillation.layers:
        _log.info("the student starts at random (objectives.distillation.layers is empty)")
        return state
    params = state["params"]
    started = student_start(distillation, teacher, params)
    placed = jax.tree.map(
        lambda value, like: value if value is like else jax.device_put(np.asarray(value, np.float32), like.sharding),
        started,
        params,
    )
    _log.info(f"the student starts from the teacher's layers {' '.join(map(str, distillation.layers))}")
    return {**state, "params": placed}
