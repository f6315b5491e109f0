"""`doc_sentences`: RoBERTa's DOC-SENTENCES, [CLS] sentences of one document [SEP].

As `full_sentences`, but a document's end ends the row (Liu et al. 2019, arXiv:1907.11692, section 4.2). The paper makes
batches larger where rows are shorter; here a batch has a fixed number of rows, and their ends are padding.
"""

from __future__ import annotations

from jaxbert.data.draws import Draws
from jaxbert.data.policies.full_sentences import cut_sentences
from jaxbert.data.policies.segments import Policy, Segments, TokenShard


def cut_doc_sentences(shard: TokenShard, length: int, short_rows: float, draws: Draws) -> Segments:
    """One pass over `shard`; nothing is drawn, no row is short."""
    return cut_sentences(shard, length, width=1)


POLICY = Policy(cut_doc_sentences, arrangement="joined", segments=lambda length: 1, sentences=True, drawn=False)
