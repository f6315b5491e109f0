"""One optimizer step, pure: (state, frozen, batch) -> (state, metrics). And `build`, which touches no file.

state  {"params", "opt_state", "step": int32, "skipped": int32 (2,): non-finite steps in all, and in a row}
frozen tables and teachers' parameters: passed in, sharded, never checkpointed
batch  the fields that the task names, clean rows of a global batch; the task adds its answers here
metrics  scalars by name: means over the batch, norms, counts; and under "terms" the sums that the means come from

The task (`jaxbert.tasks`) says what is learned. This file says how: gradients over micro-batches, the optimizer, and
steps that are skipped because they are not finite.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxbert.config import LoggingConfig, RunConfig, check, horizon, schedule_start
from jaxbert.core.machine import DETERMINISTIC_OPS, backend
from jaxbert.core.parameters import Params, check_names, is_stacked, kind_of, path_of
from jaxbert.core.shapes import shapes_of
from jaxbert.core.sharding import (
    BATCH,
    LAYOUTS,
    abstract_batch,
    compute_dtype,
    explicit_mesh,
    reshard,
    reshard_like,
)
from jaxbert.errors import InputError
from jaxbert.tasks import Task, make_task
from jaxbert.tasks.base import SEED, Arrays, Frozen, Term
from jaxbert.training.optim import clip_norm, decayed, make_optimizer, make_schedule, shares_of_rate, trusted

_log = logging.getLogger(__name__)

State = dict[str, Any]
Metrics = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled parts of one phase, and the abstract values they take.

    Attributes:
      task: task of the run on the rows of the phase.
      step: jitted; donates the state.
      evaluate: jitted; (params, frozen, batch, number of the batch) -> {term: Term}, with fixed draws.
      judge: like `evaluate`, but it gives ({term: Term}, outputs of each row, whole on every device); None where the
        task has no outputs.
      init: jitted; seed -> state.
      state, frozen, batch, evaluation_batch: trees of ShapeDtypeStruct with shardings.
    """

    task: Task
    step: Callable[[State, Frozen, Arrays], tuple[State, Metrics]]
    evaluate: Callable[[Params, Frozen, Arrays, Any], dict[str, Term]]
    judge: Callable[[Params, Frozen, Arrays, Any], tuple[dict[str, Term], Arrays]] | None
    init: Callable[[Any], State]
    state: State
    frozen: Mapping[str, Any]
    batch: Mapping[str, jax.ShapeDtypeStruct]
    evaluation_batch: Mapping[str, jax.ShapeDtypeStruct]


