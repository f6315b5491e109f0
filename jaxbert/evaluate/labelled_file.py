"""Judges a fine-tuned run on a file with right answers: `jaxbert evaluate RUN --test FILE`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxbert.config import LabelledTaskConfig, RunConfig, load_json
from jaxbert.core.shell import path_word
from jaxbert.data.pipeline import Rows
from jaxbert.errors import InputError
from jaxbert.evaluate.judged import line_of_split, read_judgement
from jaxbert.evaluate.labelled import entry_of, judge_rows, no_answers
from jaxbert.labelled.opening import has_splits, open_examples
from jaxbert.stores.steps import default_step
from jaxbert.tasks import make_task
from jaxbert.tasks.labelled import LabelledTask
from jaxbert.tasks.labelled_runs import make_test_rows
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.learned import learned_columns, like_training
from jaxbert.use.model_place import ModelPlace, find_model

# The role of the column that has the answers, by the kind of the task. Others have a label.
_ROLES = {"token_labels": "tags", "question_answering": "answers"}


def judge_file(
    model: str, file: str, *, columns: Mapping[str, str] | None = None, form: str = "", split: str = ""
) -> dict[str, Any]:
    """Returns how good a fine-tuned run is on the examples of a file, by the metrics of its task.

    Args:
      model: a run of `jaxbert finetune`, or one of its steps.
      file: what `jaxbert.labelled.opening.open_examples` opens, with right answers.
      columns: the name of the column of a role. Other roles take the column that was named when the run was trained,
        where the file has it, and else a column with a usual name.
      form: the format of the file; "" for the one by its name.
      split: the split of a dataset, of GLUE or of a sample; "" for "test". A file has no splits.

    Returns:
      The figures of `jaxbert.evaluate.labelled.entry_of`; and "chosen_by" (the name of the metric that chose the
      checkpoint), "step", "file", and "rows" (lines about sizes, and what was cut). `judged_lines` describes them.

    Raises:
      InputError: the model is not such a run, or its checkpoints are gone; or the file cannot be read, has no answers,
        or has a label that the run does not know.
    """
    place = find_model(model)
    config, step = _run(place, model)
    task = make_task(config, config.phases[-1])
    assert isinstance(task, LabelledTask) and isinstance(config.task, LabelledTaskConfig)
    if split and not has_splits(file):
        raise InputError(
            f"a file has no splits, so there is no split {split!r} of it",
            where="--split",
            fix="Leave --split out; it is for hf:, tfds:, glue: and sample:.",
            code="E-EVALUATE-TEST",
        )
    split = split or "test"
    named = {**learned_columns(place.path, model, file, form=form), **(columns or {})}
    problem = task.problem_of(config.task)
    opened = open_examples(task.kind, file, problem=problem, columns=named, form=form, split=split)
    examples = list(like_training(place.path, model, file, opened))
    if no_answers(task, examples):
        role = _ROLES.get(task.kind, "label")
        other = f"Give a file with answers; or name the column that has them: --columns {role}=COLUMN."
        if has_splits(file):
            other = "Name another one: --split validation."
        raise InputError(
            f"the split {split} has no right answers" if has_splits(file) else "the file has no right answers",
            where=file,
            fix=f"{other} `jaxbert predict {path_word(model)} {path_word(file)}` answers it.",
            code="E-EVALUATE-TEST",
        )
    with tempfile.TemporaryDirectory(prefix="jaxbert-") as folder:
        rows = Path(folder) / "rows"
        counts = make_test_rows(task, Tokenizer.load(place.path / "tokenizer"), examples, rows)
        judged = judge_rows(config, place.path, step, Rows(rows, "test"))
        found = entry_of(judged)
    return {"file": file, "step": step, "chosen_by": judged.metric.name, "rows": counts.lines(), **found}


def _run(place: ModelPlace, model: str) -> tuple[RunConfig, int]:
    """Returns the config of a fine-tuned run, and the step that MODEL stands for."""
    if not place.run:
        raise InputError(
            "a published model does not say how its task was prepared, so it cannot be judged on a file",
            where=model,
            fix="Give the workdir of the run that made it; or compare the answers of `jaxbert predict` yourself.",
            code="E-EVALUATE-TEST",
        )
    config = load_json(place.path / "config.json")
    if not isinstance(config.task, LabelledTaskConfig):
        raise InputError(
            "the run has not learned from labels, so it has no answers for a file with labels",
            where=model,
            fix="Fine-tune it first: `jaxbert finetune`. Without --test, its loss on rows is computed.",
            code="E-EVALUATE-TEST",
        )
    step = default_step(place.path) if place.step is None else place.step
    if step is None:
        ended = read_judgement(place.path) is not None
        raise InputError(
            "the checkpoints of this run were removed, because another run was better"
            if ended
            else "the run has no checkpoint yet",
            where=model,
            fix="Name the workdir of all runs: it stands for the best one." if ended else "Let the run end.",
            code="E-EVALUATE-TEST",
        )
    return config, step


def judged_lines(found: Mapping[str, Any]) -> list[str]:
    """Returns what `judge_file` found, as lines for people."""
    return [*found["rows"], line_of_split(found["file"], found, found["chosen_by"]), *found["notes"]]
