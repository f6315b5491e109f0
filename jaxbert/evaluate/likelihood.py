"""Pseudo-log-likelihood: how probable a masked language model finds a text.

The score of a text is the sum of log p(token | the rest of the text) over its tokens, in nats. Each token is masked in
turn (Salazar et al. 2020, "Masked Language Model Scoring", arXiv:1910.14659). Special tokens are never scored: those
around a text, and those that its characters name, such as "[MASK]".

The sum overrates words of several pieces, because the model sees the other pieces of the word. Kauf and Ivanova (2023,
"A Better Way to Do Masked Language Model Scoring", arXiv:2305.10588) therefore mask more than the scored token; see
`MASKS`.

A text of n tokens is n masked copies, or one a word with the mask "word". The copies are packed into the same few
shapes as the texts of `embed`, and only the scored positions are projected to the vocabulary. The products are those of
float32 on every device.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import did_you_mean
from jaxbert.core.parameters import Params
from jaxbert.errors import InputError
from jaxbert.models.model import Model
from jaxbert.text.text_rows import Row, Text, text_rows
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use import batches
from jaxbert.use.arguments import check_segments, check_texts
from jaxbert.use.batches import Packed, check_limits, dispatch, pack
from jaxbert.use.library import Loaded

# The ways to mask the token that is scored. The words are those of `Tokenizer.word_begins`.
MASKS: Mapping[str, str] = {
    "token": "the token (Salazar et al. 2020)",
    "word": "all pieces of its word",
    "word-l2r": "the token and the pieces to its right in its word (PLL-word-l2r of Kauf and Ivanova 2023)",
}

# One call projects one position to the vocabulary for this many tokens of a batch. Batches with more take several.
_TOKENS_A_POSITION = 8
_CHUNK = 256  # texts tokenised at once


@dataclass(frozen=True)
class ScoredText:
    """A text with its score.

    Attributes:
      place: the place of the text, as given.
      text: the text or pair, as given.
      ids: int64 (tokens,), the tokens that were scored, in the order of the text.
      scores: float64 (tokens,), the log-probability of each, in nats.
      unknown: the number of these tokens that are the unknown token.
    """

    place: str
    text: Text
    ids: np.ndarray
    scores: np.ndarray
    unknown: int

    @property
    def score(self) -> float:
        """Returns the pseudo-log-likelihood in nats; 0 for a text without tokens."""
        return float(self.scores.sum())

    @property
    def tokens(self) -> int:
        """Returns the number of scored tokens."""
        return len(self.ids)

    @property
    def score_per_token(self) -> float | None:
        """Returns the mean over the tokens in nats; None for a text without tokens."""
        return self.score / self.tokens if self.tokens else None


def score(model: Loaded, texts: Iterable[Text], *, mask: str = "token", batch_tokens: int | None = None) -> np.ndarray:
    """Returns the pseudo-log-likelihood of each text in nats, float64 (N,), in the order of `texts`.

    Args:
      model: from `jaxbert.load`, with a masked-LM head and a tokenizer.
      texts: any number of texts, or of pairs as `Loaded.batch` takes them. The score of a pair is that of both texts.
      mask: how to mask the token that is scored, a key of `MASKS`.
      batch_tokens: tokens a batch; by default `jaxbert.use.batches.default_batch_tokens`.

    Raises:
      InputError: a text is longer than the model's positions, an argument is wrong, or the model lacks the head or a
        tokenizer.
    """
    checked = check_texts(texts, "score", check_segments)
    placed = ((f"score, text {number}", text) for number, text in enumerate(checked))
    found = [one.score for one in score_stream(model, placed, mask=mask, batch_tokens=batch_tokens)]
    return np.array(found, np.float64)


def score_stream(
    model: Loaded, texts: Iterable[tuple[str, Text]], *, mask: str = "token", batch_tokens: int | None = None
) -> Iterator[ScoredText]:
    """Yields the score of each text, in order. Memory does not grow with their number.

    The next texts are read and tokenised while the device computes.

    Args:
      model: see `score`.
      texts: (place, text or pair), with the place for messages; they are read when they are asked for.
      mask: see `score`.
      batch_tokens: see `score`.

    Raises:
      InputError: at once where an argument is wrong; later where a text is longer than the model's positions.
    """
    check_mask(mask)
    model.require("masked_lm")
    limit, batch_tokens = check_limits(model, None, batch_tokens)
    return _stream(model, _windows(model.require_tokenizer(), iter(texts), mask, limit, batch_tokens))


def check_mask(mask: str) -> None:
    """Raises InputError unless `mask` is a key of `MASKS`."""
    if mask not in MASKS:
        raise InputError(
            f"no way of masking is called {mask!r}",
            where="mask",
            fix=f"{did_you_mean(str(mask), list(MASKS))}Known: {', '.join(MASKS)}.",
            code="E-SCORE-MASK",
        )


@dataclass(frozen=True)
class Counts:
    """The size of some texts, before they are scored.

    Attributes:
      texts: their number.
      tokens: the number of tokens to score.
      empty: the number of texts without a token.
      unknown: the number of unknown tokens among those to score.
    """

    texts: int
    tokens: int
    empty: int
    unknown: int


def count(model: Loaded, texts: Iterable[tuple[str, Text]]) -> Counts:
    """Returns the counts of texts, and checks that all are short enough, without computing anything.

    Raises:
      InputError: texts are longer than the model's positions. The message has the places of the first ones.
    """
    tokenizer, limit = model.require_tokenizer(), model.config.longest_row
    numbers = dict.fromkeys(("texts", "tokens", "empty", "unknown"), 0)
    long: list[tuple[str, int]] = []
    for chunk, rows in _tokenised(tokenizer, iter(texts), limit):
        for (place, text), row in zip(chunk, rows, strict=True):
            if row.cut:
                long.append((place, _length(tokenizer, text)))
                continue
            scored = [index for index in row.ids if not tokenizer.special[index]]
            numbers["texts"] += 1
            numbers["tokens"] += len(scored)
            numbers["empty"] += not scored
            numbers["unknown"] += scored.count(tokenizer.unk_id)
    if long:
        raise _too_long(long, limit)
    return Counts(**numbers)


_NAMED = 3  # places that a message names


def _too_long(long: Sequence[tuple[str, int]], limit: int) -> InputError:
    """Returns the error for texts that are too long, given as (place, tokens)."""
    some = ", ".join(f"{place} ({tokens} tokens)" for place, tokens in long[:_NAMED])
    more = f" and {len(long) - _NAMED} more" if len(long) > _NAMED else ""
    what = "a text is" if len(long) == 1 else f"{len(long):,} texts are"
    return InputError(
        f"{what} longer than the {limit} tokens that the model takes, special tokens included",
        where=some + more,
        fix="Shorten or remove them: a text that is cut would get the score of another text.",
        code="E-SCORE-LENGTH",
    )


def _length(tokenizer: Tokenizer, text: Text) -> int:
    """Returns the number of tokens of a text or pair, with special tokens."""
    parts = (text,) if isinstance(text, str) else text
    between = tokenizer.pair_separators * (len(parts) - 1)
    return sum(map(len, tokenizer.encode_batch(list(parts), special_tokens=True))) + 2 + between


def _tokenised(
    tokenizer: Tokenizer, texts: Iterator[tuple[str, Text]], limit: int
) -> Iterator[tuple[list[tuple[str, Text]], list[Row]]]:
    """Yields some texts at a time, with their rows."""
    while chunk := list(itertools.islice(texts, _CHUNK)):
        yield chunk, text_rows(tokenizer, [text for _, text in chunk], limit)


# ----------------------------------------------------------------------------------------------------------------------
# From texts to masked copies


class _Copy(NamedTuple):
    """A text with masks.

    Attributes:
      ids: token ids with special tokens and masks.
      scored: the positions whose tokens this copy scores, in order.
    """

    ids: list[int]
    scored: Sequence[int]


@dataclass(frozen=True)
class _Window:
    """Some consecutive texts, and their masked copies in batches.

    All scored tokens of the window are in one list, text after text.

    Attributes:
      texts: (place, text) of each.
      ends: the end of each text in that list.
      ids: int64 (T,), the true token at each place of the list.
      unk_id: the unknown token.
      batches: the copies in packed rows.
      starts: int64, the first place of each copy in that list, and the end of the list.
      columns: int64 (T,), the position in its copy of each place of the list.
    """

    texts: list[tuple[str, Text]]
    ends: list[int]
    ids: np.ndarray
    unk_id: int
    batches: list[Packed]
    starts: np.ndarray
    columns: np.ndarray


def _windows(
    tokenizer: Tokenizer, texts: Iterator[tuple[str, Text]], mask: str, limit: int, batch_tokens: int
) -> Iterator[_Window]:
    window: list[tuple[str, Text]] = []
    copies: list[_Copy] = []
    firsts: list[int] = []
    ids: list[int] = []
    ends: list[int] = []
    size = 0

    def finished() -> _Window:
        packed = pack([copy.ids for copy in copies], firsts, limit=limit, batch_tokens=batch_tokens, pad_id=pad_id)
        starts = np.concatenate([[0], np.cumsum([len(copy.scored) for copy in copies], dtype=np.int64)])
        columns = np.array([column for copy in copies for column in copy.scored], np.int64)
        return _Window(list(window), list(ends), np.array(ids, np.int64), tokenizer.unk_id, packed, starts, columns)

    pad_id = tokenizer.pad_id
    for chunk, rows in _tokenised(tokenizer, texts, limit):
        for (place, text), row in zip(chunk, rows, strict=True):
            if row.cut:
                raise _too_long([(place, _length(tokenizer, text))], limit)
            made = _copies(tokenizer, row.ids, mask)
            window.append((place, text))
            copies += made
            firsts += [row.first] * len(made)
            ids += [row.ids[position] for copy in made for position in copy.scored]
            ends.append(len(ids))
            size += len(made) * len(row.ids)
            # The two constants are looked up here, so that tests can make windows small.
            if size >= batches.WINDOW * batch_tokens:
                yield finished()
                for one in (window, copies, firsts, ids, ends):
                    one.clear()  # type: ignore[attr-defined]
                size = 0
    if window:
        yield finished()


def _copies(tokenizer: Tokenizer, ids: list[int], mask: str) -> list[_Copy]:
    """Returns the masked copies of a row, which score each of its tokens once, in the order of the row."""
    scored = [position for position, index in enumerate(ids) if not tokenizer.special[index]]
    if mask == "token":
        return [_masked(tokenizer, ids, [position], [position]) for position in scored]
    copies: list[_Copy] = []
    for word in _words(tokenizer, ids, scored):
        if mask == "word":
            copies.append(_masked(tokenizer, ids, word, word))
        else:
            copies += [_masked(tokenizer, ids, word[at:], [position]) for at, position in enumerate(word)]
    return copies


def _masked(tokenizer: Tokenizer, ids: list[int], masked: Sequence[int], scored: Sequence[int]) -> _Copy:
    copy = ids.copy()
    for position in masked:
        copy[position] = tokenizer.mask_id
    return _Copy(copy, scored)


def _words(tokenizer: Tokenizer, ids: list[int], scored: Sequence[int]) -> list[list[int]]:
    """Returns the positions of the tokens of each word."""
    begins = tokenizer.word_begins(ids)
    words: list[list[int]] = []
    for position in scored:
        if begins[position] or not words or words[-1][-1] != position - 1:
            words.append([])
        words[-1].append(position)
    return words


def _slots(window: _Window, batch: Packed) -> np.ndarray:
    """Returns row, column and place in the list of each position that a batch scores, int64 (3, M)."""
    group = batch.arrays["group"]
    before = np.pad(group, ((0, 0), (1, 0)))[:, :-1]
    row_begin, column_begin = np.nonzero((group != before) & (group > 0))
    begin = np.zeros(batch.texts.shape, np.int64)
    begin[row_begin, group[row_begin, column_begin] - 1] = column_begin
    row, slot = np.nonzero(batch.texts >= 0)
    copy = batch.texts[row, slot]
    start = window.starts[copy]
    number = window.starts[copy + 1] - start
    # The places of a copy are start, start + 1, ...
    place = np.arange(number.sum()) + np.repeat(start - np.cumsum(number) + number, number)
    return np.stack([np.repeat(row, number), np.repeat(begin[row, slot], number) + window.columns[place], place])


# ----------------------------------------------------------------------------------------------------------------------
# From masked copies to scores


class _Started(NamedTuple):
    """The work of a batch that the device has begun.

    Attributes:
      places: int64 (M,), places in the list of the window.
      parts: the log-probabilities of equally many places each; the last part is padded.
    """

    places: np.ndarray
    parts: list[jax.Array]


def _stream(model: Loaded, windows: Iterator[_Window]) -> Iterator[ScoredText]:
    before: tuple[_Window, list[_Started]] | None = None
    for window in windows:
        started = dispatch(window.batches, partial(_start, model, window))
        if before is not None:
            yield from _collect(*before)
        before = window, started
    if before is not None:
        yield from _collect(*before)


def _start(model: Loaded, window: _Window, batch: Packed) -> _Started:
    """Starts the computation of a batch and does not wait for it."""
    hidden = _hidden(model.model, model.params, batch.arrays)
    rows, columns, places = _slots(window, batch)
    number = max(1, batch.arrays["tokens"].size // _TOKENS_A_POSITION)
    parts = []
    for start in range(0, len(rows), number):
        some = slice(start, start + number)
        given = (rows[some], columns[some], window.ids[places[some]])
        padded = (np.pad(one.astype(np.int32), (0, number - len(one))) for one in given)
        parts.append(_log_probabilities(model.model, model.config.vocab_size, model.params, hidden, *padded))
    return _Started(places, parts)


def _collect(window: _Window, started: list[_Started]) -> Iterator[ScoredText]:
    found = np.empty(len(window.ids), np.float64)
    for places, parts in started:
        if parts:
            found[places] = np.concatenate([np.asarray(part) for part in parts])[: len(places)]
    begin = 0
    for (place, text), end in zip(window.texts, window.ends, strict=True):
        ids = window.ids[begin:end]
        yield ScoredText(place, text, ids, found[begin:end], int((ids == window.unk_id).sum()))
        begin = end


@partial(jax.jit, static_argnums=0)
def _hidden(model: Model, params: Params, batch: dict[str, Any]) -> jax.Array:
    """Returns hidden states (B, L, D)."""
    # By default, devices with fast products of fewer bits take those for float32, and sums over a text would differ.
    with jax.default_matmul_precision("highest"):
        return model.hidden(params, batch)


@partial(jax.jit, static_argnums=(0, 1))
def _log_probabilities(
    model: Model,
    size: int,
    params: Params,
    x_BLD: jax.Array,
    row_M: jax.Array,
    column_M: jax.Array,
    token_M: jax.Array,
) -> jax.Array:
    """Returns log p (M,) of the given tokens at the given positions of a batch, over the `size` real pieces."""
    with jax.default_matmul_precision("highest"):
        logits_MV = model.masked_lm(params, x_BLD[row_M, column_M][:, None])[:, 0, :size]
    right_M = jnp.take_along_axis(logits_MV, token_M[:, None], axis=-1)[:, 0]
    return right_M - jax.nn.logsumexp(logits_MV, axis=-1)
