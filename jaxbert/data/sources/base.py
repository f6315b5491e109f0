"""Documents, and reading of files that may be compressed: the parts that all sources share."""

from __future__ import annotations

import abc
import bz2
import contextlib
import errno
import functools
import glob
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from jaxbert.errors import InputError, Interrupted

# A longer document is divided into parts, so that memory stays bounded for any file.
MAX_DOCUMENT_BYTES = 4 << 20
_HEAD = 1 << 16
_SURROGATE = re.compile("[\ud800-\udfff]")
# These say that the path is wrong. Any other errno (EIO, ESTALE, ETIMEDOUT, ...) may pass.
_WRONG_PATH = frozenset({errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO, errno.ENODEV})


@dataclass(frozen=True)
class Document:
    r"""One document.

    Attributes:
      name: the place of the document in the source, for people: "novel.txt:123", or the name of a service.
      text: the lines of the document, with "\n" between them.
      split: "train" or "validation" if the source has splits, else None.
    """

    name: str
    text: str
    split: str | None = None


class Source(abc.ABC):
    """Documents in a fixed order.

    Attributes:
      spec: the SOURCE string.
      licence: the licence of the documents if the source states it, else "".
    """

    spec: str
    licence: str = ""

    @abc.abstractmethod
    def documents(self) -> Iterator[Document]:
        """Yields the documents from the start, as a stream.

        Raises:
          InputError: a mistake that only reading shows: not UTF-8, a missing field, damaged compression.
          Interrupted: the disk or the network failed.
        """

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Returns JSON that changes with the documents: the spec, files with sizes and sha256, versions of packages."""

    @functools.cached_property
    def hash(self) -> str:
        """Returns the sha256 of `describe()`, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()


class FileSource(Source):
    """A source that is a list of files.

    Attributes:
      files: sorted (name, path). The name is the path below the directory that all files share; documents carry it.
    """

    def __init__(self, spec: str, pattern: str):
        self.spec = spec
        self.files = find_files(pattern, spec)

    def describe(self) -> dict[str, Any]:
        """See `Source`."""
        return {"spec": self.spec, "files": self._files}

    @functools.cached_property
    def _files(self) -> list[dict[str, Any]]:
        files = []
        for name, path in self.files:
            with reading(path), path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                files.append({"name": name, "bytes": file.tell(), "sha256": digest})
        return files


def split_option(rest: str) -> tuple[str, str]:
    """Returns ("GLOB", "option") for "GLOB#option". The option is "" if there is none."""
    pattern, _, option = rest.rpartition("#") if "#" in rest else (rest, "", "")
    return pattern, option


def find_files(pattern: str, spec: str) -> list[tuple[str, Path]]:
    """Returns the files of a glob pattern (`**` is any depth), sorted, as (name, path); all are readable and not empty.

    Raises:
      InputError: no file matches, only directories match, or a file is empty or cannot be read.
    """
    pattern = os.path.expanduser(pattern)
    # The name of an existing file is not a pattern, even with a bracket in it.
    found = [pattern] if os.path.lexists(pattern) else glob.glob(pattern, recursive=True)
    paths = sorted(Path(path) for path in found)
    if not paths:
        raise InputError(
            "no file matches", where=spec, fix="Check the path; quote a pattern in the shell.", code="E-SOURCE-FILE"
        )
    directories = [path for path in paths if path.is_dir()]
    if len(directories) == len(paths):
        raise InputError(
            "this is a directory, but a file is needed",
            where=str(directories[0]),
            fix=f"Give the files in it: {spec.partition(':')[0]}:{directories[0]}/**/*.",
            code="E-SOURCE-FILE",
        )
    paths = [path for path in paths if not path.is_dir()]
    for path in paths:
        with reading(path):
            if path.stat().st_size == 0:
                raise InputError(
                    "the file is empty", where=str(path), fix="Remove it or narrow the pattern.", code="E-SOURCE-EMPTY"
                )
            with path.open("rb"):
                pass
    if len(paths) == 1:
        return [(paths[0].name, paths[0])]
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return [(path.relative_to(common).as_posix(), path) for path in paths]


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns errors of reading into InputError, or into Interrupted if the file is not at fault."""
    try:
        yield
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), fix="Check the path.", code="E-SOURCE-FILE") from None
    except IsADirectoryError:
        raise InputError(
            "this is a directory, but a file is needed", where=str(path), fix="Give a file.", code="E-SOURCE-FILE"
        ) from None
    except PermissionError:
        raise InputError(
            "no permission to read", where=str(path), fix="Change its mode or owner.", code="E-SOURCE-PERMISSION"
        ) from None
    except (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, gzip.BadGzipFile) as error:
        raise InputError(
            f"damaged or mislabelled {path.suffix} file ({error})",
            where=str(path),
            fix="Copy or pack it again.",
            code="E-SOURCE-DAMAGED",
        ) from None
    except OSError as error:
        # bz2 says "Invalid data stream" in a bare OSError.
        if error.errno is not None and error.errno not in _WRONG_PATH:
            raise Interrupted(
                f"reading failed: {error.strerror}",
                where=str(path),
                fix="Check the disk or its mount, and run the same command again: it keeps the finished shards.",
                code="E-SOURCE-READ",
            ) from error
        raise InputError(
            f"the file cannot be read: {error}", where=str(path), fix="Copy the file again.", code="E-SOURCE-FILE"
        ) from None


def open_bytes(path: Path) -> IO[bytes]:
    """Opens a file for reading, and unpacks .gz, .bz2, .xz and .zst."""
    match path.suffix.lower():
        case ".gz":
            return io.BufferedReader(gzip.open(path, "rb"))  # type: ignore[arg-type]
        case ".bz2":
            return bz2.open(path, "rb")
        case ".xz":
            return lzma.open(path, "rb")
        case ".zst":
            # A .zst may be several frames end to end, as parallel packers write it.
            unpacker = zstandard.ZstdDecompressor().stream_reader(
                path.open("rb"), read_across_frames=True, closefd=True
            )
            return io.BufferedReader(unpacker, 1 << 20)
        case _:
            return path.open("rb")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yields (number from 1, line without its end) of a UTF-8 text file. It accepts "\r\n" and a byte order mark.

    A line of more than `MAX_DOCUMENT_BYTES` is divided into pieces at spaces; all pieces have its number.

    Raises:
      InputError: the file is not UTF-8 (the message names the line), cannot be read, or its compression is damaged.
    """
    with reading(path), open_bytes(path) as file:
        number, rest, first = 1, b"", True
        while data := file.readline(MAX_DOCUMENT_BYTES):
            data = rest + data
            rest = b""
            ended = data.endswith(b"\n")
            if not ended and len(data) >= MAX_DOCUMENT_BYTES:
                cut = data.rfind(b" ") + 1 or _boundary(data)
                data, rest = data[:cut], data[cut:]
            if first:
                _refuse_utf16(data, path)
                data, first = data.removeprefix(b"\xef\xbb\xbf"), False
            yield number, _decode(data, path, number)
            number += ended
        if rest:
            yield number, _decode(rest, path, number)


