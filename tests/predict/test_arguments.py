"""What users pass to a loaded model: a mistake ends in one InputError, and what is right in any form gives the same."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from jaxbert.convert.sentence_transformers import SentenceLayout
from jaxbert.errors import InputError
from jaxbert.text.text_rows import longest_first, text_rows
from jaxbert.use.embed import embed
from jaxbert.use.library import Loaded
from jaxbert.use.predict import fill_mask

# A text that JSON can hold ("\ud83d") and no encoding can.
HALF = "w1 \ud83d w2"
NOT_TEXTS: list[Any] = [None, 5, 1.5, b"w1", "w1", {"w1": 2}]
NOT_A_TEXT: list[Any] = [
    None,
    5,
    float("nan"),
    b"w1",
    HALF,
    ("w1", None),
    ("w1", HALF),
    ("w1",),
    ("w1", "w2", "w3"),
    [["w1"]],
]


@pytest.mark.parametrize("call", [Loaded.batch, embed, fill_mask])
@pytest.mark.parametrize("texts", [*NOT_TEXTS, *([one] for one in NOT_A_TEXT)], ids=ascii)
def test_what_is_not_a_list_of_texts(model: Loaded, call: Callable[..., Any], texts: Any) -> None:
    with pytest.raises(InputError, match="E-MODEL-TEXTS"):
        call(model, texts)


def test_an_error_names_the_text(model: Loaded) -> None:
    with pytest.raises(InputError, match=r"not None \(embed, text 300\)"):
        embed(model, iter([*["w1"] * 300, None]))  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"surrogate pair \('\\ud83d'\).*\(ids\)"):
        model.ids(HALF)
    with pytest.raises(InputError, match=r"a tuple.*E-MODEL-TEXTS"):
        fill_mask(model, [("w1 [MASK]", "w2")])  # type: ignore[list-item]


def test_texts_may_come_in_any_iterable(model: Loaded) -> None:
    expected = model.batch(["w1 w2", "w3"])
    for texts in (np.array(["w1 w2", "w3"]), ("w1 w2", "w3"), iter(["w1 w2", "w3"])):
        np.testing.assert_array_equal(model.batch(texts)["tokens"], expected["tokens"])  # type: ignore[arg-type]


ROWS = np.ones((2, 5), np.int32)
WRONG_ARRAYS: list[tuple[dict[str, Any], str]] = [
    ({"tokens": None}, "E-MODEL-ARRAY"),
    ({"tokens": 5}, "E-MODEL-ARRAY"),
    ({"tokens": "w1"}, "E-MODEL-ARRAY"),
    ({"tokens": [1, 2, 3]}, "E-MODEL-ARRAY"),
    ({"tokens": [[1, 2], [3]]}, "E-MODEL-ARRAY"),
    ({"tokens": jnp.ones(3, jnp.int32)}, "E-MODEL-ARRAY"),
    ({"tokens": ROWS[None]}, "E-MODEL-ARRAY"),
    ({"tokens": ROWS.astype(float)}, "E-MODEL-ARRAY"),
    ({"types": ROWS[:1]}, "E-MODEL-ARRAY"),
    ({"group": ROWS[:, :4]}, "E-MODEL-ARRAY"),
    ({"group": ROWS * 0.5}, "E-MODEL-ARRAY"),
    ({"tokens": np.ones((1, 151), np.int32)}, "E-MODEL-LENGTH"),
    ({"tokens": ROWS * 65}, "E-MODEL-ID"),
    ({"tokens": -ROWS}, "E-MODEL-ID"),
    ({"tokens": ROWS.astype(np.int64) * (2**32 + 1)}, "E-MODEL-ID"),
    ({"types": ROWS * 2}, "E-MODEL-ID"),
    ({"types": -ROWS}, "E-MODEL-ID"),
    ({"params": ROWS}, "E-MODEL-PARAMS"),
    ({"params": {}}, "E-MODEL-PARAMS"),
    ({"params": None}, "E-MODEL-PARAMS"),
    ({"dropout_key": 0}, "E-MODEL-KEY"),
]


@pytest.mark.parametrize(("changed", "code"), WRONG_ARRAYS, ids=lambda value: ascii(value)[:40])
def test_arrays_that_encode_does_not_take(model: Loaded, changed: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError, match=code):
        model.encode(**{"params": model.params, "tokens": ROWS, **changed})


@pytest.mark.parametrize("wrong", [None, 5, ROWS, np.ones((2, 16), np.float32), np.ones((2, 3, 15), np.float32)])
def test_hidden_states_that_a_head_does_not_take(model: Loaded, wrong: Any) -> None:
    with pytest.raises(InputError, match="E-MODEL-ARRAY"):
        model.masked_lm(model.params, wrong)
    with pytest.raises(InputError, match="E-MODEL-PARAMS"):
        model.masked_lm({"encoder": model.params["encoder"]}, jnp.ones((1, 2, 16)))


@pytest.mark.parametrize("wrong", ["5", 5.0, True, jnp.float32(3)])
def test_numbers_are_whole(model: Loaded, wrong: Any) -> None:
    for call in (
        lambda: model.batch(["w1"], length=wrong),
        lambda: embed(model, ["w1"], max_length=wrong),
        lambda: embed(model, ["w1"], batch_tokens=wrong),
        lambda: fill_mask(model, ["[MASK]"], top=wrong),
    ):
        with pytest.raises(InputError, match="E-MODEL-NUMBER"):
            call()


def test_masks_and_ids_of_any_kind_of_integer(model: Loaded) -> None:
    batch = model.batch(["w1 w2 w3", "w4"])
    expected = model.encode(model.params, **batch)
    found = model.encode(
        FrozenDict(jax.tree.map(np.asarray, model.params)),
        batch["tokens"].astype(np.uint8).tolist(),
        batch["types"].astype(np.int64),
        batch["group"] == 1,
    )
    np.testing.assert_array_equal(found, expected)


def test_a_loaded_model_pickles(model: Loaded) -> None:
    again = pickle.loads(pickle.dumps(model))
    texts = ["w1 w2", ("w3", "w4 w5")]
    np.testing.assert_array_equal(embed(again, texts), embed(model, texts))
    assert (again.source, again.config, again.tokenizer.hash) == (model.source, model.config, model.tokenizer.hash)


def test_a_layout_has_room_for_a_text(model: Loaded, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"-1 tokens.*E-CONVERT-LENGTH"):
        model.save(tmp_path / "out", layout=SentenceLayout("mean", max_length=-1))
    assert not (tmp_path / "out").exists()


def test_a_pair_is_embedded_as_the_row_of_a_pair(model: Loaded) -> None:
    """With its separator and its token types, also where it is packed between other texts."""
    texts = ["w1 w2", ("w3 w4", "w5"), ["w3 w4 w5", ""], "w3 w4 w5", ("w3", "w4 w5 w6")]
    batch = model.batch(texts)
    assert batch["types"].any() and (batch["group"] == 0).any()
    hidden = np.asarray(jax.jit(model.encode)(model.params, **batch))
    real = batch["group"][..., None]
    expected = (hidden * real).sum(1) / real.sum(1)
    np.testing.assert_allclose(embed(model, texts), expected, rtol=0, atol=1e-5)
    assert np.abs(expected[1] - expected[3]).max() > 0.01


# What tokenizers 0.22 gives for truncation="longest_first"; tests/peers compares many more.
@pytest.mark.parametrize(
    ("lengths", "room", "expected"),
    [
        ((5, 4), 9, (5, 4)),
        ((9, 2), 8, (6, 2)),
        ((2, 9), 8, (2, 6)),
        ((9, 6), 7, (4, 3)),
        ((6, 9), 7, (3, 4)),
        ((6, 6), 7, (3, 4)),
        ((9, 4), 7, (4, 3)),
        ((1, 1), 1, (0, 1)),
        ((5, 0), 0, (0, 0)),
    ],
)
def test_the_longer_text_of_a_pair_is_cut_first(
    model: Loaded, lengths: tuple[int, int], room: int, expected: tuple[int, int]
) -> None:
    assert longest_first(*lengths, room) == expected
    pair = tuple(" ".join(["w1"] * length) for length in lengths)
    if room > 1:
        tokens = model.batch([pair], length=room + 3)["tokens"][0]  # type: ignore[list-item]
        assert tokens.tolist().index(3) == expected[0] + 1


def test_a_pair_needs_room_for_its_separators(model: Loaded) -> None:
    assert model.tokenizer is not None
    assert [row.ids for row in text_rows(model.tokenizer, [("w1", "w2")], 3)] == [[2, 3, 3]]
    with pytest.raises(InputError, match=r"3 special tokens.*E-MODEL-LENGTH"):
        text_rows(model.tokenizer, [("w1", "w2")], 2)
