"""A small odd encoder of every family: one more family needs one more line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxbert.config import EncoderConfig
from jaxbert.core.parameters import Params
from jaxbert.core.shapes import shapes_of
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import HEADS, Model

_SMALL = dict(
    vocab_size=61,
    vocab_multiple=16,
    hidden_size=24,
    num_layers=2,
    num_heads=3,
    intermediate_size=37,
    max_positions=20,
    initializer_range=0.2,
)
_CHANGES: Mapping[str, Mapping[str, int]] = {
    "bert": {"type_vocab_size": 3},
    "roberta": {"position_offset": 4, "num_heads": 1},
    "albert": {"num_layers": 4, "layer_groups": 2, "embedding_size": 10},
    "spanbert": {"intermediate_size": 11},
    "distilbert": {"num_heads": 4},
}
ODD: Mapping[str, EncoderConfig] = {
    name: dataclasses.replace(family.presets["tiny"], **(_SMALL | _CHANGES[name])) for name, family in FAMILIES.items()
}


def heads_of(family: str) -> tuple[str, ...]:
    """The heads that the family's files can have, in the order of `HEADS`."""
    parts = {name.part for name in FAMILIES[family].names(ODD[family])}
    return tuple(head for head in HEADS if head in parts)


def random_params(model: Model, seed: int = 0) -> Params:
    """Parameters far from where training starts, the vocabulary's padding 0."""
    rng = np.random.default_rng(seed)
    shapes = shapes_of(model.init)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        *_, module, name = (key.key for key in path)
        array = ((name == "scale") + 0.2 * rng.standard_normal(leaf.shape)).astype(np.float32)
        if module == "word" or leaf.shape == (model.config.padded_vocab_size,):
            array[model.config.vocab_size :] = 0
        return array

    return jax.tree_util.tree_map_with_path(draw, shapes)
