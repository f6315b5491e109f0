"""`jsonl:GLOB[#field]`: each line is a JSON object and one document, with its text in `field` ("text" by default).

A record whose text is null or only white space is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.files import read_whole_lines, split_option
from jaxbert.data.sources.record_files import RecordFiles
from jaxbert.errors import InputError
from jaxbert.inputs.values import parse


class JsonlSource(RecordFiles):
    """Documents of JSON-lines files."""

    holder = "field"

    def values(self, path: Path) -> Iterator[tuple[int, Any]]:
        """See `RecordFiles`."""
        for number, line in read_whole_lines(path):
            if line.strip():
                yield number, self._value(line, f"{path}:{number}")

    def _value(self, line: str, where: str) -> Any:
        try:
            # A corpus of others may hold what our own files may not: NaN, a key twice, lone surrogates.
            value: Any = parse(line, strict=False)
        except ValueError as error:
            raise InputError(
                f"not JSON: {error}", where=where, fix="Give one JSON object a line.", code="E-SOURCE-FIELD"
            ) from None
        if not isinstance(value, dict):
            raise InputError(
                "not a JSON object", where=where, fix='Give lines such as {"text": "..."}.', code="E-SOURCE-FIELD"
            )
        if self.column not in value:
            fix = f"{did_you_mean(self.column, list(value))}Fields there: {', '.join(value)}; give jsonl:GLOB#field."
            raise InputError(f"no field {self.column!r}", where=where, fix=fix, code="E-SOURCE-FIELD")
        return value[self.column]


def open_rest(rest: str) -> JsonlSource:
    """Opens the source `jsonl:REST`."""
    pattern, field = split_option(rest)
    return JsonlSource(f"jsonl:{rest}", pattern, field or "text")
