"""The code blocks of docs/tutorials/migration.md, and the models they open.

It needs only numpy, as the recorder uses it too.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "migration.md"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat", "a", "dog", "is"]
MODELS = {
    "my-bert": "FlaxBertForPreTraining",
    "my-chooser": "FlaxBertForMultipleChoice",
    "my-classifier": "FlaxBertForSequenceClassification",
}
# What the blocks "before" leave behind, by block.
RESULTS = {
    "hidden states": ("hidden", "pooled", "layers"),
    "masked LM": ("logits",),
    "multiple choice": ("scores",),
    "training": ("losses",),
    "the tree": ("word", "query", "out", "up", "scale", "transform"),
}


def blocks() -> dict[tuple[str, str], str]:
    """("before" or "after", name) -> code, in the page's order."""
    found = re.findall(r"^```python\n# (before|after): (.+?)\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    return {(when, name): code for when, name, code in found}


def prepare(folder: Path, goldens: Path) -> None:
    """The directories that the blocks open. Without dropout: no two libraries draw the same."""
    for name, source in MODELS.items():
        shutil.copytree(goldens / source, folder / name)
        path = folder / name / "config.json"
        rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        path.write_text(json.dumps(json.loads(path.read_text()) | rates))
        vocabulary = [*WORDS, *(f"w{number}" for number in range(31 - len(WORDS)))]
        (folder / name / "vocab.txt").write_text("\n".join(vocabulary) + "\n")


def run(when: str) -> dict[str, np.ndarray]:
    """Runs the blocks of one kind in the current folder; "block/variable" -> array."""
    arrays = {}
    for (kind, name), code in blocks().items():
        if kind == when:
            variables = execute(name, code)
            arrays |= {f"{name}/{key}": np.asarray(variables[key]) for key in RESULTS.get(name, ())}
    return arrays


def execute(name: str, code: str) -> dict[str, Any]:
    """The variables of a block once it has run."""
    variables: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, f"{PAGE.name}: {name}", "exec"), variables)
    return variables
