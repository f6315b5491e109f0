"""The facts that decide a recipe: a text, a machine, and the settings of the user, which every choice goes with."""

from __future__ import annotations

from dataclasses import dataclass

from jaxbert.config import RunConfig
from jaxbert.config.overrides import Setting, apply_settings, value_of
from jaxbert.config.scaling import PREFIX
from jaxbert.errors import InputError
from jaxbert.fit.corpus import Corpus
from jaxbert.fit.machine import Machine


@dataclass(frozen=True)
class Given:
    """The facts that decide a recipe.

    Attributes:
      corpus: the facts of the text.
      machine: the machine.
      source: SOURCE of the text.
      settings: `--set`, and `--language`, in their order.
    """

    corpus: Corpus
    machine: Machine
    source: str
    settings: tuple[Setting, ...] = ()

    @property
    def language(self) -> str:
        """Returns the language that the settings name; "" where they name none."""
        return value_of(self.settings, "data.language") or ""

    @property
    def sets_steps(self) -> bool:
        """Returns whether the settings change the steps of the run."""
        return any(one.key.startswith(PREFIX) or one.key.endswith(".steps") for one in self.settings)

    def sets(self, key: str) -> bool:
        """Returns whether the settings have a key."""
        return any(one.key == key for one in self.settings)

    def settled(self, config: RunConfig, *, scaled: bool = False) -> RunConfig:
        """Returns a run as the settings change it.

        Settings of fields may be applied again. A helper that scales the run changes a complete run, and once.

        Args:
          config: the run.
          scaled: apply the helpers too, each in its place.

        Raises:
          InputError: a setting does not fit the run, or gives it other phases.
        """
        settings = self.settings if scaled else [one for one in self.settings if not one.key.startswith(PREFIX)]
        changed, _ = apply_settings(config, settings)
        if len(changed.phases) != len(config.phases):
            raise InputError(
                f"auto chooses {len(config.phases)} phases, and --set gives {len(changed.phases)}",
                where="--set phases",
                fix="Set single fields of the phases, such as phases.0.length, or give the auto.py of a run as CONFIG.",
                code="E-FIT-PHASES",
            )
        return changed
