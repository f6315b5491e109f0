"""Fine-tunes for the tasks of a suite (`jaxbert.evaluate.suite.finetuned`)."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxbert.core.metrics import Metric, from_json
from jaxbert.errors import InputError
from jaxbert.evaluate.judged import read_judgement
from jaxbert.evaluate.labelled import score_part as score_part_of_run
from jaxbert.evaluate.suite.finetuned import FineTuned, FineTuning, Trainer, asked
from jaxbert.evaluate.suite.reading import read_suite
from jaxbert.finetune.runs import finetune
from jaxbert.finetune.settings import Files, runs_of
from jaxbert.run.deterministic import ask_for_deterministic_kernels
from jaxbert.run.pool import ask_for_gpu_memory

_log = logging.getLogger(__name__)


def trainer(suite: str, workdir: str | None = None) -> Trainer | None:
    """Returns the function that fine-tunes for a suite; None where no task of the suite asks for it.

    It must be called before jax has used a device, because the runs may need deterministic kernels.

    Args:
      suite: the suite's file.
      workdir: the directory of all runs; None takes runs/ and the name of the suite. A finished run is not trained
        again.

    Raises:
      InputError: the suite cannot be used.
    """
    found = read_suite(suite)
    tasks = [asked(task) for task in found.tasks if task.kind == "finetuned"]
    if not tasks:
        return None
    ask_for_gpu_memory()
    for runs in tasks:
        ask_for_deterministic_kernels(runs.config)
    top = Path(workdir or f"runs/{_directory(found.name)}")

    def train(model: str, runs: FineTuning) -> FineTuned:
        place = top / _directory(runs.name) / _directory(model)
        wanted = runs_of(runs.config, Files(), init=model, settings=runs.settings, seeds=runs.seeds)
        finetune(wanted, place, only_same=True, keep_outputs=True, say=_log.info)
        metric, scores, failed = Metric("", "no metric", ""), [], []
        for run in wanted:
            judged = read_judgement(place / run.name if run.name else place)
            if judged is not None and judged.get("diverged"):
                raise InputError(
                    f"the run of seed {run.seed} has diverged, so the task has no score",
                    where=str(place / run.name),
                    fix='Give the task a lower rate, for example "settings": ["rate=1e-5"], and remove the directory.',
                    code="E-SUITE-FINETUNE",
                )
            if judged is None or runs.split not in judged["splits"]:
                raise InputError(
                    f"the run has no score on its {runs.split} split",
                    where=str(place / run.name),
                    fix="Remove the directory, and run the same command again.",
                    code="E-SUITE-FINETUNE",
                )
            metric = next(iter(from_json([judged["metric"]])), metric)
            values = judged["splits"][runs.split]["values"]
            if not judged["learned"]:
                failed.append(run.seed)
            scores.append({name: float(value) for name, value in values.items() if value is not None})

        def score_part(kept: Sequence[int]) -> Sequence[Mapping[str, float]] | None:
            found = [score_part_of_run(place / run.name if run.name else place, runs.split, kept) for run in wanted]
            known = [one for one in found if one is not None]
            return known if len(known) == len(found) else None

        return FineTuned(metric, scores, failed, score_part)

    return train


def _directory(name: str) -> str:
    """Returns a name as that of a directory. Names that become the same have different ends."""
    plain = re.sub(r"[^\w.-]+", "_", name).strip("._")
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode()):08x}".strip("-")
