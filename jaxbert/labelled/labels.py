"""Finds the labels of a task in its train split, and compares those of the other splits with them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence

from jaxbert.errors import InputError, counted
from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample, WordsExample
from jaxbert.labelled.reading import UNLABELLED
from jaxbert.labelled.tags import OUTSIDE, are_spans, parts

_log = logging.getLogger(__name__)

# Labels that are numbers with a fraction are scores if there are more different ones.
_MOST_FRACTIONS = 10
# Labels are not labels if there are more than this, and more than this share of the examples.
_MOST_LABELS, _LABEL_SHARE = 100, 0.5


def find_labels(kind: str, problem: str, examples: Iterable[Example]) -> tuple[str, ...]:
    """Returns the labels of the train split, in an order that does not depend on the order of the examples.

    Numbers are in the order of numbers (0, 1, 10), other labels in the order of their characters. For token_labels they
    are "O", and "B-TYPE" and "I-TYPE" of each type; or the labels of words that mark no spans. A kind or a problem
    without labels gives ().

    Args:
      kind: a key of `KINDS`.
      problem: for classification: "one_label" (or ""), "several_labels" or "number".
      examples: of the train split.

    Raises:
      InputError: there is no example, an example has no answer, or the labels cannot be learned: there is only one, or
        they are scores.
    """
    counts: dict[str, int] = {}
    first: dict[str, str] = {}
    number = 0
    for example in examples:
        number += 1
        if is_unknown(example) and kind != "sentence_vectors":
            raise _missing(example)
        for label in _labels_of(example):
            if label not in counts:
                first[label] = example.place
            counts[label] = counts.get(label, 0) + 1
    if not number:
        raise empty("train")
    if kind == "token_labels":
        return _tags(set(counts), first.get(OUTSIDE, "the train split"))
    if kind != "classification" or problem == "number":
        return ()
    several = problem == "several_labels"
    if not counts or (len(counts) == 1 and not several):
        raise InputError(
            f"all {number:,} examples have the label {next(iter(counts))!r}" if counts else "no example has a label",
            where=next(iter(first.values()), "the train split"),
            fix="Give examples of two labels or more.",
            code="E-LABELLED-CLASSES",
        )
    if not several:
        _refuse_scores(counts, first, number)
    return ordered(counts)


def _labels_of(example: Example) -> Iterable[str]:
    if isinstance(example, WordsExample):
        return example.tags or ()
    if isinstance(example, TextExample):
        target = example.target
        return target if isinstance(target, tuple) else (target,) if isinstance(target, str) else ()
    return ()


def answers_to_keep(example: Example) -> set[str]:
    """Returns the answers of an example that the train split must have too: its labels, or that there is no answer."""
    if isinstance(example, Question):
        return {"an answer" if example.answers else "no answer"} if example.answers is not None else set()
    return set(_labels_of(example))


def on_one_line(label: str) -> str:
    """Returns a label for a line of the log, with an escape for each character that is not printed."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in label)


# The labels that a line names.
_NAMED = 12


def shares_line(labels: Sequence[str], examples: Sequence[Example]) -> str:
    """Returns a line about the labels of a split: "2 labels: good 51%, bad 49%", the most frequent first.

    The shares are of the examples, or of the words where each word has a label.
    """
    counts = dict.fromkeys(labels, 0)
    words = 0
    for example in examples:
        for label in _labels_of(example):
            counts[label] = counts.get(label, 0) + 1
        words += len(example.words) if isinstance(example, WordsExample) else 1
    ordered = sorted(counts, key=lambda label: -counts[label])
    shown = ", ".join(f"{on_one_line(label)} {counts[label] / max(words, 1):.1%}" for label in ordered[:_NAMED])
    return f"{counted(len(labels), 'label')}: {shown}{', ...' if len(labels) > _NAMED else ''}"


def is_unknown(example: Example) -> bool:
    """Returns whether an example has no answer."""
    if isinstance(example, TextExample | ChoiceExample):
        return example.target is None
    if isinstance(example, WordsExample):
        return example.tags is None
    return isinstance(example, Question) and example.answers is None


