"""The columns of a file by their roles: which column holds the text, the label, and so on.

A user may name the column of a role. Otherwise it is the first one with a usual name, and a line of the log says which.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import text_of, without_surrogates
from jaxbert.errors import InputError
from jaxbert.labelled.tables import Records

_log = logging.getLogger(__name__)

# Pairs of columns that name two texts. The first that are there are taken.
PAIRS = (
    ("text", "pair"),
    ("text", "text_pair"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
)
_LABELS = ("label", "labels", "target", "class", "gold_label", "score")
# The usual names of the columns of each role, by kind.
USUAL: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "classification": {
        "text": ("text", "sentence", "content", "review"),
        "pair": (),
        "label": _LABELS,
        "id": ("id", "idx", "index", "guid"),
    },
    "token_labels": {
        "words": ("words", "tokens"),
        "tags": ("tags", "ner_tags", "labels", "pos_tags"),
        "text": ("text", "sentence"),
        "entities": ("entities", "spans"),
        "id": ("id", "idx", "guid"),
    },
    "question_answering": {
        "question": ("question",),
        "context": ("context", "passage", "text"),
        "answers": ("answers", "answer", "answer_text"),
        "start": ("answer_start", "start"),
        "id": ("id", "qid", "idx"),
    },
    "multiple_choice": {
        "text": ("text", "context", "ctx", "article", "passage", "premise", "sent1", "goal"),
        "question": ("question", "sent2", "startphrase"),
        "choices": ("choices", "endings", "options"),
        "label": ("label", "answer", "answerKey", "gold"),
        "id": ("id", "idx", "ind"),
    },
}
# The same for a task whose answers are numbers.
NUMBER = {**USUAL["classification"], "label": ("score", "similarity", "label", "target")}


class Columns:
    """The columns of the roles of a kind, and the values of a record by their roles."""

    def __init__(self, records: Records, given: Mapping[str, str], usual: Mapping[str, tuple[str, ...]]):
        self.records = records
        self._column: dict[str, str] = {}
        for role, name in given.items():
            if role not in usual:
                raise InputError(
                    f"unknown role {role!r} of a column",
                    where=records.place,
                    fix=f"{did_you_mean(role, list(usual))}Roles: {', '.join(usual)}.",
                    code="E-LABELLED-COLUMN",
                )
            if name and name not in records.fields:
                raise self.error(f"no {records.holder} {name!r}", did_you_mean(name, list(records.fields)))
            self._column[role] = name
        self.usual = usual

    def find(self, role: str, *names: str) -> str:
        """Returns the column of a role: the one given, or the first of the usual ones that is there; "" for none."""
        if role not in self._column:
            there = (name for name in (*names, *self.usual[role]) if name in self.records.fields)
            self._column[role] = next(there, "")
        return self._column[role]

    def need(self, role: str) -> str:
        """Returns the column of a role. Raises InputError where there is none."""
        found = self.find(role)
        if not found:
            names = ", ".join(self.usual[role])
            raise self.error(f"no {self.records.holder} for the role {role} (usual names: {names})")
        return found

    def error(self, what: str, advice: str = "") -> InputError:
        """Returns the error for missing columns."""
        there = ", ".join(self.records.fields) or "none"
        if self.records.holder == "column":
            advice += "Where the first row holds no names, count the columns: text=1. "
        return InputError(
            what,
            where=self.records.place,
            fix=f"{advice}There are: {there}. Name the column of a role: ROLE=COLUMN.",
            code="E-LABELLED-COLUMN",
        )

    def get(self, record: Mapping[str, Any], role: str, place: str) -> Any:
        """Returns what a record holds for a role; None where the role has no column.

        Raises:
          InputError: the record lacks the column.
        """
        name = self._column.get(role, "")
        if not name:
            return None
        if name not in record:
            raise InputError(
                f"no {self.records.holder} {name!r}",
                where=place,
                fix=f"Give every record the same {self.records.holder}s; null stands for an unknown value.",
                code="E-LABELLED-COLUMN",
            )
        value = record[name]
        classes = self.records.classes.get(name)
        return _class_of(value, classes, place) if classes else value

    def text(self, record: Mapping[str, Any], role: str, place: str) -> str:
        """Returns the text that a record holds for a role.

        Raises:
          InputError: it holds null, or something else than text.
        """
        name = self._column[role]
        text = plain_text(self.get(record, role, place), f"{self.records.holder} {name!r}", place)
        if text is None:
            raise wrong_value(f"{self.records.holder} {name!r} is null, but a text is needed", place)
        return text

    def said(self) -> None:
        """Logs which columns are read."""
        used = ", ".join(f"{role} from {name!r}" for role, name in self._column.items() if name)
        _log.info(f"{self.records.place}: {used}")


def _class_of(value: Any, classes: Sequence[str], place: str) -> Any:
    """Returns the name of a label that is given by its number; None for -1, which stands for an unknown one."""
    if isinstance(value, list | tuple):
        return [_class_of(one, classes, place) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        if value == -1:
            return None
        if not 0 <= value < len(classes):
            raise wrong_value(f"the label has the number {value}, but there are {len(classes)} labels", place)
        return classes[value]
    return value


def wrong_value(what: str, place: str, fix: str = "Mend the record.") -> InputError:
    """Returns the error for a value of another type or form than is needed."""
    return InputError(what, where=place, fix=fix, code="E-LABELLED-VALUE")


def plain_text(value: Any, label: str, place: str) -> str | None:
    """Returns the text of a value, with U+FFFD for half a character, which no tokenizer takes; None for null.

    Args:
      value: what the record holds.
      label: what holds the value, for messages.
      place: the place of the record.

    Raises:
      InputError: the value is not a text, or it has a NUL character.
    """
    text = text_of(value, label, place)
    return None if text is None else without_surrogates(text)
