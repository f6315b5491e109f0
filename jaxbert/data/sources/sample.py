"""`sample:aws-docs`: the English documentation strings in the botocore wheel (Apache-2.0), without a download.

Each service is one document: the strings of its newest version in the order of the file, without HTML, and each string
once in the whole corpus. About a tenth of the services, drawn by a seeded hash of their names, are validation; strings
that also occur in train are removed from them. requirements.txt pins botocore exactly, because another version is
another corpus.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import importlib.metadata
import importlib.util
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import Document, Source, bounded
from jaxbert.data.sources.lines import reading
from jaxbert.errors import InputError
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import parse

NAMES = ("aws-docs",)
_SEED = 0
_VALIDATION = 0.1
_FILES = ("service-2.json.gz", "service-2.json")

# Tags that end a line of text. All other tags are inside a line.
_BLOCK = re.compile(
    r"</?(?:p|div|br|ul|ol|li|dl|dt|dd|table|thead|tbody|tr|td|th|pre|note|important|h[1-6]|section|examples?)\b[^>]*/?>",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")


class AwsDocsSource(Source):
    """Documents of the installed botocore."""

    licence = "Apache-2.0"  # botocore's own LICENSE.txt

    def __init__(self, spec: str):
        self.spec = spec
        found = importlib.util.find_spec("botocore")
        if found is None or not found.submodule_search_locations:
            raise InputError(
                "botocore is not installed", where=spec, fix="pip install -r requirements.txt.", code="E-SOURCE-INSTALL"
            )
        self.root = Path(next(iter(found.submodule_search_locations))) / "data"
        if not self.root.is_dir():
            raise InputError(
                "botocore has no data",
                where=str(self.root),
                fix="pip install -r requirements.txt.",
                code="E-SOURCE-INSTALL",
            )

    def describe(self) -> dict[str, Any]:
        """See `Source`. The version of the wheel identifies its files."""
        version = importlib.metadata.version("botocore")
        return {"spec": self.spec, "botocore": version, "seed": _SEED, "validation": _VALIDATION}

    def documents(self) -> Iterator[Document]:
        """See `Source`. All of train comes first, then validation."""
        services = self.services()
        seen: set[bytes] = set()
        for split in ("train", "validation"):
            for service in services:
                if _split(service) == split and (file := self.newest(service)) is not None:
                    yield from bounded(service, "\n".join(_strings(file, seen)), split)

    def services(self) -> list[str]:
        """Returns the names of the services in their order."""
        return sorted(path.name for path in self.root.iterdir() if path.is_dir())

    def newest(self, service: str) -> Path | None:
        """Returns the file of a service's newest version; None where the service has no such file."""
        for version in sorted((self.root / service).iterdir(), reverse=True):
            for name in _FILES:
                if (version / name).is_file():
                    return version / name
        return None


def _split(service: str) -> str:
    digest = hashlib.sha256(f"{_SEED}:{service}".encode()).digest()
    return "validation" if int.from_bytes(digest[:8], "big") < _VALIDATION * 2**64 else "train"


def read_service(file: Path) -> dict[str, Any]:
    """Returns the content of a service's file.

    Raises:
      InputError: the file is damaged.
    """
    try:
        with reading(file):
            data = read_bytes(file)
        found: dict[str, Any] = parse(gzip.decompress(data) if file.suffix == ".gz" else data, strict=False)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(
            f"damaged file of botocore ({error})",
            where=str(file),
            fix="pip install --force-reinstall botocore.",
            code="E-SOURCE-DAMAGED",
        ) from None
    return found


def _strings(file: Path, seen: set[bytes]) -> Iterator[str]:
    """Yields the strings of one service whose digests are not in `seen`, and adds them to it."""
    found: list[str] = []
    _documentation(read_service(file), found)
    for raw in found:
        # Most repeats are equal before HTML is removed too, and removing it takes most of the time.
        if _new(raw, seen) and (text := strip_html(raw)) and _new(text, seen, b"text"):
            yield text


def _new(text: str, seen: set[bytes], kind: bytes = b"raw") -> bool:
    digest = hashlib.blake2b(text.encode(), digest_size=12, person=kind).digest()
    if digest in seen:
        return False
    seen.add(digest)
    return True


def _documentation(value: dict[str, Any], found: list[str]) -> None:
    for key, item in value.items():
        kind = type(item)
        if kind is dict:
            _documentation(item, found)
        elif kind is str:
            if key == "documentation":
                found.append(item)
        elif kind is list:
            for inner in item:
                if type(inner) is dict:
                    _documentation(inner, found)


def strip_html(text: str) -> str:
    """Returns text without its tags, as a browser shows it, with each block (paragraph, list item, cell) on a line."""
    text = " ".join(text.split())
    if "<" in text:
        text = _TAG.sub("", _BLOCK.sub("\n", _COMMENT.sub(" ", text)))
    if "&" in text:
        text = html.unescape(text)
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def open_rest(rest: str) -> AwsDocsSource:
    """Opens the source `sample:REST`."""
    if rest not in NAMES:
        raise InputError(
            f"no sample named {rest!r}",
            where=f"sample:{rest}",
            fix=f"{did_you_mean(rest, list(NAMES))}Known: {', '.join(NAMES)}.",
            code="E-SOURCE-KIND",
        )
    return AwsDocsSource(f"sample:{rest}")
