"""The part of a page in which a model fills masks: HTML with its script and the model."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jaxbert.config import EncoderBase, EncoderConfig, load_json
from jaxbert.errors import CommandError
from jaxbert.observe.lines import JsonLines
from jaxbert.report.browser import vocabulary, weights
from jaxbert.report.browser.reasons import LeftOut
from jaxbert.report.markup import embedded, prose
from jaxbert.stores.arrays import read_params
from jaxbert.stores.steps import default_step
from jaxbert.stores.workdir import CHECKPOINTS, METRICS, PREDICTIONS
from jaxbert.text.tokenizers import Tokenizer

# The most bytes of a model in a page, as text.
LIMIT = 8_000_000
_SCRIPTS = ("tokenizer.js", "model.js", "fill.js", "ui.js")
_EXAMPLES = 4
# Base64 writes three bytes as four characters.
_TEXT_OF_BYTES = 4 / 3
# For runs without predictions, by the language of the text; {} is the mask.
_DEFAULTS = {
    "en": "The {} of the story is long.",
    "de": "Die {} der Geschichte ist lang.",
    "fr": "La {} de l'histoire est longue.",
    "es": "La {} de la historia es larga.",
    "it": "La {} della storia è lunga.",
    "pt": "A {} da história é longa.",
    "nl": "De {} van het verhaal is lang.",
    "tr": "Hikâyenin {} çok uzun.",
    "pl": "Ta {} jest bardzo długa.",
    "ru": "Эта {} очень длинная.",
    "ar": "هذه {} طويلة جدا.",
    "hi": "यह {} बहुत लंबी है।",
    "th": "เรื่องนี้{}มาก",
    "zh": "这个{}很长。",
    "ja": "この{}はとても長い。",
    "ko": "이 {} 매우 길다.",
}


@dataclass(frozen=True)
class Block:
    """A part of a page.

    Attributes:
      html: the model with its script, or a paragraph that says why there is none.
      reason: why there is none; empty where there is one.
    """

    html: str
    reason: str = ""


def model_block(model: Path | str) -> Block:
    """Returns the part of the page for a model. It starts no device of jax for a run.

    A damaged checkpoint or another mistake in the files does not end the page: the part says it.

    Args:
      model: a run's workdir, or another MODEL as `jaxbert.load` takes it.
    """
    try:
        return Block(_block(model))
    except LeftOut as error:
        reason = str(error)
    except CommandError as error:
        reason = f"The model cannot be read: {error}"
    reason += " The command `jaxbert fill-mask` fills masks with any model."
    return Block(f'<p class="try-left-out">{prose(reason)}</p>\n', reason)


def form_of(config: EncoderBase, params: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Returns the object that the scripts read: the model, its bytes as base64, and its tokenizer.

    Raises:
      LeftOut: the scripts do not compute this model or its ids.
    """
    made = weights.write(params, config)
    return {
        "model": made.form,
        "weights": base64.b64encode(made.content).decode(),
        "tokenizer": vocabulary.write(tokenizer),
    }


def script() -> str:
    """Returns the scripts, in their order."""
    return "\n".join(files("jaxbert.report.browser").joinpath(name).read_text(encoding="utf-8") for name in _SCRIPTS)


def _block(model: Path | str) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    run = Path(model)
    if any((run / name).exists() for name in (CHECKPOINTS, METRICS)):
        name, config, params, tokenizer = _of_run(run)
    else:
        name, config, params, tokenizer = _of_model(model)
    data = embedded(form_of(config, params, tokenizer))
    size = len(data.encode())
    if size > LIMIT:
        raise LeftOut(_too_large(size))
    mask = tokenizer.token(tokenizer.mask_id)
    environment = Environment(
        loader=PackageLoader("jaxbert.report.browser", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("block.html").render(
        name=name,
        mask=mask,
        examples=_examples(run, mask),
        size=_megabytes(size),
        data=data,
        script=script(),
    )


def _of_run(workdir: Path) -> tuple[str, EncoderBase, Mapping[str, Any], Tokenizer]:
    config = load_json(workdir / "config.json")
    if config.task.name != "pretraining":
        raise LeftOut(f"The run learned the task {config.task.name}, and its model fills no masks.")
    _check_size(config.encoder)
    step = default_step(workdir)
    if step is None:
        raise LeftOut("The run has no checkpoint yet, so there is no model to try.")
    params = read_params(workdir, step)
    return f"The model of step {step:,}", config.encoder, params, Tokenizer.load(workdir / "tokenizer")


def _of_model(model: Path | str) -> tuple[str, EncoderBase, Mapping[str, Any], Tokenizer]:
    # These imports bring jax, which the workdir of a run does without.
    from jaxbert.convert.read import read_model
    from jaxbert.use.model_place import find_model

    place = find_model(model)
    if place.run:
        return _of_run(place.path)
    found = read_model(place.path)
    _check_size(found.config)
    if not Tokenizer.present(place.path):
        raise LeftOut("The model has no tokenizer.")
    return "The model", found.config, found.params, Tokenizer.load(place.path)


def _check_size(config: EncoderBase) -> None:
    """Raises LeftOut where the model is certainly too large, before it is read."""
    if isinstance(config, EncoderConfig) and (least := _TEXT_OF_BYTES * weights.size_of(config)) > LIMIT:
        raise LeftOut(_too_large(least))


def _too_large(size: float) -> str:
    takes, holds = _megabytes(size), _megabytes(LIMIT)
    return f"The model is not in this page: with int8 weights it takes {takes}, and a page holds {holds}."


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def _examples(workdir: Path, mask: str) -> Sequence[str]:
    """Returns texts with a mask: the sentences whose predictions the run logged, else one in its language."""
    lines = JsonLines.read(workdir / PREDICTIONS) if (workdir / PREDICTIONS).is_file() else []
    texts = [text for line in lines if isinstance(text := line.get("sentence"), str) and mask in text]
    if not texts:
        language = "en"
        if (workdir / "config.json").is_file():
            language = getattr(load_json(workdir / "config.json").data, "language", "en")
        texts = [_DEFAULTS.get(language[:2], _DEFAULTS["en"]).format(mask)]
    return list(dict.fromkeys(texts))[:_EXAMPLES]
