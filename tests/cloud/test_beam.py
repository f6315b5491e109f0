"""`prepare` and `rows` under Apache Beam's local runner: the bytes are those of processes here (`make test-cloud`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jaxbert.commands.main import main
from jaxbert.data import beam, rows
from jaxbert.data.records import prepare_records
from jaxbert.data.sources import open_source
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer

# Processes of their own, as workers elsewhere are.
DIRECT = "--runner=DirectRunner --direct_running_mode=multi_processing --direct_num_workers=2"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(SOURCE, tokenizer)."""
    here = tmp_path_factory.mktemp("corpus")
    sentences = [f"Sentence number {n} of the text says {n * 7 % 13} words." for n in range(3000)]
    paragraphs = [" ".join(sentences[i : i + 7]) for i in range(0, 3000, 7)]
    (here / "text.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    train_tokenizer("wordpiece", iter(paragraphs), vocab_size=200, lowercase=True).save(here / "tokenizer")
    return f"text:{here}/text.txt", here / "tokenizer"


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_records_and_rows_are_byte_for_byte_those_made_here(corpus, tmp_path: Path):
    source, tokenizer = corpus
    for out, runner in (("here", None), ("there", beam.Beam.of(DIRECT, str(tmp_path / "staging")))):
        made = prepare_records(
            open_source(source),
            Tokenizer.load(tokenizer),
            tmp_path / out / "records",
            workers=1,
            shard_bytes=20_000,
            validation_fraction=0.1,
            runner=runner,
        )
        found = rows.build_rows(
            tmp_path / out / "records",
            tmp_path / out / "rows",
            policy="segment_pair",
            length=64,
            workers=1,
            seed=3,
            copies=2,
            runner=runner,
        )
        assert made.lines() and found.rows["train"] > 100
    here, there = files(tmp_path / "here"), files(tmp_path / "there")
    assert sum("array_record" in name for name in here) > 12
    assert here.keys() == there.keys()
    for name, content in here.items():
        assert there[name] == content, name
    # Nothing stays in staging.
    assert not list((tmp_path / "staging").rglob("*"))


def test_the_command(corpus, tmp_path: Path, capsys):
    source, tokenizer = corpus
    wanted = ["prepare", source, "--tokenizer", str(tokenizer), "--length", "32"]
    assert main([*wanted, "--out", str(tmp_path / "here")]) == 0
    more = ["--beam", "runner=DirectRunner", "--staging", str(tmp_path / "staging")]
    assert main([*wanted, "--out", str(tmp_path / "there"), *more]) == 0
    said = capsys.readouterr().out.splitlines()
    half = len(said) // 2
    assert said[: half - 1] == said[half:-1]
    for end in ("", "-rows-32"):
        assert files(tmp_path / f"here{end}") == files(tmp_path / f"there{end}")


def test_what_was_finished_is_not_made_again(corpus, tmp_path: Path, monkeypatch):
    source, tokenizer = corpus
    runner = beam.Beam.of("runner=DirectRunner", str(tmp_path / "staging"))

    def prepare(out: str, runner: beam.Beam | None) -> None:
        place = tmp_path / out
        prepare_records(
            open_source(source), Tokenizer.load(tokenizer), place, workers=1, shard_bytes=20_000, runner=runner
        )

    asked: list[list[str]] = []
    pipeline, take = beam.Beam._pipeline, beam._Staging.take

    def remembered(self, function, names, label):
        asked.append(list(names))
        pipeline(self, function, names, label)

    def killed(self, job):
        if job.file.endswith("00003"):
            raise KeyboardInterrupt
        return take(self, job)

    monkeypatch.setattr(beam.Beam, "_pipeline", remembered)
    monkeypatch.setattr(beam._Staging, "take", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare("there", runner)
    monkeypatch.setattr(beam._Staging, "take", take)
    lost = min((tmp_path / "staging").glob("records-*/*-00005.answer"))
    lost.unlink()
    prepare("there", runner)
    assert len(asked[0]) > 6 and asked[1] == [lost.name.removesuffix(".answer")]
    prepare("here", None)
    assert files(tmp_path / "here") == files(tmp_path / "there")


def test_a_shard_that_was_changed_on_its_way_stops(corpus, tmp_path: Path, monkeypatch, capsys):
    source, tokenizer = corpus
    take = beam._Staging.take

    def changed(self, job):
        with Path(f"{self.root}/{job.file}.shard").open("ab") as file:
            file.write(b"!")
        return take(self, job)

    monkeypatch.setattr(beam._Staging, "take", changed)
    more = ["--beam", "runner=DirectRunner", "--staging", str(tmp_path / "staging")]
    wanted = ["prepare", source, "--tokenizer", str(tokenizer), "--out", str(tmp_path / "out"), "--no-rows"]
    assert main([*wanted, *more]) == 4
    assert "sha256" in capsys.readouterr().err
    monkeypatch.undo()
    assert main([*wanted, *more, "--workers", "1"]) == 4  # What the worker put there is still the wrong one.


def test_what_is_wrong_with_the_input_is_said_as_here(corpus, tmp_path: Path, capsys):
    source, tokenizer = corpus
    records = tmp_path / "records"
    assert main(["prepare", source, "--tokenizer", str(tokenizer), "--out", str(records), "--no-rows"]) == 0
    (shard,) = records.glob("records-train*")
    shard.write_bytes(shard.read_bytes()[:-1])
    errors = []
    for more in ([], ["--beam", "runner=DirectRunner", "--staging", str(tmp_path / "staging")]):
        capsys.readouterr()
        assert main(["rows", str(records), "--out", str(tmp_path / "rows"), "--length", "32", *more]) == 4
        errors.append([line for line in capsys.readouterr().err.splitlines() if line.startswith("jaxbert: error")])
    assert errors[0] == errors[1] and "damaged shard" in errors[0][0]
    assert json.loads((records / "manifest.json").read_text())["kind"] == "records"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--beam", "runner=DirectRunner"], "--staging"),
        (["--staging", "there"], "--staging"),
        (["--beam", "runner=DirectRunner no_such=1", "--staging", "there"], "no_such"),
        (["--beam", "runner=NoSuchRunner", "--staging", "there"], "NoSuchRunner"),
    ],
)
def test_bad_input(corpus, tmp_path: Path, capsys, monkeypatch, more: list[str], said: str):
    monkeypatch.chdir(tmp_path)
    source, tokenizer = corpus
    assert main(["prepare", source, "--tokenizer", str(tokenizer), "--out", str(tmp_path / "out"), *more]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
