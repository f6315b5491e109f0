"""Families of encoders, one file each. To add one: its file, and its line here. No jax."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


# Heads that no file needs: of use in training only.
_TRAINING_ONLY = ("projection",)


def check_family(config: EncoderConfig, heads: Iterable[str] = ()) -> None:
    """Raises InputError where the family is unknown, or its files cannot hold what the encoder or `heads` compute."""
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
    held = {name.part for name in FAMILIES[config.family].names(config)}
    for head in heads:
        if head not in held and head not in _TRAINING_ONLY:
            able = [name for name in FAMILIES if _holds(name, head)]
            raise InputError(
                f"a {config.family} model's files have no place for the head {head}",
                where="objectives",
                fix=f"Take another objective, or a family that has it: {', '.join(able) or 'none'}.",
            )


def _holds(name: str, head: str) -> bool:
    preset = next(iter(FAMILIES[name].presets.values()))
    return any(line.part == head for line in FAMILIES[name].names(preset))


def check_padding(config: EncoderConfig, pad_id: int, where: str) -> None:
    """Raises InputError where published code, which counts positions from the padding's id on, would shift them."""
    before = config.position_offset - 1
    if FAMILIES[config.family].pads_before_positions and pad_id != before:
        raise InputError(
            f"the tokenizer's padding has id {pad_id}, a {config.family} whose positions start at "
            f"{config.position_offset} needs id {before}",
            where=where,
            fix=f"Take a tokenizer of its kind, or set encoder.position_offset={pad_id + 1}.",
        )