def build(config: RunConfig, mesh: Mesh, phase: int = 0) -> Program:
    """Returns the program of phase `phase` of a run on `mesh`; touches no file.

    Runs of one process that differ in nothing that the program depends on share it, so it is traced once for them: the
    seeds of a fine-tuning, and the evaluation after a run.

    It does not set XLA's flag for `numerics.deterministic` (see `jaxbert.run.deterministic`). It logs a warning
    where the flag is missing.

    Raises:
      InputError: the config breaks a rule, or does not fit the mesh.
      ValueError: a parameter's name does not match exactly one rule of `jaxbert.core.parameters.RULES`.
    """
    check(config, mesh.size)
    if config.mesh.layout == "auto":
        raise InputError(
            "the layout auto is not resolved",
            where="mesh.layout",
            fix="Call jaxbert.plan.layouts.chosen_here first.",
            code="E-CONFIG-LAYOUT",
        )
    # A mesh that is described, and only compiled for, runs nothing: then this process has no GPU.
    on_gpu = backend() == "gpu" and mesh.devices.flat[0].platform == "gpu"
    if config.numerics.deterministic and on_gpu and DETERMINISTIC_OPS not in os.environ.get("XLA_FLAGS", ""):
        _log.warning("numerics.deterministic: set XLA_FLAGS=%s=true before the first use of jax", DETERMINISTIC_OPS)
    task = make_task(config, config.phases[phase])
    check_names(path_of(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(task.parts.names))
    alike = dataclasses.replace(
        config, name="", logging=LoggingConfig(), seed=0 if SEED in task.abstract_tables() else config.seed
    )
    x64 = bool(jax.config.read("jax_enable_x64"))
    made: Callable[..., Program] = _built
    try:
        hash(alike)
    except TypeError:  # A task from outside may have settings that cannot be hashed, such as a list.
        made = _built.__wrapped__
    # The tables of the task may have the seed.
    return dataclasses.replace(made(alike, mesh, phase, x64), task=task)


# Two phases, each with a step and an evaluation on another mesh.
@functools.lru_cache(maxsize=4)
def _built(config: RunConfig, mesh: Mesh, phase: int, x64: bool) -> Program:
    """Returns the program of a run; see `build`. `x64` is the setting of jax on which it depends, too."""
    del x64
    now = config.phases[phase]
    layout = LAYOUTS[config.mesh.layout]
    task = make_task(config, now)
    optimizer = make_optimizer(config.optimizer)
    learning_rate = phase_learning_rate(config, phase)
    dtype = compute_dtype(config.numerics.dtype, mesh.devices.flat[0].platform)
    moment_specs = specs(task.parts.names, layout.optimizer)
    shares = shares_of_rate(config.optimizer, shapes_of(task.parts.init))
    # XLA's CPU compiler computes the new moments twice, for themselves and for the direction, and copies the old ones
    # for that. It does neither across a branch, so the state is read and written half as often.
    branches = mesh.size == 1 and mesh.devices.flat[0].platform == "cpu"

    def init(seed: Any) -> State:
        params = task.parts.init(jax.random.key(seed, impl="threefry2x32"))
        return {
            "params": params,
            "opt_state": optimizer.init(place(params, moment_specs)),
            "step": jnp.zeros((), jnp.int32),
            "skipped": jnp.zeros((2,), jnp.int32),
        }

    def moved(opt_state: Any, params: Params, rate: jax.Array) -> tuple[Params, jax.Array]:
        """Returns the parameters after a step, and the norm of the update."""
        resting = place(params, moment_specs)
        direction = optimizer.direction(opt_state, resting)
        if shares is not None:
            direction = jax.tree.map(lambda u, share: u * share, direction, shares)
        # A replicated weight minus a sharded moment is sharded. Put the result back into the parameter's layout.
        new = reshard_like(jax.tree.map(lambda w, u: w - rate * u, resting, direction), params)
        return new, rate * optax.global_norm(direction)

    def update(
        params: Params, opt_state: Any, grads: Params, rate: jax.Array, finite: jax.Array
    ) -> tuple[Params, Any, jax.Array]:
        """Returns parameters, optimizer's state and the norm of the update; the old ones where a step is not finite."""

        def moments(old: Any, grads: Params, params: Params) -> Any:
            new = optimizer.moments(place(grads, moment_specs), old, place(params, moment_specs))
            return reshard_like(new, old)

        if not branches:
            new_opt_state = moments(opt_state, grads, params)
            new_params, update_norm = moved(new_opt_state, params, rate)
            params, opt_state = jax.tree.map(
                lambda new, old: jnp.where(finite, new, old), (new_params, new_opt_state), (params, opt_state)
            )
            return params, opt_state, update_norm
        opt_state = jax.lax.cond(finite, moments, lambda old, *_: old, opt_state, grads, params)
        params, update_norm = jax.lax.cond(
            finite, moved, lambda _, old, rate: (old, jnp.full_like(rate, jnp.nan)), opt_state, params, rate
        )
        return params, opt_state, update_norm

    def step(state: State, frozen: Frozen, batch: Arrays) -> tuple[State, Metrics]:
        seed = frozen.get(SEED, config.seed)
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), state["step"])
        prepare_key, dropout_key = jax.random.split(key)
        with jax.named_scope("prepare"):
            prepared = task.prepare(state["params"], frozen, _spread(batch), prepare_key)
        denominators = {name: jnp.maximum(weight, 1.0) for name, weight in task.denominators(prepared).items()}
        grads, terms = gradients(
            task,
            state["params"],
            frozen,
            prepared,
            denominators,
            dropout_key=dropout_key,
            dtype=dtype,
            accumulation=now.accumulation,
            clip_each=clip_norm(config.optimizer) if config.optimizer.clip_scope == "micro_batch" else 0.0,
            shares=shares,
        )
        rate = learning_rate(state["step"])
        metrics: Metrics = {"loss": total_loss(task, terms, denominators)}
        metrics |= task.measure(terms)
        grad_norm = optax.global_norm(grads)
        # Not the update's norm: it is finite where these are, and waiting for it would take a pass over all state.
        finite = jnp.isfinite(grad_norm) & jnp.isfinite(metrics["loss"])
        with jax.named_scope("optimizer"):
            params, opt_state, update_norm = update(state["params"], state["opt_state"], grads, rate, finite)
        bad = (~finite).astype(jnp.int32)
        skipped = jnp.stack([state["skipped"][0] + bad, (state["skipped"][1] + 1) * bad])
        metrics |= {
            "rate": rate,
            "grad_norm": grad_norm,
            "update_norm": update_norm,
            "real_tokens": task.real_tokens(batch),
            "skipped": skipped[0],
            "skipped_in_a_row": skipped[1],
            # Sums add up over steps, so that the mean over several steps weighs each item once. Means do not.
            "terms": terms,
        }
        new = {"params": params, "opt_state": opt_state, "step": state["step"] + 1, "skipped": skipped}
        return new, metrics

    judged = task.evaluation()

    def evaluate(params: Params, frozen: Frozen, batch: Arrays, number: Any) -> dict[str, Term]:
        key = jax.random.fold_in(jax.random.key(config.evaluation.seed, impl="threefry2x32"), number)
        prepared = judged.prepare(params, frozen, _spread(batch), key)
        return judged.compute(params, frozen, prepared, dropout_key=None, dtype=dtype)

    def judge(params: Params, frozen: Frozen, batch: Arrays, number: Any) -> tuple[dict[str, Term], Arrays]:
        del number
        terms, outputs = judged.outputs(params, frozen, _spread(batch), dtype=dtype)
        return terms, {name: reshard(x, P(*(None for _ in x.shape))) for name, x in outputs.items()}

    with jax.set_mesh(mesh):
        jitted_init = jax.jit(init)
        state = _named(mesh, jax.eval_shape(jitted_init, 0))
    return Program(
        task=task,
        step=jax.jit(step, donate_argnums=0),
        evaluate=jax.jit(evaluate),
        judge=jax.jit(judge) if judged.judges else None,
        init=jitted_init,
        state=state,
        frozen=abstract_frozen(task, config, mesh),
        batch=abstract_batch(mesh, now.batch_size, task.fields),
        evaluation_batch=abstract_batch(mesh, config.evaluation.batch_size, task.fields),
    )


