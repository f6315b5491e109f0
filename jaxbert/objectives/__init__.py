"""Objectives: one file each, one line each in `OBJECTIVES`, keyed by their field of `ObjectivesConfig`.

Objectives prepare the rows in the order of the lines. One that moves tokens comes before one that masks them. One that
reads the masked tokens comes last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
from jax.sharding import PartitionSpec as P

from jaxbert.config import EncoderBase, ObjectivesConfig, did_you_mean
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import BATCH, reshard
from jaxbert.data.policies import POLICIES
from jaxbert.errors import InputError
from jaxbert.objectives.base import Arrays, Frozen, Objective, Term
from jaxbert.objectives.distillation import Distillation
from jaxbert.objectives.masked_lm import MaskedLM
from jaxbert.objectives.pairs import NextSentence, SentenceOrder
from jaxbert.objectives.span_boundary import SpanBoundary

__all__ = [
    "OBJECTIVES",
    "Arrays",
    "Frozen",
    "Objective",
    "Term",
    "check_rows_fit",
    "heads_of",
    "make_objectives",
    "needs_pairs",
    "policies_of",
    "prepare",
]

OBJECTIVES: Mapping[str, type[Objective]] = {
    "sentence_order": SentenceOrder,
    "masked_lm": MaskedLM,
    "next_sentence": NextSentence,
    "span_boundary": SpanBoundary,
    "distillation": Distillation,
}


def make_objectives(config: ObjectivesConfig, encoder: EncoderBase, *, length: int, slots: int) -> list[Objective]:
    """Returns the objectives that `config` asks for, in the order of the dict, for rows of L tokens with M slots.

    Raises:
      InputError: an extra objective is not registered, or is named twice.
    """
    parts = {name: getattr(config, name, None) for name in OBJECTIVES}
    fields = {field.name for field in dataclasses.fields(config)}
    for extra in config.extra:
        if extra.name in fields:
            raise InputError(
                f"the objective {extra.name!r} has its own field in the config",
                where="objectives.extra",
                fix=f"Set objectives.{extra.name}=default instead.",
                code="E-OBJECTIVE-EXTRA",
            )
        if extra.name not in OBJECTIVES:
            raise InputError(
                f"the objective {extra.name!r} is not registered",
                where="objectives.extra",
                fix=f"{did_you_mean(extra.name, list(OBJECTIVES))}Known: {', '.join(OBJECTIVES)}.",
                code="E-CONFIG-NAME",
            )
        if parts[extra.name] is not None:
            raise InputError(
                f"the objective {extra.name!r} is named twice",
                where="objectives.extra",
                fix="Remove one of the two.",
                code="E-OBJECTIVE-EXTRA",
            )
        if not isinstance(extra, OBJECTIVES[extra.name].config):
            raise InputError(
                f"the objective {extra.name!r} takes a {OBJECTIVES[extra.name].config.__name__}, "
                f"and the config has a {type(extra).__name__}",
                where="objectives.extra",
                fix="Use that class.",
                code="E-OBJECTIVE-EXTRA",
            )
        parts[extra.name] = extra
    return [
        make(parts[name], encoder, length=length, slots=slots)
        for name, make in OBJECTIVES.items()
        if parts[name] is not None
    ]


def heads_of(objectives: Sequence[Objective]) -> dict[str, Mapping[str, int]]:
    """Returns the heads that `objectives` call, each once, with the sizes they ask for."""
    return {head: sizes for objective in objectives for head, sizes in objective.heads.items()}


def prepare(objectives: Sequence[Objective], params: Params, frozen: Frozen, batch: Arrays, key: jax.Array) -> Arrays:
    """Returns the global batch after every objective has prepared it, in order, each with its own key."""
    batch = {name: reshard(x, P(BATCH, *(None for _ in x.shape[1:]))) for name, x in batch.items()}
    for index, objective in enumerate(objectives):
        batch = objective.prepare(params, frozen, batch, jax.random.fold_in(key, index))
    return batch


def policies_of(objective: type[Objective] | Objective) -> list[str]:
    """Returns the names of the rows policies that an objective can learn from."""
    return [name for name, policy in POLICIES.items() if objective.fits(policy)]


def needs_pairs(objective: type[Objective] | Objective) -> bool:
    """Returns whether all rows policies that an objective can learn from make pairs of segments."""
    policies = policies_of(objective)
    return bool(policies) and all(POLICIES[name].pairs for name in policies)


def check_rows_fit(objectives: Sequence[Objective], policy: str, where: str) -> None:
    """Raises InputError where one of `objectives` cannot learn from rows of `policy`."""
    for objective in objectives:
        if policy not in policies_of(objective):
            name = next(name for name, kind in OBJECTIVES.items() if isinstance(objective, kind))
            raise InputError(
                f"objectives.{name} cannot learn from rows of policy {policy!r}",
                where=where,
                fix=f"Make rows of policy {' or '.join(policies_of(objective))}, or set objectives.{name}=none.",
                code="E-OBJECTIVE-ROWS",
            )
