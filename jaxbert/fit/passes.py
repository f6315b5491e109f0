"""Counts the passes of a run over its text, and limits them: `max_passes`.

A recipe has a fixed number of steps, made for its authors' corpus. On a small corpus the same steps are thousands of
passes over the text. A config with `max_passes` shortens its recipe, when a run begins, to so many passes; see
`jaxbert.config.scaling.with_share_of_steps`. The run's config.json has the share, so a resumed run has the same steps.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Protocol

from jaxbert.config import PhaseConfig, RunConfig, total_steps
from jaxbert.config.overrides import Setting, apply_settings
from jaxbert.config.scaling import with_share_of_steps
from jaxbert.data.pipeline import Mixture, Rows
from jaxbert.errors import counted

# More passes over a text teach hardly anything (docs/decisions/0029).
MOST_PASSES = 40
# The settings that ask for a number of steps: a user who gives one gets so many.
_PHASE_STEPS = re.compile(r"phases\.[^.]+\.steps")
_STEPS = re.compile(rf"scale\.steps|{_PHASE_STEPS.pattern}")
# The settings that `with_share_of_steps` would change, although the user has chosen their value.
_CHOSEN = re.compile(r"(evaluation|checkpoint)\.every_steps|phases\.[^.]+\.schedule\.\w+_steps")


class PhaseRows(Protocol):
    """The rows of a phase: train splits with their weights, and validation splits."""

    @property
    def train(self) -> Sequence[tuple[Rows, float]]:
        """Returns (rows, weight) of each source."""

    @property
    def validation(self) -> Sequence[Rows]:
        """Returns the validation splits that have rows."""


def copies_of(rows: Rows) -> int:
    """Returns how many rows arrange each piece of text, each time with another pairing."""
    return int(rows.manifest["arguments"].get("copies", 1))


@dataclasses.dataclass(frozen=True)
class Text:
    """The text that a phase reads from one source.

    Attributes:
      weight: of the source in the phase.
      rows: the number of its train rows.
      copies: how many of them arrange each piece of text.
    """

    weight: float
    rows: int
    copies: int = 1


class Passes:
    """Counts how often a run has passed over its text: the epochs of its lines, and the passes of its judgement.

    Args:
      phases: of the run.
      texts: the sources of each phase.
    """

    def __init__(self, phases: Sequence[PhaseConfig], texts: Sequence[Sequence[Text]]):
        self._batch_sizes = [phase.batch_size for phase in phases]
        self._texts = texts
        self._mixtures = [Mixture([text.weight for text in of_phase]) for of_phase in texts]
        self._whole = [max(self.of_sources(index, phase.steps)) for index, phase in enumerate(phases)]

    def of_sources(self, phase: int, steps: int) -> list[float]:
        """Returns how often `steps` steps of a phase pass over the text of each of its sources."""
        counts = self._mixtures[phase].counts(steps * self._batch_sizes[phase])
        return [count * text.copies / max(1, text.rows) for count, text in zip(counts, self._texts[phase], strict=True)]

    def after(self, phase: int, steps: int) -> float:
        """Returns the passes of the run after `steps` steps of a phase, those of the phases before it included.

        A phase counts with the source that it repeats most.
        """
        return sum([*self._whole[:phase], max(self.of_sources(phase, steps))])


def counter(config: RunConfig, rows: Sequence[PhaseRows]) -> Passes:
    """Returns what counts the passes of a run over its rows."""
    texts = [[Text(weight, len(source), copies_of(source)) for source, weight in of_phase.train] for of_phase in rows]
    return Passes(config.phases, texts)


def passes_of(config: RunConfig, rows: Sequence[PhaseRows]) -> list[list[float]]:
    """Returns, for each phase, how often it passes over the text of each of its sources."""
    count = counter(config, rows)
    return [count.of_sources(index, phase.steps) for index, phase in enumerate(config.phases)]


def all_passes(config: RunConfig, rows: Sequence[PhaseRows]) -> float:
    """Returns how often the run passes over its text, as `Passes.after` counts."""
    return counter(config, rows).after(len(config.phases) - 1, config.phases[-1].steps)


def limited(config: RunConfig, settings: Sequence[Setting], rows: Sequence[PhaseRows]) -> tuple[RunConfig, str]:
    """Returns the config of a run that begins, with the steps that `max_passes` allows, and a line that says so.

    The line is empty, and the config as it was, if there is no limit, if the limit is kept, or if a setting asks for
    a number of steps.

    Args:
      config: the complete config.
      settings: `--set`, which have the last word.
      rows: the rows of each phase.
    """
    if not config.max_passes or config.steps_share != 1 or _asks_for_steps(settings):
        return config, ""
    passes = all_passes(config, rows)
    share = config.max_passes / passes
    if share >= 1:
        return config, ""
    made = _with_share(config, settings, share)
    words = [
        f"{counted(total_steps(config), 'step')} would be {passes:,.0f} passes over this text, so the run has "
        f"{counted(total_steps(made), 'step')}, {all_passes(made, rows):.3g} passes (max_passes={config.max_passes:g})",
        f"evaluation every {made.evaluation.every_steps:,} steps" if made.evaluation.every_steps else "",
        f"checkpoint every {made.checkpoint.every_steps:,}",
        "for the recipe as it is: --overwrite --set max_passes=0",
    ]
    return made, "; ".join(filter(None, words))


def as_begun(config: RunConfig, settings: Sequence[Setting], begun: RunConfig) -> RunConfig:
    """Returns `config` with the share of its steps that the run `begun` has got from the same limit."""
    if begun.steps_share == 1 or begun.max_passes != config.max_passes:
        return config
    return _with_share(config, settings, begun.steps_share)


def _asks_for_steps(settings: Sequence[Setting]) -> bool:
    """Returns whether settings ask for a number of steps, and not also for a limit, which then counts."""
    keys = [setting.key for setting in settings]
    return any(_STEPS.fullmatch(key) for key in keys) and "max_passes" not in keys


def _with_share(config: RunConfig, settings: Sequence[Setting], share: float) -> RunConfig:
    scaled = dataclasses.replace(with_share_of_steps(config, share), steps_share=share)
    steps = _asks_for_steps(settings)
    chosen = [one for one in settings if _CHOSEN.fullmatch(one.key) or (steps and _PHASE_STEPS.fullmatch(one.key))]
    return apply_settings(scaled, chosen)[0]
