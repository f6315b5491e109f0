"""One optimizer step, pure: (state, frozen, batch) -> (state, metrics). And `build`, which touches no file.

state  {"params", "opt_state", "step": int32, "skipped": int32 (2,): non-finite steps in all, and in a row}
frozen vocabulary tables, and a teacher's parameters: passed in, sharded, never checkpointed
batch  {"tokens", "types", "group": int32 (B, L); "label": int32 (B,)}: clean rows; corruption happens here
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxbert.config import MaskedLMConfig, PhaseConfig, RunConfig, check, horizon, schedule_start, slots
from jaxbert.core.parameters import Params, check_names, is_stacked, kind_of, path_of
from jaxbert.core.sharding import BATCH, LAYOUTS, compute_dtype, explicit_mesh, reshard, reshard_like
from jaxbert.errors import InputError
from jaxbert.models.families import check_family
from jaxbert.models.model import Model
from jaxbert.objectives import Batch, Frozen, Objective, Term, heads_of, make_objectives, masking, weights_of
from jaxbert.objectives.distillation import teacher_model
from jaxbert.training.optim import clip_norm, decayed, make_optimizer, make_schedule, trusted

State = dict[str, Any]
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled parts of one phase, and the abstract values they take.

    Attributes:
      model: encoder and heads.
      step: jitted; donates the state.
      evaluate: jitted; (params, frozen, batch, number of the batch) -> {term: Term}, with fixed masks.
      init: jitted; seed -> state.
      weights: of the terms in the loss.
      state, frozen, batch, evaluation_batch: trees of ShapeDtypeStruct with shardings.
    """

    model: Model
    step: Callable[[State, Frozen, Batch], tuple[State, Metrics]]
    evaluate: Callable[[Params, Frozen, Batch, Any], dict[str, Term]]
    init: Callable[[Any], State]
    weights: Mapping[str, float]
    state: State
    frozen: Mapping[str, Any]
    batch: Mapping[str, jax.ShapeDtypeStruct]
    evaluation_batch: Mapping[str, jax.ShapeDtypeStruct]

    def __iter__(self) -> Any:
        """(step, abstract state, abstract batch): what most callers want."""
        return iter((self.step, self.state, self.batch))


