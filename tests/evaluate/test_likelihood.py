"""Pseudo-log-likelihood: packed copies give what a plain loop over single rows gives."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from jaxbert.errors import InputError
from jaxbert.evaluate.likelihood import MASKS, ScoredText, count, score, score_stream
from jaxbert.text.text_rows import Text
from jaxbert.text.tokenizers import train_tokenizer
from jaxbert.use import batches
from jaxbert.use.library import Loaded
from tests.evaluate.models import texts_of

NATS = 1e-4
# The words of a text as each kind of tokenizer cuts them before it cuts pieces.
WORDS = {
    "wordpiece": r"\w+|[^\w\s]",
    "bpe": r" ?[a-z]+| ?[0-9]+| ?[^\sa-z0-9]+|\s+$",
    "unigram": r"\S+",
}


def words(model: Loaded, text: str) -> list[list[int]]:
    """Returns the positions of the pieces of each word of a text, between [CLS] and [SEP]."""
    tokenizer = model.require_tokenizer()
    found: list[list[int]] = []
    position = 1
    mask = tokenizer.token(tokenizer.mask_id)
    for number, part in enumerate(text.split(mask)):
        position += number > 0
        # RoBERTa's mask takes the space before it.
        part = part.rstrip() if number < text.count(mask) else part
        for word in re.findall(WORDS[tokenizer.kind], part):
            end = position + len(tokenizer.encode(word))
            found.append(list(range(position, end)))
            position = end
    assert position == len(model.ids(text)) + 1, text
    return found


def plain(model: Loaded, text: str, mask: str, forward: Callable[..., jax.Array]) -> np.ndarray:
    """Returns the score of each token: one row at a time, as wide as the model, every position projected."""
    batch = model.batch([text], length=model.config.longest_row)
    tokenizer = model.require_tokenizer()
    found = []
    for word in words(model, text):
        for at, position in enumerate(word):
            tokens = batch["tokens"].copy()
            masked = {"token": [position], "word": word, "word-l2r": word[at:]}[mask]
            tokens[0, masked] = tokenizer.mask_id
            logits = np.asarray(forward(model.params, tokens, batch["types"], batch["group"]), np.float64)[0, position]
            right = logits[batch["tokens"][0, position]]
            found.append(right - logits.max() - np.log(np.exp(logits - logits.max()).sum()))
    return np.array(found)


@pytest.fixture(scope="session")
def forward(model: Loaded) -> Callable[..., jax.Array]:
    @jax.jit
    def found(params: Any, tokens: Any, types: Any, group: Any) -> jax.Array:
        return model.masked_lm(params, model.encode(params, tokens, types, group))

    return found


def scored(model: Loaded, texts: list[Text], **options: Any) -> list[ScoredText]:
    return list(score_stream(model, [(f"line {number}", text) for number, text in enumerate(texts)], **options))


@pytest.mark.parametrize("mask", MASKS)
def test_each_token_has_the_score_of_a_plain_loop(model: Loaded, forward: Callable[..., jax.Array], mask: str) -> None:
    texts: list[Text] = [*texts_of(model)]
    found = scored(model, texts, mask=mask)
    assert [one.text for one in found] == texts and found[3].place == "line 3"
    for one in found:
        assert isinstance(one.text, str)
        expected = plain(model, one.text, mask, forward)
        assert one.tokens == len(expected)
        np.testing.assert_allclose(one.scores, expected, rtol=0, atol=NATS / 10)
        assert abs(one.score - expected.sum()) < NATS
    assert (found[2].tokens, found[2].score, found[2].score_per_token) == (0, 0.0, None)
    assert found[0].score_per_token == found[0].score / found[0].tokens
    # The words of several pieces make the ways of masking differ.
    others = [scored(model, texts, mask=other)[1].score for other in MASKS if other != mask]
    assert all(abs(found[1].score - other) > 0.01 for other in others)


def test_special_tokens_are_not_scored(bert: Loaded) -> None:
    (one,) = scored(bert, ["w1 [MASK] w2 [SEP] unknown"])
    tokenizer = bert.require_tokenizer()
    assert [tokenizer.token(index) for index in one.ids] == ["w1", "w2", "[UNK]"]
    assert one.unknown == 1


def test_results_do_not_depend_on_the_batch(bert: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = texts_of(bert)
    together = score(bert, texts)
    assert together.dtype == np.float64 and together.shape == (len(texts),)
    apart = np.concatenate([score(bert, [text]) for text in texts])
    np.testing.assert_allclose(together, apart, rtol=0, atol=NATS)
    # Windows of a few texts, batches of one row, and more scored positions than one call takes.
    monkeypatch.setattr(batches, "WINDOW", 1)
    monkeypatch.setattr(batches, "OWN_WIDTH", 1)
    small = score(bert, [*reversed(texts)], batch_tokens=64)
    np.testing.assert_allclose(together, small[::-1], rtol=0, atol=NATS)
    assert score(bert, []).shape == (0,)


def test_a_pair_is_one_row(bert: Loaded) -> None:
    (one,) = scored(bert, [("w1 ab", "w2")])
    batch = bert.batch([("w1 ab", "w2")])
    tokenizer = bert.require_tokenizer()
    total = 0.0
    for position in (1, 2, 3, 5):
        tokens = batch["tokens"].copy()
        tokens[0, position] = tokenizer.mask_id
        logits = bert.masked_lm(bert.params, bert.encode(bert.params, tokens, batch["types"], batch["group"]))
        total += float(jax.nn.log_softmax(logits[0, position])[batch["tokens"][0, position]])
    assert one.tokens == 4 and abs(one.score - total) < NATS


def test_texts_that_are_too_long_are_named(bert: Loaded) -> None:
    given: list[tuple[str, Text]] = [(f"f:{n}", "w1 " * length) for n, length in enumerate((58, 59, 3, 70, 90, 61))]
    with pytest.raises(InputError, match=r"4 texts .* 60 tokens.*f:1 \(61 tokens\), f:3 .*1 more.*E-SCORE-LENGTH"):
        count(bert, given)
    with pytest.raises(InputError, match=r"a text .*f:1 \(61 tokens\).*E-SCORE-LENGTH"):
        list(score_stream(bert, given))
    counts = count(bert, [*given[:1], ("a", ""), ("b", "nothing")])
    assert (counts.texts, counts.tokens, counts.empty, counts.unknown) == (3, 59, 1, 1)


def test_refuses(bert: Loaded) -> None:
    for texts, options, code in (
        ("w1", {}, "E-MODEL-TEXTS"),
        ([1], {}, "E-MODEL-TEXTS"),
        (["w1"], {"mask": "words"}, r"'words'.*Did you mean.*E-SCORE-MASK"),
        (["w1"], {"batch_tokens": 0}, "E-EMBED-BATCH"),
    ):
        with pytest.raises(InputError, match=code):
            score(bert, texts, **options)  # type: ignore[arg-type]
    without = {part: bert.params[part] for part in ("encoder",)}
    with pytest.raises(InputError, match="E-MODEL-HEAD"):
        score(Loaded("here", bert.config, without, bert.tokenizer), ["w1"])
    with pytest.raises(InputError, match="E-MODEL-NO-TOKENIZER"):
        score(Loaded("here", bert.config, bert.params, None), ["w1"])


def test_words_of_byte_level_pieces() -> None:
    """Punctuation begins a word here, though whole-word masking takes it for a part of the word before."""
    tokenizer = train_tokenizer("bpe", ["so it is, so. it's 12ab 日本 x"] * 30, vocab_size=300, lowercase=False)
    ids = tokenizer.encode("is, it's 12ab...<mask> 日本 é", special_tokens=True)
    found: list[str] = []
    for index, begins in zip(ids, tokenizer.word_begins(ids), strict=True):
        found += [""] if begins else []
        found[-1] += tokenizer.token(index)
    # Each piece of a script without spaces begins a word, as in whole-word masking.
    assert found[:8] == ["is", ",", "Ġit", "'s", "Ġ12", "ab", "...", "<mask>"] and found[-1] == "ĠÃ©"
    assert tokenizer.word_begins([]) == []
