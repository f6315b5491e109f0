"""Trackio. Its own variables decide where figures go: TRACKIO_DIR, TRACKIO_PROJECT, TRACKIO_SPACE_ID."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

from jaxbert.inputs.values import flat
from jaxbert.observe.sinks.base import RunFacts, SinkKind


class Trackio:
    """A run of Trackio: a new one, or the one that an earlier process of this run began. Names are its numbers."""

    def __init__(self, facts: RunFacts):
        import trackio

        name = facts.kept.get("id") or f"{facts.name}-{secrets.token_hex(4)}"
        self._run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", "jaxbert"),
            name=name,
            resume="allow",
            config=dict(flat(facts.config)),
            space_id=os.environ.get("TRACKIO_SPACE_ID"),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        facts.keep({"id": name})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`."""
        self._run.log(dict(values), step=step)

    def close(self, ended_well: bool) -> None:
        """See `Sink`."""
        del ended_well
        self._run.finish()


KIND = SinkKind(Trackio, package="trackio", extra="trackio")
