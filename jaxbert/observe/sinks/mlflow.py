"""MLflow. Its own variables decide where figures go: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from jaxbert.inputs.values import flat
from jaxbert.observe.sinks.base import RunFacts, SinkKind

# A store takes at most so many parameters at once, of at most so many characters.
_AT_ONCE, _LONGEST = 100, 500


class MLflow:
    """A run of MLflow: a new one, or the one that an earlier process of this run began."""

    def __init__(self, facts: RunFacts):
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        number = facts.kept.get("id")
        if number:
            self._client.update_run(number, status="RUNNING")
        else:
            number = self._client.create_run(self._experiment(), run_name=facts.name).info.run_id
            facts.keep({"id": number})
            settings = [Param(key, str(value)[:_LONGEST]) for key, value in flat(facts.config)]
            for start in range(0, len(settings), _AT_ONCE):
                self._client.log_batch(number, params=settings[start : start + _AT_ONCE])
        self._number: str = number

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "jaxbert")
        found = self._client.get_experiment_by_name(name)
        number: str = self._client.create_experiment(name) if found is None else found.experiment_id
        return number

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self._number, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def close(self, ended_well: bool) -> None:
        """See `Sink`."""
        self._client.set_terminated(self._number, status="FINISHED" if ended_well else "KILLED")


KIND = SinkKind(MLflow, package="mlflow", extra="mlflow")
