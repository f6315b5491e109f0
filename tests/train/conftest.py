"""Rows made from text that the test writes, through the real tokenizer, records and rows."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from jaxbert.config import DataConfig
from jaxbert.data.from_source import make_rows

VOCAB, LENGTH = 200, 32
WORDS = ["the", "cat", "dog", "sees", "takes", "gives", "a", "red", "blue", "old", "house", "tree", "river", "walks"]
WORDS += ["runs", "over", "under", "near", "and", "while", "it"]


def write_corpus(path: Path, documents: int, seed: int) -> None:
    rng = random.Random(seed)
    sentences = lambda: " ".join(rng.choices(WORDS, k=rng.randint(4, 12))).capitalize() + "."  # noqa: E731
    paragraphs = [" ".join(sentences() for _ in range(rng.randint(4, 9))) for _ in range(documents)]
    path.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with corpus.txt and rows-segment_pair-32/ of it."""
    out = tmp_path_factory.mktemp("tiny")
    write_corpus(out / "corpus.txt", 240, 0)
    make_rows(
        DataConfig(source=f"text:{out}/corpus.txt", validation_fraction=0.1),
        vocab_size=VOCAB,
        lengths=[LENGTH],
        seed=0,
        out=out,
        workers=1,
        sentence_structure=True,
    )
    return out


@pytest.fixture(scope="session")
def tiny_rows(tiny: Path) -> Path:
    return tiny / f"rows-segment_pair-{LENGTH}"


def config_text(rows: Path) -> str:
    """A config file of a small run: 24 steps in two phases, dropout on."""
    return f"""
from jaxbert.config import *

def get_config():
    rows = (RowsSource(path={str(rows)!r}),)
    return RunConfig(
        name="tiny",
        encoder=EncoderConfig(
            vocab_size={VOCAB}, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, max_positions={LENGTH}
        ),
        optimizer=OptimizerConfig(name="lamb_mlperf"),
        phases=(
            PhaseConfig(name="a", rows=rows, length={LENGTH}, batch_size=8, steps=14,
                        schedule=ScheduleConfig(peak=1e-2, warmup_steps=4, total_steps=24)),
            PhaseConfig(name="b", rows=rows, length={LENGTH}, batch_size=16, accumulation=2, steps=10, schedule=None),
        ),
        checkpoint=CheckpointConfig(every_steps=5),
        evaluation=EvaluationConfig(every_steps=8, batch_size=16),
        logging=LoggingConfig(every_steps=1, tensorboard=False),
    )
"""


@pytest.fixture(scope="session")
def tiny_config(tiny_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny_config.py"
    path.write_text(config_text(tiny_rows), encoding="utf-8")
    return path
