"""A run is fitted to its corpus when it begins: `max_passes`, the judgement, the refusal and `--anyway`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jaxbert.commands.main import main
from jaxbert.config import load_json
from jaxbert.data import corpus
from jaxbert.errors import InputError, Interrupted
from jaxbert.run.inputs import make_run_rows
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
    assert "look at: there are" not in said and not workdir.exists()

    # The same command goes on, with as many steps as the limit allows.
    assert run(poem, workdir, "--anyway") == 0
    said = capsys.readouterr().err
    assert "look at: there are" in said and " passes over this text, so the run has " in said
    config, judged = load_json(workdir / "config.json"), json.loads((workdir / "corpus.json").read_text())
    steps = config.phases[0].steps
    assert 0 < config.steps_share < 1 and steps == latest_good(workdir) == judged["steps"] < 30
    assert judged["refusals"] and 1.5 < judged["passes"] < 2.5 and judged["parameters"] > 1000
    metrics = (workdir / "metrics.jsonl").read_bytes()

    # Repeated, it has the same steps, is not judged again, and needs no --anyway.
    assert run(poem, workdir) == 0
    again = capsys.readouterr().err
    assert "continued" in again and "corpus: " not in again and "passes over" not in again
    assert load_json(workdir / "config.json") == config and (workdir / "metrics.jsonl").read_bytes() == metrics


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

    monkeypatch.setattr(corpus, "build_rows", cut)
    assert again() == 3 and again() == 3
    assert "made again" not in capsys.readouterr().err
    (tmp_path / "b.txt").write_text("The zebra is new here.\n", encoding="utf-8")
    assert again() == 3
    assert "the text has changed since its records were begun: 1 file differs; they are" in capsys.readouterr().err
    assert "z" in (workdir / "data" / "tokenizer" / "vocab.txt").read_text().splitlines()
    # A run that has trained keeps what it has.
    (tmp_path / "b.txt").write_text("Another line.\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot be made as before.*source_hash.*another --workdir.*E-RUN-DATA-TEXT"):
        make_run_rows(load_json(workdir / "config.json"), [128], workdir, None, begun=True)
    # Now the rows are made of the new text, and they are judged.
    monkeypatch.undo()
    assert again() == 2
    assert "E-FIT-" in (said := capsys.readouterr().err) and "E-SHARD" not in said
