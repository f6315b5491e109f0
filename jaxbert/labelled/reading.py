"""Makes examples of records: what each kind of task reads from named fields."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import is_blank
from jaxbert.errors import InputError, counted
from jaxbert.inputs.values import short
from jaxbert.labelled.cells import decoded, looks_like_list, no_list, strings, structure
from jaxbert.labelled.columns import NUMBER, USUAL, Columns, plain_text, wrong_value
from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample, WordsExample
from jaxbert.labelled.squad import checked_answers
from jaxbert.labelled.tables import Records
from jaxbert.labelled.tags import Scheme
from jaxbert.labelled.targets import OneLabel, SeveralLabels, marked, number_of, one_label
from jaxbert.labelled.words import joined, split_words, with_entities

_log = logging.getLogger(__name__)

PROBLEMS = ("one_label", "several_labels", "number")
# The splits whose examples need no answers.
UNLABELLED = ("test", "predict")
# The columns of the choices of a question, one a choice: a beginning and numbers, or letters.
_CHOICES = ("choice", "ending", "option", "sol", "answer")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def read_records(
    kind: str, records: Records, *, problem: str, columns: Mapping[str, str], split: str
) -> Iterator[Example]:
    """Yields the examples of records. It looks at the columns at once.

    Args:
      kind: a key of `KINDS`.
      records: the records.
      problem: see `open_examples`.
      columns: see `open_examples`.
      split: see `open_examples`.

    Raises:
      InputError: there are no columns for the kind; while examples are read: a record is wrong.
    """
    if problem and problem not in PROBLEMS:
        raise InputError(
            f"unknown problem {problem!r}",
            where="problem",
            fix=f"{did_you_mean(problem, list(PROBLEMS))}Known: {', '.join(PROBLEMS)}.",
            code="E-LABELLED-FORM",
        )
    need = not split.startswith(UNLABELLED)
    if kind in ("classification", "sentence_vectors"):
        number = kind == "sentence_vectors" or problem == "number"
        made = _texts(records, "number" if number else problem or "one_label", columns, need, kind)
    else:
        makers: Mapping[str, Callable[[Records, Mapping[str, str], bool], Iterator[Example]]]
        makers = {"token_labels": _words, "question_answering": _questions, "multiple_choice": _choices}
        made = makers[kind](records, columns, need)
    next(made)  # It has looked at the columns.
    return made


def _texts(records: Records, problem: str, given: Mapping[str, str], need: bool, kind: str) -> Iterator[Any]:
    usual = NUMBER if problem == "number" else USUAL["classification"]
    columns = Columns(records, given, usual, several=problem == "several_labels")
    if "text" not in given and "pair" not in given:
        columns.find_pair()
    columns.need("text")
    columns.find("pair")
    if kind == "sentence_vectors":
        columns.need("pair")
    if need and kind == "classification":
        columns.need("label")
    columns.find("label")
    columns.find("id")
    columns.said()
    blank: list[str] = []
    one, several = OneLabel(), SeveralLabels()
    yield None
    for number, (place, record) in enumerate(records.read()):
        text = columns.text(record, "text", place)
        two = columns.text(record, "pair", place) if columns.find("pair") else None
        if is_blank(text) or (two is not None and is_blank(two)):
            blank.append(place)
        value = columns.get(record, "label", place)
        if problem == "number":
            target: Any = number_of(value, place)
        elif columns.marks:
            target = marked(columns.marks_of(record, place), place)
        elif problem == "several_labels":
            target = several.labels(value, place)
        else:
            target = one.label(value, place)
        yield TextExample(
            place=place, id=_id(columns.get(record, "id", place), number), text=text, pair=two, target=target
        )
    several.check()
    if blank:
        _log.warning(f"{records.place}: {counted(len(blank), 'text')} of only white space, first in {blank[0]}")


def _id(value: Any, number: int) -> str:
    return str(number) if value is None or value == "" else str(value)


def _words(records: Records, given: Mapping[str, str], need: bool) -> Iterator[Any]:
    columns = Columns(records, given, USUAL["token_labels"])
    by_entities = bool(given.get("entities") or not columns.find("words")) and "words" not in given
    columns.find("id")
    if by_entities:
        text = columns.need("text")
        if need and not columns.find("entities") and (column := columns.find("tags")):
            raise InputError(
                f"the {records.holder} {column!r} has labels of words, but no {records.holder} is named for the words",
                where=records.place,
                fix=f"If the words are in {text!r}, a list or a text with spaces, type --columns words={text}.",
                code="E-LABELLED-COLUMN",
            )
        if need:
            columns.need("entities")
        columns.find("entities")
    else:
        columns.need("words")
        if need:
            columns.need("tags")
        columns.find("tags")
    columns.said()
    yield None
    scheme = Scheme(records.place)
    cut, first = 0, ""
    empty, first_empty = 0, ""
    for number, (place, record) in enumerate(records.read()):
        name = _id(columns.get(record, "id", place), number)
        if by_entities:
            text = columns.text(record, "text", place)
            value = decoded(columns.get(record, "entities", place), "the entities", place)
            if value is None:
                yield WordsExample(place=place, id=name, text=text, words=split_words(text))
                continue
            words, tags, edges = with_entities(text, _entities(value, text, place), place)
            cut, first = cut + edges, first or (place if edges else "")
            yield WordsExample(place=place, id=name, text=text, words=words, tags=tags)
            continue
        tokens = strings(columns.get(record, "words", place), "the words", place, spaces=True)
        if tokens is None:
            raise wrong_value("the words are null, but a list is needed", place)
        given_tags = strings(columns.get(record, "tags", place), "the tags", place, spaces=True)
        if given_tags is not None and len(given_tags) != len(tokens):
            raise wrong_value(
                f"there are {counted(len(tokens), 'word')} and {counted(len(given_tags), 'tag')}",
                place,
                "Give each word one tag.",
            )
        if not tokens:
            empty, first_empty = empty + 1, first_empty or place
        text, words = joined(tokens)
        tags_bio = None if given_tags is None else scheme.bio(given_tags, place)
        yield WordsExample(place=place, id=name, text=text, words=words, tags=tags_bio)
    scheme.report()
    if empty:
        _log.warning(f"{records.place}: {counted(empty, 'example')} without a word, first in {first_empty}")
    if cut:
        _log.warning(
            f"{records.place}: {counted(cut, 'word')} cut at the edge of an entity inside it, first in {first}"
        )


def _entities(value: Any, text: str, place: str) -> list[tuple[int, int, str]]:
    found = []
    parts: Any
    for entry in value if isinstance(value, list | tuple) else [None]:
        parts = [entry.get(name) for name in ("start", "end", "label")] if isinstance(entry, dict) else entry
        right = isinstance(parts, list | tuple) and len(parts) == 3
        if not right or not all(isinstance(one, int) and not isinstance(one, bool) for one in parts[:2]):
            raise wrong_value(
                f"an entity is {short(entry)}", place, 'Give a list of {"start": 0, "end": 5, "label": "PERSON"}.'
            )
        label = one_label(parts[2], place)
        if label is None:
            raise wrong_value("an entity has no label", place)
        start, end = parts[:2]
        said = entry.get("text") if isinstance(entry, dict) else None
        if isinstance(said, str) and 0 <= start <= end <= len(text) and text[start:end] != said:
            raise wrong_value(
                f"the entity {short(said)} is not at the characters {start} to {end} of the text; "
                f"{short(text[start:end])} is there",
                place,
                "Mend start and end, or leave the entity's text out.",
            )
        found.append((start, end, label))
    return found


def _questions(records: Records, given: Mapping[str, str], need: bool) -> Iterator[Any]:
    columns = Columns(records, given, USUAL["question_answering"])
    columns.need("question")
    columns.need("context")
    if need:
        columns.need("answers")
    columns.find("answers")
    columns.find("start")
    columns.find("id")
    columns.said()
    yield None
    for number, (place, record) in enumerate(records.read()):
        context = columns.text(record, "context", place)
        yield Question(
            place=place,
            id=_id(columns.get(record, "id", place), number),
            question=columns.text(record, "question", place),
            context=context,
            answers=_answers(
                columns.get(record, "answers", place), columns.get(record, "start", place), context, place
            ),
        )


def _answers(value: Any, start: Any, context: str, place: str) -> tuple[tuple[str, int], ...] | None:
    """Returns the answers of a record: a dict of lists, a list of objects or of strings, or one string.

    Args:
      value: the answers.
      start: the first character of each, where another column has them; None or "" where none has.
      context: the text. A string that it has is an answer, even if it looks like a list.
      place: the place of the record.
    """
    if value is None:
        return None
    start = _several_starts(start, place)
    if isinstance(value, str) and looks_like_list(value, "[{") and value not in context:
        value = decoded(value, "the answers", place)
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start", start)
        if isinstance(texts, str):
            texts = [texts]
    elif isinstance(value, list | tuple):
        objects = [entry for entry in value if isinstance(entry, dict)]
        texts = [entry.get("text") if isinstance(entry, dict) else entry for entry in value]
        starts = [entry.get("answer_start") if isinstance(entry, dict) else None for entry in value]
        starts = starts if objects and any(one is not None for one in starts) else start
    elif isinstance(value, str):
        texts, starts = [value] if value else [], start
    else:
        raise wrong_value(f"the answers are {short(value)}", place, 'Give [{"text": "...", "answer_start": 0}].')
    if starts in (None, "") and isinstance(texts, list | tuple):
        starts = [None] * len(texts)
    elif not isinstance(starts, list | tuple):
        starts = [starts]
    if not isinstance(texts, list | tuple):
        raise wrong_value(f"the answers are {short(value)}", place, 'Give {"text": [...], "answer_start": [...]}.')
    if len(texts) != len(starts):
        raise wrong_value(
            f"there are {counted(len(texts), 'answer')} and {counted(len(starts), 'answer_start')}",
            place,
            "Give each answer one answer_start.",
        )
    found = [
        (_answer(text, place), _start(text, begin, context, place)) for text, begin in zip(texts, starts, strict=True)
    ]
    return checked_answers(found, context, place)


def _several_starts(start: Any, place: str) -> Any:
    """Returns the first characters of a record's answers, also where a cell of a table holds their list."""
    if not isinstance(start, str) or not start.strip():
        return None if isinstance(start, str) else start
    found = structure(start)
    if found is None and looks_like_list(start):
        raise no_list(start, "the answer_starts", place)
    return start if found is None else found


