"""The files of sentence-transformers, which say how a model turns the tokens of a text into one vector.

They are beside the files of a published model. modules.json names the modules, each with a directory: the model,
pooling, and often normalisation. `read_layout` reads the files of versions 2 to 6. `write_layout` writes those of
version 2, which all of these versions open. The names of files and keys are from sentence-transformers 6.2.0
(base/model.py, base/modules/transformer.py, sentence_transformer/modules/pooling.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from jaxbert.errors import InputError
from jaxbert.inputs.values import read_json

Pooling = Literal["mean", "cls"]

MODULES, SETTINGS, TRANSFORMER = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
_POOLING, _NORMALIZE = "1_Pooling", "2_Normalize"
# Flags of the versions before 6 -> the value of `pooling_mode` that replaced them.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_FIRST_FLAGS = 4  # Version 2.0 refuses a file with any of the others.


@dataclass(frozen=True)
class SentenceLayout:
    """How to make the vector of a text.

    Attributes:
      pooling: "mean" averages the hidden states of all real tokens; "cls" takes that of the first token.
      normalize: divide each vector by its length.
      max_length: cut texts to this number of tokens, special tokens included; None cuts them to the model's limit.
      lowercase: lower-case the texts before the tokenizer sees them.
    """

    pooling: Pooling
    normalize: bool = False
    max_length: int | None = None
    lowercase: bool = False


def read_layout(directory: str | Path) -> SentenceLayout | None:
    """Reads the layout in a model's directory; None where there is none (no modules.json).

    Raises:
      InputError: a file is damaged, or the layout asks for something that `jaxbert embed` does not do: a module other
        than these three, another pooling, or a prompt in front of every text.
    """
    directory = Path(directory)
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
    if found[0][1]:
        raise InputError(
            f"the model is in the directory {found[0][1]}, not beside {MODULES}",
            where=where,
            fix="Give that directory as MODEL.",
            code="E-CONVERT-LAYOUT",
        )
    settings = _json(directory / SETTINGS, dict) if (directory / SETTINGS).is_file() else {}
    default, prompts = settings.get("default_prompt_name"), settings.get("prompts")
    if isinstance(prompts, dict) and isinstance(default, str) and prompts.get(default):
        raise InputError(
            f"the layout puts the prompt {default!r} in front of every text, which is not supported",
            where=str(directory / SETTINGS),
            fix="Put it into the texts, and set default_prompt_name to null.",
            code="E-CONVERT-LAYOUT",
        )
    # Older versions name this file after the model's class (sentence_roberta_config.json, ...).
    files = sorted(directory.glob("sentence_*_config.json"))
    transformer = _json(files[0], dict) if files else {}
    return SentenceLayout(
        pooling=_pooling(directory / found[1][1] / "config.json"),
        normalize="Normalize" in kinds,
        max_length=_max_length(directory, transformer),
        lowercase=bool(transformer.get("do_lower_case", False)),
    )


def write_layout(directory: str | Path, layout: SentenceLayout, hidden_size: int) -> None:
    """Adds the layout to a Hugging Face directory, so that `SentenceTransformer(directory)` opens it.

    Args:
      directory: it holds config.json, model.safetensors and the tokenizer's files.
      layout: `read_layout` will return the same value.
      hidden_size: D.
    """
    directory = Path(directory)
    modules = [("", "Transformer"), (_POOLING, "Pooling"), *([(_NORMALIZE, "Normalize")] if layout.normalize else [])]
    files: dict[str, Any] = {
        MODULES: [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(modules)
        ],
        f"{_POOLING}/config.json": {
            "word_embedding_dimension": hidden_size,
            **{flag: mode == layout.pooling for flag, mode in list(_FLAGS.items())[:_FIRST_FLAGS]},
        },
        TRANSFORMER: {"max_seq_length": layout.max_length, "do_lower_case": layout.lowercase},
        SETTINGS: {"__version__": {"sentence_transformers": "2.0.0"}, "prompts": {}, "default_prompt_name": None},
    }
    if layout.normalize:
        (directory / _NORMALIZE).mkdir(exist_ok=True)
        # Version 6 opens this file; version 2 reads nothing from this directory.
        files[f"{_NORMALIZE}/config.json"] = {}
    (directory / _POOLING).mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


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


def _pooling(path: Path) -> Pooling:
    config = _json(path, dict)
    modes = config.get("pooling_mode", [mode for flag, mode in _FLAGS.items() if config.get(flag)] or ["mean"])
    modes = modes if isinstance(modes, list) else [modes]
    for known in get_args(Pooling):
        if modes == [known]:
            return known  # type: ignore[no-any-return]
    raise InputError(
        f"the pooling {' + '.join(map(str, modes))} is not supported",
        where=str(path),
        fix=f"Known: {', '.join(get_args(Pooling))}.",
        code="E-CONVERT-LAYOUT",
    )


def _max_length(directory: Path, transformer: Mapping[str, Any]) -> int | None:
    """Reads it from the transformer's settings; since version 6 it is among the tokenizer's."""
    found = transformer.get("max_seq_length")
    if found is None and (directory / "tokenizer_config.json").is_file():
        found = _json(directory / "tokenizer_config.json", dict).get("model_max_length")
    return found if isinstance(found, int) and found < 10**9 else None


def _json(path: Path, kind: type[Any]) -> Any:
    """Reads a JSON file, and raises InputError where its value is not a `kind`."""
    fix = "Copy the model again."
    try:
        return read_json(path, "the file cannot be used", fix=fix, code="E-CONVERT-UNREADABLE", shape=kind)
    except OSError as error:
        raise InputError(
            f"the file cannot be used: {error}", where=str(path), fix=fix, code="E-CONVERT-UNREADABLE"
        ) from None
