"""Compares a file with what a run of `jaxbert finetune` learned from: its columns, and pairs or single texts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from jaxbert.config import LabelledTaskConfig, load_json
from jaxbert.errors import InputError
from jaxbert.inputs.files import open_regular
from jaxbert.inputs.values import parse
from jaxbert.labelled.columns import columns_of
from jaxbert.labelled.examples import Example, TextExample
from jaxbert.labelled.opening import has_splits
from jaxbert.labelled.tables import open_records
from jaxbert.labelled.writing import examples_file

_log = logging.getLogger(__name__)


def learned_columns(
    workdir: Path, source: str, file: str, *, form: str = "", unread: Collection[str] = ()
) -> dict[str, str]:
    """Returns the columns that a run's user has named, as far as a file has them.

    They come before the usual names: a run that learned from `review` must not read `text`. A warning names the columns
    that the file lacks. Datasets by name, files of CoNLL, SQuAD and GLUE, and lines do not have the columns of another
    file.

    Args:
      workdir: of the run.
      source: the run, as its user names it.
      file: the file, or the dataset.
      form: its format; "" for the one by its name.
      unread: roles that are not read.
    """
    task = load_json(workdir / "config.json").task
    if not isinstance(task, LabelledTaskConfig) or has_splits(file) or file.startswith("glue:"):
        return {}
    learned = {role: name for role, name in columns_of(task.data.columns).items() if role not in unread}
    if not any(learned.values()):
        return {}
    try:
        wanted = [one for name in learned.values() for one in name.split(",") if one]
        fields = open_records(file, split="test", wanted=wanted, form=form).fields
    except InputError:  # It is a file of another form, such as lines or CoNLL's, or it cannot be read at all.
        return {}
    there = {role: name for role, name in learned.items() if all(one in fields for one in name.split(",") if one)}
    if len(there) < len(learned):
        told = ", ".join(f"{role} from {name!r}" for role, name in learned.items() if role not in there)
        _log.warning(f"{file} lacks columns that {source} learned from ({told}); name them: --columns")
    return there


def like_training(workdir: Path | None, source: str, file: str, examples: Iterator[Example]) -> Iterator[Example]:
    """Yields examples. Warns where a run learned from pairs of texts and the file has none, or the reverse.

    Args:
      workdir: of the run; None for a model that does not say what it learned from.
      source: the run, as its user names it.
      file: the file.
      examples: of the file.
    """
    pairs = None if workdir is None else _had_pairs(workdir)
    for number, example in enumerate(examples):
        if number == 0 and isinstance(example, TextExample) and pairs not in (None, example.pair is not None):
            given, learned = ("single texts", "pairs of texts") if pairs else ("pairs of texts", "single texts")
            fix = "name the columns of both: --columns text=A pair=B" if pairs else "--columns pair= leaves it out"
            _log.warning(f"{file}: {given}, but {source} learned from {learned} ({fix})")
        yield example


def _had_pairs(workdir: Path) -> bool | None:
    """Returns whether a run's train examples were pairs of texts; None where the run's files do not say it."""
    for path in workdir.glob(f"data/rows-*/{examples_file('train')}"):
        with contextlib.suppress(OSError, ValueError, InputError), open_regular(path) as file:
            first = parse(file.readline())
            return isinstance(first, dict) and "pair" in first
    return None
