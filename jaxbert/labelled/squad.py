"""SQuAD's JSON, versions 1.1 and 2.0 (Rajpurkar et al. 2016, 2018): articles, paragraphs, questions, answers.

A question of version 2.0 that its text does not answer has `is_impossible`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxbert.data.sources.finding import printable
from jaxbert.data.sources.lines import decode_whole, reading
from jaxbert.data.sources.packed import open_bytes
from jaxbert.errors import InputError
from jaxbert.inputs.values import Maybe, Whole, parse_json
from jaxbert.labelled.examples import Question

# SQuAD 2.0's train file has 42 MB. The file is read whole.
_MOST_BYTES = 1 << 30
_SHAPE = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": str,
                    "qas": [
                        {
                            "question": str,
                            "id": object,
                            "is_impossible": Maybe(bool),
                            "answers": Maybe([{"text": str, "answer_start": Whole()}]),
                        }
                    ],
                }
            ]
        }
    ]
}


def read_squad(path: Path) -> Iterator[Question]:
    """Yields the questions of a file.

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
    value: dict[str, Any] = parse_json(
        decode_whole(data, path),
        "not SQuAD's JSON",
        where=name,
        fix='Give {"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}, or JSON lines with question, context '
        "and answers.",
        code="E-LABELLED-ANSWER",
        shape=_SHAPE,
    )
    for article in value["data"]:
        for paragraph in article["paragraphs"]:
            for entry in paragraph["qas"]:
                place = f"{name}, question {entry['id']}"
                yield Question(
                    place=place,
                    id=str(entry["id"]),
                    question=entry["question"],
                    context=paragraph["context"],
                    answers=_answers(entry, paragraph["context"], place),
                )


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
