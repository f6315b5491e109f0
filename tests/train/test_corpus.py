"""A run is fitted to its corpus when it begins: `max_passes`, the judgement, the refusal and `--anyway`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest

from jaxbert.commands.main import main
from jaxbert.config import DataConfig, RunConfig, load_json, phase_rows, save_json
from jaxbert.config.overrides import apply_overrides
from jaxbert.data import from_source, same_text
from jaxbert.data.same_text import NOTE, note_text, other_text
from jaxbert.data.sources import open_source
from jaxbert.data.sources.written import written
from jaxbert.errors import InputError, Interrupted
from jaxbert.run.hold import check_workdir
from jaxbert.run.inputs import make_run_rows, rows_are_made
from jaxbert.run.prepared import forget_other_settings
from jaxbert.stores import replaced
from jaxbert.stores.replaced import remove_outputs
from jaxbert.stores.steps import latest_good

# A tiny model on text that the run prepares: three passes of a few rows.
SMALL = [
    *("encoder.vocab_size=120", "encoder.hidden_size=16", "encoder.intermediate_size=32", "encoder.max_positions=32"),
    *("phases.0.batch_size=4", "phases.0.accumulation=1", "evaluation.batch_size=4", "logging.tensorboard=false"),
    *("logging.every_steps=1000", "max_passes=2"),
]


@pytest.fixture(scope="module")
def poem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("poem") / "poem.txt"
    lines = [f"Line {index} of the poem. It has the number {index * 7 % 13} at its end." for index in range(40)]
    path.write_text("\n\n".join("\n".join(lines[start : start + 4]) for start in range(0, 40, 4)), encoding="utf-8")
    return path


def run(poem: Path, workdir: Path, *more: str) -> int:
    return main(["pretrain", "smoke", "--workdir", str(workdir), "--set", f"data.source=text:{poem}", *SMALL, *more])


def test_text_that_is_too_little_is_refused_and_anyway_goes_on(
    poem: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    assert run(poem, workdir) == 2
    said = capsys.readouterr().err
    (error,) = [line for line in said.splitlines() if line.startswith("jaxbert: error: ")]
    assert "fewer than 5,000, and a model learns them by heart" in error and f"(text:{poem})" in error
    assert error.endswith("repeat the command with --anyway. [E-FIT-CORPUS]")
    assert "look at: there are" not in said
    # What was prepared stays, and nothing else.
    assert f"what was prepared stays in {workdir / 'data'}" in said
    assert [path.name for path in workdir.iterdir()] == ["data"]
    made = {path: path.stat().st_ino for path in (workdir / "data").rglob("*.array_record-*")}
    # A command with another mistake leaves it as well.
    assert run(poem, workdir, "--set", "data.tokenizer=missing") == 2
    assert [path.name for path in workdir.iterdir()] == ["data"] and made
    capsys.readouterr()

    # The same command goes on from it, with as many steps as the limit allows.
    assert run(poem, workdir, "--anyway") == 0
    said = capsys.readouterr().err
    assert "training a wordpiece vocabulary" not in said and "prepared with other settings" not in said
    assert {path: path.stat().st_ino for path in (workdir / "data").rglob("*.array_record-*")} == made
    assert "look at: there are" in said and " passes over this text, so the run has " in said
    config, judged = load_json(workdir / "config.json"), json.loads((workdir / "corpus.json").read_text())
    steps = config.phases[0].steps
    assert 0 < config.steps_share < 1 and steps == latest_good(workdir) == judged["steps"] < 30
    assert judged["refusals"] and 1.5 < judged["passes"] < 2.5 and judged["parameters"] > 1000
    metrics = (workdir / "metrics.jsonl").read_bytes()

    # Repeated, it has the same steps, is not judged again, and needs no --anyway. A text that is away is not missed.
    poem.rename(poem.with_suffix(".away"))
    assert run(poem, workdir) == 0
    poem.with_suffix(".away").rename(poem)
    again = capsys.readouterr().err
    assert "text has changed" not in again
    assert "continued" in again and "corpus: " not in again and "passes over" not in again
    assert load_json(workdir / "config.json") == config and (workdir / "metrics.jsonl").read_bytes() == metrics


def test_a_text_that_has_changed_is_said_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, out = tmp_path / "texts", tmp_path / "run" / "data"
    (text / "inner").mkdir(parents=True)
    for name in ("a.txt", "inner/b.txt"):
        (text / name).write_text("The river is cold.\n", encoding="utf-8")
    spec = f"files:{text}"
    note_text(open_source(spec), out)
    config = RunConfig(name="x", data=DataConfig(source=spec))
    phases = list(config.phases)
    for phase in phases:
        ((rows, _),) = phase_rows(config, phase, tmp_path / "run")
        Path(rows).mkdir(parents=True, exist_ok=True)
        (Path(rows) / "manifest.json").write_text("{}")

    def made(begun: bool = True) -> bool:
        return rows_are_made(config, phases, tmp_path / "run", begun=begun)

    # Other files, other times and other names of files change nothing.
    (text / "picture.png").write_bytes(b"x")
    os.utime(text / "a.txt")
    (text / "inner" / "b.txt").rename(text / "inner" / "c.txt")
    assert made() and made(begun=False) and not caplog.records
    assert other_text(open_source(spec), out) == "1 file has another name now (inner/c.txt)"
    # The sizes of a large text decide, and the bytes of those files that somebody has touched.
    monkeypatch.setattr(same_text, "_ALWAYS_READ", 0)
    (text / "inner" / "c.txt").rename(text / "inner" / "b.txt")
    later = (out / NOTE).stat().st_mtime + 1000
    os.utime(out / NOTE, (later, later))
    monkeypatch.setattr(same_text, "digest_of", None)
    assert made(begun=False)
    monkeypatch.undo()
    (text / "a.txt").write_text("The river is COLD.\n", encoding="utf-8")
    (text / "b.txt").write_text("More.\n", encoding="utf-8")
    (text / "inner" / "b.txt").unlink()
    caplog.clear()
    assert made() and not made(begun=False)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "1 file differs (a.txt); 1 file is new (b.txt); 1 file is gone (inner/b.txt). The run goes on" in said
    assert f"--workdir {tmp_path / 'run'}-new" in said


def test_half_made_records_of_a_text_that_has_changed_are_made_again(
    poem: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workdir lies in the folder of the text, which alone changes nothing. Then a file is added."""
    workdir = tmp_path / "runs" / "one"
    (tmp_path / "a.txt").write_text(poem.read_text(encoding="utf-8"), encoding="utf-8")

    def again() -> int:
        source = ["--set", f"data.source=text:{tmp_path}/**/*.txt", *SMALL]
        return main(["pretrain", "smoke", "--workdir", str(workdir), *source])

    def cut(*arguments: object, **options: object) -> None:
        raise Interrupted("cut", where="here", fix="Repeat.", code="E-TEST")

    monkeypatch.setattr(from_source, "build_rows", cut)
    assert again() == 3 and again() == 3
    assert "made again" not in capsys.readouterr().err
    (tmp_path / "b.txt").write_text("The zebra is new here.\n", encoding="utf-8")
    assert again() == 3
    assert (
        "the text has changed since its records were begun: 1 file is new (b.txt); they are" in capsys.readouterr().err
    )
    assert "z" in (workdir / "data" / "tokenizer" / "vocab.txt").read_text().splitlines()
    # Killed between the vocabulary and the records' own note: the vocabulary is not one of the new text.
    shutil.rmtree(workdir / "data" / "records")
    (tmp_path / "b.txt").write_text("The quokka is new here.\n", encoding="utf-8")
    assert again() == 3
    assert "1 file differs (b.txt); they are" in capsys.readouterr().err
    assert "q" in (workdir / "data" / "tokenizer" / "vocab.txt").read_text().splitlines()
    # A run that has trained keeps what it has.
    (tmp_path / "b.txt").write_text("Another line.\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"rows of this run are missing.* 1 file differs \(b.txt\).*another --workdir.*E-RUN-DATA-TEXT"
    ):
        make_run_rows(load_json(workdir / "config.json"), [128], workdir, None, begun=True)
    # Now the rows are made of the new text, and they are judged.
    monkeypatch.undo()
    assert again() == 2
    assert "E-FIT-" in (said := capsys.readouterr().err) and "E-SHARD" not in said
    # This run was there before its corpus was judged. Now only what was prepared stays, also for other settings.
    assert {path.name for path in workdir.iterdir()} - {".lock"} == {"data"} and "what was prepared stays" in said
    assert not check_workdir(RunConfig(name="x", data=DataConfig(source="files:mine")), workdir, overwrite=False)


