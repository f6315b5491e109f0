"""Finishes a run on its user's text: evaluates it beside tables of counts, exports it, and draws its report.

It then says what to type next.

Each part is made once for the step that `MODEL=WORKDIR` names. A command that is repeated makes what is missing, so a
kill between two parts loses nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from jaxbert.core.shell import path_word, word
from jaxbert.errors import InputError, Stopped
from jaxbert.evaluate.baselines import SAME_INPUT
from jaxbert.evaluate.evaluation import evaluate, lines
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import is_number, parse
from jaxbert.observe.lines import JsonLines
from jaxbert.report.page import write_report
from jaxbert.report.read import is_prediction
from jaxbert.stores.files import full_disk, write_whole
from jaxbert.stores.steps import default_step
from jaxbert.stores.workdir import EVALUATION, EXPORT, PAGE, PNG, PREDICTIONS
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.library import load

_log = logging.getLogger(__name__)

_Made = TypeVar("_Made")
# Sentences whose predictions are shown.
_SHOWN = 3


def finish(workdir: Path | str, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Evaluates, exports and draws a run that has ended, and says what to type next.

    A part that cannot be made is said, and the others are made: the training is done in any case.

    Args:
      workdir: the run's directory.
      say: the function that gets each line.

    Returns:
      The figures: `evaluation`, as `jaxbert evaluate --baselines` gives them, and `files`, the paths that were written.

    Raises:
      Interrupted: the disk is full; the same call makes what is missing.
    """
    workdir = Path(workdir)
    parts = _Parts(workdir, say)
    with full_disk(workdir, "Make room, and repeat the same command: it makes what is missing."):
        evaluation = parts.tried("it was not evaluated", parts.evaluation)
        exported = parts.tried("it was not written for transformers", parts.export)
        pages = parts.tried("the report was not drawn", parts.page)
    made = [workdir / EVALUATION] if evaluation is not None else []
    made += [*([exported] if exported is not None else []), *(pages or ())]
    for line in parts.ending(exported is not None, pages is not None):
        say(line)
    return {"evaluation": evaluation, "files": [str(path) for path in made]}


class _Parts:
    """The parts of the end of a run.

    Args:
      workdir: the run's directory.
      say: the function that gets each line.
    """

    def __init__(self, workdir: Path, say: Callable[[str], None]):
        self.workdir, self._say = workdir, say
        self.step = default_step(workdir)

    def tried(self, failed: str, make: Callable[[], _Made]) -> _Made | None:
        """Returns what `make` returns. None: it cannot be made, and a line has said why."""
        try:
            return make()
        except (InputError, Stopped) as error:
            _log.warning("the model is trained, but %s: %s", failed, error)
            return None

    def evaluation(self) -> dict[str, Any]:
        """Returns the figures of WORKDIR/evaluation.json, which it makes unless they are of this step."""
        path = self.workdir / EVALUATION
        found = _read(path)
        told = _told(found) if found.get("step") == self.step and "baselines" in found else None
        if told is None:
            found = {**evaluate(str(self.workdir), baselines=True), "step": self.step}
            write_whole(path, json.dumps(found, indent=1) + "\n")
            told = [*lines(found), *_below_counts(found)]
        self._say("")
        for line in [*told, *self._predicted()]:
            self._say(line)
        return found

    def export(self) -> Path:
        """Returns WORKDIR/hf, the model for transformers, which it writes unless it is of this step."""
        path = self.workdir / EXPORT
        if _read(path / "receipt.json").get("step") != self.step:
            load(self.workdir).save(path, overwrite=path.exists())
        return path

    def page(self) -> list[Path]:
        """Returns the paths of the report and of its picture."""
        return write_report([self.workdir])

    def ending(self, exported: bool, drawn: bool) -> list[str]:
        """Returns the lines that say where everything is, and what to type next."""
        place = path_word(self.workdir)
        holds = []
        if drawn:
            holds.append((f"{PAGE}, {PNG}", "curves, figures and the model itself: open the page in a browser"))
        if exported:
            holds.append((f"{EXPORT}/", "the model for transformers, with its tokenizer and a card"))
        holds += [
            ("checkpoints/, tokenizer/", "the model for jaxbert; config.json has the config"),
            ("data/", "records and rows made from the text"),
            ("metrics.jsonl", "what was computed; telemetry.jsonl: clocks, memory, energy"),
        ]

        def beside(name: str) -> str:
            return path_word(f"{self.workdir}-{name}")

        example = self._example()
        following = [f"jaxbert fill-mask {place} {word(example)}"]
        if exported:
            opened = self.workdir / EXPORT
            program = f"from transformers import pipeline; print(pipeline('fill-mask', {str(opened)!r})({example!r}))"
            if not all(map(find_spec, ("torch", "transformers"))):
                following.append("pip install torch transformers")
            following.append(f"python -c {_quoted(program)}")
        following += [
            f"jaxbert report {place}",
            f"jaxbert convert {place} {beside('vectors')} --to sentence-transformers",
            f"jaxbert pretrain adapt --init {place} --text MORE_TEXT --workdir {beside('more')}",
        ]
        return [
            "",
            f"Everything is in {self.workdir}:",
            *(f"  {name:<26}{what}" for name, what in holds),
            "Next:",
            *(f"  {line}" for line in following),
        ]

    def _samples(self) -> list[dict[str, Any]]:
        """Returns the lines of predictions.jsonl at the step of the model, or else at the last step that has some."""
        found = [line for line in JsonLines.read(self.workdir / PREDICTIONS) if is_prediction(line)]
        steps = {line.get("step") for line in found}
        step = self.step if self.step in steps else max((s for s in steps if isinstance(s, int)), default=None)
        return list({line["sentence"]: line for line in found if line.get("step") == step}.values())

    def _predicted(self) -> list[str]:
        """Returns lines about the words that the model put into sentences of the validation text."""
        told = []
        for line in self._samples()[:_SHOWN]:
            words = ", ".join(f"{word} {share:.0%}" for word, share in line["words"][:3])
            truth = f"   (the text has: {line['truth']})" if "truth" in line else ""
            told += ["", line["sentence"], f"    {words}{truth}"]
        return told

    def _example(self) -> str:
        """Returns a text with a mask, for the commands to type next: the sentence that the model knows best."""
        found = self._samples()
        if found:
            best = max(found, key=lambda line: line["probability"] if is_number(line.get("probability")) else 0.0)
            return str(best["sentence"])
        return f"The {Tokenizer.load(self.workdir / 'tokenizer').specials.mask}."


def _told(found: Mapping[str, Any]) -> list[str] | None:
    """Returns the lines about an evaluation that was read from a file; None where the file is edited or damaged."""
    try:
        return [*lines(found), *_below_counts(found)]
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _below_counts(found: Mapping[str, Any]) -> list[str]:
    """Returns a line where the best table of counts with the model's input guesses more than the model; else none."""
    tables = {name: share for name, share in found.get("baselines", {}).items() if SAME_INPUT in name}
    if not tables or found.get("masked_lm_accuracy", 1.0) >= max(tables.values()):
        return []
    return [
        "look at: the model guesses fewer masked tokens than counting with the same input does. More steps help first: "
        "train again in another --workdir, with more --minutes where CONFIG is auto, else with four times the steps: "
        "--set scale.steps=4. Then more text helps."
    ]


def _read(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file; an empty one where there is none."""
    try:
        found = parse(read_bytes(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _quoted(text: str) -> str:
    """Returns a text as one word of a shell, in double quotes where these change nothing: it has single ones."""
    return word(text) if set(text) & set('"$`\\!') else f'"{text}"'
