"""Published models of any format: what their directory says they are, and their parameters.

A directory has a description (config.json; of Google's originals bert_config.json or albert_config.json) and tensors in
one of the formats of `FORMATS`, the first that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxbert.config import EncoderBase
from jaxbert.convert import flax_msgpack, google, safetensors_files, torch_bin
from jaxbert.convert.names import import_params
from jaxbert.convert.tensors import FLOATS, Tensor, read_json
from jaxbert.core.parameters import Params
from jaxbert.errors import InputError
from jaxbert.models.families import FAMILIES
from jaxbert.models.families.family import Family

CONFIG = "config.json"
# Heads whose classes have names.
NAMED = ("sequence_classification", "token_classification")


@dataclass(frozen=True)
class Format:
    """A way in which tensors are kept.

    Attributes:
      name: for people.
      files: patterns of its files' names.
      found: whether a directory has it.
      open_tensors: (directory, stack) -> its tensors under today's published names.
    """

    name: str
    files: tuple[str, ...]
    found: Callable[[Path], bool]
    open_tensors: Callable[[Path, ExitStack], dict[str, Tensor]]


# In the order in which they are looked for: what needs no other library, and no trust, first.
FORMATS: tuple[Format, ...] = (
    Format(
        "safetensors",
        ("model*.safetensors", safetensors_files.INDEX),
        safetensors_files.found,
        safetensors_files.open_tensors,
    ),
    Format(
        "flax msgpack",
        ("flax_model*.msgpack", "flax_model.msgpack.index.json"),
        flax_msgpack.found,
        flax_msgpack.open_tensors,
    ),
    Format(
        "torch pickle",
        ("pytorch_model*.bin", "pytorch_model.bin.index.json"),
        torch_bin.found,
        torch_bin.open_tensors,
    ),
    Format("TF1 checkpoint", ("*.ckpt*", "checkpoint"), google.found, google.open_tensors),
)


@dataclass(frozen=True)
class Labels:
    """What a classifier's classes are called.

    Attributes:
      names: by class.
      problem_type: transformers' word for what the scores mean, where the file has one
        ("single_label_classification", "multi_label_classification", "regression").
    """

    names: tuple[str, ...]
    problem_type: str = ""


@dataclass(frozen=True)
class Description:
    """What a directory says of its model.

    Attributes:
      config: the encoder.
      task: the head that its class has beside the pretraining ones, if any.
      labels: of the classes, where it names them.
    """

    config: EncoderBase
    task: str | None = None
    labels: Labels | None = None


@dataclass(frozen=True)
class Published:
    """A published model in memory.

    Attributes:
      config: the encoder.
      params: float32 numpy arrays: "encoder", and one entry for each head that the files hold.
      labels: of a classifier, where the files name them.
      dtype: of the files' floats; float32 where there are several, or float64.
      format: `Format.name`.
    """

    config: EncoderBase
    params: Params
    labels: Labels | None = None
    dtype: str = "float32"
    format: str = field(default="", compare=False)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads."""
        return tuple(part for part in self.params if part != "encoder")


def is_published(directory: Path) -> bool:
    """Whether `directory` describes a published model, of whatever state."""
    return (directory / CONFIG).is_file() or google.found(directory)


def describe(directory: Path) -> Description:
    """What a directory says of its model; no tensor is read.

    Google's description counts where the weights are Google's, though a config.json lies beside them: what is "gelu" to
    one is another formula to the other.

    Raises:
      InputError: no such directory, no readable description, or a model that no family here can express.
    """
    if google.found(directory) and not any(form.found(directory) for form in FORMATS[:-1]):
        return Description(google.read_config(directory))
    where = str(directory / CONFIG)
    published = read_json(directory / CONFIG)
    architecture = _architecture(published, where)
    kind = published.get("model_type")
    if kind is None:  # files of 2019 name only the class, as "BertForMaskedLM", or, as the first BERTs, not even that
        kind = architecture.split("For")[0].removesuffix("Model").lower() or "bert"
    for family in FAMILIES.values():
        if family.model_type == kind:
            config = family.from_published(published, where)
            return Description(config, _task(family, architecture), _labels(published, where))
    raise InputError(
        f"model_type {kind!r} is none that can be loaded",
        where=where,
        fix=f"Known: {', '.join(dict.fromkeys(family.model_type for family in FAMILIES.values()))}.",
    )


def _architecture(published: Mapping[str, Any], where: str) -> str:
    classes = published.get("architectures") or [""]
    if not isinstance(classes, list) or not isinstance(classes[0], str):
        raise InputError(f"architectures is {classes!r}", where=where, fix="Check the config.")
    return classes[0].removeprefix("Flax").removeprefix("TF")


def _task(family: Family, architecture: str) -> str | None:
    return next((head for head, task in family.tasks.items() if task.architecture == architecture), None)


def _labels(published: Mapping[str, Any], where: str) -> Labels | None:
    names = published.get("id2label")
    if names is None:
        return None
    problem = published.get("problem_type") or ""
    right = isinstance(names, dict) and all(isinstance(name, str) for name in names.values())
    if not right or sorted(names) != sorted(map(str, range(len(names)))) or not isinstance(problem, str):
        raise InputError("id2label does not name classes 0, 1, ...", where=where, fix="Check the config.")
    return Labels(tuple(names[str(index)] for index in range(len(names))), problem)


def read_model(directory: str | Path, *, drop: Sequence[str] = (), note: Any = None) -> Published:
    """Reads a published model.

    Args:
      directory: its directory.
      drop: shell patterns of tensor names that are to be left out.
      note: takes a line about anything that is in the files and not in the model.

    Raises:
      InputError: see `describe` and `names.import_params`; or damaged, missing or untrustworthy weights.
    """
    directory = Path(directory)
    about = describe(directory)
    with ExitStack() as stack:
        form = _format(directory)
        tensors = form.open_tensors(directory, stack)
        where = str(directory)
        # Google's files do not name a class: the head tells the task.
        task = about.task or (google.task_of(tensors) if form.open_tensors is google.open_tensors else None)
        params, heads = import_params(tensors, about.config, where, task=task, drop=drop)
        widths = [FLOATS.index(tensor.dtype) for tensor in tensors.values() if tensor.dtype in FLOATS]
        dtype = FLOATS[max(widths)] if len(set(widths)) == 1 else "float32"
    labels = about.labels if set(heads) & set(NAMED) else None
    _check_labels(labels, params, heads, where)
    return Published(about.config, params, labels, "float32" if dtype == "float64" else dtype, form.name)


def _check_labels(labels: Labels | None, params: Params, heads: Sequence[str], where: str) -> None:
    for head in set(heads) & set(NAMED):
        classes = params[head]["dense"]["kernel"].shape[-1]
        if labels is not None and len(labels.names) != classes:
            raise InputError(
                f"id2label names {len(labels.names)} classes, the classifier has {classes}",
                where=where,
                fix="Give the config.json that belongs to this file.",
            )


def _format(directory: Path) -> Format:
    for form in FORMATS:
        if form.found(directory):
            return form
    raise InputError(
        f"has no weights ({safetensors_files.WEIGHTS}, {flax_msgpack.WEIGHTS} or {torch_bin.WEIGHTS})",
        where=str(directory),
        fix="Give a model's directory, copied whole.",
    )
