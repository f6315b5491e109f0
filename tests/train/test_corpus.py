"""A run is fitted to its corpus when it begins: `max_passes`, the judgement, the refusal and `--anyway`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jaxbert.commands.main import main
from jaxbert.config import load_json
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
