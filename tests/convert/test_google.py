"""Compares Google's originals with transformers' conversion of them (tests/goldens/record_google.py)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxbert
from jaxbert.commands.main import main
from jaxbert.convert import google
from jaxbert.convert.google import open_tensors
from jaxbert.convert.names import export_params
from jaxbert.convert.read import Published, describe, is_published
from jaxbert.convert.tensors import Tensor, of_array
from jaxbert.errors import InputError
from jaxbert.models.model import Model
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer
from tests.convert.comparison import RULE, distance, read_whole

GOLDENS = Path(__file__).parent.parent / "goldens"
FAMILIES = ("bert", "albert")
PAIR = {"bert": "next_sentence", "albert": "sentence_order"}
CHECKPOINT = {"bert": "bert_model.ckpt", "albert": "model.ckpt-best"}
SHAPE = dict(vocab_size=37, hidden_size=12, num_heads=3, intermediate_size=17, max_positions=11, type_vocab_size=2)
READ = {
    "bert": SHAPE | dict(family="bert", num_layers=2, embedding_size=0, layer_groups=0),
    "albert": SHAPE | dict(family="albert", num_layers=4, embedding_size=7, layer_groups=2),
}


def whole(directory: Path) -> Published:
    return read_whole(directory)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(family: str, tmp_path: Path) -> Path:
    """A copy that a test may spoil, with Google's files alone."""
    place = Path(shutil.copytree(GOLDENS / f"google_{family}", tmp_path / family))
    (place / "transformers.safetensors").unlink()
    return place


def edit(place: Path, **values: Any) -> None:
    (path,) = place.glob("*_config.json")
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def test_the_config_is_google_s(family: str) -> None:
    config = describe(GOLDENS / f"google_{family}").config
    assert {key: getattr(config, key) for key in READ[family]} == READ[family]
    assert (config.activation, config.layer_norm_epsilon) == ("gelu_tanh", 1e-12)
    assert (config.dropout, config.attention_dropout) == (0.1, 0.1)


def test_every_tensor_is_what_transformers_makes_of_it(family: str) -> None:
    golden = load_file(GOLDENS / f"google_{family}" / "transformers.safetensors")
    found = whole(GOLDENS / f"google_{family}")
    assert (found.format, found.dtype) == ("TF1 checkpoint", "float32")
    assert found.heads == ("pooler", "masked_lm", PAIR[family])
    ours = export_params(found.params, found.config)
    theirs = {name.removeprefix("tensor/"): array for name, array in golden.items() if name.startswith("tensor/")}
    assert ours.keys() == theirs.keys()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)
    # No two are alike, so that none can stand for another.
    assert len({array.tobytes() for array in theirs.values()}) == len(theirs)


def test_logits_are_transformers(family: str) -> None:
    golden = load_file(GOLDENS / f"google_{family}" / "transformers.safetensors")
    found = whole(GOLDENS / f"google_{family}")
    batch = {name: golden[f"batch/{name}"] for name in ("tokens", "types", "group")}
    real = batch["group"] == 1
    with jax.enable_x64(True):
        model = Model(found.config, found.heads)

        @jax.jit
        def outputs(params: Any) -> tuple[jax.Array, ...]:
            hidden = model.hidden(params, batch, dtype="float64")
            return hidden, model.masked_lm(params, hidden), getattr(model, PAIR[family])(params, hidden)

        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, "float64"), found.params)
        hidden, masked_lm, pair = map(np.asarray, outputs(params))
    ours = {"hidden": hidden[real], "masked_lm": masked_lm[real][:, : found.config.vocab_size], "pair": pair}
    for name, array in ours.items():
        theirs = golden[name] if name == "pair" else golden[name][real]
        assert array.dtype == theirs.dtype == np.float64
        assert distance(array, theirs) <= RULE["float64"][0] * float(np.linalg.norm(theirs)), name


