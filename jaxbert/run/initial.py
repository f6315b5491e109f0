"""Where the parameters of a run with `--init MODEL` start, and what its config takes from that model.

Domain adaptation is a run that starts from a model. Its vocabulary may be the model's or a new one, it may have more or
fewer positions, other padding and other heads; anything else about the encoder is the model's, or the run is refused.
The model is needed until the first checkpoint is there: from then on the workdir says it all.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from jaxbert.config import (
    EncoderBase,
    InitPositions,
    ObjectivesConfig,
    RunConfig,
    SpanBoundaryConfig,
    config_names,
    find_config,
    load_json,
)
from jaxbert.config.overrides import apply_overrides
from jaxbert.core.parameters import Params, path_of, with_rows
from jaxbert.data.shards import read_manifest
from jaxbert.data.staging import local
from jaxbert.errors import InputError
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import head_sizes
from jaxbert.objectives import OBJECTIVES, heads_of, make_objectives
from jaxbert.objectives.base import PAIRS
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.text.transfer import transfer
from jaxbert.training.step import make_model, phase_objectives
from jaxbert.use.library import Loaded, load

Array = NDArray[Any]
Note = Callable[[str], None]

# Fields of the encoder in which a run may differ from the model it starts from.
_FREE = {"dropout", "attention_dropout", "initializer_range", "initializer", "position_init", "remat", "vocab_multiple"}
# Those that are looked at on their own: tables that are fitted.
_FITTED = {"vocab_size", "max_positions"}
# Terms beside the masked LM that a model may have been pretrained with; they go by their heads.
_BESIDE = ("next_sentence", "sentence_order", "span_boundary")
_POSITIONS = "encoder/embeddings/position/table"


# ----------------------------------------------------------------------------------------------------------------------
# The config


def inherit(
    config: RunConfig,
    workdir: Path,
    *,
    tokenizer: str | None = None,
    settings: Sequence[str] = (),
    overwrite: bool = False,
    note: Note = lambda line: None,
) -> tuple[RunConfig, Loaded | None]:
    """The complete config of a run: with what it inherits from its initial model, then `settings` applied.

    A run that has begun in `workdir` is asked first, so that it resumes without the model; with `overwrite` the model
    is.

    Args:
      config: with `init` set, where there is one.
      workdir: of the run.
      tokenizer: directory of the rows' tokenizer, or of a run that has one; with an initial model, a new vocabulary.
      settings: `--set` strings.
      overwrite: what has begun in `workdir` counts for nothing.
      note: is told what is inherited.

    Returns:
      The config, which inherits nothing any more, and the model, if it had to be opened.

    Raises:
      InputError: there is no model, tokenizer or rows to inherit from.
    """
    wanted = apply_overrides(config, list(settings))
    if tokenizer is not None:
        data = dataclasses.replace(config.data, tokenizer=str(Tokenizer.place(tokenizer)))
        config = dataclasses.replace(config, data=data, init_vocabulary="new" if wanted.init else "same")
        wanted = apply_overrides(config, list(settings))
    if not wanted.init:
        for field, without in (("inherit", "nothing"), ("init_vocabulary", "same")):
            if getattr(wanted, field) != without:
                raise InputError(
                    f"{field} is {getattr(wanted, field)}, and there is no initial model",
                    where=f"config {wanted.name}",
                    fix="Pass --init MODEL.",
                )
    if wanted.inherit == "nothing" and tokenizer is None:
        return wanted, None
    begun = None if overwrite else _begun(wanted, workdir)
    initial = load(wanted.init, note=note) if begun is None and wanted.inherit != "nothing" else None
    if begun is not None:
        config = _as_begun(config, wanted, begun)
    elif initial is None:
        vocab_size = Tokenizer.load(wanted.data.tokenizer).vocab_size
        config = dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, vocab_size=vocab_size))
    else:
        config = _with_encoder_of(initial, config, wanted)
        if wanted.inherit == "all":
            config = _with_objectives_of(initial, config, wanted, note)
    return dataclasses.replace(apply_overrides(config, list(settings)), inherit="nothing"), initial


def _begun(wanted: RunConfig, workdir: Path) -> RunConfig | None:
    """The config of the run in `workdir`, if it began from the same model and tokenizer."""
    try:
        saved = load_json(workdir / "config.json")
    except InputError:
        return None

    def start(config: RunConfig) -> Any:
        phases = [phase.name for phase in config.phases]
        return config.name, config.init, config.init_vocabulary, config.data.tokenizer, phases

    return saved if start(saved) == start(wanted) else None


def _as_begun(config: RunConfig, wanted: RunConfig, begun: RunConfig) -> RunConfig:
    """`config` with what the run inherited when it began."""
    if wanted.inherit == "nothing":
        encoder = dataclasses.replace(config.encoder, vocab_size=begun.encoder.vocab_size)
        return dataclasses.replace(config, encoder=encoder)
    config = dataclasses.replace(config, encoder=begun.encoder)
    if wanted.inherit == "encoder":
        return config
    data = dataclasses.replace(
        config.data,
        policy=begun.data.policy,
        tokenizer_kind=begun.data.tokenizer_kind,
        lowercase=begun.data.lowercase,
    )
    phases = tuple(
        dataclasses.replace(phase, length=was.length) for phase, was in zip(config.phases, begun.phases, strict=True)
    )
    return dataclasses.replace(config, objectives=begun.objectives, data=data, phases=phases)


def _with_encoder_of(initial: Loaded, config: RunConfig, wanted: RunConfig) -> RunConfig:
    """`config` with the model's encoder and the rows' vocabulary; remat and padding stay the config's."""
    vocab_size = _vocab_size(initial)
    if wanted.init_vocabulary == "new":
        named = [source.path for phase in wanted.phases for source in phase.rows]
        if wanted.data.tokenizer:
            vocab_size = Tokenizer.load(wanted.data.tokenizer).vocab_size
        elif named:
            vocab_size = read_manifest(local(named[0]), "rows")["vocab_size"]
    encoder = dataclasses.replace(
        initial.config,
        vocab_size=vocab_size,
        vocab_multiple=config.encoder.vocab_multiple,
        remat=config.encoder.remat,
    )
    return dataclasses.replace(config, encoder=encoder)


