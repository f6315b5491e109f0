"""Pseudo-log-likelihood: how probable a masked language model finds a text.

The score of a text is the sum of log p(token | the rest of the text) over its tokens, in nats. Each token is masked in
turn (Salazar et al. 2020, "Masked Language Model Scoring", arXiv:1910.14659). Special tokens are never scored: those
around a text, and those that its characters name, such as "[MASK]".

The sum overrates words of several pieces, because the model sees the other pieces of the word. Kauf and Ivanova (2023,
"A Better Way to Do Masked Language Model Scoring", arXiv:2305.10588) therefore mask more than the scored token; see
`MASKS`.

A text of n tokens is n masked copies, or one a word with the mask "word"; `jaxbert.evaluate.masked` computes them.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxbert.config import did_you_mean
from jaxbert.errors import InputError
from jaxbert.evaluate.masked import Query, log_probabilities
from jaxbert.text.text_rows import Row, Text, text_rows
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.arguments import check_segments, check_texts
from jaxbert.use.batches import check_limits
from jaxbert.use.library import Loaded

# The ways to mask the token that is scored. The words are those of `Tokenizer.word_begins`.
MASKS: Mapping[str, str] = {
    "token": "the token (Salazar et al. 2020)",
    "word": "all pieces of its word",
    "word-l2r": "the token and the pieces to its right in its word (PLL-word-l2r of Kauf and Ivanova 2023)",
}

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
    model.require_tokenizer()
    check_limits(model, None, batch_tokens)
    return _stream(model, iter(texts), mask, batch_tokens)


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
# From texts to masked copies, and from their log-probabilities to scores


class _Waiting(NamedTuple):
    """A text whose copies are on their way.

    Attributes:
      place, text: as given.
      ids: the scored tokens.
      copies: the number of its masked copies.
    """

    place: str
    text: Text
    ids: np.ndarray
    copies: int


def _stream(
    model: Loaded, texts: Iterator[tuple[str, Text]], mask: str, batch_tokens: int | None
) -> Iterator[ScoredText]:
    tokenizer, limit = model.require_tokenizer(), model.config.longest_row
    waiting: deque[_Waiting] = deque()

    def queries() -> Iterator[Query]:
        for chunk, rows in _tokenised(tokenizer, texts, limit):
            for (place, text), row in zip(chunk, rows, strict=True):
                if row.cut:
                    raise _too_long([(place, _length(tokenizer, text))], limit)
                copies = _copies(tokenizer, row, mask)
                ids = np.array([index for copy in copies for index in copy.targets], np.int64)
                waiting.append(_Waiting(place, text, ids, len(copies)))
                yield from copies

    def scored(parts: list[np.ndarray]) -> ScoredText:
        place, text, ids, _ = waiting.popleft()
        scores = np.concatenate(parts) if parts else np.zeros(0)
        return ScoredText(place, text, ids, scores, int((ids == tokenizer.unk_id).sum()))

    parts: list[np.ndarray] = []
    for part in log_probabilities(model, queries(), batch_tokens=batch_tokens):
        while not waiting[0].copies:
            yield scored([])
        parts.append(part)
        if len(parts) == waiting[0].copies:
            yield scored(parts)
            parts = []
    while waiting:
        yield scored([])


def _copies(tokenizer: Tokenizer, row: Row, mask: str) -> list[Query]:
    """Returns the masked copies of a row, which score each of its tokens once, in the order of the row."""
    scored = [position for position, index in enumerate(row.ids) if not tokenizer.special[index]]
    if mask == "token":
        return [_masked(tokenizer, row, [position], [position]) for position in scored]
    copies: list[Query] = []
    for word in words_of(tokenizer, row.ids):
        if mask == "word":
            copies.append(_masked(tokenizer, row, word, word))
        else:
            copies += [_masked(tokenizer, row, word[at:], [position]) for at, position in enumerate(word)]
    return copies


def _masked(tokenizer: Tokenizer, row: Row, masked: Sequence[int], scored: Sequence[int]) -> Query:
    copy = row.ids.copy()
    for position in masked:
        copy[position] = tokenizer.mask_id
    return Query(copy, row.first, scored, [row.ids[position] for position in scored])


def words_of(tokenizer: Tokenizer, ids: Sequence[int]) -> list[list[int]]:
    """Returns the positions of the tokens of each word of a row. Special tokens belong to none."""
    begins = tokenizer.word_begins(ids)
    words: list[list[int]] = []
    for position, index in enumerate(ids):
        if tokenizer.special[index]:
            continue
        if begins[position] or not words or words[-1][-1] != position - 1:
            words.append([])
        words[-1].append(position)
    return words
