"""Evaluates models by a suite: reads and checks everything, looks into the corpus, then computes task by task."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxbert.config import load_json
from jaxbert.core import metrics as naming
from jaxbert.data.sources import open_source
from jaxbert.errors import InputError, counted
from jaxbert.evaluate.suite.base import Kind, Outcome, Setting, Task
from jaxbert.evaluate.suite.contamination import Finder, Found, any_of
from jaxbert.evaluate.suite.finetuned import Trainer
from jaxbert.evaluate.suite.kinds import KINDS
from jaxbert.evaluate.suite.reading import Suite, read_suite
from jaxbert.use.library import Loaded, load
from jaxbert.use.model_place import find_model

_log = logging.getLogger(__name__)

# The version of the results. It changes where the meaning of a key does.
FORMAT = 1
# The corpus of the run that MODEL is.
OWN_CORPUS = ""
_PLACES = 1000  # places of items that were found and are kept


@dataclass(frozen=True)
class _Opened:
    """A task with its items.

    Attributes:
      task, kind: the task, and its kind.
      items: those to answer.
      there: the number of examples of the files.
    """

    task: Task
    kind: Kind[Any]
    items: Sequence[Any]
    there: int


def evaluate_suite(
    models: Sequence[str],
    file: str,
    *,
    corpus: str | None = None,
    batch_tokens: int | None = None,
    finetune: Trainer | None = None,
) -> dict[str, Any]:
    """Returns the results of models on the tasks of a suite, as JSON; `jaxbert.evaluate.suite.table.lines` shows them.

    Args:
      models: MODELs.
      file: the suite's file; see `jaxbert.evaluate.suite.reading`.
      corpus: the SOURCE in which the texts of the tasks are looked for; `OWN_CORPUS` takes the one that the config of
        each run names; None looks nowhere.
      batch_tokens: tokens a batch.
      finetune: trains for the tasks of the kind `finetuned`.

    Raises:
      InputError: the suite, a file of a task, a model or the corpus is wrong. Nothing is computed before all is checked
        but the text of the corpus.
    """
    suite = read_suite(file)
    if len(set(models)) < len(models):
        raise InputError(
            "a model is given twice", where=", ".join(models), fix="Give each model once.", code="E-SUITE-MODEL"
        )
    opened = [_open(task) for task in suite.tasks]
    sources = {model: _source(model, corpus) for model in models} if corpus is not None else {}
    loaded: Loaded | None = None
    for model in models:
        loaded = load(model)
        _check(loaded, opened)
    finders = {spec: _search(spec, opened) for spec in dict.fromkeys(sources.values())}
    results = {}
    for model in models:
        if len(models) > 1 or loaded is None:
            loaded = load(model)
        finder = finders[sources[model]] if model in sources else None
        results[model] = _answer(loaded, opened, finder, Setting(batch_tokens, None, finetune))
    return {
        "format": FORMAT,
        "suite": {"name": suite.name, "file": suite.file},
        "tasks": {one.task.name: _described(one) for one in opened},
        "corpora": {
            model: {"source": spec, "documents": finders[spec].documents, "words": finders[spec].words}
            for model, spec in sources.items()
        },
        "results": results,
    }


def _open(task: Task) -> _Opened:
    kind = KINDS[task.kind]
    items = kind.read(task)
    if not items:
        raise InputError(
            "the files have nothing to evaluate", where=task.place, fix="Give files with examples.", code="E-SUITE-ITEM"
        )
    limit = task.options.get("limit") or len(items)
    # At equal distances, so that files in an order give some of each part.
    chosen = items if len(items) <= limit else [items[number * len(items) // limit] for number in range(limit)]
    return _Opened(task, kind, chosen, kind.count(items))


def _described(opened: _Opened) -> dict[str, Any]:
    task = opened.task
    return {
        "kind": task.kind,
        "files": list(task.files),
        "options": dict(task.options),
        "metric": task.metric,
        "metrics": naming.to_json(opened.kind.metrics),
        "examples": opened.kind.count(opened.items),
        "examples_in_files": opened.there,
    }


def _check(model: Loaded, opened: Sequence[_Opened]) -> None:
    """Raises InputError where a model cannot answer one of the tasks."""
    for one in opened:
        for head in one.kind.heads:
            model.require(head, for_what=f"the task {one.task.name!r} of the suite")
        model.require_tokenizer()
        one.kind.check(model, one.items, one.task)


def _source(model: str, corpus: str | None) -> str:
    """Returns the SOURCE of the corpus: the given one, or the one that the config of a run names."""
    if corpus:
        return corpus
    place = find_model(model)
    source = load_json(place.path / "config.json").data.source if place.run else ""
    if source in ("", "rows"):
        raise InputError(
            "the run's config names no source of text" if place.run else "the model is not a run that names its text",
            where=model,
            fix="Name the text: --corpus SOURCE.",
            code="E-SUITE-CORPUS",
        )
    return source


def _search(spec: str, opened: Sequence[_Opened]) -> Finder:
    finder = Finder(text for one in opened for item in one.items for text in one.kind.texts(item))
    # What a source holds out by itself was not trained on.
    finder.read(document for document in open_source(spec).documents() if document.split != "validation")
    return finder


def _answer(model: Loaded, opened: Sequence[_Opened], finder: Finder | None, setting: Setting) -> dict[str, Any]:
    """Returns the results of a model, by the names of the tasks."""
    if finder is not None:
        setting = Setting(setting.batch_tokens, finder.frequencies(), setting.finetune)
    results = {}
    number = 0
    for one in opened:
        found: list[Found] | None = None
        if finder is not None:
            found = []
            for item in one.items:
                count = len(one.kind.texts(item))
                found.append(any_of([finder.found(number + at) for at in range(count)]))
                number += count
        began = time.perf_counter()
        answers = one.kind.answer(model, one.items, one.task, setting)
        outcome = one.kind.score(one.task, one.items, answers, setting)
        results[one.task.name] = {
            **_figures(outcome),
            "found": None if found is None else _found(one, found),
            "without_found": None if found is None else _without(one, answers, found, setting),
            "details": dict(outcome.details),
            "notes": [*one.kind.notes(model, one.items), *outcome.notes],
            "seconds": round(time.perf_counter() - began, 3),
        }
        _log.info(f"{model.source}: {one.task.name}, {counted(len(one.items), 'example')}, {_seconds(began)}")
    return results


def _seconds(began: float) -> str:
    return f"{time.perf_counter() - began:.0f} s"


def _figures(outcome: Outcome) -> dict[str, Any]:
    return {"values": {name: interval.to_json() for name, interval in outcome.values.items()}}


def _found(opened: _Opened, found: Sequence[Found]) -> dict[str, Any]:
    """Returns how many of the items are in the corpus, and the places of the first ones."""
    places = [opened.kind.place(item) for item, one in zip(opened.items, found, strict=True) if one.overlap]
    return {
        "items": len(found),
        "looked_for": sum(one.looked_for for one in found),
        "overlap": sum(one.overlap for one in found),
        "whole": sum(one.whole for one in found),
        "places": places[:_PLACES],
    }


def _without(
    opened: _Opened, answers: Sequence[Any], found: Sequence[Found], setting: Setting
) -> Mapping[str, Any] | None:
    """Returns the scores without the items that are in the corpus.

    None where none is, where none would be left, and where the kind does not know them.
    """
    kept = [number for number, one in enumerate(found) if not one.overlap]
    if len(kept) in (0, len(found)):
        return None
    outcome = opened.kind.score_part(opened.task, opened.items, answers, kept, setting)
    if outcome is None:
        return None
    return {"examples": opened.kind.count([opened.items[number] for number in kept]), **_figures(outcome)}


__all__ = ["FORMAT", "OWN_CORPUS", "Suite", "evaluate_suite"]
