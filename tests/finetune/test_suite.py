"""A task of a suite that fine-tunes: `jaxbert evaluate --suite` trains, and does not train again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jaxbert.commands.main import main
from jaxbert.errors import InputError
from jaxbert.evaluate.suite.finetuned import asked
from jaxbert.evaluate.suite.reading import read_suite
from jaxbert.finetune.suite import _directory, trainer
from tests.finetune.data import SETTINGS, write_examples, write_model


def test_a_suite_fine_tunes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "tiny")
    for number, split in enumerate(("train", "validation", "test")):
        write_examples(tmp_path / f"{split}.jsonl", "one_label", 32, number)
    options = {"settings": [*SETTINGS, "epochs=1"], "seeds": 2}
    task = {
        **{"name": "good or bad?", "kind": "finetuned", "options": options},
        "files": ["train.jsonl", "validation.jsonl", "test.jsonl"],
    }
    (tmp_path / "suite.json").write_text(json.dumps({"tasks": [task]}))
    out = tmp_path / "results.json"
    words = ["evaluate", str(model), "--suite", str(tmp_path / "suite.json"), "--json", str(out)]
    assert main([*words, "--workdir", str(tmp_path / "runs")]) == 0
    found = json.loads(out.read_text())["results"][str(model)]["good or bad?"]
    place = tmp_path / "runs" / _directory("good or bad?") / _directory(str(model))
    judged = [json.loads((place / f"seed-{seed}" / "judgement.json").read_text()) for seed in (0, 1)]
    values = [one["splits"]["test"]["values"]["accuracy"] for one in judged]
    assert found["values"]["score"]["value"] == pytest.approx(sum(values) / 2)
    assert found["details"]["metric"] == "accuracy" and found["details"]["split"] == "test"
    assert "accuracy on the test split" in capsys.readouterr().out
    # The first eight examples stand in a corpus, so the runs are scored without them too.
    texts = [json.loads(line)["text"] for line in (tmp_path / "test.jsonl").read_text().splitlines()]
    (tmp_path / "corpus.txt").write_text("\n".join(texts[:8]) + "\n")

    def again(*args: object, **options: object) -> None:
        raise AssertionError("a run that was judged is trained again")

    monkeypatch.setattr("jaxbert.finetune.runs.train", again)
    assert main([*words, "--workdir", str(tmp_path / "runs"), "--corpus", str(tmp_path / "corpus.txt")]) == 0
    results = json.loads(out.read_text())["results"][str(model)]["good or bad?"]
    assert results["values"] == found["values"] and results["found"]["overlap"] >= 8
    rest = results["without_found"]
    assert rest["examples"] == 32 - results["found"]["overlap"]
    # The mean over both seeds is that of shares of the examples that are left.
    assert rest["values"]["score"]["value"] * 2 * rest["examples"] == pytest.approx(
        round(rest["values"]["score"]["value"] * 2 * rest["examples"])
    )
    assert "without those in the corpus" in capsys.readouterr().out
    # The scores of other files are not those of this suite.
    before = (tmp_path / "validation.jsonl").read_bytes()
    write_examples(tmp_path / "validation.jsonl", "one_label", 8, 9)
    capsys.readouterr()
    assert main([*words, "--workdir", str(tmp_path / "runs")]) == 2
    assert "1 file (validation.jsonl) changed since this was fine-tuned" in capsys.readouterr().err
    (tmp_path / "validation.jsonl").write_bytes(before)
    (place / "seed-1" / "judgement.json").write_text(json.dumps({**judged[1], "diverged": "its loss is lost"}))
    assert main([*words, "--workdir", str(tmp_path / "runs")]) == 2
    assert "the run of seed 1 has diverged" in capsys.readouterr().err
    # A judgement without the split is not one of this suite.
    for seed in (0, 1):
        path = place / f"seed-{seed}" / "judgement.json"
        path.write_text(json.dumps({**judged[seed], "splits": {}}))
    train = trainer(str(tmp_path / "suite.json"), str(tmp_path / "runs"))
    assert train is not None
    with pytest.raises(InputError, match=r"no score on its test split.*E-SUITE-FINETUNE"):
        train(str(model), asked(read_suite(str(tmp_path / "suite.json")).tasks[0]))


def test_names_of_directories() -> None:
    names = ["mine", "a b", "a_b", "../x", "hf:a/b@c", ""]
    made = [_directory(name) for name in names]
    assert made[0] == "mine" and len(set(made)) == len(names) and not any("/" in one or one[:1] == "." for one in made)
