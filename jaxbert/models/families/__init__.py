"""Families of encoders, one file each. To add one: its file, and its line here. No jax."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jaxbert.config import EncoderBase, did_you_mean
from jaxbert.errors import InputError
from jaxbert.models.families import albert, bert, distilbert, roberta, spanbert
from jaxbert.models.families.family import Family

FAMILIES: Mapping[str, Family] = {
    "bert": bert.FAMILY,
    "roberta": roberta.FAMILY,
    "albert": albert.FAMILY,
    "spanbert": spanbert.FAMILY,
    "distilbert": distilbert.FAMILY,
}


def check_family(config: EncoderBase, heads: Iterable[str] = ()) -> None:
    """Raises InputError where the family is unknown, or its files cannot hold what the encoder computes.

    A head for which the files have no place may be trained; `jaxbert.convert.names.check_heads` refuses to write it.
    """
    if config.family not in FAMILIES:
        raise InputError(
            f"unknown family {config.family!r}",
            where="encoder.family",
            fix=f"{did_you_mean(config.family, list(FAMILIES))}Known: {', '.join(FAMILIES)}.",
            code="E-CONFIG-NAME",
        )
    family = FAMILIES[config.family]
    only = dict(family.only)
    if "pooler" in set(heads):
        only["pooler"] = lambda activation: activation == family.pooler
    for field, allowed in only.items():
        value = getattr(config, field)
        if not allowed(value):
            raise InputError(
                f"is {value!r}, which a {config.family} model cannot have in its files",
                where=f"encoder.{field}",
                fix="Change it, or take another encoder.family.",
                code="E-MODEL-FAMILY",
            )


def families_with(head: str) -> list[str]:
    """Returns the families whose files have a place for the head."""
    return [
        name
        for name, family in FAMILIES.items()
        if head in family.tasks or any(line.part == head for line in family.names(next(iter(family.presets.values()))))
    ]


def check_padding(config: EncoderBase, pad_id: int, where: str) -> None:
    """Raises InputError where published code, which counts positions from the padding's id on, would shift them."""
    before = config.position_offset - 1
    if FAMILIES[config.family].pads_before_positions and pad_id != before:
        raise InputError(
            f"the tokenizer's padding has id {pad_id}, a {config.family} whose positions start at "
            f"{config.position_offset} needs id {before}",
            where=where,
            fix=f"Take a tokenizer of its kind, or set encoder.position_offset={pad_id + 1}.",
            code="E-MODEL-PADDING",
        )