def _answer(text: Any, place: str) -> str:
    found = plain_text(text, "an answer", place)
    if found is None:
        raise wrong_value("an answer is null", place)
    return found


def _start(text: Any, start: Any, context: str, place: str) -> int:
    """Returns the first character of an answer. Without it, the text must occur once."""
    if isinstance(start, str) and re.fullmatch(r"\s*\d{1,18}(?:\.0*)?\s*", start):
        start = int(start.partition(".")[0])
    elif isinstance(start, float) and start.is_integer():  # pandas writes 2.0 in a column with an empty cell.
        start = int(start)
    if isinstance(start, int) and not isinstance(start, bool):
        return start
    if start not in (None, ""):
        raise wrong_value(f"answer_start is {short(start)}, but a whole number is needed", place)
    times = context.count(str(text)) if text else 0
    if times != 1:
        raise InputError(
            f"the answer {short(text)} has no answer_start, and its text has it {times} times",
            where=place,
            fix="Give answer_start: the number of characters before the answer.",
            code="E-LABELLED-ANSWER",
        )
    return context.index(str(text))


def _choices(records: Records, given: Mapping[str, str], need: bool) -> Iterator[Any]:
    usual = USUAL["multiple_choice"]
    several = [] if "choices" in given else _choice_columns(records.fields)
    columns = Columns(records, given, usual)
    if several:
        columns = Columns(records, {"choices": "", **given}, usual)
    else:
        columns.need("choices")
    for role in ("text", "question"):
        if columns.find(role) in several:
            raise columns.error(f"the column {columns.find(role)!r} would be {role} and a choice")
    if not columns.find("text") and not columns.find("question"):
        columns.need("text")
    if need:
        columns.need("label")
    for role in ("label", "id"):
        columns.find(role)
    columns.said()
    yield None
    for number, (place, record) in enumerate(records.read()):
        names: Sequence[str] = ()
        if several:
            choices, names = _cells_of(record, several, place), [_ending(name) for name in several]
        else:
            choices, names = _listed(columns.get(record, "choices", place), place)
        if len(choices) < 2:
            raise InputError(
                f"there is {counted(len(choices), 'choice')}, but two are needed",
                where=place,
                fix="Give each question two choices or more.",
                code="E-LABELLED-CHOICE",
            )
        yield ChoiceExample(
            place=place,
            id=_id(columns.get(record, "id", place), number),
            text=columns.text(record, "text", place) if columns.find("text") else "",
            question=columns.text(record, "question", place) if columns.find("question") else "",
            choices=choices,
            target=_choice(columns.get(record, "label", place), names, len(choices), place),
        )


