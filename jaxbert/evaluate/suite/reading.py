"""Reads the file of a suite, and checks all of it before anything is computed.

A suite is a JSON object:

    {"name": "first", "tasks": [
      {"name": "BLiMP", "kind": "minimal_pairs", "files": ["blimp"], "options": {"mask": "word-l2r"}},
      {"name": "STS-B", "kind": "similarity", "files": ["sts-dev.tsv"], "metric": "pearson"}]}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.errors import InputError
from jaxbert.evaluate.suite.base import Task
from jaxbert.evaluate.suite.kinds import KINDS
from jaxbert.inputs.values import Maybe, Whole, check, read_json

# Options of every kind that can leave items out.
COMMON: Mapping[str, Any] = {"limit": Maybe(Whole(1))}
_TASK = {"name": str, "kind": str, "files": [str], "metric": Maybe(str), "options": Maybe(dict)}
_OPTIONS_FIX = (
    'Write for example "options": {"settings": ["epochs=4"], "columns": {"label": "stars"}}; docs/how-to/score.md has '
    "the options of each kind."
)
_FIX = (
    'Write {"tasks": [{"name": "BLiMP", "kind": "minimal_pairs", "files": ["blimp"]}]}; docs/how-to/score.md has more.'
)
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Suite:
    """A suite.

    Attributes:
      name: its name, by default that of the file.
      file: the path of its file.
      tasks: its tasks in order.
    """

    name: str
    file: str
    tasks: Sequence[Task]


def read_suite(file: str) -> Suite:
    """Returns the suite of a file.

    Raises:
      InputError: the file is not a suite: it is not JSON, or has an unknown kind, metric, option or key, or two tasks
        with one name. The files of the tasks are not opened.
    """
    path = Path(file)
    try:
        value = read_json(
            path,
            "the suite cannot be used",
            fix=_FIX,
            code="E-SUITE-FILE",
            shape={"name": Maybe(str), "tasks": [dict]},
            most=_MOST_BYTES,
        )
    except OSError as error:
        raise InputError(
            f"the suite cannot be read: {error.strerror}",
            where=file,
            fix="Check the path. A suite is a JSON file of yours; docs/how-to/score.md has one.",
            code="E-SUITE-FILE",
        ) from None
    _known(value, ("name", "tasks"), file)
    if not value["tasks"]:
        raise InputError("the suite has no tasks", where=file, fix=_FIX, code="E-SUITE-FILE")
    tasks = [_task(one, f"{file}, tasks.{number}", path.parent) for number, one in enumerate(value["tasks"])]
    names = [task.name for task in tasks]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise InputError(
            f"two tasks are called {double!r}", where=file, fix="Give each task another name.", code="E-SUITE-FILE"
        )
    return Suite(value.get("name") or path.stem, file, tasks)


def _task(value: Mapping[str, Any], place: str, folder: Path) -> Task:
    _shaped(value, _TASK, place)
    _known(value, tuple(_TASK), place)
    name = value["kind"]
    if name not in KINDS:
        raise InputError(
            f"no kind of task is called {name!r}",
            where=place,
            fix=f"{did_you_mean(name, list(KINDS))}Known: {', '.join(KINDS)}.",
            code="E-SUITE-KIND",
        )
    if not value["name"].strip() or not value["files"]:
        raise InputError("a task needs a name and at least one file", where=place, fix=_FIX, code="E-SUITE-FILE")
    kind = KINDS[name]
    options = value.get("options") or {}
    shapes = {**(COMMON if kind.limited else {}), **kind.options}
    for option in options:
        if option not in shapes:
            raise InputError(
                f"the kind {name} has no option {option!r}",
                where=place,
                fix=f"{did_you_mean(option, list(shapes))}Known: {', '.join(shapes)}.",
                code="E-SUITE-KEY",
            )
    _shaped(options, shapes, f"{place}, options", _OPTIONS_FIX)
    metrics = [metric.name for metric in kind.metrics]
    metric = value.get("metric") or metrics[0]
    if metric not in metrics:
        raise InputError(
            f"the kind {name} has no metric {metric!r}",
            where=place,
            fix=f"{did_you_mean(metric, metrics)}Known: {', '.join(metrics)}.",
            code="E-SUITE-KEY",
        )
    task = Task(value["name"], name, (), metric, options, place, str(folder))
    return dataclasses.replace(task, files=tuple(map(task.path, value["files"])))


def _shaped(value: Mapping[str, Any], shape: Mapping[str, Any], place: str, fix: str = _FIX) -> None:
    try:
        check(value, dict(shape))
    except ValueError as error:
        raise InputError(f"the suite cannot be used: {error}", where=place, fix=fix, code="E-SUITE-FILE") from None


def _known(value: Mapping[str, Any], keys: Sequence[str], place: str) -> None:
    for key in value:
        if key not in keys:
            raise InputError(
                f"the key {key!r} is not known",
                where=place,
                fix=f"{did_you_mean(key, list(keys))}Known: {', '.join(keys)}.",
                code="E-SUITE-KEY",
            )
