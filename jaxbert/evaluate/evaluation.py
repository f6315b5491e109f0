"""Evaluation on held-out rows with fixed masks, and what tables of counts would score on the same slots."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
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
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import global_batch, replicated, single_device_mesh
from jaxbert.data.pipeline import FixedBatches, Rows, count_tokens
from jaxbert.data.staging import local
from jaxbert.errors import InputError
from jaxbert.models.model import head_sizes
from jaxbert.objectives import OBJECTIVES, Frozen, Term
from jaxbert.stores.workdir import workdir_of
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.training.step import (
    Program,
    batch_fields,
    build,
    corrupt,
    evaluation_view,
    figures,
    frozen_tables,
    needs_counts,
    phase_objectives,
)
from jaxbert.use.library import Loaded, load


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
    """Means over validation rows with fixed masks: "loss" (sum of the weighted terms), and each term's figures.

    Args:
      program: of the phase whose length the rows have.
      params, frozen: on `mesh`.
      rows: validation splits.
      mesh: any; the masks are the same bits on each.
      config: for batch size, number of batches and the objectives' weights.
      moving: told before each batch, and whether its program may have to be compiled.
    """
    batch_size = config.evaluation.batch_size
    fields = batch_fields(rows[0].length)
    sums: dict[str, Term] | None = None
    number = 0
    for split in rows:
        batches = FixedBatches(split, batch_size, limit=config.evaluation.batches)
        for index in range(len(batches)):
            moving(f"batch {number} of an evaluation", number == 0)
            batch = global_batch(
                mesh,
                lambda lo, hi, index=index, batches=batches: batches.read(index, lo, hi),
                batch_size,
                fields,
            )
            found = program.evaluate(params, frozen, batch, np.int32(number))
            # Sums in float64 on the host: as exact over a million rows as over ten.
            host = jax.tree.map(lambda x: np.asarray(x, np.float64), jax.device_get(found))
            sums = host if sums is None else jax.tree.map(np.add, sums, host)
            number += 1
    assert sums is not None
    means = {name: float(value) for name, value in figures(sums).items()}
    loss = 0.0
    for name in sums:
        loss += program.weights[name] * means[f"{name}_loss"]
    return {"loss": loss, **means}


# What the terms are called in running text.
_NAMES = {
    "masked_lm": "masked LM",
    "next_sentence": "next sentence",
    "sentence_order": "sentence order",
    "span_boundary": "span boundary",
    "soft_targets": "soft targets",
}


def accuracies(found: Mapping[str, Any]) -> list[str]:
    """For each term of `found` that has an accuracy: "masked LM 36.3%", and so on."""
    terms = [(name.removesuffix("_accuracy"), value) for name, value in found.items() if name.endswith("_accuracy")]
    return [f"{_NAMES.get(term, term)} {value:.1%}" for term, value in terms]


def vocabulary_tables(config: RunConfig, tokenizer: Tokenizer, rows: Sequence[Rows]) -> dict[str, np.ndarray]:
    """The vocabulary's tables of `frozen` (`jaxbert.training.step.frozen_tables`) for a run.

    Args:
      config: the run.
      tokenizer: of its rows.
      rows: train splits; tokens are counted in them where the masking goes by how frequent they are.
    """
    counts = count_tokens(rows, tokenizer.vocab_size) if needs_counts(config) else None
    return frozen_tables(tokenizer.special, tokenizer.mask_id, tokenizer.word_start, config=config, counts=counts)


def evaluate(
    model: str, rows: str | None = None, *, baselines: bool = False, note: Callable[[str], None] = print
) -> dict[str, Any]:
    """`jaxbert evaluate`: a model's figures on the validation split of some rows.

    Args:
      model: MODEL; anything `jaxbert.load` opens that has a masked-LM head.
      rows: directory, or a URL of one; None takes those that the run was trained on.
      baselines: also what a constant guess, a left-bigram table and a two-sided count table, fitted on the rows' train
        split, score on the same slots.
      note: is given the lines to show.

    Raises:
      InputError: no such model or rows, or rows of another tokenizer.
    """
    loaded = load(model)
    place = loaded.path or Path(model)
    loaded.require("masked_lm")
    directories = [local(rows)] if rows is not None else trained_rows(place)
    splits = [Rows(directory, "validation", verify=True) for directory in directories]
    splits = [split for split in splits if len(split)]
    if not splits:
        raise InputError("no validation rows", where=str(directories[0]), fix="Prepare with --validation-fraction.")
    tokenizer = loaded.tokenizer
    if tokenizer is None:
        raise InputError("has no tokenizer", where=model, fix="Add tokenizer.json or vocab.txt to it.")
    for split in splits:
        split.require(length=splits[0].length, vocab_size=loaded.config.vocab_size, tokenizer_hash=tokenizer.hash)
    config = _evaluation_config(place, loaded, splits[0])
    mesh = single_device_mesh()
    program = build(config, mesh)
    with jax.set_mesh(mesh):
        counted = _counted_rows(config, place, directories[0])
        frozen = replicated(mesh, vocabulary_tables(config, tokenizer, counted))
        params = jax.tree.map(
            lambda value, like: jax.device_put(value, like.sharding),
            {name: loaded.params[name] for name in program.state["params"]},
            program.state["params"],
        )
        found: dict[str, Any] = evaluate_rows(program, params, frozen, splits, mesh, config=config)
    used = [FixedBatches(split, config.evaluation.batch_size, limit=config.evaluation.batches) for split in splits]
    found["rows"] = sum(min(len(split), len(part) * part.batch_size) for split, part in zip(splits, used, strict=True))
    note(
        f"validation split of {', '.join(map(str, directories))}, {found['rows']} of "
        f"{sum(map(len, splits))} rows, {config.evaluation.mask_rate:.0%} masked:"
    )
    for term in program.weights:
        line = f"  {_NAMES.get(term, term)}   loss {found[f'{term}_loss']:.4f}"
        note(line + (f"   accuracy {found[f'{term}_accuracy']:.1%}" if f"{term}_accuracy" in found else ""))
    if baselines:
        found["baselines"] = count_baselines(config, splits[0].directory, tokenizer, counted)
        where = f" of {splits[0].directory}" if len(splits) > 1 else ""
        note(f"what counting scores on the same masked tokens{where}, fitted on the train split:")
        for name, accuracy in found["baselines"].items():
            note(f"  {name:<48}{accuracy:6.1%}")
        note(f"  {'this model':<48}{found['masked_lm_accuracy']:6.1%}")
    return found


def trained_rows(model: Path) -> list[Path]:
    """The directories of rows of the last phase of the run that `model` (a workdir or one checkpoint of it) belongs to.

    Raises:
      InputError: it is no run, or its rows are gone.
    """
    workdir, _ = workdir_of(model)
    path = workdir / "config.json"
    try:
        config = load_json(path)
    except InputError:
        raise InputError(
            "is not a run, so it has no rows of its own", where=str(model), fix="Give --data ROWS."
        ) from None
    return [local(directory) for directory, _ in phase_rows(config, config.phases[-1], workdir)]


def _counted_rows(config: RunConfig, model: Path, directory: Path) -> list[Rows]:
    """The train rows in which tokens are counted, where the masking needs it.

    Those of the first phase, as the run itself did; of `directory` where `model` is no run, or its rows are gone.
    """
    if not needs_counts(config):
        return []
    workdir, _ = workdir_of(model)
    try:
        own = load_json(workdir / "config.json")
        return [Rows(local(path), "train") for path, _ in phase_rows(own, own.phases[0], workdir)]
    except InputError:
        return [Rows(directory, "train")]


def _evaluation_config(model: Path, loaded: Loaded, rows: Rows) -> RunConfig:
    """A run's own evaluation settings where `model` is one, defaults elsewhere; one device.

    Only the objectives whose heads the model has and that can be judged on these rows; no teacher.
    """
    workdir, _ = workdir_of(model)
    try:
        config = load_json(workdir / "config.json")
    except InputError:
        config = RunConfig(name="evaluate", objectives=_objectives_of(loaded))
    objectives = dataclasses.replace(config.objectives, distillation=None, extra=())
    for name in ("next_sentence", "sentence_order", "span_boundary"):
        fits = rows.manifest["policy"] in OBJECTIVES[name].policies
        if name not in loaded.params or not fits:
            dropped: dict[str, Any] = {name: None}
            objectives = dataclasses.replace(objectives, **dropped)
    return dataclasses.replace(
        config,
        encoder=loaded.config,
        objectives=objectives,
        mesh=dataclasses.replace(config.mesh, data=1, fsdp=1, tensor=1),
        data=dataclasses.replace(config.data, source="rows"),
        phases=(PhaseConfig(length=rows.length, batch_size=config.evaluation.batch_size),),
    )


def _objectives_of(loaded: Loaded) -> ObjectivesConfig:
    """Every objective whose head a published model has."""
    sizes = head_sizes(loaded.params)
    boundary = SpanBoundaryConfig(**sizes["span_boundary"]) if "span_boundary" in sizes else None
    return ObjectivesConfig(
        masked_lm=MaskedLMConfig(scheme="span" if boundary else "token"),
        next_sentence=NextSentenceConfig(),
        # The same rows cannot be judged by both: it is asked for where the model has its head.
        sentence_order=SentenceOrderConfig() if "sentence_order" in loaded.params else None,
        span_boundary=boundary,
    )


# ----------------------------------------------------------------------------------------------------------------------
# Baselines: what counts of neighbours score


def count_baselines(
    config: RunConfig, directory: Path, tokenizer: Tokenizer, counted: Sequence[Rows] = ()
) -> dict[str, float]:
    """Accuracy of tables of counts at the masked slots of the validation split.

    "constant guess": the most frequent token. "left bigram": the most frequent successor of the left neighbour.
    "two-sided counts": the most frequent token between both neighbours; else after the left one; else before the right.
    Each table answers twice: from the corrupted row, which is what the model sees (a neighbour that is masked stands in
    no table, so that the next smaller one answers), and from the true neighbours, which the model does not see.

    Args:
      config: for the fixed masks.
      directory: rows; tables are fitted on its train split.
      tokenizer: for special tokens.
      counted: as in `vocabulary_tables`.
    """
    vocab = tokenizer.vocab_size
    left, right, middle = _triples(Rows(directory, "train"))
    unigram = np.bincount(middle, minlength=vocab)
    unigram[tokenizer.special] = 0
    constant = int(unigram.argmax())
    after = _best_by_key(left, middle, vocab)
    before = _best_by_key(right, middle, vocab)
    between = _best_by_key(left.astype(np.int64) * vocab + right, middle, vocab)

    right_answers: Counter[str] = Counter()
    total = 0
    for clean, corrupted, position, label in _validation_slots(config, directory, tokenizer, counted):
        filled = label >= 0
        total += int(filled.sum())
        right_answers["constant guess"] += int(((label == constant) & filled).sum())
        row = np.arange(len(label))[:, None]
        for tokens, words in ((corrupted, "seeing what the model sees"), (clean, "seeing the true neighbours")):
            to_left, to_right = tokens[row, position - 1], tokens[row, position + 1]
            by_left = _look_up(after, to_left, -1)
            by_right = _look_up(before, to_right, -1)
            guess = np.where(by_left >= 0, by_left, constant)
            right_answers[f"left bigram, {words}"] += int(((label == guess) & filled).sum())
            both = _look_up(between, to_left.astype(np.int64) * vocab + to_right, -1)
            guess = np.where(
                both >= 0, both, np.where(by_left >= 0, by_left, np.where(by_right >= 0, by_right, constant))
            )
            right_answers[f"two-sided counts, {words}"] += int(((label == guess) & filled).sum())
    return {name: count / max(1, total) for name, count in right_answers.items()}


def _triples(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(left neighbour, right neighbour, token) of every inner real position of the rows."""
    lefts, rights, middles = [], [], []
    for start in range(0, len(rows), 8192):
        read = rows.read(np.arange(start, min(len(rows), start + 8192)))
        tokens, real = read["tokens"], read["group"] > 0
        inner = real[:, 1:-1] & real[:, 2:]
        lefts.append(tokens[:, :-2][inner])
        rights.append(tokens[:, 2:][inner])
        middles.append(tokens[:, 1:-1][inner])
    return np.concatenate(lefts), np.concatenate(rights), np.concatenate(middles)


