"""A source of files: it finds them, checks each of them, and reads them with the reader of their format."""

from __future__ import annotations

import abc
import functools
import glob
import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from jaxbert.core.shell import word
from jaxbert.data.sources.base import Document, Records, Source
from jaxbert.data.sources.finding import find_files, printable
from jaxbert.data.sources.formats import why_not
from jaxbert.data.sources.lines import check_head, check_regular, reading
from jaxbert.data.sources.packed import inner_suffix
from jaxbert.errors import InputError, counted
from jaxbert.inputs.files import open_regular

# The number of files that a message names, and of those that it names for each reason.
_NAMED, _NAMED_EACH = 20, 3


class Reader(Records, abc.ABC):
    """Reads the files of one format.

    Attributes:
      passed_over: codes of faults for which a pattern leaves a file out, and says so. All other faults the user mends.
      unwrap: see `Source`; "" where the format has no lines of a fixed width.
    """

    passed_over: tuple[str, ...] = ("E-SOURCE-EMPTY", "E-SOURCE-BINARY")
    unwrap: str = ""

    def check(self, name: str, path: Path) -> None:
        """Raises InputError if the beginning of a file shows that it cannot be used."""
        check_head(path)

    @abc.abstractmethod
    def read(self, name: str, path: Path) -> Iterator[Document]:
        """Yields the documents of one file."""

    def describe(self) -> dict[str, str]:
        """Returns what decides the documents besides the files: the versions of packages by their names."""
        return {}

    def findings(self) -> list[str]:
        """Returns a line for each choice that the reader made for the user."""
        return []

    def nothing(self) -> str:
        """Returns why files that have bytes gave no document."""
        return "the files have only white space"


class NoText(InputError):
    """The file is whole, and has no text for us. A source of mixed files leaves it out, and says so."""


class FileSource(Source):
    """A source that is a list of files.

    Attributes:
      files: sorted (name, path). The name is the path below the directory that all files share; documents carry it.
      left_out: (name, ending, reason) of the files that the pattern matches and that are not read.
      blank: the names of the files of which `documents` has given none since it began.
      cut: (name, fault) of the files of a folder that `documents` has read only up to a fault.
    """

    # Whether a file without text for us is left out if others have some.
    mixed = False

    def __init__(self, spec: str, pattern: str, reader: Reader, endings: Collection[str] = ()):
        """Finds the files and checks each of them with its reader.

        Args:
          spec: the SOURCE string.
          pattern: a file, a folder, or a glob pattern.
          reader: reads the files.
          endings: the endings of the files to take, where the pattern is a folder.

        Raises:
          InputError: no file matches, or files cannot be used. The message names all of them.
        """
        self.spec, self.reader = printable(spec), reader
        self.unwrap = reader.unwrap or self.unwrap
        self._endings = endings
        self.files: list[tuple[str, Path]] = []
        self.left_out: list[tuple[str, str, str]] = []
        self.blank: list[str] = []
        self.cut: list[tuple[str, InputError]] = []
        found = find_files(pattern, spec)
        self.hidden, self.written, self.by_ending = found.hidden, found.written, found.folder
        self.locked = found.locked
        self._choose(found.files)
        wrong: list[tuple[str, InputError]] = []
        refused: list[tuple[str, InputError]] = []
        for name, path in found.files:
            taken = self.reader_of(path)
            if taken is None:
                self.left_out.append((name, inner_suffix(path), why_not(path)))
                continue
            try:
                check_regular(path)
                taken.check(name, path)
                self.files.append((name, path))
            except InputError as error:
                wrong.append((name, error))
                passed = error.code in taken.passed_over or (self.mixed and isinstance(error, NoText))
                # Nobody chose each of the files of a folder of any kinds.
                if passed or (self.mixed and found.folder):
                    self.left_out.append((name, inner_suffix(path), _brief(error)))
                else:
                    refused.append((name, error))
        refused = refused or ([] if self.files else wrong)
        if len(refused) == 1:
            raise refused[0][1]
        if refused:
            raise _several(refused, len(found.files), spec)
        if not self.files:
            raise InputError(
                f"no file that {'is known as text' if self.mixed else 'ends in ' + ' or '.join(endings)}; "
                f"{self._left_out()}",
                where=spec,
                fix=_as_text(pattern, [path for _, path in found.files], found.folder),
                code="E-SOURCE-NONE",
            )

    def _choose(self, files: list[tuple[str, Path]]) -> None:
        """Looks at all files that were found, before any of them is checked."""

    def reader_of(self, path: Path) -> Reader | None:
        """Returns the reader of a file; None for a file that is left out for its ending."""
        return self.reader if not self.by_ending or inner_suffix(path) in self._endings else None

    def readers(self) -> list[Reader]:
        """Returns all readers that the files have."""
        return [self.reader]

    def documents(self) -> Iterator[Document]:
        """See `Source`. It raises InputError at its end if no file has any text."""
        self.without_text, self.blank, self.cut = 0, [], []
        for reader in self.readers():
            reader.without_text = 0
        for name, path in self.files:
            taken = self.reader_of(path)
            assert taken is not None, "left out when the source was opened"
            empty = True
            try:
                for document in taken.read(name, path):
                    empty = False
                    yield document
            except InputError as error:
                if not (self.mixed and self.by_ending):
                    raise
                self.cut.append((name, error))
            if empty:
                self.blank.append(name)
            self.without_text = sum(reader.without_text for reader in self.readers())
        if len(self.blank) == len(self.files):
            if self.cut:
                raise self.cut[0][1]
            raise InputError(
                f"no text in the source: {'; '.join(dict.fromkeys(reader.nothing() for reader in self.readers()))}",
                where=self.spec,
                fix="Give a source that has text" + (", or another field." if self.without_text else "."),
                code="E-SOURCE-EMPTY",
            )

    def describe(self) -> dict[str, Any]:
        """See `Source`."""
        versions = {name: version for reader in self.readers() for name, version in reader.describe().items()}
        return {"spec": self.spec, "files": self._files, **({"versions": versions} if versions else {})}

    def findings(self) -> list[str]:
        """See `Source`."""
        findings = super().findings()
        for reader in self.readers():
            findings += reader.findings()
        if left_out := self._left_out():
            findings.append(left_out)
        if self.cut:
            faults = [f"{name} ({error.what}: {error.where})" for name, error in self.cut]
            findings.append(
                f"{counted(len(faults), 'file')} read only up to a fault, the rest left out: "
                f"{_some(faults, _NAMED_EACH)}"
            )
        if self.locked:
            findings.append(
                f"{counted(len(self.locked), 'folder')} that this user may not read, left out: "
                f"{_some(self.locked, _NAMED_EACH)}"
            )
        if self.written:
            places = [f"{place} ({kind})" for place, kind in self.written.items()]
            findings.append(
                f"{counted(len(places), 'folder')} that training or conversion wrote, left out: "
                f"{_some(places, _NAMED_EACH)}"
            )
        return findings

    def _left_out(self) -> str:
        """Returns a line about the files that are left out, grouped by ending and reason; "" if there are none."""
        groups: dict[tuple[str, str], list[str]] = {}
        blank = ((name, inner_suffix(Path(name)), "no text in it") for name in self.blank)
        for name, ending, why in (*self.left_out, *blank):
            groups.setdefault((ending or "without an ending", why), []).append(name)
        parts = [
            f"{len(names):,} {ending} ({why}): {_some(names, _NAMED_EACH)}" for (ending, why), names in groups.items()
        ]
        if self.hidden:
            parts.append(f"{self.hidden:,} hidden")
        if not parts:
            return ""
        number = sum(map(len, groups.values())) + self.hidden
        return f"{counted(number, 'file')} left out: {'; '.join(parts)}"

    @functools.cached_property
    def _files(self) -> list[dict[str, Any]]:
        return [{"name": name, **digest_of(path)} for name, path in self.files]


