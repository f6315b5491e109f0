"""Each format is read into the same examples, and what looks odd but is right is read right."""

from __future__ import annotations

import bz2
import gzip
import json
import logging
import lzma
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample, WordsExample
from jaxbert.labelled.labels import find_labels, is_unknown
from jaxbert.labelled.opening import open_examples

PACKINGS = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}
CSV = 'text,pair,label\n"a, ""b""\nc",d,x\n\ne,,y\n'
RECORDS = [{"text": 'a, "b"\nc', "pair": "d", "label": "x"}, {"text": "e", "pair": "", "label": "y"}]


def opened(path: Path | str, kind: str = "classification", **options: Any) -> list[Any]:
    return list(open_examples(kind, str(path), **options))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def bare(examples: list[Any]) -> list[Any]:
    """Examples without their places."""
    return [type(one)(**{**vars(one), "place": ""}) for one in examples]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "parquet"])
def test_every_form_in_every_packing(tmp_path: Path, form: str, packing: str):
    content = {
        "csv": CSV.encode(),
        "jsonl": b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS),
        "json": json.dumps(RECORDS).encode(),
    }
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "made.parquet")
        content[form] = (tmp_path / "made.parquet").read_bytes()
    path = write(tmp_path / f"a.{form}{packing}", PACKINGS[packing](content[form]))
    found = opened(path)
    assert bare(found) == [
        TextExample(id="0", text='a, "b"\nc', pair="d", target="x"),
        TextExample(id="1", text="e", pair="", target="y"),
    ]
    places = {"csv": ("line 2", "line 5"), "json": ("line 1", "line 1"), "parquet": ("row 1", "row 2")}
    assert [one.place for one in found] == [f"{path}, {one}" for one in places.get(form, ("line 1", "line 2"))]


def test_a_byte_order_mark_and_ends_of_windows(tmp_path: Path):
    path = write(tmp_path / "a.csv", b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())
    first, second = opened(path)
    assert (first.text, first.target, second.place) == ('a, "b"\r\nc', "x", f"{path}, line 5")
    conll = write(tmp_path / "a.conll", b"\xef\xbb\xbfa\tB-X\r\n\r\nb\tO\r\n")
    assert [one.tags for one in opened(conll, "token_labels")] == [("B-X",), ("O",)]


def test_columns(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "jaxbert")
    path = write(tmp_path / "a.csv", "key;body;score;kind\nk7;a;1.5;x\nk8;b;2;y\n")
    one, _ = opened(path, columns={"text": "body", "label": "kind", "id": "key"})
    assert (one.text, one.target, one.id) == ("a", "x", "k7")
    assert "text from 'body', label from 'kind', id from 'key'" in caplog.text
    one, two = opened(path, columns={"text": "body"}, problem="number")
    assert (one.target, two.target) == (1.5, 2.0)
    # A table that does not name its columns.
    path = write(tmp_path / "b.tsv", 'a b\t1\nc "d"\t0\n')
    assert [(one.text, one.target) for one in opened(path, columns={"text": "1", "label": "2"})] == [
        ("a b", "1"),
        ('c "d"', "0"),
    ]
    # Splits that need no answers.
    path = write(tmp_path / "c.csv", "sentence1,sentence2\na,b\n")
    (one,) = opened(path, split="test")
    assert (one.text, one.pair, one.target) == ("a", "b", None)
    assert opened(path, split="test", columns={"text": "sentence1"})[0].pair is None
    assert opened(path, "sentence_vectors", split="train")[0].target is None
    # Several files of one form, and the first examples only.
    write(tmp_path / "d.csv", "sentence2,sentence1\nd,c\ne,f\n")
    found = opened(tmp_path / "[cd].csv", split="test", limit=2)
    assert [(one.id, one.text, one.pair) for one in found] == [("0", "a", "b"), ("1", "c", "d")]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('text\tlabel\n"a" b\tx\nc\ty\n', '"a" b'),  # quotes are text, as in GLUE
        ('text\tlabel\n"a\tx\nc"\ty\n', '"a'),
        ('text\tlabel\n"a"\tx\nc\ty\n', '"a"'),
        ('text\tlabel\n"a ""b"""\tx\nc\ty\n', 'a "b"'),  # a program has quoted
        ('"text"\t"label"\n"a"\t"x"\n"c"\t"y"\n', "a"),
    ],
)
def test_quotes_of_tsv(tmp_path: Path, content: str, text: str):
    first, second = opened(write(tmp_path / "a.tsv", content))
    assert (first.text, first.target, second.target) == (text, "x", "y")


