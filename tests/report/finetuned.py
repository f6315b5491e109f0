"""Made-up workdirs of fine-tuned runs, with the files that `jaxbert finetune` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxbert.config import LabelledTaskConfig, PhaseConfig, RunConfig, ScheduleConfig, save_json
from jaxbert.core.metrics import to_json
from jaxbert.scores import classes
from jaxbert.tasks.sequences import ClassificationConfig

EVIL = "</script><script>alert(1)</script><!--<b>\"'&amp;"
# Texts that break pages: markup, marks that turn the writing around, no place to break, many lines, and emoji.
HOSTILE = (
    EVIL,
    "left \u202e turned \u2066 and never \u202b ended",
    "x" * 5000,
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 " * 200,
    "one\ntwo\n\n" * 60,
    "y" * 30_000,
)
LABELS = ("no", "yes")


def config(seed: int = 0, task: LabelledTaskConfig | None = None) -> RunConfig:
    return RunConfig(
        name="classify <b>",
        seed=seed,
        init="some/model",
        task=task or ClassificationConfig(labels=LABELS),
        phases=(PhaseConfig(name="main", steps=40, batch_size=8, schedule=ScheduleConfig(peak=1e-3, warmup_steps=4)),),
    )


def errors(texts: Sequence[str] = ("a text",), **more: Any) -> list[dict[str, Any]]:
    """Twenty errors with texts in turn."""
    each = [texts[number % len(texts)] for number in range(20)]
    return [
        {"text": text, "number": number, "right": "yes", "predicted": "no", "score": 9.5 - number / 4, **more}
        for number, text in enumerate(each)
    ]


def split(value: float = 0.75, labels: Sequence[str] = LABELS, **more: Any) -> dict[str, Any]:
    """The judgement of a split by a classification, with a confusion matrix whose right cells have 30 examples."""
    size = len(labels)
    counts = [[30 if row == column else (row * 7 + column) % 10 for column in range(size)] for row in range(size)]
    metrics = classes.metrics("one_label", labels)
    values = {metric.name: value for metric in metrics}
    bins = [
        {"from": n / 15, "to": (n + 1) / 15, "count": 10 * (n > 6),
         "confidence": (n + 0.5) / 15 if n > 6 else None, "accuracy": n / 15 if n > 6 else None}
        for n in range(15)
    ]  # fmt: skip
    by_label = {
        label: {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": sum(counts[row])}
        for row, label in enumerate(labels)
    }
    return {
        "examples": sum(map(sum, counts)),
        "loss": 0.4321,
        "values": values,
        "metrics": to_json(metrics),
        "constant": {"accuracy": 0.55, "log_loss": 0.6931},
        "details": {"labels": list(labels), "confusion": counts, "by_label": by_label, "calibration": bins},
        "notes": ["The model never predicts the label 'maybe'."],
        "errors": errors(),
        **more,
    }


def judgement(value: float | None = 0.75, seed: int = 0, setting: str = "", **more: Any) -> dict[str, Any]:
    """The content of judgement.json."""
    return {
        "step": 20,
        "seed": seed,
        "setting": setting,
        "stopped_early": False,
        "metric": to_json([classes.ACCURACY])[0],
        "value": value,
        "learned": True,
        "splits": {"validation": split(value or 0.0), "test": split(0.7)},
        **more,
    }


def write_run(
    path: Path,
    judged: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    task: LabelledTaskConfig | None = None,
) -> Path:
    """A run of 40 steps that was evaluated four times; with the judgement, if there is one."""
    path.mkdir(parents=True)
    save_json(config(seed, task), path / "config.json")
    lines: list[dict[str, Any]] = []
    for step in range(2, 41, 2):
        loss = 0.7 - step / 100 + seed / 50
        lines.append({"step": step, "phase": "main", "loss": loss, "classification_loss": loss, "rate": 1e-3,
                      "epoch": step / 40, "tokens": step * 100})  # fmt: skip
        if step % 10 == 0:
            accuracy = {10: 0.6, 20: 0.75, 30: 0.7, 40: 0.74}[step] - seed / 100
            lines.append({"step": step, "phase": "main", "validation_loss": loss, "validation_accuracy": accuracy,
                          "validation_macro_f1": accuracy - 0.1})  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    names = to_json(classes.metrics("one_label", LABELS))
    clocks = [{"step": 0, "versions": {"jax": "0"}, "metrics": names, "validation_rows": 9}]
    clocks.append({"step": 40, "elapsed_s": 60.0, "tokens_per_s": 5.0})
    (path / "telemetry.jsonl").write_text("".join(json.dumps(line) + "\n" for line in clocks))
    if judged is not None:
        (path / "judgement.json").write_text(json.dumps(judged, ensure_ascii=False), encoding="utf-8")
    return path


def write_runs(
    path: Path, settings: Mapping[str, Sequence[float]], best: str, *, failed: Sequence[str] = ()
) -> dict[str, Any]:
    """A fine-tuning of several runs, with finetune.json, whose content is returned.

    Args:
      path: the workdir.
      settings: the values of the seeds by setting; "" without a sweep. The best setting is the first one.
      best: the directory of the run to use.
      failed: the directories of runs that have not learned.
    """
    content: dict[str, Any] = {"best": best, "metric": to_json([classes.ACCURACY])[0], "settings": []}
    for setting, values in settings.items():
        runs = []
        for seed, value in enumerate(values):
            name = "/".join(filter(None, (setting.replace(" ", ","), f"seed-{seed}")))
            learned = name not in failed
            write_run(path / name, judgement(value, seed, setting, learned=learned), seed=seed)
            runs.append({"name": name, "seed": seed, "step": 20, "value": value, "learned": learned})
        mean = sum(values) / len(values)
        content["settings"].append({"setting": setting, "mean": mean, "deviation": 0.0, "failed": [], "runs": runs})
    (path / "finetune.json").write_text(json.dumps(content), encoding="utf-8")
    return content


def write_suite(path: Path, models: Sequence[str] = ("runs/mine",)) -> None:
    """suite.json as `jaxbert evaluate --suite FILE --json` writes it, with a task of changed texts and another one."""

    def interval(value: float) -> dict[str, Any]:
        return {
            "value": value,
            "low": value - 0.05,
            "high": value + 0.05,
            "confidence": 0.95,
            "method": "bca",
        }

    changed = {
        name: {"accuracy": interval(value), "drop": interval(0.1)}
        for name, value in (("typos", 0.625), ("upper_case", 0.5))
    }
    pairs = {"pairs": 4, **{name: interval(0.25) for name in ("accuracy", "counterfactual_accuracy", "both")}}
    none = {"value": None, "low": None, "high": None, "confidence": 0.95, "method": "none"}
    details = {"by_perturbation": changed, "counterfactuals": pairs}
    found = {
        "films": {"values": {"accuracy": interval(0.8)}, "details": details, "notes": []},
        "other": {"values": {"spearman": none}, "details": {}, "notes": []},
    }
    tasks = {"films": {"kind": "robustness", "examples": 200}, "other": {"kind": "similarity", "examples": 5}}
    content = {"format": 1, "suite": {"name": "s"}, "tasks": tasks, "results": {model: found for model in models}}
    (path / "suite.json").write_text(json.dumps(content), encoding="utf-8")