def ordered(labels: Iterable[str]) -> tuple[str, ...]:
    """Returns labels in order: as numbers where all of them are numbers, else by their characters."""
    labels = list(labels)
    numbers = {label: _float(label) for label in labels}
    if all(number is not None for number in numbers.values()):
        return tuple(sorted(labels, key=lambda label: (numbers[label], label)))
    return tuple(sorted(labels))


def _float(label: str) -> float | None:
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _refuse_scores(counts: dict[str, int], first: dict[str, str], examples: int) -> None:
    numbers = [_float(label) for label in counts]
    fractions = [label for label, number in zip(counts, numbers, strict=True) if number is not None and number % 1]
    scores = fractions and len(counts) > _MOST_FRACTIONS and None not in numbers
    if scores or len(counts) > max(_MOST_LABELS, _LABEL_SHARE * examples):
        label = fractions[0] if scores else next(iter(counts))
        raise InputError(
            f"{counted(examples, 'example')} have {len(counts):,} different labels, such as {label!r}: these are "
            f"{'scores' if scores else 'not labels'}",
            where=first[label],
            fix="Learn numbers, --set task.problem=number; or name the column of the label, --columns label=COLUMN."
            if None not in numbers
            else "Name the column of the label: --columns label=COLUMN.",
            code="E-LABELLED-CLASSES",
        )


def _tags(found: set[str], where: str) -> tuple[str, ...]:
    if not found - {OUTSIDE}:
        raise InputError(
            f"all words have the tag {OUTSIDE}" if found else "no word has a tag",
            where=where,
            fix="Give texts with entities, or name another column of tags.",
            code="E-LABELLED-CLASSES",
        )
    if not are_spans(found):
        if len(found) == 1:
            raise InputError(
                f"all words have the label {next(iter(found))!r}",
                where=where,
                fix="Give texts whose words have two labels or more.",
                code="E-LABELLED-CLASSES",
            )
        return ordered(found)
    types = sorted({known[1] for tag in found if tag != OUTSIDE and (known := parts(tag))})
    both = (f"{letter}-{name}" if name else letter for name in types for letter in "BI")
    return (OUTSIDE, *both)


def check_split(split: str, labels: Sequence[str], examples: Iterable[Example], *, needs_answers: bool = True) -> None:
    """Checks the examples of another split: that there are some, with answers, and with labels that are known.

    Args:
      split: the name of the split. All examples of a test split may lack answers, but not some of them.
      labels: of `find_labels`.
      examples: of the split.
      needs_answers: whether the task needs answers. Pairs that are learned with negatives need none.

    Raises:
      InputError: it finds the first example that is wrong.
    """
    known = set(labels)
    number = 0
    unknown = answered = None
    for example in examples:
        number += 1
        if is_unknown(example):
            unknown = unknown or example
        else:
            answered = answered or example
        for label in _labels_of(example):
            if known and label not in known:
                shown = ", ".join(map(on_one_line, labels[:20])) + (" ..." if len(labels) > 20 else "")
                raise InputError(
                    f"the label {label!r} is not in the train split",
                    where=example.place,
                    fix=f"Labels of the train split: {shown}. Mend the label, leave the example out, or train "
                    "with such examples.",
                    code="E-LABELLED-LABEL",
                )
    if not number:
        raise empty(split)
    if needs_answers and unknown is not None and (answered is not None or not split.startswith(UNLABELLED)):
        raise _missing(unknown)


def empty(split: str) -> InputError:
    """Returns the error for a split without examples."""
    return InputError(
        f"the split {split} has no examples",
        where=f"the {split} split",
        fix="Give a file that has examples.",
        code="E-LABELLED-EMPTY",
    )


def _missing(example: Example) -> InputError:
    return InputError(
        "the example has no answer",
        where=example.place,
        fix="Give each example its label, or remove those without one.",
        code="E-LABELLED-LABEL",
    )
