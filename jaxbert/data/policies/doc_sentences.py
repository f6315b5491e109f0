"""`doc_sentences`: RoBERTa's DOC-SENTENCES, [CLS] sentences of one document [SEP].

It differs from `full_sentences` in one point: the end of a document ends the row (Liu et al. 2019, arXiv:1907.11692,
section 4.2). The paper makes batches larger when rows are shorter. Here a batch has a fixed number of rows, and their
ends are padding.
"""

from __future__ import annotations

from jaxbert.data.draws import Draws
from jaxbert.data.policies.full_sentences import cut_sentences
from jaxbert.data.policies.segments import Policy, Segments, TokenShard


def cut_doc_sentences(shard: TokenShard, length: int, short_rows: float, draws: Draws) -> Segments:
    """Cuts one pass over `shard`. Nothing is drawn, and no row is short."""
    return cut_sentences(shard, length, width=1)


POLICY = Policy(cut_doc_sentences, arrangement="joined", segments=lambda length: 1, sentences=True, drawn=False)
