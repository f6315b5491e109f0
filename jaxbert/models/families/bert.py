"""BERT: presets, config.json and tensor names as Hugging Face publishes them. No jax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxbert.config import Activation, EncoderConfig
from jaxbert.errors import InputError
from jaxbert.models.families.family import Family, Name


def shape(layers: int, hidden: int) -> EncoderConfig:
    """N layers of width D, D/64 heads, feed-forward of 4D: the rule of every shape that Google published."""
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

# transformers' ACT2FN: "gelu" and "gelu_python" are the exact erf, "gelu_new" and "gelu_pytorch_tanh" the tanh formula.
_ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu_erf",
    "gelu_python": "gelu_erf",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
_PUBLISHED_ACTIVATION: Mapping[Activation, str] = {"gelu_erf": "gelu", "gelu_tanh": "gelu_new"}

# EncoderConfig field -> (key of the published config, transformers' default where a file leaves the key out).
_FIELDS: Mapping[str, tuple[str, int | float]] = {
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

# Keys that change what the encoder computes, and the only values of theirs that this one computes.
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "tie_word_embeddings": (True, None),
}


def from_published(published: Mapping[str, Any], where: str) -> EncoderConfig:
    """The encoder of a published config.json.

    Raises:
      InputError: a value of a wrong type, or one that asks for what this encoder does not compute.
    """
    for key, allowed in _ONLY.items():
        if published.get(key) not in allowed:
            raise InputError(
                f"{key} is {published[key]!r}", where=where, fix=f"Only {allowed[0]!r} can be loaded for a BERT."
            )
    values: dict[str, Any] = {}
    for field, (key, default) in _FIELDS.items():
        value = published.get(key, default)
        whole = isinstance(default, int)
        right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not right or not value >= (1 if whole else 0):
            kind = "a positive whole number" if whole else "a number of at least 0"
            raise InputError(f"{key} is {value!r}, not {kind}", where=where, fix="Check the config.")
        values[field] = type(default)(value)
    if values["hidden_size"] % values["num_heads"]:
        raise InputError(
            f"num_attention_heads {values['num_heads']} does not divide hidden_size {values['hidden_size']}",
            where=where,
            fix="Check the config.",
        )
    act = published.get("hidden_act", "gelu")
    if act not in _ACTIVATIONS:
        raise InputError(f"hidden_act {act!r} is unknown", where=where, fix=f"Known: {', '.join(_ACTIVATIONS)}.")
    return EncoderConfig(family="bert", activation=_ACTIVATIONS[act], **values)


def to_published(config: EncoderConfig, heads: tuple[str, ...]) -> dict[str, Any]:
    """A config.json that transformers opens as the smallest class that has all of `heads`."""
    if "masked_lm" in heads:
        architecture = "BertForPreTraining" if "next_sentence" in heads else "BertForMaskedLM"
    else:
        architecture = "BertForNextSentencePrediction" if "next_sentence" in heads else "BertModel"
    return {
        "architectures": [architecture],
        "model_type": "bert",
        **{key: getattr(config, field) for field, (key, _) in _FIELDS.items()},
        "hidden_act": _PUBLISHED_ACTIVATION[config.activation],
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
    }


def _dense(ours: str, theirs: str, *, kernel: Any = "linear", bias: Any = "same") -> tuple[Name, Name]:
    return Name(f"{ours}/kernel", f"{theirs}.weight", kernel), Name(f"{ours}/bias", f"{theirs}.bias", bias)


def _norm(ours: str, theirs: str) -> tuple[Name, Name]:
    return Name(f"{ours}/scale", f"{theirs}.weight"), Name(f"{ours}/bias", f"{theirs}.bias")


_IN, _OURS = "bert.encoder.layer.{layer}", "encoder/layers"
_WORD = "bert.embeddings.word_embeddings.weight"

NAMES: tuple[Name, ...] = (
    Name("encoder/embeddings/word/table", _WORD, vocabulary=True, also=("cls.predictions.decoder.weight",)),
    Name("encoder/embeddings/position/table", "bert.embeddings.position_embeddings.weight"),
    Name("encoder/embeddings/type/table", "bert.embeddings.token_type_embeddings.weight"),
    *_norm("encoder/embeddings/norm", "bert.embeddings.LayerNorm"),
    *_dense(f"{_OURS}/query", f"{_IN}.attention.self.query", bias="flat"),
    *_dense(f"{_OURS}/key", f"{_IN}.attention.self.key", bias="flat"),
    *_dense(f"{_OURS}/value", f"{_IN}.attention.self.value", bias="flat"),
    *_dense(f"{_OURS}/out", f"{_IN}.attention.output.dense", kernel="linear_of_heads"),
    *_norm(f"{_OURS}/attention_norm", f"{_IN}.attention.output.LayerNorm"),
    *_dense(f"{_OURS}/up", f"{_IN}.intermediate.dense"),
    *_dense(f"{_OURS}/down", f"{_IN}.output.dense"),
    *_norm(f"{_OURS}/output_norm", f"{_IN}.output.LayerNorm"),
    *_dense("pooler/dense", "bert.pooler.dense"),
    *_dense("masked_lm/dense", "cls.predictions.transform.dense"),
    *_norm("masked_lm/norm", "cls.predictions.transform.LayerNorm"),
    Name("masked_lm/bias", "cls.predictions.bias", vocabulary=True, also=("cls.predictions.decoder.bias",)),
    *_dense("next_sentence/dense", "cls.seq_relationship"),
)

FAMILY = Family(
    presets=PRESETS,
    model_type="bert",
    from_published=from_published,
    to_published=to_published,
    names=NAMES,
    prefix="bert.",
    old_names={".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"},
    ignored=("bert.embeddings.position_ids", "bert.embeddings.token_type_ids"),
)
