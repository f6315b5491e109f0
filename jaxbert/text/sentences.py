"""Splits text into sentences by the rules of its language, with the `sentencex` library (Wikimedia, some 300
languages).

A line break always ends a sentence. For a language without rules, the library uses those of its nearest relative, and
in the end those of English.
"""

from __future__ import annotations

import re

from sentencex import segment

from jaxbert.errors import InputError

_TAG = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def split_sentences(text: str, language: str = "en") -> list[str]:
    """Returns the sentences of `text` in order, without white space around them. No sentence is empty.

    Together they hold every character of the text but white space.

    Args:
      text: any text.
      language: ISO 639 code ("en", "de", "pt-br").

    Raises:
      InputError: `language` is not such a code.
    """
    check_language(language)
    sentences: list[str] = []
    for line in text.splitlines():
        line = line.strip()
        if line:
            sentences.extend(stripped for sentence in segment(language, line) if (stripped := sentence.strip()))
    return sentences


def check_language(language: str) -> None:
    """Raises InputError if `language` is not an ISO 639 code."""
    if not _TAG.fullmatch(language):
        raise InputError(
            f"{language!r} is not a language code",
            where="--language",
            fix='Give an ISO 639 code such as "en" or "de".',
            code="E-RECORDS-LANGUAGE",
        )
