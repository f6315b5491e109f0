"""The teacher of a distilled run: found, or trained first; its parameters in `frozen`, and in the student's start."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import DistillationConfig, RunConfig, find_config
from jaxbert.core.parameters import Params, with_rows
from jaxbert.errors import InputError
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.library import Loaded, load

TRAINED_FIRST = "config:"
_HEAD = "masked_lm"


@dataclasses.dataclass(frozen=True)
class Teacher:
    """Where a run's teacher comes from.

    Attributes:
      model: MODEL; of one that is trained first, its workdir.
      run: the run that makes it, where it is trained first.
      loaded: the model, where it is there already.
    """

    model: str
    run: RunConfig | None = None
    loaded: Loaded | None = None


def resolve(config: RunConfig, workdir: Path) -> tuple[RunConfig, Teacher | None]:
    """`config` with the teacher's encoder in its place, and the teacher; nothing is trained yet.

    A run that makes its rows and names no tokenizer takes the teacher's.

    Raises:
      InputError: there is no such teacher, or it has no masked-LM head or no tokenizer.
    """
    distillation = config.objectives.distillation
    if distillation is None or not distillation.teacher:
        return config, None
    name = distillation.teacher
    if name.startswith(TRAINED_FIRST):
        run = find_config(name.removeprefix(TRAINED_FIRST))
        if config.data.source:
            run = dataclasses.replace(run, data=dataclasses.replace(run.data, source=config.data.source))
        if workdir.name in ("", ".."):
            workdir = workdir.resolve()
        encoder, place = run.encoder, workdir.with_name(f"{workdir.name}-teacher")
        teacher = Teacher(str(place), run=run)
        tokenizer = place / "tokenizer"
    else:
        loaded = load_teacher(name)
        encoder, tokenizer = loaded.config, Tokenizer.place(name)
        teacher = Teacher(name, loaded=loaded)
    found = dataclasses.replace(distillation, encoder=encoder)
    config = dataclasses.replace(config, objectives=dataclasses.replace(config.objectives, distillation=found))
    # That of a teacher that is trained first is not there yet; one of the hub has none here.
    if config.data.source and not config.data.tokenizer and (teacher.run is not None or Tokenizer.present(tokenizer)):
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, tokenizer=str(tokenizer)))
    return config, teacher


def load_teacher(name: str) -> Loaded:
    """The teacher; InputError where it has no masked-LM head or no tokenizer."""
    loaded = load(name)
    loaded.require(_HEAD)
    if loaded.tokenizer is None:
        raise InputError("the teacher has no tokenizer", where=name, fix="Copy its tokenizer files beside it.")
    return loaded


def fingerprint(params: Params) -> str:
    """Hex sha256 of all parameters."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        digest.update(f"{jax.tree_util.keystr(path)}{leaf.shape}".encode())
        digest.update(np.ascontiguousarray(np.asarray(leaf, np.float32)).tobytes())
    return digest.hexdigest()


def frozen_parameters(teacher: Loaded, like: Any) -> Any:
    """The teacher's encoder and masked-LM head as `frozen` takes them.

    Args:
      teacher: the model.
      like: tree of ShapeDtypeStruct with shardings (`Program.frozen["teacher"]`): bfloat16, the vocabulary padded as
        the student's is.
    """
    given = {name: teacher.params[name] for name in ("encoder", _HEAD)}

    def put(leaf: Any, target: jax.ShapeDtypeStruct) -> jax.Array:
        host = np.asarray(with_rows(np.asarray(leaf), target.shape[0]), jnp.bfloat16)
        return jax.make_array_from_callback(target.shape, target.sharding, lambda index: host[index])

    return jax.tree.map(put, given, like)


def student_start(config: DistillationConfig, teacher: Loaded, params: Params) -> Params:
    """`params` of the student with those that start from the teacher's in their place, as host arrays.

    Word and position embeddings with their LayerNorm (token types where both have them), the chosen layers, and of the
    masked-LM head the output bias, with `transform` all of it: scripts/extract_distilbert.py of the original.
    """
    theirs = teacher.params
    embeddings = {name: theirs["encoder"]["embeddings"].get(name) for name in params["encoder"]["embeddings"]}
    share = teacher.config.num_layers // teacher.config.distinct_layers
    chosen = np.array([layer // share for layer in config.layers])
    started: Params = {
        **params,
        "encoder": {
            "embeddings": {
                name: _fitting(mine, embeddings[name]) for name, mine in params["encoder"]["embeddings"].items()
            },
            "layers": jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], theirs["encoder"]["layers"]),
        },
    }
    head = dict(params[_HEAD])
    for name in head if config.transform else ("bias",):
        head[name] = _fitting(head[name], theirs[_HEAD][name])
    started[_HEAD] = head
    return started


def _fitting(mine: Any, theirs: Any) -> Any:
    """Their tree in the shapes of mine; mine where they have none, or one of other shapes (but for padding)."""
    if theirs is None:
        return mine
    shapes = [(a.shape[1:], b.shape[1:]) for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True)]
    if any(a != b for a, b in shapes):
        return mine
    return jax.tree.map(lambda a, b: with_rows(np.asarray(b), a.shape[0]), mine, theirs)


def check_vocabulary(teacher: Loaded, tokenizer_hash: str) -> None:
    """Raises InputError unless the teacher's tokenizer is the one of the rows."""
    assert teacher.tokenizer is not None
    if teacher.tokenizer.hash != tokenizer_hash:
        raise InputError(
            "the teacher has another vocabulary than the rows",
            where=f"objectives.distillation.teacher {teacher.source}",
            fix="Prepare the rows with the teacher's tokenizer, or take a teacher of theirs.",
        )
