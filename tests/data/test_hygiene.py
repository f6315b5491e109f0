"""What is found wrong with a corpus."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from jaxbert.data import hygiene
from jaxbert.data.hygiene import Content, Counts, HashSet, Repeats, Summary, guess_language, normalised
from jaxbert.data.sources import Document, open_source
from jaxbert.data.sources.base import bounded

ENGLISH = (
    "It was the best of times, it was the worst of times, and he was not in the house of his father at that hour. " * 4
)
GERMAN = (
    "Es war die beste und die schlechteste der Zeiten, und er war nicht in dem Haus, das sich auf dem Berg befand. " * 4
)


def test_hash_set_is_a_set() -> None:
    draw = np.random.default_rng(1)
    table, known = HashSet(1 << 16), set[int]()
    for _ in range(60):
        # Zero, collisions of the low bits, repeats within a batch.
        batch = draw.integers(0, 300, 200, dtype=np.uint64) * np.uint64(1 << draw.integers(0, 40))
        expected = []
        for value in np.maximum(batch, 1).tolist():
            expected.append(value in known)
            known.add(value)
        # Among equals in a batch any one may be called the first.
        seen = table.add(batch)
        assert int(seen.sum()) == sum(expected) and len(table) == len(known)
    assert table.add(np.array(sorted(known), np.uint64)).all() and not table.full


def test_hash_set_is_bounded() -> None:
    table = HashSet(2048)
    first = np.arange(1, 1001, dtype=np.uint64)
    assert not table.add(first).any() and not table.full
    assert not table.add(np.arange(5001, 9001, dtype=np.uint64)).any()
    assert table.full and len(table) == 1000 and table.add(first).all()
    assert not table.add(np.array([5001], np.uint64)).any(), "what is beyond the bound is not kept"


def documents() -> list[Document]:
    line = "This line is long enough to count."
    return [
        Document("a", f"{line}\nOnly in the first document, this.\nShort."),
        Document("b", f"Only in the second document, this.\n{line}\nShort."),
        Document("c", f"{line}\nOnly in the first document, this.\nShort."),
        Document("d", f"{line}"),
    ]


def test_parts_of_a_text_are_normalised_as_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a source cuts a long text: between letters and their marks, in white space, in syllables of Hangul."""
    draw = random.Random(3)
    alphabets = (
        "eE\u0301\u0323\u200b\u00e9",
        "\u1112\u1161\u11ab\ud55c\uac00",
        "\uff76\uff9e\u30ab\u3099\u304b",
        "\u09c7\u09be\u0995\u09cd",
        "a  \n\t\u00a0\u2028\u0345\u1e9e\u0130\u0308",
        "\u0e01\u0e33\u4e00\u061c\u202a\ufb01\U0001d538",
    )
    for module in ("base", "lines", "text"):
        monkeypatch.setattr(f"jaxbert.data.sources.{module}.MAX_DOCUMENT_BYTES", 60)
    for alphabet in alphabets:
        text = "".join(draw.choices(alphabet, k=1500))
        parts = [document.text for document in bounded("x", text)]
        assert len(parts) > 20 and b"".join(map(normalised, parts)) == normalised(text)
        (tmp_path / "a.txt").write_text(text, encoding="utf-8")
        read = [document.text for document in open_source(f"text:{tmp_path}/a.txt#file").documents()]
        assert len(read) > 15 and b"".join(map(normalised, read)) == normalised(text)
    assert normalised("A\u2028 \u0085b\u1680\u202ac") == b"abc" and Content("\u4e00 a\u0301").chars == 2


def test_repeats_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 3, 512):
        monkeypatch.setattr(hygiene, "_BATCH_DOCUMENTS", size)
        repeats = Repeats(remove_documents=False, remove_lines=False)
        assert list(repeats.filter(documents())) == documents()
        assert (repeats.documents, repeats.examples, repeats.lines) == (1, ["c"], 4)
        found = " ".join(repeats.findings())
        assert "1 duplicate of documents" in found and "for example c (kept" in found and "4 repeated lines" in found


