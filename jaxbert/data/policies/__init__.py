"""Rows policies, one file each: a new one is a file here and a line in `POLICIES`."""

from __future__ import annotations

from jaxbert.data.policies import (
    doc_sentences,
    full_sentences,
    ordered_pair,
    ordered_pair_mixed,
    packed,
    segment_pair,
    single_document,
)
from jaxbert.data.policies.segments import Arrangement, Policy, Segments, TokenShard

POLICIES: dict[str, Policy] = {
    "segment_pair": segment_pair.POLICY,
    "ordered_pair": ordered_pair.POLICY,
    "ordered_pair_mixed": ordered_pair_mixed.POLICY,
    "full_sentences": full_sentences.POLICY,
    "doc_sentences": doc_sentences.POLICY,
    "single_document": single_document.POLICY,
    "packed": packed.POLICY,
}

__all__ = ["POLICIES", "Arrangement", "Policy", "Segments", "TokenShard"]
