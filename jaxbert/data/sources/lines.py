"""Reads the bytes and the lines of files, and refuses what is not UTF-8 text: the parts that all formats share."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from jaxbert.data.sources.base import MAX_DOCUMENT_BYTES, whole_letters
from jaxbert.data.sources.packed import DamagedFile, open_bytes
from jaxbert.errors import InputError, Interrupted
from jaxbert.inputs.files import open_regular

# A record is one line of a file, and is read whole. A longer line is not a text of people.
MAX_LINE_BYTES = 64 << 20
# A file of a format that is read whole (HTML, Markdown, one JSON value) has at most so many bytes.
MAX_WHOLE_BYTES = 64 << 20
_HEAD = 1 << 16
# Bytes at the end of a piece of a line in which a place for the cut is searched.
_NEAR = 1 << 12
# These say that the path is wrong. Any other errno (EIO, ESTALE, ETIMEDOUT, ...) may pass.
_WRONG_PATH = frozenset({errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO, errno.ENODEV})
REMOVE_OR_NARROW = "Remove it or narrow the pattern."
# Control characters that texts do not have. Texts have backspace, tab, line ends, form feed and escape.
_CONTROLS = bytes(code for code in (*range(32), 127) if code not in b"\b\t\n\v\f\r\x1b")
_FEW_CONTROLS, _BINARY_SHARE, _SURELY_BINARY = 4, 1 / 32, 0.3
# In Latin text, nearly every second byte of UTF-16 is zero, and hardly any of the others.
_UTF16_SHARE, _UTF8_SHARE = 0.7, 0.1


def check_regular(path: Path) -> None:
    """Raises InputError unless the path is a file with bytes in it, which can be read more than once."""
    with reading(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise InputError("the file is empty", where=str(path), fix=REMOVE_OR_NARROW, code="E-SOURCE-EMPTY")


def not_permitted(path: Path) -> InputError:
    """Returns the error for a file or a folder that this user may not read."""
    return InputError(
        "no permission to read", where=str(path), fix="Change its mode or owner.", code="E-SOURCE-PERMISSION"
    )


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
        raise not_permitted(path) from None
    except DamagedFile as error:
        raise InputError(
            f"damaged or mislabelled {path.suffix} file ({error})",
            where=str(path),
            fix="Copy or pack the file again.",
            code="E-SOURCE-DAMAGED",
        ) from None
    except OSError as error:
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


def read_lines(path: Path, stream: IO[bytes] | None = None, *, ends: bool = False) -> Iterator[tuple[int, str]]:
    r"""Yields (number from 1, line without its end) of a UTF-8 text file. It accepts a byte order mark.

    A line ends with "\n" or "\r\n". In a file without any "\n" in its first 64 KiB, "\r" ends a line too, as old Macs
    wrote it. A line of more than `MAX_DOCUMENT_BYTES` is divided into pieces at spaces; all pieces have its number.

    Args:
      path: the file, or the name of the stream in messages.
      stream: what to read in the place of a file: standard input. It is closed at the end.
      ends: whether each line has its end, as the file has it. The last line may have none.

    Raises:
      InputError: the file is not UTF-8 or holds NUL bytes (the message names the line), cannot be read, or its
        compression is damaged.
    """
    with reading(path), stream or open_bytes(path) as file:
        number, rest = 1, file.readline(min(_HEAD, MAX_DOCUMENT_BYTES))
        _refuse_utf16(rest, path)
        rest = rest.removeprefix(b"\xef\xbb\xbf")
        old_mac = b"\r" in rest and b"\n" not in rest
        if old_mac:
            file = io.BufferedReader(_CarriageReturns(rest, file), _HEAD)
            rest = b""
        while data := rest if rest.endswith(b"\n") else rest + file.readline(MAX_DOCUMENT_BYTES - len(rest)):
            rest = b""
            ended = data.endswith(b"\n")
            if not ended and len(data) >= MAX_DOCUMENT_BYTES:
                cut = data.rfind(b" ") + 1 or _between_letters(data)
                data, rest = data[:cut], data[cut:]
            text = _decode(data, path, number)
            if not ends:
                text = text.rstrip("\r\n")
            elif old_mac and ended:
                text = f"{text[:-1]}\r"
            yield number, text
            number += ended


class _CarriageReturns(io.RawIOBase):
    r"""A file whose lines end with "\r", read as if they ended with "\n"."""

    def __init__(self, head: bytes, file: IO[bytes]):
        self._head, self._file, self._after = head, file, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            read = self._head or self._file.read(len(buffer))
            read, self._head = read[: len(buffer)], read[len(buffer) :]
            if not read:
                return 0
            # "\r\n" may come in two pieces.
            data = read.removeprefix(b"\n") if self._after else read
            self._after = read.endswith(b"\r")
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        buffer[: len(data)] = data
        return len(data)


def _boundary(data: bytes) -> int:
    """Returns the largest cut that splits no UTF-8 character."""
    cut = len(data)
    while cut > len(data) - 4 and data[cut - 1] & 0xC0 == 0x80:
        cut -= 1
    return cut - 1 if data[cut - 1] >= 0xC0 else len(data)


def _between_letters(data: bytes) -> int:
    """Returns a large cut that splits no letter, with the marks that follow it. See `whole_letters`."""
    end = _boundary(data)
    near = data[max(0, end - _NEAR) : end].decode("utf-8", "ignore")
    return end - len(near[whole_letters(near, 0, len(near)) :].encode()) if near else end


def _decode(data: bytes, path: Path, number: int) -> str:
    if b"\0" in data:
        raise InputError(
            f"the text holds a NUL byte in line {number}",
            where=str(path),
            fix="Mend the text, or remove the byte: tr -d '\\0' < OLD > NEW.",
            code="E-SOURCE-NUL",
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8: byte 0x{data[error.start]:02x} in line {number}",
            where=str(path),
            fix="Convert it, for example iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW.",
            code="E-SOURCE-ENCODING",
        ) from None
    return text


def _refuse_utf16(data: bytes, path: Path) -> None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _not_utf8("is UTF-16", "UTF-16", path)
    halves = [data[0::2], data[1::2]]
    for name, (zeros, others) in (("UTF-16BE", halves), ("UTF-16LE", halves[::-1])):
        if (
            len(data) > 2 * _FEW_CONTROLS
            and _share(b"\0", zeros) > _UTF16_SHARE
            and _share(b"\0", others) < _UTF8_SHARE
        ):
            raise _not_utf8("looks like UTF-16 without a byte order mark", name, path)


def _not_utf8(what: str, name: str, path: Path) -> InputError:
    return InputError(
        f"the file {what}, not UTF-8",
        where=str(path),
        fix=f"Convert it: iconv -f {name} -t UTF-8 OLD > NEW.",
        code="E-SOURCE-ENCODING",
    )


def _share(wanted: bytes, data: bytes) -> float:
    """Returns the share of bytes of `data` that are among `wanted`."""
    return 1 - len(data.translate(None, wanted)) / max(1, len(data))


def _refuse_binary(head: bytes, path: Path) -> None:
    """Refuses what is not text, as pictures and programs. A text with a few NUL bytes passes: it has to be mended."""
    if b"\0" not in head:
        return
    share = _share(_CONTROLS, head)
    try:
        head[: _boundary(head)].decode("utf-8")
        most = _SURELY_BINARY
    except UnicodeDecodeError:
        most = _BINARY_SHARE
    if share > most and share * len(head) >= _FEW_CONTROLS:
        raise InputError(
            f"not a text file: {share:.0%} of its first {len(head):,} bytes are control characters",
            where=str(path),
            fix="Give UTF-8 text files.",
            code="E-SOURCE-BINARY",
        )


def read_whole_lines(path: Path, *, ends: bool = False) -> Iterator[tuple[int, str]]:
    """Yields what `read_lines` yields, but each line whole, for files that have a record on each line.

    Args:
      path, ends: see `read_lines`.

    Raises:
      InputError: as `read_lines`, or a line is longer than `MAX_LINE_BYTES`.
    """
    pieces: list[str] = []
    last = size = 0
    for number, piece in read_lines(path, ends=ends):
        if number != last and pieces:
            yield last, "".join(pieces)
            pieces, size = [], 0
        last, size = number, size + len(piece)
        if size > MAX_LINE_BYTES:
            raise InputError(
                f"the line is longer than {MAX_LINE_BYTES >> 20} MiB",
                where=f"{path}:{number}",
                fix="Give one record a line, and divide a text of this size.",
                code="E-SOURCE-LINE",
            )
        pieces.append(piece)
    if pieces:
        yield last, "".join(pieces)


def read_head(path: Path) -> bytes:
    """Returns the first bytes of a file, unpacked."""
    with reading(path), open_bytes(path) as file:
        return file.read(_HEAD)


def read_whole(path: Path) -> bytes:
    """Returns the bytes of a file, unpacked.

    Raises:
      InputError: the file has more than `MAX_WHOLE_BYTES`, or cannot be read.
    """
    with reading(path), open_bytes(path) as file:
        data = file.read(MAX_WHOLE_BYTES + 1)
    if len(data) > MAX_WHOLE_BYTES:
        raise InputError(
            f"the file has more than {MAX_WHOLE_BYTES >> 20} MiB, and this format is read whole",
            where=str(path),
            fix="Divide the file.",
            code="E-SOURCE-LARGE",
        )
    return data


def decode_whole(data: bytes, path: Path) -> str:
    """Returns the UTF-8 text of a file without its byte order mark.

    Raises:
      InputError: it is not UTF-8, or has a NUL byte. The message names the line.
    """
    _refuse_utf16(data[:_HEAD], path)
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        if b"\0" not in data:
            return data.decode()
    except UnicodeDecodeError:
        pass
    return "\n".join(_decode(line, path, number).rstrip("\r\n") for number, line in enumerate(data.split(b"\n"), 1))


def check_head(path: Path) -> None:
    """Reads the beginning of a file, so that most wrong files are found before anything is made.

    Raises:
      InputError: the file is not UTF-8, is binary, or its compression does not match its name.
    """
    head = read_head(path)
    if not head:
        raise InputError("the file is empty", where=str(path), fix=REMOVE_OR_NARROW, code="E-SOURCE-EMPTY")
    _refuse_utf16(head, path)
    _refuse_binary(head, path)  # before its bytes are taken for text in another encoding
    end = len(head)
    if end == _HEAD:
        # The end of the head may cut a character in two, which is not a fault of the file.
        end = _boundary(head)
    number = 1
    for line in head[:end].split(b"\n"):
        _decode(line, path, number)
        number += 1
