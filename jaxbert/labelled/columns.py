"""The columns of a file by their roles: which column holds the text, the label, and so on.

A user may name the column of a role. Otherwise it is the first one with a usual name, and a line of the log says which.
A name that differs only in capitals or in spaces around it counts where no other column has such a name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
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


def columns_of(pairs: Iterable[str]) -> dict[str, str]:
    """Returns the columns by their roles, of texts such as "text=review".

    Raises:
      InputError: a text is not ROLE=COLUMN, or a role occurs twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        role, equals, name = pair.partition("=")
        if not equals or not role or role in found:
            raise InputError(
                f"the role {role!r} occurs twice" if role in found and equals else f"{pair!r} is not ROLE=COLUMN",
                where="--columns",
                fix="Write text=review label=stars, each role once.",
                code="E-LABELLED-COLUMN",
            )
        found[role] = name
    return found


class Columns:
    """The columns of the roles of a kind, and the values of a record by their roles.

    Attributes:
      marks: the columns that hold 0 or 1 for a label each, where the role label names several; () otherwise.
    """

    def __init__(
        self,
        records: Records,
        given: Mapping[str, str],
        usual: Mapping[str, tuple[str, ...]],
        *,
        several: bool = False,
    ):
        """Looks at the columns that the user named.

        Args:
          records: the records.
          given: the name of the column of each role; "" leaves the role out.
          usual: the usual names of the columns of each role.
          several: whether the role label may have several columns, with commas between their names.

        Raises:
          InputError: a role is unknown, or a column is not there.
        """
        self.records, self.usual = records, usual
        self._several = several
        self._column: dict[str, str] = {}
        self.marks: tuple[str, ...] = ()
        for role, name in given.items():
            if role not in usual:
                raise InputError(
                    f"unknown role {role!r} of a column",
                    where=records.place,
                    fix=f"{did_you_mean(role, list(usual))}Roles: {', '.join(usual)}.",
                    code="E-LABELLED-COLUMN",
                )
            names = [name]
            if name not in records.fields and role == "label" and "," in name:
                names = name.split(",")
                if not several:
                    raise self.error(
                        f"no {records.holder} {name!r}", "Several columns of labels need task.problem=several_labels. "
                    )
                self.marks = tuple(names)
            for one in names:
                if one not in (*records.fields, *([] if self.marks else [""])):
                    raise self.error(f"no {records.holder} {one!r}", self._near(one), role)
            self._column[role] = "" if self.marks else name

    def find(self, role: str) -> str:
        """Returns the column of a role: the one given, or the first of the usual ones that is there; "" for none."""
        if role not in self._column:
            there = filter(None, map(self._there, self.usual[role]))
            self._column[role] = next((name for name in self.usual[role] if name in self.records.fields), "")
            self._column[role] = self._column[role] or next(there, "")
        return self._column[role]

    def find_pair(self) -> None:
        """Takes the first two columns that usually hold a pair of texts for the roles text and pair."""
        exact = [pair for pair in PAIRS if set(pair) <= set(self.records.fields)]
        alike = [pair for names in PAIRS if all(pair := tuple(map(self._there, names)))]
        for pair in (*exact, *alike)[:1]:
            self._column["text"], self._column["pair"] = pair

    def _there(self, name: str) -> str:
        """Returns the only column that has a name, whatever its capitals and spaces; "" for none or several."""
        alike = [one for one in self.records.fields if one.strip().casefold() == name.strip().casefold()]
        return alike[0] if len(alike) == 1 else ""

    def _near(self, name: str) -> str:
        near = self._there(name)
        return f"Did you mean {near!r}? " if near else did_you_mean(name, list(self.records.fields))

    def need(self, role: str) -> str:
        """Returns the column of a role. Raises InputError where there is none."""
        found = self.find(role)
        if not found and not (role == "label" and self.marks):
            names = ", ".join(self.usual[role])
            advice = "Where each label has a column of 0 and 1, name them: label=SPORT,POLITICS. "
            raise self.error(
                f"no {self.records.holder} for the role {role}" + (f" (usual names: {names})" if names else ""),
                advice if role == "label" and self._several else "",
                role,
            )
        return found

    def error(self, what: str, advice: str = "", role: str = "ROLE") -> InputError:
        """Returns the error for missing columns; `role` is what lacks one."""
        there = ", ".join(self.records.fields) or "none"
        count = f" Where the first row holds no names, count the columns: {role}=1."
        return InputError(
            what,
            where=self.records.place,
            fix=f"{advice}There are: {there}. Type --columns {role}=COLUMN, with the name of one."
            + (count if self.records.holder == "column" else ""),
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
        value = self._value(record, name, place)
        classes = self.records.classes.get(name)
        return _class_of(value, classes, place) if classes else value

    def marks_of(self, record: Mapping[str, Any], place: str) -> dict[str, Any]:
        """Returns what a record holds in the columns of labels, by their names. Raises InputError where one lacks."""
        return {name: self._value(record, name, place) for name in self.marks}

    def _value(self, record: Mapping[str, Any], name: str, place: str) -> Any:
        if name not in record:
            raise InputError(
                f"no {self.records.holder} {name!r}",
                where=place,
                fix=f"Give every record the same {self.records.holder}s; null stands for an unknown value.",
                code="E-LABELLED-COLUMN",
            )
        return record[name]

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
        if self.marks:
            used += f", labels from {', '.join(map(repr, self.marks))}"
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
