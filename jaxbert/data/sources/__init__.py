"""Sources of documents. To add one: a file here with a function that opens it, and a line in `SOURCES`.

That line also says which sources of the kind other machines can open. `jaxbert launch` does not send a run whose text
only this machine has, and a model's card does not name this machine's folders.

SOURCE is one string, `KIND:REST`. The docstring of the kind's module describes REST.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxbert.config import did_you_mean
from jaxbert.data.sources import hf, jsonl, parquet, sample, table, text, tfds
from jaxbert.data.sources.base import Document, Source
from jaxbert.data.sources.files import split_option
from jaxbert.errors import InputError


@dataclass(frozen=True)
class SourceKind:
    """A kind of source.

    Attributes:
      open: opens REST. It checks all that can be known without reading everything, and raises InputError.
      form: the form of REST, as help texts show it.
      anywhere: returns whether another machine can open this REST too. Without it, none can: REST names files.
    """

    open: Callable[[str], Source]
    form: str
    anywhere: Callable[[str], bool] = lambda rest: False


def _no_directory(rest: str) -> bool:
    """Returns whether REST is the name of a dataset, and not a directory of this machine."""
    return not Path(split_option(rest)[0]).expanduser().is_dir()


SOURCES: dict[str, SourceKind] = {
    "text": SourceKind(text.open_rest, "GLOB"),
    "jsonl": SourceKind(jsonl.open_rest, "GLOB#field"),
    "csv": SourceKind(table.open_rest, "GLOB#column"),
    "parquet": SourceKind(parquet.open_rest, "GLOB#column"),
    "tfds": SourceKind(tfds.open_rest, "NAME/CONFIG", anywhere=_no_directory),
    "hf": SourceKind(hf.open_rest, "NAME#column", anywhere=_no_directory),
    "sample": SourceKind(sample.open_rest, "aws-docs", anywhere=lambda rest: True),
}

__all__ = ["SOURCES", "Document", "Source", "SourceKind", "open_source", "reached_anywhere", "without_folders"]


def reached_anywhere(spec: str) -> bool:
    """Returns whether another machine can open a SOURCE string too."""
    kind, _, rest = spec.partition(":")
    return kind in SOURCES and SOURCES[kind].anywhere(rest)


def without_folders(spec: str) -> str:
    """Returns a SOURCE string without the folders of this machine."""
    kind, _, rest = spec.partition(":")
    return spec if reached_anywhere(spec) else f"{kind}:{rest.rpartition('/')[2]}" if rest else spec


def open_source(spec: str) -> Source:
    """Opens a SOURCE string.

    Raises:
      InputError: there is no such kind, or the source cannot be used.
    """
    kind, colon, rest = spec.partition(":")
    kinds = list(SOURCES)
    if not colon or kind not in SOURCES:
        what = f"unknown kind of source {kind!r}" if colon else "the source does not begin with KIND:"
        raise InputError(
            what,
            where=spec,
            fix=f"{did_you_mean(kind, kinds)}Known: {', '.join(kinds)}; for example text:books/*.txt.",
            code="E-SOURCE-KIND",
        )
    if not rest:
        raise InputError(
            f"nothing follows {kind}:",
            where=spec,
            fix="For example text:books/*.txt, sample:aws-docs.",
            code="E-SOURCE-KIND",
        )
    return SOURCES[kind].open(rest)