def phase_learning_rate(config: RunConfig, phase: int) -> Callable[[Any], jax.Array]:
    """Returns the learning rate in phase `phase` as a function of the run's step."""
    start = schedule_start(config, phase)
    schedule_config = config.phases[start].schedule
    assert schedule_config is not None
    schedule = make_schedule(schedule_config, horizon(config, phase))
    began = sum(earlier.steps for earlier in config.phases[:start])
    return lambda step: schedule(step - began)


def total_loss(task: Task, terms: Mapping[str, Term], denominators: Mapping[str, jax.Array]) -> jax.Array:
    """Returns the sum over terms of weight x sum / denominator, float32."""
    total = jnp.zeros((), jnp.float32)
    for name, denominator in denominators.items():
        total += task.terms[name].weight * terms[name].sum / denominator
    return total


def gradients(
    task: Task,
    params: Params,
    frozen: Frozen,
    batch: Arrays,
    denominators: Mapping[str, jax.Array],
    *,
    dropout_key: jax.Array | None,
    dtype: Any,
    accumulation: int,
    clip_each: float = 0.0,
    shares: Any = None,
) -> tuple[Params, dict[str, Term]]:
    """Returns the gradient of the loss (`total_loss`), and the terms, over a prepared global batch.

    Micro-batches are the strided split (micro-batch a has rows a::A), which moves no row between devices; gradients are
    summed over them in float32. The denominators are those of the global batch, so the sum is the whole's gradient.
    With `clip_each` above 0 the global norm of each of the A summands is cut to clip_each / A before.
    Parameters whose share of the rate (`shares_of_rate`) is 0 have the gradient 0.
    """

    def loss(params: Params, micro: Arrays, key: jax.Array | None) -> tuple[jax.Array, dict[str, Term]]:
        if shares is not None:
            params = jax.tree.map(_trained, params, shares)
        terms = task.compute(params, frozen, micro, dropout_key=key, dtype=dtype)
        return total_loss(task, terms, denominators), terms

    def gradient(*args: Any) -> tuple[Params, dict[str, Term]]:
        grads, terms = jax.grad(loss, has_aux=True)(*args)
        if clip_each:
            share = jnp.minimum(1.0, clip_each / accumulation / jnp.maximum(optax.global_norm(grads), 1e-30))
            grads = jax.tree.map(lambda g: g * share, grads)
        return grads, terms

    if accumulation == 1:
        grads, terms = gradient(params, batch, dropout_key)
        return grads, terms

    def body(carry: Any, micro: tuple[Arrays, jax.Array]) -> tuple[Any, None]:
        rows, index = micro
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, index)
        return jax.tree.map(jnp.add, carry, gradient(params, rows, key)), None

    micro_batches = jax.tree.map(lambda x: _strided(x, accumulation), batch)
    first = jax.tree.map(lambda x: x[0], micro_batches)
    shapes = jax.eval_shape(lambda p, m: loss(p, m, dropout_key)[1], params, first)
    zeros = (jax.tree.map(jnp.zeros_like, params), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))
    (grads, terms), _ = jax.lax.scan(body, zeros, (micro_batches, jnp.arange(accumulation)))
    return grads, terms


