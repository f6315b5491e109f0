"""Google's originals: a TF1 checkpoint of BERT or ALBERT beside bert_config.json or albert_config.json.

Names are those of google-research/bert modeling.py, run_pretraining.py, run_classifier.py and run_squad.py, and of
google-research/albert. Their "gelu" is the tanh formula, and their LayerNorm has an epsilon of 1e-12.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from jaxbert.config import EncoderConfig
from jaxbert.convert.tensors import Tensor, read_json
from jaxbert.convert.tf1 import open_bundle
from jaxbert.errors import InputError
from jaxbert.models.families import albert, bert

_CONFIGS: Mapping[str, str] = {"bert": "bert_config.json", "albert": "albert_config.json"}
_EPSILON = 1e-12

# What optimizers keep beside the weights; the step.
_NOT_WEIGHTS = re.compile(
    r"(^|.*/)(adam_m|adam_v|lamb_m|lamb_v|LAMB(_\d+)?|Adam(_\d+)?|AdamWeightDecayOptimizer(_\d+)?)$"
    r"|^(global_step|beta[12]_power|bad_steps|current_loss_scale|good_steps|loss_scale|.*/(beta[12]_power))$"
)
# Family -> rules that turn a Google name into today's, applied in order.
_COMMON = (
    (r"^output_(weights|bias)$", r"classifier/output_\1"),  # run_classifier.py
    (r"^cls/squad/output_", "qa_outputs/output_"),
    (r"/(query|key|value|dense|output|embedding_hidden_mapping_in)/kernel$", r"/\1/weight^T"),
    (r"LayerNorm/gamma$", "LayerNorm/weight"),
    (r"LayerNorm/beta$", "LayerNorm/bias"),
    (r"_embeddings$", "_embeddings/weight"),
)
_RULES: Mapping[str, Sequence[tuple[str, str]]] = {
    "bert": (
        (r"/layer_(\d+)/", r"/layer/\1/"),
        (r"^cls/predictions/output_bias$", "cls/predictions/bias"),
        *_COMMON,
        (r"/output_weights$", "/weight"),
        (r"/output_bias$", "/bias"),
    ),
    "albert": (
        (
            r"^bert/encoder/transformer/group_(\d+)/inner_group_0/",
            r"bert/encoder/albert_layer_groups/\1/albert_layers/0/",
        ),
        (r"/attention_1/self/(query|key|value)/", r"/attention/\1/"),
        (r"/attention_1/output/dense/", "/attention/dense/"),
        (r"/ffn_1/intermediate/output/dense/", "/ffn_output/"),
        (r"/ffn_1/intermediate/dense/", "/ffn/"),
        (r"/albert_layers/0/LayerNorm_1/(gamma|beta)$", r"/albert_layers/0/full_layer_layer_norm/\1"),
        (r"/albert_layers/0/LayerNorm/(gamma|beta)$", r"/albert_layers/0/attention/LayerNorm/\1"),
        (r"/full_layer_layer_norm/gamma$", "/full_layer_layer_norm/weight"),
        (r"/full_layer_layer_norm/beta$", "/full_layer_layer_norm/bias"),
        (r"/(ffn|ffn_output)/kernel$", r"/\1/weight^T"),
        (r"^bert/pooler/dense/", "bert/pooler/"),
        (r"/pooler/kernel$", "/pooler/weight^T"),
        (r"^cls/predictions/transform/", "predictions/"),
        (r"^cls/predictions/output_bias$", "predictions/bias"),
        (r"^cls/seq_relationship/", "sop_classifier/classifier/"),
        *_COMMON,
        (r"/output_weights$", "/weight"),
        (r"/output_bias$", "/bias"),
        (r"^bert/", "albert/"),
    ),
}
# What albert_config.json may say beside the shape, and what is the plain encoder.
_PLAIN = {
    "net_structure_type": (0, None),
    "gap_size": (0, None),
    "num_memory_blocks": (0, None),
    "down_scale_factor": (1, None),
}


def found(directory: Path) -> bool:
    """Whether `directory` has a description and a checkpoint of Google's."""
    return _family(directory) is not None and bool(_prefixes(directory))


def read_config(directory: Path) -> EncoderConfig:
    """The encoder that a directory describes.

    Raises:
      InputError: unreadable, or what the encoder does not compute.
    """
    family = _family(directory)
    assert family is not None
    path = directory / _CONFIGS[family]
    published = read_json(path)
    act = published.get("hidden_act", "gelu")
    published = {**published, "hidden_act": "gelu_new" if act == "gelu" else act, "layer_norm_eps": _EPSILON}
    if family == "bert":
        return bert.from_published(published, str(path))
    for key, allowed in _PLAIN.items():
        if published.get(key) not in allowed:
            raise InputError(
                f"{key} is {published[key]!r}", where=str(path), fix="Only the plain encoder can be loaded."
            )
    return albert.from_published(published, str(path))


def task_of(tensors: Mapping[str, Tensor]) -> str | None:
    """The head of Google's scripts for tasks that a checkpoint has."""
    if "classifier.weight" in tensors:
        return "sequence_classification"
    return "question_answering" if "qa_outputs.weight" in tensors else None


def open_tensors(directory: Path, stack: ExitStack) -> dict[str, Tensor]:
    """The weights of a directory's checkpoint under today's names; what an optimizer kept is left out.

    Raises:
      InputError: no checkpoint, several, or a damaged one.
    """
    family = _family(directory)
    assert family is not None
    prefix = _prefix(directory)
    tensors: dict[str, Tensor] = {}
    for name, tensor in open_bundle(prefix, stack).items():
        if _NOT_WEIGHTS.match(name):
            continue
        new = name
        for pattern, replacement in _RULES[family]:
            new = re.sub(pattern, replacement, new)
        transposed = new.endswith("^T")
        new = new.removesuffix("^T").replace("/", ".")
        if new in tensors:
            raise InputError(f"variables become {new!r} twice", where=str(prefix), fix="Report it.")
        if transposed and len(tensor.shape) != 2:
            raise InputError(
                f"variable {name!r} has shape {list(tensor.shape)}, not that of a matrix",
                where=str(prefix),
                fix="Check it.",
            )
        tensors[new] = tensor.transposed() if transposed else tensor
    return tensors


def _family(directory: Path) -> str | None:
    return next((family for family, file in _CONFIGS.items() if (directory / file).is_file()), None)


def _prefixes(directory: Path) -> list[Path]:
    return sorted(path.with_name(path.name.removesuffix(".index")) for path in directory.glob("*ckpt*.index"))


def _prefix(directory: Path) -> Path:
    """The one checkpoint; of several the one that TensorFlow's own note names."""
    prefixes = _prefixes(directory)
    if len(prefixes) == 1:
        return prefixes[0]
    note = directory / "checkpoint"
    if prefixes and note.is_file() and note.stat().st_size < 2**16:
        named = re.search(r'model_checkpoint_path: "([^"]*)"', note.read_text(encoding="utf-8", errors="replace"))
        if named is not None:
            name = named.group(1).rpartition("/")[2]
            for prefix in prefixes:
                if prefix.name == name:
                    return prefix
    names = ", ".join(prefix.name for prefix in prefixes) or "none"
    raise InputError(
        f"has {len(prefixes)} checkpoints ({names})",
        where=str(directory),
        fix="Leave one there, or a file `checkpoint` that names it.",
    )
