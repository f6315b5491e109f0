"""The parameters with which a run with `--init MODEL` starts.

Domain adaptation is a run that starts from a model. Its vocabulary may be the model's or a new one. It may have more or
fewer positions, other padding and other heads. The rest of the encoder must be the model's, or the run is refused. A
run needs the model until its first checkpoint is committed. After that it needs only its workdir.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from jaxbert.config import (
    EncoderBase,
    InitPositions,
    RunConfig,
)
from jaxbert.convert.read import Labels
from jaxbert.core.parameters import Params, path_of, with_rows
from jaxbert.core.shapes import shapes_of
from jaxbert.errors import InputError
from jaxbert.inputs.values import short
from jaxbert.models.families import FAMILIES
from jaxbert.run.inherit import vocab_size_of
from jaxbert.tasks import kind_of_task, make_task
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.text.transfer import transfer
from jaxbert.use.library import Loaded, load

Array = NDArray[Any]
_log = logging.getLogger(__name__)

# Fields of the encoder in which a run may differ from the model it starts from.
_FREE = {"dropout", "attention_dropout", "initializer_range", "initializer", "position_init", "remat", "vocab_multiple"}
# Fields that have separate checks: the sizes of tables that are fitted.
_FITTED = {"vocab_size", "max_positions"}
_POSITIONS = "encoder/embeddings/position/table"


# ----------------------------------------------------------------------------------------------------------------------
# The model


def load_initial(config: RunConfig, initial: Loaded | None = None) -> Loaded:
    """Returns the model that a run starts from, checked against the run. It touches no file of the user.

    Args:
      config: the complete config of the run.
      initial: the model, where it is open already.

    Raises:
      InputError: there is no such model, its encoder computes something else, or it has another vocabulary, fewer
        positions or heads of other sizes.
    """
    initial = without_other_labels(config, initial or load(config.init))
    where = f"--init {config.init}"
    _check_encoder(config.encoder, initial.config, where)
    _check_positions(config.encoder, initial.config, config.init_positions, where)
    if config.init_vocabulary == "same":
        _check_same_vocabulary(config, initial, where)
    elif initial.tokenizer is None:
        raise InputError(
            "a new vocabulary starts from the pieces of the initial model's tokenizer, but the model has no tokenizer",
            where=where,
            fix="Copy its tokenizer files beside it.",
            code="E-RUN-INIT-TOKENIZER",
        )
    shapes = _shapes(config)
    paths = [{path for path, _ in _flat(tree.get("encoder", {}), "encoder")} for tree in (shapes, initial.params)]
    if paths[0] != paths[1]:
        raise InputError(
            f"the parts of the task {config.task.name} ({', '.join(shapes)}) are not an encoder and heads",
            where=where,
            fix="Leave --init out.",
            code="E-RUN-INIT-PARTS",
        )
    for head, leaves in shapes.items():
        if head == "encoder" or head not in initial.params:
            continue
        for path, like in _flat(leaves, head):
            found = dict(_flat(initial.params[head], head)).get(path)
            axis = 1 if path in _vocabulary(config.encoder) else 0
            if found is None or found.shape[axis:] != like.shape[axis:]:
                shape = "missing" if found is None else " x ".join(map(str, found.shape))
                raise InputError(
                    f"{path} is {' x '.join(map(str, like.shape))} in the run, but {shape} in the initial model",
                    where=where,
                    fix=f"Give objectives.{head} its sizes, or take them from the model: --set inherit=all.",
                    code="E-RUN-INIT-HEAD",
                )
    return initial


def without_other_labels(config: RunConfig, initial: Loaded) -> Loaded:
    """Returns the model without its classifier where that is for other labels than the run has.

    Logits mean what the names of the labels say, so a head for other names is no better than a random one.
    """
    labels = kind_of_task(config).labels
    mine = labels(config) if labels is not None else None
    theirs = initial.labels
    heads = [name for name in getattr(make_task(config, config.phases[-1]).parts, "heads", ()) if name in _CLASSIFIERS]
    there = [name for name in heads if name in initial.params]
    if mine is None or not there or (theirs is not None and theirs.names == mine[0] and _same_problem(mine[1], theirs)):
        return initial
    names = f" ({_some(theirs.names)})" if theirs is not None and theirs.names else ""
    _log.info(f"the model of --init has a {there[0]} for other labels{names}, which this run leaves out")
    return initial.with_parts({name: part for name, part in initial.params.items() if name not in there}, None)


# The heads whose outputs have names.
_CLASSIFIERS = ("sequence_classification", "token_classification")
_NAMED = 6


def _same_problem(problem: str, theirs: Labels) -> bool:
    return not problem or not theirs.problem_type or problem == theirs.problem_type


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(short, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")


def _check_encoder(mine: EncoderBase, other: EncoderBase, where: str) -> None:
    free = _FREE | _FITTED
    if FAMILIES[mine.family].model_type == FAMILIES[other.family].model_type:
        free = free | {"family"}  # SpanBERT's files are BERT's.
    names = [field.name for field in dataclasses.fields(mine) if field.name not in free]
    wrong = [name for name in names if getattr(mine, name) != getattr(other, name)]
    if wrong:
        differences = [
            f"encoder.{name} is {getattr(mine, name)}, but the initial model has {getattr(other, name)}"
            for name in wrong
        ]
        settings = " ".join(f"encoder.{name}={getattr(other, name)}" for name in wrong)
        raise InputError(
            "; ".join(differences),
            where=where,
            fix=f"Take the model's encoder, --set inherit=encoder (or the config `adapt`), or set {settings}.",
            code="E-RUN-INIT-ENCODER",
        )


def _check_positions(mine: EncoderBase, other: EncoderBase, how: InitPositions, where: str) -> None:
    if mine.max_positions > other.max_positions and how == "refuse":
        raise InputError(
            f"encoder.max_positions is {mine.max_positions}, but the initial model has {other.max_positions}",
            where=where,
            fix="Say how the new positions start: --set init_positions=tile (the table again and again) or "
            f"init_positions=interpolate; or set encoder.max_positions={other.max_positions}.",
            code="E-RUN-INIT-POSITIONS",
        )


def _check_same_vocabulary(config: RunConfig, initial: Loaded, where: str) -> None:
    size, tokenizer = config.encoder.vocab_size, initial.tokenizer
    rows, pieces = initial.config.vocab_size, vocab_size_of(initial)
    if size not in (rows, pieces):
        raise InputError(
            f"encoder.vocab_size is {size}, but the initial model has {rows}",
            where=where,
            fix=f"Set encoder.vocab_size={pieces}, or begin with a new vocabulary: --tokenizer DIR.",
            code="E-RUN-INIT-VOCABULARY",
        )
    makes_rows = any(not phase.rows for phase in config.phases)
    if makes_rows and not config.data.tokenizer and tokenizer is None:
        raise InputError(
            "the initial model has no tokenizer to make the rows with",
            where=where,
            fix="Copy its tokenizer files beside it, or name them: --set data.tokenizer=DIR.",
            code="E-RUN-INIT-TOKENIZER",
        )
    if makes_rows and config.data.tokenizer and tokenizer is not None:
        _check_same(tokenizer, Tokenizer.load(config.data.tokenizer), where)


def _check_same(mine: Tokenizer, rows: Tokenizer, where: str) -> None:
    if mine.hash != rows.hash:
        raise InputError(
            "the initial model has another tokenizer than the rows",
            where=where,
            fix="Prepare the rows with its tokenizer, or begin with a new vocabulary: --tokenizer DIR of the rows' "
            "tokenizer.",
            code="E-ROWS-TOKENIZER",
        )


def check_tokenizer(config: RunConfig, initial: Loaded, tokenizer: Tokenizer) -> None:
    """Checks that the rows have the tokenizer for which the parameters are fitted.

    Args:
      config: the config of the run.
      initial: the model that the run starts from.
      tokenizer: the rows' tokenizer.

    Raises:
      InputError: the rows have another vocabulary than the model's tokenizer, or, with a new vocabulary, than the
        tokenizer that is named.
    """
    if config.init_vocabulary == "new":
        check_named_tokenizer(config, tokenizer)
    elif initial.tokenizer is not None:
        _check_same(initial.tokenizer, tokenizer, f"--init {config.init}")


def check_named_tokenizer(config: RunConfig, tokenizer: Tokenizer) -> None:
    """Raises InputError where the config names another tokenizer than `tokenizer`, which is that of the rows."""
    if config.data.tokenizer and Tokenizer.load(config.data.tokenizer).hash != tokenizer.hash:
        raise InputError(
            "the rows have another tokenizer than the config names",
            where=f"--tokenizer {config.data.tokenizer}",
            fix="Prepare the rows with this tokenizer, or name that of the rows.",
            code="E-ROWS-TOKENIZER",
        )


def tokenizer_for_rows(config: RunConfig, initial: Loaded | None) -> Tokenizer | None:
    """Returns the initial model's tokenizer, where a run makes its rows with it; else None."""
    if initial is None or config.data.tokenizer or config.init_vocabulary == "new":
        return None
    return initial.tokenizer