def digest_of(path: Path) -> dict[str, Any]:
    """Returns {"bytes", "sha256"} of a file."""
    with reading(path), open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def _as_text(pattern: str, paths: list[Path], folder: bool) -> str:
    """Returns the advice for files that no reader takes: to read them as plain text, if one of them looks like text."""
    for path in paths[:_NAMED]:
        try:
            check_regular(path)
            check_head(path)
        except InputError:
            continue
        if folder:
            # A bracket in the name of a folder is not a pattern.
            named = glob.escape(pattern) if os.path.isdir(os.path.expanduser(pattern)) else pattern
            pattern = f"{named.rstrip('/')}/**/*"
        return f"Convert the files, or read them as they are, as plain text: {word(f'text:{pattern}')}."
    return "Convert the files to text, or give others."


def _brief(error: InputError) -> str:
    """Returns a fault in words that are the same for all files that have it."""
    return "not a text file" if error.code == "E-SOURCE-BINARY" else error.what


def _some(names: list[str], most: int) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _several(refused: list[tuple[str, InputError]], found: int, spec: str) -> InputError:
    """Returns the error for several files: the fault of each, and each advice with the files that it is for."""
    named = [f"{error.where}: {error.what}" for _, error in refused[:_NAMED]]
    more = [f"and {len(refused) - _NAMED} more"] if len(refused) > _NAMED else []
    fixes: dict[str, list[str]] = {}
    for name, error in refused:
        fixes.setdefault(error.fix, []).append(name)
    advice = [f"{_some(names, _NAMED_EACH)}: {fix}" for fix, names in list(fixes.items())[:_NAMED]]
    narrow = [] if any("narrow" in fix for fix in fixes) else ["Or narrow the pattern."]
    return InputError(
        f"{len(refused)} of {found} files cannot be used: {'; '.join(named + more)}",
        where=spec,
        fix=" ".join(advice + narrow),
        code="E-SOURCE-FILES",
    )
