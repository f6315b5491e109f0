"""Minimal pairs: a model is right where it gives the acceptable sentence the higher pseudo-log-likelihood.

A record of a file is a pair with the fields of BLiMP (Warstadt et al. 2020, arXiv:1912.00582): `sentence_good`,
`sentence_bad`, and `UID` (the paradigm), `field` and `linguistics_term`, which may be missing. The UID of a file
without one is the name of the file, as in the evaluation of BabyLM. `sentence_bad` may be a list of sentences, and the
good sentence must have a higher score than each of them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import is_blank, without_surrogates
from jaxbert.data.sources.formats import kind_of
from jaxbert.data.sources.json_file import values
from jaxbert.data.sources.jsonl import objects
from jaxbert.errors import InputError, counted
from jaxbert.evaluate.likelihood import ScoredText, score_stream
from jaxbert.inputs.values import short
from jaxbert.use.arguments import Text
from jaxbert.use.library import Loaded

GOOD, BAD = "sentence_good", "sentence_bad"
# The endings of files that can hold pairs, without that of their packing.
KINDS = ("jsonl", "json")
# Scores that differ by less are equal: so much they may differ between batches and machines, in nats.
TIE = 1e-4
# Two-sided intervals of 95% of the normal distribution.
_Z95 = 1.959963984540054
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


def read_pairs(path: Path, name: str = "", *, good: str = GOOD, bad: str = BAD) -> Iterator[Pair]:
    """Yields the pairs of a file of JSON lines, or of a JSON array.

    Args:
      path: the file; may be packed (.xz, .gz, .zst, .bz2).
      name: the name of the file for messages and for the UID; the path by default.
      good, bad: the fields of the sentences.

    Raises:
      InputError: the file cannot be read, or a record is not a pair.
    """
    name = name or str(path)
    stem = Path(name).name.split(".")[0]
    for place, record in records(path, name):
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


def records(path: Path, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields (place, JSON object) of each record of a file. Raises InputError where a record is something else."""
    kind = kind_of(path)
    if kind not in KINDS:
        raise InputError(
            "minimal pairs are read from files of JSON",
            where=name,
            fix="Give a file of JSON lines (.jsonl), or a JSON array (.json).",
            code="E-SCORE-FIELD",
        )
    for number, record in objects(path) if kind == "jsonl" else values(path):
        place = f"{name}:{number}"
        if not isinstance(record, dict):
            raise InputError(
                f"the record is not an object: {short(record)}",
                where=place,
                fix=f'Give records such as {{"{GOOD}": "...", "{BAD}": "..."}}.',
                code="E-SCORE-FIELD",
            )
        yield place, record


def holds_pairs(path: Path, *, good: str = GOOD, bad: str = BAD) -> bool:
    """Returns whether the first record of a file has the fields of a pair."""
    if kind_of(path) not in KINDS:
        return False
    first = next(iter(objects(path) if kind_of(path) == "jsonl" else values(path)), (0, None))[1]
    return isinstance(first, dict) and good in first and bad in first


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
    def points(self) -> float:
        """Returns 1 where the good sentence has the highest score, 0.5 where it shares it (a tie), else 0."""
        lead = self.good.score - max(one.score for one in self.bad)
        return 0.5 if abs(lead) < TIE else float(lead > 0)


def judge_stream(
    model: Loaded, pairs: Iterable[Pair], *, mask: str = "token", batch_tokens: int | None = None
) -> Iterator[Judged]:
    """Yields each pair with its scores, in order. See `jaxbert.evaluate.likelihood.score_stream`."""
    waiting: deque[Pair] = deque()

    def texts() -> Iterator[tuple[str, Text]]:
        for pair in pairs:
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


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """Returns Wilson's interval of a share with a coverage of 95% (Wilson 1927, doi 10.1080/01621459.1927.10502953).

    Args:
      successes: may be a multiple of a half: a tie is half a success.
      trials: their number, at least 1.
    """
    share, weight = successes / trials, _Z95**2 / trials
    middle = (share + weight / 2) / (1 + weight)
    half = _Z95 / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass
class Tally:
    """Counts pairs that were judged, by paradigm and by field.

    Attributes:
      pairs: their number.
      points: the sum of their points.
      ties: the number of ties.
      tied: the places of the first ties.
      by_uid, by_field: [pairs, points, ties] by the name of a paradigm or field.
    """

    pairs: int = 0
    points: float = 0.0
    ties: int = 0
    tied: list[str] = field(default_factory=list)
    by_uid: dict[str, list[float]] = field(default_factory=dict)
    by_field: dict[str, list[float]] = field(default_factory=dict)

    def add(self, judged: Judged) -> None:
        """Counts one pair."""
        points = judged.points
        tie = points == 0.5
        self.pairs += 1
        self.points += points
        self.ties += tie
        if tie and len(self.tied) < _MANY:
            self.tied.append(judged.pair.place)
        for table, name in ((self.by_uid, judged.pair.uid), (self.by_field, judged.pair.field)):
            sums = table.setdefault(name, [0, 0.0, 0])
            for at, value in enumerate((1, points, tie)):
                sums[at] += value

    def figures(self) -> dict[str, Any]:
        """Returns accuracies with intervals as JSON: over all pairs, by paradigm ("by_uid") and by field.

        "mean_of_uids" is the mean of the accuracies of the paradigms, which counts each paradigm alike.
        """
        by_uid = {name: _figures(*sums) for name, sums in sorted(self.by_uid.items())}
        fields = {name: sums for name, sums in self.by_field.items() if name}
        return {
            **_figures(self.pairs, self.points, self.ties),
            "mean_of_uids": sum(one["accuracy"] for one in by_uid.values()) / len(by_uid),
            "by_uid": by_uid,
            "by_field": {name: _figures(*sums) for name, sums in sorted(fields.items())},
            "tied": self.tied,
        }


def _figures(pairs: float, points: float, ties: float) -> dict[str, Any]:
    return {
        "pairs": int(pairs),
        "accuracy": points / pairs,
        "interval": list(wilson(points, int(pairs))),
        "ties": int(ties),
    }


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
