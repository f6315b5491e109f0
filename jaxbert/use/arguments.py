"""Checks the arguments of `Loaded`, `embed` and `fill_mask`: a mistake ends in one InputError, not in a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import EncoderBase
from jaxbert.errors import InputError
from jaxbert.text.text_rows import Text

T = TypeVar("T")


def check_texts(texts: Any, where: str, one: Callable[[Any, str], T]) -> Iterator[T]:
    """Returns the texts one after another. Reads `texts` only as far as it is asked.

    Args:
      texts: any iterable of texts.
      where: name of the function that got it.
      one: `check_text`, or `check_segments` where a pair may be in the place of a text.

    Raises:
      InputError: at once where `texts` is one text or not iterable; at a text what `one` raises.
    """
    if isinstance(texts, (str, bytes, Mapping)) or not isinstance(texts, Iterable):
        alone = isinstance(texts, str)
        raise InputError(
            f"a list of texts is needed, not {'one text' if alone else _kind(texts)}",
            where=where,
            fix="Give [text]." if alone else "Give a list of strings.",
            code="E-MODEL-TEXTS",
        )
    return (one(text, f"{where}, text {number}") for number, text in enumerate(texts))


def check_text(text: Any, where: str) -> str:
    """Returns a text.

    Args:
      text: a string.
      where: the place of the text, for errors.

    Raises:
      InputError: it is something else, or holds half of a surrogate pair, which no tokenizer takes.
    """
    if not isinstance(text, str):
        raise InputError(
            f"a text is needed, not {_kind(text)}", where=where, fix="Give a string.", code="E-MODEL-TEXTS"
        )
    if not text.isascii():
        _check_unicode(text, where)
    return text


def check_segments(text: Any, where: str) -> Text:
    """Returns a text, or a pair as a tuple. Raises InputError as `check_text`, and where it is not a pair."""
    if not isinstance(text, (tuple, list)):
        return check_text(text, where)
    if len(text) != 2:
        raise InputError(
            f"{len(text)} segments in a row",
            where=where,
            fix="Give a text or a pair of texts.",
            code="E-MODEL-TEXTS",
        )
    return check_text(text[0], where), check_text(text[1], where)


def _check_unicode(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"character {error.start} is half of a surrogate pair ({text[error.start]!a}), which is not a character",
            where=where,
            fix="Decode the text again from its bytes, or replace it: text.encode('utf-8', 'replace').decode().",
            code="E-MODEL-TEXTS",
        ) from None


def check_number(value: Any, where: str) -> int:
    """Returns a whole number as int. Raises InputError where `value` is none, or is a truth value."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    raise InputError(
        f"a whole number is needed, not {_kind(value)}", where=where, fix="Give an int.", code="E-MODEL-NUMBER"
    )


def check_parts(params: Any, *parts: str) -> Any:
    """Returns `params`. Raises InputError unless it is a mapping that has all of `parts`, each a mapping."""
    for part in parts:
        if not isinstance(params, Mapping) or not isinstance(params.get(part), Mapping):
            what = f"not {_kind(params)}" if not isinstance(params, Mapping) else f"but {part!r} is not in it"
            raise InputError(
                f"the first argument must be the parameters, a tree like model.params, {what}",
                where="params",
                fix="Give model.params, or a tree of the same parts.",
                code="E-MODEL-PARAMS",
            )
    return params


def check_key(key: Any) -> None:
    """Raises InputError where a dropout key is not a key of jax.random."""
    if key is not None and not isinstance(key, (jax.Array, np.ndarray)):
        raise InputError(
            f"the key of the dropout is {_kind(key)}",
            where="dropout_key",
            fix="Give jax.random.key(seed).",
            code="E-MODEL-KEY",
        )


def check_rows(config: EncoderBase, tokens: Any, types: Any, group: Any) -> dict[str, jax.Array]:
    """Returns "tokens", "types" and "group", integers (B, L). Without types all are 0, without groups all are 1.

    Arrays of jax may be traced, so nobody looks at their ids: the encoder makes NaN of an id that it does not know.

    Raises:
      InputError: an argument is not an array of integers (B, L), the shapes differ, rows are longer than the model
        takes, or an array that is not of jax has an id outside the vocabulary or the token types.
    """
    given = {"tokens": tokens, "types": types, "group": group}
    arrays = {name: _integers(value, name) for name, value in given.items() if value is not None or name == "tokens"}
    shape = arrays["tokens"].shape
    if shape[1] > config.longest_row:
        raise InputError(
            f"rows have {shape[1]} tokens, but the model takes {config.longest_row}",
            where="tokens",
            fix="Cut them, as model.batch does.",
            code="E-MODEL-LENGTH",
        )
    for name, array in arrays.items():
        if array.shape != shape:
            raise InputError(
                f"the shape is {list(array.shape)}, but that of the tokens is {list(shape)}",
                where=name,
                fix="Give arrays of one shape.",
                code="E-MODEL-ARRAY",
            )
    _check_ids(arrays["tokens"], config.vocab_size, "tokens", "pieces of the vocabulary")
    kinds = getattr(config, "type_vocab_size", 0)
    if kinds > 1 and "types" in arrays:
        _check_ids(arrays["types"], kinds, "types", "token types")
    ids = jnp.asarray(arrays["tokens"])
    return {
        "tokens": ids,
        "types": jnp.asarray(arrays["types"]) if "types" in arrays else jnp.zeros_like(ids),
        "group": jnp.asarray(arrays["group"], jnp.int32) if "group" in arrays else jnp.ones_like(ids),
    }


def _integers(value: Any, name: str) -> Any:
    """Returns an array (B, L) of integers or truth values, of jax or numpy."""
    array: Any
    try:
        array = value if isinstance(value, jax.Array) else np.asarray(value)
    except (ValueError, TypeError):  # rows of different lengths
        array = np.asarray(None)
    whole = jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool
    if array.ndim != 2 or not whole:
        what = f"of type {array.dtype} and shape {list(array.shape)}" if array.ndim else _kind(value)
        raise InputError(
            f"an array of integers (rows, tokens) is needed, and it is {what}",
            where=name,
            fix="Give the arrays of model.batch(texts); one row is tokens[None].",
            code="E-MODEL-ARRAY",
        )
    return array


def _check_ids(array: Any, size: int, name: str, what: str) -> None:
    if isinstance(array, jax.Array) or not array.size:
        return
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= size:
        raise InputError(
            f"the id {low if low < 0 else high} is not one of the {size} {what}",
            where=name,
            fix="Take the ids of the model's own tokenizer: model.batch(texts).",
            code="E-MODEL-ID",
        )


def check_hidden(value: Any, config: EncoderBase) -> jax.Array:
    """Returns hidden states (B, L, D). Raises InputError where `value` is anything else."""
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    if array.ndim != 3 or array.shape[-1] != config.hidden_size or not jnp.issubdtype(array.dtype, jnp.floating):
        raise InputError(
            f"hidden states (rows, tokens, {config.hidden_size}) are needed, not {array.dtype} {list(array.shape)}",
            where="hidden",
            fix="Give what model.encode returns; one token of each row is hidden[:, 3:4].",
            code="E-MODEL-ARRAY",
        )
    return jnp.asarray(array)


def check_places(value: Any) -> jax.Array:
    """Returns places in spans (B, M). Raises InputError where `value` is not an array of integers."""
    return jnp.asarray(_integers(value, "place"))


def _kind(value: Any) -> str:
    """Returns a few words about a value that is wrong: "None", "an int: 5"."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}: {ascii(value)[:40]}"
