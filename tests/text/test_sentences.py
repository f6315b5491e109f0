"""Sentences by language."""

from __future__ import annotations

import pytest

from jaxbert.errors import InputError
from jaxbert.text import sentences as module
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


@pytest.mark.parametrize("space", ["\u00a0", "\u202f", "\u3000"])
def test_white_space_of_several_bytes_is_white_space(space: str) -> None:
    """The library panics on a capital, such a space and a full stop, which is no Exception of Python."""
    text = f"Oranges hold vitamin C{space}. They keep in winter.{space}Dr.{space}Smith eats them."
    plain = split_sentences(text.replace(space, " "))
    assert [sentence.replace(space, " ") for sentence in split_sentences(text)] == plain and len(plain) == 3
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


def test_a_panic_of_the_library_loses_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {})

    def segment(language: str, text: str) -> list[str]:
        if "C" in text:
            raise panic("byte index 3 is not a char boundary")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "segment", segment)
    assert split_sentences("Vitamin C. It is good.") == ["Vitamin C. It is good."]
    with pytest.raises(KeyboardInterrupt):
        split_sentences("Another.")


LONG_LINES = {
    "zh": "".join(f"第{number}条河很冷。" for number in range(4000)),
    "en": " ".join(f"The river no. {number} is cold, says Dr. Smith (so it is. Really)." for number in range(1000)),
}


@pytest.mark.parametrize("language", LONG_LINES)
def test_long_lines_give_the_same_sentences_in_windows(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library takes quadratic time, so it must never see more than a window."""
    line = LONG_LINES[language]
    lengths: list[int] = []
    whole = [stripped for sentence in module.segment(language, line) if (stripped := sentence.strip())]
    real = module.segment

    def segment(code: str, text: str) -> list[str]:
        lengths.append(len(text))
        return list(real(code, text))

    monkeypatch.setattr(module, "segment", segment)
    assert split_sentences(line, language) == whole and len(whole) >= 1000
    assert max(lengths) <= module._WINDOW and sum(lengths) < 2 * len(line)


QUOTATIONS = {
    "double": ("en", 'He said "I go. You stay." and left. '),
    "single": ("en", "He said 'I go. You stay.' and left. "),
    "nested": ("en", "Ann asked: \"Did she say 'I go. You stay.' or not? Yes.\" We left. It was late. "),
    "no spaces": ("zh", '他说"我走。你留。"然后走了。'),
    "behind a mark on a letter": ("th", 'เขาพูดที่นี้"I go. You stay."แล้ว. '),
    "colon": ("zh", '他说:"我走。你留。"然后走了。'),
    "long": ("en", 'It is late. He said "' + "I go. You stay. " * 300 + 'We too." and left. It was cold. '),
}


@pytest.mark.parametrize("kind", QUOTATIONS)
def test_a_window_does_not_end_inside_a_quotation(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark without its pair hides all pairs from the library, so one cut once changed every sentence of a window."""
    language, text = QUOTATIONS[kind]
    line = (text * (1 + 20_000 // len(text))).strip()
    whole = [stripped for sentence in module.segment(language, line) if (stripped := sentence.strip())]
    lengths: list[int] = []
    real = module.segment

    def segment(code: str, text: str) -> list[str]:
        lengths.append(len(text))
        return list(real(code, text))

    monkeypatch.setattr(module, "segment", segment)
    for window in (1 << 12, 4003, 4009, 4016):
        monkeypatch.setattr(module, "_WINDOW", window)
        lengths.clear()
        assert split_sentences(line, language) == whole and len(whole) > 10
        assert max(lengths) <= module._LONGEST_WINDOW and sum(lengths) < 5 * len(line)


@pytest.mark.parametrize("mark", ['"', "'"])
def test_marks_without_a_pair_lose_no_text(mark: str) -> None:
    """Inches and apostrophes are no quotations, and one that never ends is cut."""
    for line in (
        f"A pipe of 5{mark} is here. " * 3000,
        f"{mark}A part that does not end. It is long. " * 3000,
        f"Now {mark}it begins. " + "It does not end. " * 6000,
        mark * 50_000,
        f" {mark}a" * 20_000,
    ):
        assert "".join("".join(split_sentences(line)).split()) == "".join(line.split())


@pytest.mark.parametrize("line", ["word " * 20_000, "字" * 100_000, "(" * 100_000])
def test_a_line_without_sentences_is_cut_and_nothing_is_lost(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = split_sentences(line, "en")
    assert "".join("".join(sentences).split()) == "".join(line.split())
    assert max(map(len, sentences)) <= module._LONGEST_WINDOW
    assert {word for sentence in sentences for word in sentence.split()} == set(line.split()) or " " not in line
