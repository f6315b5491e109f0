"""RoBERTa: presets, config.json and tensor names as Hugging Face publishes them. Imports no jax.

Differences from BERT (facebookresearch/fairseq models/roberta): Positions begin at 2, in a table of 514 rows, and
padding has row 1. There are no token types; published files have a table of one row of zeros. LayerNorm's epsilon is
1e-5. The GELU is always the exact one, because transformers' masked-LM head uses it whatever the config says. Weights
start from a normal. There is no pooler.

Departure: the rows of the padding token and of the padding position start like the others, and not at 0. The model
never sees either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbert.config import EncoderConfig
from jaxbert.errors import InputError
from jaxbert.models.families import bert
from jaxbert.models.families.family import (
    ABSOLUTE,
    BERT_BLOCK,
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

_PADDING = 1  # fairseq's dictionary: <s> 0, <pad> 1, </s> 2


def shape(layers: int, hidden: int) -> EncoderConfig:
    """Returns N layers of width D by BERT's rule, with 512 positions after the unused row and the padding's row."""
    return dataclasses.replace(
        bert.shape(layers, hidden),
        family="roberta",
        vocab_size=50265,
        max_positions=514,
        position_offset=_PADDING + 1,
        type_vocab_size=0,
        activation="gelu_erf",
        layer_norm_epsilon=1e-5,
        initializer="normal",
    )


# base and large: Liu et al. 2019, section 5 (BERT's shapes); tiny: ours.
PRESETS: Mapping[str, EncoderConfig] = {
    "tiny": shape(2, 128),
    "base": shape(12, 768),
    "large": shape(24, 1024),
}

_FIELDS: Fields = {
    **bert.FIELDS,
    "vocab_size": ("vocab_size", 50265),
    "max_positions": ("max_position_embeddings", 512),
}


def from_published(published: Mapping[str, Any], where: str) -> EncoderConfig:
    """Returns the encoder that a published config.json describes.

    Raises:
      InputError: a value has a wrong type, or it asks for something that this encoder does not compute.
    """
    values = read_fields(published, where, fields=_FIELDS, only=ABSOLUTE)
    padding = published.get("pad_token_id", _PADDING)
    if not isinstance(padding, int) or isinstance(padding, bool) or not 0 <= padding < values["max_positions"] - 1:
        raise InputError(
            f"pad_token_id is {padding!r}",
            where=where,
            fix="Correct the config: this value decides where positions start.",
            code="E-MODEL-PUBLISHED",
        )
    activation = read_activation(published, "hidden_act", "gelu", where)
    if activation != "gelu_erf":
        raise InputError(
            f"hidden_act is {published['hidden_act']!r}",
            where=where,
            fix="Only 'gelu' can be loaded for this family.",
            code="E-MODEL-PUBLISHED",
        )
    return EncoderConfig(
        family="roberta", activation=activation, position_offset=padding + 1, initializer="normal", **values
    )


def to_published(config: EncoderConfig, heads: tuple[str, ...]) -> dict[str, Any]:
    """Returns a config.json that transformers opens as the smallest class that has all of `heads`."""
    return {
        "architectures": ["RobertaForMaskedLM" if "masked_lm" in heads else "RobertaModel"],
        "model_type": "roberta",
        **write_fields(config, _FIELDS),
        "type_vocab_size": max(1, config.type_vocab_size),
        "hidden_act": PUBLISHED_ACTIVATION[config.activation],
        "pad_token_id": config.position_offset - 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
    }


_WORD, _TYPE = "roberta.embeddings.word_embeddings.weight", "roberta.embeddings.token_type_embeddings.weight"


def names(config: EncoderConfig) -> tuple[Name, ...]:
    """Returns the name map; see `Family`."""
    types = (Name("encoder/embeddings/type/table", _TYPE),) if config.type_vocab_size else ()
    return (
        Name("encoder/embeddings/word/table", _WORD, vocabulary=True, also=("lm_head.decoder.weight",)),
        Name("encoder/embeddings/position/table", "roberta.embeddings.position_embeddings.weight"),
        *types,
        *norm("encoder/embeddings/norm", "roberta.embeddings.LayerNorm"),
        *block("roberta.encoder.layer.{layer}", **BERT_BLOCK),
        *dense("pooler/dense", "roberta.pooler.dense"),
        *dense("masked_lm/dense", "lm_head.dense"),
        *norm("masked_lm/norm", "lm_head.layer_norm"),
        Name("masked_lm/bias", "lm_head.bias", vocabulary=True, also=("lm_head.decoder.bias",)),
    )


# The classifier of texts contains a dense layer and tanh, and that is a pooler here.
_TEXT = (*dense("pooler/dense", "classifier.dense"), *dense("sequence_classification/dense", "classifier.out_proj"))


def zeros(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Returns the table of one token type that transformers' class has; see `Family`."""
    return {} if config.type_vocab_size else {_TYPE: (1, config.hidden_size)}


FAMILY = Family(
    presets=PRESETS,
    model_type="roberta",
    from_published=from_published,
    to_published=to_published,
    names=names,
    prefix="roberta.",
    tasks=tasks("Roberta", _TEXT),
    only={
        "embedding_size": zero,
        "layer_groups": zero,
        "position_offset": lambda offset: offset >= 1,
        "activation": lambda activation: activation == "gelu_erf",
    },
    zeros=zeros,
    pads_before_positions=True,
    ignored=("roberta.embeddings.position_ids", "roberta.embeddings.token_type_ids"),
)
