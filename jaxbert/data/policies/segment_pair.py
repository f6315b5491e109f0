"""`segment_pair`: BERT's rows for next sentence prediction, [CLS] A [SEP] B [SEP].

B is the text that follows A (label 0), or sentences of another document (label 1). The latter happens half the time,
and always when A is all that was gathered: google-research/bert create_pretraining_data.py, with the departures named
in `pairs`.
"""

from __future__ import annotations

from jaxbert.data.draws import Draws
from jaxbert.data.policies.pairs import cut_pairs
from jaxbert.data.policies.segments import Policy, Segments, TokenShard


def cut_segment_pairs(shard: TokenShard, length: int, short_rows: float, draws: Draws) -> Segments:
    """Cuts one pass over `shard`; see `cut_pairs`."""
    return cut_pairs(shard, length, short_rows, draws, elsewhere="half")


POLICY = Policy(
    cut_segment_pairs,
    arrangement="pair",
    segments=lambda length: 2,
    sentences=True,
    drawn=True,
    label="continuation",
)
