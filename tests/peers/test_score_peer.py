"""Compares pseudo-log-likelihoods with those of a plain loop over transformers' models and tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import jaxbert
from jaxbert.evaluate.likelihood import MASKS, score_stream
from tests.evaluate import models

NATS = 1e-4
# In scripts without spaces, ours takes each piece for a word, and the peer a whole clause.
TEXTS = (*models.TEXTS, "W1 (w2), it's w3?! 12 3,000 aabab", "w5 w6\u00e9 w7.")


def plain(model: Any, tokenizer: Any, text: str, mask: str) -> list[float]:
    """Returns the log-probability of each token of a text. The words are the tokenizer's own."""
    encoded = tokenizer(text, return_tensors="pt")
    ids, words = encoded["input_ids"][0], encoded.word_ids()
    special = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id}
    found = []
    for position, index in enumerate(ids.tolist()):
        if index in special:
            continue
        same = [at for at, word in enumerate(words) if word is not None and word == words[position]]
        masked = {"token": [position], "word": same, "word-l2r": [at for at in same if at >= position]}[mask]
        copy = ids.clone()
        copy[masked] = tokenizer.mask_token_id
        with torch.no_grad():
            logits = model(**{**encoded, "input_ids": copy[None]}).logits[0, position].double()
        found.append(float(torch.log_softmax(logits, dim=-1)[index]))
    return found


@pytest.mark.parametrize("family", models.FAMILY_NAMES)
def test_scores_are_those_of_a_plain_loop(family: str, tmp_path: Path) -> None:
    made = models.model(family, tmp_path / "tokenizer")
    made.save(tmp_path / "model")
    ours = jaxbert.load(tmp_path / "model")
    peer = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    texts = [text.replace("{mask}", tokenizer.mask_token) for text in TEXTS]
    worst = 0.0
    for mask in MASKS:
        for one in score_stream(ours, [("", text) for text in texts], mask=mask):
            assert isinstance(one.text, str)
            theirs = plain(peer, tokenizer, one.text, mask)
            assert one.tokens == len(theirs), one.text
            np.testing.assert_allclose(one.scores, theirs, rtol=0, atol=NATS / 10, err_msg=one.text)
            worst = max(worst, abs(one.score - sum(theirs)))
    print(f"{family}: largest difference of a text {worst:.1e} nats")
    assert worst < NATS
