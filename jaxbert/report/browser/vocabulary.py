"""Writes a tokenizer as the object that tokenizer.js reads."""

from __future__ import annotations

import base64
import functools
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jaxbert.inputs.files import read_text
from jaxbert.inputs.values import parse
from jaxbert.report.browser.reasons import LeftOut
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.text.tokenizers.bpe import ByteLevelBPE
from jaxbert.text.tokenizers.unigram import Unigram
from jaxbert.text.tokenizers.wordpiece import WordPiece

# Classes of characters as the Rust library has them; tests/report_browser/unicode_tables.py writes and compares it.
UNICODE = Path(__file__).parent / "unicode.json"


def write(tokenizer: Tokenizer) -> dict[str, Any]:
    """Returns the object, of JSON values.

    Raises:
      LeftOut: tokenizer.js does not know such a tokenizer.
    """
    for kind, of_kind in _KINDS.items():
        if isinstance(tokenizer, kind):
            own = of_kind(tokenizer)
            break
    else:
        raise LeftOut(
            f"The page cannot compute the ids of this {tokenizer.kind} tokenizer ({type(tokenizer).__name__})."
        )
    return {
        "kind": tokenizer.kind,
        "pieces": tokenizer.vocab,
        "model_size": tokenizer.model_size,
        "unk": tokenizer.unk_id,
        "cls": tokenizer.cls_id,
        "sep": tokenizer.sep_id,
        "mask": tokenizer.mask_id,
        "added": [{**asdict(token), "id": tokenizer.id(token.content)} for token in tokenizer.added],
        **own,
    }


def distances(codes: Iterable[int]) -> list[int]:
    """Returns ranges of code points as [first, last, first, last, ...], each as the distance from the one before."""
    ranges: list[list[int]] = []
    for code in sorted(codes):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    flat = [code for both in ranges for code in both]
    return [code - before for before, code in zip([0, *flat], flat, strict=False)]


@functools.cache
def _unicode() -> Mapping[str, list[int]]:
    found: Mapping[str, list[int]] = parse(read_text(UNICODE))
    return found


@functools.cache
def _combining() -> list[int]:
    return distances(code for code in range(0x110000) if unicodedata.combining(chr(code)))


def _classes(*names: str) -> dict[str, list[int]]:
    return {name: _unicode()[name] for name in names}


def _wordpiece(tokenizer: WordPiece) -> dict[str, Any]:
    settings = tokenizer.normalisation
    strips = settings.lowercase if settings.strip_accents is None else settings.strip_accents
    return {
        "lowercase": settings.lowercase,
        "clean": settings.clean_text,
        "chinese": settings.handle_chinese_chars,
        "strip": strips,
        "max_word_chars": tokenizer.max_word_chars,
        "classes": _classes("dropped", "mark", "punctuation", "late"),
    }


def _bpe(tokenizer: ByteLevelBPE) -> dict[str, Any]:
    return {
        "merges": [tokenizer.id(part) for pair in tokenizer.merges for part in pair],
        "prefix_space": tokenizer.prefix_space,
        "classes": _classes("letter", "number"),
    }


def _unigram(tokenizer: Unigram) -> dict[str, Any]:
    model = tokenizer.parse(tokenizer.model)
    spec = model.normalizer_spec
    if model.trainer_spec.byte_fallback:
        raise LeftOut("The page cannot compute the ids of a unigram tokenizer that falls back to bytes.")
    if any(token.normalized for token in tokenizer.added):
        raise LeftOut("The page cannot compute the ids of a unigram tokenizer whose added tokens are normalised.")
    return {
        "scores": [piece.score for piece in model.pieces],
        "types": "".join(str(piece.type) for piece in model.pieces),
        "again": {str(index): ids for index, ids in tokenizer.split_again.items()},
        "lowercase": tokenizer.normalisation.lowercase,
        "keep_accents": tokenizer.normalisation.keep_accents,
        "charsmap": base64.b64encode(spec.precompiled_charsmap).decode(),
        "dummy_prefix": spec.add_dummy_prefix,
        "remove_extra_spaces": spec.remove_extra_whitespaces,
        "escape_spaces": spec.escape_whitespaces,
        "classes": {"combining": _combining(), **_classes("late")},
    }


_KINDS: Mapping[type[Tokenizer], Callable[[Any], dict[str, Any]]] = {
    WordPiece: _wordpiece,
    ByteLevelBPE: _bpe,
    Unigram: _unigram,
}
