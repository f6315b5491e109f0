"""Figures of a whole corpus: blocks of one document, languages, pieces that never occur, text on both sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.data import languages, split
from jaxbert.data.figures import Pieces, pack_pieces
from jaxbert.data.hygiene import Repeats
from jaxbert.data.languages import Languages
from jaxbert.data.records import prepare_records, read_records
from jaxbert.data.rows import build_rows
from jaxbert.data.sources import Document, open_source
from jaxbert.data.split import Split, blocks, drawn, train_texts
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer

WORDS = [
    "the",
    "cat",
    "sees",
    "an",
    "old",
    "house",
    "near",
    "that",
    "river",
    "while",
    "dogs",
    "walk",
    "over",
    "bridges",
]


def prose(paragraphs: int, seed: int = 0) -> list[str]:
    """Paragraphs of about 400 characters, each with words that no other has."""
    draw = np.random.default_rng(seed)
    return [
        " ".join(f"Number {seed} {index} {sentence}: {' '.join(draw.choice(WORDS, 9))}." for sentence in range(6))
        for index in range(paragraphs)
    ]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("book") / "book.txt"
    path.write_text("\n".join(prose(300)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer(book: Path) -> Tokenizer:
    return train_tokenizer("wordpiece", [book.read_text()], vocab_size=300, lowercase=True)


def held_out(documents: list[Document], fraction: float = 0.01) -> list[str]:
    return [document.text for document in drawn(documents, fraction) if document.split == "validation"]


@pytest.mark.parametrize("joint", ["\n", " ", ""])
def test_blocks_are_the_text_and_end_well(joint: str) -> None:
    text = joint.join(prose(60)) if joint else "語" * 30_000
    found = list(blocks(text))
    assert "".join(text[start:end] for start, end in found) == text and len(found) > 4
    sizes = [end - start for start, end in found]
    assert all(4000 <= size <= 8000 for size in sizes[:-1]) and sizes[-1] <= 6000
    if joint:
        assert all(text[start:end].rstrip().endswith(".") for start, end in found)


def test_one_long_document_is_held_out_in_blocks_from_all_over_it(book: Path) -> None:
    text = book.read_text()
    documents = list(open_source(f"text:{book}#file").documents())
    assert len(documents) == 1
    held = held_out(documents)
    # 32 KiB of 120,000 characters would be more than a tenth.
    assert 0.05 < sum(map(len, held)) / len(text) < 0.15 and len(held) >= 2
    places = [text.index(one) / len(text) for one in held]
    assert all(one.count("\n") >= 5 for one in held) and max(places) - min(places) > 0.2
    parts = list(drawn(documents, 0.01))
    assert "\n".join(part.text for part in parts) == text
    assert [part.part for part in parts] == list(range(1, len(parts) + 1))
    assert len({part.digest for part in parts}) == 1
    more = held_out(documents, 0.3)
    assert 0.25 < sum(map(len, more)) / len(text) < 0.35
    # The vocabulary learns from the rest.
    learned = "\n".join(train_texts(open_source(f"text:{book}#file"), 0.01))
    assert not any(one in learned for one in held)
    assert held_out(documents, 0) == []


def test_a_few_long_documents_are_held_out_in_blocks_of_all_of_them(book: Path) -> None:
    """A folder with a book and a note, or with some books, has a validation split too."""
    text = book.read_text()
    other = "\n".join(line.replace("a", "o") for line in text.splitlines())
    shelf = [Document("a", text), Document("note", "A note."), Document("b", other)]
    drawing = Split(0.05)
    parts = list(drawing.drawn(shelf))
    assert next(part for part in parts if part.name == "note").part == 0
    held = [part for part in parts if part.split == "validation"]
    assert {part.name[0] for part in held} == {"a", "b"} and drawing.blocks >= len(held) > 1
    assert 0.03 < sum(len(part.text) for part in held) / len(text + other) < 0.11
    for name in "ab":
        own = [part for part in parts if part.name.startswith(f"{name}/")]
        assert [part.part for part in own] == list(range(1, len(own) + 1)) and len({part.digest for part in own}) == 1
    whole = "".join(document.text for document in shelf)
    assert "".join("".join(part.text for part in parts).split()) == "".join(whole.split())
    assert "from all over the 3 documents" in drawing.said()


def test_other_sources_keep_their_split(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = book.read_text()
    # More documents, documents of which the hash holds out two, and documents that are short enough to be held out.
    many = [Document(f"{number}", f"{number}\n{text}") for number in range(split._FEW + 1)]
    assert {document.part for document in drawn(many, 1e-9)} == {0} and held_out(many, 1e-9) == []
    assert {document.part for document in drawn(many[:9], 0.9)} == {0} and len(held_out(many[:9], 0.9)) > 1
    short = [Document(f"{number}", f"{number}\n{text[:60_000]}") for number in range(4)]
    assert {document.part for document in drawn(short, 1e-9)} == {0} and held_out(short, 1e-9) == []
    assert held_out([Document("short", text[: split._LONG_CHARS - 1])], 1e-9) == []
    assert held_out([Document("own", text, "train")]) == []
    # A text that repeats itself is not held out as a whole.
    same = Document("same", "\n".join([prose(10)[0]] * 400))
    assert 0 < sum(map(len, held_out([same]))) < 0.2 * len(same.text)


def test_a_document_in_parts_has_blocks_of_the_same_text(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the parts wait in memory or in a file."""
    for place in ("sources.base", "sources.files", "sources.text", "split"):
        if hasattr(__import__(f"jaxbert.data.{place}", fromlist=["x"]), "MAX_DOCUMENT_BYTES"):
            monkeypatch.setattr(f"jaxbert.data.{place}.MAX_DOCUMENT_BYTES", 30_000)
    documents = list(open_source(f"text:{book}#file").documents())
    assert len(documents) > 3 and documents[1].part == 2
    found = []
    for waiting in (1 << 20, 1):
        monkeypatch.setattr(split, "_WAITING_BYTES", waiting)
        drawing = Split(0.01)
        found.append([(part.text, part.split) for part in drawing.drawn(documents)])
        assert drawing.blocks >= 2 and f"validation is {drawing.blocks} blocks" in drawing.said()
    assert found[0] == found[1]
    assert "".join("".join(text for text, _ in found[0]).split()) == "".join(book.read_text().split())


