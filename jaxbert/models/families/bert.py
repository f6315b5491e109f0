"""BERT: presets, config.json and tensor names as Hugging Face publishes them. Imports no jax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxbert.config import EncoderConfig
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


def shape(layers: int, hidden: int) -> EncoderConfig:
    """Returns N layers of width D, D/64 heads, feed-forward 4D: the rule of every shape that Google published."""
    return EncoderConfig(hidden_size=hidden, num_layers=layers, num_heads=hidden // 64, intermediate_size=4 * hidden)


# The 24 small shapes of google-research/bert README.md ("Smaller BERT Models") as l<layers>_h<hidden>, Google's names
# for five of them, and large (Devlin et al. 2019, section 3).
PRESETS: Mapping[str, EncoderConfig] = {
    **{
        f"l{layers}_h{hidden}": shape(layers, hidden)
        for layers in (2, 4, 6, 8, 10, 12)
        for hidden in (128, 256, 512, 768)
    },
    "tiny": shape(2, 128),
    "mini": shape(4, 256),
    "small": shape(4, 512),
    "medium": shape(8, 512),
    "base": shape(12, 768),
    "large": shape(24, 1024),
}

FIELDS: Fields = {
    "vocab_size": ("vocab_size", 30522),
    "hidden_size": ("hidden_size", 768),
    "num_layers": ("num_hidden_layers", 12),
    "num_heads": ("num_attention_heads", 12),
    "intermediate_size": ("intermediate_size", 3072),
    "max_positions": ("max_position_embeddings", 512),
    "type_vocab_size": ("type_vocab_size", 2),
    "layer_norm_epsilon": ("layer_norm_eps", 1e-12),
    "dropout": ("hidden_dropout_prob", 0.1),
    "attention_dropout": ("attention_probs_dropout_prob", 0.1),
    "initializer_range": ("initializer_range", 0.02),
}


def from_published(published: Mapping[str, Any], where: str) -> EncoderConfig:
    """Returns the encoder that a published config.json describes.

    Raises:
      InputError: a value has a wrong type, or it asks for something that this encoder does not compute.
    """
    values = read_fields(published, where, fields=FIELDS, only=ABSOLUTE)
    activation = read_activation(published, "hidden_act", "gelu", where)
    return EncoderConfig(family="bert", activation=activation, **values)


def to_published(config: EncoderConfig, heads: tuple[str, ...]) -> dict[str, Any]:
    """Returns a config.json that transformers opens as the smallest class that has all of `heads` that it knows."""
    if "masked_lm" in heads:
        architecture = "BertForPreTraining" if "next_sentence" in heads else "BertForMaskedLM"
    else:
        architecture = "BertForNextSentencePrediction" if "next_sentence" in heads else "BertModel"
    return {
        "architectures": [architecture],
        "model_type": "bert",
        **write_fields(config, FIELDS),
        "hidden_act": PUBLISHED_ACTIVATION[config.activation],
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
    }


# SpanBERT's span-boundary head has no class in transformers, so the names are those of SpanBERT's archive.
_BOUNDARY = "cls.pair_target_predictions"
_WORD = "bert.embeddings.word_embeddings.weight"

NAMES: tuple[Name, ...] = (
    Name(
        "encoder/embeddings/word/table",
        _WORD,
        vocabulary=True,
        also=("cls.predictions.decoder.weight", f"{_BOUNDARY}.decoder.weight"),
    ),
    Name("encoder/embeddings/position/table", "bert.embeddings.position_embeddings.weight"),
    Name("encoder/embeddings/type/table", "bert.embeddings.token_type_embeddings.weight"),
    *norm("encoder/embeddings/norm", "bert.embeddings.LayerNorm"),
    *block("bert.encoder.layer.{layer}", **BERT_BLOCK),
    *dense("pooler/dense", "bert.pooler.dense"),
    *dense("masked_lm/dense", "cls.predictions.transform.dense"),
    *norm("masked_lm/norm", "cls.predictions.transform.LayerNorm"),
    Name("masked_lm/bias", "cls.predictions.bias", vocabulary=True, also=("cls.predictions.decoder.bias",)),
    *dense("next_sentence/dense", "cls.seq_relationship"),
    Name("span_boundary/place/table", f"{_BOUNDARY}.position_embeddings.weight"),
    *dense("span_boundary/first", f"{_BOUNDARY}.mlp_layer_norm.linear1"),
    *norm("span_boundary/first_norm", f"{_BOUNDARY}.mlp_layer_norm.layer_norm1"),
    *dense("span_boundary/second", f"{_BOUNDARY}.mlp_layer_norm.linear2"),
    *norm("span_boundary/second_norm", f"{_BOUNDARY}.mlp_layer_norm.layer_norm2"),
    Name("span_boundary/bias", f"{_BOUNDARY}.bias", vocabulary=True),
)

FAMILY = Family(
    presets=PRESETS,
    model_type="bert",
    from_published=from_published,
    to_published=to_published,
    names=lambda config: NAMES,
    prefix="bert.",
    tasks=tasks("Bert", dense("sequence_classification/dense", "classifier")),
    only={
        "embedding_size": zero,
        "layer_groups": zero,
        "position_offset": zero,
        "type_vocab_size": lambda size: size >= 1,
    },
    # The prefix of DataParallel, and the one of SpanBERT's pretraining archive.
    wrappers=("module.", "decoder."),
    old_names={
        ".LayerNorm.gamma": ".LayerNorm.weight",
        ".LayerNorm.beta": ".LayerNorm.bias",
        ".layer_norm1.gamma": ".layer_norm1.weight",
        ".layer_norm1.beta": ".layer_norm1.bias",
        ".layer_norm2.gamma": ".layer_norm2.weight",
        ".layer_norm2.beta": ".layer_norm2.bias",
    },
    ignored=("bert.embeddings.position_ids", "bert.embeddings.token_type_ids"),
)
