"""Opens files and datasets as examples, whatever their format. `docs/how-to/labelled.md` shows a file of each."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jaxbert.config import did_you_mean
from jaxbert.data.sources.lines import read_head
from jaxbert.data.sources.packed import inner_suffix
from jaxbert.errors import InputError
from jaxbert.labelled import glue, sample
from jaxbert.labelled.conll import read_conll
from jaxbert.labelled.examples import KINDS, Example
from jaxbert.labelled.reading import read_records
from jaxbert.labelled.squad import read_squad
from jaxbert.labelled.tables import FORMS, files_of, form_of, open_records


def open_examples(
    kind: str,
    place: str,
    *,
    problem: str = "",
    columns: Mapping[str, str] | None = None,
    form: str = "",
    split: str = "train",
    limit: int = 0,
) -> Iterator[Example]:
    """Opens examples of a kind of task. They are read as a stream, in the order of the file.

    Args:
      kind: a key of `KINDS`.
      place: a file, packed or not; a pattern in which all files have one form; `glue:TASK:FOLDER`; `tfds:NAME`;
        `hf:NAME[:CONFIG]`; `sample:NAME`, which has no columns.
      problem: for classification, one of `reading.PROBLEMS`; "" takes one label, or the problem of GLUE's task.
      columns: the name of the column of each role: text, pair, label, id, words, tags, entities, question, context,
        answers, start, choices. A role whose name is "" is not read. Numbers from 1 on count the columns of a table
        that does not name them. Roles that are not here get a column with a usual name. For several labels, the role
        label may have one column a label, "toxic,insult", which hold 0 or 1.
      form: "jsonl", "json", "csv", "tsv", "parquet", "conll" or "squad", where the ending of the file does not say it.
      split: "train", "validation" or "test", or another split of a dataset. Only the splits of `reading.UNLABELLED`
        may lack a column of answers.
      limit: the most examples to read; 0 reads all.

    Raises:
      InputError: the place cannot be opened, or has no columns for the kind. This is raised at once. While examples are
        read: a record is wrong, and the message names its place.
    """
    if kind not in KINDS:
        raise InputError(
            f"unknown kind {kind!r}",
            where="kind",
            fix=f"{did_you_mean(kind, list(KINDS))}Known: {', '.join(KINDS)}.",
            code="E-LABELLED-FORM",
        )
    examples = _not_empty(_opened(kind, place, problem, dict(columns or {}), form, split), place, split)
    return itertools.islice(examples, limit) if limit else examples


def local_files(place: str, split: str) -> list[Path]:
    """Returns the files of a place; none for datasets by name, whose content their name and version fix.

    Raises:
      InputError: there is no such file.
    """
    if place.startswith(("hf:", "tfds:", "sample:")):
        return []
    return [glue.file_of(place, split)] if place.startswith("glue:") else files_of(place)


def has_splits(place: str) -> bool:
    """Returns whether a place has splits, as datasets have; a file is one split."""
    return place.startswith(("hf:", "tfds:", "sample:")) or (place.startswith("glue:") and not glue.is_file(place))


def _not_empty(examples: Iterator[Example], place: str, split: str) -> Iterator[Example]:
    """Yields examples. Raises InputError at the end where there are none."""
    some = False
    for example in examples:
        some = True
        yield example
    if not some:
        raise InputError(
            f"the split {split} has no example" if has_splits(place) else "the file has no example",
            where=place,
            fix="Give a file that has examples.",
            code="E-LABELLED-EMPTY",
        )


def _opened(kind: str, place: str, problem: str, columns: dict[str, str], form: str, split: str) -> Iterator[Example]:
    if place.startswith("sample:"):
        return sample.open_sample(kind, place, problem=problem, split=split)
    if place.startswith("glue:"):
        task = glue.task_of(place)
        if kind not in ("classification", "sentence_vectors"):
            raise InputError(
                f"GLUE's tasks are not of the kind {kind}",
                where=place,
                fix="Take the kind classification.",
                code="E-LABELLED-FORM",
            )
        records = glue.open_glue(place, split=split)
        label = task.label if task.label in records.fields else ""
        columns = {"text": task.text, "pair": task.pair, "label": label, **columns}
        return read_records(kind, records, problem=problem or task.problem, columns=columns, split=split)
    remote = place.startswith(("hf:", "tfds:"))
    if form not in ("", "conll", "squad", *FORMS):
        raise InputError(
            f"unknown form {form!r}",
            where=place,
            fix=f"Known: conll, squad, {', '.join(FORMS)}.",
            code="E-LABELLED-FORM",
        )
    if not remote and (form == "conll" or (kind == "token_labels" and not form and _is_conll(place, columns))):
        return _conll(files_of(place), columns)
    if not remote and (form == "squad" or (kind == "question_answering" and not form and _is_squad(place))):
        read = columns.get("answers") != ""
        return (example for path in files_of(place) for example in read_squad(path, answers=read))
    if not remote and not form and _is_squad(place) and _HAS_QUESTIONS.search(read_head(files_of(place)[0])):
        raise InputError(
            f"the file has questions, in the form of SQuAD's files, and the kind is {kind}",
            where=place,
            fix="Give it to a task of the kind question_answering: `jaxbert finetune answer`.",
            code="E-LABELLED-FORM",
        )
    wanted = [one for role, name in columns.items() for one in (name.split(",") if role == "label" else [name]) if one]
    records = open_records(place, split=split, wanted=wanted, form=form)
    return read_records(kind, records, problem=problem, columns=columns, split=split)


# An object that begins with "data" or "version" may be a record of another kind.
_HAS_QUESTIONS = re.compile(rb'"(?:paragraphs|qas)"\s*:')


def _is_conll(place: str, columns: Mapping[str, str]) -> bool:
    """Returns whether a file of words has a word a line: it has no named fields, or is a TSV file without names."""
    path = files_of(place)[0]
    named = any(not column.isdigit() for column in columns.values() if column)
    return form_of(path) == "" or (inner_suffix(path) == ".tsv" and not named)


def _conll(paths: Sequence[Path], columns: Mapping[str, str]) -> Iterator[Example]:
    unread = "tags" in columns and not columns["tags"]
    for role, column in columns.items():
        if not column and role in ("tags", "entities"):
            continue
        if role not in ("words", "tags") or not (column.isascii() and column.isdigit()):
            raise InputError(
                f"the role {role} has the column {column!r}, but the columns of a CoNLL file have no names",
                where=str(paths[0]),
                fix="Give the numbers of the columns, from 1 on, of the roles words and tags.",
                code="E-LABELLED-COLUMN",
            )
    number = 0
    for path in paths:
        tag = None if unread else columns.get("tags", "")
        for example in read_conll(path, first=number, word=columns.get("words", ""), tag=tag):
            yield example
            number += 1


def _is_squad(place: str) -> bool:
    """Returns whether a file holds one JSON object, as SQuAD's files do, and not an array of records."""
    path = files_of(place)[0]
    if form_of(path) != "json":
        return False
    return re.match(rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:data|version)"', read_head(path)) is not None
