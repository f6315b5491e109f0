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

from jaxbert.config import RunConfig, total_steps
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


def passes_of(config: RunConfig, rows: Sequence[PhaseRows]) -> list[list[float]]:
    """Returns, for each phase, how often it passes over the text of each of its sources."""
    found = []
    for phase, of_phase in zip(config.phases, rows, strict=True):
        counts = Mixture([weight for _, weight in of_phase.train]).counts(phase.steps * phase.batch_size)
        found.append(
            [
                count * copies_of(source) / max(1, len(source))
                for count, (source, _) in zip(counts, of_phase.train, strict=True)
            ]
        )
    return found


def all_passes(config: RunConfig, rows: Sequence[PhaseRows]) -> float:
    """Returns how often the run passes over its text. A phase counts with the source that it repeats most."""
    return sum(max(of_phase) for of_phase in passes_of(config, rows))


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