def _with_objectives_of(initial: Loaded, config: RunConfig, wanted: RunConfig, note: Note) -> RunConfig:
    """`config` with the objectives that the model's family pretrains with and it has the heads of.

    Rows that are named decide on the lengths, and on the objectives that can learn from them; else the policy follows
    the objectives, and no row is longer than the positions.
    """
    family = _recipe_of(initial)
    encoder = dataclasses.replace(config.encoder, family=family)
    recipe = _recipe(family)
    manifests = [read_manifest(Path(phase.rows[0].path), "rows") if phase.rows else None for phase in wanted.phases]
    policies = {manifest["policy"] for manifest in manifests if manifest is not None}
    beside: dict[str, Any] = {}
    for name in _BESIDE:
        part = getattr(recipe.objectives, name)
        kept = part is not None and name in initial.params and policies <= set(OBJECTIVES[name].policies)
        beside[name] = part if kept else None
    if beside["span_boundary"] is not None:
        beside["span_boundary"] = SpanBoundaryConfig(
            weight=beside["span_boundary"].weight, **head_sizes(initial.params)["span_boundary"]
        )
    assert recipe.objectives.masked_lm is not None
    masked = dataclasses.replace(recipe.objectives.masked_lm, weight=1.0)
    objectives = ObjectivesConfig(masked_lm=masked, **beside)
    policy = recipe.data.policy
    if policy in PAIRS and beside["next_sentence"] is None and beside["sentence_order"] is None:
        policy = "full_sentences"
    data = dataclasses.replace(config.data, policy=policy)
    if initial.tokenizer is not None:
        kind: Any = initial.tokenizer.kind
        data = dataclasses.replace(data, tokenizer_kind=kind, lowercase=initial.tokenizer.lowercase)
    phases = tuple(
        dataclasses.replace(
            phase,
            length=min(phase.length, encoder.longest_row) if manifest is None else manifest["length"],
        )
        for phase, manifest in zip(config.phases, manifests, strict=True)
    )
    terms = ["masked LM", *(name.replace("_", " ") for name in _BESIDE if beside[name] is not None)]
    note(
        f"adapting {initial.source}: {family}, {encoder.num_layers} layers x {encoder.hidden_size}, "
        f"{encoder.vocab_size} pieces; {', '.join(terms)}; rows of {', '.join(sorted(policies)) or policy}"
    )
    return dataclasses.replace(config, encoder=encoder, objectives=objectives, data=data, phases=phases)


