"""What a step does, by the model: FLOPs are those of MFU, sizes the program's, transfers the layout's."""

from __future__ import annotations

from typing import Any

import jax
import pytest

from jaxbert.config import MeshConfig, RunConfig, find_config
from jaxbert.config.overrides import apply_overrides
from jaxbert.core.sharding import make_mesh
from jaxbert.plan.planner import prepared
from jaxbert.plan.topologies import topology
from jaxbert.plan.work import Work, parameters_of, work
from jaxbert.training.step import build

FAMILIES = ("bert_base", "roberta_base", "albert_base", "spanbert_base", "distilbert_base")


def planned(name: str, place: str, *settings: str) -> RunConfig:
    config = apply_overrides(find_config(name), list(settings))
    return prepared(config, topology(place))[0]


def of(name: str, place: str, *settings: str, phase: int = 0) -> Work:
    config = planned(name, place, *settings)
    return work(config, topology(place), config.phases[phase])


def sent(found: Work) -> dict[tuple[str, tuple[str, ...]], float]:
    sums: dict[tuple[str, tuple[str, ...]], float] = {}
    for one in found.transfers:
        sums[one.op, one.axes] = sums.get((one.op, one.axes), 0.0) + one.bytes
    return sums


@pytest.mark.parametrize("name", FAMILIES)
def test_products_are_those_that_mfu_counts(name: str):
    """Nothing computed again: the model's FLOPs, but for the vocabulary's padding."""
    found = of(name, "v5e:4x4", "encoder.remat=none", "phases.*.accumulation=1")
    assert found.flops * 16 == pytest.approx(found.model_flops, rel=0.01)


def test_remat_computes_the_forward_pass_again():
    none, full = (of("bert_base", "v5e:4x4", f"encoder.remat={remat}") for remat in ("none", "full"))
    assert full.flops == pytest.approx(4 / 3 * none.flops, rel=0.03)
    assert full.model_flops == none.model_flops
    assert full.memory.activations < 0.4 * none.memory.activations


def test_splash_computes_scores_again_and_holds_none():
    settings = ("encoder.attention_dropout=0",)
    plain = of("bert_base", "v5e:4x4", *settings, phase=1)
    fused = of("bert_base", "v5e:4x4", *settings, "encoder.attention=fused", phase=1)
    assert fused.flops > plain.flops and fused.bytes < plain.bytes
    assert fused.memory.activations < 0.8 * plain.memory.activations


@pytest.mark.parametrize("name", FAMILIES)
def test_state_is_what_the_program_holds(name: str):
    """Parameters and moments, to the byte, on one device."""
    config = planned(name, "v5e:1x1", "mesh.data=1")
    found = work(config, topology("v5e:1x1"), config.phases[0]).memory
    program = build(config, make_mesh(MeshConfig(data=1), jax.devices()[:1]))

    def size(tree: Any) -> int:
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

    assert found.parameters == size(program.state["params"])
    moments = [leaf for leaf in jax.tree.leaves(program.state["opt_state"]) if leaf.ndim]
    assert found.optimizer == size(moments)


def test_replicated_sends_gradients_alone():
    config = planned("bert_base", "v5e:4x4")
    found = work(config, topology("v5e:4x4"), config.phases[0])
    # bfloat16 as the weights in use; biases and norms in float32; the tied table once as input, once as output.
    table, small = 30592 * 768, 0
    for parameter in parameters_of(config, config.phases[0]):
        small += parameter.elements * (parameter.kind != "weight")
    expected = 2 * (found.parameters - small + table) + 4 * small
    assert sent(found) == {("all-reduce", ("data",)): pytest.approx(expected)}


def test_zero1_gathers_what_it_updated():
    found = of("bert_base", "v5e:4x4", "mesh.layout=zero1", "mesh.fsdp=16")
    gathered = sent(found)["all-gather", ("fsdp",)]
    assert gathered == pytest.approx(4 * found.parameters, rel=0.01)


@pytest.mark.parametrize("count", [1, 4])
def test_layers_that_share_their_weights_sum_their_gradients_once_a_micro_batch(count: int):
    """XLA sums on the device over the layers, and then once over devices: the same for any number of layers."""
    few, many = (
        of("albert_base", "v5e:2x2", f"encoder.num_layers={layers}", f"phases.*.accumulation={count}")
        for layers in (2, 12)
    )
    assert sent(few) == sent(many)
    (gradients,) = many.transfers
    # bfloat16: the word table as input and output. Biases and norms are small.
    assert gradients.bytes == pytest.approx(2 * count * (many.parameters + 30080 * 128), rel=0.01)


