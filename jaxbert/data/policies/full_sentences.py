"""`full_sentences`: RoBERTa's FULL-SENTENCES, [CLS] end of document 1 [SEP] start of document 2 [SEP].

A row has as many whole sentences as fit into L, in the order of the text and across the ends of documents, with one
more separator between documents (Liu et al. 2019, arXiv:1907.11692, section 4.2). It has one attention group and token
type 0.

Differences from fairseq (break mode `complete` of token_block_utils_fast.pyx):
  - fairseq makes one oversized block of a sentence that is longer than a row. Here all rows have one length: such a
    sentence begins a row and is cut into pieces that fill rows, and the next sentence follows its last piece. Nothing
    is lost; such sentences are counted as oversized, and the cuts as cut.
  - fairseq ends every line of its files with a separator. Here a separator is between documents only, as in the paper.
  - A row has at most `most_segments(L)` documents. The next document begins the next row.
  - Rows do not cross the ends of records shards, so that memory is bounded by a shard.
"""

from __future__ import annotations

from jaxbert.data.draws import Draws
from jaxbert.data.policies.segments import Policy, Segments, TokenShard, most_segments, unpaired
from jaxbert.data.policies.whole_sentences import SPECIALS, divided, documents_of, gather


def cut_sentences(shard: TokenShard, length: int, width: int) -> Segments:
    """Cuts one pass over `shard` with at most `width` documents a row. Nothing is drawn.

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
    """Cuts one pass over `shard`. Nothing is drawn, and no row is short."""
    return cut_sentences(shard, length, most_segments(length))


POLICY = Policy(cut_full_sentences, arrangement="joined", segments=most_segments, sentences=True, drawn=False)
