"""Trains a tokenizer on the train split of a source."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxbert.commands.arguments import add_language, add_named, add_overwrite, add_source, add_validation_fraction
from jaxbert.config import Registry
from jaxbert.errors import InputError
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import parse
from jaxbert.stores.files import is_partial, write_whole
from jaxbert.stores.others import has_digest, listed

if TYPE_CHECKING:
    from jaxbert.text.tokenizers import Tokenizer

EPILOG = ""
# The records of what made a tokenizer, and their key for the sha256 of its files.
_RECORD, _BEGUN, _FILES = "made_from.json", ".begun.json", "files"
_MODEL = "config.json"
KINDS = Registry("kind of tokenizer", "jaxbert.text.tokenizers", "REGISTRY")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    add_source(parser)
    add_named(parser, "--kind", KINDS, default="wordpiece", help="kind of vocabulary: %(names)s (default: %(default)s)")
    parser.add_argument("--vocab-size", type=int, required=True, metavar="N", help="pieces, with special tokens")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--cased", action="store_true", help="keep upper case and accents, as bpe always does")
    add_language(parser, "language of the text: the command says where the vocabulary does not suit it")
    add_validation_fraction(parser, "leave out")
    add_overwrite(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Trains the tokenizer, unless --out has it already."""
    fraction = args.validation_fraction
    if not 0 <= fraction < 1:
        raise InputError(
            f"the validation fraction is {fraction}",
            where="--validation-fraction",
            fix="Give a number from 0 up to, but not including, 1.",
            code="E-ARGUMENT-RANGE",
        )
    if args.kind not in KINDS.names:
        raise KINDS.unknown(args.kind, "--kind")
    from jaxbert.data.from_source import learn_vocabulary
    from jaxbert.data.sources import open_source
    from jaxbert.text.languages import advice
    from jaxbert.text.sentences import check_language
    from jaxbert.text.tokenizers import REGISTRY, Tokenizer
    from jaxbert.text.tokenizers.base import names_of_kind, writing

    check_language(args.language)
    out = Path(args.out)
    cased = args.cased or REGISTRY[args.kind].keeps_case
    source = open_source(args.source)
    made_from = {
        "source": args.source,
        "source_hash": source.hash,
        "kind": args.kind,
        "vocab_size": args.vocab_size,
        "lowercase": not cased,
        "validation_fraction": fraction,
    }
    place = Place(out)
    if out.exists() and not out.is_dir():
        raise InputError(
            "the path is a file, but a directory is needed",
            where=str(out),
            fix="Give another --out.",
            code="E-TOKENIZER-OUT",
        )
    if out.is_dir() and any(not is_partial(path.name) for path in out.iterdir()):
        # A record of an earlier version has no sha256 of the files, and is trusted.
        if place.made_from(_RECORD) == made_from and (changed := place.changed()) == []:
            made = Tokenizer.load(out)
            print(f"{out} is there already, made from the same source with the same options.")
            return {"vocab_size": made.vocab_size, "hash": made.hash, "out": str(out)}
        if not args.overwrite and place.made_from(_RECORD) == made_from:
            raise InputError(
                f"files of the tokenizer are not as this command wrote them: {listed(changed)}",
                where=str(out),
                fix="Give another --out, or --overwrite to make them again.",
                code="E-TOKENIZER-CHANGED",
            )
        if not args.overwrite and place.made_from(_BEGUN) != made_from:
            raise InputError(
                "the directory holds something else already",
                where=str(out),
                fix="Give another --out, or --overwrite to replace it.",
                code="E-TOKENIZER-EXISTS",
            )
        place.check_others(names_of_kind(args.kind))
    made = learn_vocabulary(
        source, args.kind, vocab_size=args.vocab_size, lowercase=not cased, validation_fraction=fraction
    )
    place.check_others(made.file_names())
    with writing(out):
        place.write(made, made_from)
    words = f"{'cased' if cased else 'uncased'} {args.kind}" + (" (it always is)" if cased and not args.cased else "")
    print(f"{made.vocab_size} pieces, {words}: {out}")
    findings = source.findings() + advice(args.language, args.kind, lowercase=not cased)
    if made.learned is not None:
        print(made.learned.line())
        findings += made.learned.findings()
    for finding in findings:
        print(f"look at: {finding}")
    return {"vocab_size": made.vocab_size, "hash": made.hash, "out": str(out)}


