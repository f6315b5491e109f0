"""Records RoBERTa's ids of some texts: python tests/goldens/record_roberta_bpe.py DIRECTORY

DIRECTORY holds the published vocab.json and merges.txt (facebook/roberta-base; facebookresearch/fairseq, MIT). Kept are
the merges that the texts need, found by a plain reading of the rule, and the ids of their pieces.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import tokenizers as rust

from jaxbert.text.tokenizers import Tokenizer
from jaxbert.text.tokenizers.bpe import ByteLevelBPE

GOLDEN = Path(__file__).parent / "roberta_bpe.json"
TEXTS = [
    "Hello world!",
    " Hello world!",
    "It's 3.5 km away, isn't it?  Two spaces\tand a tab\nand lines.\n\n",
    "naïve café — “quotes” … 東京 🙂🙂",
    "The <mask> of France is Paris.",
    "http://x.y/z?a=b&c=d 1,000,000 2010,",
]


def merged(word: str, ranks: dict[tuple[str, str], int]) -> tuple[list[str], set[tuple[str, str]]]:
    """(pieces of a word, merges made on the way): always the pair of the lowest rank, everywhere it stands."""
    pieces, made = list(word), set()
    while pairs := [pair for pair in itertools.pairwise(pieces) if pair in ranks]:
        best = min(pairs, key=ranks.__getitem__)
        made.add(best)
        joined: list[str] = []
        index = 0
        while index < len(pieces):
            both = tuple(pieces[index : index + 2]) == best
            joined.append("".join(best) if both else pieces[index])
            index += 1 + both
        pieces = joined
    return pieces, made


def record(directory: str) -> dict[str, object]:
    tokenizer = Tokenizer.load(directory)
    assert isinstance(tokenizer, ByteLevelBPE)
    ranks = {pair: rank for rank, pair in enumerate(tokenizer.merges)}
    cut = rust.pre_tokenizers.ByteLevel(add_prefix_space=False)
    used: set[tuple[str, str]] = set()
    texts = {}
    for text in TEXTS:
        ids: list[int] = []
        # The mask takes the space before it.
        for number, part in enumerate(text.replace(" <mask>", "<mask>").split("<mask>")):
            ids += [tokenizer.mask_id] if number else []
            for word, _ in cut.pre_tokenize_str(part):
                pieces, made = merged(word, ranks)
                used |= made
                ids += [tokenizer.id(piece) for piece in pieces]
        texts[text] = [tokenizer.cls_id, *ids, tokenizer.sep_id]
    needed = {*tokenizer.specials, *cut.alphabet()} | {"".join(pair) for pair in used}
    return {
        "vocab_size": tokenizer.vocab_size,
        "merges": [" ".join(pair) for pair in sorted(used, key=ranks.__getitem__)],
        "ids": {piece: tokenizer.id(piece) for piece in sorted(needed, key=tokenizer.id)},
        "texts": texts,
    }


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(record(sys.argv[1]), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
