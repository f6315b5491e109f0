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
from pathlib import Path
from typing import IO, Any

import zstandard

from jaxbert.inputs.files import open_regular

# Packed bytes unpacked at a time. The best packed .zst holds 32 KiB in each of these bytes, so this bounds memory.
_PIECE = 2 << 10
_BUFFER = 1 << 20

# For each ending: what makes a decompressor of one stream, and the unit in bytes of the zeros that may follow a stream
# (0: none may). The .xz file format, 2.2, has "stream padding" of a multiple of four; gzip(1) skips zeros of tapes.
_FORMATS: dict[str, tuple[Callable[[], Any], int]] = {
    ".gz": (lambda: zlib.decompressobj(wbits=31), 1),
    ".bz2": (bz2.BZ2Decompressor, 0),
    ".xz": (lzma.LZMADecompressor, 4),
    ".zst": (lambda: zstandard.ZstdDecompressor().decompressobj(), 0),
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
    return file if known is None else io.BufferedReader(_Unpacked(file, *known), _BUFFER)


def inner_suffix(path: Path) -> str:
    """Returns the ending of a name, in small letters, without that of its packing: ".csv" for "a.CSV.gz"."""
    return (path.with_suffix("") if path.suffix.lower() in _FORMATS else path).suffix.lower()


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of a packed file."""

    def __init__(self, file: IO[bytes], stream: Callable[[], Any], padding: int):
        self._file, self._make, self._padding = file, stream, padding
        self._stream: Any = None  # None between streams
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
                raise DamagedFile("its end is missing")
            self._check_padding()
            return False
        if self._stream is None:
            if self._padding:
                size = len(data)
                data = data.lstrip(b"\0")
                self._zeros += size - len(data)
                if not data:
                    return True
            self._check_padding()
            self._stream = self._make()
        try:
            self._ready = memoryview(self._stream.decompress(data))
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            raise DamagedFile(str(error)) from None
        if self._stream.eof:
            self._packed, self._stream = self._stream.unused_data, None
        return True

    def _check_padding(self) -> None:
        if self._zeros % (self._padding or 1):
            raise DamagedFile(f"{self._zeros} zero bytes between its streams")
        self._zeros = 0

    def close(self) -> None:
        self._file.close()
        super().close()
