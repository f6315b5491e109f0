"""Evaluates models on held-out rows with fixed draws: inside a run, and any model by `jaxbert evaluate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbert.config import (
    MaskedLMConfig,
    NextSentenceConfig,
    ObjectivesConfig,
    PhaseConfig,
    RunConfig,
    SentenceOrderConfig,
    SpanBoundaryConfig,
    load_json,
    phase_rows,
)
from jaxbert.core import metrics as naming
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import global_batch, replicated, single_device_mesh
from jaxbert.data.pipeline import FixedBatches, Rows
from jaxbert.data.staging import local
from jaxbert.errors import InputError
from jaxbert.evaluate.baselines import count_baselines
from jaxbert.models.model import head_sizes
from jaxbert.stores.checkpoint import load_params
from jaxbert.stores.workdir import workdir_of
from jaxbert.tasks import kind_of_task
from jaxbert.tasks.base import Frozen, Task, Term
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.training.step import Program, build
from jaxbert.use.library import Loaded, load
from jaxbert.use.model_place import find_model

_PRETRAINING = "pretraining"


def evaluate_rows(
    program: Program,
    params: Params,
    frozen: Frozen,
    rows: list[Rows],
    mesh: Mesh,
    *,
    config: RunConfig,
    moving: Callable[[str, bool], None] = lambda doing, compiling: None,
) -> dict[str, float]:
    """Returns the task's measures over validation rows with fixed draws, and "loss", the sum of the weighted terms.

    A term without an item in these rows, such as next sentence where no row has a pair, has no measures.

    Args:
      program: program of the phase whose length the rows have.
      params, frozen: parameters and tables on `mesh`.
      rows: validation splits.
      mesh: any mesh. The draws are the same bits on each.
      config: settings with batch size and number of batches.
      moving: function that is called before each batch, with its name and whether it may have to be compiled.
    """
    return evaluated(program, params, frozen, rows, mesh, config=config, moving=moving)[0]


def evaluated(
    program: Program,
    params: Params,
    frozen: Frozen,
    rows: list[Rows],
    mesh: Mesh,
    *,
    config: RunConfig,
    moving: Callable[[str, bool], None] = lambda doing, compiling: None,
    lengths: Sequence[int] = (),
) -> tuple[dict[str, float], dict[str, Term]]:
    """Returns the measures of `evaluate_rows`, and the terms of the loss, summed over all batches in float64.

    Args:
      program, params, frozen, rows, mesh, config, moving: see `evaluate_rows`.
      lengths: shorter lengths to which batches are cut.
    """
    task = program.task
    sums: dict[str, Term] | None = None
    judged: dict[str, float] = {}
    number = 0
    for split in rows:
        outputs, found, number = over_split(
            program, params, frozen, split, mesh, config=config, moving=moving, lengths=lengths, number=number
        )
        sums = found if sums is None else jax.tree.map(np.add, sums, found)
        if program.judge is not None:
            judged |= task.judge(outputs, split)
    assert sums is not None
    return {**measures(task, sums), **judged}, sums


def over_split(
    program: Program,
    params: Params,
    frozen: Frozen,
    rows: Rows,
    mesh: Mesh,
    *,
    config: RunConfig,
    moving: Callable[[str, bool], None] = lambda doing, compiling: None,
    lengths: Sequence[int] = (),
    number: int = 0,
) -> tuple[dict[str, np.ndarray], dict[str, Term], int]:
    """Returns the outputs of all rows of a split, by name, the summed terms, and the number of the next batch.

    Only tasks that judge (`Task.judges`) have outputs. They see every row, whatever `evaluation.batches` says.

    Args:
      program, params, frozen, mesh, config, moving, lengths: see `evaluated`.
      rows: the split.
      number: the number of its first batch, for the fixed draws.
    """
    task, batch_size, judge = program.task, config.evaluation.batch_size, program.judge
    limit = config.evaluation.batches if judge is None else 0
    batches = FixedBatches(rows, batch_size, limit=limit, collate=task.collate, lengths=lengths)
    longest = {name: rows.length for name in task.per_token}
    outputs: dict[str, np.ndarray] = {}
    sums: dict[str, Term] | None = None
    compiled: set[int] = set()
    for index in range(len(batches)):
        length = batches.length(index)
        moving(f"batch {number} of an evaluation", length not in compiled)
        compiled.add(length)
        batch = global_batch(
            mesh,
            lambda lo, hi, index=index: batches.read(index, lo, hi),
            batch_size,
            task.fields if length == rows.length else task.fields_at(length),
        )
        if judge is None:
            found = program.evaluate(params, frozen, batch, np.int32(number))
        else:
            found, of_rows = judge(params, frozen, batch, np.int32(number))
            _put(outputs, jax.device_get(of_rows), batches.index(index), len(rows), longest)
        # Sums in float64 on the host: as exact over a million rows as over ten.
        host = jax.tree.map(lambda x: np.asarray(x, np.float64), jax.device_get(found))
        sums = host if sums is None else jax.tree.map(np.add, sums, host)
        number += 1
    assert sums is not None
    return outputs, sums, number


def _put(
    outputs: dict[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    index: np.ndarray,
    rows: int,
    longest: Mapping[str, int],
) -> None:
    """Puts the outputs of a batch into the places of their rows.

    Args:
      outputs: of all rows, by name; an output that is missing is added, with 0 everywhere.
      found: of the batch, (B, ...), with rows behind `index` that fill it up.
      index: the number of each row.
      rows: the number of all rows.
      longest: L of the outputs (B, length of the batch, ...), by name.
    """
    for name, values in found.items():
        if name not in outputs:
            shape = (longest[name], *values.shape[2:]) if name in longest else values.shape[1:]
            outputs[name] = np.zeros((rows, *shape), values.dtype)
        cut: Any = (index, *(slice(0, size) for size in values.shape[1:]))
        outputs[name][cut] = values[: len(index)]


def measures(task: Task, sums: Mapping[str, Term]) -> dict[str, float]:
    """Returns the task's measures, and the loss, from sums over all batches; see `evaluate_rows`."""
    measured = {name: float(value) for name, value in task.measure(sums).items()}
    loss = 0.0
    for name in sums:
        loss += task.terms[name].weight * measured.get(f"{name}_loss", 0.0)
    return {"loss": loss, **measured}


