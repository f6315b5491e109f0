"""The gate's part for tokenizers: other programs must give fifty texts, and pairs of them, the ids that we give them.

The special tokens around a text count too.

The texts are made from the vocabulary: its characters, the special tokens and the added tokens, in turn. Where
transformers is installed, its AutoTokenizer reads the written directory and the one that the tokenizer came from.
Otherwise the Rust library `tokenizers` reads their tokenizer.json as it is, or vocab.txt, or vocab.json and merges.txt.
The verdict says what was not compared.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxbert.errors import Stopped
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.text.tokenizers.base import read_json
from jaxbert.text.tokenizers.declared import read_declared

_log = logging.getLogger(__name__)

_TEXTS = 50
_PAIRS = 5
# Characters and pieces of the vocabulary in a text.
_CHARS, _PIECES = 24, 6
_NAMES = "tokenizer.json"
# The words for what `_unstated` returns.
_SAID = {"do_lower_case": "capitals are kept", "mask_token": "the mask takes the space before it"}

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
        # Each name comes in each form, however many names there are.
        shown = (f" {name} ", name, f"  {name}\n", name.title())[(index // 2 + index // 8) % 4]
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
    readers, notes = [], []
    for place in filter(None, (directory, tokenizer.source)):
        found = _reader(place, tokenizer) if Tokenizer.present(place) else None
        if found is None:
            notes.append("the source's own files were not compared: only transformers reads them beside us")
            continue
        name, read = found
        theirs = read(rows)
        wrong = [
            index for index, ids in enumerate(theirs) if ids != ours[index] and not _tied(ids, ours[index], tokenizer)
        ]
        if wrong and _known(place, tokenizer):
            _log.warning(
                f"{name} gives {len(wrong)} of {len(rows)} texts and pairs other ids from {place} than the "
                "SentencePiece model there, which counts here"
            )
            notes.append(f"{name} reads {len(wrong)} of {len(rows)} otherwise from the source's SentencePiece model")
            continue
        if wrong:
            first = wrong[0]
            raise Stopped(
                f"the tokenizer gives other ids: {name} reads {' and '.join(map(repr, rows[first]))} as "
                f"{theirs[first]}, not as {ours[first]} ({len(wrong)} of {len(rows)} texts and pairs differ), "
                "so nothing was written",
                where=str(place),
                fix="State tokenizer_class, do_lower_case or add_prefix_space in tokenizer_config.json where it leaves "
                "them out. Otherwise report it with the tokenizer's files.",
                code="E-GATE-TOKENS",
            )
        readers.append(name)
        if unstated := _unstated(place, tokenizer):
            notes.append(f"as the source's files do not say: {' and '.join(_SAID[key] for key in unstated)}")
    names = ", ".join(dict.fromkeys(readers))
    return "; ".join([f"{len(given)} texts have the same token ids by {names}", *notes])


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


def _reader(place: Path, tokenizer: Tokenizer) -> tuple[str, Read] | None:
    """Returns the name of a program that reads the tokenizer in `place`, and its ids with those around a text.

    It returns None where no program but ours reads the files.
    """
    # Without tokenizer.json, transformers needs a config to find the class.
    known = any((place / name).is_file() for name in (_NAMES, "config.json", "tokenizer_config.json"))
    try:
        if known:
            import transformers

            return f"transformers {version('transformers')}", _by_transformers(transformers, place, tokenizer)
    except ImportError:
        pass
    except Exception as error:  # Its tokenizers run the code of many libraries.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        _log.warning(f"transformers {version('transformers')} does not open the tokenizer in {place}: {reason}")
    read = _by_rust(place, tokenizer)
    return None if read is None else (f"tokenizers {version('tokenizers')}", read)


def _by_transformers(transformers: Any, place: Path, tokenizer: Tokenizer) -> Read:
    given = _unstated(place, tokenizer)
    if "mask_token" in given:
        given["mask_token"] = transformers.AddedToken(**asdict(given["mask_token"]))
    logging_of = transformers.utils.logging
    level = logging_of.get_verbosity()
    logging_of.set_verbosity_error()
    try:
        opened = transformers.AutoTokenizer.from_pretrained(
            str(place), local_files_only=True, trust_remote_code=False, **given
        )
    finally:
        logging_of.set_verbosity(level)
    return lambda rows: [list(opened(*row)["input_ids"]) for row in rows]


def _unstated(place: Path, tokenizer: Tokenizer) -> dict[str, Any]:
    """Returns what we take for true although the files in `place` do not say it, by transformers' names.

    `load` has warned of it. Where tokenizer.json says all, it is nothing.
    """
    if (place / _NAMES).is_file():
        return {}
    declared = read_declared(place, tokenizer.classes)
    mask = next(token for token in tokenizer.added if token.content == tokenizer.specials.mask)
    case = tokenizer.kind == "wordpiece" and not tokenizer.lowercase and "do_lower_case" not in declared.config
    return {
        **({"do_lower_case": False} if case else {}),
        # transformers 4 has this flag for a mask without flags, and version 5 has not.
        **({"mask_token": mask} if mask.lstrip and not declared.states(mask.content) else {}),
    }


def _by_rust(place: Path, tokenizer: Tokenizer) -> Read | None:
    import tokenizers as rust

    if (place / _NAMES).is_file():
        value = read_json(place / _NAMES)
        if place == tokenizer.source:
            value = _with_settings(value, place, tokenizer.classes)
        opened = rust.Tokenizer.from_str(json.dumps(value))
    else:
        opened = _of_vocabulary(rust, place, tokenizer)
        if opened is None:
            return None
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


def _of_vocabulary(rust: Any, place: Path, tokenizer: Tokenizer) -> Any:
    """Returns the tokenizer of vocab.txt, or of vocab.json and merges.txt, which the library reads; None of no others.

    The flags of added tokens are ours.
    """
    path = place / "tokenizer_config.json"
    config = read_json(path) if path.is_file() else {}
    if tokenizer.kind == "wordpiece":
        opened = rust.Tokenizer(
            rust.models.WordPiece.from_file(str(place / "vocab.txt"), unk_token=tokenizer.specials.unk)
        )
        opened.normalizer = rust.normalizers.BertNormalizer(
            lowercase=bool(config.get("do_lower_case", tokenizer.lowercase)),
            handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
            strip_accents=config.get("strip_accents"),
        )
        opened.pre_tokenizer = rust.pre_tokenizers.BertPreTokenizer()
    elif tokenizer.kind == "bpe":
        opened = rust.Tokenizer(rust.models.BPE.from_file(str(place / "vocab.json"), str(place / "merges.txt")))
        prefix_space = bool(config.get("add_prefix_space", False))
        opened.pre_tokenizer = rust.pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    else:
        return None
    for token in sorted(tokenizer.added, key=lambda token: tokenizer.id(token.content)):
        opened.add_tokens([token.to_rust(special=token.special)])
    return opened


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
