"""Reads where a model comes from: the facts of a run that its model card and its receipt state."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxbert.config import LabelledTaskConfig, PhaseConfig, RunConfig, load_json, phase_rows, schedule_start
from jaxbert.core.metrics import from_json
from jaxbert.core.progress import duration
from jaxbert.data.shards import read_manifest as read_shards_manifest
from jaxbert.data.sources import without_folders
from jaxbert.data.staging import local
from jaxbert.errors import InputError, counted
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import Whole, checked
from jaxbert.observe.lines import JsonLines
from jaxbert.stores.steps import read_manifest
from jaxbert.stores.workdir import JUDGEMENT, TELEMETRY

_LICENCE = "Licence of the data:"


@dataclass(frozen=True)
class Provenance:
    """The origin of a model. All texts are for people to read.

    Attributes:
      made: one sentence about how the model was made.
      title: the title of the card.
      data: lines about the data.
      data_licence: the licence of the data; "" where nobody stated it.
      recipe: the rows of a table. The first cell of a row is its name; the others have one value for each phase.
      phases: the names of the phases.
      objectives: one text for each objective.
      optimizer: the optimizer and its settings.
      numerics: the compute dtype and the seed.
      results: lines about the last evaluation.
      cost: lines about time, energy and money.
      receipt: JSON with all that is needed to repeat the run; for a model that no run here made, only its source.
      run_config: the bytes of the run's config.json.
      replay: the commands that repeat the run.
    """

    made: str
    title: str
    data: tuple[str, ...] = ()
    data_licence: str = ""
    recipe: tuple[tuple[str, ...], ...] = ()
    phases: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    optimizer: str = ""
    numerics: str = ""
    results: tuple[str, ...] = ()
    cost: tuple[str, ...] = ()
    receipt: Mapping[str, Any] = field(default_factory=dict)
    run_config: bytes = b""
    replay: str = ""


def of_files(name: str, form: str) -> Provenance:
    """Returns the provenance of a model that was read from published files."""
    return Provenance(
        made=f"Converted from {name} ({form}). See there who trained it, on which data, and under which licence.",
        title=name,
        data=("Not known here: see the original model.",),
        receipt={"from": {"name": name, "format": form}},
    )


def of_run(workdir: Path, step: int) -> Provenance:
    """Returns the provenance of a run's checkpoint.

    Args:
      workdir: the run's workdir.
      step: the step of the checkpoint.

    Raises:
      InputError: the run's config or the checkpoint's manifest cannot be read.
    """
    config = load_json(workdir / "config.json")
    run_config = read_bytes(workdir / "config.json")
    meta = _meta(workdir, step)
    lines = list(JsonLines.read(workdir / TELEMETRY))
    started = next((line for line in lines if "versions" in line), {})
    clock: dict[str, Any] = next((line for line in reversed(lines) if "elapsed_s" in line and line["step"] <= step), {})
    data, licence, hashes = _data(config, workdir, meta)
    further = ""
    if config.init:
        further = f"further, from {_init_name(config)}, "
        data = (f"First the data of {_init_name(config)}: see the original model.", *data)
    receipt = {
        "from": {"run": config.name, "step": step},
        "config_sha256": hashlib.sha256(run_config).hexdigest(),
        "rows": hashes,
        "seed": config.seed,
        "step": step,
        "teacher": meta.get("teacher"),
        "init": {"model": config.init, "sha256": meta.get("init")} if config.init else None,
        "devices": started.get("devices"),
        "versions": started.get("versions", {}),
    }
    labelled = isinstance(config.task, LabelledTaskConfig)
    made = "Fine-tuned" if labelled else "Pretrained"
    further = f"from {_init_name(config)} " if labelled and config.init else further
    return Provenance(
        made=f"{made} {further}by jaxbert: run {config.name}, step {step:,}.",
        title=config.name,
        data=data,
        data_licence=licence,
        recipe=_recipe(config, step),
        phases=tuple(phase.name for phase in config.phases),
        objectives=_objectives(config),
        optimizer=_optimizer(config),
        numerics=f"Activations in {config.numerics.dtype}, seed {config.seed}.",
        results=_judged(workdir, step) or _results(meta, step, labelled),
        cost=_cost(clock, started),
        receipt={name: value for name, value in receipt.items() if value is not None},
        run_config=run_config,
        replay=_replay(config, step, meta),
    )


def _meta(workdir: Path, step: int) -> Mapping[str, Any]:
    try:
        return read_manifest(workdir, step).meta
    except ValueError as error:
        raise InputError(
            f"the checkpoint of step {step} has no usable manifest ({error})",
            where=str(workdir),
            fix="Choose another step.",
            code="E-CHECKPOINT-MANIFEST",
        ) from None


def _data(
    config: RunConfig, workdir: Path, meta: Mapping[str, Any]
) -> tuple[tuple[str, ...], str, dict[str, list[str]]]:
    """Returns lines about the data, its licence, and the hashes of the rows for each phase."""
    lines: list[str] = []
    licences: list[str] = []
    hashes = dict(zip((phase.name for phase in config.phases), meta.get("rows") or [], strict=False))
    for phase in config.phases:
        rows = phase_rows(config, phase, workdir)
        for index, (directory, weight) in enumerate(rows):
            share = f", weight {weight:g}" if len(rows) > 1 else ""
            known = hashes.get(phase.name, [])
            digest = f"; sha256 {known[index]}" if index < len(known) else ""
            source = "" if phase.rows else config.data.source
            if isinstance(config.task, LabelledTaskConfig) and not phase.rows:
                source = without_folders(config.task.data.train)
            lines.append(f"Phase {phase.name}: {_rows(directory, source, licences)}{share}{digest}")
    lines = list(dict.fromkeys(lines))
    licence = " and ".join(dict.fromkeys(filter(None, licences)))
    stated = f"{_LICENCE} {licence}." if licence else f"{_LICENCE} not stated."
    return (*lines, stated), licence, hashes


def _rows(directory: str | Path, source: str, licences: list[str]) -> str:
    """Describes a directory of rows by its manifest, and appends its licence to `licences`."""
    try:
        manifest = read_shards_manifest(local(directory), "rows")
    except InputError:
        return f"{without_folders(source) or Path(directory).name} (the rows are no longer where the run read them)"
    made = manifest.get("provenance") or {}
    licences.append(made.get("licence") or "")
    train = manifest["statistics"]["train"]
    if "labelled" in manifest:
        counts = [
            f"{counted(found['examples'], f'{split} example')}" for split, found in manifest["statistics"].items()
        ]
        return (
            f"{source and source + ', '}{', '.join(counts)}, as rows of up to {manifest['length']} tokens "
            f"({manifest['labelled']['kind'].replace('_', ' ')})"
        )
    source = without_folders(made.get("source") or source)
    return (
        f"{source and source + ', '}{train['documents']:,} documents, {train['tokens']:,} tokens, as "
        f"{manifest['counts']['train']:,} rows of {manifest['length']} tokens ({manifest['policy']})"
    )


def _recipe(config: RunConfig, step: int) -> tuple[tuple[str, ...], ...]:
    def of(name: str, value: Any) -> tuple[str, ...]:
        return (name, *(str(value(index, phase)) for index, phase in enumerate(config.phases)))

    def done(index: int, phase: PhaseConfig) -> str:
        before = sum(other.steps for other in config.phases[:index])
        return f"{min(max(step - before, 0), phase.steps):,} of {phase.steps:,}"

    def schedule(index: int, phase: PhaseConfig) -> str:
        found = config.phases[schedule_start(config, index)].schedule
        assert found is not None
        again = "" if phase.schedule is not None else ", continued"
        return f"{found.kind}, peak {found.peak:g}, {found.warmup_steps:,} steps of warm-up{again}"

    return (
        of("steps", done),
        of("rows a step", lambda index, phase: f"{phase.batch_size:,}"),
        of("tokens a row", lambda index, phase: phase.length),
        of("rate", schedule),
    )


def _objectives(config: RunConfig) -> tuple[str, ...]:
    if isinstance(config.task, LabelledTaskConfig):
        usual = type(config.task)()
        shown = [
            f"{name.replace('_', ' ')} {', '.join(map(str, value)) if isinstance(value, tuple) else value}"
            for name, value in vars(config.task).items()
            if name not in ("name", "data") and value != getattr(usual, name)
        ]
        return (config.task.name.replace("_", " ") + (f" ({'; '.join(shown)})" if shown else ""),)
    found = []
    for name, value in vars(config.objectives).items():
        if name == "extra" or value is None:
            continue
        usual, always = type(value)(), ("scheme", "rate")
        shown = [
            f"{key.replace('_', ' ')} {setting}"
            for key, setting in vars(value).items()
            if key not in ("encoder", "teacher") and (key in always or setting != getattr(usual, key))
        ]
        found.append(name.replace("_", " ") + (f" ({', '.join(shown)})" if shown else ""))
    found += [f"{extra.name}" for extra in config.objectives.extra]
    return tuple(found)


def _optimizer(config: RunConfig) -> str:
    facts = {key: value for key, value in dataclasses.asdict(config.optimizer).items() if key != "name"}
    return f"{config.optimizer.name} ({', '.join(f'{key} {value}' for key, value in facts.items())})"


def _judged(workdir: Path, step: int) -> tuple[str, ...]:
    """Returns lines about the judgement of a fine-tuned run; none where it has none of this step."""
    try:
        found = checked(read_bytes(workdir / JUDGEMENT), {"step": Whole(), "splits": dict})
        if found["step"] != step:
            return ()
        lines = []
        for split, one in found["splits"].items():
            known = {name: value for name, value in one["values"].items() if value is not None}
            figures = [
                f"{metric.title} {metric.text(known[metric.name])}"
                for metric in from_json(one["metrics"])
                if metric.name in known
            ]
            lines.append(f"On the {split} split, {counted(one['examples'], 'example')}: {', '.join(figures)}")
        return tuple(lines)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ()


def _results(meta: Mapping[str, Any], step: int, labelled: bool = False) -> tuple[str, ...]:
    found = meta.get("last_evaluation") or {}
    if not found:
        return ("Not evaluated.",)
    when = "at this step" if found.get("step") == step else f"at step {found.get('step'):,}, the last one evaluated"
    lines = [f"On held-out {'examples' if labelled else 'rows with fixed masks'}, {when}:"]
    for name, value in found.items():
        if name != "step" and isinstance(value, int | float):
            shown = f"{value:.1%}" if name.endswith("accuracy") else f"{value:.4f}"
            lines.append(f"{name.replace('_', ' ')}: {shown}")
    return (f"{lines[0]} {'; '.join(lines[1:])}",)


def _cost(clock: Mapping[str, Any], started: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns lines about time, energy and money until this step. They say what was not measured."""
    if not clock:
        return ("The run has no telemetry.",)
    lines = [
        f"Time: {duration(clock['elapsed_s'])} on {started.get('devices', '?')} x {started.get('device', 'device')}"
    ]
    if "energy_joules" in clock:
        lines.append(f"Energy: {clock['energy_joules'] / 3.6e6:.3f} kWh ({clock.get('energy_source', 'measured')})")
    else:
        lines.append(
            "Energy: not measured (the machine had no counters, and logging.watts was not set for an estimate)"
        )
    if "money" in clock:
        lines.append(f"Money: {clock['money']:.2f} {clock.get('currency', '')}".rstrip())
    else:
        lines.append("Money: not known (logging.price_per_hour was not set)")
    return tuple(lines)


