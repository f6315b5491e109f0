"""Tells whether a source still has the text from which a run made its vocabulary and its rows. Imports no jax.

`note_text` writes `text.json` before anything is learned from the text: names, sizes and sha256 of the source's files,
or what else the source says of itself. So no half-made vocabulary is ever used with another text.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.data.directory import arguments_of
from jaxbert.data.shards import write_json
from jaxbert.data.sources import Source, open_source
from jaxbert.data.sources.files import FileSource, digest_of
from jaxbert.errors import CommandError, counted
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import checked

_log = logging.getLogger(__name__)

NOTE = "text.json"
# Files of a text that is not larger are always compared by their sha256, which takes a second.
_ALWAYS_READ = 256 << 20
# The number of files that a message names of each kind of change.
_NAMED = 3


@dataclass(frozen=True)
class Changes:
    """The files of a text that are others than before, by their names. It is true if the text itself has changed."""

    differ: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.differ or self.new or self.gone)

    def __str__(self) -> str:
        parts = (
            (self.differ, "file differs", "files differ"),
            (self.new, "file is new", "files are new"),
            (self.gone, "file is gone", "files are gone"),
            (self.renamed, "file has another name now", "files have other names now"),
        )
        words = [f"{counted(len(names), one, many)} ({_some(names)})" for names, one, many in parts if names]
        return "; ".join(words) or "it is read in another way"


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def note_text(source: Source, out: Path) -> None:
    """Writes which text `source` has into `out`, unless it is noted there."""
    if _noted(out) is None:
        out.mkdir(parents=True, exist_ok=True)
        began = time.time()
        write_json(out / NOTE, {"source": source.describe(), "source_hash": source.hash})
        # A file that is changed after it was read here counts as touched since the note.
        os.utime(out / NOTE, (began, began))


def other_text(source: Source, out: Path) -> str:
    """Returns how the text from which `out` was begun differs from the one that `source` has; "" where it does not."""
    before = _noted(out)
    if before is None:
        # Without a note, nothing is learned from the text yet, or an earlier version of jaxbert learned it.
        return "the note of its files is damaged" if (out / NOTE).exists() else ""
    return "" if before["source_hash"] == source.hash else str(_changes(before, source, since=0.0))


def forget_other_text(source: Source, out: Path) -> None:
    """Removes what was begun below `out` if it is from another text than the source has now, and says so.

    The vocabulary goes too: it was learned from the other text.
    """
    why = other_text(source, out)
    if not why:
        return
    _log.warning("the text has changed since its records were begun: %s; they are made again", why)
    # The note goes last: after a kill, the next call forgets the rest.
    for child in sorted(out.iterdir(), key=lambda child: child.name == NOTE):
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def changes_of_text(spec: str, out: Path) -> Changes:
    """Returns how the files of a source have changed since rows were made of them; cheap for a large text.

    A text that cannot be read any more has not changed, and the sources of other kinds than files are not asked: the
    rows do not need them. Files that only have other names are the same text.

    Args:
      spec: SOURCE.
      out: the directory where `note_text` noted the text.
    """
    before = _noted(out)
    if before is None or not before["source"].get("files"):
        return Changes()
    try:
        source = open_source(spec)
        since = (out / NOTE).stat().st_mtime if (out / NOTE).is_file() else 0.0
        return _changes(before, source, since=since)
    except (CommandError, OSError) as error:
        _log.info("the text is not compared with the one of the rows: %s", error)
        return Changes()


def _noted(out: Path) -> Mapping[str, Any] | None:
    """Returns {"source", "source_hash"} of the text below `out`; None where nothing says it."""
    try:
        noted: Mapping[str, Any] = checked(read_bytes(out / NOTE), {"source": dict, "source_hash": str})
        return noted
    except (CommandError, OSError, ValueError):
        found = arguments_of(out / "records", "records")
    return found if found is not None and isinstance(found.get("source"), dict) and "source_hash" in found else None


def _changes(before: Mapping[str, Any], source: Source, *, since: float) -> Changes:
    """Compares the files of a source with those noted. Large files that nobody has touched are not read.

    Args:
      before: what `_noted` returns.
      source: the source as it is now.
      since: when the note was written, in seconds of the clock of files. A file whose inode has not changed since then
        has the bytes that it had.
    """
    old = {file["name"]: file for file in before["source"].get("files", ())}
    if not isinstance(source, FileSource):
        return Changes()
    now = dict(source.files)
    read_all = sum(path.stat().st_size for path in now.values()) <= _ALWAYS_READ

    def differs(name: str) -> bool:
        status = now[name].stat()
        if status.st_size != old[name]["bytes"]:
            return True
        touched = max(status.st_ctime, status.st_mtime) >= since
        return (read_all or touched) and digest_of(now[name])["sha256"] != old[name]["sha256"]

    differ = tuple(name for name in now if name in old and differs(name))
    new = tuple(name for name in now if name not in old)
    gone = tuple(name for name in old if name not in now)
    if len(new) == len(gone) and sorted(now[name].stat().st_size for name in new) == sorted(
        old[name]["bytes"] for name in gone
    ):
        moved = sorted(digest_of(now[name])["sha256"] for name in new)
        if moved == sorted(old[name]["sha256"] for name in gone):
            return Changes(differ, renamed=new)
    return Changes(differ, new, gone)