def test_a_directory_of_google_s_is_a_model(tmp_path: Path) -> None:
    """With its vocabulary, through the command line, to Hugging Face's files and back."""
    place = Path(shutil.copytree(GOLDENS / "google_bert", tmp_path / "bert"))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(32))]
    (place / "vocab.txt").write_text("\n".join(words) + "\n")
    assert main(["convert", str(place), str(tmp_path / "out"), "--to", "hf"]) == 0
    ours, back = jaxbert.load(place), jaxbert.load(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, ours.params, back.params)
    assert back.config == ours.config
    assert main(["fill-mask", str(place), "w1 [MASK] w3"]) == 0


def test_google_s_description_counts_for_google_s_weights(tmp_path: Path) -> None:
    """A config.json beside them calls another formula "gelu"."""
    place = Path(shutil.copytree(GOLDENS / "google_bert", tmp_path / "bert"))
    description = json.loads((place / "bert_config.json").read_text())
    (place / "config.json").write_text(json.dumps({**description, "model_type": "bert", "hidden_act": "gelu"}))
    assert jaxbert.load(place).config.activation == "gelu_tanh"
    # Weights of another format are the config's.
    assert main(["convert", str(GOLDENS / "google_bert"), str(tmp_path / "out"), "--to", "hf"]) == 0
    shutil.copy(tmp_path / "out" / "model.safetensors", place)
    assert jaxbert.load(place).config.activation == "gelu_erf"


def test_albert_s_tokenizer_under_google_s_name(tmp_path: Path) -> None:
    text = "a few words of a text, and the same few words again"
    trained = train_tokenizer("unigram", [text] * 3, vocab_size=37, lowercase=True)
    trained.save(tmp_path / "ours")
    place = Path(shutil.copytree(GOLDENS / "google_albert", tmp_path / "albert"))
    shutil.copy(tmp_path / "ours" / "spiece.model", place / "30k-clean.model")
    assert Tokenizer.present(place)
    opened = Tokenizer.load(place)
    assert (opened.kind, opened.hash) == ("unigram", trained.hash)
    assert opened.encode_batch([text]) == trained.encode_batch([text])
    assert jaxbert.load(place).config.vocab_size == opened.vocab_size == 37


# ----------------------------------------------------------------------------------------------------------------------
# Names


