"""Small files of every kind of task, whose answers follow from their words, and a tiny model to fine-tune."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import jax

from jaxbert.config import EncoderConfig
from jaxbert.models.model import Model
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.library import Loaded

WORDS = [f"w{index}" for index in range(40)]
# The words that decide the answers.
GOOD, BAD, PLACE = ("good", "fine"), ("bad", "poor"), ("rome", "oslo")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *GOOD, *BAD, *PLACE, "where", "?"]
SIZES = EncoderConfig(
    vocab_size=len(VOCABULARY),
    hidden_size=32,
    num_layers=1,
    num_heads=4,
    intermediate_size=48,
    max_positions=32,
    initializer_range=0.3,
    dropout=0.0,
    attention_dropout=0.0,
)


def write_model(directory: Path, seed: int = 3) -> Path:
    """A tiny encoder with random weights, as files."""
    (directory / "vocabulary").mkdir(parents=True)
    (directory / "vocabulary" / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    params = jax.jit(Model(SIZES, ("pooler",)).init)(jax.random.key(seed))
    Loaded("here", SIZES, params, Tokenizer.load(directory / "vocabulary")).save(directory / "model")
    return directory / "model"


def _text(rng: random.Random, *words: str) -> str:
    chosen = [*words, *rng.choices(WORDS, k=rng.randint(2, 8))]
    rng.shuffle(chosen)
    return " ".join(chosen)


def one_label(rng: random.Random) -> dict[str, object]:
    good = rng.random() < 0.5
    return {"text": _text(rng, rng.choice(GOOD if good else BAD)), "label": "yes" if good else "no"}


def several_labels(rng: random.Random) -> dict[str, object]:
    kinds = [kind for kind in ("good", "place") if rng.random() < 0.5]
    words = [rng.choice(GOOD if kind == "good" else PLACE) for kind in kinds]
    return {"text": _text(rng, *words), "label": kinds}


def number(rng: random.Random) -> dict[str, object]:
    count = rng.randint(0, 3)
    return {"text": _text(rng, *["good"] * count), "pair": _text(rng), "label": float(count)}


def token_labels(rng: random.Random) -> dict[str, object]:
    tokens = _text(rng, rng.choice(PLACE)).split()
    return {"tokens": tokens, "tags": ["B-PLACE" if token in PLACE else "O" for token in tokens]}


def question_answering(rng: random.Random) -> dict[str, object]:
    answer = rng.choice(PLACE)
    context = _text(rng, answer)
    return {"question": "where ?", "context": context, "answers": [answer], "answer_start": [context.index(answer)]}


def multiple_choice(rng: random.Random) -> dict[str, object]:
    right = rng.randrange(2)
    return {"text": _text(rng), "choices": [rng.choice((BAD, GOOD)[at == right]) for at in range(2)], "label": right}


def cosine(rng: random.Random) -> dict[str, object]:
    alike = rng.random() < 0.5
    words = rng.sample(WORDS, 6)
    return {"text": " ".join(words[:3]), "pair": " ".join(words[:3] if alike else words[3:]), "score": 5.0 * alike}


def negatives(rng: random.Random) -> dict[str, object]:
    words = rng.sample(WORDS, 3)
    return {"text": " ".join(words), "pair": " ".join(reversed(words))}


# Config, settings and maker of the examples of each case.
CASES: Mapping[str, tuple[str, list[str], Callable[[random.Random], dict[str, object]]]] = {
    "one_label": ("classify", [], one_label),
    "several_labels": ("classify", ["task.problem=several_labels"], several_labels),
    "number": ("classify", ["task.problem=number"], number),
    "token_labels": ("label_words", [], token_labels),
    "question_answering": ("answer", [], question_answering),
    "multiple_choice": ("choose", [], multiple_choice),
    "cosine": ("vectors", [], cosine),
    "negatives": ("vectors", ["task.loss=negatives"], negatives),
}
# Small enough for a test: one length of rows, a rate for a tiny model.
SETTINGS = [
    "phases.0.length=24",
    "phases.0.lengths=[]",
    "phases.0.batch_size=16",
    "phases.0.schedule.peak=1e-2",
    "evaluation.batch_size=16",
    "logging.sinks=[]",
    "logging.page=no",
]


def write_examples(path: Path, case: str, count: int, seed: int) -> Path:
    """A file of `count` examples of a case, as JSONL."""
    rng = random.Random(seed)
    make = CASES[case][2]
    path.write_text("".join(json.dumps(make(rng)) + "\n" for _ in range(count)), encoding="utf-8")
    return path
