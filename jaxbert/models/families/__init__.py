"""Families of encoders, one file each. To add one: its file, and its line here. No jax."""

from __future__ import annotations

from collections.abc import Mapping

from jaxbert.models.families import bert
from jaxbert.models.families.family import Family

FAMILIES: Mapping[str, Family] = {
    "bert": bert.FAMILY,
}
