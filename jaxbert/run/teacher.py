"""The teacher of a distilled run: the run finds it or trains it first, and the student may start from its layers."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import TRAINED_FIRST, DistillationConfig, RunConfig, find_config
from jaxbert.core.parameters import Params, with_rows
from jaxbert.errors import InputError
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.library import Loaded, load

_HEAD = "masked_lm"


@dataclasses.dataclass(frozen=True)
class Teacher:
    """The source of a run's teacher.

    Attributes:
      model: MODEL; the workdir of a teacher that is trained first.
      run: the config of a teacher that is trained first.
      loaded: the model, if it exists already.
    """

    model: str
    run: RunConfig | None = None
    loaded: Loaded | None = None


def resolve(config: RunConfig, workdir: Path) -> tuple[RunConfig, Teacher | None]:
    """Returns `config` with the teacher's encoder in its place, and the teacher. Trains nothing.

    A run that makes its rows and names no tokenizer takes that of the teacher.

    Raises:
      InputError: the teacher does not exist, or it has no masked-LM head or no tokenizer.
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
        assert loaded.path is not None, "what `load` returns has been read from a directory"
        encoder, tokenizer = loaded.config, Tokenizer.place(loaded.path)
        teacher = Teacher(name, loaded=loaded)
    found = dataclasses.replace(distillation, encoder=encoder)
    config = dataclasses.replace(config, objectives=dataclasses.replace(config.objectives, distillation=found))
    # The tokenizer of a teacher that is trained first does not exist yet.
    if config.data.source and not config.data.tokenizer and (teacher.run is not None or Tokenizer.present(tokenizer)):
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, tokenizer=str(tokenizer)))
    return config, teacher


def load_teacher(name: str) -> Loaded:
    """Loads the teacher. Raises InputError where it has no masked-LM head or no tokenizer."""
    loaded = load(name)
    loaded.require(_HEAD)
    if loaded.tokenizer is None:
        raise InputError(
            "the teacher has no tokenizer",
            where=name,
            fix="Copy its tokenizer files into its directory.",
            code="E-MODEL-NO-TOKENIZER",
        )
    return loaded


def fingerprint(params: Params) -> str:
    """Returns the hex sha256 of all parameters."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        digest.update(f"{jax.tree_util.keystr(path)}{leaf.shape}".encode())
        digest.update(np.ascontiguousarray(np.asarray(leaf, np.float32)).tobytes())
    return digest.hexdigest()


def frozen_parameters(teacher: Loaded, like: Any) -> Any:
    """Returns the teacher's encoder and masked-LM head as `frozen` takes them.

    Args:
      teacher: the model.
      like: tree of ShapeDtypeStruct with shardings (`Program.frozen["teacher"]`), in bfloat16. Its vocabulary is padded
        as that of the student.
    """
    given = {name: teacher.params[name] for name in ("encoder", _HEAD)}

    def put(leaf: Any, target: jax.ShapeDtypeStruct) -> jax.Array:
        host = np.asarray(with_rows(np.asarray(leaf), target.shape[0]), jnp.bfloat16)
        return jax.make_array_from_callback(target.shape, target.sharding, lambda index: host[index])

    return jax.tree.map(put, given, like)


def student_start(config: DistillationConfig, teacher: Loaded, params: Params) -> Params:
    """Returns `params` of the student, some of them replaced by those of the teacher, as host arrays.

    These start from the teacher: word and position embeddings with their LayerNorm (token types where both have them),
    the chosen layers, and the output bias of the masked-LM head; with `transform` all of that head. The original does
    so in scripts/extract_distilbert.py.
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
    """Returns their tree in my shapes. It keeps my leaf if theirs is missing or differs by more than padding."""
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
            fix="Prepare the rows with the teacher's tokenizer, or take a teacher that has the rows' tokenizer.",
            code="E-RUN-TEACHER-VOCABULARY",
        )
