"""Checks a run as far as a launcher can, before its processes start. It asks no device and makes no file.

`pretrain` makes the same checks again, with the devices that it finds.
"""

from __future__ import annotations

from pathlib import Path

from jaxbert.config import RunConfig, all_sinks, check_devices
from jaxbert.errors import InputError
from jaxbert.observe.sinks import check_installed
from jaxbert.run.inputs import check_named_inputs
from jaxbert.run.wanted import Wanted
from jaxbert.stores.storage import is_remote
from jaxbert.tasks import make_task


def check_before(
    asked: Wanted, *, devices: int | None, workdir: str, overwrite: bool = False, here: bool = True
) -> None:
    """Checks what the user asks for, on this machine, which runs the processes or shares its disk with those that do.

    Args:
      asked: the run.
      devices: the number of devices of all processes; None if that is not known before they start.
      workdir: of the run. A run that has begun there needs no text, no tokenizer and no initial model any more.
      overwrite: begin again; a run in `workdir` does not count.
      here: whether the processes see the files and the packages of this machine. If not, only the config is checked.

    Raises:
      InputError: the mesh or the batches do not suit the devices, a sink is not installed, an input is missing or does
        not suit the config, or the task lacks a teacher.
      Stopped: rows are damaged.
    """
    config = asked.config
    # `auto` chooses a mesh for the chip, so its batches can be checked only where the chip is known.
    if devices is not None and config.mesh.layout != "auto":
        check_devices(config, devices)
    if here:
        check_installed(all_sinks(config.logging))
    # A config that inherits gets its sizes, and a student its teacher's, from a model that is not open yet.
    taught = config.objectives.distillation
    named = taught is not None and bool(taught.teacher)
    complete = not asked.incomplete and (taught is None or taught.encoder is not None or not named)
    if here:
        begun = not overwrite and not is_remote(workdir) and (Path(workdir) / "config.json").is_file()
        check_named_inputs(config, complete=complete, begun=begun)
    if complete:
        check_tasks(config, taught=named)


def check_tasks(config: RunConfig, *, taught: bool) -> None:
    """Checks the task of each phase.

    Args:
      config: the complete config.
      taught: whether the run has a teacher.

    Raises:
      InputError: a task needs a teacher, or the rows that the run would make do not suit it.
    """
    for phase in config.phases:
        task = make_task(config, phase)
        if task.teachers and not taught:
            raise InputError(
                f"the task {config.task.name} learns from a teacher, and the config names none",
                where="objectives.distillation.teacher",
                fix="Set objectives.distillation.teacher=MODEL.",
                code="E-TASK-TEACHER",
            )
        if not phase.rows:
            task.check_rows({"policy": config.data.policy, "length": phase.length}, "data.policy")