# ----------------------------------------------------------------------------------------------------------------------
# The parameters


def start_from(initial: Loaded, config: RunConfig, tokenizer: Tokenizer, state: Any) -> Any:
    """Returns the fresh `state` in which the model's parameters replace those that the model has."""
    fitted = fitted_parameters(initial, config, tokenizer)
    params = dict(state["params"])
    for name in params:
        if name in fitted:
            params[name] = jax.tree.map(
                lambda value, like: jax.device_put(value, like.sharding), fitted[name], params[name]
            )
        else:
            _log.info(f"--init has no {name}: it starts at random")
    return {**state, "params": params}


def fitted_parameters(initial: Loaded, config: RunConfig, tokenizer: Tokenizer) -> Params:
    """Returns the model's parameters in the shapes of the run: host arrays in float32, of the heads that both have.

    Args:
      initial: the model that `load_initial` returns.
      config: the config of the run.
      tokenizer: the tokenizer of its rows.
    """
    encoder, old = config.encoder, initial.config
    shapes = _shapes(config)
    left_out = [name for name in initial.params if name not in shapes]
    if left_out:
        _log.info(f"the model of --init has heads that this run leaves out: {', '.join(left_out)}")
    sources = None
    if config.init_vocabulary == "new":
        assert initial.tokenizer is not None
        sources = transfer(initial.tokenizer, tokenizer)
        _log.info(sources.line())
    elif old.vocab_size > encoder.vocab_size:
        _log.info(
            f"the embedding table has {old.vocab_size} rows; those after the tokenizer's {encoder.vocab_size} pieces "
            "are left out"
        )
    if encoder.max_positions > old.max_positions:
        verb = {"tile": "tiled", "interpolate": "interpolated"}[config.init_positions]
        _log.info(f"positions: {old.max_positions} {verb} to {encoder.max_positions}")
    elif encoder.max_positions < old.max_positions:
        _log.info(f"positions: the first {encoder.max_positions} of {old.max_positions}")
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
    """Returns a position table (P, E) with `rows` rows. The first `offset` rows belong to no token and do not change.

    Args:
      table: the model's.
      rows: the number of rows. With fewer rows, the first are kept.
      offset: `EncoderBase.position_offset`.
      how: with more rows: `tile` repeats the rest, `interpolate` stretches it: ends on ends, linear between.
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
    """Returns the paths of the parameters whose first axis is the vocabulary."""
    return {name.ours for name in FAMILIES[encoder.family].names(encoder) if name.vocabulary}


@functools.lru_cache(maxsize=1)  # A run asks twice.
def _shapes(config: RunConfig) -> Mapping[str, Any]:
    """Returns the run's parameters as ShapeDtypeStruct, by part."""
    return shapes_of(make_task(config, config.phases[0]).parts.init)


def _flat(tree: Any, part: str) -> Iterable[tuple[str, Any]]:
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        yield f"{part}/{path_of(keys)}", leaf
