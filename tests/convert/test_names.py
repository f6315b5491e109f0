"""The name-map engine: every tensor accounted for, whatever is wrong named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from jaxbert.config import EncoderConfig
from jaxbert.convert.names import export_params, import_params, name_map
from jaxbert.convert.tensors import of_array
from jaxbert.core.shapes import shapes_of
from jaxbert.errors import InputError
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import Model
from tests.models.odd import ODD, heads_of

HEADS = heads_of("bert")
CONFIG = EncoderConfig(
    vocab_size=21,
    vocab_multiple=8,
    hidden_size=12,
    num_layers=2,
    num_heads=3,
    intermediate_size=10,
    max_positions=9,
    type_vocab_size=2,
)
WORD, QUERY = "bert.embeddings.word_embeddings.weight", "bert.encoder.layer.1.attention.self.query.weight"
Tensors = dict[str, Any]


def imported(tensors: Tensors, config: EncoderConfig, where: str, **options: Any) -> Any:
    """`import_params` of arrays."""
    return import_params({name: of_array(array) for name, array in tensors.items()}, config, where, **options)


def random_params(config: EncoderConfig = CONFIG, heads: Any = HEADS, sizes: Any = None) -> Any:
    rng = np.random.default_rng(0)
    shapes = shapes_of(Model(config, heads, sizes=sizes).init)
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes)
    params["encoder"]["embeddings"]["word"]["table"][config.vocab_size :] = 0
    for head in {"masked_lm", "span_boundary"} & set(heads):
        params[head]["bias"][config.vocab_size :] = 0
    return params


@pytest.fixture(scope="module")
def params() -> Any:
    return random_params()


@pytest.fixture
def tensors(params: Any) -> Tensors:
    return export_params(params, CONFIG)


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize(
    "heads", [(), ("pooler",), ("masked_lm",), ("pooler", "next_sentence"), ("span_boundary",), HEADS]
)
def test_there_and_back(params: Any, heads: tuple[str, ...]) -> None:
    part = {name: params[name] for name in ("encoder", *heads)}
    tensors = export_params(part, CONFIG)
    assert any(name.startswith("bert.") for name in tensors) == bool(set(heads) - {"pooler"})
    back, there = imported(tensors, CONFIG, "file")
    assert there == tuple(head for head in HEADS if head in heads)
    assert_same(back, {name: part[name] for name in ("encoder", *there)})


def test_vocabulary_is_cut_on_the_way_out_and_padded_on_the_way_in(params: Any, tensors: Tensors) -> None:
    assert CONFIG.padded_vocab_size == 24
    assert tensors[WORD].shape == (21, 12)
    assert tensors["cls.predictions.bias"].shape == (21,)
    wider = dataclasses.replace(CONFIG, vocab_multiple=32)
    table = imported(tensors, wider, "file")[0]["encoder"]["embeddings"]["word"]["table"]
    assert table.shape == (32, 12)
    np.testing.assert_array_equal(table[:21], params["encoder"]["embeddings"]["word"]["table"][:21])
    assert not table[21:].any()


def test_kernels_are_transposed_and_heads_joined(params: Any, tensors: Tensors) -> None:
    layers = params["encoder"]["layers"]
    x, context = np.random.default_rng(1).standard_normal((2, 12)).astype(np.float32)
    np.testing.assert_allclose(
        tensors[QUERY] @ x, np.einsum("d,dhk->hk", x, layers["query"]["kernel"][1]).reshape(-1), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        tensors["bert.encoder.layer.0.attention.output.dense.weight"] @ context,
        np.einsum("hk,hkd->d", context.reshape(3, 4), layers["out"]["kernel"][0]),
        rtol=1e-4,
        atol=1e-5,
    )
    assert tensors["bert.encoder.layer.0.intermediate.dense.weight"].shape == (10, 12)


def rename(tensors: Tensors, old: str, new: str) -> Tensors:
    return {name.replace(old, new): array for name, array in tensors.items()}


def old_names(tensors: Tensors) -> Tensors:
    """As the files of 2018 had them, gamma and beta, with a position buffer."""
    tensors = rename(rename(tensors, "LayerNorm.weight", "LayerNorm.gamma"), "LayerNorm.bias", "LayerNorm.beta")
    return tensors | {"bert.embeddings.position_ids": np.arange(9)[None]}


READABLE: dict[str, Callable[[Tensors], Tensors]] = {
    "old names": old_names,
    "tied copies": lambda t: t | {"cls.predictions.decoder.weight": t[WORD].copy(),
                                  "cls.predictions.decoder.bias": t["cls.predictions.bias"].copy()},
    "only the other copy": lambda t: rename(rename(t, WORD, "cls.predictions.decoder.weight"),
                                            "cls.predictions.bias", "cls.predictions.decoder.bias"),
    "another order": lambda t: dict(reversed(t.items())),
}  # fmt: skip


@pytest.mark.parametrize("case", READABLE)
def test_reads_what_is_out_there(params: Any, tensors: Tensors, case: str) -> None:
    back, heads = imported(READABLE[case](tensors), CONFIG, "file")
    assert heads == HEADS
    assert_same(back, params)


def test_bare_encoder_with_buffers(params: Any, tensors: Tensors) -> None:
    bare = {name.removeprefix("bert."): array for name, array in tensors.items() if name.startswith("bert.")}
    back, heads = imported(bare | {"embeddings.position_ids": np.arange(9)}, CONFIG, "file")
    assert heads == ("pooler",)
    assert_same(back["encoder"], params["encoder"])


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_float_types_become_float32(tensors: Tensors, dtype: str) -> None:
    back, _ = imported({name: np.asarray(jax.numpy.asarray(t), dtype) for name, t in tensors.items()}, CONFIG, "x")
    assert {leaf.dtype for leaf in jax.tree.leaves(back)} == {np.dtype("float32")}


def without(tensors: Tensors, name: str) -> Tensors:
    return {key: array for key, array in tensors.items() if key != name}


WRONG: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "unmapped": (
        lambda t: t | {"cls.species.weight": np.zeros((3, 12))},
        r"--drop cls.species.weight`.*drop=\['cls.species.weight'\].*E-CONVERT-UNKNOWN",
    ),
    "a task without its class": (
        lambda t: t | {"classifier.weight": np.zeros((3, 12))},
        r"architectures: BertForSequenceClassification.*--drop classifier.weight`.*drop=.*E-CONVERT-UNKNOWN",
    ),
    "a layer too many": (
        lambda t: t | {QUERY.replace(".1.", ".2."): t[QUERY]},
        r"'bert.encoder.layer.2.attention.self.query.weight'.* bert with 2 layers.*E-CONVERT-UNKNOWN",
    ),
    "doubled": (
        lambda t: t | {"bert.embeddings.LayerNorm.gamma": t["bert.embeddings.LayerNorm.weight"]},
        r"'bert.embeddings.LayerNorm.weight' and 'bert.embeddings.LayerNorm.gamma'.*E-CONVERT-DUPLICATE",
    ),
    "mis-shaped": (lambda t: t | {QUERY: np.zeros((12, 11))}, rf"'{QUERY}' .*E-CONVERT-SHAPE"),
    "vocabulary of another size": (
        lambda t: t | {WORD: np.zeros((24, 12))},
        r"'bert.embeddings.word_embeddings.weight' .*\[24, 12\], .*\[21, 12\].*E-CONVERT-SHAPE",
    ),
    "tied but different": (
        lambda t: t | {"cls.predictions.decoder.weight": t[WORD] + 1e-7},
        r"'cls.predictions.decoder.weight'.*--drop 'cls.predictions.\*'`.*drop=.*E-CONVERT-TIED",
    ),
    "missing": (lambda t: without(t, QUERY), rf"'{QUERY}'.*E-CONVERT-MISSING"),
    "half a head": (
        lambda t: without(t, "cls.predictions.transform.dense.bias"),
        r"transform.dense.bias'.*--drop cls.predictions.transform.dense.weight .*drop=.*E-CONVERT-MISSING",
    ),
    "no pooler": (
        lambda t: without(without(t, "bert.pooler.dense.weight"), "bert.pooler.dense.bias"),
        r"next-sentence.*--drop cls.seq_relationship.weight cls.seq_relationship.bias`.*drop=.*E-CONVERT-POOLER",
    ),
    "not floats": (lambda t: t | {WORD: np.zeros((21, 12), np.int64)}, r"int64.*E-CONVERT-TYPE"),
    "not finite": (
        lambda t: t | {QUERY: np.where(np.arange(12) == 3, np.nan, t[QUERY])},
        rf"'{QUERY}' has 12 of 144 .*E-CONVERT-NOT-FINITE",
    ),
    "infinite once it is float32": (
        lambda t: t | {QUERY: np.full((12, 12), 1e300)},
        rf"'{QUERY}' has 144 of 144 .*E-CONVERT-NOT-FINITE",
    ),
    "fewer tensors than layers": (
        lambda t: {name: t[name] for name in list(t)[:1]},
        r"1 tensors.* 2 layers.*E-CONVERT-LAYERS",
    ),
    "nothing": (lambda t: {}, r"0 tensors.*E-CONVERT-LAYERS"),
}


@pytest.mark.parametrize("case", WRONG)
def test_names_the_tensor_that_is_wrong(tensors: Tensors, case: str) -> None:
    change, message = WRONG[case]
    with pytest.raises(InputError, match=message) as error:
        imported(change(tensors), CONFIG, "weights.file")
    assert "weights.file" in str(error.value)


def test_a_parameter_without_a_name_cannot_vanish(params: Any) -> None:
    pooler = dict(params["pooler"], extra={"kernel": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="pooler/extra/kernel"):
        export_params(params | {"pooler": pooler}, CONFIG)


def test_a_head_that_no_file_has_is_not_dropped_in_silence(params: Any) -> None:
    """A student's projection belongs to its training: whoever exports takes it off first."""
    projected = random_params(heads=("masked_lm", "projection"))
    with pytest.raises(InputError, match=r"head projection.*E-EXPORT-HEAD"):
        export_params(projected, CONFIG)


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> tuple[EncoderConfig, Any, Tensors]:
    """An odd encoder of each family, its parameters with every head that its files can have, and their tensors."""
    config = ODD[request.param]
    params = random_params(config, heads_of(request.param))
    return config, params, export_params(params, config)


