"""Files with labels that are wrong end in one error with the place, and odd ones that are right are read right."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jaxbert.errors import CommandError, InputError
from jaxbert.labelled.encode import Encoding, encode
from jaxbert.labelled.examples import Example
from jaxbert.labelled.labels import check_split, find_labels
from jaxbert.labelled.opening import open_examples
from jaxbert.text.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class Case:
    """A file, how it is opened, and its error: code and place (a line, a row, a question; "" for the file itself)."""

    kind: str
    file: str
    content: str | bytes
    code: str
    place: str = ""
    problem: str = ""
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    split: str = "train"


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def squad(*questions: dict[str, Any], context: str = "A red house.") -> str:
    return json.dumps({"version": "v2.0", "data": [{"paragraphs": [{"context": context, "qas": list(questions)}]}]})


TEXTS, TAGS, ASK, CHOOSE = "classification", "token_labels", "question_answering", "multiple_choice"
GOOD = {"text": "a", "label": "x"}
QUESTION = {"question": "q", "id": "7"}
CASES = {
    # Places and columns.
    "no file": Case(TEXTS, "", "", "E-SOURCE-FILE"),
    "unknown kind": Case("classify", "a.csv", "text,label\na,x\n", "E-LABELLED-FORM"),
    "unknown problem": Case(TEXTS, "a.csv", "text,label\na,x\n", "E-LABELLED-FORM", problem="labels"),
    "unknown form": Case(TEXTS, "a.dat", "text,label\na,x\n", "E-LABELLED-FORM"),
    "unknown column": Case(TEXTS, "a.csv", "text,label\na,x\n", "E-LABELLED-COLUMN", columns={"text": "texts"}),
    "unknown role": Case(TEXTS, "a.csv", "text,label\na,x\n", "E-LABELLED-COLUMN", columns={"context": "text"}),
    "two columns with nearly one name": Case(TEXTS, "a.csv", "Text,TEXT,label\na,b,x\n", "E-LABELLED-COLUMN"),
    "missing text": Case(TEXTS, "a.csv", "words,label\na,x\n", "E-LABELLED-COLUMN"),
    "missing label": Case(TEXTS, "a.csv", "text,other\na,x\n", "E-LABELLED-COLUMN"),
    "one column twice": Case(TEXTS, "a.csv", "text,label,text\na,x,b\n", "E-LABELLED-COLUMN"),
    "one key twice": Case(TEXTS, "a.jsonl", '{"text": "a", "text": "b", "label": 1}\n', "E-SOURCE-FIELD", ":1"),
    "one key twice in an array": Case(
        TEXTS, "a.json", '[{"text": "a", "label": 1},\n{"text": "a", "text": "b", "label": 1}]', "E-SOURCE-FIELD", ":2"
    ),
    "missing in a record": Case(TEXTS, "a.jsonl", lines(GOOD, {"text": "b"}), "E-LABELLED-COLUMN", "line 2"),
    "only a header": Case(TEXTS, "a.csv", "text,label\n", "E-LABELLED-EMPTY", "a.csv"),
    "an empty file": Case(TEXTS, "a.csv", "", "E-SOURCE-EMPTY"),
    "not UTF-8": Case(TEXTS, "a.csv", b"text,label\ncaf\xe9,x\n", "E-SOURCE-ENCODING"),
    # Tables.
    "a comma among tabs": Case(TEXTS, "a.tsv", "text\tlabel\na\tx\nb,y\n", "E-SOURCE-FIELD", ":3"),
    "more cells": Case(TEXTS, "a.csv", "text,label\na,x\n\nb, c,y\n", "E-SOURCE-FIELD", ":4"),
    "an open quote": Case(TEXTS, "a.csv", 'text,label\na,x\n"b,y\n', "E-SOURCE-FIELD", ":3"),
    "lines of a cell": Case(TEXTS, "a.csv", 'text,label\n"a\n\nb",x\nc\n', "E-SOURCE-FIELD", ":5"),
    # Labels.
    "an empty label": Case(TEXTS, "a.csv", "text,label\na,x\nb,\n", "E-LABELLED-LABEL", "line 3"),
    "a null label": Case(TEXTS, "a.jsonl", lines(GOOD, {"text": "b", "label": None}), "E-LABELLED-LABEL", "line 2"),
    "a null text": Case(TEXTS, "a.jsonl", lines(GOOD, {"text": None, "label": 1}), "E-LABELLED-VALUE", "line 2"),
    "a number for a text": Case(TEXTS, "a.jsonl", lines({"text": 5, "label": 1}), "E-SOURCE-FIELD", "line 1"),
    "one class": Case(TEXTS, "a.csv", "text,label\na,x\nb,x\n", "E-LABELLED-CLASSES", "line 2"),
    "scores": Case(
        TEXTS, "a.csv", "text,label\n" + "".join(f"a,{n / 4}\n" for n in range(20)), "E-LABELLED-CLASSES", "line 3"
    ),
    "a list for one label": Case(TEXTS, "a.jsonl", lines({"text": "a", "label": ["x"]}), "E-LABELLED-LABEL", "line 1"),
    "commas for bars": Case(TEXTS, "a.csv", 'text,label\na,"x,y"\n', "E-LABELLED-LABEL", "line 2", "several_labels"),
    "a label twice": Case(TEXTS, "a.csv", "text,label\na,x|x\n", "E-LABELLED-LABEL", "line 2", "several_labels"),
    "an empty one of several": Case(
        TEXTS, "a.csv", "text,label\na,x|\n", "E-LABELLED-LABEL", "line 2", "several_labels"
    ),
    "zeros and ones for labels": Case(
        TEXTS,
        "a.jsonl",
        lines({"text": "a", "label": [0, 1]}, {"text": "b", "label": [1, 0]}),
        "E-LABELLED-LABEL",
        "line 1",
        "several_labels",
    ),
    "many zeros and ones": Case(
        TEXTS, "a.jsonl", lines({"text": "a", "label": [0, 1.0, False]}), "E-LABELLED-LABEL", "line 1", "several_labels"
    ),
    "a comma beside a bar": Case(
        TEXTS, "a.csv", 'text,label\na,"x, y"\nb,x|y\n', "E-LABELLED-LABEL", "line 2", "several_labels"
    ),
    "a mark that is not one": Case(
        TEXTS,
        "a.csv",
        "text,x,y\na,1,0\nb,1,-1\n",
        "E-LABELLED-LABEL",
        "line 3",
        "several_labels",
        {"label": "x,y"},
    ),
    "an empty mark": Case(
        TEXTS, "a.csv", "text,x,y\na,1,\n", "E-LABELLED-LABEL", "line 2", "several_labels", {"label": "x,y"}
    ),
    "columns of marks": Case(TEXTS, "a.csv", "text,x,y\na,1,0\n", "E-LABELLED-COLUMN", columns={"label": "x,y"}),
    "a column of marks that is not there": Case(
        TEXTS, "a.csv", "text,x,y\na,1,0\n", "E-LABELLED-COLUMN", "", "several_labels", {"label": "x,z"}
    ),
    "true beside names": Case(
        TEXTS,
        "a.jsonl",
        lines({"text": "a", "label": None}, {"text": "b", "label": True}, {"text": "c", "label": "True"}),
        "E-LABELLED-LABEL",
        "line 3",
        split="test",
    ),
    "1 beside false": Case(
        TEXTS, "a.jsonl", lines(GOOD, {"text": "b", "label": False}), "E-LABELLED-LABEL", "line 2", split="test"
    ),
    "a score of NaN": Case(TEXTS, "a.csv", "text,score\na,1.5\nb,nan\n", "E-LABELLED-LABEL", "line 3", "number"),
    "an infinite score": Case(
        TEXTS, "a.jsonl", '{"text": "a", "score": -Infinity}', "E-LABELLED-LABEL", "line 1", "number"
    ),
    "a score beyond float32": Case(TEXTS, "a.csv", "text,score\na,-1e39\n", "E-LABELLED-LABEL", "line 2", "number"),
    "a score in words": Case(TEXTS, "a.csv", "text,score\na,high\n", "E-LABELLED-LABEL", "line 2", "number"),
    # Words.
    "fewer tags": Case(TAGS, "a.jsonl", lines({"tokens": ["a", "b"], "tags": ["O"]}), "E-LABELLED-VALUE", "line 1"),
    "another number of columns": Case(TAGS, "a.conll", "a O\nb\n", "E-LABELLED-TAGS", "line 2"),
    "tags of two kinds": Case(TAGS, "a.conll", "a B-X\n\nb NOUN\n", "E-LABELLED-TAGS", "line 3"),
    "only O": Case(TAGS, "a.conll", "a O\nb O\n", "E-LABELLED-CLASSES", "line 1"),
    "one part of speech": Case(TAGS, "a.conll", "a NOUN\nb NOUN\n", "E-LABELLED-CLASSES", "train split"),
    "entities that overlap": Case(
        TAGS, "a.jsonl", lines({"text": "a b", "entities": [[0, 3, "X"], [2, 3, "Y"]]}), "E-LABELLED-ENTITY", "line 1"
    ),
    "an entity outside": Case(
        TAGS, "a.jsonl", lines({"text": "a b", "entities": [[2, 4, "X"]]}), "E-LABELLED-ENTITY", "line 1"
    ),
    "an entity of a space": Case(
        TAGS, "a.jsonl", lines({"text": "a b", "entities": [[1, 2, "X"]]}), "E-LABELLED-ENTITY", "line 1"
    ),
    "an entity with another text": Case(
        TAGS,
        "a.jsonl",
        lines({"text": "Berlin is", "entities": [{"start": 0, "end": 6, "label": "X", "text": "Paris"}]}),
        "E-LABELLED-VALUE",
        "line 1",
    ),
    "an entity without end": Case(
        TAGS, "a.jsonl", lines({"text": "a b", "entities": [{"start": 0, "label": "X"}]}), "E-LABELLED-VALUE", "line 1"
    ),
    # Questions.
    "an answer elsewhere": Case(
        ASK,
        "a.json",
        squad({**QUESTION, "answers": [{"text": "red", "answer_start": 3}]}),
        "E-LABELLED-ANSWER",
        "question 7",
    ),
    "an answer behind the end": Case(
        ASK,
        "a.jsonl",
        lines({"question": "q", "context": "red", "answers": {"text": ["red"], "answer_start": [9]}}),
        "E-LABELLED-ANSWER",
        "line 1",
    ),
    "an answer that is not one": Case(
        ASK, "a.json", squad({**QUESTION, "is_impossible": False, "answers": []}), "E-LABELLED-ANSWER", "question 7"
    ),
    "an answer to an impossible question": Case(
        ASK,
        "a.json",
        squad({**QUESTION, "is_impossible": True, "answers": [{"text": "red", "answer_start": 2}]}),
        "E-LABELLED-ANSWER",
        "question 7",
    ),
    "SQuAD without a question": Case(ASK, "a.json", squad({"id": "7"}), "E-LABELLED-ANSWER"),
    "a line of SQuAD": Case(
        ASK,
        "a.json",
        '{"data": [{"paragraphs": [{"context": "A red.", "qas": [{"question": "q",\n"id" : "\\u00e9", "answers": '
        '[{"text": "red", "answer_start": 3}]}]}]}]}',
        "E-LABELLED-ANSWER",
        "a.json, line 2, question é",
    ),
    "a line of SQuAD without a context": Case(
        ASK,
        "a.json",
        '{"data": [{"paragraphs": [{"context": "A red.", "qas": [\n{"id": 7}]}]}]}',
        "E-LABELLED-ANSWER",
        "a.json, line 2",
    ),
    "a number that is not finite": Case(
        ASK, "a.json", '{"version": "NaN 1e999",\n"data": [\nNaN]}', "E-LABELLED-ANSWER", "a.json, line 3"
    ),
    "a number that is too large": Case(
        ASK, "a.json", '{"version": "\\"NaN",\n"data": [1,\n-1e999]}', "E-LABELLED-ANSWER", "a.json, line 3"
    ),
    "an answer that occurs twice": Case(
        ASK,
        "a.jsonl",
        lines({"question": "q", "context": "red, red", "answers": ["red"]}),
        "E-LABELLED-ANSWER",
        "line 1",
    ),
    # Choices.
    "one choice": Case(
        CHOOSE, "a.jsonl", lines({"text": "t", "choices": ["a"], "label": 0}), "E-LABELLED-CHOICE", "line 1"
    ),
    "a choice too far": Case(CHOOSE, "a.csv", "text,choice0,choice1,label\nt,a,b,2\n", "E-LABELLED-CHOICE", "line 2"),
    "a gap": Case(CHOOSE, "a.csv", "text,A,B,C,label\nt,a,,c,A\n", "E-LABELLED-CHOICE", "line 2"),
    # GLUE.
    "no such task": Case(TEXTS, "glue:sst:", "", "E-LABELLED-FORM"),
    "no such folder": Case(TEXTS, "glue:sst2:", "", "E-SOURCE-FILE"),
    "no such split": Case(TEXTS, "glue:sst2:", "", "E-SOURCE-SPLIT", split="dev"),
    "GLUE for words": Case(TAGS, "glue:sst2:", "", "E-LABELLED-FORM"),
}


def opened(case: Case, place: Path) -> list[Example]:
    path = place / case.file
    if case.file.startswith("glue:"):
        spec = case.file + str(place)
    else:
        spec = str(path) if case.file else str(place / "missing.csv")
        if case.file:
            path.write_bytes(case.content if isinstance(case.content, bytes) else case.content.encode())
    return list(open_examples(case.kind, spec, problem=case.problem, columns=case.columns, split=case.split))


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, tmp_path: Path):
    case = CASES[name]
    with pytest.raises(CommandError) as raised:
        find_labels(case.kind, case.problem, opened(case, tmp_path))
    error = raised.value
    assert (error.exit_code, error.code) == (2, case.code), error
    assert error.where.endswith(case.place), error


def test_labels_of_other_splits(tmp_path: Path):
    train = Case(TEXTS, "a.csv", "text,label\na,x\nb,y\n", "")
    labels = find_labels(TEXTS, "", opened(train, tmp_path))
    for content, split, code in (
        ("text,label\na,x\nb,z\n", "validation", "E-LABELLED-LABEL"),
        ("text,label\na,\n", "validation", "E-LABELLED-LABEL"),
        ("text,label\na,\nb,x\n", "test", "E-LABELLED-LABEL"),
    ):
        with pytest.raises(InputError) as raised:
            check_split(split, labels, opened(Case(TEXTS, "b.csv", content, ""), tmp_path))
        assert raised.value.code == code
    for check in (lambda: find_labels(TEXTS, "", []), lambda: check_split("test", labels, [])):
        with pytest.raises(InputError, match="E-LABELLED-EMPTY"):
            check()
    check_split("test", labels, opened(Case(TEXTS, "b.csv", "text\na\nb\n", "", split="test"), tmp_path))


def test_what_cannot_be_encoded(tmp_path: Path, tokenizer: Tokenizer):
    examples = opened(Case(TEXTS, "a.csv", "text,label\na,x\nb,y\n", ""), tmp_path)
    with pytest.raises(InputError, match="E-LABELLED-LABEL"):
        encode(Encoding(kind=TEXTS, labels=("x",), tokenizer=tokenizer, length=8), examples)
    choices = opened(Case(CHOOSE, "c.csv", "text,A,B,C,label\nt,a,b,c,A\n", ""), tmp_path)
    with pytest.raises(InputError, match="E-LABELLED-CHOICE"):
        encode(Encoding(kind=CHOOSE, tokenizer=tokenizer, length=8, texts=2), choices)
    for options, code in (({"length": 2}, "E-MODEL-LENGTH"), ({"length": 8, "stride": -1}, "E-LABELLED-STRIDE")):
        with pytest.raises(InputError, match=code):
            Encoding(kind=TAGS, tokenizer=tokenizer, **options)
