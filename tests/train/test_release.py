"""A run's model as others get it: card, receipt, and that the receipt's run is the same run again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxbert
from jaxbert.commands.main import main
from jaxbert.convert import gate
from jaxbert.errors import Stopped

from .conftest import config_text


@pytest.fixture(scope="module")
def run(tiny_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir of four steps, evaluated, with money and estimated energy."""
    out = tmp_path_factory.mktemp("release")
    config = config_text(tiny_rows).replace("steps=14", "steps=3").replace("steps=10", "steps=1")
    config = config.replace("tensorboard=False", "tensorboard=False, price_per_hour=36.0, watts=100.0")
    (out / "config.py").write_text(config)
    assert main(["pretrain", str(out / "config.py"), "--workdir", str(out / "run")]) == 0
    return out / "run"


@pytest.fixture(scope="module")
def released(run: Path) -> Path:
    out = run.parent / "out"
    arguments = ["--license", "apache-2.0", "--data-license", "cc0-1.0", "--json", str(run.parent / "convert.json")]
    assert main(["convert", str(run), str(out), "--to", "hf", *arguments]) == 0
    return out


def test_the_card_says_what_a_reader_asks(released: Path) -> None:
    card = (released / "README.md").read_text()
    front, _, text = card.removeprefix("---\n").partition("\n---\n")
    assert front.splitlines() == [
        'license: "apache-2.0"',
        "library_name: transformers",
        "pipeline_tag: fill-mask",
        "tags:",
        "- jaxbert",
    ]
    for heading in ("## Use", "## Data", "## Recipe", "## Results", "## Cost", "## Receipt"):
        assert heading in text.splitlines()
    assert "text:corpus.txt, 2" in text and " rows of 32 tokens (segment_pair); sha256 " in text
    assert "Licence of the data: cc0-1.0." in text and "not stated" not in text
    assert "| steps | 3 of 3 | 1 of 1 |" in text and "lamb_mlperf" in text
    assert "masked lm accuracy: " in text
    assert "kWh (" in text and "Money: " in text and "USD" in text
    assert "equal ours to the last bit" in text and "our own reader" in text
    assert str(released.parent) not in text.replace("run.json", "")


def test_the_receipt_is_of_what_lies_beside_it(run: Path, released: Path) -> None:
    receipt = json.loads((released / "receipt.json").read_text())
    assert receipt["config_sha256"] == hashlib.sha256((released / "run.json").read_bytes()).hexdigest()
    assert (released / "run.json").read_bytes() == (run / "config.json").read_bytes()
    assert receipt["model_sha256"] == hashlib.sha256((released / "model.safetensors").read_bytes()).hexdigest()
    assert (receipt["seed"], receipt["step"]) == (0, 4)
    assert [len(hashes) for hashes in receipt["rows"].values()] == [1, 1]
    assert receipt["gate"]["worst"] == 0.0 and set(receipt["gate"]["differences"]["jaxbert"]) == {
        "hidden",
        "pooled",
        "masked_lm",
        "next_sentence",
    }
    assert json.loads((run.parent / "convert.json").read_text())["gate"] == receipt["gate"]
    assert receipt["versions"]["jax"]


def test_the_receipts_run_is_the_same_run_again(released: Path, tmp_path: Path) -> None:
    assert main(["pretrain", str(released / "run.json"), "--workdir", str(tmp_path / "again")]) == 0
    assert main(["convert", str(tmp_path / "again" / "checkpoints" / "4"), str(tmp_path / "out"), "--to", "hf"]) == 0
    first, second = (json.loads((out / "receipt.json").read_text()) for out in (released, tmp_path / "out"))
    for key in ("model_sha256", "rows", "tokenizer_hash", "config_sha256"):
        assert first[key] == second[key]


def test_a_run_goes_out_and_comes_back(run: Path, released: Path, tmp_path: Path) -> None:
    """run -> Hugging Face -> jaxbert -> Hugging Face: the same parameters, and the same file."""
    ours, theirs = jaxbert.load(run), jaxbert.load(released)
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    theirs.save(tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (released / "model.safetensors").read_bytes()


def test_half_precision_is_written_as_asked_and_kept(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(released), str(tmp_path / "half"), "--to", "hf", "--dtype", "bfloat16"]) == 0
    assert "rounding changes them by" in capsys.readouterr().out
    model = jaxbert.load(tmp_path / "half")
    assert model.dtype == "bfloat16"
    model.save(tmp_path / "again")
    half, again = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("half", "again"))
    assert half == again and len(half) < 0.6 * (released / "model.safetensors").stat().st_size
    whole, rounded = load_file(released / "model.safetensors"), load_file(tmp_path / "half" / "model.safetensors")
    assert all(np.array_equal(whole[name].astype(rounded[name].dtype), rounded[name]) for name in whole)
    assert json.loads((tmp_path / "half" / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_beyond_the_tolerance_nothing_is_left_behind(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader that computes something else, by a thousandth of the norm."""
    computed = gate._computed

    def wrong(config, params, batch):  # type: ignore[no-untyped-def]
        found = computed(config, params, batch)
        read = isinstance(params["encoder"]["embeddings"]["word"]["table"], np.ndarray)
        return found | {"masked_lm": found["masked_lm"] * np.float32(1.001)} if read else found

    monkeypatch.setattr(gate, "_computed", wrong)
    with pytest.raises(Stopped, match=r"masked_lm.* 1\.0e-03 .*E-GATE-DIFFERS"):
        jaxbert.load(released).save(tmp_path / "deep" / "out")
    assert not list(tmp_path.iterdir())
    assert main(["convert", str(released), str(tmp_path / "out"), "--to", "hf"]) == 4
    assert "[E-GATE-DIFFERS]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