def test_every_family_names_every_parameter_once(family: tuple[EncoderConfig, Any, Tensors]) -> None:
    config, params, tensors = family
    names = FAMILIES[config.family].names(config)
    assert len({name.ours for name in names}) == len(names) == len(jax.tree.leaves(params))
    copies = [copy for name in names for copy in (name.theirs, *name.also)]
    assert len(set(copies)) == len(copies)
    zeros = FAMILIES[config.family].zeros(config)
    stacked = sum("{layer}" in name.theirs for name in names)
    assert len(tensors) == len(names) + stacked * (config.distinct_layers - 1) + len(zeros)
    written = sum(tensor.size for name, tensor in tensors.items() if name not in zeros)
    padding = (config.padded_vocab_size - config.vocab_size) * sum(
        config.embedding_width if name.ours.endswith("table") else 1 for name in names if name.vocabulary
    )
    assert written == sum(leaf.size for leaf in jax.tree.leaves(params)) - padding


def test_every_family_there_and_back(family: tuple[EncoderConfig, Any, Tensors]) -> None:
    config, params, tensors = family
    back, heads = imported(tensors, read_back(config), "file")
    assert heads == heads_of(config.family)
    again = export_params(back, read_back(config))
    assert {name: array.tobytes() for name, array in again.items()} == {
        name: array.tobytes() for name, array in tensors.items()
    }
    if not FAMILIES[config.family].zeros(config):
        assert_same(back, params)