def build(config: RunConfig, mesh: Mesh, phase: int = 0) -> Program:
    """The program of phase `phase` of a run on `mesh`; touches no file.

    Raises:
      InputError: the config breaks a rule, or does not fit the mesh.
      ValueError: a parameter whose name not exactly one rule of `jaxbert.core.parameters.RULES` matches.
    """
    check(config, mesh.size)
    if config.mesh.layout == "auto":
        raise InputError("auto is no layout yet", where="mesh.layout", fix="Use jaxbert.plan.layouts.chosen_here.")
    now = config.phases[phase]
    layout = LAYOUTS[config.mesh.layout]
    objectives = phase_objectives(config, now)
    check_family(config.encoder, heads_of(objectives))
    weights = weights_of(objectives)
    model = make_model(config, objectives)
    check_names(path_of(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(model.names))
    optimizer = make_optimizer(config.optimizer)
    learning_rate = phase_learning_rate(config, phase)
    dtype = compute_dtype(config.numerics.dtype, mesh.devices.flat[0].platform)
    moment_specs = specs(model.names, layout.optimizer)

    def init(seed: Any) -> State:
        params = model.init(jax.random.key(seed, impl="threefry2x32"))
        return {
            "params": params,
            "opt_state": optimizer.init(place(params, moment_specs)),
            "step": jnp.zeros((), jnp.int32),
            "skipped": jnp.zeros((2,), jnp.int32),
        }

    def step(state: State, frozen: Frozen, batch: Batch) -> tuple[State, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed, impl="threefry2x32"), state["step"])
        corrupt_key, dropout_key = jax.random.split(key)
        corrupted = corrupt(objectives, batch, frozen, corrupt_key)
        denominators = _denominators(objectives, corrupted)
        grads, terms = gradients(
            model,
            objectives,
            state["params"],
            frozen,
            corrupted,
            denominators,
            dropout_key=dropout_key,
            dtype=dtype,
            accumulation=now.accumulation,
            clip_each=clip_norm(config.optimizer) if config.optimizer.clip_scope == "micro_batch" else 0.0,
        )
        rate = learning_rate(state["step"])
        resting = place(state["params"], moment_specs)
        direction, opt_state = optimizer.update(place(grads, moment_specs), state["opt_state"], resting)
        moved = jax.tree.map(lambda w, u: w - rate * u, resting, direction)
        # A replicated weight minus a sharded moment is sharded: back to where the parameter lies.
        params = reshard_like(moved, state["params"])

        metrics = {"loss": jnp.zeros((), jnp.float32)}
        for name, denominator in denominators.items():
            metrics["loss"] += weights[name] * terms[name].sum / denominator
        metrics |= figures(terms)
        grad_norm, update_norm = optax.global_norm(grads), rate * optax.global_norm(direction)
        # Not the update's norm: it is finite where these are, and waiting for it would take a pass over all state.
        finite = jnp.isfinite(grad_norm) & jnp.isfinite(metrics["loss"])
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (params, opt_state), (state["params"], state["opt_state"])
        )
        bad = (~finite).astype(jnp.int32)
        skipped = jnp.stack([state["skipped"][0] + bad, (state["skipped"][1] + 1) * bad])
        metrics |= {
            "rate": rate,
            "grad_norm": grad_norm,
            "update_norm": update_norm,
            "real_tokens": (batch["group"] > 0).sum(),
            "skipped": skipped[0],
            "skipped_in_a_row": skipped[1],
        }
        new = {"params": params, "opt_state": opt_state, "step": state["step"] + 1, "skipped": skipped}
        return new, metrics

    view = evaluation_view(config)
    evaluation_objectives = phase_objectives(view, dataclasses.replace(now, slots=0))

    def evaluate(params: Params, frozen: Frozen, batch: Batch, number: Any) -> dict[str, Term]:
        key = jax.random.fold_in(jax.random.key(config.evaluation.seed, impl="threefry2x32"), number)
        corrupted = corrupt(evaluation_objectives, batch, frozen, key)
        x_BLD = model.hidden(params, corrupted, dtype=dtype)
        return collect_terms(evaluation_objectives, model, params, frozen, corrupted, x_BLD)

    with jax.set_mesh(mesh):
        jitted_init = jax.jit(init)
        state = _named(mesh, jax.eval_shape(jitted_init, 0))
    return Program(
        model=model,
        step=jax.jit(step, donate_argnums=0),
        evaluate=jax.jit(evaluate),
        init=jitted_init,
        weights=weights,
        state=state,
        frozen=abstract_frozen(config, mesh),
        batch=abstract_batch(now.batch_size, now.length, mesh),
        evaluation_batch=abstract_batch(config.evaluation.batch_size, now.length, mesh),
    )


def phase_learning_rate(config: RunConfig, phase: int) -> Callable[[Any], jax.Array]:
    """The learning rate in phase `phase` as a function of the run's step."""
    start = schedule_start(config, phase)
    schedule_config = config.phases[start].schedule
    assert schedule_config is not None
    schedule = make_schedule(schedule_config, horizon(config, phase))
    began = sum(earlier.steps for earlier in config.phases[:start])
    return lambda step: schedule(step - began)


def phase_objectives(config: RunConfig, phase: PhaseConfig) -> list[Objective]:
    """The objectives of a run on the rows of one of its phases."""
    return make_objectives(config.objectives, config.encoder, length=phase.length, slots=slots(config, phase))


def make_model(config: RunConfig, objectives: list[Objective]) -> Model:
    """The encoder and the heads that `objectives` call, in the run's layout."""
    heads = heads_of(objectives)
    return Model(config.encoder, heads, LAYOUTS[config.mesh.layout], sizes=heads)


def evaluation_view(config: RunConfig) -> RunConfig:
    """The config with evaluation's masking in the place of training's."""
    masked = config.objectives.masked_lm
    assert masked is not None
    masked = dataclasses.replace(masked, rate=config.evaluation.mask_rate)
    if config.evaluation.masking == "token":
        masked = dataclasses.replace(masked, scheme="token", random_ids="vocabulary")
    return dataclasses.replace(config, objectives=dataclasses.replace(config.objectives, masked_lm=masked))


def corrupt(objectives: list[Objective], batch: Batch, frozen: Frozen, key: jax.Array) -> Batch:
    """The global batch after every objective's corruption, in order, each with a key of its own."""
    batch = {name: reshard(x, P(BATCH, *(None for _ in x.shape[1:]))) for name, x in batch.items()}
    for index, objective in enumerate(objectives):
        batch = objective.corrupt(batch, frozen, jax.random.fold_in(key, index))
    return batch


def collect_terms(
    objectives: list[Objective], model: Model, params: Params, frozen: Frozen, batch: Batch, x_BLD: jax.Array
) -> dict[str, Term]:
    """The terms of all objectives over one (micro-)batch."""
    found: dict[str, Term] = {}
    for objective in objectives:
        found |= objective.terms(model, params, frozen, batch, x_BLD)
    return found