def _best_by_key(key: np.ndarray, token: np.ndarray, vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """(keys, most frequent token of each), keys ascending; the lower token where counts tie."""
    pairs, counts = np.unique(key.astype(np.int64) * vocab + token, return_counts=True)
    keys, tokens = pairs // vocab, pairs % vocab
    order = np.lexsort((tokens, -counts, keys))
    first = np.unique(keys[order], return_index=True)[1]
    return keys[order][first], tokens[order][first]


def _look_up(table: tuple[np.ndarray, np.ndarray], key: np.ndarray, otherwise: int) -> np.ndarray:
    keys, tokens = table
    at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    return np.where(keys[at] == key, tokens[at], otherwise)


def _validation_slots(
    config: RunConfig, directory: Path, tokenizer: Tokenizer, counted: Sequence[Rows]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Of each fixed batch: tokens and corrupted tokens (B, L), slot positions and labels (B, M), -1 in an empty slot.

    No slot is at an end of its row: those hold [CLS], and [SEP] or padding.
    """
    rows = Rows(directory, "validation")
    view = evaluation_view(config)
    objectives = phase_objectives(view, PhaseConfig(length=rows.length))
    tables = vocabulary_tables(config, tokenizer, counted)
    frozen = {name: jnp.asarray(table) for name, table in tables.items()}

    @jax.jit
    def masks(batch: Mapping[str, jax.Array], number: Any) -> dict[str, jax.Array]:
        key = jax.random.fold_in(jax.random.key(config.evaluation.seed, impl="threefry2x32"), number)
        return corrupt(objectives, dict(batch), frozen, key)

    batches = FixedBatches(rows, config.evaluation.batch_size, limit=config.evaluation.batches)
    for index in range(len(batches)):
        batch = batches.read(index)
        found = jax.device_get(masks(batch, np.int32(index)))
        label = np.where(found["slot_weight"] > 0, found["labels"], -1)
        # An empty slot points at position 0, which has no left neighbour; its label keeps it out of every count.
        yield batch["tokens"], found["tokens"], np.maximum(found["slots"], 1), label
