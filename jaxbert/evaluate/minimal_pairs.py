"""Minimal pairs: a model is right where it gives the acceptable sentence the higher pseudo-log-likelihood.

A record of a file (JSON lines, JSON, CSV, TSV, Parquet) is a pair with the fields of BLiMP (Warstadt et al. 2020,
arXiv:1912.00582): `sentence_good`, `sentence_bad`, and `UID` (the paradigm), `field` and `linguistics_term`, which may
be missing. The UID of a file without one is the name of the file, as in the evaluation of BabyLM. `sentence_bad` may be
a list of sentences, and the good sentence must have a higher score than each of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import is_blank, without_surrogates
from jaxbert.errors import InputError, counted
from jaxbert.evaluate.likelihood import ScoredText, score_stream
from jaxbert.inputs.values import short
from jaxbert.labelled.tables import form_of, open_records
from jaxbert.scores import pairs
from jaxbert.scores.intervals import share
from jaxbert.text.text_rows import Text
from jaxbert.use.library import Loaded

GOOD, BAD = "sentence_good", "sentence_bad"
# Scores that differ by less are equal: so much they may differ between batches and machines, in nats.
TIE = 1e-4
# The ties that a summary names.
_NAMED = 5
_MANY = 1000  # ties whose places are kept


@dataclass(frozen=True)
class Pair:
    """A minimal pair.

    Attributes:
      place: file and line.
      good: the acceptable sentence.
      bad: one or more sentences that are not.
      uid: the name of its paradigm.
      field: the field of linguistics; "" where the file does not say.
      term: the linguistic phenomenon; "" where the file does not say.
    """

    place: str
    good: str
    bad: tuple[str, ...]
    uid: str
    field: str = ""
    term: str = ""


def read_pairs(file: str, *, good: str = GOOD, bad: str = BAD) -> Iterator[Pair]:
    """Yields the pairs of a file of records.

    Args:
      file: the path; the file may be packed (.xz, .gz, .zst, .bz2).
      good, bad: the fields of the sentences.

    Raises:
      InputError: the file cannot be read, or a record is not a pair.
    """
    stem = Path(file).name.split(".")[0]
    for place, record in open_records(file, split="", wanted=(good, bad)).read():
        for key in (good, bad):
            if key not in record:
                raise InputError(
                    f"the record has no field {key!r}",
                    where=place,
                    fix=f"{did_you_mean(key, list(record))}Fields there: {', '.join(record)[:200] or 'none'}. Name the "
                    "fields of the sentences with --good and --bad.",
                    code="E-SCORE-FIELD",
                )
        others = record[bad] if isinstance(record[bad], list) else [record[bad]]
        if not others:
            raise _no_sentence(bad, record[bad], place)
        yield Pair(
            place,
            _sentence(record[good], good, place),
            tuple(_sentence(other, bad, place) for other in others),
            _label(record, "UID", place) or stem,
            _label(record, "field", place),
            _label(record, "linguistics_term", place),
        )


def holds_pairs(file: str, *, good: str = GOOD, bad: str = BAD) -> bool:
    """Returns whether the records of a file have the fields of a pair. A file that cannot be read has none."""
    if not form_of(Path(file)):
        return False
    try:
        return {good, bad} <= set(open_records(file, split="", wanted=(good, bad)).fields)
    except InputError:
        return False


def _sentence(value: Any, key: str, place: str) -> str:
    if not isinstance(value, str) or is_blank(value):
        raise _no_sentence(key, value, place)
    return without_surrogates(value)


def _no_sentence(key: str, value: Any, place: str) -> InputError:
    return InputError(
        f"{key!r} is {short(value)}, but a sentence is needed",
        where=place,
        fix="Give a string that is not empty, or remove the record.",
        code="E-SCORE-FIELD",
    )


def _label(record: Mapping[str, Any], key: str, place: str) -> str:
    value = record.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    raise InputError(
        f"{key!r} is {short(value)}, but a name is needed",
        where=place,
        fix="Give a string, or leave the field out.",
        code="E-SCORE-FIELD",
    )


# ----------------------------------------------------------------------------------------------------------------------
# Scores


@dataclass(frozen=True)
class Judged:
    """A pair with its scores.

    Attributes:
      pair: the pair.
      good: the score of its acceptable sentence.
      bad: the scores of the others.
    """

    pair: Pair
    good: ScoredText
    bad: tuple[ScoredText, ...]

    @property
    def scores(self) -> tuple[float, float]:
        """Returns the scores of the good sentence and of the best other one, which are equal where they tie."""
        best = max(one.score for one in self.bad)
        return self.good.score, self.good.score if abs(self.good.score - best) < TIE else best

    @property
    def points(self) -> float:
        """Returns 1 where the good sentence has the highest score, 0.5 where it shares it (a tie), else 0."""
        return float(pairs.points_of(*map(np.array, self.scores)))


def judge_stream(
    model: Loaded, given: Iterable[Pair], *, mask: str = "token", batch_tokens: int | None = None
) -> Iterator[Judged]:
    """Yields each pair with its scores, in order. See `jaxbert.evaluate.likelihood.score_stream`."""
    waiting: deque[Pair] = deque()

    def texts() -> Iterator[tuple[str, Text]]:
        for pair in given:
            waiting.append(pair)
            yield from sentences(pair)

    scores = score_stream(model, texts(), mask=mask, batch_tokens=batch_tokens)

    def found() -> Iterator[Judged]:
        for good in scores:
            pair = waiting.popleft()
            yield Judged(pair, good, tuple(next(scores) for _ in pair.bad))

    return found()


def sentences(pair: Pair) -> Iterator[tuple[str, Text]]:
    """Yields (place, sentence) of a pair, the good one first."""
    yield from ((pair.place, sentence) for sentence in (pair.good, *pair.bad))


class Tally:
    """Collects pairs that were judged, and counts them by paradigm and by field."""

    def __init__(self) -> None:
        self._scores: list[tuple[float, float]] = []
        self._uids: list[str] = []
        self._fields: list[str] = []
        self._tied: list[str] = []

    def add(self, judged: Judged) -> None:
        """Counts one pair."""
        good, bad = judged.scores
        self._scores.append((good, bad))
        self._uids.append(judged.pair.uid)
        self._fields.append(judged.pair.field)
        if good == bad and len(self._tied) < _MANY:
            self._tied.append(judged.pair.place)

    def figures(self) -> dict[str, Any]:
        """Returns accuracies with intervals as JSON: over all pairs, by paradigm ("by_uid") and by field.

        "mean_of_uids" is the mean of the accuracies of the paradigms, which counts each paradigm alike.
        """
        good, bad = np.array(self._scores, np.float64).reshape(-1, 2).T
        scored = pairs.score(good, bad, self._uids)
        by_field = pairs.score(good, bad, self._fields).details["by_group"]
        return {
            **_figures({**scored.values, **scored.details}),
            "mean_of_uids": scored.values["group_accuracy"],
            "by_uid": {name: _figures(one) for name, one in scored.details["by_group"].items()},
            "by_field": {name: _figures(one) for name, one in by_field.items() if name},
            "tied": self._tied,
        }


def _figures(one: Mapping[str, Any]) -> dict[str, Any]:
    found = share(one["accuracy"] * one["pairs"], one["pairs"])
    return {"pairs": one["pairs"], "accuracy": found.value, "interval": [found.low, found.high], "ties": one["ties"]}


def lines(figures: Mapping[str, Any]) -> list[str]:
    """Returns the table of `Tally.figures`, as lines for people."""
    width = max(len(name) for name in (*figures["by_uid"], *figures["by_field"], "mean of the paradigms"))
    head = f"{'':<{width}}  {'pairs':>7}  accuracy  95% interval    ties"
    table = [head, *(_line(name, one, width) for name, one in figures["by_uid"].items())]
    if len(figures["by_field"]) > 1:
        table += ["by field", *(_line(name, one, width) for name, one in figures["by_field"].items())]
    if len(figures["by_uid"]) > 1:
        table += [f"{'mean of the paradigms':<{width}}  {'':>7}  {figures['mean_of_uids']:8.1%}"]
    table.append(_line("all pairs", figures, width))
    if figures["ties"]:
        table.append(
            f"look at: {counted(figures['ties'], 'tie')} (the scores differ by less than {TIE:g} nats), each counted "
            f"as half right: {_some(figures['tied'], figures['ties'])}"
        )
    return table


def _line(name: str, one: Mapping[str, Any], width: int) -> str:
    low, high = one["interval"]
    ties = f"{one['ties']:>6,}" if one["ties"] else ""
    interval = f"{100 * low:5.1f} to {100 * high:5.1f}"
    return f"{name:<{width}}  {one['pairs']:>7,}  {one['accuracy']:8.1%}  {interval}  {ties}".rstrip()


def _some(places: Sequence[str], number: int) -> str:
    more = f" and {number - _NAMED:,} more" if number > _NAMED else ""
    return ", ".join(places[:_NAMED]) + more
