"""The parts of a workdir, and where they are: on a disk, or in a bucket. Imports no jax."""

from __future__ import annotations

import os
from pathlib import Path

from jaxbert.errors import InputError
from jaxbert.inputs.files import read_text
from jaxbert.stores.lease import DIRECTORY as LEASE
from jaxbert.stores.schemes import WRITABLE, examples, scheme_of
from jaxbert.stores.storage import Storage, is_remote, storage

CHECKPOINTS, LAUNCH, LOGS = "checkpoints", "launch", "logs"
# What a run computes and what it measures, line by line; and the table of its parameters.
METRICS, TELEMETRY, PARAMETERS = "metrics.jsonl", "telemetry.jsonl", "parameters.txt"
# What follows the training of a run: the figures of `jaxbert evaluate`, and the model for transformers.
EVALUATION, EXPORT = "evaluation.json", "hf"
# The metrics and the worst errors of a fine-tuned run; and the results of a fine-tuning with several runs.
JUDGEMENT, FINETUNE = "judgement.json", "finetune.json"
# The outputs of a fine-tuned run for the rows of a split, where a suite may score a part of the examples.
OUTPUTS = "outputs-{split}.npz"
# What a fine-tuned model gets right of changed texts: the place that the page reads of what `jaxbert evaluate --suite
# FILE --json` writes.
SUITE = "suite.json"
# The page about the run, and the picture of its loss.
PAGE, PNG = "report.html", "loss.png"
# The judgement of the corpus.
CORPUS = "corpus.json"
# In the folder `data`: the settings with which a run has prepared its text.
PREPARED = "prepared.json"
# What the model predicted for fixed sentences, at each evaluation.
PREDICTIONS = "predictions.jsonl"
# The recipe of a run that `jaxbert pretrain auto` chose: its record, and a config file for people.
RECIPE = ("auto.json", "auto.py")
# The file that holds the URL of a workdir in a bucket, in the directory of this machine that belongs to it.
REMOTE = ".remote"
_LONGEST_URL = 1 << 16
# A workdir may hold these before a run begins: a launcher's files, the lease of a run that could not begin, and a
# recipe whose run was killed before its config was written.
BEFORE = frozenset({LEASE, LAUNCH, LOGS, REMOTE, *RECIPE})


def check_run(workdir: Path) -> None:
    """Checks that a directory is the workdir of a run.

    Raises:
      InputError: there is no such directory, or it has no config.json.
    """
    if not workdir.is_dir():
        what = "the path is a file, but a workdir is needed" if workdir.exists() else "there is no such workdir"
    elif not (workdir / "config.json").is_file():
        what = "the directory has no config.json, so it is not the workdir of a run"
    else:
        return
    raise InputError(
        what, where=str(workdir), fix="Give the --workdir of a `jaxbert pretrain`.", code="E-WORKDIR-MISSING"
    )


def check_place(place: Path | str, *, writes: bool) -> None:
    """Checks that a run can be kept at a path or URL, and that Orbax can find its checkpoints there.

    Orbax looks for the files of a checkpoint by patterns that begin with its path, so it does not find what it wrote
    where the path has `[`, or it finds the files of another run. TensorStore takes a backslash for a slash, and it
    takes only paths that are UTF-8.

    Args:
      place: the workdir of a run.
      writes: whether checkpoints are written. Reading uses no patterns.

    Raises:
      InputError: a character of the path, or of the path that a link leads to, has another meaning there; or nothing is
        known of the kind of bucket, so that two runs could write to one workdir.
    """
    name = str(place) if is_remote(place) else os.path.realpath(place)
    if is_remote(place) and writes and scheme_of(name) not in WRITABLE:
        raise InputError(
            f"a workdir cannot be at {scheme_of(name)}://, because it is not known that only one run could write there",
            where=name,
            fix=f"Give a directory, {examples()}.",
            code="E-WORKDIR-SCHEME",
        )
    try:
        name.encode()
    except UnicodeEncodeError:
        what = "the path is not UTF-8"
    else:
        wrong = sorted(set(name) & set("*?[]\\" if writes else "\\"))
        if not wrong:
            return
        characters = " and ".join(map(repr, wrong)).replace("\\\\", "\\")
        what = f"the path has {characters}, which the library that writes checkpoints reads as a pattern or a slash"
    raise InputError(what, where=name, fix="Choose a path of other characters.", code="E-WORKDIR-PATH")


def storage_of(workdir: Path) -> Storage:
    """Returns the storage of the checkpoints and the lease of a run: its workdir, or the bucket that it belongs to."""
    url = _url(workdir)
    return storage(workdir if url is None else url)


def workdir_of(model: Path) -> tuple[Path, int | None]:
    """Splits the path of a checkpoint, WORKDIR/checkpoints/STEP, into (WORKDIR, STEP).

    Any other path is taken as a workdir: the result is (`model`, None). Nothing is read from the disk.
    """
    workdir, step = split_checkpoint(str(model))
    return (model, None) if step is None else (Path(workdir), step)


def split_checkpoint(model: str) -> tuple[str, int | None]:
    """Does what `workdir_of` does, for a path or a URL as a string; a URL keeps its two slashes."""
    parent, _, step = model.rstrip("/").rpartition("/")
    workdir, _, name = parent.rpartition("/")
    if name != CHECKPOINTS or not (step.isascii() and step.isdigit()):
        return model, None
    return workdir or ("/" if parent.startswith("/") else "."), int(step)


def names_checkpoint(model: str) -> bool:
    """Returns whether a path has the form WORKDIR/checkpoints/WORD, whatever the word is."""
    return model.rstrip("/").rpartition("/")[0].rpartition("/")[2] == CHECKPOINTS


def _url(workdir: Path) -> str | None:
    try:
        url = read_text(workdir / REMOTE, most=_LONGEST_URL).strip()
    except OSError:
        return None
    except ValueError:
        url = ""
    if not is_remote(url) or "\0" in url:
        raise InputError(
            "the file is damaged: it must hold the URL of the workdir",
            where=str(workdir / REMOTE),
            fix="Remove this directory. The workdir in the bucket is not touched.",
            code="E-WORKDIR-REMOTE",
        )
    return url


def name_of(workdir: Path) -> str:
    """Returns the workdir as the user names it: its URL, or its path."""
    return _url(workdir) or str(workdir)
