"""transformers' AutoTokenizer opens what we save and gives our ids: `make test-peers`."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
import transformers

from jaxbert.data.sources import open_source
from jaxbert.text.sentences import split_sentences
from jaxbert.text.tokenizers import REGISTRY, train_tokenizer

MODEL_TYPES = {"wordpiece": "bert", "bpe": "roberta", "unigram": "albert"}


def sentences() -> list[str]:
    """Real sentences, and strings of characters of many scripts."""
    documents = open_source("sample:aws-docs").documents()
    real = itertools.chain.from_iterable(split_sentences(document.text) for document in documents)
    draw = random.Random(7)
    blocks = [(0, 128), (32, 127), (128, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE80)]
    blocks += [(0x1100, 0x1200), (0x2000, 0x2070), (0x3000, 0x3100), (0x4E00, 0x4E80), (0xAC00, 0xAC40)]
    blocks += [(0xFF00, 0xFFFF), (0x1F600, 0x1F640)]
    strange = [
        "".join(chr(draw.randrange(*draw.choice(blocks))) + " " * (draw.random() < 0.2) for _ in range(60))
        for _ in range(400)
    ]
    return [
        *itertools.islice(real, 2000),
        *strange,
        "Ünïcödé naïve café — “quotes” ``code'' ... 1,000 12, 3,4,5 a1, 2010,x",
        "two  spaces   three \t\n\n and   more ▁ ▁x   ",
        "日本語テキスト 한국어 हिन्दी ไทย 🙂🙂 👩‍👩‍👧",
        "ΣΊΣΥΦΟΣ İstanbul ǅ ﬃ e\u0301",
        "",
    ]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", tuple(REGISTRY))
@pytest.mark.parametrize("beside_a_model", [False, True])
def test_auto_tokenizer_gives_our_ids(kind: str, lowercase: bool, beside_a_model: bool, tmp_path: Path) -> None:
    if lowercase and REGISTRY[kind].keeps_case:
        return
    texts = sentences()
    tokenizer = train_tokenizer(kind, texts[::3], vocab_size=2500, lowercase=lowercase)
    tokenizer.save(tmp_path)
    if beside_a_model:
        # Where there is a config.json, transformers looks at the model's type, too.
        (tmp_path / "config.json").write_text(json.dumps({"model_type": MODEL_TYPES[kind]}))
    peer: Any = transformers.AutoTokenizer.from_pretrained(tmp_path)
    mask = tokenizer.specials.mask
    texts += [f"a {mask} b", f"{mask}{mask} a{mask}b {mask}.", " ".join(tokenizer.specials)]
    ours = tokenizer.encode_batch(texts, special_tokens=True)
    for text, ids, theirs in zip(texts, ours, peer(texts)["input_ids"], strict=True):
        assert theirs == [tokenizer.cls_id, *ids, tokenizer.sep_id], text
    names = (peer.pad_token_id, peer.unk_token_id, peer.cls_token_id, peer.sep_token_id, peer.mask_token_id)
    assert names == (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id)
    assert len(peer) == tokenizer.vocab_size and peer.convert_ids_to_tokens(list(range(2500))) == tokenizer.vocab
    pair = peer("the first", "and second", return_token_type_ids=True)
    between = [tokenizer.sep_id] * tokenizer.pair_separators
    first, second = tokenizer.encode_batch(["the first", "and second"])
    assert pair["input_ids"] == [tokenizer.cls_id, *first, *between, *second, tokenizer.sep_id]
    types = [0] * (1 + len(first) + len(between)) + [int(tokenizer.pair_types)] * (len(second) + 1)
    assert pair["token_type_ids"] == types
