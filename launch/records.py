"""What was launched for which workdir, so that `launch status`, `logs` and `stop` need only the workdir.

A record has names and options, never commands: those are made anew, from options that are checked again, so that
whoever may write a workdir cannot say what runs on the machine of whoever asks for its status.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jaxbert.errors import InputError
from jaxbert.stores.storage import is_remote

_NAME = "job.json"


def state_directory() -> Path:
    """Where this machine keeps what it launched: `XDG_STATE_HOME`/jaxbert, ~/.local/state/jaxbert."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "jaxbert"


def folder(workdir: str) -> Path:
    """Of this machine's files of the job of a workdir."""
    return state_directory() / "launches" / hashlib.sha256(workdir.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def write(workdir: str, target: str, name: str, options: Mapping[str, Any]) -> None:
    """Remembers a launch: here, and on a disk in the workdir too."""
    content = json.dumps({"workdir": workdir, "target": target, "name": name, "options": options}, indent=1) + "\n"
    places = [folder(workdir)] if is_remote(workdir) else [folder(workdir), Path(workdir) / "launch"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / _NAME).write_text(content, encoding="utf-8")


def sent(workdir: str) -> tuple[str, ...]:
    """The command that leaves the record in a bucket."""
    return ("gcloud", "storage", "cp", str(folder(workdir) / _NAME), f"{workdir}/launch/{_NAME}")


def read(workdir: str) -> tuple[str, str, Namespace]:
    """(target, name, options) of the launch of `workdir`: of this machine, else as the workdir itself has it.

    Raises:
      InputError: nothing is known of one.
    """
    content = ""
    with suppress(OSError):
        content = (folder(workdir) / _NAME).read_text(encoding="utf-8")
    if not content and is_remote(workdir):
        with suppress(OSError):
            command = ("gcloud", "storage", "cat", f"{workdir}/launch/{_NAME}")
            content = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    elif not content:
        with suppress(OSError):
            content = (Path(workdir) / "launch" / _NAME).read_text(encoding="utf-8")
    if not content:
        raise InputError(
            "nothing was launched for it", where=f"--workdir {workdir}", fix="Give the --workdir of a launch."
        )
    try:
        found = json.loads(content)
        return str(found["target"]), str(found["name"]), Namespace(**{**found["options"], "workdir": workdir})
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"unreadable record of a launch: {error}", where=workdir, fix="Ask the engine itself."
        ) from None
