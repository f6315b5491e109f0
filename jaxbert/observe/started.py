"""The facts that a process states when it begins to train: versions, date, command, code and machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jaxbert
from jaxbert.core.machine import cores

_PACKAGES = (
    *("jaxbert", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint"),
    *("tokenizers", "sentencepiece", "numpy"),
)
# Seconds that git may take; without its answer, only the version is known.
_PATIENCE_S = 5.0


def started() -> dict[str, Any]:
    """Returns the facts of this process for its first line of telemetry.jsonl.

    Keys: "versions" of Python and of packages by name; "started", the date in UTC; "command", if a shell started the
    process; "code", the version of this package and the commit of its checkout, if it has one; "machine".
    """
    versions = _versions()
    facts = {
        "versions": versions,
        "started": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "code": " ".join(filter(None, ("jaxbert", versions.get("jaxbert"), _commit(Path(jaxbert.__file__).parent)))),
        "machine": f"{platform.system()} {platform.machine()}, {cores()} cores{_processor()}",
    }
    command = _command(sys.argv)
    return facts | ({"command": command} if command else {})


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _command(argv: list[str]) -> str:
    """Returns the command of the shell; "" where another program calls this package as a library."""
    program = Path(argv[0] if argv else "")
    ours = program.name == "jaxbert" or (program.name == "__main__.py" and program.parent.name == "jaxbert")
    return shlex.join(["jaxbert", *argv[1:]]) if ours else ""


def _commit(package: Path) -> str:
    """Returns the commit of the checkout that the package is in, and whether it was changed; "" where there is none.

    An environment may be inside the checkout of another project. So git must know the files of the package.
    """
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=package,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=_PATIENCE_S,
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return f"(commit {git('describe', '--always', '--dirty', '--abbrev=12', '--exclude=*')})"
    except (OSError, subprocess.SubprocessError):
        return ""


def _processor() -> str:
    """Returns ", NAME" for a processor that the kernel names; "" otherwise."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return f", {value.strip()}"
    return ""
