"""Google's original models: a TF1 checkpoint of BERT or ALBERT beside bert_config.json or albert_config.json.

Names and defaults are from google-research/bert (modeling.py, run_pretraining.py, run_classifier.py, run_squad.py) and
google-research/albert (modeling.py and its scripts). Their "gelu" is the tanh formula, the epsilon of their LayerNorm
is 1e-12, and their kernels are (in, out). The variables that the scripts call output_weights are (out, in), as torch's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxbert.config import EncoderConfig
from jaxbert.convert.tensors import Tensor, Tensors, read_json
from jaxbert.convert.tf1 import INDEX, open_bundle
from jaxbert.errors import InputError
from jaxbert.inputs.files import read_bytes
from jaxbert.models.families import albert, bert


@dataclass(frozen=True)
class _Original:
    """One family in Google's files.

    Attributes:
      config: the name of the file that describes a model.
      from_published: turns a description in today's keys into a config.
      defaults: the defaults of Google's classes that differ from transformers'.
      plain: keys of an architecture that is not supported here -> the values that switch it off.
      layers: Google's name of a layer or LayerNorm -> today's name; "#" stands for a number.
      whole: Google's name of any other variable -> today's name.
    """

    config: str
    from_published: Callable[[Mapping[str, Any], str], EncoderConfig]
    defaults: Mapping[str, Any]
    plain: Mapping[str, tuple[Any, ...]]
    layers: Mapping[str, str]
    whole: Mapping[str, str]


# The last part of a variable's name -> the last part of a tensor's name. Kernels are transposed as well.
_LAST = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
# The heads of run_classifier.py and run_squad.py, which are the same for both families.
_TASKS = {
    "output_weights": "classifier.weight",
    "output_bias": "classifier.bias",
    "cls/squad/output_weights": "qa_outputs.weight",
    "cls/squad/output_bias": "qa_outputs.bias",
}
_TASK_OF = {"classifier.weight": "sequence_classification", "qa_outputs.weight": "question_answering"}
_EMBEDDINGS = ("word_embeddings", "position_embeddings", "token_type_embeddings")
_BERT_BLOCK = (
    *("attention/self/query", "attention/self/key", "attention/self/value"),
    *("attention/output/dense", "attention/output/LayerNorm"),
    *("intermediate/dense", "output/dense", "output/LayerNorm"),
)
_ALBERT_BLOCK = {
    "attention_1/self/query": "attention.query",
    "attention_1/self/key": "attention.key",
    "attention_1/self/value": "attention.value",
    "attention_1/output/dense": "attention.dense",
    "LayerNorm": "attention.LayerNorm",
    "ffn_1/intermediate/dense": "ffn",
    "ffn_1/intermediate/output/dense": "ffn_output",
    "LayerNorm_1": "full_layer_layer_norm",
}

_ORIGINALS: Mapping[str, _Original] = {
    "bert": _Original(
        config="bert_config.json",
        from_published=bert.from_published,
        defaults={"type_vocab_size": 16},
        plain={},
        layers={
            **{
                place: place.replace("/", ".")
                for place in (
                    *("bert/embeddings/LayerNorm", "bert/pooler/dense"),
                    *("cls/predictions/transform/dense", "cls/predictions/transform/LayerNorm"),
                )
            },
            **{
                f"bert/encoder/layer_#/{part}": f"bert.encoder.layer.#.{part.replace('/', '.')}" for part in _BERT_BLOCK
            },
        },
        whole={
            **{f"bert/embeddings/{table}": f"bert.embeddings.{table}.weight" for table in _EMBEDDINGS},
            "cls/predictions/output_bias": "cls.predictions.bias",
            "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
            "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
            **_TASKS,
        },
    ),
    "albert": _Original(
        config="albert_config.json",
        from_published=albert.from_published,
        defaults={},
        plain={
            "net_structure_type": (0, None),
            "gap_size": (0, None),
            "num_memory_blocks": (0, None),
            "down_scale_factor": (1, None),
        },
        layers={
            "bert/embeddings/LayerNorm": "albert.embeddings.LayerNorm",
            "bert/encoder/embedding_hidden_mapping_in": "albert.encoder.embedding_hidden_mapping_in",
            "bert/pooler/dense": "albert.pooler",
            "cls/predictions/transform/dense": "predictions.dense",
            "cls/predictions/transform/LayerNorm": "predictions.LayerNorm",
            **{
                f"bert/encoder/transformer/group_#/inner_group_0/{part}": (
                    f"albert.encoder.albert_layer_groups.#.albert_layers.0.{today}"
                )
                for part, today in _ALBERT_BLOCK.items()
            },
        },
        whole={
            **{f"bert/embeddings/{table}": f"albert.embeddings.{table}.weight" for table in _EMBEDDINGS},
            "cls/predictions/output_bias": "predictions.bias",
            # In ALBERT this head predicts the order of sentences.
            "cls/seq_relationship/output_weights": "sop_classifier.classifier.weight",
            "cls/seq_relationship/output_bias": "sop_classifier.classifier.bias",
            **_TASKS,
        },
    ),
}
_EPSILON = 1e-12
# Variables that optimizers keep beside the weights: slots of a variable (named as in google-research optimization.py
# and lamb_optimizer.py, in TensorFlow's own Adam and in older scripts), and counters.
_SLOT = re.compile(r".*/((adam|lamb)_[mv]|(Adam|LAMB|AdamWeightDecayOptimizer|LAMBOptimizer)(_\d+)?)", re.DOTALL)
_COUNTER = re.compile(
    r"(.*/)?(global_step|beta[12]_power|loss_scale|current_loss_scale|good_steps|bad_steps)", re.DOTALL
)
# The number of a layer or a group. The 0 of "inner_group_0" is not one.
_NUMBER = re.compile(r"(?<=/layer_)(0|[1-9][0-9]*)(?=/)|(?<=/group_)(0|[1-9][0-9]*)(?=/)")
# The prefix of every name in a TF-Hub module.
_MODULE = "module/"
# The endings of a checkpoint's files. A checkpoint of version 1 is one file without an ending.
_ENDING = re.compile(r"\.index$|\.data-\d{5}-of-\d{5}$")
_OTHER_ENDING = re.compile(r"\.ckpt.*\.(meta|json|txt|gz|zip|tar|.*tempstate.*)$")
_LONGEST_NOTE = 2**16


def found(directory: Path) -> bool:
    """Says whether `directory` has a description in Google's form and some file of a checkpoint."""
    return _original(directory) is not None and bool(_prefixes(directory))


