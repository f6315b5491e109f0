"""Fill-mask: the words that a model proposes for the masks of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxbert.core.parameters import Params
from jaxbert.errors import InputError
from jaxbert.models.model import Model
from jaxbert.use.arguments import check_number, check_text, check_texts
from jaxbert.use.batches import Packed, check_limits, dispatch, windows
from jaxbert.use.library import Loaded

# One call projects one mask to the vocabulary for this many tokens of a batch. Batches with more masks take several.
_TOKENS_A_MASK = 8
# The masks of the families' tokenizers, for the advice to somebody who writes that of another family.
_MASKS = ("[MASK]", "<mask>")


@dataclass(frozen=True)
class Candidate:
    """One piece of the vocabulary for a mask, with the model's probability for it."""

    token: str
    id: int
    probability: float


@dataclass(frozen=True)
class Filled:
    """One mask of a text.

    Attributes:
      text: the text, as given.
      mask: number of the mask in its text, from 0.
      candidates: the likeliest pieces, best first.
    """

    text: str
    mask: int
    candidates: tuple[Candidate, ...]


def fill_mask(
    model: Loaded,
    texts: Sequence[str],
    *,
    top: int = 5,
    batch_tokens: int | None = None,
    places: Sequence[str] = (),
) -> list[Filled]:
    """Returns the `top` likeliest pieces for each mask in each of `texts`, text by text, mask by mask.

    Args:
      model: from `jaxbert.load`, with a masked-LM head.
      texts: any number; all are checked before anything is computed.
      top: candidates a mask.
      batch_tokens: tokens a batch; by default `default_batch_tokens`.
      places: the place of each text, for errors.

    Raises:
      InputError: a text has no mask or is longer than the model's positions, `texts` is not a list of texts, or the
        model has no masked-LM head or no tokenizer.
    """
    model.require("masked_lm")
    top = check_number(top, "top")
    if top < 1:
        raise InputError(f"top is {top}", where="fill-mask", fix="Take 1 or more.", code="E-MASK-TOP")
    top = min(top, model.config.vocab_size)
    limit, batch_tokens = check_limits(model, None, batch_tokens)
    texts = list(check_texts(texts, "fill-mask", check_text))
    _check(model, texts, places or ["fill-mask"] * len(texts))
    filled: list[Filled] = []
    shown: dict[int, str] = {}
    for window in windows(model, texts, where="fill-mask", limit=limit, batch_tokens=batch_tokens):
        started = dispatch(window.batches, lambda batch: _start(model, top, batch))
        found: list[list[tuple[int, tuple[Candidate, ...]]]] = [[] for _ in window.texts]
        for owners, columns, parts in started:
            if not parts:
                continue
            probabilities, ids = (np.concatenate([np.asarray(part[side]) for part in parts]) for side in (0, 1))
            for at, (owner, column) in enumerate(zip(owners.tolist(), columns.tolist(), strict=True)):
                candidates = [
                    Candidate(_shown(model, index, shown), index, probability)
                    for index, probability in zip(ids[at].tolist(), probabilities[at].tolist(), strict=True)
                ]
                found[owner].append((column, tuple(candidates)))
        for text, masks in zip(window.texts, found, strict=True):
            assert isinstance(text, str)
            ordered = sorted(masks, key=lambda mask: mask[0])
            filled += [Filled(text, number, candidates) for number, (_, candidates) in enumerate(ordered)]
    return filled


def _check(model: Loaded, texts: Sequence[str], places: Sequence[str]) -> None:
    """Raises InputError where a text has no mask or is too long."""
    for text, place in zip(texts, places, strict=True):
        ids = model.ids(text)
        assert model.tokenizer is not None
        if model.tokenizer.mask_id not in ids:
            mask = model.tokenizer.token(model.tokenizer.mask_id)
            other = next((word for word in _MASKS if word in text), None)
            raise InputError(
                f"there is no {mask} in {text!r}",
                where=place,
                fix=f"Write {mask} in the place of "
                + (f"{other}, which is the mask of other models." if other else "a word."),
                code="E-MASK-NONE",
            )
        if len(ids) + 2 > model.config.longest_row:
            raise InputError(
                f"the text has {len(ids)} tokens, the model takes {model.config.longest_row - 2}",
                where=place,
                fix="Shorten it.",
                code="E-MASK-LENGTH",
            )


def _start(model: Loaded, top: int, batch: Packed) -> tuple[np.ndarray, np.ndarray, list[tuple[jax.Array, jax.Array]]]:
    """Starts the computation of a batch and does not wait for it.

    Returns:
      (the text of each mask, its column, [(probabilities, ids)] for equally many masks each, the last padded).
    """
    assert model.tokenizer is not None
    rows, columns = np.nonzero(batch.arrays["tokens"] == model.tokenizer.mask_id)
    owners = batch.texts[rows, batch.arrays["group"][rows, columns] - 1]
    hidden = _hidden(model.model, model.params, batch.arrays)
    number = max(1, batch.arrays["tokens"].size // _TOKENS_A_MASK)
    parts = []
    for start in range(0, len(rows), number):
        some = slice(start, start + number)
        padded = (np.pad(index[some].astype(np.int32), (0, number - len(index[some]))) for index in (rows, columns))
        parts.append(_top(model.model, model.config.vocab_size, top, model.params, hidden, *padded))
    return owners, columns, parts


@partial(jax.jit, static_argnums=0)
def _hidden(model: Model, params: Params, batch: dict[str, Any]) -> jax.Array:
    """Returns hidden states (B, L, D)."""
    return model.hidden(params, batch)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _top(
    model: Model, size: int, top: int, params: Params, x_BLD: jax.Array, row_M: jax.Array, column_M: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns (probabilities, ids), each (M, top), at the given positions of a batch, over the `size` real pieces."""
    logits_MV = model.masked_lm(params, x_BLD[row_M, column_M][:, None])[:, 0, :size]
    best, ids = jax.lax.top_k(logits_MV, top)
    return jax.numpy.exp(best - jax.nn.logsumexp(logits_MV, axis=-1, keepdims=True)), ids


def _shown(model: Loaded, index: int, known: dict[int, str]) -> str:
    """Returns the piece as text, without the marks that some vocabularies have for spaces, unless it has only those."""
    if index not in known:
        assert model.tokenizer is not None
        known[index] = model.tokenizer.decode([index]).strip() or model.tokenizer.token(index)
    return known[index]


def lines(filled: Sequence[Filled]) -> list[str]:
    """Returns a table to print: each text (with the number of the mask, where it has several), then its candidates."""
    several = {one.text for one in filled if one.mask > 0}
    table = []
    for one in filled:
        table.append(one.text + (f"   (mask {one.mask + 1})" if one.text in several else ""))
        table += [f"  {candidate.probability:7.1%}  {candidate.token}" for candidate in one.candidates]
    return table
