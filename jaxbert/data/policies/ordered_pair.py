"""`ordered_pair`: ALBERT's rows for sentence order prediction, [CLS] A [SEP] B [SEP], as its paper describes them.

B always is what follows A (label 0): Lan et al. 2020 (arXiv:1909.11942), section 3.1. Where a single sentence was
gathered, because it fills the row or is all that is left of its document, there is no B: [CLS] A [SEP], label -1.
Whether A and B change places is not decided here: the training step draws it anew at each visit, where
google-research/albert create_pretraining_data.py fixes it in the data. What that program does with single sentences is
`ordered_pair_mixed`. Gathering, target lengths and truncation are those of `pairs`.
"""

from __future__ import annotations

from jaxbert.data.draws import Draws
from jaxbert.data.policies.pairs import cut_pairs
from jaxbert.data.policies.segments import Policy, Segments, TokenShard


def cut_ordered_pairs(shard: TokenShard, length: int, short_rows: float, draws: Draws) -> Segments:
    """One pass over `shard`; see `cut_pairs`."""
    return cut_pairs(shard, length, short_rows, draws, elsewhere="never")


POLICY = Policy(cut_ordered_pairs, layout="pair", segments=lambda length: 2, sentences=True, drawn=True, label="order")