def reworked(monkeypatch: pytest.MonkeyPatch, rework: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Has the checkpoint's variables changed before they are named."""
    original = google.open_bundle
    monkeypatch.setattr(google, "open_bundle", lambda prefix, stack: rework(original(prefix, stack)))


@pytest.mark.parametrize(
    ("task", "name", "classes"),
    [("sequence_classification", "output", 3), ("question_answering", "cls/squad/output", 2)],
)
@pytest.mark.parametrize("module", ["", "module/"])
def test_heads_of_google_s_scripts_for_tasks(
    monkeypatch: pytest.MonkeyPatch, family: str, task: str, name: str, classes: int, module: str
) -> None:
    """run_classifier.py (and with a TF-Hub module) and run_squad.py: weights (classes, D), as torch has them."""
    weights = np.random.default_rng(0).standard_normal((classes, 12)).astype(np.float32)

    def finetune(variables: dict[str, Tensor]) -> dict[str, Tensor]:
        encoder = {f"{module}{key}": tensor for key, tensor in variables.items() if key.startswith("bert/")}
        head = {f"{name}_weights": of_array(weights), f"{name}_bias": of_array(weights[:, 0])}
        return encoder | head | {f"{name}_weights/adam_m": of_array(weights)}

    reworked(monkeypatch, finetune)
    found = whole(GOLDENS / f"google_{family}")
    assert found.heads == ("pooler", task)
    np.testing.assert_array_equal(found.params[task]["dense"]["kernel"], weights.T)
    np.testing.assert_array_equal(found.params[task]["dense"]["bias"], weights[:, 0])


def test_what_trainers_keep_is_left_out(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    before = whole(GOLDENS / f"google_{family}").params
    kept = ("adam_m", "adam_v", "Adam", "Adam_1", "LAMB", "LAMB_1", "lamb_m", "lamb_v", "AdamWeightDecayOptimizer_1")
    counters = ("beta1_power", "beta2_power", "global_step", "current_loss_scale", "good_steps", "x/beta1_power")
    zero = of_array(np.zeros((), np.float32))
    reworked(
        monkeypatch,
        lambda variables: (
            variables
            | {f"{name}/{slot}": tensor for name, tensor in variables.items() for slot in kept}
            | dict.fromkeys(counters, zero)
        ),
    )
    jax.tree.map(np.testing.assert_array_equal, whole(GOLDENS / f"google_{family}").params, before)


@pytest.mark.parametrize(
    "name",
    [
        "bert/encoder/layer_01/attention/self/query/kernel",
        "bert/encoder/layer_#/attention/self/query/kernel",
        "bert/encoder/transformer/group_0/inner_group_1/ffn_1/intermediate/dense/kernel",
        "bert/embeddings/word_embeddings_2",
        "bert/pooler/dense/Kernel",
        "bert/pooler/dense/moving_average",
        "start_logits/dense/kernel",
        "../bert",
    ],
)
def test_a_variable_of_no_table_is_named(monkeypatch: pytest.MonkeyPatch, family: str, name: str) -> None:
    reworked(monkeypatch, lambda variables: variables | {name: of_array(np.zeros((12, 12), np.float32))})
    with pytest.raises(InputError, match="E-CONVERT-UNKNOWN") as error:
        whole(GOLDENS / f"google_{family}")
    assert name in str(error.value) or "encoder.layer." in str(error.value)


def test_two_variables_of_one_name(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    name = "bert/pooler/dense/kernel"
    reworked(monkeypatch, lambda variables: variables | {f"module/{name}": variables[name]})
    with pytest.raises(
        InputError, match=r"'module/bert/pooler/dense/kernel' .*'.*pooler.*weight'.*E-CONVERT-DUPLICATE"
    ):
        whole(GOLDENS / f"google_{family}")


def test_a_kernel_that_is_no_matrix(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    flat = of_array(np.zeros(144, np.float32))
    reworked(monkeypatch, lambda variables: variables | {"bert/pooler/dense/kernel": flat})
    with pytest.raises(InputError, match=r"'bert/pooler/dense/kernel' has shape \[144\].*E-CONVERT-SHAPE"):
        whole(GOLDENS / f"google_{family}")


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    def lose(variables: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in variables.items() if name != "bert/embeddings/position_embeddings"}

    reworked(monkeypatch, lose)
    with pytest.raises(InputError, match=r"position_embeddings\.weight'.*E-CONVERT-MISSING"):
        whole(GOLDENS / f"google_{family}")


# ----------------------------------------------------------------------------------------------------------------------
# Directories


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another activation": (dict(hidden_act="relu"), r"hidden_act 'relu'.*E-MODEL-PUBLISHED"),
    "an activation that is no text": (dict(hidden_act=["gelu"]), r"hidden_act.*E-MODEL-PUBLISHED"),
    "no vocabulary": (dict(vocab_size=...), r"vocab_size.*E-CONVERT-CONFIG"),
    "another vocabulary": (dict(vocab_size=30000), r"has shape \[37, .*E-CONVERT-SHAPE"),
    "another width": (dict(hidden_size=24), "E-CONVERT-SHAPE"),
    "a word for a number": (dict(hidden_size="12"), r"hidden_size is '12'.*E-MODEL-PUBLISHED"),
    "fewer layers or groups": (dict(num_hidden_layers=1, num_hidden_groups=1), "E-CONVERT-UNKNOWN"),
    "more layers or groups": (dict(num_hidden_layers=6, num_hidden_groups=3), "E-CONVERT-MISSING"),
}
ODD = ("net_structure_type", "gap_size", "num_memory_blocks", "down_scale_factor", "inner_group_num")


@pytest.mark.parametrize("case", WRONG)
def test_a_config_that_is_not_the_checkpoint_s(place: Path, case: str) -> None:
    changes, message = WRONG[case]
    edit(place, **changes)
    with pytest.raises(InputError, match=message) as error:
        whole(place)
    assert str(place) in str(error.value)


@pytest.mark.parametrize("key", ODD)
def test_an_albert_that_is_not_the_plain_one(tmp_path: Path, key: str) -> None:
    place = Path(shutil.copytree(GOLDENS / "google_albert", tmp_path / "albert"))
    edit(place, **{key: 2})
    code = "E-MODEL-PUBLISHED" if key == "inner_group_num" else "E-CONVERT-CONFIG"
    with pytest.raises(InputError, match=f"{key} is 2.*{code}"):
        whole(place)
    edit(place, **{key: ...})
    assert whole(place).heads


def test_what_the_config_leaves_out_is_google_s(place: Path, family: str) -> None:
    """The activation has Google's meaning; BERT's default of 16 types is not transformers'."""
    edit(place, hidden_act=..., type_vocab_size=..., layer_norm_eps=1e-5)
    config = describe(place).config
    assert (config.activation, config.layer_norm_epsilon) == ("gelu_tanh", 1e-12)
    assert config.type_vocab_size == (16 if family == "bert" else 2)


def test_of_several_checkpoints_the_one_that_is_named(place: Path, family: str) -> None:
    for path in list(place.glob("*.ckpt*")):
        shutil.copy(path, place / path.name.replace(CHECKPOINT[family], "other.ckpt-9"))
    (place / "other.ckpt-9.meta").touch()
    with pytest.raises(
        InputError, match=rf"2 checkpoints: {CHECKPOINT[family]}, other\.ckpt-9 .*E-CONVERT-CHECKPOINTS"
    ):
        whole(place)
    for wrong in ("", 'model_checkpoint_path: "gone.ckpt"', f'all_model_checkpoint_paths: "{CHECKPOINT[family]}"'):
        (place / "checkpoint").write_text(wrong)
        with pytest.raises(InputError, match="E-CONVERT-CHECKPOINTS"):
            whole(place)
    # That of the machine that trained it.
    note = (
        f'model_checkpoint_path: "/somewhere/else/{CHECKPOINT[family]}"\nall_model_checkpoint_paths: "other.ckpt-9"\n'
    )
    (place / "checkpoint").write_text(note)
    (place / "other.ckpt-9.index").write_bytes(b"not read")
    assert whole(place).heads
    with pytest.raises(InputError, match=r"other\.ckpt-9\.index.*E-CONVERT-DAMAGED"):
        (place / "checkpoint").write_text('model_checkpoint_path: "other.ckpt-9"')
        whole(place)


def test_half_a_checkpoint(place: Path, family: str) -> None:
    prefix = place / CHECKPOINT[family]
    (data,) = place.glob("*.data-*")
    data.rename(place / "kept")
    with pytest.raises(InputError, match=r"variable '.*\.data-00000-of-00001\).*E-CONVERT-MISSING"):
        whole(place)
    (place / "kept").rename(data)
    prefix.with_name(f"{prefix.name}.index").unlink()
    with pytest.raises(InputError, match=r"\.index\).*E-CONVERT-MISSING"):
        whole(place)


def test_other_formats_of_tensorflow_s_are_told_apart(place: Path) -> None:
    for path in place.glob("*.ckpt*"):
        path.unlink()
    assert not is_published(place)
    shutil.copy(GOLDENS / "tf1" / "old.ckpt", place / "model.ckpt-7")
    (place / "model.ckpt-7.meta").touch()
    with pytest.raises(InputError, match=r"version 1.*E-CONVERT-TF-FORMAT"):
        whole(place)
    for path in GOLDENS.glob("tf1/objects.*"):
        shutil.copy(path, place / path.name.replace("objects", "bert_model.ckpt"))
    with pytest.raises(InputError, match=r"TensorFlow 2's objects.*E-CONVERT-TF-FORMAT"):
        whole(place)


def test_a_directory_that_is_not_google_s(tmp_path: Path) -> None:
    assert not google.found(tmp_path) and not google.found(tmp_path / "nowhere")
    for call in (lambda: google.read_config(tmp_path), lambda: open_tensors(tmp_path, ExitStack())):
        with pytest.raises(InputError, match=r"has no bert_config\.json or albert_config\.json.*E-CONVERT-MISSING"):
            call()
