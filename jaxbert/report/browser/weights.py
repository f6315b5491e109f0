"""Makes int8 of the parts of a model that fill masks.

Each row of a matrix has one scale: its greatest absolute value is 127. A row is one token of an embedding table, or one
output of a dense layer. LayerNorms and biases stay float32. Layers that share their weights are written once, and the
table of words serves for the decoder too. Pooler and classifiers are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxbert.config import EncoderBase, EncoderConfig
from jaxbert.report.browser.reasons import LeftOut

Params = Mapping[str, Any]

_LARGEST = 127
# The parts of a layer; makes a matrix (outputs, inputs) of each kernel of one layer.
_HEADS = ("query", "key", "value")
_NORMS = ("attention_norm", "output_norm")
_ALIGNMENT = 4


@dataclass(frozen=True)
class Quantised:
    """A model in bytes.

    Attributes:
      form: what model.js needs beside the bytes: sizes, and for each tensor [rows, columns, place of its numbers, place
        of its scales], -1 where the numbers are float32.
      content: the bytes, little-endian.
    """

    form: dict[str, Any]
    content: bytes


def quantised(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (int8 (R, C), scales float32 (R)) of a matrix. Their product is the nearest with one scale a row."""
    scales = np.abs(matrix).max(axis=1, initial=0.0).astype(np.float32) / np.float32(_LARGEST)
    steps = np.where(scales > 0, scales, 1)[:, None]
    return np.clip(np.rint(matrix / steps), -_LARGEST, _LARGEST).astype(np.int8), scales


def rounded(params: Params, config: EncoderBase) -> dict[str, Any]:
    """Returns the parameters with the values that int8 leaves them: what the page computes with."""

    def rows(table: np.ndarray) -> np.ndarray:
        values, scales = quantised(table)
        return values.astype(np.float32) * scales[:, None]

    def kernel(of_layer: np.ndarray, outputs: int) -> np.ndarray:
        return rows(of_layer.reshape(-1, outputs).T).T.reshape(of_layer.shape)

    encoder, head = params["encoder"], params["masked_lm"]
    embeddings = {
        name: {"table": rows(np.asarray(part["table"]))} if "table" in part else dict(part)
        for name, part in encoder["embeddings"].items()
    }
    if "projection" in embeddings:
        given = np.asarray(embeddings["projection"]["kernel"])
        embeddings["projection"]["kernel"] = kernel(given, given.shape[-1])
    layers = {}
    for name, part in encoder["layers"].items():
        layers[name] = dict(part)
        if "kernel" in part:
            outputs = int(np.prod(np.shape(part["bias"])[1:]))
            layers[name]["kernel"] = np.stack([kernel(one, outputs) for one in np.asarray(part["kernel"])])
    dense = {**head["dense"], "kernel": kernel(np.asarray(head["dense"]["kernel"]), config.embedding_width)}
    return {"encoder": {"embeddings": embeddings, "layers": layers}, "masked_lm": {**head, "dense": dense}}


def check(config: EncoderBase, parts: Params) -> None:
    """Raises LeftOut where model.js does not compute this model."""
    if "masked_lm" not in parts:
        raise LeftOut("The model has no masked-LM head, so it fills no masks.")
    if not isinstance(config, EncoderConfig):
        raise LeftOut(f"The page cannot compute encoders of the family {config.family}.")


def size_of(config: EncoderConfig) -> int:
    """Returns about how many bytes `write` gives, from the config: a byte for each entry of a matrix."""
    width, embedding, inner = config.hidden_size, config.embedding_width, config.intermediate_size
    layer = 4 * width * width + 2 * width * inner
    tables = (config.vocab_size + config.max_positions + config.type_vocab_size) * embedding
    return tables + config.distinct_layers * layer + (1 + (config.embedding_size > 0)) * width * embedding


def write(params: Params, config: EncoderBase) -> Quantised:
    """Returns the model in bytes.

    Args:
      params: the parameters of the encoder and its heads, nested arrays.
      config: the encoder's.

    Raises:
      LeftOut: the model has no masked-LM head, or its encoder is of another kind.
    """
    check(config, params)
    assert isinstance(config, EncoderConfig)
    writer = _Writer()
    encoder, head = params["encoder"], params["masked_lm"]
    tables = encoder["embeddings"]
    embeddings: dict[str, Any] = {
        # The rows behind the vocabulary are padding.
        "word": writer.matrix(tables["word"]["table"][: config.vocab_size]),
        "position": writer.matrix(tables["position"]["table"]),
        "norm": writer.pair(tables["norm"], "scale"),
    }
    if "type" in tables:
        # A text has no second segment.
        embeddings["type"] = writer.matrix(tables["type"]["table"][:1])
    if "projection" in tables:
        embeddings["projection"] = writer.dense(tables["projection"]["kernel"], tables["projection"]["bias"])
    layers = [writer.layer(encoder["layers"], number) for number in range(config.distinct_layers)]
    decoder = {
        "dense": writer.dense(head["dense"]["kernel"], head["dense"]["bias"]),
        "norm": writer.pair(head["norm"], "scale"),
        "bias": writer.vector(head["bias"][: config.vocab_size]),
    }
    form = {
        "width": config.hidden_size,
        "embedding": config.embedding_width,
        "inner": config.intermediate_size,
        "heads": config.num_heads,
        "layers": config.num_layers,
        "vocab": config.vocab_size,
        "activation": config.activation,
        "epsilon": config.layer_norm_epsilon,
        "offset": config.position_offset,
        "longest": config.longest_row,
        "tensors": {"embeddings": embeddings, "layers": layers, "head": decoder},
    }
    return Quantised(form, bytes(writer.content))


class _Writer:
    """Appends tensors to bytes, and returns the place of each as `Quantised.form` has it."""

    def __init__(self) -> None:
        self.content = bytearray()

    def _append(self, array: np.ndarray) -> int:
        self.content += bytes(-len(self.content) % _ALIGNMENT)
        at = len(self.content)
        self.content += array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        return at

    def matrix(self, matrix: Any) -> list[int]:
        values, scales = quantised(np.asarray(matrix, np.float32))
        return [*values.shape, self._append(values), self._append(scales)]

    def vector(self, vector: Any) -> list[int]:
        flat = np.asarray(vector, np.float32).reshape(-1)
        return [flat.size, 1, self._append(flat), -1]

    def pair(self, part: Params, name: str) -> dict[str, Any]:
        return {name: self.vector(part[name]), "bias": self.vector(part["bias"])}

    def dense(self, kernel: Any, bias: Any) -> dict[str, Any]:
        """Writes a kernel whose last dimensions are those of its bias, as (outputs, inputs)."""
        flat = np.asarray(bias, np.float32).reshape(-1)
        return {"kernel": self.matrix(np.asarray(kernel).reshape(-1, flat.size).T), "bias": self.vector(flat)}

    def layer(self, layers: Params, number: int) -> dict[str, Any]:
        one = {
            part: {name: np.asarray(array)[number] for name, array in given.items()} for part, given in layers.items()
        }
        # One product gives queries, keys and values.
        size = one["query"]["kernel"].shape[0]
        kernel = np.concatenate([one[name]["kernel"].reshape(size, -1) for name in _HEADS], axis=1)
        bias = np.concatenate([one[name]["bias"].reshape(-1) for name in _HEADS])
        return {
            "qkv": self.dense(kernel, bias),
            **{name: self.dense(one[name]["kernel"], one[name]["bias"]) for name in ("out", "up", "down")},
            **{name: self.pair(one[name], "scale") for name in _NORMS},
        }
