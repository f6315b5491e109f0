"""`ordered_pair`: ALBERT's rows for sentence order prediction, [CLS] A [SEP] B [SEP], as its paper describes them.

B is always the text that follows A (label 0): Lan et al. 2020 (arXiv:1909.11942), section 3.1. If a single sentence was
gathered, because it fills the row or is the last of its document, there is no B: [CLS] A [SEP], label -1. The training
step decides at each visit whether A and B change places; google-research/albert create_pretraining_data.py fixes it in
the data. `ordered_pair_mixed` treats single sentences as that program does. Gathering, target lengths and truncation
are those of `pairs`.
"""

from __future__ import annotations

from jaxbert.data.draws import Draws
from jaxbert.data.policies.pairs import cut_pairs
from jaxbert.data.policies.segments import Policy, Segments, TokenShard


def cut_ordered_pairs(shard: TokenShard, length: int, short_rows: float, draws: Draws) -> Segments:
    """Cuts one pass over `shard`; see `cut_pairs`."""
    return cut_pairs(shard, length, short_rows, draws, elsewhere="never")


POLICY = Policy(
    cut_ordered_pairs,
    arrangement="pair",
    segments=lambda length: 2,
    sentences=True,
    drawn=True,
    label="order",
)
