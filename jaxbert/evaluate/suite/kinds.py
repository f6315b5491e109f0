"""The kinds of tasks of a suite, one file each."""

from __future__ import annotations

from typing import Any

from jaxbert.core.tables import Table
from jaxbert.evaluate.suite.base import Kind

KINDS: Table[Kind[Any]] = Table(
    "KIND",
    {
        "minimal_pairs": "jaxbert.evaluate.suite.minimal_pairs",
        "similarity": "jaxbert.evaluate.suite.similarity",
        "cloze": "jaxbert.evaluate.suite.cloze",
        "masked_lm": "jaxbert.evaluate.suite.masked_lm",
        "geometry": "jaxbert.evaluate.suite.geometry",
        "robustness": "jaxbert.evaluate.suite.robustness",
        "bias": "jaxbert.evaluate.suite.bias",
        "finetuned": "jaxbert.evaluate.suite.finetuned",
    },
)
