"""The definition of MFU. `step_flops` counts the FLOPs of a training step."""

from __future__ import annotations

from jaxbert.models.flops import step_flops

__all__ = ["MFU_FORMULA", "step_flops"]

MFU_FORMULA = (
    "analytic FLOPs x real tokens / padded tokens / (seconds x peak), backward = 2 x forward, no recomputation"
)
