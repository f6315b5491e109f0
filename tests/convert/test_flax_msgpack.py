"""Reads files of transformers' Flax classes: every class of four families, in all forms. Damaged files are refused."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import msgpack
import numpy as np
import pytest
from flax import serialization
from safetensors.numpy import load_file

from jaxbert.config import EncoderConfig
from jaxbert.convert import flax_msgpack
from jaxbert.convert.read import Published, read_model
from jaxbert.core.parameters import Params
from jaxbert.errors import InputError
from jaxbert.models.model import Model, head_sizes
from tests.convert.comparison import RULE, read_whole

GOLDENS = Path(__file__).parent.parent / "goldens" / "flax"
EXPECTED = load_file(GOLDENS / "expected.safetensors")
CLASSES = sorted({name.split("/")[0] for name in EXPECTED if name.startswith("Flax")})
# Outputs for tokens, of which the padding's are not compared: nothing sees them.
OF_TOKENS = ("hidden", "masked_lm", "token_classification", "start", "end")
# Heads of each kind of class, by the end of its name.
HEADS = {
    "ForPreTraining": {
        "Bert": ("pooler", "masked_lm", "next_sentence"),
        "Albert": ("pooler", "masked_lm", "sentence_order"),
    },
    "ForNextSentencePrediction": ("pooler", "next_sentence"),
    "ForMaskedLM": ("masked_lm",),
    "ForSequenceClassification": ("pooler", "sequence_classification"),
    "ForMultipleChoice": ("pooler", "multiple_choice"),
    "ForTokenClassification": ("token_classification",),
    "ForQuestionAnswering": ("question_answering",),
}


def opened(directory: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        return flax_msgpack.open_tensors(directory, stack)


def outputs(found: Published, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All that our model gives on a batch."""
    model, params = Model(found.config, found.heads, sizes=head_sizes(found.params)), found.params
    hidden = encoder(found.config)(params["encoder"], batch)
    out = {"hidden": hidden}
    for head in found.heads:
        out[head] = heads(model, head)(params, hidden)
    if "pooler" in out:
        out["pooled"] = out.pop("pooler")
    if "masked_lm" in out:
        out["masked_lm"] = out["masked_lm"][..., : found.config.vocab_size]
    if "question_answering" in out:
        out["start"], out["end"] = jnp.moveaxis(out.pop("question_answering"), -1, 0)
    return {key: np.asarray(array) for key, array in out.items()}


@functools.cache
def encoder(config: EncoderConfig) -> Callable[[Params, Any], jax.Array]:
    """One program for all classes of a family: compiling is what these tests cost."""
    model = Model(config, ())
    return jax.jit(lambda params, batch: model.hidden({"encoder": params}, batch))


def heads(model: Model, head: str) -> Callable[[Params, jax.Array], jax.Array]:
    apply: Callable[[Params, jax.Array], jax.Array] = getattr(model, "pooled" if head == "pooler" else head)
    return apply


def test_every_class_is_there() -> None:
    assert len(CLASSES) == 27
    assert {name for name in CLASSES if name.endswith("Model")} == {
        "FlaxAlbertModel",
        "FlaxBertModel",
        "FlaxDistilBertModel",
        "FlaxRobertaModel",
    }


@pytest.mark.parametrize("name", CLASSES)
def test_what_a_class_computes(name: str) -> None:
    theirs = {key.split("/")[1]: array for key, array in EXPECTED.items() if key.split("/")[0] == name}
    stem, _, task = name.removeprefix("Flax").partition("For")
    family = stem.removesuffix("Model")
    batch = {key: EXPECTED[f"{family}/{key}"] for key in ("tokens", "types", "group")}
    found = read_whole(GOLDENS / name)
    assert (found.format, found.dtype) == ("flax msgpack", "float32")
    bare = () if family == "DistilBert" else ("pooler",)
    expected = HEADS[f"For{task}"] if task else bare
    assert found.heads == (expected[family] if isinstance(expected, dict) else expected)
    ours = outputs(found, batch)
    assert theirs.keys() <= ours.keys()
    real = batch["group"] == 1
    for key, yours in theirs.items():
        mine = ours[key]
        assert mine.shape == yours.shape, key
        if key in OF_TOKENS:
            mine, yours = mine[real], yours[real]
        error, norm = float(np.linalg.norm(mine - yours)), float(np.linalg.norm(yours))
        assert norm > 0 and error <= RULE["float32"][0] * norm, (key, error / norm)


# ----------------------------------------------------------------------------------------------------------------------
# Forms of files

MASKED_LM = GOLDENS / "FlaxRobertaForMaskedLM"


