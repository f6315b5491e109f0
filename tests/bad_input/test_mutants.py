"""Mutated files of every kind of JSON: what reads one ends well or in words, never in a foreign exception."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jaxbert.commands.main import main
from jaxbert.convert.sentence_transformers import SentenceLayout, write_layout
from jaxbert.data.directory import open_directory
from jaxbert.errors import CommandError
from jaxbert.report.read import read_run
from jaxbert.stores.lease import Owner, _parsed
from tests.bad_input.place import DEEP, LONG, make

MUTANTS = 24
# Values of every type, and those on which a first use fails.
STRANGE = [None, True, -1, 0, 1.5, 10**18, "", "x", "../x", "\0", [], {}, [[]], {"": 0}, [None], float("nan")]
# File -> the command line that reads it. Some mutants are as good as the file: then the command may end with 0.
COMMANDS = {
    "run.json": "launch slurm run.json --workdir new --dry-run",
    "run/config.json": "launch slurm run/config.json --workdir new --dry-run",
    "run/checkpoints/2/manifest.json": "checkpoint verify run",
    "records/manifest.json": "rows records --out model --length 32",
    "rows/manifest.json": "evaluate model --data rows",
    "tokenizer/tokenizer.json": "prepare text:corpus.txt --tokenizer tokenizer --out corpus.txt",
    "tokenizer/tokenizer_config.json": "prepare text:corpus.txt --tokenizer tokenizer --out corpus.txt",
    "tokenizer/made_from.json": "tokenizer text:corpus.txt --vocab-size 120 --out tokenizer",
    "suite.json": "evaluate model --suite suite.json --corpus",
    "model/config.json": "fill-mask model w0",
    "launched-options/launch/job.json": "launch status --workdir launched-options --dry-run",
    "launched-elsewhere/launch/job.json": "launch status --workdir launched-elsewhere",
    "lines.jsonl": "prepare jsonl:lines.jsonl --tokenizer tokenizer --out corpus.txt",
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path of every value inside `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from leaves(item, (*path, key))


def mutant(content: bytes, rng: random.Random) -> bytes:
    """Returns the content of a file of JSON, or of its first line, with one fault in it."""
    first, end, rest = content.partition(b"\n") if content.count(b"\n{") else (content, b"", b"")
    kind = rng.randrange(8)
    if kind == 0:
        place = rng.randrange(len(content))
        return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
    if kind == 1:
        return content[: rng.randrange(len(content))]
    value = json.loads(first)
    *above, last = rng.choice(list(leaves(value)))
    changed = copy.deepcopy(value)
    inner = changed
    for key in above:
        inner = inner[key]
    mark = "a value to replace in the text"
    match kind:
        case 2:
            del inner[last]
        case 3 | 4 | 5:
            inner[last] = rng.choice(STRANGE)
        case _:
            inner[last] = mark
    text = json.dumps(changed).replace(json.dumps(mark), DEEP if kind == 6 else LONG)
    return text.encode() + end + rest


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mutants") / "place"
    place.mkdir()
    make(place)
    write_layout(place / "model", SentenceLayout("mean", normalize=True), 18)
    return place


@pytest.fixture(autouse=True)
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    monkeypatch.setenv("XDG_STATE_HOME", str(made / "state"))
    monkeypatch.setenv("JAXBERT_CACHE", str(made / "cache"))


def mutants(file: str) -> Iterator[tuple[int, bytes]]:
    """Writes mutants of a file, one after the other, and at last the file as it was. Its name decides which."""
    path = Path(file)
    content = path.read_bytes()
    # The directory of a test has another path each time.
    rng = random.Random(path.name if path.is_absolute() else file)
    try:
        for number in range(MUTANTS):
            spoilt = mutant(content, rng)
            path.write_bytes(spoilt)
            yield number, spoilt
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("file", COMMANDS)
def test_commands(file: str, capsys: pytest.CaptureFixture[str]):
    ended = []
    for number, spoilt in mutants(file):
        capsys.readouterr()
        code = main(COMMANDS[file].split())
        lines = capsys.readouterr().err.splitlines()
        assert code in (0, 2, 4), (number, spoilt[:200], code, lines)
        assert code == 0 or lines[-1].startswith("jaxbert: error: "), (number, lines)
        ended.append(code)
    assert set(ended) != {0}, "no mutant is refused, so that the command does not read the file"


@pytest.mark.parametrize("file", ["metrics.jsonl", "telemetry.jsonl", "evaluation.json", "config.json"])
def test_the_files_of_a_report(file: str):
    for _ in mutants(f"run/{file}"):
        try:
            read_run(Path("run"), "run")
        except CommandError as error:
            assert error.exit_code == 2


@pytest.mark.parametrize(
    "file", ["modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json"]
)
def test_the_files_of_sentence_transformers(file: str):
    from jaxbert.convert.sentence_transformers import read_layout

    for _ in mutants(f"model/{file}"):
        try:
            read_layout("model")
        except CommandError as error:
            assert error.exit_code == 2


def test_the_notes_of_an_unfinished_directory(tmp_path: Path):
    shutil.copytree("records", tmp_path / "records")
    directory = open_directory(tmp_path / "new", "records", {"a": [1]})
    file = "records-train.array_record-00000"
    shutil.copy(f"records/{file}", directory.path / file)
    from jaxbert.data.shards import ShardInfo, sha256_file

    path = directory.path / file
    directory.finish(ShardInfo(file, 1, path.stat().st_size, sha256_file(path), {"tokens": 5}))
    assert directory.finished(file) is not None
    notes = directory.path / ".progress" / f"{file}.json"
    content = notes.read_text()
    notes.write_text(json.dumps({**json.loads(content), "statistics": None}))
    found = directory.finished(file)
    assert found is not None and found.statistics == {}
    notes.write_text(content)
    for _ in mutants(str(directory.path / ".progress" / f"{file}.json")):
        directory.finished(file)
    for _ in mutants(str(directory.path / ".progress" / "arguments.json")):
        try:
            open_directory(directory.path, "records", {"a": [1]})
        except CommandError as error:
            assert error.exit_code == 2


def test_a_lease():
    good = json.dumps({**vars(Owner.here()), "beats": 3}).encode()
    rng = random.Random(0)
    assert _parsed(good) is not None
    for _ in range(200):
        found = _parsed(mutant(good, rng))
        assert found is None or str(found)
