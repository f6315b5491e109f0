"""Documents that nearly repeat another one are counted, also across the splits."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.data import near
from jaxbert.data.near import BANDS, NearCopies, bands, pack
from jaxbert.data.records import prepare_records
from jaxbert.data.sources import Document, Source
from jaxbert.text.tokenizers import train_tokenizer


def words(count: int, seed: int, letters: str = "abcdefghij") -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(letters, k=draw.randint(2, 8))) for _ in range(count)]


def alike(first: str, second: str) -> bool:
    return bool(set(bands(first).tolist()) & set(bands(second).tolist()))


def edited(text: list[str], every: int) -> list[str]:
    return [f"{word}x" if index % every == every - 1 else word for index, word in enumerate(text)]


def test_near_copies_share_a_band_and_others_do_not() -> None:
    texts = [words(200, seed) for seed in range(30)]
    # One word of a hundred differs: 95% of the shingles are the same. One of eight: 23% are.
    assert all(alike(" ".join(text), " ".join(edited(text, 100))) for text in texts)
    assert not any(alike(" ".join(text), " ".join(edited(text, 8))) for text in texts)
    assert not any(alike(" ".join(text), " ".join(other)) for text in texts for other in texts if other is not text)
    # White space, case and what was added at the beginning do not matter.
    assert alike(" ".join(texts[0]), "\n".join(["Added", *texts[0]]).upper())
    assert len(bands(" ".join(texts[0]))) == BANDS and bands(" ".join(texts[0])).dtype == np.uint64


def test_text_without_spaces() -> None:
    texts = ["".join(words(60, seed, "".join(map(chr, range(0x4E00, 0x5E00))))) for seed in range(20)]
    assert all(alike(text, "新" + text[:150] + "。" + text[150:]) for text in texts)
    assert not any(alike(text, other) for text in texts for other in texts if other is not text)


@pytest.mark.parametrize("text", ["", "A short text.", "\ud800", "a" * 10, " \n"])
def test_short_texts_have_no_bands(text: str) -> None:
    assert len(bands(text)) == 0


def test_shards_in_any_cut_give_the_same_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [words(60, seed) for seed in range(12)]
    named = [(f"d{seed}", bands(" ".join(text))) for seed, text in enumerate(texts)]
    copies = [(f"c{seed}", bands(" ".join([*texts[seed], "added"]))) for seed in range(5)]
    short = [("short", bands("too short"))]
    for size in (1, 4, 100):
        found = NearCopies()
        train = [*named[:8], *short, *copies[:3]]
        for start in range(0, len(train), size):
            found.add("train", **pack(train[start : start + size]))
        found.add("validation", **pack([*named[8:], *copies[3:]]))
        assert (found.documents, found.across, found.examples) == (5, 2, ["c0", "c1", "c2"])
        (finding,) = found.findings()
        assert finding.startswith("5 near copies of earlier documents, by MinHash, 2 of them across train and valid")
    assert NearCopies().findings() == []
    # The tables are bounded, and then this is said.
    monkeypatch.setattr(near, "_SLOTS", 1024)
    found = NearCopies()
    for seed in range(60):
        found.add("train", **pack([(str(seed), bands(" ".join(words(60, seed))))]))
    found.add("train", **pack([("0", bands(" ".join(words(60, 0))))]))
    assert "1 near copy of earlier documents of the first 36, by MinHash" in found.findings()[0]


class Given(Source):
    def __init__(self, documents: list[Document]):
        self.spec, self.given = "given:", documents

    def describe(self) -> dict[str, Any]:
        return {"spec": self.spec, "count": len(self.given)}

    def documents(self) -> Any:
        yield from self.given


def test_prepare_counts_them(tmp_path: Path) -> None:
    texts = [words(60, seed) for seed in range(20)]
    tokenizer = train_tokenizer("wordpiece", [" ".join(text) for text in texts], vocab_size=200, lowercase=True)
    plain = [Document(f"d{seed}", " ".join(text) + ".", "train") for seed, text in enumerate(texts)]
    copies = [Document(f"c{seed}", " ".join([*texts[seed], "added"]), "validation") for seed in range(4)]
    summary = prepare_records(Given([*plain, *copies]), tokenizer, tmp_path / "near", workers=1)
    (finding,) = (finding for finding in summary.findings if "near copies" in finding)
    assert finding.startswith("4 near copies of earlier documents, by MinHash, 4 of them across train and validation")
    assert "for example c0, c1, c2 (kept" in finding
    summary = prepare_records(Given(plain), tokenizer, tmp_path / "none", workers=1)
    assert not any("near copies" in finding for finding in summary.findings)