def same(ours: Any, theirs: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_shards_are_the_whole() -> None:
    whole, shards = read_model(MASKED_LM), read_whole(f"{MASKED_LM}_in_shards")
    assert len(list(Path(f"{MASKED_LM}_in_shards").glob("*.msgpack"))) > 2
    same(shards.params, whole.params)


def test_the_safetensors_of_the_flax_classes_are_the_same() -> None:
    """Names and orientation are Flax's there too, which only the header's "format" says."""
    same(read_whole(f"{MASKED_LM}_in_safetensors").params, read_model(MASKED_LM).params)


def tree(directory: Path) -> Any:
    return serialization.msgpack_restore((directory / flax_msgpack.WEIGHTS).read_bytes())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copy(MASKED_LM / "config.json", tmp_path)
    return tmp_path


def write(directory: Path, content: Any) -> None:
    (directory / flax_msgpack.WEIGHTS).write_bytes(serialization.msgpack_serialize(content))


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_half_precision(place: Path, kind: Any) -> None:
    """As `model.to_bf16(params)` and `to_fp16` make it."""
    write(place, jax.tree.map(lambda leaf: leaf.astype(kind), tree(MASKED_LM)))
    found = read_whole(place)
    assert found.dtype == np.dtype(kind).name
    whole = read_model(MASKED_LM).params
    same(found.params, jax.tree.map(lambda leaf: leaf.astype(kind).astype(np.float32), whole))


def test_arrays_in_pieces(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As flax cuts what is above a GiB."""
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 4 * 37)
    write(place, tree(MASKED_LM))
    assert b"__msgpack_chunked_array__" in (place / flax_msgpack.WEIGHTS).read_bytes()
    same(read_whole(place).params, read_model(MASKED_LM).params)


def test_reads_one_tensor_at_a_time(place: Path) -> None:
    """A tensor comes from the file when it is asked for: a file that has shrunk since is noticed."""
    shutil.copy(MASKED_LM / flax_msgpack.WEIGHTS, place)
    tensors = opened(place)
    word = tensors["roberta.embeddings.word_embeddings.weight"]
    assert (word.shape, word.dtype) == ((31, 8), "float32")
    np.testing.assert_array_equal(word.read(), tree(MASKED_LM)["roberta"]["embeddings"]["word_embeddings"]["embedding"])
    (place / flax_msgpack.WEIGHTS).write_bytes(b"")
    with pytest.raises(InputError, match=r"cut off.*E-CONVERT-DAMAGED"):
        word.read()


# ----------------------------------------------------------------------------------------------------------------------
# What is refused


def array(shape: Any, name: Any, data: bytes, code: int = 1) -> msgpack.ExtType:
    return msgpack.ExtType(code, msgpack.packb((shape, name, data)))


def deep(levels: int) -> bytes:
    """A map in a map in a map, 100,000 times."""
    return b"\x81\xa1a" * levels + b"\xc0"


GOOD = array((2,), "float32", bytes(8))
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "map of tensors"),
    "no map": (msgpack.packb([1, 2]), "map of tensors"),
    "a lying map": (b"\xdf\xff\xff\xff\xff" + b"\xa1a" + msgpack.packb(GOOD), ""),
    "a lying text": (b"\x81\xdb\xff\xff\xff\xff", ""),
    "a lying extension": (b"\x81\xa1a\xc9\xff\xff\xff\xff\x01", "tensor 'a'"),
    "a lying list": (b"\x81\xa1a\xdd\xff\xff\xff\xff", "tensor 'a'"),
    "deep maps": (deep(100_000), "deep"),
    "deep lists": (b"\x81\xa1a" + b"\x91" * 100_000 + b"\xc0", "tensor 'a'"),
    "more behind": (msgpack.packb({"a": GOOD}) + b"x", "1 bytes follow"),
    "a key of bytes": (msgpack.packb({b"a": GOOD}), "not text"),
    "a key of no text": (b"\x81\xa2\xff\xfe" + msgpack.packb(GOOD), "utf-8"),
    "a list as a key": (b"\x81\x91\x01" + msgpack.packb(GOOD), ""),
    "a key twice": (b"\x82" + (b"\xa1a" + msgpack.packb(GOOD)) * 2, "tensor 'a' occurs twice"),
    "one name for two": (msgpack.packb({"x": {"scale": GOOD, "embedding": GOOD}}), "'x.weight'"),
    "a kernel of three axes": (msgpack.packb({"x": {"kernel": array((1, 2, 1), "float32", bytes(8))}}), "matrix"),
    "a number": (msgpack.packb({"a": 1.5}), "tensor 'a' is not an array"),
    "a list of arrays": (msgpack.packb({"a": [GOOD]}), "tensor 'a' is not an array"),
    "another extension": (msgpack.packb({"a": array((2,), "float32", bytes(8), code=3)}), "tensor 'a': extension 3"),
    "an object array": (msgpack.packb({"a": array((1,), "object", bytes(8))}), "tensor 'a': the type b'object'"),
    "a structured type": (msgpack.packb({"a": array((1,), "O,f4", bytes(12))}), "tensor 'a': the type"),
    "a type of no text": (msgpack.packb({"a": array((1,), 7, bytes(4))}), "tensor 'a': the type"),
    "a huge shape": (msgpack.packb({"a": array((2**40, 2**40), "float32", bytes(8))}), "tensor 'a': the shape"),
    "a shape below 0": (msgpack.packb({"a": array((-1, -2), "float32", bytes(8))}), "tensor 'a': the shape"),
    "a shape of floats": (msgpack.packb({"a": array((2.0,), "float32", bytes(8))}), "tensor 'a': the shape"),
    "a shape of 65 axes": (msgpack.packb({"a": array((1,) * 65, "float32", bytes(4))}), "tensor 'a'"),
    "too few bytes": (msgpack.packb({"a": array((2,), "float32", bytes(7))}), "tensor 'a': the shape"),
    "too many bytes": (msgpack.packb({"a": array((2,), "float32", bytes(9))}), "tensor 'a': the shape"),
    "no array inside": (msgpack.packb({"a": msgpack.ExtType(1, b"\xc0")}), "tensor 'a': an entry is not an array"),
    "nothing inside": (msgpack.packb({"a": msgpack.ExtType(1, b"")}), "tensor 'a'"),
    "maps inside": (msgpack.packb({"a": msgpack.ExtType(1, deep(1000))}), "tensor 'a'"),
    "pieces that are none": (
        msgpack.packb({"a": {"__msgpack_chunked_array__": True, "shape": {"0": 9}, "chunks": {"0": GOOD}}}),
        "pieces of the tensor 'a' do not fill",
    ),
    "pieces of two types": (
        msgpack.packb(
            {
                "a": {
                    "__msgpack_chunked_array__": True,
                    "shape": {"0": 4},
                    "chunks": {"0": GOOD, "1": array((2,), "int32", bytes(8))},
                }
            }
        ),
        "pieces of the tensor 'a' do not fill",
    ),
    "no pieces": (
        msgpack.packb({"a": {"__msgpack_chunked_array__": True, "shape": {"0": 0}, "chunks": {}}}),
        "pieces of the tensor 'a' do not fill",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_named(tmp_path: Path, case: str) -> None:
    content, words = DAMAGED[case]
    (tmp_path / flax_msgpack.WEIGHTS).write_bytes(content)
    with pytest.raises(InputError) as raised:
        opened(tmp_path)
    assert flax_msgpack.WEIGHTS in raised.value.where
    assert words in raised.value.what
    assert raised.value.code in ("E-CONVERT-DAMAGED", "E-CONVERT-DUPLICATE", "E-CONVERT-SHAPE")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = (MASKED_LM / flax_msgpack.WEIGHTS).read_bytes()
    for size in range(0, len(whole), 61):
        (tmp_path / flax_msgpack.WEIGHTS).write_bytes(whole[:size])
        with pytest.raises(InputError, match="E-CONVERT-DAMAGED"):
            opened(tmp_path)


def test_a_file_with_a_flipped_byte_is_a_model_or_an_input_error(tmp_path: Path) -> None:
    whole, rng = bytearray((MASKED_LM / flax_msgpack.WEIGHTS).read_bytes()), np.random.default_rng(0)
    for _ in range(150):
        damaged = whole.copy()
        for at in rng.integers(0, len(whole), 3):
            damaged[at] = rng.integers(0, 256)
        (tmp_path / flax_msgpack.WEIGHTS).write_bytes(damaged)
        try:
            for tensor in opened(tmp_path).values():
                assert tensor.read().shape == tensor.shape
        except InputError:
            pass


def shards(place: Path) -> tuple[Path, dict[str, Any]]:
    for file in Path(f"{MASKED_LM}_in_shards").iterdir():
        shutil.copy(file, place)
    index = place / flax_msgpack.INDEX
    return index, json.loads(index.read_text())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda home: home.pop("lm_head/bias"), "'lm_head.bias' is in.*E-CONVERT-INDEX"),
        (
            lambda home: home.update({"lm_head/more": "flax_model-00001-of-00004.msgpack"}),
            "'lm_head.more' is not in.*E-CONVERT-INDEX",
        ),
        (
            lambda home: home.update({"lm_head/bias": "flax_model-00002-of-00004.msgpack"}),
            "'lm_head.bias' is.*E-CONVERT-INDEX",
        ),
        (lambda home: home.update({"lm_head/bias": "../flax_model.msgpack"}), "E-CONVERT-OUTSIDE"),
        (lambda home: home.update({"lm_head/more": "flax_model-00009-of-00004.msgpack"}), "E-CONVERT-MISSING"),
    ],
)
def test_an_index_that_is_wrong(place: Path, change: Callable[[dict[str, str]], None], words: str) -> None:
    index, content = shards(place)
    change(content["weight_map"])
    index.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words):
        opened(place)
