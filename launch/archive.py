"""The code as one file that is called by its own sha256: what runs is what was submitted.

It unpacks to a directory for PYTHONPATH: the package as installed (configs and launch inside), its metadata, the lock
file of the environment that it is to run in, and the config, where that is a file. The bytes depend on nothing else:
the same code is the same archive, whoever makes it and when.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxbert.errors import InputError

LOCK = "requirements.lock"
# 1 January 1980: the earliest that all tools know.
_TIME = 315_532_800
# What an environment is for -> the end of its lock file's name.
ENVIRONMENTS: Mapping[str, str] = {"tpu": "-tpu", "gpu": "-cuda"}


@dataclass(frozen=True)
class Archive:
    """A gzipped tar file.

    Attributes:
      content: its bytes.
      sha256: of them, in hexadecimal.
      files: how many are in it.
      lock: the lock file's name; empty where it has none.
      config: what `jaxbert pretrain` is given as CONFIG, below the unpacked directory; empty where CONFIG is a name.
    """

    content: bytes
    sha256: str
    files: int
    lock: str
    config: str = ""

    @property
    def name(self) -> str:
        """Its file name."""
        return f"jaxbert-{self.sha256}.tar.gz"


def archive(*, lock: str = "", config: Path | None = None) -> Archive:
    """The archive of this very code.

    Args:
      lock: name of a lock file of the checkout, such as "requirements-lock-3.13-tpu.txt".
      config: a config file that goes with it.

    Raises:
      InputError: the lock file is not there: jaxbert is not installed from a checkout.
    """
    files = dict(_package())
    name = ""
    if lock:
        path = checkout() / lock
        if not path.is_file():
            raise InputError(
                "no lock file, so the environment there would be another one",
                where=str(path),
                fix="Install jaxbert from its repository (pip install -e .) and launch from there.",
            )
        files[LOCK] = path.read_bytes()
    if config is not None:
        # Not by its own name, which may be anything.
        name = f"config{config.suffix if config.suffix in ('.py', '.json') else '.py'}"
        files[name] = config.read_bytes()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for inside, content in sorted(files.items()):
            member = tarfile.TarInfo(inside)
            member.size, member.mtime, member.mode = len(content), _TIME, 0o644
            tar.addfile(member, io.BytesIO(content))
    content = gzip.compress(packed.getvalue(), compresslevel=9, mtime=0)
    return Archive(content, hashlib.sha256(content).hexdigest(), len(files), lock, name)


def checkout() -> Path:
    """The repository that this code lies in; its parent where it is installed elsewhere."""
    return Path(__file__).resolve().parent.parent


def code_hash() -> str:
    """Changes with any file of the package."""
    digest = hashlib.sha256()
    for name, content in sorted(_package()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _package() -> Iterator[tuple[str, bytes]]:
    """(path in the archive, content) of everything installed."""
    import jaxbert.configs
    import jaxbert.launch

    import jaxbert

    roots = {"jaxbert": jaxbert, "jaxbert/configs": jaxbert.configs, "jaxbert/launch": jaxbert.launch}
    for name, package in roots.items():
        (root,) = {Path(place).resolve() for place in package.__path__}
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            # Of an installed package, configs and launch lie in it: each counts once, by its own root.
            nested = name == "jaxbert" and inside.parts[0] in ("configs", "launch")
            hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
            if path.is_file() and not nested and not hidden and path.suffix != ".pyc":
                yield f"{name}/{inside.as_posix()}", path.read_bytes()
    version = jaxbert_version()
    metadata = f"Metadata-Version: 2.1\nName: jaxbert\nVersion: {version}\n"
    yield f"jaxbert-{version}.dist-info/METADATA", metadata.encode()


def jaxbert_version() -> str:
    """Of the installed package."""
    from importlib.metadata import version

    return version("jaxbert")
