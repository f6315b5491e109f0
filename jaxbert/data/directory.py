"""A directory of shards that is made in parallel and can be resumed. Imports no jax.

An unfinished directory holds `.progress/arguments.json` (the arguments that decide its bytes) and one
`.progress/<shard>.json` for each finished shard. When all shards are there, `manifest.json` is written and `.progress`
is removed. A directory that is being replaced waits in `.previous`: it is brought back if the input turns out wrong,
and removed when the new manifest is written.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxbert.data.shards import (
    MANIFEST,
    PREVIOUS,
    PROGRESS,
    ShardInfo,
    disk_error,
    read_manifest,
    signature,
    verify_manifest,
    verify_shard,
    write_json,
)
from jaxbert.errors import InputError, Stopped
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import checked, parse
from jaxbert.stores.files import PARTIAL, is_partial
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.text.tokenizers.base import all_file_names

_ARGUMENTS = "arguments.json"
# Such a directory also holds the metadata of TFDS, and the files of the tokenizer (Tokenizer.save).
_BESIDES = frozenset({MANIFEST, PROGRESS, PREVIOUS, "features.json", "dataset_info.json", "tokenizer"})


@dataclass(frozen=True)
class ShardDirectory:
    """A directory of shards, unfinished or finished. It is picklable, because workers get it in their jobs.

    Attributes:
      path: the directory.
      kind: "records" or "rows".
      arguments: JSON values: everything that the bytes depend on.
      created: the topmost directory that this call made, if it made one.
      begun: whether this call began the directory; otherwise an earlier call did.
    """

    path: Path
    kind: str
    arguments: dict[str, Any]
    created: Path | None = None
    begun: bool = False

    @property
    def done(self) -> bool:
        """Returns whether the manifest is written, so that nothing is left to make."""
        return (self.path / MANIFEST).is_file() and not (self.path / PROGRESS).exists()

    def begin(self) -> ShardDirectory:
        """Moves the content of the directory to `.previous`, notes the arguments, and returns the directory as begun.

        Raises:
          InputError: it cannot be written, or it holds files that jaxbert did not make; then nothing is touched.
          Interrupted: the disk is full.
        """
        try:
            if self.path.exists():
                foreign = next(foreign_files(self.path, self.kind), None)
                if foreign is not None:
                    raise InputError(
                        f"the directory to replace holds a file that does not belong to these {self.kind}",
                        where=str(foreign),
                        fix="Move it away, or give another --out.",
                        code="E-SHARD-FOREIGN",
                    )
                if (self.path / PREVIOUS).exists():
                    _clear(self.path, self.kind)
                else:
                    _set_aside(self.path)
            (self.path / PROGRESS).mkdir(parents=True, exist_ok=True)
            write_json(self.path / PROGRESS / _ARGUMENTS, {"kind": self.kind, "arguments": self.arguments})
        except PermissionError:
            raise InputError(
                "no permission to write", where=str(self.path), fix="Give another --out.", code="E-SHARD-PERMISSION"
            ) from None
        except OSError as error:
            raise disk_error(error, self.path) from error
        return replace(self, begun=True)

    def make(self) -> None:
        """Makes the empty directory on a worker's machine, where `begin` was not called."""
        (self.path / PROGRESS).mkdir(parents=True, exist_ok=True)

    def damaged(self) -> list[ShardInfo]:
        """Returns the shards of the finished directory whose bytes differ from the manifest."""
        return [info for info, _ in self._damage()]

    def check_whole(self, tokenizer: Tokenizer) -> None:
        """Compares every byte of the finished directory with the manifest, and its tokenizer with `tokenizer`.

        Raises:
          Stopped: something is missing or damaged. The message names it.
        """
        fix = "Add --overwrite to the same command: it makes again what is damaged."
        for _, error in self._damage():
            raise Stopped(error.what, where=error.where, fix=fix, code="E-SHARD-DAMAGED")
        if not self.tokenizer_is_whole(tokenizer):
            raise Stopped(
                f"the tokenizer of these {self.kind} is missing or damaged",
                where=str(self.path / "tokenizer"),
                fix=fix,
                code="E-SHARD-DAMAGED",
            )

    def _damage(self) -> Iterator[tuple[ShardInfo, Stopped]]:
        for entries in read_manifest(self.path, self.kind)["splits"].values():
            for info in map(ShardInfo.from_json, entries):
                try:
                    verify_shard(self.path, info)
                except Stopped as error:
                    yield info, error

    def tokenizer_is_whole(self, tokenizer: Tokenizer) -> bool:
        """Returns whether the tokenizer in the directory is `tokenizer`."""
        try:
            return Tokenizer.load(self.path / "tokenizer").hash == tokenizer.hash
        except InputError:
            return False

    def finished(self, file: str) -> ShardInfo | None:
        """Returns the shard `file` if an earlier call finished it and its bytes are unchanged, else None."""
        try:
            info = ShardInfo.from_json(parse(read_bytes(self.path / PROGRESS / f"{file}.json")))
            verify_shard(self.path, info)
        except (OSError, ValueError, Stopped):
            return None
        return info

    def finish(self, info: ShardInfo) -> ShardInfo:
        """Notes that a shard is finished, and its statistics. A later call finds it with `finished`."""
        write_json(self.path / PROGRESS / f"{info.file}.json", {**info.to_json(), "statistics": info.statistics})
        return info

    def commit(self, splits: dict[str, list[ShardInfo]], fields: dict[str, Any]) -> dict[str, Any]:
        """Writes the manifest, removes shards that it does not name and the replaced directory, and returns it.

        The manifest has kind, arguments, splits {name: [{file, count, bytes, sha256}]}, `fields`, and its own sha256.
        """
        manifest = {
            "kind": self.kind,
            "arguments": self.arguments,
            "splits": {split: [info.to_json() for info in infos] for split, infos in splits.items()},
            **fields,
        }
        manifest["sha256"] = signature(parse(json.dumps(manifest), strict=False))
        keep = {info.file for infos in splits.values() for info in infos}
        _remove_partials(self.path)
        for path in self.path.iterdir():
            if _is_shard(path.name, self.kind) and path.name not in keep:
                path.unlink()
        write_json(self.path / MANIFEST, manifest)
        _remove_notes(self.path)
        # Read it from the disk, so that a first call and a repeated one return equal values.
        return read_manifest(self.path, self.kind)

    def discard(self) -> None:
        """Undoes `begin` for an input that turns out wrong: removes what this call began, and restores `.previous`.

        A directory that an earlier call began stays, because the next call continues from its finished shards.
        """
        if not self.begun:
            return
        _clear(self.path, self.kind)
        _bring_back(self.path)
        if self.created is not None:
            with contextlib.suppress(OSError):
                for directory in (self.path, *self.path.parents):
                    directory.rmdir()
                    if directory == self.created:
                        break


