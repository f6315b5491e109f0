"""fill-mask on many texts: packed ones get what each gets alone."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxbert.commands.main import main
from jaxbert.errors import InputError
from jaxbert.use import batches
from jaxbert.use.library import Loaded
from jaxbert.use.predict import fill_mask

TEXTS = [
    "w1 [MASK] w3",
    "[MASK] " * 60,  # more masks than one call projects
    "w4 w5 [MASK] w7 [MASK]",
    "w1 [MASK] w3",
    "[MASK] " + "w9 " * 140,
]


def test_many_texts(model: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "OWN_WIDTH", 1)
    filled = fill_mask(model, TEXTS, top=3, batch_tokens=128)
    assert [one.text for one in filled] == [text for text in TEXTS for _ in range(text.count("[MASK]"))]
    batch = model.batch(TEXTS, length=150)

    @jax.jit
    def expected(params: dict[str, jax.Array]) -> jax.Array:
        return jax.nn.softmax(model.masked_lm(params, model.encode(params, **batch)))

    probabilities = np.asarray(expected(model.params))
    places = np.argwhere(batch["tokens"] == 4)
    assert len(places) == len(filled)
    for one, (row, column) in zip(filled, places.tolist(), strict=True):
        assert one.text == TEXTS[row]
        assert one.mask == (batch["tokens"][row, :column] == 4).sum()
        assert [candidate.id for candidate in one.candidates] == np.argsort(-probabilities[row, column])[:3].tolist()
        for candidate in one.candidates:
            assert abs(candidate.probability - probabilities[row, column, candidate.id]) < 1e-6
            assert candidate.token == model.tokenizer.token(candidate.id)  # type: ignore[union-attr]


def test_of_a_file(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("w1 [MASK]\n\nw2 [MASK] w3\n")
    assert main(["fill-mask", str(directory), "[MASK] w9", "--file", str(file), "--top", "1"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[::2] == ["[MASK] w9", "w1 [MASK]", "w2 [MASK] w3"]
    assert main(["fill-mask", str(directory)]) == 2
    file.write_text("w1 [MASK]\n\nw2 w3\n")
    assert main(["fill-mask", str(directory), "--file", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"no [MASK] in 'w2 w3' ({file}:3)" in captured.err


def test_all_texts_are_checked_first(model: Loaded) -> None:
    with pytest.raises(InputError, match=r"'w1' \(b\).*E-MASK-NONE"):
        fill_mask(model, ["[MASK]", "w1"], places=["a", "b"])
    assert fill_mask(model, []) == []
