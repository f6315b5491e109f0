"""Reads texts with labels or numbers for the kinds of tasks that take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxbert.evaluate.suite.base import Task
from jaxbert.inputs.values import Each, Maybe
from jaxbert.labelled.examples import TextExample
from jaxbert.labelled.opening import open_examples

# Options: the column of each role (text, pair, label, id), the form where the ending of a file does not say it, and the
# split of a dataset. See docs/how-to/labelled.md.
COLUMNS: Mapping[str, Any] = {"columns": Maybe(Each(str)), "form": Maybe(str), "split": Maybe(str)}


def read_texts(task: Task, kind: str, problem: str) -> list[TextExample]:
    """Returns the examples of all files of a task.

    Args:
      task: with the options `COLUMNS`.
      kind: of `jaxbert.labelled.examples.KINDS`.
      problem: of `jaxbert.labelled.reading.PROBLEMS`.
    """
    found: list[TextExample] = []
    for file in task.files:
        for example in open_examples(
            kind,
            file,
            problem=problem,
            columns=task.options.get("columns") or {},
            form=task.options.get("form") or "",
            split=task.options.get("split") or "validation",
        ):
            assert isinstance(example, TextExample)
            found.append(example)
    return found
