"""Records of launches, so that `jaxbert launch status`, `logs` and `stop` need the workdir only.

A record holds names and options, and no commands. The target makes the commands again from options that are checked
again. So a person who can write to a workdir cannot choose what runs on the machine of a person who asks for its
status.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shlex
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

from jaxbert.errors import InputError, Interrupted
from jaxbert.inputs.files import open_regular, read_bytes
from jaxbert.inputs.values import checked, short
from jaxbert.stores.files import write_whole
from jaxbert.stores.schemes import scheme_of
from jaxbert.stores.storage import Bucket, is_remote

_NAME = "job.json"
# The most bytes of a record. It has some hundred.
_LONGEST = 1 << 20


@dataclass(frozen=True)
class Record:
    """One launch.

    Attributes:
      workdir: workdir of the run.
      target: the name of the target.
      name: the name of the job.
      options: the target's options, as the record has them: not checked.
      own: whether the record is this user's on this machine. A record from the workdir may be somebody else's.
    """

    workdir: str
    target: str
    name: str
    options: Mapping[str, Any]
    own: bool = True

    def checked_options(self, remembered: Mapping[str, type | UnionType]) -> Namespace:
        """Returns the remembered options and the workdir.

        Raises:
          InputError: an option is missing, or its value has the wrong type.
        """
        found: dict[str, Any] = {}
        for option, kind in remembered.items():
            value = self.options.get(option)
            if not isinstance(value, kind):
                raise damaged(self.workdir, f"its option {option} is {short(value)}")
            found[option] = value
        return Namespace(**found, workdir=self.workdir)


@contextmanager
def permitted(path: Path) -> Iterator[None]:
    """Raises InputError in place of an OSError that says that the user may not read or write `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise InputError(
            "there is no permission to read or write this file of a launch",
            where=str(path),
            fix="Change its mode or owner, or set XDG_STATE_HOME to another directory.",
            code="E-LAUNCH-PERMISSION",
        ) from None


def state_directory() -> Path:
    """Returns the directory of this machine's records: `XDG_STATE_HOME`/jaxbert, else ~/.local/state/jaxbert."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "jaxbert"


def folder(workdir: str) -> Path:
    """Returns the directory of this machine that holds the files of a workdir's job."""
    return state_directory() / "launches" / hashlib.sha256(workdir.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def write(workdir: str, target: str, name: str, options: Mapping[str, Any], *, reached: bool = True) -> None:
    """Writes the record of a launch on this machine, and also into a workdir that is on a disk.

    Args:
      workdir: the run's workdir.
      target: the name of the target.
      name: the name of the job.
      options: the options that `Target.control` needs.
      reached: whether this machine has the disk. If not, other machines cannot find the record.
    """
    for place in places(workdir) if reached else [folder(workdir)]:
        write_to(place, workdir, target, name, options)


def places(workdir: str) -> list[Path]:
    """Returns the directories of the records of a workdir: this user's on this machine, and the one in the workdir."""
    return [folder(workdir)] if is_remote(workdir) else [folder(workdir), Path(workdir) / "launch"]


def write_to(place: Path, workdir: str, target: str, name: str, options: Mapping[str, Any]) -> None:
    """Writes the record of a launch into one of `places`."""
    with permitted(place / _NAME):
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / _NAME, _content_of(workdir, target, name, options))


def _content_of(workdir: str, target: str, name: str, options: Mapping[str, Any]) -> str:
    return json.dumps({"workdir": workdir, "target": target, "name": name, "options": dict(options)}, indent=1) + "\n"


def sent(workdir: str) -> tuple[str, ...]:
    """Returns the command that copies this machine's record into a workdir at gs://."""
    return ("gcloud", "storage", "cp", str(folder(workdir) / _NAME), f"{workdir}/launch/{_NAME}")


def put(workdir: str) -> None:
    """Copies this machine's record into a workdir in a bucket by the filesystem of fsspec, which a run there has.

    Raises:
      InputError: the package is missing, or there is no permission.
      Interrupted: the network failed.
    """
    Bucket(workdir).write(f"launch/{_NAME}", read_bytes(folder(workdir) / _NAME))


def send(workdir: str) -> None:
    """Copies this machine's record into a workdir in a bucket.

    gcloud does it for gs://, because it is on every machine that launches there and is logged in. The filesystem of
    fsspec does it for other buckets.

    Raises:
      InputError: the program or the package is missing, or there is no permission.
      Interrupted: the copy failed.
    """
    if scheme_of(workdir) != "gs":
        put(workdir)
        return
    if shutil.which("gcloud") is None:
        raise InputError(
            "gcloud is not on PATH",
            where=workdir,
            fix="Install the Google Cloud CLI.",
            code="E-LAUNCH-PROGRAM",
        )
    done = subprocess.run(sent(workdir), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise Interrupted(
            f"gcloud did not copy the record: {why}",
            where=workdir,
            fix=f"Run it yourself: {shlex.join(sent(workdir))}",
            code="E-LAUNCH-RECORD-COPY",
        )


def put_back(workdir: str, record: Record) -> None:
    """Writes an earlier record of a workdir into the workdir again.

    Raises:
      InputError: there is no permission.
      Interrupted: the network failed.
    """
    content = _content_of(workdir, record.target, record.name, record.options)
    if is_remote(workdir):
        Bucket(workdir).write(f"launch/{_NAME}", content.encode())
    else:
        with permitted(path := Path(workdir) / "launch" / _NAME):
            write_whole(path, content)


def read(workdir: str) -> Record:
    """Returns the record of the launch of `workdir`: this machine's, else the one in the workdir.

    Raises:
      InputError: there is no record, or it is damaged.
    """
    for find in (own, in_workdir):
        record = find(workdir)
        if record is not None:
            return record
    raise InputError(
        "no launch of this workdir is known",
        where=f"--workdir {workdir}",
        fix="Give the --workdir of a launch.",
        code="E-LAUNCH-UNKNOWN",
    )


def own(workdir: str) -> Record | None:
    """Returns this user's record on this machine, if there is one. Raises InputError if it is damaged."""
    return _record(workdir, _content(folder(workdir) / _NAME), own=True)


def in_workdir(workdir: str) -> Record | None:
    """Returns the record in the workdir, if there is one. Raises InputError if it is damaged."""
    content = _from_bucket(workdir) if is_remote(workdir) else _content(Path(workdir) / "launch" / _NAME)
    return _record(workdir, content, own=False)


def _record(workdir: str, content: bytes | None, *, own: bool) -> Record | None:
    if content is None:
        return None
    try:
        found = checked(content, {"target": str, "name": str, "options": dict})
    except ValueError as error:
        raise damaged(workdir, str(error)) from None
    return Record(workdir, found["target"], found["name"], found["options"], own)


def _content(path: Path) -> bytes | None:
    try:
        with permitted(path), open_regular(path) as file:
            return file.read(_LONGEST)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _from_bucket(workdir: str) -> bytes:
    url = f"{workdir}/launch/{_NAME}"
    google = scheme_of(workdir) == "gs"
    if not google or shutil.which("gcloud") is None:
        try:
            return Bucket(workdir).read(f"launch/{_NAME}")[:_LONGEST]
        except FileNotFoundError:
            raise InputError(
                "no launch of this workdir is known: the bucket has no record",
                where=url,
                fix="Give the --workdir of a launch.",
                code="E-LAUNCH-UNKNOWN",
            ) from None
        except InputError as error:
            if not google or error.code != "E-STORE-SCHEME":
                raise
            raise InputError(
                "this machine has no record of the launch, and neither gcloud nor gcsfs, which read the bucket",
                where=f"--workdir {workdir}",
                fix='Install the Google Cloud CLI, or pip install "jaxbert[gcs]", or ask on the machine that launched.',
                code="E-LAUNCH-PROGRAM",
            ) from None
    done = subprocess.run(("gcloud", "storage", "cat", url), capture_output=True, check=False)
    if done.returncode or not done.stdout:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        # gcloud's advice follows its error, and its warnings come before.
        said = next((line for line in lines if line.startswith("ERROR:")), lines[-1] if lines else "")
        raise InputError(
            f"no launch of this workdir is known: gcloud cannot read the record{f' ({said})' if said else ''}",
            where=url,
            fix="Give the --workdir of a launch, or correct what gcloud reports.",
            code="E-LAUNCH-UNKNOWN",
        )
    return done.stdout


def damaged(workdir: str, why: str) -> InputError:
    """Returns the error for a record that cannot be used."""
    return InputError(
        f"the record of this launch cannot be used: {why}",
        where=workdir,
        fix="Use the engine's own commands.",
        code="E-LAUNCH-RECORD",
    )
