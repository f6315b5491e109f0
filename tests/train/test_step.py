"""The step: accumulation equals the whole batch, a non-finite step changes nothing, phases hand over as told."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

from jaxbert.config import (
    DataConfig,
    EncoderConfig,
    EvaluationConfig,
    LoggingConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
    find_config,
)
from jaxbert.core.sharding import replicated, single_device_mesh
from jaxbert.objectives.vocabulary import frozen_tables
from jaxbert.tasks import make_task
from jaxbert.training.step import Program, build, gradients, hand_over

LENGTH, BATCH, VOCAB = 16, 8, 100
ENCODER = EncoderConfig(
    vocab_size=VOCAB, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, max_positions=16, dropout=0.0,
    attention_dropout=0.0,
)  # fmt: skip
CONFIG = RunConfig(
    name="test",
    encoder=ENCODER,
    data=DataConfig(source="none"),
    evaluation=EvaluationConfig(batch_size=BATCH),
    phases=(
        PhaseConfig(
            length=LENGTH,
            batch_size=BATCH,
            steps=10,
            schedule=ScheduleConfig(kind="constant", peak=1e-2, warmup_steps=0),
        ),
    ),
)


def _batch(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = (np.arange(LENGTH) < rng.integers(3, LENGTH + 1, (BATCH, 1))).astype(np.int32)
    tokens = rng.integers(5, VOCAB, (BATCH, LENGTH)).astype(np.int32) * group
    label = rng.integers(-1, 2, BATCH).astype(np.int32)
    return {"tokens": tokens, "types": group * (np.arange(LENGTH) > 7), "group": group, "label": label}


def _frozen(mesh):
    return replicated(mesh, frozen_tables(np.arange(VOCAB) < 5, 4))


@functools.cache
def _program(config: RunConfig) -> Program:
    """Returns the program of `config`, which is traced and compiled once."""
    return build(config, single_device_mesh())


@functools.cache
def _run(config: RunConfig, batches: int = 3):
    mesh = single_device_mesh()
    program = _program(config)
    with jax.set_mesh(mesh):
        state, losses = program.init(0), []
        for number in range(batches):
            state, metrics = program.step(state, _frozen(mesh), _batch(number))
            losses.append(jax.device_get(metrics))
    return jax.device_get(state), losses


@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulation_equals_the_whole_batch(accumulation):
    whole, whole_metrics = _run(CONFIG)
    parts, parts_metrics = _run(
        dataclasses.replace(CONFIG, phases=(dataclasses.replace(CONFIG.phases[0], accumulation=accumulation),))
    )
    for a, b in zip(whole_metrics, parts_metrics, strict=True):
        for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6, err_msg=jax.tree_util.keystr(path))
    for a, b in zip(jax.tree.leaves(whole["params"]), jax.tree.leaves(parts["params"]), strict=True):
        # One entry in thousands may sit where Adam divides by almost nothing.
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_clipping_each_micro_batch_as_googles_cores_do():
    """Each of the A shares of the gradient is cut to clip_norm / A before they are summed, and the sum is not cut."""
    clip, accumulation = 0.5, 4
    optimizer = dataclasses.replace(CONFIG.optimizer, clip_norm=clip, clip_scope="micro_batch")
    phase = dataclasses.replace(CONFIG.phases[0], accumulation=accumulation)
    _, metrics = _run(dataclasses.replace(CONFIG, optimizer=optimizer, phases=(phase,)), 1)

    mesh = single_device_mesh()
    program = _program(CONFIG)
    task = make_task(CONFIG, CONFIG.phases[0])
    key, _ = jax.random.split(jax.random.fold_in(jax.random.key(CONFIG.seed, impl="threefry2x32"), 0))
    with jax.set_mesh(mesh):
        params = program.init(0)["params"]
        whole = jax.jit(task.prepare)(params, _frozen(mesh), jax.tree.map(jax.numpy.asarray, _batch(0)), key)
    params, whole = jax.device_get((params, whole))
    denominators = task.denominators(whole)
    gradient = jax.jit(
        lambda params, rows: gradients(
            task, params, {}, rows, denominators, dropout_key=None, dtype="float32", accumulation=1
        )[0]
    )
    summed, raw = jax.tree.map(np.zeros_like, params), []
    for a in range(accumulation):
        rows = {name: x[a::accumulation] for name, x in whole.items()}
        share = gradient(params, rows)
        raw.append(float(optax.global_norm(share)))
        summed = jax.tree.map(lambda s, g: s + g * min(1.0, clip / accumulation / raw[-1]), summed, share)
    assert min(raw) > clip / accumulation, "each share must be cut, or this test shows nothing"
    np.testing.assert_allclose(metrics[0]["grad_norm"], float(optax.global_norm(summed)), rtol=1e-5)
    assert metrics[0]["grad_norm"] < clip


def test_loss_is_the_global_mean():
    """Terms are divided by the weight of the whole batch. A mean of the micro-batches' means would be another number.

    Rows a::2 are micro-batch a. Those of micro-batch 0 are full and have labels; those of micro-batch 1 are short, and
    one of them has a label.
    """
    accumulation, length = 2, np.where(np.arange(BATCH) % 2, 4, LENGTH)
    clean = _batch()
    group = (np.arange(LENGTH) < length[:, None]).astype(np.int32)
    clean |= {"group": group, "tokens": np.maximum(clean["tokens"], 5) * group}
    clean["label"] = np.where(np.arange(BATCH) % 2, np.where(np.arange(BATCH) == 1, 0, -1), 1).astype(np.int32)
    phase = dataclasses.replace(CONFIG.phases[0], accumulation=accumulation)
    # Large weights, so that losses differ from row to row.
    encoder = dataclasses.replace(ENCODER, initializer_range=0.5)
    config = dataclasses.replace(CONFIG, encoder=encoder, phases=(phase,))
    mesh = single_device_mesh()
    program = _program(config)
    key, _ = jax.random.split(jax.random.fold_in(jax.random.key(config.seed, impl="threefry2x32"), 0))
    with jax.set_mesh(mesh):
        state = program.init(0)
        clean_arrays = jax.tree.map(jax.numpy.asarray, clean)
        whole = jax.jit(program.task.prepare)(state["params"], _frozen(mesh), clean_arrays, key)
        params, whole = jax.device_get((state["params"], whole))
        found = jax.device_get(program.step(state, _frozen(mesh), clean)[1])
    micro_batches = [{name: x[a::accumulation] for name, x in whole.items()} for a in range(accumulation)]
    params = jax.tree.map(jax.numpy.asarray, params)
    compute = jax.jit(lambda rows: program.task.compute(params, {}, rows, dropout_key=None, dtype="float32"))
    parts = [compute(rows) for rows in micro_batches]
    expected = mean_of_means = 0.0
    for name in ("masked_lm", "next_sentence"):
        sums, weights = (np.array([float(getattr(part[name], of)) for part in parts]) for of in ("sum", "weight"))
        assert weights[0] > 1.5 * weights[1] > 0
        np.testing.assert_allclose(found[f"{name}_loss"], sums.sum() / weights.sum(), rtol=1e-4)
        expected += sums.sum() / weights.sum()
        mean_of_means += (sums / weights).mean()
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-4)
    assert abs(expected - mean_of_means) > 1e-3 * expected, "both ways must differ, or this test shows nothing"


def test_non_finite_step_changes_nothing_and_is_counted():
    mesh = single_device_mesh()
    program = _program(CONFIG)
    with jax.set_mesh(mesh):
        state = program.init(0)
        good = state["params"]["masked_lm"]["bias"]
        state["params"]["masked_lm"]["bias"] = good + np.inf
        before = jax.device_get(state)
        after, metrics = program.step(state, _frozen(mesh), _batch())
        assert int(metrics["skipped"]) == 1 and int(metrics["skipped_in_a_row"]) == 1
        assert int(after["step"]) == 1
        for a, b in zip(
            jax.tree.leaves((before["params"], before["opt_state"])),
            jax.tree.leaves(jax.device_get((after["params"], after["opt_state"]))),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
        after["params"]["masked_lm"]["bias"] = good
        healed, metrics = program.step(after, _frozen(mesh), _batch(1))
        assert int(metrics["skipped"]) == 1 and int(metrics["skipped_in_a_row"]) == 0
        assert list(np.asarray(healed["skipped"])) == [1, 0]


def test_build_is_abstract_and_says_what_it_takes():
    mesh = single_device_mesh()
    program = _program(CONFIG)
    step, state, batch = program.step, program.state, program.batch
    assert state["params"]["encoder"]["embeddings"]["word"]["table"].shape == (128, 16)
    assert batch["tokens"].shape == (BATCH, LENGTH)
    with jax.set_mesh(mesh):
        new_state, metrics = step.lower(state, program.frozen, batch).out_info
    assert jax.tree.map(lambda x: x.shape, new_state) == jax.tree.map(lambda x: x.shape, state)
    assert {"loss", "masked_lm_accuracy", "rate", "grad_norm", "skipped"} <= set(metrics)


def test_runs_share_a_program_that_is_the_same_for_them():
    mesh = single_device_mesh()
    first = build(CONFIG, mesh)
    renamed = dataclasses.replace(CONFIG, name="other", logging=LoggingConfig(every_steps=3))
    assert build(renamed, mesh).step is first.step
    # The draws of masks have the seed in them.
    assert build(dataclasses.replace(CONFIG, seed=1), mesh).step is not first.step
    classify = find_config("classify")
    task = dataclasses.replace(classify.task, labels=("a", "b"))
    labelled = dataclasses.replace(classify, encoder=ENCODER, task=task, phases=CONFIG.phases)
    programs = [build(dataclasses.replace(labelled, seed=seed), mesh) for seed in (3, 4)]
    assert programs[0].step is programs[1].step and programs[0].judge is programs[1].judge
    assert [int(program.task.tables(None, None)["seed"]) for program in programs] == [3, 4]


def test_phases_hand_over_moments():
    first = CONFIG.phases[0]
    config = dataclasses.replace(
        CONFIG,
        optimizer=dataclasses.replace(CONFIG.optimizer, name="adamw"),
        phases=(
            first,
            dataclasses.replace(first, name="b", schedule=None),
            dataclasses.replace(first, name="c", moments="keep_reset_count"),
            dataclasses.replace(first, name="d", moments="reset"),
        ),
    )
    state, _ = _run(config)
    leaves = jax.tree_util.tree_flatten_with_path(state["opt_state"])[0]
    for phase, kept, count in ((1, True, 3), (2, True, 0), (3, False, 0)):
        handed = jax.tree.leaves(hand_over(config, state["opt_state"], phase))
        for (path, before), after in zip(leaves, handed, strict=True):
            if "count" in jax.tree_util.keystr(path):
                assert int(after) == count
            else:
                np.testing.assert_array_equal(after, before if kept else np.zeros_like(before))
