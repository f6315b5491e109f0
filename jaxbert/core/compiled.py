"""Compiled programs that are kept on the disk: each is verified before it is loaded.

jax keeps compiled programs without a checksum (`jax_compilation_cache_dir`), and loads whatever the file holds. With
one bit flipped, a program may crash the process or compute something else. `verify_kept_programs` puts a layer between
jax and its files, through which every entry carries the sha256 of its content and its key. A wrong entry is removed,
with a warning, and jax compiles the program anew.

The name of an entry also has a hash of the processor's features, because jax's key lacks them: a home folder may be
mounted on machines with different processors, and XLA compiles for the one at hand.

This is the only file that knows jax's cache. jax has no public name for it; tests/test_compiled.py runs with both ends
of the versions that we support.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

_MARK = b"jaxbert-program-1\n"
_HEADER = len(_MARK) + hashlib.sha256().digest_size


def verify_kept_programs() -> None:
    """Makes jax verify every program that it keeps or loads in this process. A second call does nothing."""
    from jax._src import compilation_cache

    opened = compilation_cache.get_file_cache
    if getattr(opened, "verifies", False):
        return

    @functools.wraps(opened)
    def verified(path: str) -> Any:
        found = opened(path)
        return found if found is None else (_verified(found[0]), found[1])

    verified.verifies = True  # type: ignore[attr-defined]
    compilation_cache.get_file_cache = verified
    if compilation_cache._cache is not None:
        # This process has compiled before. jax opens its files again, now through the layer.
        compilation_cache.reset_cache()


def _verified(inner: Any) -> Any:
    """Returns a cache of jax that keeps its entries in `inner`, each with its sha256."""
    from jax._src.compilation_cache_interface import CacheInterface

    class Verified(CacheInterface):
        def __init__(self) -> None:
            self._path = inner._path

        def get(self, key: str) -> bytes | None:
            name = _name(key)
            found = inner.get(name)
            if found is None:
                return None
            content = _content(name, found)
            if content is None:
                file = inner._path / f"{name}-cache"
                _log.warning("a compiled program is damaged, so it is removed and compiled anew: %s", file)
                with suppress(OSError):
                    file.unlink(missing_ok=True)
            return content

        def put(self, key: str, value: bytes) -> None:
            name = _name(key)
            inner.put(name, _MARK + _digest(name, value) + value)

    return Verified()


def _name(key: str) -> str:
    return f"{key}-{_processor()}"


def _content(name: str, found: bytes) -> bytes | None:
    """Returns the content of an entry, or None if it is not what was kept under this name."""
    content = found[_HEADER:]
    return content if found[:_HEADER] == _MARK + _digest(name, content) else None


def _digest(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + content).digest()


@functools.cache
def _processor() -> str:
    return processor()


def processor() -> str:
    """Returns a hash of the kind and the features of this machine's processor, as 8 hexadecimal digits."""
    facts = {platform.machine(), platform.processor()}
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        # The features are called flags on x86, and Features on ARM. All cores of a machine have the same.
        names = ("flags", "Features", "model name", "CPU implementer", "CPU part")
        lines = listed.read_text(encoding="utf-8", errors="replace").splitlines()
        facts |= {line for line in lines if line.startswith(names)}
    return hashlib.sha256("\n".join(sorted(facts)).encode()).hexdigest()[:8]
