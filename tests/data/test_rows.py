"""Rows on disk: what stands in them, where it came from, and that every way of making them gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.data import shards
from jaxbert.data.draws import Draws
from jaxbert.data.pipeline import Rows
from jaxbert.data.policies import POLICIES
from jaxbert.data.policies.segments import TokenShard
from jaxbert.data.records import prepare_records, read_records
from jaxbert.data.row_format import row_dtype
from jaxbert.data.rows import RowsSummary, assemble, build_rows, check_arguments
from jaxbert.data.sources import open_source
from jaxbert.errors import InputError, Stopped
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer

LENGTH = 48
SETTINGS: dict[str, Any] = {"policy": "segment_pair", "length": LENGTH, "seed": 11, "short_rows": 0.2}


def made_up_text() -> str:
    """60 documents of up to 40 sentences; a few sentences are longer than a row."""
    draws = Draws("made up text")
    words = [
        "".join("bdfglmnprst"[draws.below(11)] + "aeiou"[draws.below(5)] for _ in range(1 + draws.below(3)))
        for _ in range(200)
    ]
    documents = []
    for _ in range(60):
        lines = []
        for _ in range(1 + draws.below(40)):
            size = 70 if draws.below(30) == 0 else 2 + draws.below(20)
            lines.append(" ".join(words[draws.below(200)] for _ in range(size)).capitalize() + ".")
        documents.append("\n".join(lines))
    return "\n\n".join(documents) + "\n"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corpus")
    text = directory / "made_up.txt"
    text.write_text(made_up_text(), encoding="utf-8")
    source = open_source(f"text:{text}")
    tokenizer = train_tokenizer(
        "wordpiece", (document.text for document in source.documents()), vocab_size=300, lowercase=True
    )
    out = directory / "records"
    prepare_records(source, tokenizer, out, workers=1, shard_bytes=16_000, validation_fraction=0.15)
    assert len(shards.read_manifest(out, "records")["splits"]["train"]) >= 4
    return out


@pytest.fixture(scope="module")
def made(records: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RowsSummary]:
    out = tmp_path_factory.mktemp("made") / "rows"
    return out, build_rows(records, out, workers=1, **SETTINGS)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def documents_of(records: Path, split: str) -> dict[int, np.ndarray]:
    count = len(shards.read_manifest(records, "records")["splits"][split])
    return {
        int(record.document): np.asarray(record.tokens)
        for shard in range(count)
        for record in read_records(records, split, shard)
    }


def rows_of(out: Path, split: str) -> np.ndarray:
    rows = Rows(out, split, verify=True)
    return rows.read(np.arange(len(rows)))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_row_is_its_origins_between_special_tokens(records: Path, made: tuple[Path, RowsSummary], split: str) -> None:
    tokenizer = Tokenizer.load(made[0] / "tokenizer")
    documents = documents_of(records, split)
    rows = rows_of(made[0], split)
    assert len(rows) == made[1].rows[split] > 10
    for row in rows:
        (a_document, a_offset, a_length), (b_document, b_offset, b_length) = row["origins"].tolist()
        expected = [
            tokenizer.cls_id,
            *documents[a_document][a_offset : a_offset + a_length],
            tokenizer.sep_id,
            *documents[b_document][b_offset : b_offset + b_length],
            tokenizer.sep_id,
        ]
        used = a_length + b_length + 3
        assert min(a_length, b_length) >= 1
        assert row["tokens"].tolist() == expected + [tokenizer.pad_id] * (LENGTH - used)
        assert row["types"].tolist() == [0] * (a_length + 2) + [1] * (b_length + 1) + [0] * (LENGTH - used)
        assert row["group"].tolist() == [1] * used + [0] * (LENGTH - used)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_nothing_is_lost_or_doubled_but_what_is_counted(
    records: Path, made: tuple[Path, RowsSummary], split: str
) -> None:
    documents = documents_of(records, split)
    used = {document: np.zeros(len(tokens), int) for document, tokens in documents.items()}
    rows = rows_of(made[0], split)
    for row in rows:
        a, b = row["origins"]
        for segment in (a, b) if row["label"] == 0 else (a,):
            used[int(segment["document"])][segment["offset"] : segment["offset"] + segment["length"]] += 1
        if row["label"] == 0:
            gap = int(b["offset"]) - int(a["offset"]) - int(a["length"])
            assert a["document"] == b["document"]
            assert gap == 0 or (gap > 0 and row["group"].all()), "only a full row has lost tokens between A and B"
        else:
            assert a["document"] != b["document"]
    every = np.concatenate(list(used.values()))
    statistics = made[1].statistics[split]
    assert every.max() == 1
    assert (every == 0).sum() == statistics["truncated"] > 0
    assert len(every) == statistics["tokens"]
    assert statistics["oversized"] > 0
    assert statistics["random"] == (rows["label"] == 1).sum()
    assert statistics["next"] == (rows["label"] == 0).sum()
    assert statistics["positions"] == rows["group"].sum()


def test_any_number_of_workers_gives_the_same_bytes(
    records: Path, made: tuple[Path, RowsSummary], tmp_path: Path
) -> None:
    assert build_rows(records, tmp_path / "three", workers=3, **SETTINGS) == made[1]
    assert contents(tmp_path / "three") == contents(made[0])


KILLED = """
import os, signal, sys
from pathlib import Path
from jaxbert.data import rows

