"""`ordered_pair_mixed`: ALBERT's rows as google-research/albert create_pretraining_data.py makes them.

It differs from `ordered_pair` if a single sentence was gathered: B then comes from another document and the label is 1,
because that program's condition for a random B has `len(current_chunk) == 1` before `FLAGS.random_next_sentence`. So
the classifier learns two questions at once; the released ALBERTs have learned from such rows. All other rows have label
0, and the training step swaps their A and B. `pairs` names the departures.
"""

from __future__ import annotations

from jaxbert.data.draws import Draws
from jaxbert.data.policies.pairs import cut_pairs
from jaxbert.data.policies.segments import Policy, Segments, TokenShard


def cut_mixed_pairs(shard: TokenShard, length: int, short_rows: float, draws: Draws) -> Segments:
    """Cuts one pass over `shard`; see `cut_pairs`."""
    return cut_pairs(shard, length, short_rows, draws, elsewhere="alone")


POLICY = Policy(
    cut_mixed_pairs,
    arrangement="pair",
    segments=lambda length: 2,
    sentences=True,
    drawn=True,
    label="order",
)
