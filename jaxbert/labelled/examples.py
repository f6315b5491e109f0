"""An example of each kind of task: texts, and the answer where it is known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Example:
    """A text with an answer, or without one.

    Attributes:
      place: where it stands, for messages: "train.csv, line 7".
      id: its name in the file, or else its number, from 0.
    """

    place: str = ""
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class TextExample(Example):
    """A text or a pair of texts.

    Attributes:
      text: the text, or the first one of a pair.
      pair: the second text of a pair; None for a single text.
      target: a label, a number or several labels; None where the answer is unknown.
    """

    text: str
    pair: str | None = None
    target: str | float | tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class WordsExample(Example):
    """A text whose words have labels.

    Attributes:
      text: the text.
      words: of each word its first character and the one behind its last, in order, without overlap.
      tags: a label for each word; None where they are unknown.
    """

    text: str
    words: tuple[tuple[int, int], ...]
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Question(Example):
    """A question whose answer is a part of a text.

    Attributes:
      question: the question.
      context: the text.
      answers: accepted answers, each with its first character in the context; () where the text has no answer, and
        None where the answer is unknown.
    """

    question: str
    context: str
    answers: tuple[tuple[str, int], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ChoiceExample(Example):
    """A text that goes on in one of several ways.

    Attributes:
      text: the text before.
      question: a question or the begin of each choice; may be empty.
      choices: the texts to choose from.
      target: number of the right choice, from 0; None where it is unknown.
    """

    text: str
    question: str = ""
    choices: tuple[str, ...]
    target: int | None = None


# The kinds of tasks with labels, by the names of the tasks (`jaxbert.tasks.TASKS`), and their examples.
KINDS: Mapping[str, type[Example]] = {
    "classification": TextExample,
    "token_labels": WordsExample,
    "question_answering": Question,
    "multiple_choice": ChoiceExample,
    "sentence_vectors": TextExample,
}


def to_json(example: Example) -> dict[str, Any]:
    """Returns an example as values that JSON holds, without fields that are None. Tuples are JSON's lists."""
    # `dataclasses.asdict` copies all values, and takes ten times as long.
    return {name: value for name, value in vars(example).items() if value is not None}


def from_json(kind: str, value: Mapping[str, Any]) -> Example:
    """Returns the example that `to_json` gave, of a kind of `KINDS`."""
    return KINDS[kind](**{name: _tuples(entry) for name, entry in value.items()})


def without_folder(place: str) -> str:
    """Returns the place of an example without the folder of its file, which another machine may not have."""
    found = re.fullmatch(r"(.*?)(, (?:line|row|question) .*)", place, re.DOTALL)
    if found is None or place.startswith(("hf:", "tfds:")):
        return place
    return found[1].rpartition("/")[2] + found[2]


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