def constant_answers(sums: Mapping[str, Term]) -> dict[str, float]:
    """Returns the accuracy of the better constant answer, by term, for the terms whose items are in two classes."""
    shares = {
        name: float(term.ones / term.weight) for name, term in sums.items() if term.ones is not None and term.weight
    }
    return {name: max(share, 1.0 - share) for name, share in shares.items()}


@dataclasses.dataclass(frozen=True)
class Judged:
    """A model to evaluate.

    Attributes:
      place: the directory of the run or of the published model.
      config: config of the run that made it. For a published model, a config with its encoder and its objectives.
      parts: the names of its parts, for example "encoder" and "masked_lm".
      tokenizer: the tokenizer of its rows.
      parameters: (program, mesh) -> the parameters as the program takes them.
    """

    place: Path
    config: RunConfig
    parts: Sequence[str]
    tokenizer: Tokenizer
    parameters: Callable[[Program, Mesh], Params]


def evaluate(model: str, rows: str | None = None, *, baselines: bool = False) -> dict[str, Any]:
    """Returns a model's losses and metrics on the validation split of some rows; `lines` describes them.

    Args:
      model: a run of any task, or anything else that `jaxbert.load` opens and that has a masked-LM head.
      rows: directory, or a URL of one; None takes the rows that the run was trained on.
      baselines: also what a constant guess, a left-bigram table and a two-sided count table, fitted on the rows' train
        split, score on the same masked tokens.

    Raises:
      InputError: no such model or rows, or rows of another tokenizer.
    """
    judged = _judged(model)
    directories = [local(rows)] if rows is not None else trained_rows(judged.place)
    splits = [Rows(directory, "validation", verify=True) for directory in directories]
    splits = [split for split in splits if len(split)]
    if not splits:
        raise InputError(
            "there are no validation rows",
            where=str(directories[0]),
            fix="Prepare more text, with a --validation-fraction above 0.",
            code="E-EVALUATE-NO-ROWS",
        )
    tokenizer = judged.tokenizer
    for split in splits:
        split.require(
            length=splits[0].length, vocab_size=judged.config.encoder.vocab_size, tokenizer_hash=tokenizer.hash
        )
    config = _on_one_device(judged, splits[0])
    if baselines and config.task.name != _PRETRAINING:
        raise InputError(
            f"the task {config.task.name} has no masked tokens that tables of counts could guess",
            where="--baselines",
            fix="Leave --baselines out.",
            code="E-EVALUATE-BASELINES",
        )
    mesh = single_device_mesh()
    program = build(config, mesh)
    task = program.task
    for split in splits:
        task.check_rows(split.manifest, str(split.directory))
    with jax.set_mesh(mesh):
        tables = task.tables(tokenizer, lambda: _train_rows(judged.place, directories[0]))
        measured, sums = evaluated(
            program,
            judged.parameters(program, mesh),
            replicated(mesh, tables),
            splits,
            mesh,
            config=config,
            lengths=judged.config.phases[-1].lengths,
        )
    found: dict[str, Any] = dict(measured)
    constant = constant_answers(sums)
    if constant:
        found["constant_answers"] = constant
    used = [FixedBatches(split, config.evaluation.batch_size, limit=config.evaluation.batches) for split in splits]
    found["rows"] = sum(min(len(split), len(part) * part.batch_size) for split, part in zip(splits, used, strict=True))
    found["evaluated"] = {
        "directories": [str(directory) for directory in directories],
        "rows_in_all": sum(map(len, splits)),
        "conditions": task.conditions,
        "terms": {name: info.title for name, info in task.terms.items()},
        "metrics": naming.to_json(task.metrics),
    }
    if baselines:
        found["baselines"] = count_baselines(config, splits[0].directory, tables)
    return found


