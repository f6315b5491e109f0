"""Files that are spoilt at random end in one error of the input, never in a foreign exception."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from jaxbert.errors import CommandError
from jaxbert.labelled.encode import Encoding, encode, texts_of
from jaxbert.labelled.labels import find_labels
from jaxbert.labelled.opening import open_examples
from jaxbert.text.tokenizers import Tokenizer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "labelled.md"
KIND_OF = {
    "Classification": "classification",
    "Words": "token_labels",
    "Questions": "question_answering",
    "Choices": "multiple_choice",
    "Sentence vectors": "sentence_vectors",
}
PARTS = (
    b'" , \t \n \r \0 \xff { } [ ] null 1e999 NaN -1 99999999999999999999 true \\u0000 \\ud800 B- I-X O text label "" '
    b'1.5 -Infinity "a" [1] {} \xef\xbb\xbf \xe2\x80\x8b'
).split(b" ")


def files() -> list[tuple[str, str, bytes]]:
    """Returns (kind, name, content) of the files that the page shows, and of a few others."""
    found = []
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        contents = re.findall(r"```\n(.*?)```", body, re.DOTALL)
        names = re.findall(r"`(\w+\.\w+)`(?= has a word a line|:\n)", body)
        found += [(KIND_OF[title], *pair) for pair in zip(names, (one.encode() for one in contents), strict=True)]
    return [
        *found,
        ("classification", "a.tsv", b'sentence\tlabel\n"a\tx\nb "c"\ty\n'),
        ("classification", "a.json", b'[{"text": "a", "label": 1.5}, {"text": "b\\ud800", "label": true}]'),
        ("question_answering", "q.csv", b"question,context,answer,answer_start\nq,A red.,red,2\n"),
        ("multiple_choice", "m.jsonl", b'{"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}}\n'),
        ("token_labels", "w.csv", b"words,tags\na b,B-X O\n"),
    ]


def spoilt(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        match rng.randrange(5):
            case 0:
                data[at:at] = rng.choice(PARTS)
            case 1:
                data[at : at + rng.randint(1, 8)] = rng.choice(PARTS)
            case 2:
                del data[at : at + rng.randint(1, 8)]
            case 3:
                data[at:at] = data[at:end]
            case _:
                del data[at:]
    return bytes(data)


@pytest.mark.parametrize("number", range(len(files())))
def test_mutants(number: int, tmp_path: Path, tokenizers: dict[str, Tokenizer]):
    kind, name, content = files()[number]
    rng = random.Random(number)
    refused = 0
    for _ in range(60):
        (tmp_path / name).write_bytes(spoilt(content, rng))
        problem = rng.choice(["", "number", "several_labels"]) if kind == "classification" else ""
        try:
            examples = list(
                open_examples(kind, str(tmp_path / name), problem=problem, split=rng.choice(["train", "test"]))
            )
            labels = find_labels(kind, problem, examples)
            encoding = Encoding(
                kind=kind,
                problem=problem,
                labels=labels,
                tokenizer=tokenizers[rng.choice(sorted(tokenizers))],
                length=rng.choice((12, 20)),
                texts=texts_of(kind, examples),
            )
            encode(encoding, examples)
        except CommandError as error:
            assert error.exit_code == 2, error
            refused += 1
    assert refused > 5
