"""Opens files that may be compressed, so that each byte counts: a file that is cut or damaged anywhere raises an error.

A packed file may hold several streams (.zst calls them frames) end to end, as parallel packers and `cat` write them.
Python's own readers of .bz2 and .xz take damage after the first stream for the end of the file, and zstandard's reader
does not see that a file was cut. So there is one reader here, over the libraries' decompressors of a single stream.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from jaxbert.errors import counted
from jaxbert.inputs.files import open_regular

# Packed bytes unpacked at a time. The best packed .zst holds 32 KiB in each of these bytes, so this bounds memory.
_PIECE = 2 << 10
_BUFFER = 1 << 20


@dataclass(frozen=True)
class _Format:
    """A format of packed files.

    Attributes:
      stream: makes a decompressor of one stream.
      begins: the bytes that a stream may begin with.
      zeros: the zero bytes that may follow a stream are a multiple of this; 0 if none may.
      between: whether another stream may follow the zeros.
    """

    stream: Callable[[], Any]
    begins: tuple[bytes, ...]
    zeros: int = 0
    between: bool = False


# A frame, and the 16 kinds of frames that readers skip (RFC 8878, 3.1).
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes([kind, 0x2A, 0x4D, 0x18]) for kind in range(0x50, 0x60)))
# What gzip(1), bzip2(1), xz(1) and zstd(1) unpack without a warning. gzip skips the zeros of tapes at the end. The .xz
# file format, 2.2, has "stream padding" of a multiple of four. The older .lzma, which xz unpacks too, has no checksum.
_FORMATS: dict[str, _Format] = {
    ".gz": _Format(lambda: zlib.decompressobj(wbits=31), (b"\x1f\x8b",), zeros=1),
    ".bz2": _Format(bz2.BZ2Decompressor, (b"BZh",)),
    ".xz": _Format(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), (b"\xfd7zXZ\0",), zeros=4, between=True),
    ".zst": _Format(lambda: zstandard.ZstdDecompressor().decompressobj(), _ZSTD),
}
ENDINGS = tuple(_FORMATS)


class DamagedFile(Exception):
    """The bytes of a packed file are wrong, or some are missing at its end."""


def open_bytes(path: Path) -> IO[bytes]:
    """Opens a file for reading, and unpacks .gz, .bz2, .xz and .zst.

    Reading raises DamagedFile if the file is cut, or damaged anywhere.
    """
    known = _FORMATS.get(path.suffix.lower())
    file = open_regular(path)
    return file if known is None else io.BufferedReader(_Unpacked(file, known), _BUFFER)


def inner_suffix(path: Path) -> str:
    """Returns the ending of a name, in small letters, without that of its packing: ".csv" for "a.CSV.gz"."""
    return (path.with_suffix("") if path.suffix.lower() in _FORMATS else path).suffix.lower()


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of a packed file."""

    def __init__(self, file: IO[bytes], form: _Format):
        self._file, self._form = file, form
        self._stream: Any = None  # None between streams
        self._begun = False  # whether the first stream has begun
        self._where = ""
        self._packed = b""
        self._ready = memoryview(b"")
        self._zeros = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # The caller is faster with a full buffer.
        done = 0
        while done < len(buffer) and (self._ready or self._unpack()):
            count = min(len(buffer) - done, len(self._ready))
            buffer[done : done + count] = self._ready[:count]
            self._ready = self._ready[count:]
            done += count
        return done

    def _unpack(self) -> bool:
        """Unpacks the next piece. Returns False at the end of the file."""
        data = self._packed or self._file.read(_PIECE)
        self._packed = b""
        if not data:
            if self._stream is not None:
                raise DamagedFile(f"{self._where}its end is missing")
            if self._zeros % (self._form.zeros or 1):
                raise DamagedFile(f"{counted(self._zeros, 'zero byte')} at its end")
            return False
        if self._stream is None:
            if self._begun and self._form.zeros:
                size = len(data)
                data = data.lstrip(b"\0")
                self._zeros += size - len(data)
                if not data:
                    return True
            if self._zeros and (not self._form.between or self._zeros % self._form.zeros):
                raise DamagedFile(f"{counted(self._zeros, 'zero byte')} after a stream, and then something else")
            self._zeros = 0
            again, self._where = self._begun, "after its first stream: " if self._begun else ""
            if not any(data.startswith(mark[: len(data)]) for mark in self._form.begins):
                what = "something follows that is not packed" if again else "its bytes are not of this format"
                raise DamagedFile(f"{self._where}{what}")
            self._stream, self._begun = self._form.stream(), True
        try:
            self._ready = memoryview(self._stream.decompress(data))
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError):
            # The libraries' words ("Error -3 while decompressing data") help nobody.
            raise DamagedFile(f"{self._where}a byte in it is wrong, or its checksum does not fit") from None
        if self._stream.eof:
            self._packed, self._stream = self._stream.unused_data, None
        return True

    def close(self) -> None:
        self._file.close()
        super().close()