def test_repeats_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 3, 512):
        monkeypatch.setattr(hygiene, "_BATCH_DOCUMENTS", size)
        repeats = Repeats(remove_documents=True, remove_lines=False)
        assert [document.name for document in repeats.filter(documents())] == ["a", "b", "d"]
        assert repeats.lines == 2, "lines of removed documents do not count"
        lines = Repeats(remove_documents=True, remove_lines=True)
        found = {document.name: document.text for document in lines.filter(documents())}
        assert found == {"a": documents()[0].text, "b": "Only in the second document, this.\nShort."}
        assert all("removed" in finding for finding in lines.findings())


def test_a_clean_corpus_has_no_findings() -> None:
    repeats = Repeats(remove_documents=True, remove_lines=True)
    draw = random.Random(1)
    clean = [Document(str(i), "".join(draw.choices("abcdefgh ", k=60))) for i in range(2000)]
    assert list(repeats.filter(clean)) == clean and repeats.findings() == []


def test_languages() -> None:
    assert guess_language(ENGLISH, "en") == "en" and guess_language(GERMAN, "en") == "de"
    assert guess_language(ENGLISH, "de") == "en" and guess_language(GERMAN, "de-at") == "de-at"
    assert guess_language("der die das und", "en") == "en", "too short to say"
    assert guess_language(GERMAN, "eu") == "eu", "no list of Basque words"
    assert guess_language("def f(x): return x + 1 # 3.5 " * 30, "en") == "en"


def count(name: str, text: str, sentences: int, tokens: int, structure: bool = True) -> Counts:
    counts = Counts()
    counts.add(name, text, sentences=sentences, tokens=tokens, unknown=1, language="en", sentence_structure=structure)
    return counts


TABLE = [
    ("wrong \ufffd char", 3, 9, "U\\+FFFD"),
    ("donâ€™t", 3, 9, "Latin-1"),
    (GERMAN, 3, 90, "looks like de, not en"),
    ("one sentence", 1, 9, "only one sentence"),
    ("no full stop anywhere", 2, 900, "more than 150 tokens a sentence"),
    ("\u200b", 0, 0, "no tokens"),
    (
        "a stone lies at the side of the river, and it\nis cold there in the winter, when nobody goes\n" * 3,
        9,
        90,
        "lines broken inside sentences.*join the lines of each paragraph before",
    ),
]


@pytest.mark.parametrize(("text", "sentences", "tokens", "finding"), TABLE)
def test_findings_of_a_document(text: str, sentences: int, tokens: int, finding: str) -> None:
    import re

    found, *few = count("here", text, sentences, tokens).findings("en")
    assert len(few) == (tokens > 0)
    assert re.search(finding, found) and "1 document, for example here" in found


def test_sentence_structure_is_asked_for() -> None:
    assert count("a", "one sentence", 1, 9, structure=False).other == {}
    assert count("a", "x", 2, 900, structure=False).other == {}


def test_counts_add_up_and_survive_json() -> None:
    total = Counts()
    for index in range(5):
        total.merge(Counts(**json.loads(json.dumps(asdict(count(f"d{index}", "one sentence", 1, 9))))))
    assert (total.documents, total.sentences, total.words, total.tokens, total.unknown) == (5, 5, 10, 45, 5)
    assert total.other == {"single": 5} and total.examples == {"single": ["d0", "d1", "d2"]}
    few, *_ = (finding for finding in total.findings("en") if finding.startswith("little text: 45 tokens"))
    total.tokens += 99_900
    assert few not in total.findings("en")
    total.tokens -= 99_900
    summary = Summary({"train": total, "validation": Counts()}, total.findings("en"))
    again = Summary.from_json(json.loads(json.dumps(summary.to_json())))
    assert again == summary
    train, validation, finding, _ = summary.lines()
    assert "5 documents, 5 sentences, 10 words, 45 tokens; 4.50 tokens a word, 9.0 a sentence, 11.111% unknown" in train
    assert validation == "validation: no documents" and finding.startswith("look at: only one sentence")


def test_wrapped_text_is_told_from_lines_that_are_sentences() -> None:
    wrapped = "It was a cold day, and the river at the mill was\nfull of ice. Nobody went there before the next\n" * 4
    assert hygiene.is_wrapped(wrapped) and not hygiene.is_wrapped(wrapped.replace("\n", " "))
    assert not hygiene.is_wrapped("\n".join(["The river at the mill was full of ice on a cold day in winter."] * 9))
    assert not hygiene.is_wrapped("stone\nriver\nmill\nice\nwinter\nday\n" * 4), "a list"
