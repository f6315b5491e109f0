"""`full_sentences`: RoBERTa's FULL-SENTENCES, [CLS] end of document 1 [SEP] start of document 2 [SEP].

Whole sentences in the order of the text, as many as fit into L, across the ends of documents, with one more separator
between documents (Liu et al. 2019, arXiv:1907.11692, section 4.2). One attention group, token type 0.

Against fairseq (break mode `complete` of token_block_utils_fast.pyx):
  - Where a sentence is longer than a row, fairseq makes one oversized block of it. Here rows have one length, so it
    begins a row and is cut into pieces that fill rows; its last piece is followed by what follows the sentence. Nothing
    is lost; such sentences are counted as oversized, the cuts as cut.
  - fairseq ends every line of its files with a separator, here one stands between documents only, as the paper says.
  - A row has at most `most_segments(L)` documents; the next one begins the next row.
  - Rows do not cross the ends of records shards, so that memory is bounded by a shard.
"""

from __future__ import annotations

from jaxbert.data.draws import Draws
from jaxbert.data.policies.segments import Policy, Segments, TokenShard, most_segments, unpaired
from jaxbert.data.policies.whole_sentences import SPECIALS, divided, documents_of, gather


def cut_sentences(shard: TokenShard, length: int, width: int) -> Segments:
    """One pass over `shard` with at most `width` documents a row; nothing is drawn.

    Args:
      shard: documents with sentence boundaries.
      length: L, at least 3.
      width: K.
    """
    room = length - SPECIALS
    sentences, documents = divided(shard, room)
    pieces, rows = gather(sentences, documents_of(documents), room, width)
    oversized = int((shard.sentences[1:] - shard.sentences[:-1] > room).sum())
    return unpaired(pieces, rows, width, oversized=oversized, cut=len(sentences) - len(shard.sentences))


def cut_full_sentences(shard: TokenShard, length: int, short_rows: float, draws: Draws) -> Segments:
    """One pass over `shard`; nothing is drawn, no row is short."""
    return cut_sentences(shard, length, most_segments(length))


POLICY = Policy(cut_full_sentences, arrangement="joined", segments=most_segments, sentences=True, drawn=False)
