"""Rows policies, one file each. To add one: a file here that defines `POLICY`, and a line in `POLICIES`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxbert.core.tables import Table

if TYPE_CHECKING:
    from jaxbert.data.policies.segments import Policy

# By the name that `--policy` and `data.policy` give.
POLICIES: Table[Policy] = Table(
    "POLICY",
    {
        "segment_pair": "jaxbert.data.policies.segment_pair",
        "ordered_pair": "jaxbert.data.policies.ordered_pair",
        "ordered_pair_mixed": "jaxbert.data.policies.ordered_pair_mixed",
        "full_sentences": "jaxbert.data.policies.full_sentences",
        "doc_sentences": "jaxbert.data.policies.doc_sentences",
        "single_document": "jaxbert.data.policies.single_document",
        "packed": "jaxbert.data.policies.packed",
    },
)

__all__ = ["POLICIES"]
