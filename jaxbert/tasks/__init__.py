"""The tasks that a run can learn. A task is one file and one line in `TASKS`; `jaxbert.tasks.base` has its contract."""

from __future__ import annotations

from collections.abc import MutableMapping

from jaxbert.config import PhaseConfig, RunConfig, did_you_mean
from jaxbert.core.tables import Table
from jaxbert.errors import InputError
from jaxbert.tasks.base import Task, TaskKind

TASKS: MutableMapping[str, TaskKind] = Table(
    "KIND",
    {
        "pretraining": "jaxbert.tasks.pretraining",
        "classification": "jaxbert.tasks.sequences",
        "token_labels": "jaxbert.tasks.token_labels",
        "question_answering": "jaxbert.tasks.answers",
        "multiple_choice": "jaxbert.tasks.choices",
        "sentence_vectors": "jaxbert.tasks.vectors",
    },
)

__all__ = ["TASKS", "Task", "TaskKind", "kind_of_task", "make_task"]


def kind_of_task(config: RunConfig) -> TaskKind:
    """Returns the entry of `TASKS` that a config selects.

    Raises:
      InputError: no task has this name, or its settings are of another class.
    """
    name = config.task.name
    if name not in TASKS:
        raise InputError(
            f"no task is called {name!r}",
            where="task.name",
            fix=f"{did_you_mean(name, list(TASKS))}Known: {', '.join(TASKS)}.",
            code="E-CONFIG-NAME",
        )
    kind = TASKS[name]
    if not isinstance(config.task, kind.config):
        raise InputError(
            f"the task {name} takes a {kind.config.__name__}, and the config has a {type(config.task).__name__}",
            where="task",
            fix=f"Write task={kind.config.__name__}(name={name!r}).",
            code="E-TASK-CONFIG",
        )
    return kind


def make_task(config: RunConfig, phase: PhaseConfig) -> Task:
    """Returns the task of a run for the rows of one phase. Touches no file and no device.

    Raises:
      InputError: the config breaks a rule of the task.
    """
    kind = kind_of_task(config)
    kind.check(config)
    return kind.make(config, phase)