def test_the_manifests_have_the_figures_for_any_number_of_workers(
    book: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    manifests = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        summary = prepare_records(
            open_source(f"text:{book}#file"),
            tokenizer,
            out,
            workers=workers,
            shard_bytes=5_000,
            validation_fraction=0.3,
        )
        manifests.append((out / "manifest.json").read_bytes())
    assert manifests[0] == manifests[1] and summary.corpus["documents"] == 1
    assert any("blocks of about 4,000 characters" in finding for finding in summary.findings)
    shards = len(json.loads(manifests[0])["splits"]["train"])
    tokens = np.concatenate(
        [record.tokens for shard in range(shards) for record in read_records(tmp_path / "1", "train", shard)]
    )
    counts = np.bincount(tokens, minlength=300)
    most, learned = int(counts.max()), [len(piece.removeprefix("##")) > 1 for piece in tokenizer.vocab[5:]]
    counts = counts[5:][learned]
    assert shards > 1 and summary.corpus["vocabulary"] == {
        "pieces": len(counts),
        "unused": int((counts == 0).sum()),
        "rare": int(((counts > 0) & (counts < 10)).sum()),
        "given": 300 - len(counts),
        "most_frequent": most,
    }
    assert summary.corpus["languages"] == {"en": 1.0} and summary.corpus["validation_blocks"] >= 2
    assert summary.corpus["validation_lines_in_train"] == 0.0
    build_rows(tmp_path / "1", tmp_path / "rows", policy="full_sentences", length=32, workers=1, seed=0)
    made = json.loads((tmp_path / "rows" / "manifest.json").read_text())["provenance"]["records"]
    assert made["corpus"] == summary.corpus and made["language"] == "en"
    assert made["splits"]["train"]["tokens"] == len(tokens)


def test_the_share_of_validation_that_stands_in_train() -> None:
    lines = [f"This is the line number {index} of a text." for index in range(8)]

    def share(*documents: tuple[str, list[int]]) -> float | None:
        repeats = Repeats(remove_documents=False, remove_lines=False)
        given = [Document(str(n), "\n".join(lines[k] for k in of), side) for n, (side, of) in enumerate(documents)]
        # One document in a batch, or all.
        list(repeats.filter(given))
        one_by_one = Repeats(remove_documents=False, remove_lines=False)
        for document in given:
            list(one_by_one.filter([document]))
        assert repeats.held_in_train == one_by_one.held_in_train and repeats.whole == len(given)
        return repeats.held_in_train

    assert share(("train", [0, 1])) is None
    assert share(("train", [0, 1]), ("validation", [2, 3])) == 0
    assert share(("train", [0, 1]), ("validation", [1, 2])) == 0.5
    assert share(("validation", [1, 2]), ("train", [2, 3])) == 0.5
    assert share(("validation", [1, 2]), ("validation", [1, 2])) == 0
    assert share(("train", [1]), ("validation", [1, 2]), ("validation", [1]), ("train", [2, 2])) == 1
    assert share(("validation", [1]), ("train", [4]), ("validation", [1, 2]), ("train", [1])) == pytest.approx(2 / 3)


def test_languages_by_the_share_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    german = "Heute ist das Wetter sehr schön, und wir gehen nach dem Essen noch im Park spazieren. " * 200
    thai = "วันนี้อากาศดีมาก เราไปเดินเล่นในสวนสาธารณะกันเถอะ " * 200
    numbers = "0.3 88 17 4 5.2 903 44 1 0 0 12 " * 300

    def shares(*texts: str) -> dict[str, float]:
        found = Languages()
        for text in texts:
            found.add(text)
        return found.shares()

    found = shares(german, thai, numbers)
    assert list(found)[:1] == ["de"] and set(found) == {"de", "th", "unclear"}
    assert found["de"] == pytest.approx(len(german) / (len(german) + len(thai) + len(numbers)), abs=0.05)
    assert shares("Too short.") == {} and shares() == {}
    # However long the text is, the samples are few, and still from all of it.
    monkeypatch.setattr(languages, "_MOST", 16)
    many = Languages()
    for _ in range(40):
        many.add(german)
        many.add(thai)
    assert 8 <= len(many._samples) < 16 and set(many.shares()) == {"de", "th"}


def test_pieces_of_shards_without_counts_are_not_known(tokenizer: Tokenizer) -> None:
    pieces = Pieces(tokenizer.vocab_size)
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    # A single character, which every vocabulary needs, and two pieces that the vocabulary has learned.
    single = tokenizer.id("e")
    counts[single], counts[298], counts[299] = 50, 9, 4
    pieces.add(pack_pieces(counts))
    pieces.add(pack_pieces(counts))
    found = pieces.figures(tokenizer)
    assert found is not None and found["pieces"] + found["given"] == 300 and found["given"] > 5 + 26
    assert (found["unused"], found["rare"], found["most_frequent"]) == (found["pieces"] - 2, 1, 100)
    pieces.add(None)
    pieces.add(pack_pieces(counts))
    assert pieces.figures(tokenizer) is None


def test_parts_of_a_long_document_count_once_as_near_copies(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n".join(prose(30, seed=1))
    half = len(text) // 2

    def parts(name: str, changed: str) -> list[Document]:
        return [Document(f"{name}/1", changed + text[:half], None, 1), Document(f"{name}/2", text[half:], None, 2)]

    class Given:
        spec, licence, unwrap, hash = "given", "", "", "0"

        def describe(self) -> dict[str, Any]:
            return {"spec": "given"}

        def findings(self) -> list[str]:
            return []

        def documents(self) -> Any:
            yield from [*parts("a", "First. "), *parts("b", "Second. "), Document("c", "Another text. Yes.")]

    summary = prepare_records(Given(), tokenizer, tmp_path / "r", workers=1, validation_fraction=0)  # type: ignore[arg-type]
    assert any(finding.startswith("1 near copy of earlier documents") for finding in summary.findings)
    assert summary.corpus["documents"] == 3
