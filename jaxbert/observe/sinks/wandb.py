"""Weights & Biases. Its own variables decide where figures go: WANDB_API_KEY, WANDB_MODE, WANDB_PROJECT, WANDB_DIR."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

from jaxbert.observe.sinks.base import RunFacts, SinkKind


class WandB:
    """A run of W&B: a new one, or the one that an earlier process of this run began."""

    def __init__(self, facts: RunFacts):
        import wandb

        number = facts.kept.get("id") or secrets.token_hex(4)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "jaxbert"),
            name=facts.name,
            id=number,
            resume="allow",
            config=dict(facts.config),
            # What the run prints is not W&B's: it would put itself between the run and its terminal.
            settings=wandb.Settings(console="off"),
        )
        facts.keep({"id": number})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`."""
        self._run.log(dict(values), step=step)

    def close(self, ended_well: bool) -> None:
        """See `Sink`."""
        self._run.finish(exit_code=0 if ended_well else 1)


KIND = SinkKind(WandB, package="wandb", extra="wandb")
