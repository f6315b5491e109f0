"""The files of sentence-transformers, which say how a model turns the tokens of a text into one vector.

They are beside the files of a published model. modules.json names the modules, each with a directory: the model,
pooling, and often normalisation. `read_layout` reads the files of versions 2 to 6. `write_layout` writes those of
version 2, which all of these versions open. The names of files and keys are from sentence-transformers 6.2.0
(base/model.py, base/modules/transformer.py, sentence_transformer/modules/pooling.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from jaxbert.errors import InputError
from jaxbert.inputs.values import read_json

Pooling = Literal["mean", "cls"]

MODULES, SETTINGS, TRANSFORMER = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
_POOLING, _NORMALIZE = "1_Pooling", "2_Normalize"
# All that `layout_files` may return.
LAYOUT_FILES = frozenset((MODULES, SETTINGS, TRANSFORMER, f"{_POOLING}/config.json", f"{_NORMALIZE}/config.json"))
# Flags of the versions before 6 -> the value of `pooling_mode` that replaced them.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# A text of one token, with the special tokens at its ends.
LEAST_LENGTH = 3
_FIRST_FLAGS = 4  # Version 2.0 refuses a file with any of the others.


@dataclass(frozen=True)
class SentenceLayout:
    """How to make the vector of a text.

    Attributes:
      pooling: "mean" averages the hidden states of all real tokens; "cls" takes that of the first token.
      normalize: divide each vector by its length.
      max_length: cut texts to this number of tokens, special tokens included; None cuts them to the model's limit.
      lowercase: lower-case the texts before the tokenizer sees them.
      dimension: keep only so many numbers of each vector, the first ones, after it was normalised; None keeps all.
      prompts: texts by name, which sentence-transformers puts in front of texts on request (`encode_query`).
      default_prompt: name of the prompt that it puts in front of every text; None for none.
      pools_prompt: whether the tokens of a prompt count in the pooling.
      similarity: name of the function that compares two vectors; "" where the files name none.
    """

    pooling: Pooling
    normalize: bool = False
    max_length: int | None = None
    lowercase: bool = False
    dimension: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    pools_prompt: bool = True
    similarity: str = ""


def read_layout(directory: str | Path) -> SentenceLayout | None:
    """Reads the layout in a model's directory; None where there is none (no modules.json).

    Raises:
      InputError: a file is damaged, or the layout asks for something that a `SentenceLayout` cannot say: a module other
        than these three, or another pooling.
    """
    beside = Path(directory)
    directory = _home(beside)
    if not (directory / MODULES).is_file():
        return None
    modules = _json(directory / MODULES, list)
    where = str(directory / MODULES)
    found = [_module(module, where) for module in modules]
    kinds = [kind for kind, _ in found]
    other = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if other:
        raise InputError(
            f"the module {other[0]} is not supported",
            where=where,
            fix="Known: Transformer, Pooling, Normalize.",
            code="E-CONVERT-LAYOUT",
        )
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise InputError(
            f"these modules are not supported in this order: {', '.join(kinds) or 'none'}",
            where=where,
            fix="Known: Transformer, Pooling, and optionally Normalize, in this order.",
            code="E-CONVERT-LAYOUT",
        )
    settings = _json(directory / SETTINGS, dict) if (directory / SETTINGS).is_file() else {}
    # Older versions name this file after the model's class (sentence_roberta_config.json, ...).
    files = sorted(beside.glob("sentence_*_config.json"))
    transformer = _json(files[0], dict) if files else {}
    pooling, pools_prompt = _pooling(directory / found[1][1] / "config.json")
    return SentenceLayout(
        pooling=pooling,
        normalize="Normalize" in kinds,
        max_length=_max_length(beside, transformer),
        lowercase=bool(transformer.get("do_lower_case", False)),
        pools_prompt=pools_prompt,
        **_settings(settings, str(directory / SETTINGS)),
    )


def _settings(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns the fields of a layout that `SETTINGS` has, and raises InputError where one is of a wrong type."""
    prompts = settings.get("prompts") or {}
    default, similarity = settings.get("default_prompt_name"), settings.get("similarity_fn_name") or ""
    dimension = settings.get("truncate_dim")
    # A prompt that is null is one that nobody has set.
    texts = isinstance(prompts, dict) and all(isinstance(text, (str, type(None))) for text in prompts.values())
    counts = dimension is None or (isinstance(dimension, int) and not isinstance(dimension, bool) and dimension > 0)
    if not (texts and counts and isinstance(default, (str, type(None))) and isinstance(similarity, str)):
        raise InputError(
            "prompts must be texts by name, default_prompt_name and similarity_fn_name must be text, and truncate_dim "
            "must be a number of 1 or more",
            where=where,
            fix="Correct it, or copy the model again.",
            code="E-CONVERT-UNREADABLE",
        )
    return {
        "prompts": {name: text for name, text in prompts.items() if text is not None},
        "default_prompt": default,
        "similarity": similarity,
        "dimension": dimension,
    }