def read_back(config: EncoderConfig) -> EncoderConfig:
    """As a file says it: a table of one token type where the family's files cannot be without."""
    types = FAMILIES[config.family].zeros(config)
    return dataclasses.replace(config, type_vocab_size=1) if types else config


def test_every_family_written_bare(family: tuple[EncoderConfig, Any, Tensors]) -> None:
    """Without a head that predicts, tensors have no prefix, and are read as well."""
    config, params, tensors = family
    prefix = FAMILIES[config.family].prefix
    bare = export_params({"encoder": params["encoder"]}, config)
    pooler = {name.theirs for name in FAMILIES[config.family].names(config) if name.part == "pooler"}
    whole = {name for name in tensors if name.startswith(prefix)} - pooler
    assert set(bare) == {name.removeprefix(prefix) for name in whole}
    back, heads = imported(bare, read_back(config), "file")
    assert heads == ()
    assert export_params(back, read_back(config)).keys() == bare.keys()


def test_every_family_misses_a_tensor(family: tuple[EncoderConfig, Any, Tensors]) -> None:
    """What is left out is missed by its name, of whichever part and layer."""
    config, _, tensors = family
    for name in list(tensors)[::9]:
        with pytest.raises(InputError, match=r"E-CONVERT-(MISSING|POOLER)") as error:
            imported(without(tensors, name), read_back(config), "file")
        assert repr(name) in str(error.value) or error.value.code == "E-CONVERT-POOLER"