encode, shards_begun = rows._encode, 0

def encode_and_die(*arguments):
    global shards_begun
    shards_begun += 1
    for number, record in enumerate(encode(*arguments)):
        if shards_begun == 3 and number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        yield record

rows._encode = encode_and_die
settings = {"policy": "segment_pair", "length": 48, "seed": 11, "short_rows": 0.2}
rows.build_rows(Path(sys.argv[1]), Path(sys.argv[2]), workers=1, **settings)
"""


def test_a_killed_run_goes_on_to_the_same_bytes(records: Path, made: tuple[Path, RowsSummary], tmp_path: Path) -> None:
    out = tmp_path / "rows"
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    killed = subprocess.run([sys.executable, "-c", KILLED, records, out], env=os.environ | {"PYTHONPATH": path})
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(InputError, match="E-SHARD-UNFINISHED"):
        Rows(out, "train")
    finished = {shard: shard.stat().st_mtime_ns for shard in out.glob("rows-*")}
    assert len(finished) == 2
    assert build_rows(records, out, workers=2, **SETTINGS) == made[1]
    assert contents(out) == contents(made[0])
    assert {shard: shard.stat().st_mtime_ns for shard in finished} == finished, "finished shards are kept"


def test_a_repeated_call_changes_nothing(records: Path, made: tuple[Path, RowsSummary]) -> None:
    before = {path: path.stat().st_mtime_ns for path in made[0].rglob("*")}
    assert build_rows(records, made[0], workers=1, **SETTINGS) == made[1]
    assert {path: path.stat().st_mtime_ns for path in made[0].rglob("*")} == before


def test_other_arguments_do_not_overwrite(records: Path, made: tuple[Path, RowsSummary], tmp_path: Path) -> None:
    out = tmp_path / "rows"
    shutil.copytree(made[0], out)
    for change in ({"seed": 12}, {"length": 32}, {"short_rows": 0.1}, {"copies": 2}):
        with pytest.raises(InputError, match=f"{next(iter(change))}.*E-SHARD-ARGUMENTS"):
            build_rows(records, out, workers=1, **(SETTINGS | change))
    assert contents(out) == contents(made[0])
    build_rows(records, out, workers=1, **(SETTINGS | {"seed": 12}), overwrite=True)
    assert Rows(out, "train").hash != made[1].hash


def test_overwrite_makes_a_damaged_shard_again(records: Path, made: tuple[Path, RowsSummary], tmp_path: Path) -> None:
    out = tmp_path / "rows"
    shutil.copytree(made[0], out)
    damaged = sorted(out.glob("rows-train*"))[1]
    damaged.write_bytes(bytes(damaged.stat().st_size))
    sorted(out.glob("rows-train*"))[2].unlink()
    with pytest.raises(Stopped, match="E-SHARD-DAMAGED"):
        Rows(out, "train", verify=True)
    (out / "tokenizer" / "tokenizer.json").write_text("{")
    # The same call does not say that all is well.
    with pytest.raises(Stopped, match=r"--overwrite.*E-SHARD-DAMAGED"):
        build_rows(records, out, workers=1, **SETTINGS)
    build_rows(records, out, workers=1, **SETTINGS, overwrite=True)
    assert contents(out) == contents(made[0])
    (out / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(Stopped, match=r"tokenizer.*--overwrite.*E-SHARD-DAMAGED"):
        build_rows(records, out, workers=1, **SETTINGS)


def test_copies_pair_differently_and_validation_has_one(
    records: Path, made: tuple[Path, RowsSummary], tmp_path: Path
) -> None:
    build_rows(records, tmp_path / "rows", workers=1, **SETTINGS, copies=2)
    one, two = rows_of(made[0], "train"), rows_of(tmp_path / "rows", "train")
    assert (two[: len(one)] == one).all(), "the first copy is what one copy gives"
    assert len(two) > 1.5 * len(one)
    once = {row.tobytes() for row in one}
    assert sum(row.tobytes() in once for row in two[len(one) :]) < 0.3 * len(one)
    assert (rows_of(tmp_path / "rows", "validation") == rows_of(made[0], "validation")).all()


def test_stored_order_is_mixed(made: tuple[Path, RowsSummary]) -> None:
    first = rows_of(made[0], "train")["origins"]["document"][:20, 0]
    assert (np.diff(first.astype(int)) < 0).sum() > 3


@pytest.fixture
def spoiled(records: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(records, tmp_path / "records")
    yield tmp_path / "records"
    assert not list(tmp_path.glob("rows/manifest.json"))


def test_another_tokenizer_is_refused(spoiled: Path, tmp_path: Path) -> None:
    other = train_tokenizer("wordpiece", ["some other text, with other words"], vocab_size=60, lowercase=True)
    shutil.rmtree(spoiled / "tokenizer")
    other.save(spoiled / "tokenizer")
    with pytest.raises(InputError, match="E-ROWS-TOKENIZER"):
        build_rows(spoiled, tmp_path / "rows", workers=1, **SETTINGS)
    assert not (tmp_path / "rows").exists()


def test_a_damaged_records_shard_is_named(spoiled: Path, tmp_path: Path) -> None:
    manifest = shards.read_manifest(spoiled, "records")
    shard = spoiled / manifest["splits"]["train"][1]["file"]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(Stopped, match=f"{shard.name}.*E-SHARD-DAMAGED"):
        build_rows(spoiled, tmp_path / "rows", workers=2, **SETTINGS)


def test_overwriting_in_vain_leaves_what_was_there(
    records: Path, made: tuple[Path, RowsSummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "rows"
    shutil.copytree(made[0], out)

    def fail(*arguments: Any, **options: Any) -> Any:
        raise InputError("no such records", where="x", fix="y", code="E-SHARD-MISSING")

    monkeypatch.setattr("jaxbert.data.rows.read_records", fail)
    with pytest.raises(InputError, match="E-SHARD-MISSING"):
        build_rows(records, out, workers=1, **(SETTINGS | {"seed": 12}), overwrite=True)
    assert contents(out) == contents(made[0])


def test_arguments_can_be_checked_ahead() -> None:
    good: dict[str, Any] = {"policy": "segment_pair", "length": 128, "copies": 1, "short_rows": 0.1, "seed": 0}
    check_arguments(**good)
    for change in (
        {"policy": "pairs"},
        {"length": 4},
        {"length": 70_000},
        {"short_rows": 1.5},
        {"copies": 0},
        {"copies": 10**12},
        {"seed": 10**400},
    ):
        code = "E-CONFIG-NAME" if "policy" in change else "E-ROWS-ARGUMENT"
        with pytest.raises(InputError, match=code):
            check_arguments(**(good | change))


def test_bad_arguments_touch_nothing(records: Path, tmp_path: Path) -> None:
    for change in (
        {"policy": "pairs"},
        {"length": 4},
        {"length": 70_000},
        {"short_rows": 1.5},
        {"copies": 0},
        {"workers": 0},
        {"workers": 10**9},
    ):
        codes = {"policy": "E-CONFIG-NAME", "workers": "E-WORKERS-NUMBER"}
        code = codes.get(next(iter(change)), "E-ROWS-ARGUMENT")
        with pytest.raises(InputError, match=code):
            build_rows(records, tmp_path / "rows", **({"workers": 1} | SETTINGS | change))
    with pytest.raises(InputError, match="E-SHARD-MANIFEST"):
        build_rows(tmp_path, tmp_path / "rows", workers=1, **SETTINGS)
    assert not (tmp_path / "rows").exists()


def test_a_row_without_a_pair_has_one_segment() -> None:
    shard = TokenShard(np.arange(50, 60).astype("<u2"), np.array([0, 10]), np.array([0, 1]), np.array([4]))
    segments = POLICIES["segment_pair"].cut(shard, 16, 0.0, Draws("alone"))
    (row,) = assemble(shard, segments, length=16, vocab_size=100, cls_id=2, sep_id=3, pad_id=0)
    assert row["tokens"].tolist() == [2, *range(50, 60), 3, 0, 0, 0, 0]
    assert (row["types"].sum(), row["group"].sum(), row["label"]) == (0, 12, -1)
    assert row["origins"].tolist() == [(4, 0, 10), (0, 0, 0)]


def test_row_layout_is_packed_little_endian() -> None:
    small, large = row_dtype(128, 65536, 2), row_dtype(128, 65537, 2)
    assert (small.itemsize, large.itemsize) == (128 * 4 + 1 + 20, 128 * 6 + 1 + 20)
    assert (small["tokens"].base.str, large["tokens"].base.str) == ("<u2", "<u4")


def test_golden_rows() -> None:
    """Pins the bytes of rows: a change here makes everybody's rows others."""
    draws = Draws("golden rows")
    lengths = [1 + draws.below(25) for _ in range(300)]
    shard = TokenShard(
        tokens=np.array([10 + draws.below(900) for _ in range(sum(lengths))]).astype("<u2"),
        sentences=np.concatenate([[0], np.cumsum(lengths)]),
        documents=np.array([0, 1, 40, 100, 300]),
        names=np.arange(4),
    )
    segments = POLICIES["segment_pair"].cut(shard, 64, 0.1, Draws("segment_pair", 0, "train", 0, 0))
    rows = assemble(shard, segments, length=64, vocab_size=1000, cls_id=2, sep_id=3, pad_id=0)
    assert hashlib.sha256(rows.tobytes()).hexdigest()[:16] == GOLDEN_ROWS


GOLDEN_ROWS = "4a9aed77066bd342"