def open_directory(path: Path, kind: str, arguments: dict[str, Any], *, overwrite: bool = False) -> ShardDirectory:
    """Begins a directory of shards, or returns the one that the same arguments began or finished.

    Args:
      path: the directory. It is made with its parents if it does not exist.
      kind: "records" or "rows".
      arguments: JSON values: everything that the bytes depend on (not the number of workers).
      overwrite: whether to replace a directory that other arguments made. The old one waits in `.previous` until the
        new one is finished; a call with the old arguments and `overwrite` brings it back before that.

    Raises:
      InputError: `path` holds something else, or it cannot be written.
    """
    arguments = parse(json.dumps(arguments), strict=False)
    _check_parent(path)
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    directory = ShardDirectory(path, kind, arguments, missing[-1] if missing else None)
    if not missing and (path / PREVIOUS).is_dir():
        # An earlier call was killed while it moved files to `.previous` or back.
        if not any((path / PREVIOUS).iterdir()):
            (path / PREVIOUS).rmdir()
        elif not (path / PROGRESS / _ARGUMENTS).exists():
            _bring_back(path)
    if not missing and not _blank(path):
        found = _found_arguments(path, kind, overwrite=overwrite)
        if found is None:
            return directory.begin()
        if found == arguments:
            _remove_partials(path)
            return directory
        if not overwrite:
            raise _other_arguments(path, kind, found, arguments)
        if _found(path / PREVIOUS) == (kind, arguments):
            _clear(path, kind)
            _bring_back(path)
            return directory
    return directory.begin()