def _choice_columns(fields: Sequence[str]) -> list[str]:
    """Returns the columns that hold a choice each, in order: choice0, choice1 ...; A, B ...; [] for none."""
    plain = {name: name.strip().casefold() for name in fields}
    for begin in _CHOICES:
        numbered = [name for name in fields if re.fullmatch(rf"{begin}_?\d{{1,2}}", plain[name], re.ASCII)]
        if len(numbered) > 1:
            return sorted(numbered, key=lambda name: int(re.sub(r"\D", "", name)))
    letters = {name.strip(): name for name in fields}
    lettered = [letters[letter] for letter in itertools.takewhile(letters.__contains__, _LETTERS)]
    return lettered if len(lettered) > 1 else []


def _ending(name: str) -> str:
    return name.strip() if name.strip() in _LETTERS else ""


def _cells_of(record: Mapping[str, Any], several: Sequence[str], place: str) -> tuple[str, ...]:
    """Returns the choices of a record that has one a column. Empty cells at the end are no choices."""
    texts = [plain_text(record.get(name), f"column {name!r}", place) or "" for name in several]
    while texts and not texts[-1]:
        texts.pop()
    if "" in texts:
        raise InputError(
            f"the choice {several[texts.index('')]!r} is empty, and another one follows",
            where=place,
            fix="Give the choices of a question without a gap.",
            code="E-LABELLED-CHOICE",
        )
    return tuple(texts)


