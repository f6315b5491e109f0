"""Sentences by language."""

from __future__ import annotations

import pytest

from jaxbert.errors import InputError
from jaxbert.text.sentences import split_sentences

TABLE = [
    ("en", "I met Dr. J. R. Smith in the U.S. on Jan. 5. He paid $3.50!", 2),
    ("en", '"Are you well?" he asked. "Yes," said she.', 2),
    ("en", "A heading\nA sentence. And one more.\n\n  \n", 3),
    ("de", "Das ist z.B. ein Satz von Dr. Müller. Am 3. Oktober war es so. Ja!", 3),
    ("zh", "你好。我是谁？你是。", 3),  # noqa: RUF001
    ("hi", "यह एक वाक्य है। दूसरा वाक्य।", 2),
    ("pt-br", "Olá. Tudo bem?", 2),
    ("en", "", 0),
]


@pytest.mark.parametrize(("language", "text", "count"), TABLE)
def test_sentences(language: str, text: str, count: int) -> None:
    sentences = split_sentences(text, language)
    assert len(sentences) == count, sentences
    assert "".join("".join(sentences).split()) == "".join(text.split()), "every character but white space is kept"
    assert all(sentence == sentence.strip() and sentence for sentence in sentences)


def test_a_language_must_be_a_code() -> None:
    for language in ("", "english language", "EN_us", "../x"):
        with pytest.raises(InputError, match="E-RECORDS-LANGUAGE"):
            split_sentences("Text.", language)
