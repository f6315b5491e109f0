"""Records of named fields from JSONL, JSON, CSV, TSV and Parquet files, and from datasets of TFDS and Hugging Face.

The files may be packed (.gz, .xz, .zst, .bz2). Each record has its place, for messages. Nothing is left out: a row with
another number of cells than there are columns is an error.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources import hf, jsonl, parquet, tfds
from jaxbert.data.sources.finding import matching, printable
from jaxbert.data.sources.formats import ENDINGS
from jaxbert.data.sources.json_file import values_of
from jaxbert.data.sources.lines import check_head, check_regular, read_whole_lines
from jaxbert.data.sources.packed import inner_suffix
from jaxbert.data.sources.table import open_table
from jaxbert.errors import InputError, counted

_log = logging.getLogger(__name__)

# The forms of files with named fields.
FORMS = ("jsonl", "json", "csv", "tsv", "parquet")
# The fields of so many records are the fields of a file of JSON.
_HEAD_RECORDS = 100
# A cell in quotes as RFC 4180 writes it, with a doubled quote in it.
_QUOTED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')


@dataclass(frozen=True)
class Records:
    """Records of one place.

    Attributes:
      place: the place, for messages.
      fields: the names of the fields.
      read: yields (place of the record, its fields by their names).
      classes: the names of the labels of fields that hold numbers of labels, as TFDS and Hugging Face have them.
      holder: what holds a value, for messages.
    """

    place: str
    fields: Sequence[str]
    read: Callable[[], Iterator[tuple[str, Mapping[str, Any]]]]
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    holder: str = "column"


def form_of(path: Path) -> str:
    """Returns the form of a file of records by its ending: one of `FORMS`, or "" for another file."""
    ending = inner_suffix(path)
    kind = "tsv" if ending == ".tsv" else ENDINGS.get(ending, "")
    return kind if kind in FORMS else ""


def files_of(place: str) -> list[Path]:
    """Returns the file that a place names, or the files that a pattern matches, after looking at their beginnings.

    Raises:
      InputError: there is none, or one of them is not a file that can be read.
    """
    paths = matching(place)
    if not paths:
        raise InputError(
            "no such file" if not set("*?[") & set(place) else "no file matches",
            where=place,
            fix="Check the path; quote a pattern in the shell." if set("*?[") & set(place) else "Check the path.",
            code="E-SOURCE-FILE",
        )
    for path in paths:
        check_regular(path)
        if inner_suffix(path) != ".parquet":
            check_head(path)
    return paths


def open_records(place: str, *, split: str, wanted: Collection[str] = (), form: str = "") -> Records:
    """Opens a file, `tfds:NAME` or `hf:NAME[:CONFIG]`.

    Args:
      place: the file, or the dataset.
      split: the split of a dataset. A file has only one.
      wanted: the names of fields that the user gave. Names that are numbers from 1 on count the columns of a table
        whose first row does not name its columns.
      form: one of `FORMS` where the ending of the file does not say it.

    Raises:
      InputError: there is no such file or dataset, it has no such split, or it is of another form.
    """
    kind, colon, rest = place.partition(":")
    if colon and kind == "hf":
        return _open_hf(place, rest, split)
    if colon and kind == "tfds":
        return _open_tfds(place, rest, split)
    parts = [_open_file(path, wanted, form or form_of(path)) for path in files_of(place)]
    if len(parts) == 1:
        return parts[0]
    for part in parts[1:]:
        if set(part.fields) != set(parts[0].fields):
            raise InputError(
                f"the fields ({', '.join(part.fields)}) are not those of {parts[0].place} "
                f"({', '.join(parts[0].fields)})",
                where=part.place,
                fix="Give files with the same fields.",
                code="E-LABELLED-COLUMN",
            )

    def read() -> Iterator[tuple[str, Mapping[str, Any]]]:
        return itertools.chain.from_iterable(part.read() for part in parts)

    return Records(place, parts[0].fields, read, holder=parts[0].holder)


def _open_file(path: Path, wanted: Collection[str], form: str) -> Records:
    name = printable(str(path))
    if form in ("csv", "tsv"):
        return _open_table(path, name, wanted, form)
    if form == "parquet":

        def cells() -> Iterator[tuple[str, Mapping[str, Any]]]:
            return ((f"{name}, row {number}", record) for number, record in parquet.rows(path))

        return Records(name, parquet.names_of(path), cells)
    if form == "jsonl":

        def lines() -> Iterator[tuple[str, Mapping[str, Any]]]:
            return ((f"{name}, line {number}", record) for number, record in jsonl.objects(path, strict=True))

        return Records(name, _fields_of(lines()), lines, holder="field")
    if form == "json":

        def values() -> Iterator[tuple[str, Mapping[str, Any]]]:
            for number, record in values_of(path, unique=True):
                if not isinstance(record, dict):
                    raise InputError(
                        "a record is not a JSON object",
                        where=f"{name}, line {number}",
                        fix='Give an array of objects such as {"text": "...", "label": "..."}.',
                        code="E-SOURCE-FIELD",
                    )
                yield f"{name}, line {number}", record

        return Records(name, _fields_of(values()), values, holder="field")
    raise InputError(
        f"unknown form {form!r}" if form else "the ending of the file does not say its form",
        where=name,
        fix=f"{did_you_mean(form, list(FORMS))}Known: {', '.join(f'.{known}' for known in FORMS)}; or say it with "
        "--form, for example --form csv. A file with labels needs columns. A text a line (.txt, --form lines) is for "
        "`jaxbert predict` with a task that reads one text.",
        code="E-LABELLED-FORM",
    )


def _fields_of(records: Iterator[tuple[str, Mapping[str, Any]]]) -> list[str]:
    return list(dict.fromkeys(name for _, record in itertools.islice(records, _HEAD_RECORDS) for name in record))


def _open_table(path: Path, name: str, wanted: Collection[str], form: str) -> Records:
    quotes = form == "csv" or _has_quoted_cells(path)
    delimiter = "\t" if form == "tsv" else ""
    numbered = bool(wanted) and all(column.isascii() and column.isdigit() for column in wanted)
    table = open_table(path, wanted, delimiter=delimiter, quotes=quotes, exact=True)
    header = not numbered or set(wanted) <= set(table.names)
    if not header:
        table = open_table(path, (), delimiter=delimiter, quotes=quotes, header=False, exact=True)
    double = next((one for one in table.names if table.names.count(one) > 1), None)
    if double is not None:
        raise InputError(
            f"{table.names.count(double)} columns are called {double!r}",
            where=name,
            fix="Give each column another name in the first row.",
            code="E-LABELLED-COLUMN",
        )
    names = table.names

    def read() -> Iterator[tuple[str, Mapping[str, Any]]]:
        wanted_names = wanted if header else ()
        table = open_table(path, wanted_names, delimiter=delimiter, quotes=quotes, header=header, exact=True)
        behind = table.above
        blank: list[int] = []
        for first, last, row in table.rows():
            if len(row) != len(names):
                raise table.wrong_row(row, first)
            blank += range(behind + 1, first)
            behind = last
            yield f"{name}, line {first}", dict(zip(names, row, strict=True))
        if blank:
            _log.info(f"{name}: {counted(len(blank), 'blank line')} between rows left out, first line {blank[0]}")

    return Records(name, names, read)


def _has_quoted_cells(path: Path) -> bool:
    """Returns whether the cells of a TSV file may be in quotes.

    Most files of texts with tabs (GLUE's, for example) have quotes that are text, and a cell may begin with one. In
    others a program has put cells in quotes, and doubled the quotes inside. The whole file decides.
    """
    quoted = False
    for number, line in read_whole_lines(path):
        if '"' not in line:
            continue
        for cell in line.split("\t"):
            if '"' not in cell:
                continue
            # A cell in quotes without quotes inside may be either.
            whole = re.fullmatch(r'"[^"]*"', cell) is not None
            if _QUOTED.fullmatch(cell) or (whole and number == 1):
                quoted = True
            elif not whole:
                return False
    if quoted:
        _log.info(f"{printable(str(path))}: cells are in quotes, and quotes inside them are doubled")
    return quoted


# ----------------------------------------------------------------------------------------------------------------------
# Datasets


def _open_hf(place: str, rest: str, split: str) -> Records:
    name, _, config = rest.partition(":")
    _, streams = hf.open_dataset(place, name, config or None)
    split = _split_of(place, split, list(streams))
    stream = streams[split]
    features = getattr(stream, "features", None) or {}

    def read() -> Iterator[tuple[str, Mapping[str, Any]]]:
        where = f"{place} {split}"
        return ((f"{where}, row {number}", row) for number, row in enumerate(hf.rows_of(stream, where), 1))

    fields = list(features) or list(next(read(), ("", {}))[1])
    classes = {field: names for field, feature in features.items() if (names := _class_names(feature))}
    return Records(place, fields, read, classes)


def _open_tfds(place: str, rest: str, split: str) -> Records:
    builder = tfds.open_builder(rest, place)
    features = dict(builder.info.features or {})
    split = _split_of(place, split, list(builder.info.splits))

    def read() -> Iterator[tuple[str, Mapping[str, Any]]]:
        return (
            (f"{place} {split}, row {number + 1}", {name: _plain(value) for name, value in example.items()})
            for number, example in tfds.examples_of(builder, split)
        )

    classes = {field: names for field, feature in features.items() if (names := _class_names(feature))}
    return Records(place, list(features), read, classes, holder="feature")


def _class_names(feature: Any) -> Sequence[str]:
    """Returns the names of a feature's labels, also of a list of labels; none for another feature."""
    for part in (feature, getattr(feature, "feature", None)):
        names = getattr(part, "names", None)
        if names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return ()


def _plain(value: Any) -> Any:
    """Returns a value of TFDS as plain values of Python: arrays as lists."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _split_of(place: str, split: str, there: list[str]) -> str:
    """Returns the name of a split, or of the only one that begins with it ("validation_matched")."""
    if split in there:
        return split
    alike = [name for name in there if name.startswith(split)]
    if len(alike) == 1:
        return alike[0]
    raise InputError(
        f"no split {split!r}" if not alike else f"several splits begin with {split!r}",
        where=place,
        fix=f"Splits there: {', '.join(there)}.",
        code="E-SOURCE-SPLIT",
    )