def _boundary(data: bytes) -> int:
    """Returns the largest cut that splits no UTF-8 character."""
    cut = len(data)
    while cut > len(data) - 4 and data[cut - 1] & 0xC0 == 0x80:
        cut -= 1
    return cut - 1 if data[cut - 1] >= 0xC0 else len(data)


def _decode(data: bytes, path: Path, number: int) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8: byte 0x{data[error.start]:02x} in line {number}",
            where=str(path),
            fix="Convert it, for example iconv -f WINDOWS-1252 -t UTF-8.",
            code="E-SOURCE-ENCODING",
        ) from None
    return text.rstrip("\r\n")


def _refuse_utf16(data: bytes, path: Path) -> None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(
            "the file is UTF-16, not UTF-8",
            where=str(path),
            fix="Convert it: iconv -f UTF-16 -t UTF-8.",
            code="E-SOURCE-ENCODING",
        )


def check_head(path: Path) -> None:
    """Reads the beginning of a file, so that most wrong files are found before anything is made.

    Raises:
      InputError: the file is not UTF-8, is binary, or its compression does not match its name.
    """
    with reading(path), open_bytes(path) as file:
        head = file.read(_HEAD)
    _refuse_utf16(head, path)
    if b"\0" in head:
        raise InputError(
            "not a text file: it holds NUL bytes",
            where=str(path),
            fix="Give UTF-8 text files.",
            code="E-SOURCE-ENCODING",
        )
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # The end of the head may cut a character in two, which is not a fault of the file.
        if len(head) < _HEAD or error.start < len(head) - 4:
            _decode(head, path, head.count(b"\n", 0, error.start) + 1)


def without_surrogates(text: str) -> str:
    """Returns the text with U+FFFD for each lone surrogate, which JSON can write, but UTF-8 and tokenizers cannot."""
    try:
        text.encode()  # Much faster than the search, and it hardly ever fails.
        return text
    except UnicodeEncodeError:
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def bounded(name: str, text: str, split: str | None = None) -> Iterator[Document]:
    """Yields a document, or its parts if it has more than `MAX_DOCUMENT_BYTES` characters, cut at line ends or spaces.

    Lone surrogates, which UTF-8 cannot hold, become U+FFFD.
    """
    text = without_surrogates(text)
    if len(text) <= MAX_DOCUMENT_BYTES:
        if text.strip():
            yield Document(name, text, split)
        return
    start, part = 0, 1
    while start < len(text):
        end = start + MAX_DOCUMENT_BYTES
        if end < len(text):
            end = max(text.rfind("\n", start, end), text.rfind(" ", start, end)) + 1 or end
        if text[start:end].strip():
            yield Document(f"{name}/{part}", text[start:end].strip("\n"), split)
            part += 1
        start = end