def read_config(directory: Path) -> EncoderConfig:
    """Reads the encoder that a directory describes.

    Raises:
      InputError: the description is missing or unreadable, or this package cannot express the model.
    """
    original = _known(directory)
    path = directory / original.config
    published = read_json(path)
    if "vocab_size" not in published:
        raise InputError(
            "the description has no vocab_size",
            where=str(path),
            fix="Use the description that belongs to the checkpoint.",
            code="E-CONVERT-CONFIG",
        )
    for key, allowed in original.plain.items():
        if published.get(key) not in allowed:
            raise InputError(
                f"{key} is {published[key]!r}, which is not supported",
                where=str(path),
                fix=f"Only models with {key} {allowed[0]!r} can be loaded.",
                code="E-CONVERT-CONFIG",
            )
    act = published.get("hidden_act", "gelu")
    act = "gelu_new" if isinstance(act, str) and act.lower() == "gelu" else act
    return original.from_published(
        {**original.defaults, **published, "hidden_act": act, "layer_norm_eps": _EPSILON}, str(path)
    )


def task_of(tensors: Tensors) -> str | None:
    """Returns the head of the task that a checkpoint was trained for by one of Google's scripts.

    Args:
      tensors: by today's names.
    """
    return next((task for name, task in _TASK_OF.items() if name in tensors), None)


