"""`finetuned`: the score of a task with labels, for which the model is fine-tuned with several seeds.

The trainer is in a room above this one. `jaxbert.evaluate.suite.running.evaluate_suite` gets it as `finetune`, a
function with the signature `Trainer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxbert.core.metrics import Metric
from jaxbert.errors import InputError
from jaxbert.evaluate.suite.base import Kind, Outcome, Setting, Task
from jaxbert.inputs.values import Each, Maybe, OneOf, Whole
from jaxbert.labelled.examples import KINDS, ChoiceExample, Example, Question, TextExample, WordsExample
from jaxbert.labelled.opening import open_examples
from jaxbert.labelled.reading import PROBLEMS
from jaxbert.scores.intervals import over_seeds
from jaxbert.use.library import Loaded

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class FineTuning:
    """Fine-tuning runs that a suite asks for.

    Attributes:
      name: the name of the task in the suite.
      kind: a key of `jaxbert.labelled.examples.KINDS`.
      problem: of `jaxbert.labelled.reading.PROBLEMS`; "" for other kinds than classification.
      train, validation: the files.
      columns: the column of each role.
      form: of the files, where their endings do not say it.
      seeds: a run for each.
      settings: further settings, as KEY=VALUE.
    """

    name: str
    kind: str
    problem: str
    train: str
    validation: str
    columns: Mapping[str, str]
    form: str
    seeds: Sequence[int]
    settings: Sequence[str]


# (MODEL, runs) -> (the name of the task's usual metric, the scores of each seed by the names of the metrics).
Trainer = Callable[[str, FineTuning], tuple[str, Sequence[Mapping[str, float]]]]


class FineTuned(Kind[Example]):
    """Files with labels: the training file and the validation file, in this order.

    Options: task, a kind of labelled task ("classification" by default); problem; seeds; settings, as KEY=VALUE;
    columns and form as in `jaxbert.labelled.opening.open_examples`.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("score", "score of the task", "score", "number", "The usual metric of the task; the mean over seeds."),
    )
    options: ClassVar[Mapping[str, Any]] = {
        "task": Maybe(OneOf(tuple(KINDS))),
        "problem": Maybe(OneOf(PROBLEMS)),
        "seeds": Maybe([Whole()]),
        "settings": Maybe([str]),
        "columns": Maybe(Each(str)),
        "form": Maybe(str),
    }
    answers_by_item: ClassVar[bool] = False

    def read(self, task: Task) -> list[Example]:
        """Returns the examples of the validation file."""
        runs = asked(task)
        return list(
            open_examples(
                runs.kind,
                runs.validation,
                problem=runs.problem,
                columns=runs.columns,
                form=runs.form,
                split="validation",
            )
        )

    def texts(self, item: Example) -> Sequence[str]:
        """See `Kind`."""
        match item:
            case TextExample():
                return (item.text,) if item.pair is None else (item.text, item.pair)
            case WordsExample():
                return (item.text,)
            case Question():
                return (item.question, item.context)
            case ChoiceExample():
                return (item.text, *item.choices)
        raise TypeError(type(item).__name__)

    def place(self, item: Example) -> str:
        """See `Kind`."""
        return item.place

    def answer(self, model: Loaded, items: Sequence[Example], task: Task, setting: Setting) -> Sequence[Any]:
        """Returns the name of the metric, and the scores of each seed."""
        if setting.finetune is None:
            raise InputError(
                "there is no trainer for tasks with labels here",
                where=task.place,
                fix="Leave the task out of the suite.",
                code="E-SUITE-FINETUNE",
            )
        return setting.finetune(model.source, asked(task))

    def score(self, task: Task, items: Sequence[Example], answers: Sequence[Any], setting: Setting) -> Outcome:
        """See `Kind`."""
        metric, seeds = answers
        names = [name for name in seeds[0] if all(name in one for one in seeds)]
        found = {name: over_seeds([one[name] for one in seeds]) for name in names}
        details = {
            "metric": metric,
            "seeds": list(asked(task).seeds),
            "scores": [dict(one) for one in seeds],
            "metrics": {name: interval.to_json() for name, interval in found.items()},
        }
        return Outcome({"score": found[metric]}, details)


def asked(task: Task) -> FineTuning:
    """Returns the runs that a task asks for. Raises InputError where it does not name two files."""
    options = task.options
    if len(task.files) != 2:
        raise InputError(
            f"a task to fine-tune has two files, and this one has {len(task.files)}",
            where=task.place,
            fix='Write "files": ["train.jsonl", "validation.jsonl"].',
            code="E-SUITE-ITEM",
        )
    kind = options.get("task") or "classification"
    return FineTuning(
        name=task.name,
        kind=kind,
        problem=options.get("problem") or ("one_label" if kind == "classification" else ""),
        train=task.files[0],
        validation=task.files[1],
        columns=options.get("columns") or {},
        form=options.get("form") or "",
        seeds=options.get("seeds") or SEEDS,
        settings=options.get("settings") or (),
    )


KIND = FineTuned()