def gradients(
    model: Model,
    objectives: list[Objective],
    params: Params,
    frozen: Frozen,
    batch: Batch,
    denominators: Mapping[str, jax.Array],
    *,
    dropout_key: jax.Array | None,
    dtype: Any,
    accumulation: int,
    clip_each: float = 0.0,
) -> tuple[Params, dict[str, Term]]:
    """Gradient of sum over terms of weight x sum / denominator, and the terms, over a corrupted global batch.

    Micro-batches are the strided split (micro-batch a has rows a::A), which moves no row between devices; gradients are
    summed over them in float32. The denominators are those of the global batch, so the sum is the whole's gradient.
    With `clip_each` above 0 the global norm of each of the A summands is cut to clip_each / A before.
    """
    weights = weights_of(objectives)

    def loss(params: Params, micro: Batch, key: jax.Array | None) -> tuple[jax.Array, dict[str, Term]]:
        x_BLD = model.hidden(params, micro, dropout_key=key, dtype=dtype)
        terms = collect_terms(objectives, model, params, frozen, micro, x_BLD)
        total = jnp.zeros((), jnp.float32)
        for name, denominator in denominators.items():
            total += weights[name] * terms[name].sum / denominator
        return total, terms

    def gradient(*args: Any) -> tuple[Params, dict[str, Term]]:
        grads, terms = jax.grad(loss, has_aux=True)(*args)
        if clip_each:
            share = jnp.minimum(1.0, clip_each / accumulation / jnp.maximum(optax.global_norm(grads), 1e-30))
            grads = jax.tree.map(lambda g: g * share, grads)
        return grads, terms

    if accumulation == 1:
        grads, terms = gradient(params, batch, dropout_key)
        return grads, terms

    def body(carry: Any, micro: tuple[Batch, jax.Array]) -> tuple[Any, None]:
        rows, index = micro
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, index)
        return jax.tree.map(jnp.add, carry, gradient(params, rows, key)), None

    micro_batches = jax.tree.map(lambda x: _strided(x, accumulation), batch)
    first = jax.tree.map(lambda x: x[0], micro_batches)
    shapes = jax.eval_shape(lambda p, m: gradient(p, m, dropout_key)[1], params, first)
    zeros = (jax.tree.map(jnp.zeros_like, params), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))
    (grads, terms), _ = jax.lax.scan(body, zeros, (micro_batches, jnp.arange(accumulation)))
    return grads, terms


def _strided(x: jax.Array, accumulation: int) -> jax.Array:
    """(B, ...) as (A, B / A, ...), micro-batch a holding rows a::A: local on every mesh."""
    shape = (x.shape[0] // accumulation, accumulation, *x.shape[1:])
    out = P(BATCH, *(None for _ in shape[1:])) if explicit_mesh() else None
    return jnp.moveaxis(jnp.reshape(x, shape, out_sharding=out), 1, 0)


def _denominators(objectives: list[Objective], batch: Batch) -> dict[str, jax.Array]:
    found: dict[str, jax.Array] = {}
    for objective in objectives:
        found |= {name: jnp.maximum(weight, 1.0) for name, weight in objective.denominators(batch).items()}
    return found


def figures(terms: Mapping[str, Term]) -> dict[str, Any]:
    """Means by name, "masked_lm_loss" and "masked_lm_accuracy" for the term "masked_lm"."""
    found: dict[str, Any] = {}
    for name, term in terms.items():
        weight = np.maximum(term.weight, 1.0) if isinstance(term.weight, np.ndarray) else jnp.maximum(term.weight, 1.0)
        found[f"{name}_loss"] = term.sum / weight
        found |= {f"{name}_{figure}": value / weight for figure, value in term.figures.items()}
    return found


def specs(names: Params, table: Mapping[str, P]) -> Any:
    """Tree of specs from a tree of dimension names; what lies under `layers` is stacked over N."""

    def one(path: tuple[Any, ...], name: str) -> P:
        return P(None, *table[name]) if is_stacked(path_of(path)) else table[name]

    return jax.tree_util.tree_map_with_path(one, names)


def parameter_table(config: RunConfig) -> str:
    """One line a parameter: path, shape, spec at rest, whether it is decayed, and over what it has a trust ratio."""
    layout = LAYOUTS[config.mesh.layout]
    model = make_model(config, phase_objectives(config, config.phases[0]))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0)))
    resting = jax.tree.leaves(specs(model.names, layout.parameters), is_leaf=lambda leaf: isinstance(leaf, P))
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
    """Each leaf of `tree` in the spec of the same leaf of `to`."""
    return jax.tree.map(jax.sharding.reshard, tree, to) if explicit_mesh() else tree