def test_labels_of_every_type(tmp_path: Path):
    lines = [{"text": "a", "label": label} for label in (1, 0, 10, 2)]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    examples = opened(path)
    assert find_labels("classification", "", examples) == ("0", "1", "2", "10")
    assert find_labels("classification", "", reversed(examples)) == ("0", "1", "2", "10")
    path = write(tmp_path / "b.jsonl", "".join(json.dumps({"text": "a", "label": one}) + "\n" for one in (True, False)))
    assert find_labels("classification", "", opened(path)) == ("false", "true")
    # Several: a list, or a bar; an empty cell means none.
    path = write(tmp_path / "c.csv", 'text,label\na,"x, y|z"\nb,\nc,z\n')
    examples = opened(path, problem="several_labels")
    assert [one.target for one in examples] == [("x, y", "z"), (), ("z",)]
    assert find_labels("classification", "several_labels", examples) == ("x, y", "z")
    path = write(tmp_path / "d.jsonl", '{"text": "a", "labels": ["u,v", 3]}\n{"text": "b", "labels": []}\n')
    assert [one.target for one in opened(path, problem="several_labels")] == [("u,v", "3"), ()]


def test_blank_texts_stay_and_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = write(tmp_path / "a.csv", "text,label\n  ,x\na,y\n,x\n")
    assert [one.text for one in opened(path)] == ["  ", "a", ""]
    assert "2 texts of only white space" in caplog.text and "line 2" in caplog.text
    path = write(tmp_path / "b.json", '[{"text": "half \\ud83d", "label": 1}]')
    assert opened(path)[0].text == "half \N{REPLACEMENT CHARACTER}"


KIND_OF = {
    "Classification": ("classification", [2, 2]),
    "Words": ("token_labels", [2, 1, 1]),
    "Questions": ("question_answering", [2, 2]),
    "Choices": ("multiple_choice", [1, 1]),
    "Sentence vectors": ("sentence_vectors", [2]),
}


