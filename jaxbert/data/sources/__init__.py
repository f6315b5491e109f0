"""Sources of documents. To add one: a file here with a function that opens it, and a line in `SOURCES`.

SOURCE is one string, `KIND:REST`. The docstring of the kind's module describes REST.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxbert.config import did_you_mean
from jaxbert.data.sources import hf, jsonl, parquet, sample, text, tfds
from jaxbert.data.sources.base import Document, Source
from jaxbert.errors import InputError

# The function that opens REST, by kind. It checks all that can be known without reading everything, and raises
# InputError.
SOURCES: dict[str, Callable[[str], Source]] = {
    "text": text.open_rest,
    "jsonl": jsonl.open_rest,
    "parquet": parquet.open_rest,
    "tfds": tfds.open_rest,
    "hf": hf.open_rest,
    "sample": sample.open_rest,
}

__all__ = ["SOURCES", "Document", "Source", "open_source"]


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
    return SOURCES[kind](rest)
