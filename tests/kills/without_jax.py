"""The points of commands that need no jax: `python without_jax.py DIRECTORY` prints a report a line, as JSON."""

from __future__ import annotations

import json
import logging
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A child must not wait for threads of its parent.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(Path(__file__).parent))
from points import forked, try_all

# Imported once, and not by each child.
import jaxbert.data.corpus
import jaxbert.text.tokenizers.unigram
import jaxbert.text.tokenizers.wordpiece  # noqa: F401
from jaxbert.commands import main as cli


def corpus(path: Path, documents: int, seed: int) -> None:
    """Writes a text whose documents have a few sentences of a few words."""
    rng = random.Random(seed)
    words = ["river", "stone", "walks", "under", "the", "old", "bridge", "and", "sees", "a", "blue", "bird"]
    sentence = lambda: " ".join(rng.choices(words, k=rng.randint(4, 9))).capitalize() + "."  # noqa: E731
    path.write_text("\n\n".join(" ".join(sentence() for _ in range(6)) for _ in range(documents)), encoding="utf-8")


def quiet(*words: str) -> Callable[[], int]:
    return lambda: cli.main([*words])


def main(place: Path, only: str) -> None:
    """Tries the commands whose names hold `only`, with inputs and outputs below `place`."""
    inputs = place / "inputs"
    inputs.mkdir(parents=True)
    corpus(inputs / "text.txt", 60, 0)
    source = f"text:{inputs}/text.txt"

    def make(*words: str) -> None:
        code, _, said = forked(quiet(*words), inputs, 0)
        assert code == 0, said

    for kind in ("wordpiece", "unigram"):
        make("tokenizer", source, "--kind", kind, "--vocab-size", "280", "--out", f"{inputs}/{kind}")
    prepared = (
        "--tokenizer",
        f"{inputs}/wordpiece",
        "--length",
        "32",
        "--validation-fraction",
        "0.2",
        "--workers",
        "1",
    )
    make("prepare", source, *prepared, "--out", f"{inputs}/other/records", "--seed", "1")
    shaped = ("--length", "32", "--workers", "1")
    make("rows", f"{inputs}/other/records", *shaped, "--out", f"{inputs}/rows", "--seed", "1")

    def report(name: str, command: Callable[[Path], Callable[[], int]], **more: Any) -> None:
        if only in name:
            print(json.dumps(try_all(name, command, place / "tries", **more)), file=reports, flush=True)

    words = ("tokenizer", source, "--vocab-size", "270")
    report("tokenizer", lambda root: quiet(*words, "--out", f"{root}/a/b"))
    again = (*words, "--overwrite", "--out")
    report("tokenizer --overwrite", lambda root: quiet(*again, f"{root}"), before=inputs / "wordpiece")
    report(
        "tokenizer --kind unigram --overwrite",
        lambda root: quiet(*again, f"{root}", "--kind", "unigram"),
        before=inputs / "unigram",
    )
    report("prepare", lambda root: quiet("prepare", source, *prepared, "--out", f"{root}/records"))
    report(
        "prepare --overwrite",
        lambda root: quiet("prepare", source, *prepared, "--out", f"{root}/records", "--overwrite"),
        before=inputs / "other",
    )
    report("rows", lambda root: quiet("rows", f"{inputs}/other/records", *shaped, "--out", f"{root}/rows"))
    report(
        "rows --overwrite",
        lambda root: quiet("rows", f"{inputs}/other/records", *shaped, "--out", f"{root}", "--overwrite"),
        before=inputs / "rows",
    )


if __name__ == "__main__":
    # Reports only: the commands print too.
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logging.getLogger("jaxbert").setLevel(logging.ERROR)
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
    assert "jax" not in sys.modules
