"""The one screen before anything is sent, and all that --dry-run shows."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping
from typing import Any

from jaxbert.launch import planning
from jaxbert.launch.archive import jaxbert_version
from jaxbert.launch.job import Request, Submission

_WIDTH = 100
_INDENT = 12


def lines(
    request: Request, submission: Submission, target: str, figures: Mapping[str, Any] | None, remembered: bool
) -> list[str]:
    """What will be created, where, what it costs, how it resumes, how to watch and how to stop it."""
    place = request.topology
    where = f" on {place.name}" if place is not None else ""
    many = f", {place.slices} slices" if place is not None and place.slices > 1 else ""
    workdir = shlex.quote(request.workdir)
    archive = request.archive
    lock = f"; environment: {archive.lock}" if archive.lock else "; environment: this one"
    rows: list[tuple[str, str]] = [
        *(("creates" if index == 0 else "", line) for index, line in enumerate(submission.creates)),
        ("where", submission.where),
        ("workdir", request.workdir),
        ("code", f"jaxbert {jaxbert_version()}, {archive.files} files, sha256 {archive.sha256[:16]}{lock}"),
    ]
    if figures is not None:
        rows += planning.lines(figures, spot=request.spot)
        if remembered:
            rows.append(("", "(planned before, for the same config, topology and code)"))
    else:
        rows.append(("costs", "not known: no --topology was given, so that nothing was planned"))
    if request.secrets:
        rows.append(("secrets", ", ".join(request.secrets) + ", by reference"))
    rows += [
        ("resumes", f"{submission.resumes}. It goes on from the last checkpoint in the workdir"),
        ("ends", submission.ends),
        ("watch", f"jaxbert launch status --workdir {workdir}"),
        ("", f"jaxbert launch logs --workdir {workdir}"),
        ("stop", f"jaxbert launch stop --workdir {workdir}"),
    ]
    found = [f"{request.config}{where}{many}, by {target}, as {request.name}"]
    for word, text in rows:
        found += _row(word, text)
    return found


def _row(word: str, text: str) -> list[str]:
    # Commands stay on one line, to be copied.
    wrapped = (
        [text]
        if text.startswith("jaxbert launch")
        else (textwrap.wrap(text, _WIDTH - _INDENT, break_on_hyphens=False, break_long_words=False) or [""])
    )
    return [f"  {word if number == 0 else '':<{_INDENT - 2}}{line}" for number, line in enumerate(wrapped)]


def everything(submission: Submission) -> list[str]:
    """Every file and command, as they would be."""
    found = ["", "files:"]
    for file in submission.files:
        if file.is_text and len(file.content) < 100_000:
            found += [f"--- {file.path}", *file.content.decode().rstrip("\n").split("\n"), ""]
        else:
            found.append(f"--- {file.path}  ({len(file.content):,} bytes)")
    found.append("commands:")
    for command in submission.commands:
        found += [f"# {command.does}", command.line()]
    return [*found, "", "Nothing was sent."]
