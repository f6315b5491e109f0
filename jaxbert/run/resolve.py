"""Completes the config of a run, once: inherited parts, the teacher's encoder, and the layout."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import suppress
from pathlib import Path

import jax

from jaxbert.config import RunConfig, check, load_json
from jaxbert.convert.names import why_not_written
from jaxbert.errors import InputError
from jaxbert.fit.passes import as_begun
from jaxbert.models.model import Model
from jaxbert.plan.layouts import chosen_here
from jaxbert.run import teacher as teachers
from jaxbert.run.before import check_tasks
from jaxbert.run.inherit import inherit
from jaxbert.run.initial import tokenizer_for_rows
from jaxbert.run.inputs import task_tokenizer
from jaxbert.run.teacher import Teacher
from jaxbert.run.wanted import Wanted
from jaxbert.tasks import kind_of_task, make_task
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.library import Loaded, load

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A run that can begin.

    Attributes:
      config: complete and checked against the devices. The workdir saves it.
      initial: the model of `--init`, if the config inherited from it; None where it is not open.
      teacher: the teacher of a distilled run.
    """

    config: RunConfig
    initial: Loaded | None
    teacher: Teacher | None


def resolve(wanted: Wanted, workdir: Path, *, overwrite: bool = False) -> Resolved:
    """Returns `wanted` as a complete run on the devices of all processes. Writes no file of the run.

    In this order: what the config inherits from the initial model or tokenizer, `--set`, the steps that `max_passes`
    has left to a run that has begun, what a task finds in labelled files, the teacher's encoder and tokenizer, the
    layout in the place of `auto`.

    Raises:
      InputError: a model, tokenizer or teacher cannot be used, or the complete config breaks a rule.
    """
    config, initial = inherit(wanted, workdir, overwrite=overwrite)
    if config.max_passes and not overwrite and (workdir / "config.json").is_file():
        # Where the config cannot be read, `check_workdir` says so.
        with suppress(InputError):
            config = as_begun(config, wanted.settings, load_json(workdir / "config.json"))
    config, initial = _completed(config, wanted, initial, workdir, overwrite=overwrite)
    config, teacher = teachers.resolve(config, workdir)
    config = chosen_here(config, jax.devices())
    check(config, jax.device_count())
    check_tasks(config, taught=teacher is not None)
    task = make_task(config, config.phases[-1])
    if isinstance(task.parts, Model) and (why := why_not_written(config.encoder, task.parts.heads)):
        _log.warning(f"this run trains, but `jaxbert convert` will not write its model as it is: {why}")
    return Resolved(config, initial, teacher)


def _completed(
    config: RunConfig, wanted: Wanted, initial: Loaded | None, workdir: Path, *, overwrite: bool
) -> tuple[RunConfig, Loaded | None]:
    """Returns the config with what its task finds in labelled files, and the initial model if it had to be opened.

    A run that has begun keeps what it found, and needs neither its files nor its model for this.
    """
    complete = kind_of_task(config).complete
    if complete is None:
        return config, initial
    begun = None
    if not overwrite:
        with suppress(InputError):
            begun = load_json(workdir / "config.json")
    keys = [setting.key for setting in wanted.settings]
    if begun is not None and Tokenizer.present(workdir / "tokenizer"):
        tokenizer = Tokenizer.load(workdir / "tokenizer")
    else:
        if initial is None and config.init and not config.data.tokenizer:
            initial = load(config.init)
        tokenizer = tokenizer_for_rows(config, initial) or task_tokenizer(config)
    return complete(config, tokenizer, begun, keys), initial
