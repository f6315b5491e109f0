"""From a model's scores of windows back to answers: labels of words, entities, and answers of questions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxbert.labelled.examples import Question, WordsExample
from jaxbert.labelled.tags import spans

# google-research/bert run_squad.py: --n_best_size and --max_answer_length.
N_BEST, MAX_ANSWER_TOKENS = 20, 30


def words_of_windows(
    values: np.ndarray, rows: np.ndarray, examples: Sequence[WordsExample], *, first: int = 0
) -> list[np.ndarray]:
    """Returns what was computed of each word of each example.

    The value of a word is that of its first token. A word that is in two windows has it from the window in which it is
    farther from the edge, because `encode` gave the word its number only there.

    Args:
      values: of each token of the rows, [rows, L, ...]: ids of labels, or scores of them.
      rows: all rows of the examples, as `encode` made them.
      examples: the examples.
      first: the number of the first example in its split.

    Returns:
      For each example [words, ...]. A word without a token has -1, or NaN where the values are floats.
    """
    values = np.asarray(values)
    missing = np.nan if np.issubdtype(values.dtype, np.floating) else -1
    found = [np.full((len(one.words), *values.shape[2:]), missing, values.dtype) for one in examples]
    row, column = np.nonzero(rows["word"] >= 0)
    words, documents = rows["word"][row, column], rows["origins"]["document"][row, 0].astype(np.int64) - first
    picked = values[row, column]
    order = np.argsort(documents, kind="stable")
    ends = np.searchsorted(documents[order], np.arange(len(examples) + 1))
    for number, (begin, end) in enumerate(itertools.pairwise(ends)):
        mine = order[begin:end]
        found[number][words[mine]] = picked[mine]
    return found


class Entity(NamedTuple):
    """An entity of a text.

    Attributes:
      label: its type.
      first, last: the numbers of its first and its last word, from 0.
      start, end: its first character in the text, and the one behind its last.
      text: its characters.
      probability: the least of the probabilities of its words' tags; NaN where they are not known.
    """

    label: str
    first: int
    last: int
    start: int
    end: int
    text: str
    probability: float


def entities(
    tags: Sequence[str], example: WordsExample, probabilities: Sequence[float] | np.ndarray | None = None
) -> list[Entity]:
    """Returns the entities that tags mark in a text, in order.

    A tag I-TYPE that follows no tag of its type begins an entity, as in conlleval; see `jaxbert.labelled.tags`.

    Args:
      tags: a tag for each word of the example.
      example: the text and its words.
      probabilities: the probability of each tag.
    """
    found = []
    for label, first, end in spans(tags):
        start, stop = example.words[first][0], example.words[end - 1][1]
        known = np.asarray([float("nan")] if probabilities is None else probabilities[first:end], np.float64)
        # A word without a token has no probability.
        known = known[~np.isnan(known)]
        sure = float(known.min()) if len(known) else float("nan")
        found.append(Entity(label, first, end - 1, start, stop, example.text[start:stop], sure))
    return found


class Candidate(NamedTuple):
    """A possible answer.

    Attributes:
      text: its characters.
      start, end: its first character in the text, and the one behind its last.
      score: the sum of the scores of its first and its last token.
      probability: its share in the softmax over the best candidates of its question and the answer "none".
    """

    text: str
    start: int
    end: int
    score: float
    probability: float


@dataclass(frozen=True)
class Answer:
    """The answer of a question.

    Attributes:
      text: the best answer; "" where no token of any row may be in an answer.
      start, end: its first character in the text, and the one behind its last.
      score: the sum of the scores of its first and its last token; -infinity without an answer.
      null_score: the score of the answer "none": the least over the windows of the sum of the scores of their first
        tokens, as in google-research/bert run_squad.py. `null_score - score` above a threshold means that the text has
        no answer.
      candidates: the best answers, the best first.
    """

    text: str
    start: int
    end: int
    score: float
    null_score: float
    candidates: tuple[Candidate, ...]


def best_answers(
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    rows: np.ndarray,
    examples: Sequence[Question],
    *,
    n_best: int = N_BEST,
    max_tokens: int = MAX_ANSWER_TOKENS,
    first: int = 0,
) -> list[Answer]:
    """Returns the best answer of each question, over all windows of its text.

    Args:
      start_logits: scores of each token as the first one of the answer, [rows, L].
      end_logits: scores of each token as the last one.
      rows: all rows of the questions, as `encode` made them.
      examples: the questions.
      n_best: the number of the best first and last tokens of a window that are combined, and of candidates.
      max_tokens: the most tokens of an answer.
      first: the number of the first question in its split.
    """
    start_logits, end_logits = np.asarray(start_logits, np.float64), np.asarray(end_logits, np.float64)
    documents = rows["origins"]["document"][:, 0].astype(np.int64) - first
    order = np.argsort(documents, kind="stable")
    ends = np.searchsorted(documents[order], np.arange(len(examples) + 1))
    found = []
    for one, (begin, end) in zip(examples, itertools.pairwise(ends), strict=True):
        # The best score of each stretch of characters: two windows may have the same one.
        best: dict[tuple[int, int], float] = {}
        null = np.inf
        for row in order[begin:end]:
            null = min(null, float(start_logits[row, 0] + end_logits[row, 0]))
            for place, score in _spans(start_logits[row], end_logits[row], rows[row], n_best, max_tokens):
                best[place] = max(score, best.get(place, -np.inf))
        found.append(_answer(one, best, float(null), n_best))
    return found


def _spans(
    start: np.ndarray, end: np.ndarray, row: np.void, n_best: int, max_tokens: int
) -> list[tuple[tuple[int, int], float]]:
    """Returns ((first character, the one behind the last), score) of the best stretches of a window."""
    inside = np.flatnonzero(row["inside"])
    starts = inside[np.argsort(-start[inside], kind="stable")[:n_best]]
    ends = inside[np.argsort(-end[inside], kind="stable")[:n_best]]
    lengths = ends[None, :] - starts[:, None] + 1
    left, right = np.nonzero((lengths >= 1) & (lengths <= max_tokens))
    scores = start[starts[left]] + end[ends[right]]
    kept = np.argsort(-scores, kind="stable")[:n_best]
    offsets = row["offsets"]
    return [
        ((int(offsets[starts[left[one]], 0]), int(offsets[ends[right[one]], 1])), float(scores[one])) for one in kept
    ]


def _answer(one: Question, best: dict[tuple[int, int], float], null: float, n_best: int) -> Answer:
    ordered = sorted(best.items(), key=lambda item: (-item[1], item[0]))[:n_best]
    if not ordered:
        return Answer("", 0, 0, float("-inf"), null, ())
    scores = np.array([*(score for _, score in ordered), null])
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    candidates = tuple(
        Candidate(one.context[start:end], start, end, score, float(share))
        for ((start, end), score), share in zip(ordered, shares, strict=False)
    )
    top = candidates[0]
    return Answer(top.text, top.start, top.end, top.score, null, candidates)
