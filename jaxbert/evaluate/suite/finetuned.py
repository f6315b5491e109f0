"""`finetuned`: the score of a task with labels, for which the model is fine-tuned with several seeds.

The trainer is in a room above this one: `jaxbert.finetune.suite`. `jaxbert.evaluate.suite.running.evaluate_suite` gets
it as `finetune`, a function with the signature `Trainer`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxbert.config import LabelledConfig, LabelledTaskConfig, RunConfig, find_config
from jaxbert.config.overrides import apply_overrides, with_long_key
from jaxbert.core.metrics import Metric, to_json
from jaxbert.errors import InputError, counted
from jaxbert.evaluate.judged import seeds_named
from jaxbert.evaluate.suite.base import Kind, Outcome, Setting, Task
from jaxbert.inputs.values import Each, Maybe, Whole
from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample, WordsExample
from jaxbert.scores.intervals import over_seeds
from jaxbert.tasks import kind_of_task
from jaxbert.tasks.splits import splits_of
from jaxbert.use.library import Loaded

SEEDS = 3
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class FineTuning:
    """The runs that a task of a suite asks for.

    Attributes:
      name: the name of the task in the suite.
      config: the config of a run, with its files and without the settings.
      settings: further settings, as KEY=VALUE.
      seeds: the number of seeds.
      split: the split whose score counts: "test" where there is such a file, else "validation".
    """

    name: str
    config: RunConfig
    settings: Sequence[str]
    seeds: int
    split: str


@dataclass(frozen=True)
class FineTuned:
    """The runs of a task after their training.

    Attributes:
      metric: the task's usual metric.
      scores: the scores of each seed by the names of the metrics.
      failed: the seeds that have not learned.
      score_part: gives `scores` of the examples with some numbers; None where a run has not kept its outputs.
    """

    metric: Metric
    scores: Sequence[Mapping[str, float]]
    failed: Sequence[int]
    score_part: Callable[[Sequence[int]], Sequence[Mapping[str, float]] | None]


# It takes MODEL and the runs.
Trainer = Callable[[str, FineTuning], FineTuned]


class FineTunedTask(Kind[Example]):
    """Files with labels: for training, for validation, and, where there is a third one, for the score.

    Options: config, a CONFIG of `jaxbert finetune`, "classify" by default; settings, as its --set; seeds, their number;
    columns and form as its options of these names.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("score", "score of the task", "score", "number", "The usual metric of the task; the mean over seeds."),
    )
    options: ClassVar[Mapping[str, Any]] = {
        "config": Maybe(str),
        "settings": Maybe([str]),
        "seeds": Maybe(Whole(1, 1000)),
        "columns": Maybe(Each(str)),
        "form": Maybe(str),
    }

    limited: ClassVar[bool] = False

    def read(self, task: Task) -> list[Example]:
        """Returns the examples of the split whose score counts."""
        runs = asked(task)
        config = apply_overrides(runs.config, runs.settings)
        assert isinstance(config.task, LabelledTaskConfig)
        problem = getattr(config.task, "problem", "")
        return splits_of(config.task.name, problem, config.task.data, config.evaluation.seed)[runs.split]

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
        """Returns a `FineTuned`, alone."""
        if setting.finetune is None:
            raise InputError(
                "there is no trainer for tasks with labels here",
                where=task.place,
                fix="Leave the task out of the suite, or type `jaxbert evaluate --suite`.",
                code="E-SUITE-FINETUNE",
            )
        return [setting.finetune(model.source, asked(task))]

    def score(self, task: Task, items: Sequence[Example], answers: Sequence[Any], setting: Setting) -> Outcome:
        """See `Kind`."""
        (trained,) = answers
        return self._outcome(task, trained, trained.scores)

    def score_part(
        self, task: Task, items: Sequence[Example], answers: Sequence[Any], kept: Sequence[int], setting: Setting
    ) -> Outcome | None:
        """See `Kind`."""
        (trained,) = answers
        scores = trained.score_part(kept)
        return None if scores is None else self._outcome(task, trained, scores)

    def _outcome(self, task: Task, trained: FineTuned, seeds: Sequence[Mapping[str, float]]) -> Outcome:
        metric, failed = trained.metric.name, trained.failed
        names = [name for name in seeds[0] if all(name in one for one in seeds)]
        found = {name: over_seeds([one[name] for one in seeds]) for name in names}
        if metric not in found:
            found[metric] = over_seeds([float("nan")])
        details = {
            "metric": metric,
            "shown": to_json([trained.metric])[0],
            "split": asked(task).split,
            "seeds": len(seeds),
            "failed": list(failed),
            "scores": [dict(one) for one in seeds],
            "metrics": {name: interval.to_json() for name, interval in found.items()},
        }
        notes = [f"The score is {metric} on the {asked(task).split} split."]
        if failed:
            notes.append(
                f"{len(failed)} of {counted(len(seeds), 'seed')} did not learn ({seeds_named(failed)}): a constant "
                "answer is no worse. They count in the mean."
            )
        return Outcome({"score": found[metric]}, details, notes)


def asked(task: Task) -> FineTuning:
    """Returns the runs that a task asks for. Raises InputError where its files or its config are wrong."""
    options = task.options
    if len(task.files) > len(_SPLITS):
        raise InputError(
            f"a task to fine-tune has at most {len(_SPLITS)} files, and this one has {len(task.files)}",
            where=task.place,
            fix='Write "files": ["train.jsonl", "validation.jsonl", "test.jsonl"].',
            code="E-SUITE-ITEM",
        )
    name = options.get("config") or "classify"
    config = find_config(task.path(name) if name.endswith((".py", ".json")) else name)
    if not isinstance(config.task, LabelledTaskConfig):
        raise task.wrong(
            "config", f"the config {name} has the task {config.task.name}, which learns without labels", _FIX
        )
    kind_of_task(config)
    files = dict(zip(_SPLITS, task.files, strict=False))
    columns = tuple(f"{role}={column}" for role, column in (options.get("columns") or {}).items())
    given: dict[str, Any] = {**files, **({"columns": columns} if columns else {})}
    if options.get("form"):
        given["form"] = options["form"]
    data: LabelledConfig = dataclasses.replace(config.task.data, **given)
    return FineTuning(
        task.name,
        dataclasses.replace(config, task=dataclasses.replace(config.task, data=data)),
        tuple(map(with_long_key, options.get("settings") or ())),
        options.get("seeds") or SEEDS,
        "test" if "test" in files else "validation",
    )


_FIX = "Give a config of a task with labels, for example classify."

KIND = FineTunedTask()