def test_groups_of_layers_are_published_one_by_one() -> None:
    config = ODD["albert"]
    params = random_params(config, ("masked_lm",))
    tensors = export_params(params, config)
    for group in range(config.layer_groups):
        kernel = params["encoder"]["layers"]["up"]["kernel"][group]
        name = f"albert.encoder.albert_layer_groups.{group}.albert_layers.0.ffn.weight"
        np.testing.assert_array_equal(tensors[name], kernel.T)
    assert not any(f"groups.{config.layer_groups}." in name for name in tensors)


TASKS = [(family, task) for family in sorted(FAMILIES) for task in FAMILIES[family].tasks]


@pytest.mark.parametrize(("family", "task"), TASKS)
def test_every_task_there_and_back(family: str, task: str) -> None:
    """Each class of a task: its head, with what its class keeps under the classifier's name."""
    config = read_back(ODD[family])
    pooled = any(name.part == "pooler" for name in name_map(config, task))
    heads = ("pooler", task) if pooled and task in ("sequence_classification", "multiple_choice") else (task,)
    classes = {"multiple_choice": 1, "question_answering": 2}.get(task, 5)
    params = random_params(config, heads, {task: {"labels": classes}})
    tensors = export_params(params, config)
    last = "qa_outputs.bias" if task == "question_answering" else "classifier.bias"
    last = "classifier.out_proj.bias" if (family, task) == ("roberta", "sequence_classification") else last
    assert tensors[last].shape == (classes,)
    back, there = imported(tensors, config, "file", task=task)
    assert there == heads
    assert_same(back, params)
    with pytest.raises(InputError, match=r"architectures.*E-CONVERT-UNKNOWN"):
        imported({name: array for name, array in tensors.items() if "pre_classifier" not in name}, config, "file")


def test_two_tasks_are_no_published_model() -> None:
    params = random_params(CONFIG, ("token_classification", "question_answering"))
    with pytest.raises(InputError, match=r"question_answering and token_classification.*E-EXPORT-TASKS"):
        export_params(params, CONFIG)


@pytest.mark.parametrize("wrapper", ["module.", "decoder."])
def test_the_module_that_held_a_model_in_training_is_taken_off(params: Any, tensors: Tensors, wrapper: str) -> None:
    """DataParallel's, and that of SpanBERT's archive, which has a tied copy of its own."""
    copy = {"cls.pair_target_predictions.decoder.weight": tensors[WORD].copy()}
    held = {wrapper + name: array for name, array in (tensors | copy).items()}
    back, heads = imported(held, CONFIG, "file")
    assert heads == HEADS
    assert_same(back, params)


def test_what_is_left_out_is_said(params: Any, tensors: Tensors, caplog: pytest.LogCaptureFixture) -> None:
    more = tensors | {"cls.species.weight": np.zeros((3, 12)), "cls.species.bias": np.zeros(3)}
    back, _ = imported(more, CONFIG, "file", drop=["cls.species.*"])
    assert_same(back, params)
    assert caplog.messages == ["left out as asked: cls.species.weight, cls.species.bias"]
    with pytest.raises(InputError, match=r"'cls\.chain\.\*'.*E-CONVERT-DROP"):
        imported(more, CONFIG, "file", drop=["cls.species.*", "cls.chain.*"])
    assert caplog.records[0].levelname == "WARNING"


def test_a_vocabulary_that_was_padded_in_training(
    params: Any, tensors: Tensors, caplog: pytest.LogCaptureFixture
) -> None:
    """To a multiple of 8 in all of its tensors, whatever the padding holds."""

    def padded(array: Any) -> Any:
        return np.concatenate([array, np.ones((3, *array.shape[1:]), np.float32)])

    names = [name.theirs for name in FAMILIES["bert"].names(CONFIG) if name.vocabulary]
    more = tensors | {name: padded(tensors[name]) for name in names}
    back, _ = imported(more, CONFIG, "file")
    assert_same(back, params)
    assert caplog.messages == ["the vocabulary is padded from 21 to 24 rows there; the padding is left out"]


def test_a_pooler_that_roberta_does_not_use(caplog: pytest.LogCaptureFixture) -> None:
    """Files of the first years have it beside the classifier, which has a layer of its own."""
    config = read_back(ODD["roberta"])
    params = random_params(config, ("pooler", "sequence_classification"))
    size = config.hidden_size
    unused = {"roberta.pooler.dense.weight": np.ones((size, size)), "roberta.pooler.dense.bias": np.ones(size)}
    tensors = export_params(params, config) | unused
    back, _ = imported(tensors, config, "file", task="sequence_classification")
    assert_same(back, params)
    assert "roberta.pooler.dense.bias, roberta.pooler.dense.weight" in caplog.messages[0]