def test_a_kill_while_a_refused_run_is_removed_leaves_no_dead_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig(name="x", data=DataConfig(source="files:mine"))
    for cut in range(5):
        workdir = tmp_path / str(cut)
        forget_other_settings(config, None, workdir / "data")
        save_json(config, workdir / "config.json")
        for name in ("corpus.json", "parameters.txt", "auto.json"):
            (workdir / name).write_text("{}")
        removed: list[Path] = []

        def remove(path: Path, removed: list[Path] = removed, cut: int = cut) -> None:
            if path.exists():
                if len(removed) == cut:
                    raise KeyboardInterrupt
                removed.append(path)
                path.unlink()

        monkeypatch.setattr(replaced, "remove", remove)
        with contextlib.suppress(KeyboardInterrupt):
            remove_outputs(workdir, but=["data"])
        assert len(removed) == min(cut, 4) and (workdir / "config.json").exists() == (cut < 4)
        check_workdir(config, workdir, overwrite=False)


def test_what_was_prepared_with_other_settings_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Only what the settings decide: rows have settings of their own, and most of a config decides none of it."""
    out = tmp_path / "data"
    config = RunConfig(name="x", data=DataConfig(source="files:mine"))

    def left(*settings: str) -> list[str]:
        for name in ("tokenizer/vocab.txt", "records/manifest.json", "rows-segment_pair-64/manifest.json"):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text("{}")
        caplog.clear()
        forget_other_settings(apply_overrides(config, settings), None, out)
        return sorted(path.name for path in out.iterdir())

    every = ["prepared.json", "records", "rows-segment_pair-64", "tokenizer"]
    assert left() == every == left("evaluation.batches=0", "logging.every_steps=7", "data.policy=full_sentences")
    assert not caplog.records
    assert left("data.copies=2") == left("seed=7") == ["prepared.json", "records", "tokenizer"]
    assert "different: copies, seed); the rows are made again" in caplog.text
    for settings in (["data.validation_fraction=0.1"], ["encoder.vocab_size=128"], ["data.tokenizer_kind=bpe"]):
        assert left(*settings) == ["prepared.json"]
        (name,) = (setting.partition("=")[0].rpartition(".")[2] for setting in settings)
        assert name in caplog.text and "the text is prepared again" in caplog.text
    (out / "prepared.json").write_text("{")
    assert left() == ["prepared.json"]


def test_only_what_a_run_has_prepared_may_be_in_a_workdir_before_it(tmp_path: Path) -> None:
    config = RunConfig(name="x", data=DataConfig(source="files:mine"))
    (tmp_path / "data" / "records").mkdir(parents=True)
    with pytest.raises(InputError, match="E-WORKDIR-FOREIGN"):
        check_workdir(config, tmp_path, overwrite=True)
    forget_other_settings(config, None, tmp_path / "data")
    assert not check_workdir(config, tmp_path, overwrite=False)
    # A folder of texts around it does not take the notes for texts.
    assert written({path.name for path in (tmp_path / "data").iterdir()}) == "run"
    (tmp_path / "data" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="E-WORKDIR-FOREIGN"):
        check_workdir(config, tmp_path, overwrite=True)


def test_a_run_that_would_have_been_replaced_comes_back_whole(poem: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    (workdir / "data" / "tokenizer").mkdir(parents=True)
    (workdir / "data" / "tokenizer" / "vocab.txt").write_text("of the old run")
    save_json(RunConfig(name="old", data=DataConfig(source="files:old")), workdir / "config.json")
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    assert run(poem, workdir, "--overwrite") == 2
    assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before
