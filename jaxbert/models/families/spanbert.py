"""SpanBERT: BERT's architecture with the exact GELU and a normal start. Its files are BERT's. Imports no jax.

Source: facebookresearch/SpanBERT pretraining (bert-large-cased and bert-base-cased shapes, 28,996 cased pieces). Its
files have a table of token types, and all types are 0. A SpanBERT file reads back as a BERT, because nothing in it
tells the two apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jaxbert.config import EncoderConfig
from jaxbert.models.families import bert


def shape(layers: int, hidden: int) -> EncoderConfig:
    """Returns N layers of width D by BERT's rule."""
    return dataclasses.replace(
        bert.shape(layers, hidden),
        family="spanbert",
        vocab_size=28996,
        activation="gelu_erf",
        initializer="normal",
    )


# base and large: SpanBERT README.md; tiny: ours.
PRESETS: Mapping[str, EncoderConfig] = {
    "tiny": shape(2, 128),
    "base": shape(12, 768),
    "large": shape(24, 1024),
}

FAMILY = dataclasses.replace(bert.FAMILY, presets=PRESETS)
