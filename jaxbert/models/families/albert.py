"""ALBERT: presets, config.json and tensor names as Hugging Face publishes them. Imports no jax.

Differences from BERT (google-research/albert modeling.py): Embeddings have width 128 and their LayerNorm, and are
projected to the hidden size. All layers, or the layers of each of G groups, share one set of weights. The masked-LM
head goes back to width 128. Tanh GELU, epsilon 1e-12 and the truncated normal start are BERT's.

transformers has the projection even if both widths are equal; jaxbert has it wherever `embedding_size` is set. The
original has a dropout after the feed-forward. transformers leaves it out, and jaxbert has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxbert.config import EncoderConfig
from jaxbert.errors import InputError
from jaxbert.models.families.family import (
    ABSOLUTE,
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


def shape(layers: int, hidden: int, heads: int, *, dropout: float = 0.1) -> EncoderConfig:
    """Returns N layers of width D that share their weights, with feed-forward 4D and embeddings of width 128."""
    return EncoderConfig(
        family="albert",
        vocab_size=30000,
        hidden_size=hidden,
        embedding_size=128,
        num_layers=layers,
        layer_groups=1,
        num_heads=heads,
        intermediate_size=4 * hidden,
        dropout=dropout,
        attention_dropout=dropout,
    )


# Lan et al. 2020, table 1, with the heads of google-research/albert's published configs; version 1 of xxlarge has no
# dropout, the others 0.1 (version 2 has none anywhere: --set encoder.dropout=0 encoder.attention_dropout=0).
# tiny is ours.
PRESETS: Mapping[str, EncoderConfig] = {
    "tiny": shape(2, 128, 2),
    "base": shape(12, 768, 12),
    "large": shape(24, 1024, 16),
    "xlarge": shape(24, 2048, 16),
    "xxlarge": shape(12, 4096, 64, dropout=0.0),
}

_FIELDS: Fields = {
    "vocab_size": ("vocab_size", 30000),
    "hidden_size": ("hidden_size", 4096),
    "embedding_size": ("embedding_size", 128),
    "num_layers": ("num_hidden_layers", 12),
    "layer_groups": ("num_hidden_groups", 1),
    "num_heads": ("num_attention_heads", 64),
    "intermediate_size": ("intermediate_size", 16384),
    "max_positions": ("max_position_embeddings", 512),
    "type_vocab_size": ("type_vocab_size", 2),
    "layer_norm_epsilon": ("layer_norm_eps", 1e-12),
    "dropout": ("hidden_dropout_prob", 0.0),
    "attention_dropout": ("attention_probs_dropout_prob", 0.0),
    "initializer_range": ("initializer_range", 0.02),
}
_ONLY = {**ABSOLUTE, "inner_group_num": (1, None)}


def from_published(published: Mapping[str, Any], where: str) -> EncoderConfig:
    """Returns the encoder that a published config.json describes.

    Raises:
      InputError: a value has a wrong type, or it asks for something that this encoder does not compute.
    """
    values = read_fields(published, where, fields=_FIELDS, only=_ONLY)
    layers, groups = values["num_layers"], values["layer_groups"]
    if layers % groups:
        raise InputError(
            f"num_hidden_groups {groups} does not divide num_hidden_layers {layers}",
            where=where,
            fix="Check the config.",
            code="E-MODEL-PUBLISHED",
        )
    activation = read_activation(published, "hidden_act", "gelu_new", where)
    return EncoderConfig(family="albert", activation=activation, **values)


def to_published(config: EncoderConfig, heads: tuple[str, ...]) -> dict[str, Any]:
    """Returns a config.json that transformers opens as the smallest class that has all of `heads`."""
    if "sentence_order" in heads:
        architecture = "AlbertForPreTraining"
    else:
        architecture = "AlbertForMaskedLM" if "masked_lm" in heads else "AlbertModel"
    return {
        "architectures": [architecture],
        "model_type": "albert",
        **write_fields(config, _FIELDS),
        "hidden_act": PUBLISHED_ACTIVATION[config.activation],
        "inner_group_num": 1,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
    }


_WORD = "albert.embeddings.word_embeddings.weight"
NAMES: tuple[Name, ...] = (
    Name("encoder/embeddings/word/table", _WORD, vocabulary=True, also=("predictions.decoder.weight",)),
    Name("encoder/embeddings/position/table", "albert.embeddings.position_embeddings.weight"),
    Name("encoder/embeddings/type/table", "albert.embeddings.token_type_embeddings.weight"),
    *norm("encoder/embeddings/norm", "albert.embeddings.LayerNorm"),
    *dense("encoder/embeddings/projection", "albert.encoder.embedding_hidden_mapping_in"),
    *block(
        "albert.encoder.albert_layer_groups.{layer}.albert_layers.0",
        query="attention.query",
        key="attention.key",
        value="attention.value",
        out="attention.dense",
        attention="attention.LayerNorm",
        up="ffn",
        down="ffn_output",
        output="full_layer_layer_norm",
    ),
    *dense("pooler/dense", "albert.pooler"),
    *dense("masked_lm/dense", "predictions.dense"),
    *norm("masked_lm/norm", "predictions.LayerNorm"),
    Name("masked_lm/bias", "predictions.bias", vocabulary=True, also=("predictions.decoder.bias",)),
    *dense("sentence_order/dense", "sop_classifier.classifier"),
)

FAMILY = Family(
    presets=PRESETS,
    model_type="albert",
    from_published=from_published,
    to_published=to_published,
    names=lambda config: NAMES,
    prefix="albert.",
    tasks=tasks("Albert", dense("sequence_classification/dense", "classifier")),
    only={
        "embedding_size": lambda size: size >= 1,
        "layer_groups": lambda groups: groups >= 1,
        "position_offset": zero,
        "type_vocab_size": lambda size: size >= 1,
    },
    ignored=("albert.embeddings.position_ids", "albert.embeddings.token_type_ids"),
)
