"""The gate's part for tokenizers: other programs must give fifty texts, and pairs of them, the ids that we give them.

The special tokens around a text count too.

The texts are made from the vocabulary: its characters, the special tokens and the added tokens, in turn. Where
transformers is installed, its AutoTokenizer reads the written directory and the one that the tokenizer came from.
Otherwise the Rust library `tokenizers` reads their tokenizer.json, as it is.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxbert.errors import Stopped
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.text.tokenizers.base import read_json

_log = logging.getLogger(__name__)

_TEXTS = 50
_PAIRS = 5
# Characters and pieces of the vocabulary in a text.
_CHARS, _PIECES = 24, 6
_NAMES = "tokenizer.json"

Row = tuple[str] | tuple[str, str]
Read = Callable[[Sequence[Row]], list[list[int]]]


def texts(tokenizer: Tokenizer, also: Iterable[str] = ()) -> list[str]:
    """Returns the texts that are compared.

    Each has characters and pieces of the vocabulary, from its whole range, and a special or added token: with spaces
    around it, between letters, and with its case changed.

    Args:
      tokenizer: the tokenizer.
      also: further names of added tokens.
    """
    pieces = [piece for piece in tokenizer.vocab if len(piece) > 1 and piece.isprintable()]
    alphabet = sorted({char for piece in tokenizer.vocab for char in piece if char.isprintable()})
    usual = list(dict.fromkeys(tokenizer.specials))
    further = list(dict.fromkeys([*(token.content for token in tokenizer.further), *also]))
    # Every other text has a token that the kind does not have anyway, where there is one.
    turns = zip(itertools.cycle(usual), itertools.cycle(further or usual))
    names = itertools.chain.from_iterable(turns)
    chars, parts = itertools.cycle(_spread(alphabet)), itertools.cycle(_spread(pieces))
    found = []
    for index in range(_TEXTS):
        name = next(names)
        run = "".join(itertools.islice(chars, _CHARS))
        words = [piece.strip("#\u2581\u0120") for piece in itertools.islice(parts, _PIECES)]
        shown = (f" {name} ", name, f"  {name}\n", name.title())[index // 2 % 4]
        found.append(f"{' '.join(words[:3])}{shown}{words[-1].upper()} {run} {''.join(words[3:])}")
    return found


def _spread(items: Sequence[str]) -> Iterator[str]:
    """Yields the items in an order in which any few that follow each other come from the whole range."""
    step = max(1, len(items) // (_TEXTS * _PIECES))
    for start in range(step):
        yield from items[start::step]


def judge_tokens(directory: Path, tokenizer: Tokenizer) -> str:
    """Compares the ids of fifty texts and of a few pairs, and returns one line for people about it.

    Args:
      directory: the written directory.
      tokenizer: the tokenizer that was written to it. Its `source` is compared too.

    Raises:
      Stopped: a reader gives a text other ids.
    """
    listed = _listed(tokenizer.source)
    given = texts(tokenizer, listed)
    rows: list[Row] = [(text,) for text in given]
    rows += [(given[index], given[-1 - index]) for index in range(_PAIRS)]
    ours = [_row(tokenizer, row) for row in rows]
    for name in listed:
        index = tokenizer.id(name)
        if tokenizer.token(index) != name or index not in tokenizer.encode(f"{name} a", special_tokens=True):
            raise Stopped(
                f"the tokenizer has lost the added token {name!r} of its files, so nothing was written",
                where=str(tokenizer.source),
                fix="Report it with the tokenizer's files.",
                code="E-GATE-TOKENS",
            )
    readers = []
    for place in filter(None, (directory, tokenizer.source)):
        if not (place / _NAMES).is_file():  # Versions of transformers disagree about files without it.
            continue
        name, read = _reader(place, tokenizer)
        theirs = read(rows)
        wrong = [
            index for index, ids in enumerate(theirs) if ids != ours[index] and not _tied(ids, ours[index], tokenizer)
        ]
        if wrong and _known(place, tokenizer):
            _log.warning(
                f"{name} gives {len(wrong)} of {len(rows)} texts and pairs other ids from {place} than the "
                "SentencePiece model there, which counts here"
            )
        elif wrong:
            first = wrong[0]
            raise Stopped(
                f"the tokenizer gives other ids: {name} reads {' and '.join(map(repr, rows[first]))} as "
                f"{theirs[first]}, not as {ours[first]} ({len(wrong)} of {len(rows)} texts and pairs differ), "
                "so nothing was written",
                where=str(place),
                fix="State do_lower_case or add_prefix_space in tokenizer_config.json where it leaves them out. "
                "Otherwise report it with the tokenizer's files.",
                code="E-GATE-TOKENS",
            )
        readers.append(name)
    return f"{len(given)} texts have the same token ids by {', '.join(dict.fromkeys(readers))}"


def _row(tokenizer: Tokenizer, row: Row) -> list[int]:
    """Returns our ids of a text or a pair, with the special tokens around it."""
    first, *rest = tokenizer.encode_batch(list(row), special_tokens=True)
    ids = [tokenizer.cls_id, *first, tokenizer.sep_id]
    for second in rest:
        ids += [*[tokenizer.sep_id] * (tokenizer.pair_separators - 1), *second, tokenizer.sep_id]
    return ids


def _listed(place: Path | None) -> list[str]:
    """Returns the added tokens that the files in `place` number, as they are in them."""
    if place is None:
        return []
    values = {
        name: read_json(place / name)
        for name in (_NAMES, "tokenizer_config.json", "added_tokens.json")
        if (place / name).is_file()
    }
    entries = list(values.get(_NAMES, {}).get("added_tokens") or ())
    entries += (values.get("tokenizer_config.json", {}).get("added_tokens_decoder") or {}).values()
    return list(dict.fromkeys([*(entry["content"] for entry in entries), *values.get("added_tokens.json", {})]))


def _tied(theirs: Sequence[int], ours: Sequence[int], tokenizer: Tokenizer) -> bool:
    """Returns whether two cuts of a text differ only by pieces that a unigram model takes for equally probable.

    SentencePiece adds the scores in float32, the Rust library in float64. Their roundings decide between such cuts.
    """
    if tokenizer.kind != "unigram" or tokenizer.unk_id in theirs:
        return False
    whole = {tokenizer.id(token.content) for token in tokenizer.added}
    cuts = [
        ("".join(tokenizer.token(index) for index in ids), len(ids), [index for index in ids if index in whole])
        for ids in (theirs, ours)
    ]
    return cuts[0] == cuts[1]


def _known(place: Path, tokenizer: Tokenizer) -> bool:
    """Returns whether transformers is known to read the files of `place` in another way than their authors.

    Its AlbertTokenizer replaces quotation marks, and removes vowel signs (models/albert/tokenization_albert.py).
    """
    return place == tokenizer.source and tokenizer.kind == "unigram" and any(place.glob("*.model"))


def _reader(place: Path, tokenizer: Tokenizer) -> tuple[str, Read]:
    """Returns the name of a program that reads the tokenizer in `place`, and its ids with those around a text."""
    try:
        import transformers

        return f"transformers {version('transformers')}", _by_transformers(transformers, place)
    except ImportError:
        pass
    except Exception as error:  # Its tokenizers run the code of many libraries.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        _log.warning(f"transformers {version('transformers')} does not open the tokenizer in {place}: {reason}")
    return f"tokenizers {version('tokenizers')}", _by_rust(place, tokenizer)


def _by_transformers(transformers: Any, place: Path) -> Read:
    logging_of = transformers.utils.logging
    level = logging_of.get_verbosity()
    logging_of.set_verbosity_error()
    try:
        opened = transformers.AutoTokenizer.from_pretrained(str(place), local_files_only=True, trust_remote_code=False)
    finally:
        logging_of.set_verbosity(level)
    return lambda rows: [list(opened(*row)["input_ids"]) for row in rows]


def _by_rust(place: Path, tokenizer: Tokenizer) -> Read:
    import tokenizers as rust

    value = read_json(place / _NAMES)
    if place == tokenizer.source:
        value = _with_settings(value, place, tokenizer.classes)
    opened = rust.Tokenizer.from_str(json.dumps(value))
    opened.no_truncation()
    opened.no_padding()
    if place == tokenizer.source:
        # The class may put the special tokens there, whatever the file says; where it does not, `load` has compared.
        cls, sep = tokenizer.specials.cls, tokenizer.specials.sep
        opened.post_processor = rust.processors.TemplateProcessing(
            single=[cls, "$A", sep],
            pair=[cls, "$A", *[sep] * tokenizer.pair_separators, "$B", sep],
            special_tokens=[(cls, tokenizer.cls_id), (sep, tokenizer.sep_id)],
        )
    return lambda rows: [opened.encode(*row).ids for row in rows]


def _with_settings(value: dict[str, Any], place: Path, classes: Sequence[str]) -> dict[str, Any]:
    """Returns a tokenizer.json with what tokenizer_config.json says, which counts with one of these classes."""
    path = place / "tokenizer_config.json"
    config = read_json(path) if path.is_file() else {}
    if str(config.get("tokenizer_class") or classes[0]).removesuffix("Fast") not in classes:
        return value
    names = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}
    names |= {"tokenize_chinese_chars": "handle_chinese_chars", "add_prefix_space": "add_prefix_space"}
    for part in ("normalizer", "pre_tokenizer"):
        there = value.get(part) or {}
        stated = {to: config[key] for key, to in names.items() if to in there and key in config}
        value[part] = {**there, **stated} if there else None
    entries = {entry["content"]: entry for entry in value.get("added_tokens") or ()}
    for index, entry in (config.get("added_tokens_decoder") or {}).items():
        entries[entry["content"]] = {**entry, "id": int(index)}
    return {**value, "added_tokens": sorted(entries.values(), key=lambda entry: entry["id"])}