def test_a_large_model_that_shares_its_layers_sends_what_its_program_sends():
    """libtpu's program of this step sends 14.4 GB a device."""
    settings = ("mesh.layout=fsdp", "mesh.fsdp=16", "phases.*.accumulation=16")
    found = of("albert_xxlarge", "v5e:4x4", *settings)
    assert sum(one.bytes for one in found.transfers) == pytest.approx(14.4e9, rel=0.01)


@pytest.mark.parametrize(("remat", "forward"), [("none", 2), ("dots", 2), ("full", 4)])
def test_only_full_remat_sums_activations_again(remat: str, forward: int):
    """Remat "dots" keeps the results of products behind their sum over `tensor`."""
    settings = ("mesh.tensor=4", "encoder.vocab_multiple=512", f"encoder.remat={remat}")
    found = {one.what: one.bytes for one in of("bert_large", "v5e:4x4", *settings).transfers}
    outputs, inputs = found["attention and feed-forward outputs"], found["gradients of their inputs"]
    assert outputs / inputs == pytest.approx(forward / 4)


def test_the_tasks_flops_are_those_of_real_tokens():
    config, place = planned("bert_large", "v5e:4x4"), topology("v5e:4x4")
    whole, half = (work(config, place, config.phases[1], real=real) for real in (1.0, 0.5))
    assert whole.task_flops == whole.model_flops == half.model_flops
    # Scores fall with the square of the length.
    assert 0.45 * whole.task_flops < half.task_flops < 0.5 * whole.task_flops
    assert half.ops == whole.ops


@pytest.mark.parametrize(("remat", "times"), [("none", 1), ("dots", 2), ("full", 2)])
def test_fsdp_gathers_weights_once_or_where_layers_run_twice_again(remat: str, times: int):
    found = of("bert_base", "v5e:4x4", "mesh.layout=fsdp", "mesh.fsdp=16", f"encoder.remat={remat}")
    (layers,) = [one for one in found.transfers if one.what == "layers' weights"]
    assert layers.bytes == times * 2 * 12 * (4 * 768 * 768 + 2 * 768 * 3072)


def test_every_micro_batch_sends_again():
    one, four = (
        of("bert_base", "v5e:4x4", "mesh.layout=fsdp", "mesh.fsdp=16", f"phases.*.accumulation={count}")
        for count in (1, 4)
    )
    for key, size in sent(one).items():
        assert sent(four)[key] == 4 * size


def test_tensor_sends_activations_and_splits_the_weights():
    settings = ("mesh.layout=fsdp_tensor", "encoder.vocab_multiple=512")
    whole = of("bert_base", "v5e:4x4", *settings)
    split = of("bert_base", "v5e:4x4", *settings, "mesh.tensor=4")
    assert ("all-reduce", ("tensor",)) in sent(split) and ("all-reduce", ("tensor",)) not in sent(whole)
    assert split.memory.parameters < 0.3 * whole.memory.parameters
    # Two sums a layer forwards, four backwards, of 4 rows x 128 x 768 bfloat16... each on 4 times the rows.
    layers = [one for one in split.transfers if one.axes == ("tensor",) and "embeddings" not in one.what]
    assert sum(one.bytes for one in layers) == pytest.approx(6 * 12 * (256 / 4) * 128 * 768 * 2, rel=0.02)


def test_a_teacher_is_held_and_run():
    student = of("distilbert_base", "v5e:4x4")
    alone = of("distilbert_base", "v5e:4x4", "objectives.distillation=none")
    assert student.memory.other - alone.memory.other > 2 * 100e6
    assert student.model_flops > 1.5 * alone.model_flops


def test_work_falls_with_chips_and_memory_with_fsdp():
    small, large = (of("bert_large_lamb", place) for place in ("v5p:4x4x4", "v5p:8x8x16"))
    assert large.flops == pytest.approx(small.flops / 16)
    assert large.model_flops == small.model_flops
    sharded = of("bert_large_lamb", "v5p:8x8x16", "mesh.layout=fsdp", "mesh.fsdp=64")
    assert sharded.memory.optimizer < large.memory.optimizer / 50