def open_tensors(directory: Path, stack: ExitStack) -> dict[str, Tensor]:
    """Opens the weights of a directory's checkpoint under today's names, without the variables of an optimizer.

    A variable that no table knows keeps its name, so that a later error can name it.

    Raises:
      InputError: there are several checkpoints, or the checkpoint is damaged or in another format.
    """
    original, prefix = _known(directory), _prefix(directory)
    tensors: dict[str, Tensor] = {}
    for variable, tensor in open_bundle(prefix, stack).items():
        if _SLOT.fullmatch(variable) or _COUNTER.fullmatch(variable):
            continue
        name, transposed = _today(variable.removeprefix(_MODULE), original)
        if name in tensors:
            raise InputError(
                f"the variable {variable!r} and another one both have the name {name!r}",
                where=str(prefix),
                fix="Remove one of them.",
                code="E-CONVERT-DUPLICATE",
            )
        if transposed and len(tensor.shape) != 2:
            raise InputError(
                f"the variable {variable!r} has shape {list(tensor.shape)}, but a kernel must be a matrix",
                where=str(prefix),
                fix="Give a checkpoint of Google's BERT or ALBERT.",
                code="E-CONVERT-SHAPE",
            )
        tensors[name] = tensor.transposed() if transposed else tensor
    return tensors


def _today(variable: str, original: _Original) -> tuple[str, bool]:
    """Returns (today's name of a variable, whether it must be transposed)."""
    if variable in original.whole:
        return original.whole[variable], False
    place, _, last = variable.rpartition("/")
    number = _NUMBER.search(place)
    layer = original.layers.get(_NUMBER.sub("#", place, count=1))
    if layer is None or last not in _LAST:
        return variable, False
    return f"{layer.replace('#', number[0] if number else '')}.{_LAST[last]}", last == "kernel"


def _original(directory: Path) -> _Original | None:
    return next((one for one in _ORIGINALS.values() if (directory / one.config).is_file()), None)


def _known(directory: Path) -> _Original:
    original = _original(directory)
    if original is None:
        raise InputError(
            f"the directory has no {' or '.join(one.config for one in _ORIGINALS.values())}",
            where=str(directory),
            fix="Give a directory as Google publishes it, with all its files.",
            code="E-CONVERT-MISSING",
        )
    return original


def _prefixes(directory: Path) -> list[Path]:
    """Finds the checkpoints of a directory. One without an index counts only where none has an index."""
    files = [path for path in directory.glob("*.ckpt*") if not _OTHER_ENDING.search(path.name)]
    whole = [path for path in files if path.name.endswith(INDEX)]
    return sorted({path.with_name(_ENDING.sub("", path.name)) for path in whole or files})


def _prefix(directory: Path) -> Path:
    """Returns the only checkpoint, or among several the one that TensorFlow's file `checkpoint` names."""
    prefixes = _prefixes(directory)
    if len(prefixes) == 1:
        return prefixes[0]
    name = _noted(directory / "checkpoint")
    for prefix in prefixes:
        if prefix.name == name:
            return prefix
    if not prefixes:
        raise InputError(
            "the directory has no checkpoint",
            where=str(directory),
            fix="Copy the model again with all its files.",
            code="E-CONVERT-NO-WEIGHTS",
        )
    raise InputError(
        f"the directory has {len(prefixes)} checkpoints: {', '.join(prefix.name for prefix in prefixes)}",
        where=str(directory),
        fix="Leave only one of them there, or name one in a file `checkpoint`: "
        f'model_checkpoint_path: "{prefixes[-1].name}".',
        code="E-CONVERT-CHECKPOINTS",
    )


def _noted(path: Path) -> str | None:
    """Reads the checkpoint's name in the file `checkpoint`: the last part of a path that may be another machine's."""
    if not path.is_file() or path.stat().st_size > _LONGEST_NOTE:
        return None
    text = read_bytes(path).decode("utf-8", "replace")
    named = re.search(r'^model_checkpoint_path: *"([^"\n]*)"', text, re.MULTILINE)
    return named[1].rpartition("/")[2] if named else None
