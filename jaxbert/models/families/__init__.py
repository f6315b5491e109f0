"""Families of encoders, one file each. A new family is a file here and a line in `FAMILIES`. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping

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


def check_family(config: EncoderBase) -> None:
    """Raises InputError where the family is unknown.

    A run may train what the family's files cannot hold; `jaxbert.convert.names` refuses to write it.
    """
    if config.family not in FAMILIES:
        raise InputError(
            f"unknown family {config.family!r}",
            where="encoder.family",
            fix=f"{did_you_mean(config.family, list(FAMILIES))}Known: {', '.join(FAMILIES)}.",
            code="E-CONFIG-NAME",
        )


def families_with(head: str) -> list[str]:
    """Returns the families whose files have a place for the head."""
    return [
        name
        for name, family in FAMILIES.items()
        if head in family.tasks or any(line.part == head for line in family.names(next(iter(family.presets.values()))))
    ]


def check_padding(config: EncoderBase, pad_id: int, where: str) -> None:
    """Raises InputError where published code would shift positions: it counts them from the padding's id on."""
    before = config.position_offset - 1
    if FAMILIES[config.family].pads_before_positions and pad_id != before:
        raise InputError(
            f"the tokenizer's padding has id {pad_id}, but a {config.family} model whose positions start at "
            f"{config.position_offset} needs id {before}",
            where=where,
            fix=f"Take a tokenizer of its kind, or set encoder.position_offset={pad_id + 1}.",
            code="E-MODEL-PADDING",
        )
