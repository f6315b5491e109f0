"""The classes of characters that tokenizer.js needs, as the installed library `tokenizers` has them.

    python -m tests.report_browser.unicode_tables

writes them, with the characters that the library's normal forms leave alone and newer ones do not.
"""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Iterable, Sequence

import tokenizers as rust

from jaxbert.report.browser.vocabulary import UNICODE, distances

_OFF = dict.fromkeys(("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False)
# Stretches of ideographs, syllables and private characters, of which the first and the last few stand for all.
_ALIKE = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xF8FF), (0x17000, 0x18CFF))
_EVERY = [*range(0xD800), *range(0xE000, 0x110000)]
CODES = [
    code
    for code in [*range(0xD800), *range(0xE000, 0x20010), *range(0xE0000, 0xE0200), *range(0x10FFF0, 0x110000)]
    if not any(first + 9 < code < last - 9 for first, last in _ALIKE)
]
FORMS = {"NFD": rust.normalizers.NFD(), "NFKD": rust.normalizers.NFKD(), "NFKC": rust.normalizers.NFKC()}


def each(normalizer: rust.normalizers.Normalizer, codes: Iterable[int]) -> list[str]:
    """Returns what each character becomes. No form reaches across a line feed."""
    return str(normalizer.normalize_str("\n".join(map(chr, codes)))).split("\n")


def members(packed: Sequence[int]) -> set[int]:
    """Returns the code points of ranges as `distances` packs them."""
    flat = list(itertools.accumulate(packed))
    return {code for first, last in zip(flat[::2], flat[1::2], strict=True) for code in range(first, last + 1)}


def tables(codes: Sequence[int]) -> dict[str, set[int]]:
    """Returns the classes, of `codes` only."""
    plain = [code for code in codes if code not in (0x0A, 0x0D)]
    together = "".join(map(chr, plain))
    clean = rust.normalizers.BertNormalizer(**{**_OFF, "clean_text": True})
    bare = rust.normalizers.BertNormalizer(**{**_OFF, "strip_accents": True})
    forms = {name: each(form, plain) for name, form in FORMS.items()}

    def without(normalizer: rust.normalizers.Normalizer) -> set[int]:
        kept = set(str(normalizer.normalize_str(together)))
        gone = [code for code in plain if chr(code) not in kept]
        # White space that is kept becomes a space.
        return {code for code in gone if not chr(code).isspace() or normalizer.normalize_str(f".{chr(code)}.") == ".."}

    words = rust.pre_tokenizers.BertPreTokenizer().pre_tokenize_str("aa".join(map(chr, plain)))
    known = members(json.loads(UNICODE.read_text(encoding="utf-8"))["late"]) if UNICODE.exists() else set()
    return {
        "dropped": without(clean),
        "mark": {
            code
            for code, text, same in zip(plain, each(bare, plain), forms["NFD"], strict=True)
            if text == "" and same == chr(code)
        },
        "punctuation": {ord(word) for word, _ in words if len(word) == 1},
        "letter": without(rust.normalizers.Replace(rust.Regex(r"\p{L}"), "")),
        "number": without(rust.normalizers.Replace(rust.Regex(r"\p{N}"), "")),
        # What newer browsers know stays in the file, although this Python does not know it.
        "late": {
            code
            for name, texts in forms.items()
            for code, text in zip(plain, texts, strict=True)
            if text == chr(code) and (code in known or unicodedata.normalize(name, chr(code)) != text)
        },
    }


if __name__ == "__main__":
    found = tables(_EVERY)
    packed = {name: distances(codes) for name, codes in found.items()}
    UNICODE.write_text(json.dumps(packed, separators=(",", ":")) + "\n", encoding="utf-8")
