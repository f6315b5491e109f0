"""`ordered_pair_mixed`: ALBERT's rows as google-research/albert create_pretraining_data.py makes them.

As `ordered_pair`, but where a single sentence was gathered, B is from another document and the label 1: its condition
for a random B has `len(current_chunk) == 1` in front of `FLAGS.random_next_sentence`. The classifier is then asked two
questions at once; released ALBERTs have learned from such rows. All other rows have label 0, and the training step
swaps their A and B. The departures are those named in `pairs`.
"""

from __future__ import annotations

from jaxbert.data.draws import Draws
from jaxbert.data.policies.pairs import cut_pairs
from jaxbert.data.policies.segments import Policy, Segments, TokenShard


def cut_mixed_pairs(shard: TokenShard, length: int, short_rows: float, draws: Draws) -> Segments:
    """One pass over `shard`; see `cut_pairs`."""
    return cut_pairs(shard, length, short_rows, draws, elsewhere="alone")


POLICY = Policy(cut_mixed_pairs, layout="pair", segments=lambda length: 2, sentences=True, drawn=True, label="order")