def arguments_of(path: Path, kind: str) -> dict[str, Any] | None:
    """Returns the arguments of a directory of `kind`, finished or not; None where there is none that says them."""
    found_kind, found = _found(path)
    return found if found_kind == kind else None


def check_place(path: Path, kind: str, arguments: dict[str, Any], *, overwrite: bool = False) -> None:
    """Checks that `open_directory` will take a place, before work that comes first. It touches nothing.

    Args:
      path: the directory.
      kind: "records" or "rows".
      arguments: those of the arguments that are known already.
      overwrite: see `open_directory`.

    Raises:
      InputError: the place cannot be written, or it holds something else.
    """
    _check_parent(path)
    # A directory that an interrupted call left is mended by `open_directory`, and not here.
    if not path.exists() or (path / PREVIOUS).is_dir() or _blank(path):
        return
    found = _found_arguments(path, kind, overwrite=overwrite)
    if found is not None and not overwrite and any(found.get(key) != value for key, value in arguments.items()):
        raise _other_arguments(path, kind, {key: found.get(key) for key in arguments}, arguments)


def _check_parent(path: Path) -> None:
    """Raises InputError unless `path` is a directory, or can be made, and may be written."""
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not parent.is_dir():
        raise InputError(
            "this is a file, but a directory is needed",
            where=str(parent),
            fix="Give another --out.",
            code="E-SHARD-PLACE",
        )
    if not os.access(parent, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise InputError(
            "no permission to write",
            where=str(parent),
            fix="Give another --out, or change its mode.",
            code="E-SHARD-PERMISSION",
        )


def _found_arguments(path: Path, kind: str, *, overwrite: bool) -> dict[str, Any] | None:
    """Returns the arguments of the directory of `kind` in `path`.

    It returns None where the manifest is missing or unusable, everything else is ours, and `overwrite` is on.

    Raises:
      InputError: the directory holds something else.
    """
    found_kind, found = _found(path)
    if found_kind is None and _only_shards(path, kind):
        if overwrite:
            return None
        raise InputError(
            f"the manifest of these {kind} is missing or cannot be used",
            where=str(path / MANIFEST),
            fix="Copy the directory again from its source, or add --overwrite to the same command: it makes all again.",
            code="E-SHARD-MANIFEST",
        )
    if found_kind is None or found_kind != kind:
        raise InputError(
            f"the directory is not empty, and it holds no {kind}",
            where=str(path),
            fix="Give another place.",
            code="E-SHARD-FOREIGN",
        )
    return found


def _other_arguments(path: Path, kind: str, found: dict[str, Any], arguments: dict[str, Any]) -> InputError:
    changed = sorted(key for key in found.keys() | arguments.keys() if found.get(key) != arguments.get(key))
    if "format" in changed:
        return InputError(
            f"another version of jaxbert made these {kind}, and this version cannot go on with them",
            where=str(path),
            fix="Give another place; or remove this directory, and the same command makes it again.",
            code="E-SHARD-VERSION",
        )
    return InputError(
        f"the directory holds {kind} made with other arguments (different: {', '.join(changed)})",
        where=str(path),
        fix="Give another place, or --overwrite to replace them.",
        code="E-SHARD-ARGUMENTS",
    )


def _found(path: Path) -> tuple[str | None, dict[str, Any]]:
    """Returns (kind, arguments) of the directory `path`, or (None, {}) if no usable file says them."""
    for file in (path / PROGRESS / _ARGUMENTS, path / MANIFEST):
        try:
            value = checked(read_bytes(file), {"kind": str, "arguments": dict})
            if file.name == MANIFEST:
                verify_manifest(value, value["kind"])
            return value["kind"], value["arguments"]
        except (OSError, ValueError):
            continue
    return None, {}


def _only_shards(path: Path, kind: str) -> bool:
    """Returns whether the directory holds shards of `kind`, and nothing that jaxbert did not make."""
    return not any(foreign_files(path, kind)) and any(_is_shard(child.name, kind) for child in path.iterdir())


def _blank(path: Path) -> bool:
    """Returns whether the directory is empty, or was begun and killed before its arguments were written."""
    return {child.name for child in path.iterdir()} <= {PROGRESS} and not (path / PROGRESS / _ARGUMENTS).exists()


def is_made(path: Path) -> bool:
    """Returns whether a directory of shards is complete. What a kill has left of its making is removed.

    A caller that can make the directory again from its source calls `open_directory` instead.
    """
    if not (path / MANIFEST).is_file():
        return False
    # The manifest is the last thing that is written.
    _remove_notes(path)
    _remove_partials(path)
    return True


def _remove_notes(path: Path) -> None:
    """Removes the notes of a directory that has its manifest, and the directory that it replaces.

    Each is renamed before it is removed: a directory with half of its notes would look unfinished. `.previous` goes
    first, because without notes beside it, it would be brought back.
    """
    for name in (PREVIOUS, PROGRESS):
        if (path / name).exists():
            leftover = path / f"{name}.{os.getpid()}{PARTIAL}"
            os.replace(path / name, leftover)
            shutil.rmtree(leftover)


def _remove_partials(path: Path) -> None:
    """Removes the temporary files of killed processes. A process that still lives fails, because its file is gone."""
    for entry in list(path.rglob(f".*{PARTIAL}")):
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _is_shard(name: str, kind: str) -> bool:
    return re.fullmatch(rf"{kind}-\w+\.array_record-\d+(-of-\d+)?", name) is not None


def _is_examples(name: str, kind: str) -> bool:
    """Returns whether a name is that of the texts beside rows with labels (`jaxbert.labelled.writing`)."""
    return kind == "rows" and re.fullmatch(r"examples-\w+\.jsonl", name) is not None


def _is_ours(name: str, kind: str) -> bool:
    return name in _BESIDES or _is_shard(name, kind) or _is_examples(name, kind) or is_partial(name)


def foreign_files(path: Path, kind: str) -> Iterator[Path]:
    """Yields each file in a directory of `kind` that jaxbert did not make, by its name."""
    for child in sorted(path.iterdir()):
        if not _is_ours(child.name, kind):
            yield child
    if (path / "tokenizer").is_dir():
        yield from foreign_tokenizer_files(path / "tokenizer")


def foreign_tokenizer_files(path: Path) -> Iterator[Path]:
    """Yields each file in the directory of a tokenizer that no kind of tokenizer has."""
    ours = all_file_names()
    for child in sorted(path.iterdir()):
        if child.name not in ours and not is_partial(child.name):
            yield child


def _clear(path: Path, kind: str) -> None:
    """Removes our files but `.previous`, the notes last, so that a killed call leaves a directory we recognise."""
    for child in sorted(path.iterdir(), key=lambda child: (child.name == PROGRESS, child.name == MANIFEST)):
        if child.name == PREVIOUS or not _is_ours(child.name, kind):
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def _set_aside(path: Path) -> None:
    """Moves everything to `.previous`, manifest and notes first: a half-moved directory must not look finished."""
    children = sorted(path.iterdir(), key=lambda child: (child.name != PROGRESS, child.name != MANIFEST))
    if [child.name for child in children] in ([], [PROGRESS]):
        return  # Nothing to keep.
    (path / PREVIOUS).mkdir()
    for child in children:
        os.replace(child, path / PREVIOUS / child.name)


def _bring_back(path: Path) -> None:
    """Undoes a complete or interrupted `_set_aside`, in the opposite order."""
    previous = path / PREVIOUS
    if not previous.is_dir():
        return
    if (path / PROGRESS).is_dir():
        shutil.rmtree(path / PROGRESS)
    for child in sorted(previous.iterdir(), key=lambda child: (child.name == PROGRESS, child.name == MANIFEST)):
        os.replace(child, path / child.name)
    previous.rmdir()
