"""Objectives: one file each, one line each in `OBJECTIVES`, keyed by their field of `ObjectivesConfig`.

Lines stand in the order in which they corrupt the rows: what moves tokens before what masks them, and that before what
asks which are masked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jaxbert.config import EncoderBase, ObjectivesConfig, did_you_mean
from jaxbert.errors import InputError
from jaxbert.objectives.base import Batch, Frozen, Objective, Term
from jaxbert.objectives.distillation import Distillation
from jaxbert.objectives.masked_lm import MaskedLM
from jaxbert.objectives.pairs import NextSentence, SentenceOrder
from jaxbert.objectives.span_boundary import SpanBoundary

__all__ = [
    "OBJECTIVES",
    "Batch",
    "Frozen",
    "Objective",
    "Term",
    "check_rows_fit",
    "heads_of",
    "make_objectives",
    "weights_of",
]

OBJECTIVES: Mapping[str, type[Objective]] = {
    "sentence_order": SentenceOrder,
    "masked_lm": MaskedLM,
    "next_sentence": NextSentence,
    "span_boundary": SpanBoundary,
    "distillation": Distillation,
}


def make_objectives(config: ObjectivesConfig, encoder: EncoderBase, *, length: int, slots: int) -> list[Objective]:
    """The objectives that `config` asks for, in the order of the dict, for rows of L tokens with M slots.

    Raises:
      InputError: an extra one that is not registered, or that stands there twice.
    """
    parts = {name: getattr(config, name, None) for name in OBJECTIVES}
    fields = {field.name for field in dataclasses.fields(config)}
    for extra in config.extra:
        if extra.name in fields:
            raise InputError(
                f"objective {extra.name!r} has a field of its own",
                where="objectives.extra",
                fix=f"Set objectives.{extra.name}=default instead.",
            )
        if extra.name not in OBJECTIVES or parts[extra.name] is not None:
            what = "stands there already" if extra.name in OBJECTIVES else "is not registered"
            fix = f"{did_you_mean(extra.name, list(OBJECTIVES))}Known: {', '.join(OBJECTIVES)}."
            raise InputError(f"objective {extra.name!r} {what}", where="objectives.extra", fix=fix)
        parts[extra.name] = extra
    return [
        make(parts[name], encoder, length=length, slots=slots)
        for name, make in OBJECTIVES.items()
        if parts[name] is not None
    ]


def heads_of(objectives: list[Objective]) -> dict[str, Mapping[str, int]]:
    """Heads that `objectives` call, each once, with the sizes they ask for."""
    return {head: sizes for objective in objectives for head, sizes in objective.heads.items()}


def weights_of(objectives: list[Objective]) -> dict[str, float]:
    """Weight in the loss by the name of the term."""
    return {term: weight for objective in objectives for term, weight in objective.weights.items()}


def check_rows_fit(objectives: list[Objective], policy: str, where: str) -> None:
    """Raises InputError where one of `objectives` cannot learn from rows of `policy`."""
    for objective in objectives:
        if policy not in objective.policies:
            name = next(name for name, kind in OBJECTIVES.items() if isinstance(objective, kind))
            raise InputError(
                f"objectives.{name} cannot learn from rows of policy {policy!r}",
                where=where,
                fix=f"Make rows of policy {' or '.join(objective.policies)}, or set objectives.{name}=none.",
            )
