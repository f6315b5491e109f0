"""The names under which people see the numbers of a run. Imports no jax, so that reports work on any machine.

Each objective or task gives the names of its terms and metrics once. A run writes them into telemetry.jsonl, and the
log, the evaluation and the report use them from there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class TermInfo:
    """A term of the loss: its weight, and its names for people.

    Attributes:
      weight: weight of the term in the loss.
      title: name in running text: "masked LM".
      note: a sentence below the curve of its loss on a page.
    """

    weight: float
    title: str
    note: str = ""


@dataclass(frozen=True)
class Metric:
    """A number that logs, evaluations and pages show.

    Attributes:
      name: key in metrics.jsonl: "masked_lm_accuracy". A metric of one term begins with the term's name.
      title: name in running text and on pages: "masked-LM accuracy".
      short: name in a line of the log: "mlm".
      form: form of the value: a share as per cent, or a plain number.
      note: a sentence below its curve on a page.
      higher: whether a higher value is better. It is False for losses and errors.
    """

    name: str
    title: str
    short: str
    form: Literal["share", "number"] = "share"
    note: str = ""
    higher: bool = True

    def text(self, value: float, digits: int = 1) -> str:
        """Returns the value as people read it: "36.3%" or "0.1234".

        Args:
          value: the value; a share is between 0 and 1.
          digits: digits of the per cent after the point.
        """
        return f"{value:.{digits}%}" if self.form == "share" else f"{value:.4f}"


def loss_metric(term: str, info: TermInfo) -> Metric:
    """Returns the metric that shows the loss of a term."""
    return Metric(f"{term}_loss", f"{info.title} loss", term, "number", info.note, higher=False)


def finite(value: float) -> float | None:
    """Returns a number as JSON has it: None where it is NaN or infinite."""
    return float(value) if math.isfinite(value) else None


def to_json(metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """Returns metrics as plain JSON values."""
    return [dataclasses.asdict(metric) for metric in metrics]


def from_json(values: Any) -> list[Metric]:
    """Returns the metrics in what `to_json` gave; skips what is not one, because files may be edited or damaged."""
    found = []
    for value in values if isinstance(values, list) else []:
        if isinstance(value, Mapping) and all(isinstance(value.get(key), str) for key in ("name", "title", "short")):
            form: Literal["share", "number"] = "share" if value.get("form") == "share" else "number"
            # Files that were written before the key existed have metrics and losses, told apart by the name.
            higher = value.get("higher", not value["name"].endswith("loss")) is True
            note = str(value.get("note", ""))
            found.append(Metric(value["name"], value["title"], value["short"], form, note, higher))
    return found