def _recipe(family: str) -> RunConfig:
    """The config that says what `family` pretrains with; masked LM alone for one that has none."""
    name = f"{family}_base"
    if name in config_names():
        return find_config(name)
    return RunConfig(name=name, objectives=ObjectivesConfig(next_sentence=None))


def _recipe_of(initial: Loaded) -> str:
    """The model's family, or another of the same files whose heads it has: SpanBERT's files say BERT."""
    own = initial.config.family
    alike = [name for name in FAMILIES if FAMILIES[name].model_type == FAMILIES[own].model_type]

    def heads(name: str) -> set[str]:
        objectives = dataclasses.replace(_recipe(name).objectives, distillation=None)
        return set(heads_of(make_objectives(objectives, initial.config, length=8, slots=1)))

    whole = [name for name in alike if heads(name) <= initial.params.keys()]
    return own if own in whole or not whole else whole[0]


# ----------------------------------------------------------------------------------------------------------------------
# The model


def load_initial(config: RunConfig, initial: Loaded | None = None, note: Note = lambda line: None) -> Loaded:
    """The model that a run starts from, checked against it; nothing has been touched.

    Args:
      config: of the run; complete.
      initial: the model, where it is open already.
      note: is told what its files have that is left out.

    Raises:
      InputError: there is none, or its encoder computes something else, or has another vocabulary, fewer positions or
        heads of other sizes.
    """
    initial = initial or load(config.init, note=note)
    where = f"--init {config.init}"
    _check_encoder(config.encoder, initial.config, where)
    _check_positions(config.encoder, initial.config, config.init_positions, where)
    if config.init_vocabulary == "same":
        _check_same_vocabulary(config, initial, where)
    elif initial.tokenizer is None:
        raise InputError(
            "the initial model has no tokenizer whose pieces a new vocabulary could start from",
            where=where,
            fix="Copy its tokenizer files beside it.",
        )
    for head, leaves in _shapes(config).items():
        if head == "encoder" or head not in initial.params:
            continue
        for path, like in _flat(leaves, head):
            found = dict(_flat(initial.params[head], head)).get(path)
            axis = 1 if path in _vocabulary(config.encoder) else 0
            if found is None or found.shape[axis:] != like.shape[axis:]:
                shape = "missing" if found is None else " x ".join(map(str, found.shape))
                raise InputError(
                    f"{path} is {' x '.join(map(str, like.shape))} in the run and {shape} in the initial model",
                    where=where,
                    fix=f"Give objectives.{head} its sizes, or take them from the model: --set inherit=all.",
                )
    return initial


def _check_encoder(mine: EncoderBase, other: EncoderBase, where: str) -> None:
    free = _FREE | _FITTED
    if FAMILIES[mine.family].model_type == FAMILIES[other.family].model_type:
        free = free | {"family"}  # SpanBERT's files are BERT's.
    names = [field.name for field in dataclasses.fields(mine) if field.name not in free]
    wrong = [name for name in names if getattr(mine, name) != getattr(other, name)]
    if wrong:
        differences = [
            f"encoder.{name} is {getattr(mine, name)}, the initial model has {getattr(other, name)}" for name in wrong
        ]
        settings = " ".join(f"encoder.{name}={getattr(other, name)}" for name in wrong)
        raise InputError(
            "; ".join(differences),
            where=where,
            fix=f"Take the model's encoder, --set inherit=encoder (or the config `adapt`), or set {settings}.",
        )


