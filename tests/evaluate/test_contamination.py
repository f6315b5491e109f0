"""The search for texts in a corpus, compared with a plain search for stretches of words."""

from __future__ import annotations

import numpy as np
import pytest

from jaxbert.data.sources.base import Document
from jaxbert.evaluate.suite.contamination import GRAM, Finder, Found, any_of, normalised


def plain(text: str, documents: list[str]) -> Found:
    words = normalised(text)
    size = min(len(words), GRAM)
    if size < 3:
        return Found(False, False, False)
    there = set()
    for document in documents:
        row = normalised(document)
        there |= {tuple(row[at : at + size]) for at in range(len(row) - size + 1)}
    seen = [tuple(words[at : at + size]) in there for at in range(len(words) - size + 1)]
    return Found(True, any(seen), all(seen))


def test_words() -> None:
    assert normalised("The U.S., \u201cquoted\u201d it's \ufb01ne \u00c9T\u00c9") == [
        *("the", "u", "s", "quoted", "it", "s", "fine", "\u00e9t\u00e9")
    ]
    assert normalised("a \u65e5\u672c b") == ["a", "\u65e5", "\u672c", "b"]


def test_it_finds_what_a_plain_search_finds() -> None:
    rng = np.random.default_rng(0)

    def text(length: int) -> str:
        return " ".join(f"w{n}" for n in rng.integers(3, size=length))

    documents = [text(int(length)) for length in rng.integers(0, 60, size=30)]
    texts = [text(length) for length in range(20)] * 3
    longest = sorted(documents, key=len)
    texts += [longest[-1], longest[-2].upper().replace(" ", ", "), f"{longest[-3]} other {longest[-4]}", "a b c"]
    finder = Finder(texts)
    for document in documents:
        finder.add(Document("d", document))
    found = [finder.found(number) for number in range(len(texts))]
    assert found == [plain(one, documents) for one in texts]
    assert {one.whole for one in found} == {one.overlap for one in found} == {True, False}
    assert any(one.overlap and not one.whole for one in found)
    assert finder.documents == 30 and finder.words == sum(len(one.split()) for one in documents)
    assert finder.frequencies()["w1"] == sum(one.split().count("w1") for one in documents)
    assert finder.frequencies()["other"] == 0


def test_a_stretch_may_cross_the_parts_of_a_document_but_not_two_documents() -> None:
    words = [f"w{n}" for n in range(20)]
    for parts, expected in (((1, 2), True), ((0, 0), False)):
        finder = Finder([" ".join(words[2:18]), "w9 w10 w11"])
        for part, some in zip(parts, (words[:10], words[10:]), strict=True):
            finder.add(Document("d", " ".join(some), part=part))
        assert finder.found(0).whole is expected and finder.found(1).overlap is expected
        assert finder.documents == (1 if parts == (1, 2) else 2)


def test_of_an_item_with_several_texts() -> None:
    some = [Found(True, False, False), Found(False, False, False), Found(True, True, False)]
    assert any_of(some) == Found(True, True, False)


@pytest.mark.parametrize("texts", [[], ["", "a b"]])
def test_nothing_to_look_for(texts: list[str]) -> None:
    finder = Finder(texts)
    finder.add(Document("d", "a b c"))
    assert not any(finder.found(number).looked_for for number in range(len(texts)))