def _trained(w: jax.Array, share: Any) -> jax.Array:
    """Returns a parameter through which no gradient flows where its share of the rate is 0."""
    if np.all(share):
        return w
    still = jax.lax.stop_gradient(w)
    return jnp.where(share > 0, w, still) if np.any(share) else still


def _strided(x: jax.Array, accumulation: int) -> jax.Array:
    """Returns (B, ...) as (A, B / A, ...). Micro-batch a has rows a::A, which is local on every mesh."""
    shape = (x.shape[0] // accumulation, accumulation, *x.shape[1:])
    out = P(BATCH, *(None for _ in shape[1:])) if explicit_mesh() else None
    return jnp.moveaxis(jnp.reshape(x, shape, out_sharding=out), 1, 0)


def specs(names: Params, table: Mapping[str, P]) -> Any:
    """Returns a tree of specs from a tree of dimension names. Parameters under `layers` are stacked over N."""

    def one(path: tuple[Any, ...], name: str) -> P:
        return P(None, *table[name]) if is_stacked(path_of(path)) else table[name]

    return jax.tree_util.tree_map_with_path(one, names)


def parameter_table(config: RunConfig) -> str:
    """Returns a table with a line for each parameter: path, shape, spec at rest, decay, extent of the trust ratio."""
    layout = LAYOUTS[config.mesh.layout]
    parts = make_task(config, config.phases[0]).parts
    shapes = shapes_of(parts.init)
    resting = jax.tree.leaves(specs(parts.names, layout.parameters), is_leaf=lambda leaf: isinstance(leaf, P))
    lines = [("parameter", "shape", "spec", "decay", "trust ratio")]
    for (keys, leaf), spec in zip(jax.tree_util.tree_flatten_with_path(shapes)[0], resting, strict=True):
        path = path_of(keys)
        each = "each group of layers" if config.encoder.shares_layers else "each layer"
        ratio = each if is_stacked(path) else "whole"
        lines.append(
            (
                path,
                " x ".join(map(str, leaf.shape)),
                ", ".join(str(axis or "-") for axis in spec),
                "yes" if kind_of(path) in decayed(config.optimizer) else "no",
                ratio if kind_of(path) in trusted(config.optimizer) else "no",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def place(tree: Any, to: Any) -> Any:
    """Returns each leaf of `tree` in the spec of the same leaf of `to`."""
    return jax.tree.map(jax.sharding.reshard, tree, to) if explicit_mesh() else tree


def hand_over(config: RunConfig, optimizer_state: Any, phase: int) -> Any:
    """Returns the optimizer's state with which phase `phase` begins, by its `moments`."""
    moments = config.phases[phase].moments
    if phase == 0 or moments == "keep":
        return optimizer_state
    if moments == "reset":
        return jax.tree.map(jnp.zeros_like, optimizer_state)

    def reset_count(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        return jnp.zeros_like(leaf) if str(getattr(path[-1], "name", path[-1])) == "count" else leaf

    return jax.tree_util.tree_map_with_path(reset_count, optimizer_state)


def abstract_frozen(task: Task, config: RunConfig, mesh: Mesh) -> dict[str, Any]:
    """Returns shapes and places of `frozen`: tables whole on each device, teachers as the layout places them."""
    whole = NamedSharding(mesh, P())
    found: dict[str, Any] = {
        name: jax.ShapeDtypeStruct(table.shape, table.dtype, sharding=whole)
        for name, table in task.abstract_tables().items()
    }
    for name, teacher in task.teachers.items():
        shapes = shapes_of(teacher.init)
        found[name] = jax.tree.map(
            lambda leaf, spec: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16, sharding=NamedSharding(mesh, spec)),
            shapes,
            specs(teacher.names, LAYOUTS[config.mesh.layout].parameters),
        )
    return found


def _spread(batch: Arrays) -> Arrays:
    """Returns the batch with its rows over (data, fsdp)."""
    return {name: reshard(x, P(BATCH, *(None for _ in x.shape[1:]))) for name, x in batch.items()}


def _named(mesh: Mesh, tree: Any) -> Any:
    def one(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        spec = P() if x.sharding is None else x.sharding.spec
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(one, tree)
