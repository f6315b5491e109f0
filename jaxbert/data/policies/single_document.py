"""`single_document`: SpanBERT's and DistilBERT's rows, [CLS] sentences of one document [SEP].

A row has as many whole sentences as fit (Joshi et al. 2020, arXiv:1907.10529, section 3.3). From the programs:
  - A sentence that does not fit into a row is dropped, and the sentences on either side of it never share a row
    (`BlockDataset` of facebookresearch/SpanBERT no_nsp_span_bert_dataset.py measures a block from its first token to
    its last, with the dropped ones between them). In that program, a dropped sentence at the end of a document also
    drops the sentences gathered before it; here they become a row.
  - A row of 11 tokens or fewer with [CLS] and [SEP] is dropped (`remove_empty_sequences` of DistilBERT's
    lm_seqs_dataset.py).
Both are counted as truncated, and the former also as oversized. DistilBERT's other rule, no sequence that is half
[UNK], concerns the records: their summary says how much is unknown.
"""

from __future__ import annotations

import numpy as np

from jaxbert.data.draws import Draws
from jaxbert.data.policies.segments import Policy, Segments, TokenShard, unpaired
from jaxbert.data.policies.whole_sentences import SPECIALS, gather

# The fewest tokens of a row, with special tokens.
_FEWEST = 12


def cut_single_documents(shard: TokenShard, length: int, short_rows: float, draws: Draws) -> Segments:
    """Cuts one pass over `shard`. Nothing is drawn, and no row is short.

    Args:
      shard: documents with sentence boundaries.
      length: L, at least 12.
      short_rows, draws: are not used.
    """
    room = length - SPECIALS
    oversized = np.flatnonzero(np.diff(shard.sentences) > room)
    # A run begins with a document and after every dropped sentence, and ends where the next run begins.
    begins = np.union1d(shard.documents[:-1], oversized + 1)
    begins = begins[begins < len(shard.sentences) - 1]
    ends = np.append(begins, len(shard.sentences) - 1)[1:]
    ends -= np.isin(ends - 1, oversized)
    documents = np.searchsorted(shard.documents, begins, side="right") - 1
    runs = zip(documents.tolist(), begins.tolist(), ends.tolist(), strict=True)
    pieces, _ = gather(shard.sentences, runs, room, width=1)
    pieces = pieces[pieces[:, 1] + SPECIALS >= _FEWEST]
    return unpaired(
        pieces,
        np.arange(len(pieces)),
        width=1,
        truncated=len(shard.tokens) - int(pieces[:, 1].sum()),
        oversized=len(oversized),
    )


POLICY = Policy(
    cut_single_documents, arrangement="joined", segments=lambda length: 1, sentences=True, drawn=False, shortest=_FEWEST
)
