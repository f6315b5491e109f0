"""Families of encoders, one file each. To add one: its file, and its line here. No jax."""

from __future__ import annotations

from collections.abc import Mapping

from jaxbert.config import EncoderConfig, did_you_mean
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


def check_family(config: EncoderConfig) -> None:
    """Raises InputError where the encoder's family is unknown, or cannot hold what it computes."""
    if config.family not in FAMILIES:
        raise InputError(
            f"unknown family {config.family!r}",
            where="encoder.family",
            fix=f"{did_you_mean(config.family, list(FAMILIES))}Known: {', '.join(FAMILIES)}.",
        )
    for field, allowed in FAMILIES[config.family].only.items():
        value = getattr(config, field)
        if not allowed(value):
            raise InputError(
                f"is {value!r}, which a {config.family} model cannot have in its files",
                where=f"encoder.{field}",
                fix="Change it, or take another encoder.family.",
            )
