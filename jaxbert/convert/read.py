"""Reads published models in any format: the description in their directory, and their parameters.

A directory has a description and tensors. The tensors are in one of the formats of `FORMATS`; the first one that the
directory has is read. The description is config.json, unless the format brings its own (Google's bert_config.json).

To add a format, write one file with two functions and add one entry to `FORMATS`:

    found(directory) -> bool                      whether the directory has tensors in this format
    open_tensors(directory, stack) -> tensors     by published names; `stack` closes the files it opened
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
from jaxbert.convert.tensors import FLOATS, Tensor, Tensors, read_json
from jaxbert.core.parameters import Params
from jaxbert.errors import InputError
from jaxbert.models.families import FAMILIES
from jaxbert.models.families.family import Family

CONFIG = "config.json"
# The heads whose classes may have names, in id2label of config.json.
NAMED = ("sequence_classification", "token_classification")
# Keys of config.json that change nothing here, and that transformers uses: an export keeps them. The first four are
# the dropout before a classifier, under the names of the families.
_KEPT = (
    *("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "qa_dropout"),
    *("pad_token_id", "bos_token_id", "eos_token_id"),
)


@dataclass(frozen=True)
class Format:
    """A file format for tensors.

    Attributes:
      name: the name that people read.
      files: patterns of its file names. A download from a hub fetches these.
      found: says whether a directory has tensors in this format.
      open_tensors: (directory, stack) -> its tensors under the names that transformers gives them today.
      read_config: reads the format's own description; None where config.json describes the model.
      task_of: finds the head of a task among the tensors; None where config.json names the class.
    """

    name: str
    files: tuple[str, ...]
    found: Callable[[Path], bool]
    open_tensors: Callable[[Path, ExitStack], dict[str, Tensor]]
    read_config: Callable[[Path], EncoderBase] | None = None
    task_of: Callable[[Tensors], str | None] | None = None


# The first format that a directory has is read. Formats that need no other library and no trust come first.
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
    Format(
        "TF1 checkpoint",
        ("*.ckpt*", "checkpoint"),
        google.found,
        google.open_tensors,
        read_config=google.read_config,
        task_of=google.task_of,
    ),
)


@dataclass(frozen=True)
class Labels:
    """The names of a classifier's classes.

    Attributes:
      names: one name for each class.
      problem_type: transformers' word for the meaning of the scores, where the file has one
        ("single_label_classification", "multi_label_classification", "regression").
    """

    names: tuple[str, ...]
    problem_type: str = ""


@dataclass(frozen=True)
class Description:
    """A model as its directory describes it.

    Attributes:
      config: the encoder.
      task: the head that the model's class has in addition to the pretraining heads; None where there is none.
      labels: the names of the classes, where the description has them.
      kept: see `Published`.
    """

    config: EncoderBase
    task: str | None = None
    labels: Labels | None = None
    kept: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """A published model in memory.

    Attributes:
      config: the encoder.
      params: float32 numpy arrays: "encoder", and one entry for each head that the files hold.
      labels: the names of a classifier's classes, where the files have them.
      dtype: the type of the files' floats; float32 where they are float64 or of several types.
      kept: further values of config.json, which an export keeps.
      format: `Format.name`.
    """

    config: EncoderBase
    params: Params
    labels: Labels | None = None
    dtype: str = "float32"
    kept: Mapping[str, float | None] = field(default_factory=dict)
    format: str = field(default="", compare=False)

    @property
    def heads(self) -> tuple[str, ...]:
        """Returns the names of the heads."""
        return tuple(part for part in self.params if part != "encoder")


def is_published(directory: Path) -> bool:
    """Says whether `directory` describes a published model. The model may still turn out to be damaged."""
    return (directory / CONFIG).is_file() or any(form.read_config and form.found(directory) for form in FORMATS)


def describe(directory: Path) -> Description:
    """Reads the description of a model, and no tensor.

    Google's weights go by Google's own description, even where a config.json is beside it: the two mean different
    formulas by "gelu".

    Raises:
      InputError: the directory does not exist, has no readable description, or describes a model that no family here
        can express.
    """
    form = _found(directory)
    if form is not None and form.read_config is not None:
        return Description(form.read_config(directory))
    where = str(directory / CONFIG)
    published = read_json(directory / CONFIG)
    architecture = _architecture(published, where)
    kind = published.get("model_type")
    if kind is None:  # files of 2019 name only the class ("BertForMaskedLM"), and the first BERTs name nothing
        kind = architecture.split("For")[0].removesuffix("Model").lower() or "bert"
    for family in FAMILIES.values():
        if family.model_type == kind:
            config = family.from_published(published, where)
            task = _task(family, architecture)
            return Description(config, task, _labels(published, task, where), _kept(published))
    raise InputError(
        f"no family here reads the model_type {kind!r}",
        where=where,
        fix=f"Known: {', '.join(dict.fromkeys(family.model_type for family in FAMILIES.values()))}.",
        code="E-CONVERT-FAMILY",
    )


def _architecture(published: Mapping[str, Any], where: str) -> str:
    classes = published.get("architectures") or [""]
    if not isinstance(classes, list) or not isinstance(classes[0], str):
        raise InputError(
            f"architectures must be a list of class names, and is {classes!r}",
            where=where,
            fix="Correct it, or copy the config again.",
            code="E-CONVERT-CONFIG",
        )
    return classes[0].removeprefix("Flax").removeprefix("TF")


def _task(family: Family, architecture: str) -> str | None:
    return next((head for head, task in family.tasks.items() if task.architecture == architecture), None)


def _kept(published: Mapping[str, Any]) -> dict[str, float | None]:
    """Returns the values of `_KEPT` that are numbers or null."""
    return {
        key: published[key]
        for key in _KEPT
        if key in published and (published[key] is None or type(published[key]) in (int, float))
    }


def _labels(published: Mapping[str, Any], task: str | None, where: str) -> Labels | None:
    """Returns the names of the classes, or None. Only a class with a classifier (`task`) must have usable names."""
    names = published.get("id2label")
    if names is None:
        return None
    problem = published.get("problem_type") or ""
    right = isinstance(names, dict) and all(isinstance(name, str | int | float) for name in names.values())
    if not right or sorted(names) != sorted(map(str, range(len(names)))) or not isinstance(problem, str):
        if task not in NAMED and isinstance(names, dict):
            return None
        raise InputError(
            "id2label must name the classes 0, 1, ... in text, and problem_type must be text",
            where=where,
            fix="Correct it, or copy the config again.",
            code="E-CONVERT-LABELS",
        )
    return Labels(tuple(str(names[str(index)]) for index in range(len(names))), problem)


def read_model(directory: str | Path, *, drop: Sequence[str] = ()) -> Published:
    """Reads a published model. Tensors that are in the files and not in the model are reported through `logging`.

    Args:
      directory: the model's directory.
      drop: shell patterns of the names of tensors to leave out.

    Raises:
      InputError: see `describe` and `names.import_params`; or the weights are missing, damaged or not to be trusted.
    """
    directory = Path(directory)
    about = describe(directory)
    with ExitStack() as stack:
        form = _format(directory)
        tensors = form.open_tensors(directory, stack)
        where = str(directory)
        task = about.task or (None if form.task_of is None else form.task_of(tensors))
        params, heads = import_params(tensors, about.config, where, task=task, drop=drop)
        widths = [FLOATS.index(tensor.dtype) for tensor in tensors.values() if tensor.dtype in FLOATS]
        dtype = FLOATS[max(widths)] if len(set(widths)) == 1 else "float32"
    labels = about.labels if set(heads) & set(NAMED) else None
    _check_labels(labels, params, heads, where)
    dtype = "float32" if dtype == "float64" else dtype
    return Published(about.config, params, labels, dtype, about.kept, form.name)


def _check_labels(labels: Labels | None, params: Params, heads: Sequence[str], where: str) -> None:
    for head in set(heads) & set(NAMED):
        classes = params[head]["dense"]["kernel"].shape[-1]
        if labels is not None and len(labels.names) != classes:
            raise InputError(
                f"id2label names {len(labels.names)} classes, but the classifier has {classes}",
                where=where,
                fix="Use the config.json that belongs to these weights.",
                code="E-CONVERT-LABELS",
            )


def _found(directory: Path) -> Format | None:
    return next((form for form in FORMATS if form.found(directory)), None)


def _format(directory: Path) -> Format:
    form = _found(directory)
    if form is None:
        raise InputError(
            f"the directory has no weights in any known format ({', '.join(form.files[0] for form in FORMATS)})",
            where=str(directory),
            fix="Give a model's directory with all its files.",
            code="E-CONVERT-NO-WEIGHTS",
        )
    return form