class Place:
    """The directory that a tokenizer is written to.

    `.begun.json` becomes `made_from.json` when every file is written. A directory that has only the first was not
    finished. Both hold the options, and in "files" the sha256 of the files that the command writes.
    """

    def __init__(self, directory: Path):
        self._directory = directory

    def made_from(self, name: str) -> Any:
        """Returns the options in a record; None where it is missing or damaged."""
        found = self._read(name)
        return {key: value for key, value in found.items() if key != _FILES} if isinstance(found, dict) else None

    def changed(self) -> list[str]:
        """Returns the names of the files that a reader would read, and that are not as `made_from.json` says."""
        found = self._read(_RECORD)
        expected = found.get(_FILES) if isinstance(found, dict) else None
        if not isinstance(expected, dict):
            return []
        # Only names that we know: a damaged record may have any.
        there = {name for name in _read_by_tokenizers() if os.path.lexists(self._directory / name) or name in expected}
        return sorted(name for name in there if not self._has(name, expected.get(name)))

    def check_others(self, written: Collection[str]) -> None:
        """Raises InputError where files that no command of ours wrote would change how the tokenizer is read.

        Args:
          written: the names of the files that are written again.
        """
        others = [name for name in self._left(written) if name not in self._ours()]
        if others:
            raise InputError(
                f"files that this command does not write would change how the tokenizer is read: {listed(others)}",
                where=str(self._directory),
                fix="Move them away, or give another --out.",
                code="E-TOKENIZER-OTHERS",
            )

    def write(self, made: Tokenizer, made_from: dict[str, Any]) -> None:
        """Writes the tokenizer and its record, and removes what an earlier command wrote and this one does not."""
        ours = self._ours()
        # A repetition after a kill knows by this record which files it may remove.
        self._write(_BEGUN, {**made_from, _FILES: {**ours, **made.digests()}})
        (self._directory / _RECORD).unlink(missing_ok=True)
        for name in self._left(made.file_names()):
            if name in ours:
                (self._directory / name).unlink()
        self._write(_BEGUN, {**made_from, _FILES: made.digests()})
        made.save(self._directory)
        os.replace(self._directory / _BEGUN, self._directory / _RECORD)

    def _left(self, written: Collection[str]) -> list[str]:
        """Returns the names of the files in the directory that a tokenizer's reader reads and that are not written."""
        names = _read_by_tokenizers() - frozenset(written)
        return sorted(name for name in names if os.path.lexists(self._directory / name))

    def _ours(self) -> dict[str, str]:
        """Returns the sha256 of each file that a reader reads and that a command of ours wrote, as it is now."""
        ours: dict[str, str] = {}
        for record in (self._read(_RECORD), self._read(_BEGUN)):
            files = record.get(_FILES) if isinstance(record, dict) else None
            if isinstance(files, dict):
                ours |= {name: str(files[name]) for name in _read_by_tokenizers() if self._has(name, files.get(name))}
        return ours

    def _has(self, name: str, expected: Any) -> bool:
        return has_digest(self._directory / name, expected)

    def _read(self, name: str) -> Any:
        try:
            return parse(read_bytes(self._directory / name))
        except (FileNotFoundError, IsADirectoryError, ValueError):
            return None

    def _write(self, name: str, value: dict[str, Any]) -> None:
        write_whole(self._directory / name, json.dumps(value, indent=1, sort_keys=True) + "\n")


def _read_by_tokenizers() -> frozenset[str]:
    """Returns the names of the files that change how a tokenizer is read: its own, and the config of a model."""
    from jaxbert.text.tokenizers.base import all_file_names

    return all_file_names() | {_MODEL}
