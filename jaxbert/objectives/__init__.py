"""Objectives: one file each, one line each in `OBJECTIVES`, keyed by their field of `ObjectivesConfig`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from jaxbert.config import EncoderConfig, ObjectivesConfig
from jaxbert.objectives.base import Batch, Frozen, Objective, Term
from jaxbert.objectives.masked_lm import MaskedLM
from jaxbert.objectives.pairs import NextSentence

__all__ = ["OBJECTIVES", "Batch", "Frozen", "Objective", "Term", "heads_of", "make_objectives"]

OBJECTIVES: Mapping[str, Callable[..., Objective]] = {
    "masked_lm": MaskedLM,
    "next_sentence": NextSentence,
}


def make_objectives(config: ObjectivesConfig, encoder: EncoderConfig, *, length: int, slots: int) -> list[Objective]:
    """The objectives whose field is not None, in the order of the dict, for rows of L tokens with M slots."""
    parts = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return [
        make(parts[name], encoder, length=length, slots=slots)
        for name, make in OBJECTIVES.items()
        if parts[name] is not None
    ]


def heads_of(objectives: list[Objective]) -> list[str]:
    """Heads that `objectives` call, each once."""
    return list(dict.fromkeys(head for objective in objectives for head in objective.heads))
