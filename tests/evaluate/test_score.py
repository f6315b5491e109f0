"""`jaxbert score`: texts and minimal pairs of files, in and out."""

from __future__ import annotations

import errno
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from jaxbert.commands.main import main
from jaxbert.errors import InputError, Interrupted
from jaxbert.evaluate import score_files
from jaxbert.evaluate.likelihood import score
from jaxbert.evaluate.minimal_pairs import read_pairs
from jaxbert.use.library import Loaded

TEXTS = ["w1 w2 w3", "", "abba w7", "w1 unknown"]
PAIRS: list[dict[str, Any]] = [
    {"sentence_good": "w1 w2", "sentence_bad": "w2 w1", "UID": "order", "field": "syntax", "linguistics_term": "x"},
    {"sentence_good": "w3 abba", "sentence_bad": "abba w3", "UID": "order", "field": "syntax"},
    {"sentence_good": "w5 w6", "sentence_bad": "W5 \u200bw6", "UID": "same", "field": "morphology"},
    {"sentence_good": "w7", "sentence_bad": ["w8", "w9", "w10 w11"], "UID": "same", "field": "morphology"},
]


def jsonl(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_texts(directory: Path, bert: Loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records on standard output, figures on stderr; or records in a file, figures on standard output."""
    (tmp_path / "a.txt").write_text("\n".join(TEXTS) + "\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(jsonl([{"id": 1, "text": "w9"}])))
    files = [str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl.gz")]
    figures_file = tmp_path / "figures.json"
    assert main(["score", str(directory), *files, "--json", str(figures_file)]) == 0
    shown = capsys.readouterr()
    records = [json.loads(line) for line in shown.out.splitlines()]
    assert [record["text"] for record in records] == [*TEXTS, "w9"]
    expected = score(bert, [*TEXTS, "w9"])
    np.testing.assert_allclose([record["score"] for record in records], expected, rtol=0, atol=1e-4)
    assert [record["tokens"] for record in records] == [3, 0, 5, 2, 1]
    assert records[1]["score_per_token"] is None
    assert abs(records[0]["score_per_token"] - expected[0] / 3) < 1e-5
    assert "texts without a token: 1" in shown.err and "unknown tokens: 1 (9.09%)" in shown.err
    figures = json.loads(figures_file.read_text())
    assert (figures["kind"], figures["texts"], figures["tokens"], figures["unknown"]) == ("texts", 5, 11, 1)
    assert abs(figures["pseudo_perplexity"] - np.exp(-expected.sum() / 11)) < 1e-3

    out = tmp_path / "out.jsonl"
    words = ["score", str(directory), *files, "--out", str(out), "--pieces", "--mask", "word"]
    assert main(words) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    first = lines_of(out)[2]
    assert [piece for piece, _ in first["pieces"]] == ["a", "##b", "##b", "##a", "w7"]
    assert abs(sum(value for _, value in first["pieces"]) - first["score"]) < 1e-5
    assert abs(first["score"] - score(bert, TEXTS, mask="word")[2]) < 1e-4
    assert main(words) == 2 and "E-SCORE-OUT" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


def test_standard_input(
    directory: Path, bert: Loaded, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.pipe()
    os.write(write, b"w1 w2\nw3\n")
    os.close(write)
    monkeypatch.setattr(os, "dup", lambda descriptor: read)
    assert main(["score", str(directory), "-"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose([one["score"] for one in records], score(bert, ["w1 w2", "w3"]), rtol=0, atol=1e-4)


def test_pairs(directory: Path, bert: Loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    (folder / "blimp.jsonl.xz").write_bytes(lzma.compress(jsonl(PAIRS)))
    # As BabyLM's supplement: no UID and no field. A JSON array holds pairs too.
    more = [{"sentence_good": "w1", "sentence_bad": "w2"}]
    (folder / "more.json.zst").write_bytes(zstandard.compress(json.dumps(more).encode()))
    (folder / "README.md").write_text("About the pairs.\n")
    out, figures_file = tmp_path / "out.jsonl", tmp_path / "figures.json"
    words = ["score", str(directory), str(folder), "--out", str(out), "--json", str(figures_file)]
    assert main(words) == 0
    figures = json.loads(figures_file.read_text())
    scores = score(bert, ["w1 w2", "w2 w1", "w3 abba", "abba w3", "w7", "w8", "w9", "w10 w11", "w1", "w2"])
    points = [scores[0] > scores[1], scores[2] > scores[3], 0.5, scores[4] > max(scores[5:8]), scores[8] > scores[9]]
    assert [record["points"] for record in lines_of(out)] == points
    assert (figures["pairs"], figures["texts"], figures["ties"]) == (5, 12, 1)
    assert figures["accuracy"] == sum(points) / 5
    assert figures["tied"] == [f"{folder / 'blimp.jsonl.xz'}, line 3"]
    assert list(figures["by_uid"]) == ["more", "order", "same"]
    assert list(figures["by_field"]) == ["morphology", "syntax"]
    assert figures["by_uid"]["same"]["accuracy"] == sum(points[2:4]) / 2
    assert figures["mean_of_uids"] == pytest.approx(np.mean([points[4], sum(points[:2]) / 2, sum(points[2:4]) / 2]))
    shown = capsys.readouterr().out
    assert (
        "1 tie " in shown and "blimp.jsonl.xz, line 3" in shown and "files left out" in shown and "README.md" in shown
    )
    assert len(lines_of(out)[3]["score_bad"]) == 3


def test_pairs_of_other_fields(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(jsonl([{"right": "w1", "wrong": "w2", "text": "x"}]))
    assert main(["score", str(directory), str(file), "--good", "right", "--bad", "wrong", "--pieces"]) == 0
    assert "1 pair of 1 file" in capsys.readouterr().out
    # Without the names, the file has texts.
    assert main(["score", str(directory), str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "x"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"sentence_good": "w1"}], r"'sentence_bad'.*pairs\.jsonl, line 1.*E-SCORE-FIELD"),
        ([*PAIRS, {"sentence_good": "w1", "sentence_bad": None}], r"null.*pairs\.jsonl, line 5.*E-SCORE-FIELD"),
        ([{"sentence_good": " ", "sentence_bad": "w1"}], r"pairs\.jsonl, line 1.*E-SCORE-FIELD"),
        ([{"sentence_good": "w1", "sentence_bad": []}], r"pairs\.jsonl, line 1.*E-SCORE-FIELD"),
        ([{**PAIRS[0], "UID": 5}], r"'UID' is 5.*pairs\.jsonl, line 1.*E-SCORE-FIELD"),
        ([PAIRS[0], {**PAIRS[0], "sentence_bad": "w1 " * 70}], r"pairs\.jsonl, line 2 \(72 tokens\).*E-SCORE-LENGTH"),
    ],
)
def test_refuses_what_is_no_pair(directory: Path, tmp_path: Path, content: list[Any], message: str) -> None:
    file, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(jsonl(content))
    with pytest.raises(InputError, match=message):
        score_files.score_files(str(directory), [str(file)], out=str(out), good="sentence_good")
    assert not out.exists()


def test_refuses_files_of_both_kinds(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl(PAIRS))
    (tmp_path / "b.txt").write_text("w1\n")
    (tmp_path / "c.json").write_text("[1]")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.pdf").write_text("x")
    a, b, c = (str(tmp_path / name) for name in ("a.jsonl", "b.txt", "c.json"))
    for files, code in (
        ([a, b], "E-SCORE-MIXED"),
        (["-", b], "E-SCORE-MIXED"),
        ([str(tmp_path / "empty")], "E-SCORE-NONE"),
    ):
        with pytest.raises(InputError, match=code):
            score_files.find_inputs(files)
    with pytest.raises(InputError, match=r"not a JSON object.*c\.json, line 1.*E-SOURCE-FIELD"):
        list(read_pairs(c))
    with pytest.raises(InputError, match=r"b\.txt.*E-LABELLED-FORM"):
        list(read_pairs(b))
    with pytest.raises(InputError, match=r"replace the input.*E-SCORE-OUT"):
        score_files.score_files(str(directory), [b], out=b, overwrite=True)
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(InputError, match="E-SCORE-NONE"):
        score_files.score_files(str(directory), [str(tmp_path / "none.jsonl")])


def test_what_goes_wrong_on_the_way_leaves_nothing(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("w1\n")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Interrupted, match="E-DISK-FULL"):
        score_files.score_files(str(directory), [str(tmp_path / "a.txt")], out=str(tmp_path / "out.jsonl"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_long_work_shows_its_progress(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("w1 w2\n")
    monkeypatch.setattr(score_files, "_is_long", lambda counts: True)
    assert main(["score", str(directory), str(tmp_path / "a.txt")]) == 0
    assert "score: 2 of 2 tokens" in capsys.readouterr().err
