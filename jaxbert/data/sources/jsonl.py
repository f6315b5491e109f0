"""`jsonl:GLOB[#field]`: each line is a JSON object and one document, with its text in `field` ("text" by default)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import (
    Document,
    FileSource,
    bounded,
    check_head,
    open_bytes,
    reading,
    split_option,
)
from jaxbert.errors import InputError


class JsonlSource(FileSource):
    """Documents of JSON-lines files."""

    def __init__(self, spec: str, pattern: str, field: str):
        super().__init__(spec, pattern)
        self.field = field
        for name, path in self.files:
            check_head(path)
            next(self._file(name, path), None)

    def documents(self) -> Iterator[Document]:
        """See `Source`."""
        for name, path in self.files:
            yield from self._file(name, path)

    def _file(self, name: str, path: Path) -> Iterator[Document]:
        with reading(path), open_bytes(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield from bounded(f"{name}:{number}", self._text(line, path, number))

    def _text(self, line: bytes, path: Path, number: int) -> str:
        where = f"{path}:{number}"
        try:
            value: Any = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise InputError(
                f"not UTF-8: byte 0x{line[error.start]:02x}",
                where=where,
                fix="Convert it, for example iconv -f WINDOWS-1252 -t UTF-8.",
                code="E-SOURCE-ENCODING",
            ) from None
        except ValueError as error:
            raise InputError(
                f"not JSON: {error}", where=where, fix="Give one JSON object a line.", code="E-SOURCE-FIELD"
            ) from None
        if not isinstance(value, dict):
            raise InputError(
                "not a JSON object", where=where, fix='Give lines such as {"text": "..."}.', code="E-SOURCE-FIELD"
            )
        if self.field not in value:
            fix = f"{did_you_mean(self.field, list(value))}Fields there: {', '.join(value)}; give jsonl:GLOB#field."
            raise InputError(f"no field {self.field!r}", where=where, fix=fix, code="E-SOURCE-FIELD")
        text = value[self.field]
        if not isinstance(text, str):
            raise InputError(
                f"field {self.field!r} is {json.dumps(text)[:40]}, not text",
                where=where,
                fix="Remove or mend the line.",
                code="E-SOURCE-FIELD",
            )
        return text


def open_rest(rest: str) -> JsonlSource:
    """Opens the source `jsonl:REST`."""
    pattern, field = split_option(rest)
    return JsonlSource(f"jsonl:{rest}", pattern, field or "text")
