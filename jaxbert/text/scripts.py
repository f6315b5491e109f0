"""Letters, the marks on them, and scripts that write no spaces between words.

A piece of a vocabulary in such a script counts as a word.
"""

from __future__ import annotations

import re
import unicodedata

# Thai and Lao, Burmese, Khmer, the Tai scripts, and the further letters of Burmese (Unicode 16, Blocks.txt).
_SOUTH_EAST = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaa7f"
# Hiragana and katakana, Chinese characters.
_EAST = "\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_SOUTH_EASTERN = re.compile(f"[{_SOUTH_EAST}]")
_UNSPACED = re.compile(f"[{_SOUTH_EAST}{_EAST}]")
# The first bytes in UTF-8 of the letters of these scripts, as far as two bytes tell: Thai and Lao, Burmese, Khmer;
# kana, Chinese characters.
_FIRST_BYTES = re.compile(rb"\xe0[\xb8-\xbb]|\xe1(?:[\x80-\x82]|\x9e|\x9f)|\xe3[\x81-\x83\x90-\xbf]|[\xe4-\xe9]")


def is_south_eastern(text: str) -> bool:
    """Returns whether a text begins with a letter of Thai, Lao, Khmer or Burmese, and not with a sign on a letter."""
    return _begins(_SOUTH_EASTERN, text)


def is_unspaced(text: str) -> bool:
    """Returns whether a text begins with a letter of a script without spaces, Chinese and Japanese included."""
    return _begins(_UNSPACED, text)


def are_unspaced_bytes(data: bytes) -> bool:
    """Returns what `is_unspaced` returns, for UTF-8 that may end inside a character."""
    text = data.decode("utf-8", "ignore") if data[:1] and data[0] & 0xC0 != 0x80 else ""
    return is_unspaced(text) if text else bool(_FIRST_BYTES.match(data))


def spaced(text: str) -> str:
    """Returns a text with a space on both sides of each letter of a script without spaces."""
    return _UNSPACED.sub(r" \g<0> ", text)


def south_eastern_letters(text: str) -> int:
    """Returns the number of characters of Thai, Lao, Khmer and Burmese in a text."""
    return len(_SOUTH_EASTERN.findall(text))


def unspaced_letters(text: str) -> int:
    """Returns the number of characters of a text in scripts without spaces, Chinese and Japanese included."""
    return len(_UNSPACED.findall(text))


def marks(text: str) -> int:
    """Returns the number of characters of a text that stand on a letter: accents, vowel signs, tones."""
    return 0 if text.isascii() else sum(map(is_mark, text))


def is_mark(char: str) -> bool:
    """Returns whether a character stands on a letter."""
    return unicodedata.category(char)[0] == "M"


def letters_of_word(text: str) -> int:
    """Returns the number of letters of a word, without the marks on them; 0 if a text has any other character.

    `str.isalpha` denies words with vowel signs, which most words of Hindi, Tamil and Thai have.
    """
    kinds = [unicodedata.category(char)[0] for char in text]
    return kinds.count("L") if set(kinds) <= {"L", "M"} else 0


def _begins(letters: re.Pattern[str], text: str) -> bool:
    return bool(letters.match(text)) and not is_mark(text[0])
