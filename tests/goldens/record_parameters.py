"""Records the parameter table of BERT-base under every optimizer: python tests/goldens/record_parameters.py"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jaxbert.config import OptimizerConfig, find_config
from jaxbert.training.optim import OPTIMIZERS
from jaxbert.training.step import parameter_table

GOLDEN = Path(__file__).parent / "parameters_bert_base.txt"


def tables() -> str:
    """One table an optimizer, under its name."""
    base = find_config("bert_base")
    return "\n".join(
        f"{name}\n\n{parameter_table(dataclasses.replace(base, optimizer=OptimizerConfig(name=name)))}"
        for name in OPTIMIZERS
    )


if __name__ == "__main__":
    GOLDEN.write_text(tables(), encoding="utf-8")
