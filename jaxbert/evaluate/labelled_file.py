"""Judges a fine-tuned run on a file with right answers: `jaxbert evaluate RUN --test FILE`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxbert.config import LabelledTaskConfig, load_json
from jaxbert.data.pipeline import Rows
from jaxbert.errors import InputError
from jaxbert.evaluate.judged import line_of_split
from jaxbert.evaluate.labelled import entry_of, judge_rows
from jaxbert.labelled.columns import columns_of
from jaxbert.labelled.labels import is_unknown
from jaxbert.labelled.opening import open_examples
from jaxbert.stores.steps import default_step
from jaxbert.tasks import make_task
from jaxbert.tasks.labelled import LabelledTask
from jaxbert.tasks.labelled_runs import make_test_rows
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.model_place import find_model


def judge_file(
    model: str, file: str, *, columns: Mapping[str, str] | None = None, form: str = "", split: str = "test"
) -> dict[str, Any]:
    """Returns how good a fine-tuned run is on the examples of a file, by the metrics of its task.

    Args:
      model: a run of `jaxbert finetune`, or one of its steps.
      file: what `jaxbert.labelled.opening.open_examples` opens, with right answers.
      columns: the name of the column of each role; None for those that the run learned from, else the usual names.
      form: the format of the file; "" for the one by its name.
      split: the split of a dataset, of GLUE or of a sample.

    Returns:
      The figures of `jaxbert.evaluate.labelled.entry_of`, and "metric" (the one that chose the checkpoint), "step",
      "file" and "cut" (lines about what was cut). `judged_lines` describes them.

    Raises:
      InputError: the model is not such a run; or the file cannot be read, has no answers, or has a label that the run
        does not know.
    """
    place = find_model(model)
    config = load_json(place.path / "config.json") if place.run else None
    if config is None or not isinstance(config.task, LabelledTaskConfig):
        raise InputError(
            "the model is not a run of `jaxbert finetune`, so it has no task with labels",
            where=model,
            fix="Give the workdir of such a run; or --data ROWS for the loss on rows.",
            code="E-EVALUATE-TEST",
        )
    step = default_step(place.path) if place.step is None else place.step
    if step is None:
        raise InputError("the run has no checkpoint yet", where=model, fix="Let the run end.", code="E-EVALUATE-TEST")
    task = make_task(config, config.phases[-1])
    assert isinstance(task, LabelledTask)
    named = columns_of(config.task.data.columns) if columns is None else columns
    problem = task.problem_of(config.task)
    examples = list(open_examples(task.kind, file, problem=problem, columns=named, form=form, split=split))
    if task.needs_answers and all(map(is_unknown, examples)):
        raise InputError(
            "the file has no right answers, so nothing can be measured",
            where=file,
            fix=f"Give a file with answers. `jaxbert predict {model} {file}` answers this one.",
            code="E-EVALUATE-TEST",
        )
    with tempfile.TemporaryDirectory(prefix="jaxbert-") as folder:
        rows = Path(folder) / "rows"
        cut = make_test_rows(task, Tokenizer.load(place.path / "tokenizer"), examples, rows)
        judged = judge_rows(config, place.path, step, Rows(rows, "test"))
        found = entry_of(judged)
    return {"file": file, "step": step, "metric": judged.metric.name, "cut": list(cut.lines()), **found}


def judged_lines(found: Mapping[str, Any]) -> list[str]:
    """Returns what `judge_file` found, as lines for people."""
    return [*found["cut"], line_of_split(found["file"], found, found["metric"]), *found["notes"]]
