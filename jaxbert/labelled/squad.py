"""SQuAD's JSON, versions 1.1 and 2.0 (Rajpurkar et al. 2016, 2018): articles, paragraphs, questions, answers.

A question of version 2.0 that its text does not answer has `is_impossible`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxbert.data.sources.finding import printable
from jaxbert.data.sources.lines import decode_whole, reading
from jaxbert.data.sources.packed import open_bytes
from jaxbert.errors import InputError
from jaxbert.inputs.values import Maybe, Whole, check, parse
from jaxbert.labelled.examples import Question

# SQuAD 2.0's train file has 42 MB. The file is read whole.
_MOST_BYTES = 1 << 30
_QUESTION = {"question": str, "id": object}
_ANSWERED = {"is_impossible": Maybe(bool), "answers": Maybe([{"text": str, "answer_start": Whole()}])}
# A string of JSON, or a number with the names that are not JSON's.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity|-?\d[\d.eE+-]*)')
# The place of a question in the message of `check`.
_PATH = re.compile(r"data\.(\d+)\.paragraphs\.(\d+)\.qas\.(\d+)")


def read_squad(path: Path, *, answers: bool = True) -> Iterator[Question]:
    """Yields the questions of a file.

    Args:
      path: the file.
      answers: whether the answers are read. Otherwise whatever the file holds for them is ignored.

    Raises:
      InputError: the file is not SQuAD's JSON, or an answer is not where the file says it is.
    """
    name = printable(str(path))
    with reading(path), open_bytes(path) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise InputError(
            f"the file has more than {_MOST_BYTES >> 30} GiB, and it is read whole",
            where=name,
            fix="Divide the file, or give JSON lines.",
            code="E-SOURCE-LARGE",
        )
    text = decode_whole(data, path)
    value: Any = None
    try:
        value = parse(text)
        question = {**_QUESTION, **(_ANSWERED if answers else {})}
        check(value, {"data": [{"paragraphs": [{"context": str, "qas": [question]}]}]})
    except ValueError as error:
        raise InputError(
            f"not SQuAD's JSON: {error}",
            where=name + _line_of_fault(text, value, error),
            fix='Give {"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}, or JSON lines with question, '
            "context and answers.",
            code="E-LABELLED-ANSWER",
        ) from None
    for article in value["data"]:
        for paragraph in article["paragraphs"]:
            for entry in paragraph["qas"]:
                place = f"{name}, question {entry['id']}"
                try:
                    known = _answers(entry, paragraph["context"], place) if answers else None
                except InputError as error:
                    where = f"{name}{_line_of_id(text, entry['id'])}, question {entry['id']}"
                    raise InputError(error.what, where=where, fix=error.fix, code=error.code) from None
                yield Question(
                    place=place,
                    id=str(entry["id"]),
                    question=entry["question"],
                    context=paragraph["context"],
                    answers=known,
                )


def _line_of_id(text: str, name: Any) -> str:
    """Returns ", line N" of the question with an id; "" where the file writes the id in another way, or twice."""
    forms = {re.escape(json.dumps(name, ensure_ascii=ascii_only)) for ascii_only in (True, False)}
    found = list(itertools.islice(re.finditer(rf'"id"\s*:\s*(?:{"|".join(forms)})\s*[,}}]', text), 2))
    return _line(text, found[0].start()) if len(found) == 1 else ""


def _line_of_fault(text: str, value: Any, error: ValueError) -> str:
    """Returns ", line N" of what is wrong with a file, or "" where it is not known."""
    if isinstance(error, json.JSONDecodeError):
        return ""  # The message names the line.
    if value is None:
        for found in _TOKEN.finditer(text):
            if found[1] and (not found[1].lstrip("-")[0].isdigit() or _is_too_large(found[1])):
                return _line(text, found.start())
        return ""
    at = _PATH.search(str(error))
    if at is None:
        return ""
    entry = value["data"][int(at[1])]["paragraphs"][int(at[2])]["qas"][int(at[3])]
    return _line_of_id(text, entry["id"]) if isinstance(entry, dict) and "id" in entry else ""


def _is_too_large(number: str) -> bool:
    try:
        parse(number)
    except ValueError:
        return True
    return False


def _line(text: str, place: int) -> str:
    return f", line {text.count(chr(10), 0, place) + 1}"


def _answers(entry: dict[str, Any], context: str, place: str) -> tuple[tuple[str, int], ...] | None:
    given, impossible = entry.get("answers"), entry.get("is_impossible")
    if impossible:
        if given:
            raise _wrong("is_impossible is true, but there is an answer", place)
        return ()
    if impossible is False and not given:
        raise _wrong("is_impossible is false, but there is no answer", place)
    if not given:
        return None
    return checked_answers([(answer["text"], answer["answer_start"]) for answer in given], context, place)


def checked_answers(answers: Sequence[tuple[str, int]], context: str, place: str) -> tuple[tuple[str, int], ...]:
    """Returns answers, each with its first character in the context, after looking at that place.

    Raises:
      InputError: an answer is empty, or is not there. The message says where it is.
    """
    for text, start in answers:
        if not text.strip():
            raise _wrong("an answer has no text", place)
        if context[start : start + len(text)] != text or start < 0:
            there = context.find(text)
            found = f"it begins at character {there}" if there >= 0 else "the text does not have it"
            raise _wrong(f"the answer {_short(text)} is not at character {start} of its text: {found}", place)
    return tuple(answers)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def _wrong(what: str, place: str) -> InputError:
    return InputError(
        what,
        where=place,
        fix="Mend the record: answer_start counts the characters before the answer, from 0.",
        code="E-LABELLED-ANSWER",
    )
