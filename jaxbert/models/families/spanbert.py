"""SpanBERT: BERT's architecture with the exact GELU and a normal start; its files are BERT's. No jax.

facebookresearch/SpanBERT pretraining (bert-large-cased and bert-base-cased shapes, 28,996 cased pieces); token types
stand in its files, and all are 0. A file of it is read back as a BERT: nothing in it tells them apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jaxbert.config import EncoderConfig
from jaxbert.models.families import bert


def shape(layers: int, hidden: int) -> EncoderConfig:
    """N layers of width D by BERT's rule."""
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
