"""DistilBERT: presets, config.json and tensor names as Hugging Face publishes them. Imports no jax.

It is BERT's encoder with half the layers, exact GELU, a normal start, no token types and no pooler (Sanh et al. 2019;
transformers models/distilbert). Published files do not state LayerNorm's epsilon, which is 1e-12.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbert.config import EncoderConfig
from jaxbert.models.families import bert
from jaxbert.models.families.family import (
    PUBLISHED_ACTIVATION,
    Family,
    Fields,
    Name,
    block,
    dense,
    norm,
    read_activation,
    read_fields,
    tasks,
    write_fields,
    zero,
)


def shape(layers: int, hidden: int) -> EncoderConfig:
    """Returns N layers of width D by BERT's rule."""
    return dataclasses.replace(
        bert.shape(layers, hidden),
        family="distilbert",
        type_vocab_size=0,
        activation="gelu_erf",
        pooler="relu",
        initializer="normal",
    )


# base: Sanh et al. 2019, section 3; tiny: ours.
PRESETS: Mapping[str, EncoderConfig] = {
    "tiny": shape(1, 128),
    "base": shape(6, 768),
}

_FIELDS: Fields = {
    "vocab_size": ("vocab_size", 30522),
    "hidden_size": ("dim", 768),
    "num_layers": ("n_layers", 6),
    "num_heads": ("n_heads", 12),
    "intermediate_size": ("hidden_dim", 3072),
    "max_positions": ("max_position_embeddings", 512),
    "dropout": ("dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "initializer_range": ("initializer_range", 0.02),
}
_ONLY: Mapping[str, tuple[Any, ...]] = {"tie_word_embeddings": (True, None)}
EPSILON = 1e-12


def from_published(published: Mapping[str, Any], where: str) -> EncoderConfig:
    """Returns the encoder that a published config.json describes.

    Raises:
      InputError: a value has a wrong type, or it asks for something that this encoder does not compute.
    """
    values = read_fields(published, where, fields=_FIELDS, only=_ONLY)
    activation = read_activation(published, "activation", "gelu", where)
    return EncoderConfig(
        family="distilbert",
        activation=activation,
        type_vocab_size=0,
        layer_norm_epsilon=EPSILON,
        pooler="relu",
        initializer="normal",
        **values,
    )


def to_published(config: EncoderConfig, heads: tuple[str, ...]) -> dict[str, Any]:
    """Returns a config.json that transformers opens as the smallest class that has all of `heads`."""
    return {
        "architectures": ["DistilBertForMaskedLM" if "masked_lm" in heads else "DistilBertModel"],
        "model_type": "distilbert",
        **write_fields(config, _FIELDS),
        "activation": PUBLISHED_ACTIVATION[config.activation],
        "sinusoidal_pos_embds": False,
        "tie_word_embeddings": True,
    }


_WORD = "distilbert.embeddings.word_embeddings.weight"
NAMES: tuple[Name, ...] = (
    Name("encoder/embeddings/word/table", _WORD, vocabulary=True, also=("vocab_projector.weight",)),
    Name("encoder/embeddings/position/table", "distilbert.embeddings.position_embeddings.weight"),
    *norm("encoder/embeddings/norm", "distilbert.embeddings.LayerNorm"),
    *block(
        "distilbert.transformer.layer.{layer}",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        out="attention.out_lin",
        attention="sa_layer_norm",
        up="ffn.lin1",
        down="ffn.lin2",
        output="output_layer_norm",
    ),
    *dense("masked_lm/dense", "vocab_transform"),
    *norm("masked_lm/norm", "vocab_layer_norm"),
    Name("masked_lm/bias", "vocab_projector.bias", vocabulary=True),
)

# The classes for texts and choices have this layer, with ReLU, instead of a pooler.
_PRE = dense("pooler/dense", "pre_classifier")

FAMILY = Family(
    presets=PRESETS,
    model_type="distilbert",
    from_published=from_published,
    to_published=to_published,
    names=lambda config: NAMES,
    prefix="distilbert.",
    tasks=tasks(
        "DistilBert",
        (*_PRE, *dense("sequence_classification/dense", "classifier")),
        (*_PRE, *dense("multiple_choice/dense", "classifier")),
    ),
    pooler="relu",
    only={
        "embedding_size": zero,
        "layer_groups": zero,
        "position_offset": zero,
        "type_vocab_size": zero,
        "layer_norm_epsilon": lambda epsilon: epsilon == EPSILON,
    },
    ignored=("distilbert.embeddings.position_ids",),
)
