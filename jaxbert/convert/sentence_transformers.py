"""The layout of sentence-transformers: what stands beside a published model and says how its vectors are made.

modules.json names the modules, each with a directory: the model, pooling, and often normalisation. Read in the forms of
its versions 2 to 6; written in that of version 2, which all of them open. Names of files and keys are those of
sentence-transformers 6.2.0 (base/model.py, base/modules/transformer.py, sentence_transformer/modules/pooling.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from jaxbert.errors import InputError

Pooling = Literal["mean", "cls"]

MODULES, SETTINGS, TRANSFORMER = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
_POOLING, _NORMALIZE = "1_Pooling", "2_Normalize"
# `pooling_mode` by the flag that stood for it before version 6.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_FIRST_FLAGS = 4  # Version 2.0 refuses the others.


@dataclass(frozen=True)
class Layout:
    """How a directory's vectors are made.

    Attributes:
      pooling: of the hidden states.
      normalize: vectors are divided by their lengths.
      max_length: texts are cut to so many tokens, special tokens counted; None: to what the model takes.
      lowercase: texts are lower-cased first, whatever the tokenizer does.
    """

    pooling: Pooling
    normalize: bool = False
    max_length: int | None = None
    lowercase: bool = False


def read_layout(directory: str | Path) -> Layout | None:
    """The layout that a model's directory has; None where it has none (no modules.json).

    Raises:
      InputError: damaged files, or what `jaxbert embed` does not do: modules other than these three, another pooling,
        a prompt that is put in front of every text.
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
            f"module {other[0]} is not supported", where=where, fix="Known: Transformer, Pooling, Normalize."
        )
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise InputError(
            f"modules {', '.join(kinds) or 'none'}",
            where=where,
            fix="Known: Transformer, Pooling, and Normalize after them.",
        )
    if found[0][1]:
        raise InputError(
            f"the model lies in {found[0][1]}, not beside {MODULES}", where=where, fix="Give that directory as MODEL."
        )
    settings = _json(directory / SETTINGS, dict) if (directory / SETTINGS).is_file() else {}
    default, prompts = settings.get("default_prompt_name"), settings.get("prompts")
    if isinstance(prompts, dict) and isinstance(default, str) and prompts.get(default):
        raise InputError(
            f"a prompt is put in front of every text ({default!r}), which is not supported",
            where=str(directory / SETTINGS),
            fix="Put it into the texts, and set default_prompt_name to null.",
        )
    # Each model class had a file of its own (sentence_roberta_config.json, ...).
    files = sorted(directory.glob("sentence_*_config.json"))
    transformer = _json(files[0], dict) if files else {}
    return Layout(
        pooling=_pooling(directory / found[1][1] / "config.json"),
        normalize="Normalize" in kinds,
        max_length=_max_length(directory, transformer),
        lowercase=bool(transformer.get("do_lower_case", False)),
    )


def write_layout(directory: str | Path, layout: Layout, hidden_size: int) -> None:
    """Adds the layout to a Hugging Face directory, so that `SentenceTransformer(directory)` opens it.

    Args:
      directory: with config.json, model.safetensors and the tokenizer's files.
      layout: what `read_layout` will give.
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
        # Version 2 reads nothing there, and version 6 only this.
        files[f"{_NORMALIZE}/config.json"] = {}
    (directory / _POOLING).mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _module(module: Any, where: str) -> tuple[str, str]:
    """(class, directory) of a module."""
    kind, path = (module.get(key) for key in ("type", "path")) if isinstance(module, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(path, str):
        raise InputError("a module without type and path", where=where, fix="Copy the model again.")
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise InputError(f"a module outside the directory: {path!r}", where=where, fix="Copy the model again.")
    return kind.rpartition(".")[2], path


def _pooling(path: Path) -> Pooling:
    config = _json(path, dict)
    modes = config.get("pooling_mode", [mode for flag, mode in _FLAGS.items() if config.get(flag)] or ["mean"])
    modes = modes if isinstance(modes, list) else [modes]
    for known in get_args(Pooling):
        if modes == [known]:
            return known  # type: ignore[no-any-return]
    raise InputError(
        f"pooling {' + '.join(map(str, modes))} is not supported",
        where=str(path),
        fix=f"Known: {', '.join(get_args(Pooling))}.",
    )


def _max_length(directory: Path, transformer: Mapping[str, Any]) -> int | None:
    """From the transformer's settings; since version 6 from the tokenizer's."""
    found = transformer.get("max_seq_length")
    if found is None and (directory / "tokenizer_config.json").is_file():
        found = _json(directory / "tokenizer_config.json", dict).get("model_max_length")
    return found if isinstance(found, int) and found < 10**9 else None


def _json(path: Path, kind: type[Any]) -> Any:
    """What a JSON file says; InputError where it is not a `kind`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"unreadable: {error}", where=str(path), fix="Copy the model again.") from None
    if not isinstance(value, kind):
        raise InputError(
            f"a JSON {type(value).__name__} where a {kind.__name__} is due",
            where=str(path),
            fix="Copy the model again.",
        )
    return value
