"""What a model says about a text: fill-mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from jaxbert.errors import InputError
from jaxbert.library import Loaded
from jaxbert.models.layers import Params


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
      mask: which of its masks, from 0.
      candidates: the likeliest pieces, best first.
    """

    text: str
    mask: int
    candidates: tuple[Candidate, ...]


def fill_mask(model: Loaded, texts: Sequence[str], *, top: int = 5) -> list[Filled]:
    """The `top` likeliest pieces for each mask in each of `texts`, text by text, mask by mask.

    Raises:
      InputError: a text without a mask, or longer than the model's positions; no masked-LM head or no tokenizer.
    """
    model.require("masked_lm")
    if top < 1:
        raise InputError(f"top is {top}", where="fill-mask", fix="Take 1 or more.")
    top = min(top, model.config.vocab_size)
    # Padded to a multiple of 16, so that texts of like length share a compilation.
    lengths = [_length(model, text) for text in texts]
    width = min(-(-max(lengths, default=5) // 16) * 16, model.config.longest_row)
    batch = model.batch(list(texts), length=width)
    assert model.tokenizer is not None
    rows, columns = np.nonzero(batch["tokens"] == model.tokenizer.mask_id)

    probabilities, ids = _top(model, top, model.params, batch, rows, columns)
    filled = []
    for index, row in enumerate(rows.tolist()):
        candidates = zip(np.asarray(ids[index]), np.asarray(probabilities[index]), strict=True)
        filled.append(
            Filled(
                text=texts[row],
                mask=int((rows[:index] == row).sum()),
                candidates=tuple(Candidate(_shown(model, int(i)), int(i), float(p)) for i, p in candidates),
            )
        )
    return filled


@partial(jax.jit, static_argnums=(0, 1))
def _top(
    model: Loaded, top: int, params: Params, batch: dict[str, jax.Array], rows: jax.Array, columns: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(probabilities, ids), each (masks, top), at the given positions of the batch."""
    hidden = model.encode(params, batch["tokens"], batch["types"], batch["group"])[rows, columns]
    return jax.lax.top_k(jax.nn.softmax(model.masked_lm(params, hidden[:, None])[:, 0]), top)


def _shown(model: Loaded, index: int) -> str:
    """The piece as text: without the marks that some vocabularies have for spaces, unless nothing else is in it."""
    assert model.tokenizer is not None
    return model.tokenizer.decode([index]).strip() or model.tokenizer.token(index)


def _length(model: Loaded, text: str) -> int:
    """Tokens of `text` with its two specials."""
    ids = model.ids(text)
    assert model.tokenizer is not None
    if model.tokenizer.mask_id not in ids:
        mask = model.tokenizer.token(model.tokenizer.mask_id)
        raise InputError(f"no {mask} in {text!r}", where="fill-mask", fix=f"Write {mask} where a word is missing.")
    if len(ids) + 2 > model.config.longest_row:
        raise InputError(
            f"the text has {len(ids)} tokens, the model takes {model.config.longest_row - 2}",
            where="fill-mask",
            fix="Shorten it.",
        )
    return len(ids) + 2


def lines(filled: Sequence[Filled]) -> list[str]:
    """A table to print: each text (which of its masks, where it has several), then its candidates."""
    table = []
    for one in filled:
        several = sum(other.text == one.text for other in filled) > 1
        table.append(one.text + (f"   (mask {one.mask + 1})" if several else ""))
        table += [f"  {candidate.probability:7.1%}  {candidate.token}" for candidate in one.candidates]
    return table