def _init_name(config: RunConfig) -> str:
    """Returns the name of the initial model without the folders of this machine."""
    return config.init if config.init.startswith("hf:") else Path(config.init).name


def _replay(config: RunConfig, step: int, meta: Mapping[str, Any]) -> str:
    if isinstance(config.task, LabelledTaskConfig):
        return (
            f"To repeat the run: `jaxbert finetune run.json --workdir DIR` with the same files and `--init` "
            f"{markdown(_init_name(config))}, then `jaxbert convert DIR/checkpoints/{step} OUT --to hf`. With these "
            "versions, on the same mesh of the same devices, model.safetensors has the same bits."
        )
    given = [phase for phase in config.phases if phase.rows]
    data = " with the rows of these hashes (`--data`)" if given else ""
    # Runs of older versions have no hash, because manifests did not keep it.
    digest = f" (its parameters: {meta['init']})" if meta.get("init") else ""
    start = f" and `--init` {markdown(_init_name(config))}{digest}" if config.init else ""
    return (
        f"To repeat the run: `jaxbert pretrain run.json --workdir DIR`{data}{start}, then `jaxbert convert "
        f"DIR/checkpoints/{step} OUT --to hf`. With these versions, on the same mesh of the same devices, "
        "model.safetensors has the same bits."
    )


def stated_licence(origin: Provenance, licence: str) -> Provenance:
    """Returns `origin` with the licence of the data that the user states; unchanged where `licence` is ""."""
    if not licence:
        return origin
    data = [line for line in origin.data if not line.startswith(_LICENCE)]
    return dataclasses.replace(origin, data=(*data, f"{_LICENCE} {licence}."), data_licence=licence)


def markdown(text: str) -> str:
    """Returns a text so that Markdown shows it as it is: one line, without markup and without HTML.

    An underscore inside a word is no markup, so names such as masked_lm stay readable.
    """
    line = " ".join(text.split())
    line = re.sub(r"[\\`*\[\]<>|#$~&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)
    # A line that begins like an item of a list, or like a rule.
    return re.sub(r"^([-+=]|\d+[.)](?=\s|$))", lambda found: found[0][:-1] + "\\" + found[0][-1], line)


def to_json(value: Mapping[str, Any]) -> str:
    """Formats the receipt as JSON."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