def test_the_files_of_the_page(tmp_path: Path):
    """Every file that docs/how-to/labelled.md shows is opened, and has answers."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "labelled.md"
    for section in page.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        files = re.findall(r"```\n(.*?)```", body, re.DOTALL)
        names = re.findall(r"`(\w+\.\w+)`(?= has a word a line|:\n)", body)
        assert len(files) == len(names) == len(KIND_OF.get(title, ("", []))[1])
        for name, content, count in zip(names, files, KIND_OF.get(title, ("", []))[1], strict=True):
            found = opened(write(tmp_path / name, content), KIND_OF[title][0])
            assert len(found) == count and not any(map(is_unknown, found))
        if title == "Words":
            assert {one.tags[0] for one in found} == {"B-PER"}


# ----------------------------------------------------------------------------------------------------------------------
# GLUE

# The folder of each task, its columns, two rows, and the first example.
GLUE = {
    "cola": ("CoLA", "", ['gj04 1  A~"b".', "gj04 0 * C~d."], ('A "b".', None, "1")),
    "sst2": ("SST-2", "sentence label", ['a~"b~ 1', "c 0"], ('a "b ', None, "1")),
    "mrpc": ("MRPC", "Quality #1~ID #2~ID #1~String #2~String", ["1 7 8 a b", "0 7 8 c d"], ("a", "b", "1")),
    "qqp": ("QQP", "id qid1 qid2 question1 question2 is_duplicate", ["5 1 2 a b 1", "6 1 2 c d 0"], ("a", "b", "1")),
    "stsb": ("STS-B", "index sentence1 sentence2 score", ["0 a b 5.000", "1 c d 0.5"], ("a", "b", 5.0)),
    "mnli": (
        "MNLI",
        "index sentence1 sentence2 label1 gold_label",
        ["0 a b neutral entailment", "1 c d x neutral"],
        ("a", "b", "entailment"),
    ),
    "qnli": ("QNLI", "index question sentence label", ["0 a b entailment", "1 c d x"], ("a", "b", "entailment")),
    "rte": ("RTE", "index sentence1 sentence2 label", ["0 a b entailment", "1 c d x"], ("a", "b", "entailment")),
    "wnli": ("WNLI", "index sentence1 sentence2 label", ["0 a b 1", "1 c d 0"], ("a", "b", "1")),
}


def tabs(*rows: str) -> str:
    return "".join(row.replace(" ", "\t").replace("~", " ") + "\n" for row in rows)


@pytest.mark.parametrize("task", GLUE)
def test_tasks_of_glue(tmp_path: Path, task: str, caplog: pytest.LogCaptureFixture):
    folder, names, rows, expected = GLUE[task]
    content = tabs(*[names] * bool(names), *rows, "broken")
    (tmp_path / folder).mkdir()
    write(tmp_path / folder / "train.tsv", content)
    for place in (tmp_path, tmp_path / folder, tmp_path / folder / "train.tsv"):
        caplog.clear()
        first, _ = opened(f"glue:{task}:{place}")
        assert (first.text, first.pair, first.target) == expected
        line = content.count("\n")
        assert "left out 1 broken line" in caplog.text and caplog.text.rstrip().endswith(f": {line}")
    # The test files have no labels, and the one of CoLA has names.
    test = "test_matched.tsv" if task == "mnli" else "test.tsv"
    two = "index sentence" if task in ("cola", "sst2") else "index #1~String #2~String question1 question2"
    two = "index question sentence" if task == "qnli" else f"{two} sentence1 sentence2"
    write(tmp_path / folder / test, tabs(two, " ".join("9" for _ in two.split())))
    (one,) = opened(f"glue:{task}:{tmp_path}", split="test")
    assert (one.text, one.target) == ("9", None)


def test_mnli_has_two_splits_of_each_kind(tmp_path: Path):
    for name in ("dev_matched", "dev_mismatched"):
        write(tmp_path / f"{name}.tsv", tabs("sentence1 sentence2 gold_label", f"{name} b neutral"))
    for split, name in (("validation", "dev_matched"), ("validation_mismatched", "dev_mismatched")):
        assert opened(f"glue:mnli:{tmp_path}", split=split)[0].text == name


def test_a_file_with_many_broken_lines_is_not_glue(tmp_path: Path):
    write(tmp_path / "train.tsv", "sentence\tlabel\n" + "broken\n" * 50)
    with pytest.raises(Exception, match=r"train.tsv:22.*E-SOURCE-FIELD"):
        opened(f"glue:sst2:{tmp_path}")


# ----------------------------------------------------------------------------------------------------------------------
# Words


def words(path: Path, **options: Any) -> list[WordsExample]:
    return opened(path, "token_labels", **options)


def test_names_of_columns_are_no_word(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (one,) = words(write(tmp_path / "a.tsv", "Word\tPOS\na\tNOUN\nword\tVERB\n"))
    assert one.text == "a word" and one.tags == ("NOUN", "VERB")
    assert "a.tsv, line 1: these are names of columns, and no word: Word POS" in caplog.text
    (one,) = words(write(tmp_path / "b.conll", "word B-X\ntag O\n"))
    assert one.text == "word tag"


def test_conll(tmp_path: Path):
    content = "-DOCSTART- -X- O\n\nEU NNP B-ORG\n a\u00a0b VB O\n\n-DOCSTART- -X- O\nx NN O"
    path = write(tmp_path / "a.txt", content)
    first, second = words(path)
    assert (first.text, first.words, first.tags) == ("EU a\u00a0b", ((0, 2), (3, 6)), ("B-ORG", "O"))
    assert (second.id, second.text, second.place) == ("1", "x", f"{path}, line 7")
    assert [one.tags for one in words(path, columns={"tags": "2"})] == [("NNP", "VB"), ("NN",)]
    # Tabs keep spaces inside a word, and a line of tabs is empty.
    (one, two) = words(write(tmp_path / "b.tsv", "New York\tB-LOC\n\t\nx\tO\n"))
    assert (one.words, one.tags, two.tags) == (((0, 8),), ("B-LOC",), ("O",))
    (one,) = words(write(tmp_path / "c.conll", "a\nb\n"), split="test")
    assert one.tags is None and one.text == "a b"
    assert [one.id for one in words(tmp_path / "[ac].*")] == ["0", "1", "2"]


SCHEMES = {
    # In each: an entity of two words, one right behind it of the same type, one of one word and another type.
    "BIO": "B-X I-X B-X O B-Y",
    "IOB1": "I-X I-X B-X O I-Y",
    "IOBES": "B-X E-X S-X O S-Y",
    "IOBES of BILOU": "B-X L-X U-X O U-Y",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_become_bio(tmp_path: Path, scheme: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "jaxbert")
    content = "".join(f"w {tag}\n" for tag in SCHEMES[scheme].split())
    examples = words(write(tmp_path / "a.conll", content))
    assert examples[0].tags == tuple(SCHEMES["BIO"].split())
    assert f"the tags are {scheme.split()[0]}" in caplog.text and "begin without B" not in caplog.text
    assert find_labels("token_labels", "", examples) == ("O", "B-X", "I-X", "B-Y", "I-Y")
    record = {"tokens": list("abcde"), "ner_tags": SCHEMES[scheme].split()}
    assert words(write(tmp_path / "a.jsonl", json.dumps(record)))[0].tags == examples[0].tags


def test_unbalanced_tags_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (one,) = words(write(tmp_path / "a.conll", "a B-X\nb O\nc I-X\nd I-Y\ne I-Y\n"))
    assert one.tags == ("B-X", "O", "B-X", "B-Y", "I-Y")
    assert "2 entities of the tags BIO begin without B" in caplog.text and "first in" in caplog.text
    caplog.clear()
    (one,) = words(write(tmp_path / "b.conll", "a E-X\nb B-X\nc O\n"))
    assert one.tags == ("B-X", "B-X", "O") and "1 entity of the tags IOBES" in caplog.text


def test_other_tags_of_words(tmp_path: Path):
    examples = words(write(tmp_path / "a.conll", "a NOUN\nb -LRB-\n\nc O\n"))
    assert find_labels("token_labels", "", examples) == ("-LRB-", "NOUN", "O")
    examples = words(write(tmp_path / "b.conll", "a B\nb I\nc O\nd I\n"))
    assert examples[0].tags == ("B", "I", "O", "B") and find_labels("token_labels", "", examples) == ("O", "B", "I")


def test_entities_by_characters(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    text = "In Parisian cafés, e\u0301te\u0301 हिन्दी 北京。"
    entities = [
        {"start": 3, "end": 8, "label": "LOC"},  # inside a word
        {"start": text.index("हि"), "end": text.index(" 北"), "label": "LANG"},
        {"start": text.index("北"), "end": text.index("。"), "label": "LOC"},
    ]
    path = write(tmp_path / "a.jsonl", json.dumps({"text": text, "entities": entities}))
    (one,) = words(path)
    shown = [(text[start:end], tag) for (start, end), tag in zip(one.words, one.tags or (), strict=True)]
    assert shown == [
        *[("In", "O"), ("Paris", "B-LOC"), ("ian", "O"), ("cafés", "O"), (",", "O"), ("e\u0301te\u0301", "O")],
        *[("हिन्दी", "B-LANG"), ("北", "B-LOC"), ("京", "I-LOC"), ("。", "O")],
    ]
    assert "1 word cut at the edge of an entity" in caplog.text
    (one,) = words(path, split="test", columns={"entities": ""})
    assert one.tags is None and text[slice(*one.words[1])] == "Parisian"


# ----------------------------------------------------------------------------------------------------------------------
# Questions and choices


def test_squad(tmp_path: Path):
    context = "The house is red. It is red."
    questions: list[dict[str, Any]] = [
        {
            "id": "1",
            "question": "a?",
            "answers": [{"text": "red", "answer_start": 13}, {"text": "red", "answer_start": 24}],
        },
        {"id": 2, "question": "b?", "is_impossible": True, "answers": [], "plausible_answers": [{"text": "x"}]},
        {"id": "3", "question": "c?", "answers": []},
        {"id": "4", "question": "d?"},
    ]
    value = {"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": questions}]}]}
    path = write(tmp_path / "a.json.gz", gzip.compress(json.dumps(value).encode()))
    found = opened(path, "question_answering")
    assert [one.answers for one in found] == [(("red", 13), ("red", 24)), (), None, None]
    assert [one.id for one in found] == ["1", "2", "3", "4"] and found[0].place == f"{path}, question 1"


ANSWERS: list[tuple[Any, Any]] = [
    ({"text": ["red"], "answer_start": [2]}, (("red", 2),)),
    ({"text": [], "answer_start": []}, ()),
    ([{"text": "red", "answer_start": 2}, {"text": "A", "answer_start": 0}], (("red", 2), ("A", 0))),
    (["red"], (("red", 2),)),
    ([], ()),
    (None, None),
]


@pytest.mark.parametrize(("answers", "expected"), ANSWERS)
def test_answers_of_records(tmp_path: Path, answers: Any, expected: Any):
    record = {"question": "q", "context": "A red.", "answers": answers}
    (one,) = opened(write(tmp_path / "a.jsonl", json.dumps(record)), "question_answering")
    assert isinstance(one, Question) and one.answers == expected
    (one,) = opened(write(tmp_path / "a.json", json.dumps([record])), "question_answering")
    assert one.answers == expected


def test_lists_and_structures_of_parquet(tmp_path: Path):
    answers = {"text": ["red"], "answer_start": [2]}
    record = {"question": "q", "context": "A red.", "answers": answers, "tokens": ["a", "b"], "tags": ["B-X", "O"]}
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "a.parquet")
    (one,) = opened(tmp_path / "a.parquet", "question_answering")
    assert one.answers == (("red", 2),)
    (one,) = words(tmp_path / "a.parquet")
    assert (one.text, one.tags) == ("a b", ("B-X", "O"))


def test_answers_of_a_table(tmp_path: Path):
    content = "question,context,answer,answer_start\nq,A red.,red,2\nq,A red.,,\nq,A red.,red,\n"
    found = opened(write(tmp_path / "a.csv", content), "question_answering")
    assert [one.answers for one in found] == [(("red", 2),), (), (("red", 2),)]


CHOICES: list[tuple[dict[str, Any], tuple[str, str, int | None]]] = [
    ({"context": "c", "question": "q", "choices": ["a", "b"], "label": 1}, ("c", "q", 1)),
    ({"ctx": "c", "endings": ["a", "b"], "label": "0"}, ("c", "", 0)),
    ({"sent1": "c", "sent2": "q", "ending0": "a", "ending1": "b", "label": 1}, ("c", "q", 1)),
    ({"goal": "c", "sol1": "a", "sol2": "b", "label": 0}, ("c", "", 0)),
    ({"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "B"}, ("", "q", 1)),
    ({"question": "q", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2"}, ("", "q", 1)),
    ({"article": "c", "question": "q", "options": ["a", "b"], "answer": "B"}, ("c", "q", 1)),
    ({"text": "c", "A": "a", "B": "b", "answer": "B"}, ("c", "", 1)),
    ({"text": "c", "choices": ["a", "b"], "label": None}, ("c", "", None)),
]


@pytest.mark.parametrize(("record", "expected"), CHOICES, ids=range(len(CHOICES)))
def test_choices(tmp_path: Path, record: dict[str, Any], expected: tuple[str, str, int | None]):
    (one,) = opened(write(tmp_path / "a.jsonl", json.dumps(record)), "multiple_choice")
    assert isinstance(one, ChoiceExample) and one.choices == ("a", "b")
    assert (one.text, one.question, one.target) == expected


def test_choices_of_a_table(tmp_path: Path):
    content = "text,A,B,C,label\nt,a,b,c,C\nt,a,b,,0\n"
    found = opened(write(tmp_path / "a.csv", content), "multiple_choice")
    assert [(one.choices, one.target) for one in found] == [(("a", "b", "c"), 2), (("a", "b"), 0)]


# ----------------------------------------------------------------------------------------------------------------------
# Datasets


def test_hf(monkeypatch: pytest.MonkeyPatch):
    """Against a stand-in for the optional library."""

    class Stream(list[dict[str, Any]]):
        features: dict[str, Any]

    label = types.SimpleNamespace(names=["neg", "pos"])
    tags = types.SimpleNamespace(feature=types.SimpleNamespace(names=["O", "B-X", "I-X"]))
    texts = Stream([{"text": "a", "label": 1}, {"text": "b", "label": 0}])
    texts.features = {"text": types.SimpleNamespace(dtype="string"), "label": label}
    hidden = Stream([{"text": "a", "label": -1}])
    hidden.features = texts.features
    tokens = Stream([{"id": "k", "tokens": ["a", "b"], "ner_tags": [1, 0]}])
    tokens.features = {"id": None, "tokens": types.SimpleNamespace(feature=None), "ner_tags": tags}
    datasets = {"texts": {"train": texts, "test": hidden, "validation_matched": texts}, "tokens": {"train": tokens}}
    module = types.SimpleNamespace(
        load_dataset=lambda name, config, streaming: datasets[name], load_dataset_builder=lambda name, config: None
    )
    monkeypatch.setitem(sys.modules, "datasets", module)
    found = opened("hf:texts")
    assert [(one.target, one.place) for one in found] == [
        ("pos", "hf:texts train, row 1"),
        ("neg", "hf:texts train, row 2"),
    ]
    assert opened("hf:texts", split="validation")[0].target == "pos"
    assert opened("hf:texts", split="test")[0].target is None
    (one,) = opened("hf:tokens", "token_labels")
    assert (one.id, one.tags) == ("k", ("B-X", "O"))
    with pytest.raises(Exception, match=r"Splits there: train.*E-SOURCE-SPLIT"):
        opened("hf:tokens", "token_labels", split="validation")
    texts[0]["label"] = 7
    with pytest.raises(Exception, match=r"number 7.*hf:texts train, row 1.*E-LABELLED-VALUE"):
        opened("hf:texts")


def test_tfds(tmp_path: Path):
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    directory = tmp_path / "made" / "1.0.0"
    directory.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "sentence": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=["neg", "pos"]),
            "tokens": tfds.features.Sequence(tfds.features.Text()),
            "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["O", "B-X"])),
        }
    )
    writer = ArrayRecordWriter(str(directory / "made-train.array_record-00000-of-00001"), "group_size:1")
    for text, label in (("é b", 1), ("c", -1)):
        tokens = text.split()
        value = {"sentence": text, "label": label, "tokens": tokens, "tags": np.arange(len(tokens)) % 2}
        writer.write(features.serialize_example(features.encode_example(value)))
    writer.close()
    tfds.folder_dataset.write_metadata(
        data_dir=str(directory),
        features=features,
        split_infos=[tfds.core.SplitInfo(name="train", shard_lengths=[2], num_bytes=100)],
        filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        check_data=False,
    )
    found = opened(f"tfds:{directory}")
    assert [(one.text, one.target) for one in found] == [("é b", "pos"), ("c", None)]
    one, _ = words(f"tfds:{directory}")  # type: ignore[arg-type]
    assert isinstance(one, Example) and (one.text, one.tags) == ("é b", ("O", "B-X"))