def lines(found: Mapping[str, Any]) -> list[str]:
    """Returns what `evaluate` found, as lines for people."""
    about = found["evaluated"]
    metrics = naming.from_json(about["metrics"])
    conditions = f", {about['conditions']}" if about["conditions"] else ""
    written = [
        f"validation split of {', '.join(about['directories'])}, {found['rows']} of {about['rows_in_all']} rows"
        f"{conditions}:"
    ]
    for term, title in about["terms"].items():
        if f"{term}_loss" not in found:
            written.append(f"  {title}   nothing to judge: no row has an item of it")
            continue
        line = f"  {title}   loss {found[f'{term}_loss']:.4f}"
        for metric in metrics:
            if metric.name.startswith(f"{term}_"):
                line += f"   {metric.name.removeprefix(f'{term}_')} {metric.text(found[metric.name])}"
        if term in found.get("constant_answers", {}):
            line += f"   (a constant answer: {found['constant_answers'][term]:.1%})"
        written.append(line)
    of_no_term = [
        metric for metric in metrics if not any(metric.name.startswith(f"{term}_") for term in about["terms"])
    ]
    written += [f"  {one.title}   {one.text(found[one.name])}" for one in of_no_term if one.name in found]
    if "baselines" in found:
        several = len(about["directories"]) > 1
        where = f" of {about['directories'][0]}" if several else ""
        written.append(f"what counting scores on the same masked tokens{where}, fitted on the train split:")
        written += [f"  {name:<48}{accuracy:6.1%}" for name, accuracy in found["baselines"].items()]
        if "masked_lm_accuracy" in found:
            written.append(f"  {'this model':<48}{found['masked_lm_accuracy']:6.1%}")
    return written


