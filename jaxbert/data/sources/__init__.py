"""Sources of documents. To add one: a file here with a function that opens it, and a line in `SOURCES`.

That line also says which sources of the kind other machines can open. `jaxbert launch` does not send a run whose text
only this machine has, and a model's card does not name this machine's folders.

SOURCE is one string, `KIND:REST`. The docstring of the kind's module describes REST. A folder, a file or a glob pattern
without `KIND:` is `files:REST`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxbert.config import did_you_mean
from jaxbert.data.sources import hf, html, json_file, jsonl, markdown, mixed, parquet, sample, table, text, tfds
from jaxbert.data.sources.base import Document, Source
from jaxbert.data.sources.finding import locked_below, matching, split_option
from jaxbert.data.sources.formats import is_known
from jaxbert.data.sources.lines import not_permitted
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
    return not os.path.isdir(os.path.expanduser(split_option(rest)[0]))


BARE = "files"
SOURCES: dict[str, SourceKind] = {
    BARE: SourceKind(mixed.open_rest, "FOLDER|FILE|GLOB#column"),
    "text": SourceKind(text.open_rest, "GLOB"),
    "jsonl": SourceKind(jsonl.open_rest, "GLOB#field"),
    "json": SourceKind(json_file.open_rest, "GLOB#field"),
    "csv": SourceKind(table.open_rest, "GLOB#column"),
    "parquet": SourceKind(parquet.open_rest, "GLOB#column"),
    "markdown": SourceKind(markdown.open_rest, "GLOB"),
    "html": SourceKind(html.open_rest, "GLOB"),
    "tfds": SourceKind(tfds.open_rest, "NAME/CONFIG", anywhere=_no_directory),
    "hf": SourceKind(hf.open_rest, "NAME#column", anywhere=_no_directory),
    "sample": SourceKind(sample.open_rest, "aws-docs", anywhere=lambda rest: True),
}

__all__ = [
    "BARE",
    "SOURCES",
    "Document",
    "Source",
    "SourceKind",
    "open_source",
    "reached_anywhere",
    "with_kind",
    "without_folders",
]


def with_kind(spec: str) -> str:
    """Returns a SOURCE string with its kind: a folder, a file or a pattern without one is of the kind `files`."""
    kind, colon, _ = spec.partition(":")
    return spec if colon and kind in SOURCES else f"{BARE}:{spec}"


def reached_anywhere(spec: str) -> bool:
    """Returns whether another machine can open a SOURCE string too."""
    kind, _, rest = with_kind(spec).partition(":")
    return SOURCES[kind].anywhere(rest)


def without_folders(spec: str) -> str:
    """Returns a SOURCE string without the folders of this machine. The name of a folder becomes `*`."""
    if not spec or reached_anywhere(spec):
        return spec
    kind, _, rest = with_kind(spec).partition(":")
    path, mark, option = rest.rpartition("#") if "#" in rest.rpartition("/")[2] else (rest, "", "")
    name = path.rpartition("/")[2]
    # Only a pattern and a file with a known ending are surely no folder.
    if kind == BARE and not (set("*?[") & set(name) or is_known(Path(name))):
        name = "*"
    return f"{kind}:{name or '*'}{mark}{option}" if rest else spec


def open_source(spec: str) -> Source:
    """Opens a SOURCE string.

    Raises:
      InputError: there is no such kind, or the source cannot be used.
    """
    kind, colon, rest = spec.partition(":")
    if not spec or (colon and kind in SOURCES and not rest):
        raise InputError(
            f"nothing follows {kind}:" if colon else "the source is empty",
            where=spec or "SOURCE",
            fix="For example books, books/*.txt, sample:aws-docs.",
            code="E-SOURCE-KIND",
        )
    if not colon or kind not in SOURCES:
        path = split_option(spec)[0]
        if not matching(path):
            if locked := locked_below(path):
                raise not_permitted(locked[0])
            raise _no_such(spec)
    kind, _, rest = with_kind(spec).partition(":")
    return SOURCES[kind].open(rest)


def _no_such(spec: str) -> InputError:
    """Returns the error for a SOURCE that is no path, and begins with no known kind."""
    kind, colon, _ = spec.partition(":")
    kinds = ", ".join(f"{name}:" for name in SOURCES)
    if colon and re.fullmatch(r"[a-z_]+", kind):
        return InputError(
            f"unknown kind of source {kind!r}, and no such file",
            where=spec,
            fix=f"{did_you_mean(kind, list(SOURCES))}Known: {kinds} or a path, for example books/*.txt.",
            code="E-SOURCE-KIND",
        )
    also = ""
    if spec in sample.NAMES:
        also = f" Did you mean sample:{spec}?"
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", spec):
        also = f" A dataset of the Hugging Face hub is hf:{spec}."
    return InputError(
        "no such file or folder" if not set("*?[") & set(spec) else "no file matches",
        where=spec,
        fix=f"Check the path; quote a pattern in the shell.{also}",
        code="E-SOURCE-FILE",
    )
