"""The tasks of GLUE, from the TSV files of its archive (gluebenchmark.com): `glue:TASK:FOLDER`.

The files have no quoting: a quote is a character. CoLA's train.tsv and dev.tsv have no row of names. The test files
have no labels. A few published lines are broken: they have another number of cells than there are columns. They are
left out, and a warning names each of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.finding import matching, printable
from jaxbert.data.sources.lines import check_head, check_regular
from jaxbert.data.sources.packed import ENDINGS
from jaxbert.data.sources.table import open_table
from jaxbert.errors import InputError, counted
from jaxbert.labelled.tables import Records

_log = logging.getLogger(__name__)

_SPLITS = {"train": ("train",), "validation": ("dev",), "test": ("test",)}
# A file in which more than this share of the lines is broken is another kind of file.
_MOST_BROKEN = 0.01
# The number of broken lines that a warning names.
_NAMED = 20


@dataclass(frozen=True)
class GlueTask:
    """A task of GLUE.

    Attributes:
      folder: the name of its folder in the archive.
      text, pair, label: the names of the columns; `pair` is "" for single texts.
      splits: the beginnings of the names of the files of each split, without ".tsv".
      unnamed: the names of the columns of files that have no row of names; () where all files have one.
      problem: the kind of the answers, see `open_examples`.
    """

    folder: str
    text: str
    pair: str
    label: str
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _SPLITS)
    unnamed: tuple[str, ...] = ()
    problem: str = "one_label"


_MNLI = {
    "train": ("train",),
    "validation": ("dev_matched",),
    "validation_mismatched": ("dev_mismatched",),
    "test": ("test_matched",),
    "test_mismatched": ("test_mismatched",),
}
# The archive's names of the columns. The README of CoLA names those of CoLA.
TASKS: Mapping[str, GlueTask] = {
    "cola": GlueTask("CoLA", "sentence", "", "label", unnamed=("source", "label", "star", "sentence")),
    "sst2": GlueTask("SST-2", "sentence", "", "label"),
    "mrpc": GlueTask("MRPC", "#1 String", "#2 String", "Quality"),
    "qqp": GlueTask("QQP", "question1", "question2", "is_duplicate"),
    "stsb": GlueTask("STS-B", "sentence1", "sentence2", "score", problem="number"),
    "mnli": GlueTask("MNLI", "sentence1", "sentence2", "gold_label", splits=_MNLI),
    "qnli": GlueTask("QNLI", "question", "sentence", "label"),
    "rte": GlueTask("RTE", "sentence1", "sentence2", "label"),
    "wnli": GlueTask("WNLI", "sentence1", "sentence2", "label"),
}


def task_of(place: str) -> GlueTask:
    """Returns the task of `glue:TASK:FOLDER`.

    Raises:
      InputError: there is no such task.
    """
    name = place.split(":")[1]
    if name not in TASKS:
        raise InputError(
            f"unknown task {name!r} of GLUE",
            where=place,
            fix=f"{did_you_mean(name, list(TASKS))}Known: {', '.join(TASKS)}.",
            code="E-LABELLED-FORM",
        )
    return TASKS[name]


def open_glue(place: str, *, split: str) -> Records:
    """Opens `glue:TASK:FOLDER`, where FOLDER is the folder of the task, the one that holds it, or one file.

    Raises:
      InputError: there is no such task or file, or the file has other columns.
    """
    task = task_of(place)
    path = file_of(place, split)
    check_regular(path)
    check_head(path)
    name = printable(str(path))
    names, header = _columns(path, task)
    lacking = [one for one in (task.text, task.pair) if one and one not in names]
    if lacking:
        raise InputError(
            f"no column {lacking[0]!r}",
            where=name,
            fix=f"The columns are {', '.join(names)}. Give the file of the task as GLUE's archive has it; or give the "
            "file without glue:, and name its columns.",
            code="E-LABELLED-COLUMN",
        )

    def read() -> Iterator[tuple[str, Mapping[str, Any]]]:
        table = open_table(path, delimiter="\t", quotes=False, header=header)
        broken: list[int] = []
        rows = 0
        for number, _, row in table.rows():
            if len(row) == len(names):
                rows += 1
                yield f"{name}, line {number}", dict(zip(names, row, strict=True))
                continue
            broken.append(number)
            if len(broken) > max(_NAMED, _MOST_BROKEN * (rows + len(broken))):
                raise table.wrong_row(row, number)
        if broken:
            lines = ", ".join(map(str, broken[:_NAMED])) + (" ..." if len(broken) > _NAMED else "")
            _log.warning(
                f"{name}: left out {counted(len(broken), 'broken line')}, which have another number of cells than "
                f"there are columns ({len(names)}): {lines}"
            )

    return Records(name, names, read)


def _columns(path: Path, task: GlueTask) -> tuple[list[str], bool]:
    """Returns the names of the columns, and whether the first row has them."""
    names = open_table(path, delimiter="\t", quotes=False).names
    if len(names) == len(task.unnamed) and task.text not in names:
        return list(task.unnamed), False
    return names, True


def is_file(place: str) -> bool:
    """Returns whether `glue:TASK:PATH` names a file, which is one split, and not a folder with all of them."""
    return _path_of(place).is_file()


def _path_of(place: str) -> Path:
    return Path(place.split(":", 2)[2] if place.count(":") > 1 else "").expanduser()


def file_of(place: str, split: str) -> Path:
    """Returns the file of a split of `glue:TASK:FOLDER`.

    Raises:
      InputError: there is no such task, split or file.
    """
    task = task_of(place)
    folder = _path_of(place)
    if folder.is_file():
        return folder
    if split not in task.splits:
        raise InputError(
            f"no split {split!r}", where=place, fix=f"Splits there: {', '.join(task.splits)}.", code="E-SOURCE-SPLIT"
        )
    tried = [f"{stem}.tsv" for stem in task.splits[split]]
    for inside in (folder, folder / task.folder):
        for file in tried:
            for ending in ("", *ENDINGS):
                if matching(str(inside / f"{file}{ending}")):
                    return inside / f"{file}{ending}"
    raise InputError(
        f"no {' or '.join(tried)} in the folder",
        where=place,
        fix=f"Give glue:TASK:FOLDER with the folder {task.folder} of GLUE's archive, or the one that holds it.",
        code="E-SOURCE-FILE",
    )
