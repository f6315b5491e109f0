"""Which columns are read, and what labels become of their values."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from jaxbert.config import LabelledConfig
from jaxbert.errors import InputError
from jaxbert.labelled.examples import TextExample
from jaxbert.labelled.labels import find_labels, shares_line
from jaxbert.labelled.opening import open_examples
from jaxbert.tasks.splits import read_splits

TEXTS = "classification"


def read(path: Path, name: str, content: str, kind: str = TEXTS, **options: Any) -> list[Any]:
    (path / name).write_text(content)
    return list(open_examples(kind, str(path / name), **options))


def records(*values: Any) -> str:
    return "".join(json.dumps({"text": "a", "label": value}) + "\n" for value in values)


@pytest.mark.parametrize("text", ["text", "=text", "text=a text=b"])
def test_what_is_not_role_and_column(text: str, tmp_path: Path):
    data = LabelledConfig(train=str(tmp_path / "a.csv"), columns=tuple(text.split()))
    with pytest.raises(InputError, match=r"(not ROLE=COLUMN|twice).*--columns.*E-LABELLED-COLUMN"):
        read_splits(TEXTS, "", data)


def test_capitals_and_spaces_of_names(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "jaxbert")
    for header in ("Text,Label,ID", " text, label ,id", "TEXT,Gold_Label,Guid"):
        (one,) = read(tmp_path, "a.csv", f"{header}\na,x,7\n")
        assert (one.text, one.target, one.id) == ("a", "x", "7")
    assert "text from ' text', label from ' label '" in caplog.text and "text from 'Text'" in caplog.text
    (one,) = read(tmp_path, "a.csv", "Premise,HYPOTHESIS,label\na,b,x\n")
    assert (one.text, one.pair) == ("a", "b")
    # A name that is exact comes first.
    (one,) = read(tmp_path, "a.csv", "Text,sentence,label,LABEL,Label\na,b,x,y,z\n")
    assert (one.text, one.target) == ("b", "x")
    (one,) = read(tmp_path, "a.csv", "Question,Choice0, choice1 ,Label\nq,a,b,1\n", "multiple_choice")
    assert (one.question, one.choices, one.target) == ("q", ("a", "b"), 1)
    with pytest.raises(InputError, match="Did you mean 'Text'"):
        read(tmp_path, "a.csv", "Text,Label\na,x\n", columns={"text": "text"})


def test_a_table_of_texts_and_tags_says_how_to_name_the_words(tmp_path: Path):
    content = "text,tags\nWolff lives,B-PER O\n"
    with pytest.raises(InputError, match=r"is named for the words.*--columns words=text\. \[E-LABELLED-COLUMN"):
        read(tmp_path, "a.csv", content, "token_labels")
    (one,) = read(tmp_path, "a.csv", content, "token_labels", columns={"words": "text"})
    assert one.tags == ("B-PER", "O")


def test_a_role_without_usual_names_names_none(tmp_path: Path):
    with pytest.raises(InputError, match=r"no column for the role pair \("):
        read(tmp_path, "a.csv", "text,label\na,1\n", "sentence_vectors")


def test_questions_are_not_read_as_texts(tmp_path: Path):
    content = json.dumps({"version": "1.1", "data": [{"paragraphs": []}]})
    with pytest.raises(InputError, match=r"form of SQuAD.*jaxbert finetune answer.*E-LABELLED-FORM"):
        read(tmp_path, "a.json", content)
    for field in ("version", "data"):  # Records that begin with a word of SQuAD's are records.
        lines = "".join(json.dumps({field: number, "text": "a", "label": "b"}) + "\n" for number in range(2))
        assert len(read(tmp_path, "a.json", lines)) == 2


@pytest.mark.parametrize(("no", "yes"), [("0", "1"), ("False", "True"), ("0.0", "1.0"), (0, 1), (False, True)])
def test_a_column_for_each_label(no: Any, yes: Any, tmp_path: Path):
    rows = [{"text": "a", "x": yes, " y": no}, {"text": "b", "x": yes, " y": yes}, {"text": "c", "x": no, " y": no}]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    options: Any = {"problem": "several_labels", "columns": {"label": "x, y"}}
    found = read(tmp_path, "a.jsonl", content, **options)
    assert [one.target for one in found] == [("x",), ("x", "y"), ()]
    assert find_labels(TEXTS, "several_labels", found) == ("x", "y")
    content = "text;x; y\n" + "".join(f"{row['text']};{row['x']};{row[' y']}\n" for row in rows) + "d;;\n"
    found = read(tmp_path, "a.csv", content, split="test", **options)
    assert [one.target for one in found] == [("x",), ("x", "y"), (), None]


def test_a_name_with_a_comma_is_one_column(tmp_path: Path):
    (one,) = read(tmp_path, "a.csv", 'text,"x,y"\na,b\n', columns={"label": "x,y"})
    assert one.target == "b"


def test_labels_with_commas(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "jaxbert")
    (one, _) = read(tmp_path, "a.csv", 'text,label\na,"x, y|z"\nb,z\n', problem="several_labels")
    assert one.target == ("x, y", "z") and "'x, y' is one label" in caplog.text
    (one, *_) = read(tmp_path, "a.jsonl", records(["x, y"], ["x"], ["y"]), problem="several_labels")
    assert one.target == ("x, y",)


def test_labels_that_are_numbers(tmp_path: Path):
    def labels(*values: Any, problem: str = "") -> list[Any]:
        return [one.target for one in read(tmp_path, "a.jsonl", records(*values), problem=problem)]

    assert labels(1, "1", 1.0, "1.0", 1.5, -2.0) == ["1", "1", "1", "1.0", "1.5", "-2"]
    assert labels(True, False) == ["true", "false"]
    # Numbers may name labels: not every text has them all.
    assert labels([0, 1], [3], problem="several_labels") == [("0", "1"), ("3",)]
    assert labels([0, 1], [], problem="several_labels") == [("0", "1"), ()]


def test_a_line_of_the_log_is_one_line():
    label = "a\nb\x1b[2J\u202ec"
    line = shares_line([label, "é"], [TextExample(text="", target=label)])
    assert line == "2 labels: a\\nb\\x1b[2J\\u202ec 100.0%, é 0.0%"
