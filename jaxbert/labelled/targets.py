"""The labels and the numbers of texts: from what a record holds to the answer of an example."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from typing import Any

from jaxbert.errors import InputError
from jaxbert.inputs.values import short
from jaxbert.labelled.cells import decoded, looks_like_list
from jaxbert.labelled.columns import plain_text

_log = logging.getLogger(__name__)

# Separates several labels in a cell of a table.
SEPARATOR = "|"
# A whole number in a float is a label without its ".0". Larger floats are not exact.
_EXACT = 1 << 53
_LARGEST = 3.4028234663852886e38  # of float32
_MARKS = ("0", "1", "true", "false")
_NAMES = 'Name the labels that apply: a list such as ["sport"], sport|politics in a cell, or one column a label '
_COLUMNS = "(label=SPORT,POLITICS)."


def wrong_label(what: str, place: str, fix: str) -> InputError:
    """Returns the error for a label that cannot be one."""
    return InputError(what, where=place, fix=fix, code="E-LABELLED-LABEL")


def one_label(value: Any, place: str) -> str | None:
    """Returns the name of a label; None where it is unknown: null, or an empty cell.

    The numbers 1 and 1.0 of JSON and the string "1" are one label. The strings "1.0" and "True" stay as they are.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong_label(f"the label is {value}", place, "Give a label, or null where it is unknown.")
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple | dict):
        raise wrong_label(
            f"the label is {short(value)}, but one label is needed",
            place,
            "Give one label, or say that a text has several: problem=several_labels.",
        )
    text = (plain_text(value, "the label", place) or "").strip()
    return text or None


class OneLabel:
    """Reads one label a record. It refuses a file in which only some labels are true or false."""

    def __init__(self) -> None:
        self._first: tuple[bool, str, str] | None = None

    def label(self, value: Any, place: str) -> str | None:
        """Returns the label of a value; None where it is unknown."""
        label = one_label(value, place)
        if label is None:
            return None
        first = self._first = self._first or (isinstance(value, bool), label, place)
        if first[0] != isinstance(value, bool):
            raise wrong_label(
                f"the label is {short(value)}, and the one of {first[2]} is {first[1]!r}: true and false beside other "
                "labels",
                place,
                'Write all labels as strings, such as "true".',
            )
        return label


def number_of(value: Any, place: str) -> float | None:
    """Returns the number of a text; None where it is unknown: null, or an empty cell."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
    except ValueError:
        raise wrong_label(f"the score is {short(value)}, not a number", place, "Give a number such as 3.5.") from None
    if not math.isfinite(number):
        raise wrong_label(f"the score is {number}", place, "Give a finite number, or nothing where it is unknown.")
    if abs(number) > _LARGEST:
        raise wrong_label(
            f"the score is {number:g}, which float32 does not hold", place, f"Give numbers of up to {_LARGEST:g}."
        )
    return number


class SeveralLabels:
    """Reads several labels: a list, or one cell with a bar between two. An empty cell means that no label applies."""

    def __init__(self) -> None:
        self._barred, self._names = False, False
        self._labels: set[str] = set()
        # The first place of each label of a cell that has a comma, and the first list of zeros and ones.
        self._commas: dict[str, str] = {}
        self._marks: tuple[int, str, Any] | None = None

    def labels(self, value: Any, place: str) -> tuple[str, ...] | None:
        """Returns the labels of a value; None where they are unknown (null)."""
        if value is None:
            return None
        if isinstance(value, str) and looks_like_list(value):
            value = decoded(value, "the labels", place)
        if isinstance(value, str):
            self._barred = self._barred or SEPARATOR in value
            given: Sequence[Any] = value.split(SEPARATOR) if value.strip() else []
        elif isinstance(value, list | tuple):
            self._barred = True  # A comma is not a separator beside lists.
            given = value
        else:
            given = [value]
        labels = [label for one in given if (label := one_label(one, place)) is not None]
        marks = len(labels) > 1 and all(label.lower() in _MARKS for label in labels)
        if marks and self._marks is None:
            self._marks = len(labels), place, value
        self._names = self._names or not marks or (self._marks is not None and len(labels) != self._marks[0])
        if len(labels) < len(given):
            raise wrong_label("one of the labels is empty", place, f"Give label{SEPARATOR}label, or a list of labels.")
        if len(set(labels)) < len(labels):
            raise (
                self._of_marks(value, place)
                if marks
                else wrong_label("a label occurs twice", place, "Give each label once.")
            )
        self._labels.update(labels)
        if isinstance(value, str):
            for label in labels:
                if re.search("[,;]", label):
                    self._commas.setdefault(label, place)
        return tuple(labels)

    @staticmethod
    def _of_marks(value: Any, place: str) -> InputError:
        return wrong_label(
            f"the labels are {short(value)}: zeros and ones do not name the labels that apply",
            place,
            _NAMES + _COLUMNS,
        )

    def check(self) -> None:
        """Raises InputError where commas seem to separate the labels, or where zeros and ones mark them."""
        if self._marks is not None and not self._names:
            raise self._of_marks(self._marks[2], self._marks[1])
        for label, place in self._commas.items():
            if not self._barred:
                raise wrong_label(
                    f"a comma or a semicolon is in the labels, and no cell of the file has {SEPARATOR!r}, which "
                    "separates labels",
                    place,
                    f"Write a{SEPARATOR}b for two labels.",
                )
            parts = [part.strip() for part in re.split("[,;]", label)]
            if self._labels.issuperset(parts):
                raise wrong_label(
                    f"the label {label!r} has a comma between labels of the file, but {SEPARATOR!r} separates labels",
                    place,
                    f"Write {SEPARATOR.join(parts)}; or a list of labels, if {label!r} is one.",
                )
        if self._commas:
            label, place = next(iter(self._commas.items()))
            _log.info(f"only {SEPARATOR!r} separates labels: {label!r} is one label ({place})")


def marked(values: dict[str, Any], place: str) -> tuple[str, ...] | None:
    """Returns the labels whose columns hold 1 or true; None where all of them are empty.

    Args:
      values: what the record holds, by the names of the columns, which are the labels.
      place: the place of the record.

    Raises:
      InputError: a column holds something else than 0, 1, true, false.
    """
    found = {name: (one_label(value, place) or "").lower().removesuffix(".0") for name, value in values.items()}
    if not any(found.values()):
        return None
    for name, mark in found.items():
        if mark not in _MARKS:
            raise wrong_label(
                f"the column {name!r} holds {short(values[name])}, but it marks a label",
                place,
                "Give 1 or true where the label applies, and 0 or false elsewhere.",
            )
    return tuple(name.strip() for name, mark in found.items() if mark in ("1", "true"))