def _check_positions(mine: EncoderBase, other: EncoderBase, how: InitPositions, where: str) -> None:
    if mine.max_positions > other.max_positions and how == "refuse":
        raise InputError(
            f"encoder.max_positions is {mine.max_positions}, the initial model has {other.max_positions}",
            where=where,
            fix="Say where the others start: --set init_positions=tile (the table again and again) or "
            f"init_positions=interpolate; or set encoder.max_positions={other.max_positions}.",
        )


def _check_same_vocabulary(config: RunConfig, initial: Loaded, where: str) -> None:
    size, tokenizer = config.encoder.vocab_size, initial.tokenizer
    rows, speaks = initial.config.vocab_size, _vocab_size(initial)
    if size not in (rows, speaks):
        raise InputError(
            f"encoder.vocab_size is {size}, the initial model has {rows}",
            where=where,
            fix=f"Set encoder.vocab_size={speaks}, or begin with a new vocabulary: --tokenizer DIR.",
        )
    makes_rows = any(not phase.rows for phase in config.phases)
    if makes_rows and not config.data.tokenizer and tokenizer is None:
        raise InputError(
            "the initial model has no tokenizer to make the rows with",
            where=where,
            fix="Copy its tokenizer files beside it, or name them: --set data.tokenizer=DIR.",
        )
    if makes_rows and config.data.tokenizer and tokenizer is not None:
        _check_same(tokenizer, Tokenizer.load(config.data.tokenizer), where)


def _vocab_size(initial: Loaded) -> int:
    """Of the model's tokenizer: a table may have rows beyond it."""
    return initial.config.vocab_size if initial.tokenizer is None else initial.tokenizer.vocab_size


def _check_same(mine: Tokenizer, rows: Tokenizer, where: str) -> None:
    if mine.hash != rows.hash:
        raise InputError(
            "the initial model has another tokenizer than the rows",
            where=where,
            fix="Prepare the rows with its tokenizer, or begin with a new vocabulary: --tokenizer DIR of the rows' "
            "tokenizer.",
        )


def check_tokenizer(config: RunConfig, initial: Loaded, tokenizer: Tokenizer) -> None:
    """Whether the rows have the tokenizer that the run's start is made for.

    Args:
      config: of the run.
      initial: the model it starts from.
      tokenizer: of the rows.

    Raises:
      InputError: they are not of the model's vocabulary, as far as it has a tokenizer to tell, or, with a new
        vocabulary, not of the one that is named.
    """
    if config.init_vocabulary == "new":
        check_named_tokenizer(config, tokenizer)
    elif initial.tokenizer is not None:
        _check_same(initial.tokenizer, tokenizer, f"--init {config.init}")


def check_named_tokenizer(config: RunConfig, tokenizer: Tokenizer) -> None:
    """Raises InputError where a tokenizer is named that is not `tokenizer`, the rows'."""
    if config.data.tokenizer and Tokenizer.load(config.data.tokenizer).hash != tokenizer.hash:
        raise InputError(
            "the rows have another tokenizer than the one that is named",
            where=f"--tokenizer {config.data.tokenizer}",
            fix="Prepare the rows with it, or name theirs.",
        )


def tokenizer_for_rows(config: RunConfig, initial: Loaded | None) -> Tokenizer | None:
    """The tokenizer that a run makes its rows with, where that is the initial model's."""
    if initial is None or config.data.tokenizer or config.init_vocabulary == "new":
        return None
    return initial.tokenizer


# ----------------------------------------------------------------------------------------------------------------------
# The parameters


def start_from(initial: Loaded, config: RunConfig, tokenizer: Tokenizer, state: Any, note: Note) -> Any:
    """The fresh `state` with the model's parameters in place of its own, where the model has them."""
    fitted = fitted_parameters(initial, config, tokenizer, note)
    params = dict(state["params"])
    for name in params:
        if name in fitted:
            params[name] = jax.tree.map(
                lambda value, like: jax.device_put(value, like.sharding), fitted[name], params[name]
            )
        else:
            note(f"--init has no {name}: it starts at random")
    return {**state, "params": params}


