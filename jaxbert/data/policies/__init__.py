"""Rows policies, one file each: a new one is a file here and a line in `POLICIES`."""

from __future__ import annotations

from jaxbert.data.policies.segment_pair import cut_segment_pairs
from jaxbert.data.policies.segments import Policy, Segments, TokenShard

POLICIES: dict[str, Policy] = {
    "segment_pair": Policy(segments=2, sentences=True, cut=cut_segment_pairs),
}

__all__ = ["POLICIES", "Policy", "Segments", "TokenShard"]