def _run_of(model: Path) -> RunConfig | None:
    """Returns the config of the run that `model`, a workdir or a checkpoint, belongs to; None for a published model."""
    try:
        return load_json(workdir_of(model)[0] / "config.json")
    except InputError:
        return None


def _judged(model: str) -> Judged:
    """Opens a model: the parameters of a run of another task directly, everything else through `jaxbert.load`."""
    place = find_model(model)
    config = load_json(place.path / "config.json") if place.run else None
    if config is not None and config.task.name != _PRETRAINING:
        return Judged(
            place.path,
            config,
            (),
            Tokenizer.load(place.path / "tokenizer"),
            lambda program, mesh: load_params(place.path, place.step, program.task.parts, mesh),
        )
    loaded = load(model)
    loaded.require("masked_lm")
    if loaded.tokenizer is None:
        raise InputError(
            "the model has no tokenizer",
            where=model,
            fix="Add its tokenizer.json or vocab.txt.",
            code="E-MODEL-NO-TOKENIZER",
        )
    if config is None:
        config = RunConfig(name="evaluate", objectives=_objectives_of(loaded))
    config = dataclasses.replace(config, encoder=loaded.config)

    def parameters(program: Program, mesh: Mesh) -> Params:
        del mesh
        like = program.state["params"]
        given = {name: loaded.params[name] for name in like}
        return jax.tree.map(lambda value, to: jax.device_put(value, to.sharding), given, like)

    return Judged(place.path, config, tuple(loaded.params), loaded.tokenizer, parameters)


def trained_rows(model: Path) -> list[Path]:
    """Returns the directories of rows of the last phase of the run that `model` (a workdir or a checkpoint) belongs to.

    Raises:
      InputError: the model is not a run, or its rows are gone.
    """
    config = _run_of(model)
    if config is None:
        raise InputError(
            "the model is not a run, so it does not name rows",
            where=str(model),
            fix="Give --data ROWS.",
            code="E-EVALUATE-NAME-ROWS",
        )
    return [local(directory) for directory, _ in phase_rows(config, config.phases[-1], workdir_of(model)[0])]


def _train_rows(model: Path, directory: Path) -> list[Rows]:
    """Returns the train rows for the tables of the task: those of the run's first phase, which the run used.

    If `model` is not a run, or its rows are gone, it returns those of `directory`.
    """
    config = _run_of(model)
    if config is not None:
        try:
            workdir, _ = workdir_of(model)
            return [Rows(local(path), "train") for path, _ in phase_rows(config, config.phases[0], workdir)]
        except InputError:
            pass
    return [Rows(directory, "train")]


def _on_one_device(judged: Judged, rows: Rows) -> RunConfig:
    """Returns the config of an evaluation: the run's settings or the defaults, rows of this length, one device."""
    config = kind_of_task(judged.config).judged(judged.config, rows.manifest, judged.parts)
    return dataclasses.replace(
        config,
        mesh=dataclasses.replace(config.mesh, data=1, fsdp=1, tensor=1),
        data=dataclasses.replace(config.data, source="rows"),
        phases=(PhaseConfig(length=rows.length, batch_size=config.evaluation.batch_size),),
    )


def _objectives_of(loaded: Loaded) -> ObjectivesConfig:
    """Returns every objective whose head a published model has."""
    sizes = head_sizes(loaded.params)
    boundary = SpanBoundaryConfig(**sizes["span_boundary"]) if "span_boundary" in sizes else None
    return ObjectivesConfig(
        masked_lm=MaskedLMConfig(scheme="span" if boundary else "token"),
        next_sentence=NextSentenceConfig(),
        # One set of rows cannot test both objectives. If the model has the head of sentence order, that one is tested.
        sentence_order=SentenceOrderConfig() if "sentence_order" in loaded.params else None,
        span_boundary=boundary,
    )