def fitted_parameters(initial: Loaded, config: RunConfig, tokenizer: Tokenizer, note: Note) -> Params:
    """The model's parameters in the shapes of the run's: host arrays in float32, of the heads that both have.

    Args:
      initial: as `load_initial` gives it.
      config: of the run.
      tokenizer: of its rows.
      note: is told what is changed or left out.
    """
    encoder, old = config.encoder, initial.config
    shapes = _shapes(config)
    left_out = [name for name in initial.params if name not in shapes]
    if left_out:
        note(f"--init has heads that this run does not train, which it leaves out: {', '.join(left_out)}")
    sources = None
    if config.init_vocabulary == "new":
        assert initial.tokenizer is not None
        sources = transfer(initial.tokenizer, tokenizer)
        note(sources.line())
    elif old.vocab_size > encoder.vocab_size:
        note(f"rows of the vocabulary beyond the tokenizer's {encoder.vocab_size} are left out (of {old.vocab_size})")
    if encoder.max_positions > old.max_positions:
        verb = {"tile": "tiled", "interpolate": "interpolated"}[config.init_positions]
        note(f"positions: {old.max_positions} {verb} to {encoder.max_positions}")
    elif encoder.max_positions < old.max_positions:
        note(f"positions: the first {encoder.max_positions} of {old.max_positions}")
    vocabulary = _vocabulary(encoder)

    def fit(path: str, value: Any, like: Any) -> Array:
        array = np.asarray(value, np.float32)
        if path in vocabulary:
            array = array[: old.vocab_size]
            array = array[: encoder.vocab_size] if sources is None else sources.rows(array)
            return with_rows(array, like.shape[0])
        if path == _POSITIONS:
            return resized_positions(array, like.shape[0], encoder.position_offset, config.init_positions)
        assert array.shape == like.shape, path
        return array

    return {
        part: jax.tree_util.tree_map_with_path(
            lambda keys, like, value, part=part: fit(f"{part}/{path_of(keys)}", value, like),
            shapes[part],
            initial.params[part],
        )
        for part in shapes
        if part in initial.params
    }


def resized_positions(table: Array, rows: int, offset: int, how: InitPositions) -> Array:
    """A position table (P, E) with `rows` rows; the first `offset` of them, of no token, stay what they are.

    Args:
      table: the model's.
      rows: with fewer, the first are kept.
      offset: `EncoderBase.position_offset`.
      how: with more: `tile` the rest again and again, or `interpolate` it: ends on ends, linear between.
    """
    if rows <= len(table):
        return table[:rows]
    kept, used, count = table[:offset], table[offset:], rows - offset
    if how == "tile":
        return np.concatenate([kept, used[np.arange(count) % len(used)]])
    place = np.arange(count) * ((len(used) - 1) / (count - 1))
    below = np.minimum(place.astype(np.int64), len(used) - 1)
    above = np.minimum(below + 1, len(used) - 1)
    share = (place - below).astype(np.float32)[:, None]
    return np.concatenate([kept, used[below] * (1 - share) + used[above] * share])


def _vocabulary(encoder: EncoderBase) -> set[str]:
    """Paths of the parameters whose first axis is the vocabulary."""
    return {name.ours for name in FAMILIES[encoder.family].names(encoder) if name.vocabulary}


@functools.lru_cache(maxsize=1)  # Asked twice for each run.
def _shapes(config: RunConfig) -> Mapping[str, Any]:
    """The run's parameters as ShapeDtypeStruct, by part."""
    model = make_model(config, phase_objectives(config, config.phases[0]))
    shapes: Mapping[str, Any] = jax.eval_shape(lambda: model.init(jax.random.key(0)))
    return shapes


def _flat(tree: Any, part: str) -> Iterable[tuple[str, Any]]:
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        yield f"{part}/{path_of(keys)}", leaf