def hand_over(config: RunConfig, optimizer_state: Any, phase: int) -> Any:
    """The optimizer's state as phase `phase` takes it over, by its `moments`."""
    moments = config.phases[phase].moments
    if phase == 0 or moments == "keep":
        return optimizer_state
    if moments == "reset":
        return jax.tree.map(jnp.zeros_like, optimizer_state)

    def reset_count(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        return jnp.zeros_like(leaf) if str(getattr(path[-1], "name", path[-1])) == "count" else leaf

    return jax.tree_util.tree_map_with_path(reset_count, optimizer_state)


def frozen_tables(
    special: np.ndarray,
    mask_id: int,
    word_start: np.ndarray | None = None,
    *,
    config: RunConfig | None = None,
    counts: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The vocabulary tables of `frozen`.

    Args:
      special: bool (V,), tokens never masked.
      mask_id: of [MASK].
      word_start: bool (V,), tokens that begin a word; by default all.
      config: the run, whose masking may ask for more tables.
      counts: (V,), how often each token stands in the train rows; needed where `needs_counts(config)`.

    Returns:
      special, word_start bool (V,); mask_id int32; where the masking asks for them, uint32 (V,): smoothed, weights of
      the tokens (`masking.smoothed_weights`), and random_ids (`masking.cumulative`).
    """
    special = np.asarray(special, bool)
    tables = {
        "special": special,
        "mask_id": np.asarray(mask_id, np.int32),
        "word_start": np.ones_like(special) if word_start is None else np.asarray(word_start, bool),
    }
    masked = _masking_of(config)
    if config is None or masked is None:
        return tables
    if masked.scheme == "frequency":
        assert counts is not None
        longest = max(phase.length for phase in config.phases)
        tables["smoothed"] = masking.smoothed_weights(counts, masked.smoothing, longest)
    if masked.random_ids == "ordinary":
        tables["random_ids"] = masking.cumulative(~special)
    elif masked.random_ids == "corpus":
        assert counts is not None
        tables["random_ids"] = masking.cumulative(np.where(special, 0, np.asarray(counts, np.float64)))
    return tables


def _masking_of(config: RunConfig | None) -> MaskedLMConfig | None:
    return None if config is None else config.objectives.masked_lm


def needs_counts(config: RunConfig) -> bool:
    """Whether the run's masking goes by how frequent tokens are."""
    masked = config.objectives.masked_lm
    return masked is not None and (masked.scheme == "frequency" or masked.random_ids == "corpus")


def abstract_frozen(config: RunConfig, mesh: Mesh) -> dict[str, Any]:
    """Shapes and places of `frozen`: the vocabulary's tables whole, the teacher's parameters as the layout has them."""
    vocabulary = np.zeros(config.encoder.vocab_size)
    tables = frozen_tables(vocabulary, 0, config=config, counts=vocabulary + 1)
    whole = NamedSharding(mesh, P())
    found: dict[str, Any] = {
        name: jax.ShapeDtypeStruct(table.shape, table.dtype, sharding=whole) for name, table in tables.items()
    }
    if config.objectives.distillation is not None:
        teacher = teacher_model(config.objectives.distillation, config.encoder)
        shapes = jax.eval_shape(lambda: teacher.init(jax.random.key(0)))
        found["teacher"] = jax.tree.map(
            lambda leaf, spec: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16, sharding=NamedSharding(mesh, spec)),
            shapes,
            specs(teacher.names, LAYOUTS[config.mesh.layout].parameters),
        )
    return found


# Shape of one row of each field of a batch of L tokens.
def batch_fields(length: int) -> dict[str, tuple[int, ...]]:
    """Shape of one row of each field of a batch."""
    return {"tokens": (length,), "types": (length,), "group": (length,), "label": ()}


def abstract_batch(batch_size: int, length: int, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and places of a global batch."""
    return {
        name: jax.ShapeDtypeStruct(
            (batch_size, *shape), jnp.int32, sharding=NamedSharding(mesh, P(BATCH, *(None for _ in shape)))
        )
        for name, shape in batch_fields(length).items()
    }


def _named(mesh: Mesh, tree: Any) -> Any:
    def one(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        spec = P() if x.sharding is None else x.sharding.spec
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(one, tree)