def transformer_of(directory: Path) -> Path:
    """Returns the directory of the model itself: `directory`, or the one in it that modules.json names.

    Versions before 1 of sentence-transformers put the model into 0_Transformer.

    Raises:
      InputError: modules.json is damaged, or names a directory outside.
    """
    if (directory / "config.json").is_file() or not (directory / MODULES).is_file():
        return directory
    modules = _json(directory / MODULES, list)
    return directory / _module(modules[0], str(directory / MODULES))[1] if modules else directory


def _home(directory: Path) -> Path:
    """Returns the directory of modules.json: `directory`, or the one above it where that names it as the model."""
    above = directory.absolute().parent
    if (directory / MODULES).is_file() or not (above / MODULES).is_file():
        return directory
    return above if transformer_of(above) == directory.absolute() else directory


def layout_files(layout: SentenceLayout, hidden_size: int) -> dict[str, Any]:
    """Returns the JSON values of the files that say a layout, by their paths below the model's directory.

    Args:
      layout: `read_layout` will return the same value.
      hidden_size: D.
    """
    modules = [("", "Transformer"), (_POOLING, "Pooling"), *([(_NORMALIZE, "Normalize")] if layout.normalize else [])]
    return {
        MODULES: [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(modules)
        ],
        f"{_POOLING}/config.json": {
            "word_embedding_dimension": hidden_size,
            **{flag: mode == layout.pooling for flag, mode in list(_FLAGS.items())[:_FIRST_FLAGS]},
            # Version 2 refuses a key that it does not know, so the default is left out.
            **({} if layout.pools_prompt else {"include_prompt": False}),
        },
        TRANSFORMER: {"max_seq_length": layout.max_length, "do_lower_case": layout.lowercase},
        SETTINGS: {
            "__version__": {"sentence_transformers": "2.0.0"},
            "prompts": dict(layout.prompts),
            "default_prompt_name": layout.default_prompt,
            **({"similarity_fn_name": layout.similarity} if layout.similarity else {}),
            **({"truncate_dim": layout.dimension} if layout.dimension is not None else {}),
        },
        # Version 6 opens this file; version 2 reads nothing from this directory.
        **({f"{_NORMALIZE}/config.json": {}} if layout.normalize else {}),
    }


def write_layout(directory: str | Path, layout: SentenceLayout, hidden_size: int) -> None:
    """Adds the layout to a Hugging Face directory, so that `SentenceTransformer(directory)` opens it.

    Args:
      directory: it holds config.json, model.safetensors and the tokenizer's files.
      layout: see `layout_files`.
      hidden_size: D.
    """
    for name, content in layout_files(layout, hidden_size).items():
        path = Path(directory, name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _module(module: Any, where: str) -> tuple[str, str]:
    """Returns (class, directory) of a module."""
    kind, path = (module.get(key) for key in ("type", "path")) if isinstance(module, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(path, str):
        raise InputError(
            "a module has no type or no path",
            where=where,
            fix="Copy the model again.",
            code="E-CONVERT-UNREADABLE",
        )
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise InputError(
            f"a module is outside the model's directory: {path!r}",
            where=where,
            fix="Copy the model again from its publisher.",
            code="E-CONVERT-OUTSIDE",
        )
    return kind.rpartition(".")[2], path


def _pooling(path: Path) -> tuple[Pooling, bool]:
    """Returns (the pooling, whether the tokens of a prompt count in it)."""
    config = _json(path, dict)
    modes = config.get("pooling_mode", [mode for flag, mode in _FLAGS.items() if config.get(flag)] or ["mean"])
    modes = modes if isinstance(modes, list) else [modes]
    for known in get_args(Pooling):
        if modes == [known]:
            return known, config.get("include_prompt", True) is not False
    raise InputError(
        f"the pooling {' + '.join(map(str, modes))} is not supported",
        where=str(path),
        fix=f"Known: {', '.join(get_args(Pooling))}.",
        code="E-CONVERT-LAYOUT",
    )


def _max_length(directory: Path, transformer: Mapping[str, Any]) -> int | None:
    """Reads it from the transformer's settings; since version 6 it is among the tokenizer's."""
    found, file = transformer.get("max_seq_length"), TRANSFORMER
    if found is None and (directory / "tokenizer_config.json").is_file():
        file = "tokenizer_config.json"
        found = _json(directory / file, dict).get("model_max_length")
    if not isinstance(found, int) or found >= 10**9:
        return None
    check_length(found, str(directory / file))
    return found


def check_length(length: int, where: str) -> None:
    """Raises InputError where a text of so many tokens has no room for special tokens and one more."""
    if length < LEAST_LENGTH:
        raise InputError(
            f"the longest text is {length} tokens, but {LEAST_LENGTH} is the least",
            where=where,
            fix=f"Give {LEAST_LENGTH} or more; special tokens count.",
            code="E-CONVERT-LENGTH",
        )


def _json(path: Path, kind: type[Any]) -> Any:
    """Reads a JSON file, and raises InputError where its value is not a `kind`."""
    fix = "Copy the model again."
    try:
        return read_json(path, "the file cannot be used", fix=fix, code="E-CONVERT-UNREADABLE", shape=kind)
    except OSError as error:
        raise InputError(
            f"the file cannot be used: {error}", where=str(path), fix=fix, code="E-CONVERT-UNREADABLE"
        ) from None
