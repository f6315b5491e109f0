"""Lists in cells of tables: those of JSON and of Python are read, and other things in brackets are errors."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from jaxbert.errors import InputError
from jaxbert.labelled.examples import Example
from jaxbert.labelled.opening import open_examples

TAGS, ASK, CHOOSE, TEXTS = "token_labels", "question_answering", "multiple_choice", "classification"


def table(path: Path, kind: str, *rows: dict[str, Any], problem: str = "", split: str = "train") -> list[Example]:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    (path / "a.csv").write_text(text.getvalue(), encoding="utf-8")
    return list(open_examples(kind, str(path / "a.csv"), problem=problem, split=split))


@pytest.mark.parametrize("written", [json.dumps, repr])
def test_lists_in_cells(written: Any, tmp_path: Path):
    one: Any
    words = ["EU", "it's", 'a "b"', "[", "é", "\\d"]
    (one,) = table(tmp_path, TAGS, {"tokens": written(words), "tags": written(["B-X", *["O"] * 5])})
    assert [one.text[slice(*word)] for word in one.words] == words and one.tags == ("B-X", *["O"] * 5)
    (one,) = table(tmp_path, TAGS, {"tokens": written(words), "ner_tags": written([3, 0, 0, 0, 0, 0])})
    assert one.tags == ("3", *"00000")
    (one,) = table(tmp_path, TAGS, {"text": "In Rome", "entities": written([{"start": 3, "end": 7, "label": "LOC"}])})
    assert one.tags == ("O", "B-LOC")
    (one,) = table(tmp_path, TEXTS, {"text": "a", "label": written(["x, y", "z"])}, problem="several_labels")
    assert one.target == ("x, y", "z")
    (one,) = table(tmp_path, CHOOSE, {"text": "a", "choices": written(["x", "it's"]), "label": 1})
    assert one.choices == ("x", "it's")
    (one,) = table(
        tmp_path, CHOOSE, {"text": "a", "choices": written({"text": ["x", "y"], "label": ["A", "B"]})}, split="test"
    )
    assert one.choices == ("x", "y")
    ask = {"question": "q", "context": "Red, red."}
    for answers in (
        {"answers": written({"text": ["red"], "answer_start": [5]})},
        {"answers": written([{"text": "red", "answer_start": 5}])},
        {"answers": written(["red"])},
        {"answers": written(["red"]), "answer_start": written([5])},
        {"answers": "red", "answer_start": written([5])},
        {"answers": written(["red"]), "answer_start": 5},
    ):
        (one,) = table(tmp_path, ASK, {**ask, **answers})
        assert one.answers == (("red", 5),), answers
    (one,) = table(tmp_path, ASK, {**ask, "answers": written([]), "answer_start": written([])})
    assert one.answers == ()


def test_text_in_brackets(tmp_path: Path):
    one: Any
    (one,) = table(tmp_path, TAGS, {"words": "[ 5 ] was", "tags": "O O O B-X"})
    assert one.text == "[ 5 ] was"
    (one,) = table(tmp_path, ASK, {"question": "q", "context": "see [1] and {x}", "answers": "[1]", "answer_start": 4})
    assert one.answers == (("[1]", 4),)
    (one,) = table(tmp_path, TEXTS, {"text": "['a']", "label": "[x]"})
    assert (one.text, one.target) == ("['a']", "[x]")


NO_LISTS = {
    "words of numpy": (TAGS, {"tokens": "['EU' 'rejects'\n 'it']", "tags": "[3 0 0]"}),
    "tags of numpy": (TAGS, {"tokens": "a b", "tags": "['B-X' 'O']"}),
    "a list that is cut": (TAGS, {"tokens": "['EU', 'rej]", "tags": "O"}),
    "a list without its end": (TAGS, {"tokens": "['EU', 'rej", "tags": "O O"}),
    "code": (TAGS, {"tokens": "[open('x')]", "tags": "O"}),
    "labels of numpy": (TEXTS, {"text": "a", "label": "['x' 'y']"}),
    "choices of numpy": (CHOOSE, {"text": "t", "choices": "['x' 'y']", "label": "0"}),
    "an array of choices": (CHOOSE, {"text": "t", "choices": "{'text': array(['x', 'y'])}", "label": "0"}),
    "answers of numpy": (ASK, {"question": "q", "context": "a b", "answers": "['a' 'b']"}),
    "an array": (ASK, {"question": "q", "context": "a b", "answers": "{'text': array(['a'])}"}),
    "starts of numpy": (ASK, {"question": "q", "context": "a b", "answers": "['a', 'b']", "answer_start": "[0 2]"}),
    "entities of words": (TAGS, {"text": "a", "entities": "a"}),
}


@pytest.mark.parametrize("name", NO_LISTS)
def test_what_is_no_list_says_so(name: str, tmp_path: Path):
    kind, row = NO_LISTS[name]
    problem = "several_labels" if kind == TEXTS else ""
    with pytest.raises(InputError, match=r"line 2.*JSON.*E-LABELLED-VALUE"):
        table(tmp_path, kind, row, problem=problem)


STARTS: list[tuple[dict[str, Any], Any]] = [
    ({"answers": ["red", "A"], "answer_start": [7, 0]}, (("red", 7), ("A", 0))),
    ({"answers": ["red"], "answer_start": 7}, (("red", 7),)),
    ({"answers": "red", "answer_start": [7]}, (("red", 7),)),
    ({"answers": {"text": ["red"]}, "answer_start": [7]}, (("red", 7),)),
    ({"answers": ["A"], "answer_start": None}, (("A", 0),)),
    ({"answers": [], "answer_start": None}, ()),
    ({"answers": None, "answer_start": [3]}, None),
    ({"answers": ["red"], "answer_start": [2]}, (("red", 2),)),
    ({"answers": ["red"], "answer_start": [3]}, "E-LABELLED-ANSWER"),
    ({"answers": ["red"], "answer_start": [2, 7]}, "E-LABELLED-VALUE"),
    ({"answers": ["red", "A"], "answer_start": 2}, "E-LABELLED-VALUE"),
    ({"answers": [], "answer_start": [2]}, "E-LABELLED-VALUE"),
    ({"answers": {"text": "red", "answer_start": [2, 7]}}, "E-LABELLED-VALUE"),
    ({"answers": ["red"], "answer_start": [None]}, "E-LABELLED-ANSWER"),
]


@pytest.mark.parametrize(("record", "expected"), STARTS, ids=range(len(STARTS)))
def test_each_start_belongs_to_its_answer(record: dict[str, Any], expected: Any, tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "q", "context": "A red, red.", **record}))
    if isinstance(expected, str):
        with pytest.raises(InputError, match=rf"line 1.*{expected}"):
            list(open_examples(ASK, str(path)))
    else:
        (one,) = open_examples(ASK, str(path))
        assert vars(one)["answers"] == expected


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_line_breaks_in_cells_stay(end: str, tmp_path: Path):
    rows = ["question,context,answer,answer_start", f'q,"a{end}{end}red {end}b",red,{1 + 2 * len(end)}', f'q,"{end}",,']
    (tmp_path / "a.csv").write_bytes(end.join([*rows, ""]).encode())
    one, two = (vars(one) for one in open_examples(ASK, str(tmp_path / "a.csv")))
    assert one["context"] == f"a{end}{end}red {end}b" and one["answers"] == (("red", 1 + 2 * len(end)),)
    assert two["context"] == end and two["place"].endswith("line 6")


def test_empty_rows_of_one_column(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def read(content: str, **options: Any) -> list[tuple[str, str, str]]:
        (tmp_path / "a.csv").write_text(content)
        found = open_examples(TEXTS, str(tmp_path / "a.csv"), split="test", **options)
        return [(one.id, vars(one)["text"], one.place.rpartition(" ")[2]) for one in found]

    rows = [("0", "good", "2"), ("1", "", "3"), ("2", "bad", "4")]
    assert read("text\ngood\n\nbad\n") == rows == read("text\r\ngood\r\n\r\nbad")
    assert read('text\ngood\n""\nbad\n') == rows
    assert "1 text of only white space, first in" in caplog.text
    assert read("\ngood\n\n", columns={"text": "1"}) == [("0", "", "1"), ("1", "good", "2"), ("2", "", "3")]
    # A blank line has no cells where there are several columns; a line says so.
    caplog.set_level("INFO", "jaxbert")
    assert read("text,label\ngood,x\n\n\nbad,y\n\n") == [("0", "good", "2"), ("1", "bad", "5")]
    assert "2 blank lines between rows left out, first line 3" in caplog.text