def _listed(value: Any, place: str) -> tuple[tuple[str, ...], list[str]]:
    """Returns the choices of a record, and their letters where it gives them."""
    value = decoded(value, "the choices", place)
    if isinstance(value, dict):
        texts = strings(value.get("text"), "the choices", place)
        names = strings(value.get("label"), "the letters of the choices", place)
        if texts is None or (names is not None and len(names) != len(texts)):
            raise wrong_value(
                f"the choices are {short(value)}", place, 'Give {"text": [...], "label": [...]}, or a list.'
            )
        return tuple(texts), names or []
    found = strings(value, "the choices", place)
    if found is None:
        raise wrong_value("the choices are null, but a list is needed", place)
    return tuple(found), []


def _choice(value: Any, names: Sequence[str], count: int, place: str) -> int | None:
    """Returns the number of the right choice: of its letter where the record or the columns have letters, or itself."""
    text = one_label(value, place)
    if text is None:
        return None
    if text in names[:count]:
        return list(names).index(text)
    if re.fullmatch(r"\d{1,9}", text) and not any(name.isdigit() for name in names):
        index = int(text)
    elif len(text) == 1 and text in _LETTERS and not any(names):
        index = _LETTERS.index(text)
    else:
        index = count
    if index >= count:
        known = ", ".join(names[:count]) if any(names) else f"0 to {count - 1}, or {', '.join(_LETTERS[:count])}"
        raise InputError(
            f"the label {text!r} is none of the {count} choices",
            where=place,
            fix=f"Give the number of the right choice, counted from 0, or its letter: {known}.",
            code="E-LABELLED-CHOICE",
        )
    return index
