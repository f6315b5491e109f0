"""Packs the code into one file whose name is its sha256, so that a job runs the code that was submitted.

The archive unpacks to a directory for PYTHONPATH. It holds the package as installed (with configs and launch inside),
the package's metadata, the lock file of the environment, and the config if CONFIG is a file. Its bytes depend on these
files only, and not on the machine or the time.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from jaxbert.errors import InputError
from jaxbert.inputs.files import read_bytes

_HERE = Path(__file__).resolve().parent
LOCK = "requirements.lock"
# The lock file for machines whose NVIDIA driver is too old for LOCK.
OLDER = "requirements-older-driver.lock"
# 1 January 1980, the earliest time that all archive tools accept, in seconds since 1970.
_TIME = 315_532_800


@dataclass(frozen=True)
class Archive:
    """A gzipped tar file.

    Attributes:
      content: the bytes.
      sha256: the hash of the bytes, in hexadecimal.
      files: the number of files inside.
      lock: the name of the lock file in the checkout; "" if there is none inside.
      older: the name of the lock file for older NVIDIA drivers; "" if there is none inside.
      config: the path of the config inside, which `jaxbert pretrain` gets as CONFIG; "" if CONFIG is a name.
    """

    content: bytes
    sha256: str
    files: int
    lock: str
    config: str = ""
    older: str = ""

    @property
    def name(self) -> str:
        """Returns the file name."""
        return f"jaxbert-{self.sha256}.tar.gz"


def archive(*, lock: str = "", older: str = "", config: Path | None = None) -> Archive:
    """Returns the archive of the code that is running.

    Args:
      lock: the name of a lock file of the checkout, such as "requirements-lock-3.13-tpu.txt"; "" for none.
      older: the name of the lock file for machines whose NVIDIA driver is too old for `lock`; "" for none.
      config: a config file to add.

    Raises:
      InputError: the lock file is missing, because jaxbert is not installed from a checkout.
    """
    files = dict(_package())
    name = ""
    for inside, from_checkout in ((LOCK, lock), (OLDER, older)):
        if not from_checkout:
            continue
        path = checkout() / from_checkout
        if not path.is_file():
            raise InputError(
                "the lock file, which fixes the environment of the job, does not exist",
                where=str(path),
                fix="Install jaxbert from its repository (pip install -e .) and launch from there.",
                code="E-LAUNCH-LOCK-FILE",
            )
        files[inside] = read_bytes(path)
    if config is not None:
        # The file gets a fixed name, because its own name may contain any characters.
        name = f"config{config.suffix if config.suffix in ('.py', '.json') else '.py'}"
        files[name] = read_bytes(config)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for inside, content in sorted(files.items()):
            member = tarfile.TarInfo(inside)
            member.size, member.mtime, member.mode = len(content), _TIME, 0o644
            tar.addfile(member, io.BytesIO(content))
    content = gzip.compress(packed.getvalue(), compresslevel=9, mtime=0)
    return Archive(content, hashlib.sha256(content).hexdigest(), len(files), lock, name, older)


def checkout() -> Path:
    """Returns the root of the repository; if jaxbert is not installed from one, the directory above this one."""
    return _HERE.parent


def code_hash() -> str:
    """Returns a hash that changes with any file of the package."""
    digest = hashlib.sha256()
    for name, content in sorted(_package()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _package() -> Iterator[tuple[str, bytes]]:
    """Yields (path in the archive, content) of every file of the package."""
    for name in ("jaxbert", "jaxbert/configs", "jaxbert/launch"):
        found = find_spec(name.replace("/", "."))
        assert found is not None and found.submodule_search_locations is not None
        (root,) = {Path(place).resolve() for place in found.submodule_search_locations}
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            # In an installed package, configs and launch are inside jaxbert. They are packed once, from their roots.
            nested = name == "jaxbert" and inside.parts[0] in ("configs", "launch")
            hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
            if path.is_file() and not nested and not hidden and path.suffix != ".pyc":
                yield f"{name}/{inside.as_posix()}", path.read_bytes()
    version = jaxbert_version()
    metadata = f"Metadata-Version: 2.1\nName: jaxbert\nVersion: {version}\n"
    yield f"jaxbert-{version}.dist-info/METADATA", metadata.encode()


def jaxbert_version() -> str:
    """Returns the version of the installed package."""
    from importlib.metadata import version

    return version("jaxbert")
