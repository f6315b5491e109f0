"""Compares what users pass as arrays and pairs with transformers: attention masks with holes, and the cut of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import jaxbert

SIZES: dict[str, Any] = dict(
    vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=24, initializer_range=0.5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("config", "model", "pad"),
    [
        (transformers.BertConfig(**SIZES), transformers.BertModel, 0),
        (transformers.RobertaConfig(**SIZES, pad_token_id=1), transformers.RobertaModel, 1),
        (transformers.AlbertConfig(**SIZES, embedding_size=8), transformers.AlbertModel, 0),
    ],
    ids=["bert", "roberta", "albert"],
)
def test_an_attention_mask_of_any_form(tmp_path: Path, config: Any, model: Any, pad: int) -> None:
    torch.manual_seed(0)
    theirs = model(config).eval()
    theirs.save_pretrained(tmp_path / "model")
    ours = jaxbert.load(tmp_path / "model")
    rng = np.random.default_rng(0)
    mask = (rng.random((24, 14)) < 0.7).astype(np.int32)
    mask[:4] = [[1] * 14, [1] * 9 + [0] * 5, [0] * 5 + [1] * 9, [1] * 6 + [0] + [1] * 7]
    tokens = rng.integers(2, 60, mask.shape)
    # In every second row what is masked is the padding id, which RoBERTa's positions leave out.
    tokens[::2] = np.where(mask[::2] > 0, tokens[::2], pad)
    with torch.no_grad():
        states = theirs(torch.tensor(tokens), attention_mask=torch.tensor(mask)).last_hidden_state.numpy()
    found = np.asarray(ours.encode(ours.params, tokens, group=mask))
    difference = np.abs(found - states)[mask > 0].max()
    print(f"largest difference {difference:.1e}")
    assert difference < 1e-5


def test_pairs_are_cut_as_longest_first(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(55))]
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(**SIZES)).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = transformers.BertTokenizerFast(str(tmp_path / "model" / "vocab.txt"))
    model = jaxbert.load(tmp_path / "model")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words[5:], size)) for size in rng.integers(1, 20, 800)]
    pairs = list(zip(texts[:400], texts[400:], strict=True))
    for pair, length in zip(pairs, rng.integers(6, 25, 400).tolist(), strict=True):
        theirs = tokenizer(*pair, truncation="longest_first", max_length=length, padding="max_length")
        ours = model.batch([pair], length=length)
        assert ours["tokens"][0].tolist() == theirs["input_ids"], (pair, length)
        assert ours["types"][0].tolist() == theirs["token_type_ids"]
