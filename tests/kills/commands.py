"""Tries the points of every command that writes: `python commands.py DIRECTORY [NAME,NAME]` prints a report a line.

jax is started, and the programs are compiled, once. Each command is tried at one point of each kind: see `points.kind`.
The variable JAXBERT_POINTS_SET=full tries every distinct state.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(Path(__file__).parent))
from points import States, bytes_of, heard, try_states

from jaxbert.commands import main as cli
from jaxbert.labelled.encode import Encoding
from jaxbert.labelled.examples import TextExample
from jaxbert.labelled.writing import write_rows
from jaxbert.observe import peaks
from jaxbert.run import pretrain
from jaxbert.stores import steps
from jaxbert.tasks import pretraining
from jaxbert.text.tokenizers import Tokenizer

CONFIG = """
from jaxbert.config import *

def get_config():
    return RunConfig(
        name="points",
        encoder=EncoderConfig(
            vocab_size=120, hidden_size=8, num_layers=1, num_heads=1, intermediate_size=16, max_positions=32
        ),
        data=DataConfig(source={source!r}, validation_fraction=0.2),
        phases=(PhaseConfig(name="a", length=32, batch_size=4, steps=2, rows={rows},
                            schedule=ScheduleConfig(peak=1e-2, warmup_steps=1, total_steps=2)),),
        checkpoint=CheckpointConfig(every_steps=1),
        evaluation=EvaluationConfig(every_steps=2, batch_size=4),
        logging=LoggingConfig(every_steps=2, tensorboard=False),
    )
"""
LABELLED = """
import dataclasses
from jaxbert.config import *
from jaxbert.tasks.sequences import ClassificationConfig

def get_config():
    return RunConfig(
        name="labelled", inherit="encoder", task=ClassificationConfig(epochs=1.0),
        phases=(PhaseConfig(length=16, batch_size=8, steps=1, schedule=ScheduleConfig(peak=1e-2, warmup_steps=0)),),
        checkpoint=CheckpointConfig(every_steps=1),
        evaluation=EvaluationConfig(batch_size=8),
        logging=LoggingConfig(every_steps=1, sinks=(), page=False),
    )
"""
# Clocks, the owner's number, and what a report says of the clocks.
# The page shows clocks too, and each interruption.
_CLOCKS = ("telemetry.jsonl", "report.html", ".lock")


def corpus(path: Path, documents: int, seed: int) -> None:
    """Writes a text whose documents have a few sentences of a few words."""
    rng = random.Random(seed)
    words = ["river", "stone", "walks", "under", "the", "old", "bridge", "and", "sees", "a", "blue", "bird"]
    sentence = lambda: " ".join(rng.choices(words, k=rng.randint(4, 9))).capitalize() + "."  # noqa: E731
    path.write_text("\n\n".join(" ".join(sentence() for _ in range(6)) for _ in range(documents)), encoding="utf-8")


def drawn(name: str) -> bool:
    """Returns whether a file holds clocks, or a number that is drawn."""
    return name in _CLOCKS or name.startswith(".lease/")


def ignored(name: str) -> bool:
    """Returns whether a file may differ between two equal runs. The names of Orbax's files are drawn."""
    return name in _CLOCKS or name.startswith((".lease/", "checkpoints/"))


def of_run(root: Path) -> dict[str, Any]:
    """Every file of a run, and its checkpoints. The last line of metrics.jsonl has a loss of the last parameters.

    Its training values are means over both steps, and the first checkpoint is written between them.
    """
    found: dict[str, Any] = bytes_of(root, ignored)
    for step in steps.committed_steps(root):
        meta = steps.read_manifest(root, step).meta
        found[f"checkpoint {step}"] = [steps.damage(root, step), json.dumps(meta, sort_keys=True)]
    found["checkpoints"] = sorted(path.name for path in (root / "checkpoints").iterdir())
    return found


def of_runs(root: Path) -> dict[str, Any]:
    """Every file of a fine-tuning with several runs. Only the best run has checkpoints."""
    found: dict[str, Any] = bytes_of(root, lambda name: ignored(name.partition("/")[2]) or ignored(name))
    found["checkpoints"] = sorted(str(path.relative_to(root)) for path in root.glob("*/checkpoints/*"))
    return found


def without_clocks(root: Path) -> dict[str, Any]:
    """Figures without the seconds that the command took."""
    found = bytes_of(root, lambda name: name == "figures.json")
    figures = json.loads((root / "figures.json").read_text())
    return {**found, "figures": {name: value for name, value in figures.items() if "second" not in name}}


def another(run: Path, copy: Path) -> Path:
    """Makes a run of another config from a finished one, with other bytes and a step that the first run does not have.

    A training with another seed would have to be compiled. Whatever stays of the copy, where a run replaces it, shows.
    """
    shutil.copytree(run, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "seed": config["seed"] + 1}))
    (copy / "checkpoints" / "2").rename(copy / "checkpoints" / "7")
    for name in ("metrics.jsonl", "parameters.txt"):
        with (copy / name).open("a") as file:
            file.write("\n")
    return copy


def labelled(report: Callable[..., None], inputs: Path, root: Path) -> None:
    """Tries the rows of texts with labels, which no command writes without a training."""
    examples = [TextExample(text="the river sees a bird", target=label) for label in "xyxyx"]
    splits = {"train": examples, "validation": examples[:2]}

    def write(out: Path, length: int) -> int:
        encoding = Encoding(
            kind="classification", labels=("x", "y"), tokenizer=Tokenizer.load(inputs / "tokenizer"), length=length
        )
        write_rows(out, encoding, splits, overwrite=length > 8)
        return 0

    write(inputs / "labelled" / "rows", 8)
    report("labelled rows", command=lambda: write(root / "rows", 8))
    report("labelled rows --overwrite", command=lambda: write(root / "rows", 12), before=inputs / "labelled")


def main(place: Path, only: str, every: bool) -> None:
    """Tries the commands whose names hold `only`, with inputs and outputs below `place`."""
    inputs, root = place / "inputs", place / "tries" / "root"
    inputs.mkdir(parents=True)
    corpus(inputs / "text.txt", 60, 0)
    source = f"text:{inputs}/text.txt"
    # The launcher's program, and its records.
    programs = place / "programs"
    programs.mkdir()
    (programs / "sbatch").write_text("#!/bin/sh\necho 1\n")
    (programs / "sbatch").chmod(0o755)
    os.environ |= {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "XDG_STATE_HOME": f"{root}/state"}
    # Runs of one config share a table and a model: each is traced once, and touches no file.
    pretrain.parameter_table = functools.cache(pretrain.parameter_table)
    models: dict[Any, Any] = {}
    make_model = pretraining.make_model

    def model_of(config: Any, objectives: Any) -> Any:
        # All runs here have one phase, so that a config has one model.
        if config not in models:
            models[config] = make_model(config, objectives)
        return models[config]

    pretraining.make_model = model_of
    # They share the measured speed of the machine too, which only their telemetry shows.
    peaks.measured_matmul = functools.cache(peaks.measured_matmul)
    states = States(root)
    states.install()

    def make(*words: str) -> None:
        code, said = heard(lambda: cli.main([*words]))
        assert code == 0, said

    make("tokenizer", source, "--vocab-size", "120", "--out", f"{inputs}/tokenizer")
    make("tokenizer", source, "--vocab-size", "180", "--kind", "unigram", "--out", f"{inputs}/unigram")
    shaped = ("--length", "32", "--validation-fraction", "0.2", "--workers", "1")
    make("prepare", source, "--tokenizer", f"{inputs}/tokenizer", *shaped, "--out", f"{inputs}/made/records")
    made = inputs / "made"
    rows = f"(RowsSource(path={str(made / 'records-rows-32')!r}),)"
    (inputs / "named.py").write_text(CONFIG.format(source=source, rows=rows))
    (inputs / "lines.txt").write_text("the river\na blue bird\n")
    run = inputs / "run"
    make("pretrain", f"{inputs}/named.py", "--anyway", "--workdir", str(run))
    vectors = inputs / "vectors"
    vectors.mkdir()
    make("embed", str(run), f"{inputs}/lines.txt", "--out", f"{vectors}/a.npy")
    make("convert", str(run), f"{inputs}/exports/model", "--to", "hf")

    def report(name: str, *words: str, command: Callable[[], int] | None = None, **more: Any) -> None:
        if any(part in name for part in only.split(",")):
            more = {"known": None if every else set(), **more}
            found = try_states(name, command or (lambda: cli.main([*words])), states, root, same=drawn, **more)
            print(json.dumps(found), file=reports, flush=True)

    words = ("tokenizer", source, "--vocab-size", "270")
    report("tokenizer", *words, "--out", f"{root}/a/b")
    report("tokenizer --overwrite", *words, "--overwrite", "--out", f"{root}", before=inputs / "tokenizer")
    words = ("tokenizer", source, "--vocab-size", "200", "--kind", "unigram", "--overwrite")
    report("tokenizer --kind unigram --overwrite", *words, "--out", f"{root}", before=inputs / "unigram")
    # A kind of point that one run has tried is not tried again in the others.
    known: set[str] | None = None if every else set()
    train = ("pretrain", f"{inputs}/named.py", "--anyway", "--workdir", f"{root}")
    old = another(run, place / "old")
    report("pretrain --overwrite", *train, "--overwrite", look=of_run, known=known, before=old)
    report("pretrain", *train, look=of_run, known=known)
    half = place / "half"
    shutil.copytree(run, half)
    shutil.rmtree(half / "checkpoints" / "2")
    report("pretrain resumed", *train, look=of_run, known=known, before=half)
    report("checkpoint prune", "checkpoint", "prune", f"{root}", "--keep", "1", "--drop-best", before=run)
    prepare = ("prepare", source, "--tokenizer", f"{inputs}/tokenizer", *shaped, "--out", f"{root}/records")
    report("prepare", *prepare)
    report("prepare --overwrite", *prepare, "--seed", "1", "--overwrite", before=made)
    cut = ("rows", f"{made}/records", "--length", "32", "--workers", "1", "--out", f"{root}/records-rows-32")
    report("rows", *cut)
    report("rows --overwrite", *cut, "--seed", "1", "--overwrite", before=made)
    labelled(report, inputs, root)
    rng = random.Random(5)
    lines = [f"{' '.join(rng.choices(['river', 'stone', 'blue', 'bird'], k=5))},{'xy'[n % 2]}" for n in range(16)]
    (inputs / "labels.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    (inputs / "labelled.py").write_text(LABELLED)
    words = ("finetune", f"{inputs}/labelled.py", "--init", str(run), "--train", f"{inputs}/labels.csv")
    report("finetune", *words, "--workdir", f"{root}", look=of_run, known=known)
    report("finetune --seeds 2", *words, "--workdir", f"{root}", "--seeds", "2", look=of_runs, known=known)
    report("embed", "embed", str(run), f"{inputs}/lines.txt", "--out", f"{root}/a.npy")
    again = ("--out", f"{root}/a.npy", "--pooling", "cls", "--overwrite")
    report("embed --overwrite", "embed", str(run), f"{inputs}/lines.txt", *again, before=vectors)
    report("embed to .jsonl", "embed", str(run), f"{inputs}/lines.txt", "--out", f"{root}/a.jsonl")
    report("report", "report", f"{root}", before=run)
    report("convert", "convert", str(run), f"{root}/model", "--to", "hf")
    words = ("convert", str(run), f"{root}/model", "--to", "hf", "--dtype", "bfloat16", "--overwrite")
    report("convert --overwrite", *words, before=inputs / "exports")
    words = ("convert", str(run), f"{root}/model", "--to", "sentence-transformers")
    report("convert --to sentence-transformers", *words)
    report("evaluate --json", "evaluate", str(run), "--json", f"{root}/figures.json", look=without_clocks)
    words = ("plan", f"{inputs}/named.py", "--topology", "v5e:2x2", "--analytic", "--json", f"{root}/figures.json")
    report("plan --json", *words, look=without_clocks)
    report("launch slurm", "launch", "slurm", f"{inputs}/named.py", "--workdir", f"{root}/run", "--yes")


if __name__ == "__main__":
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logging.getLogger("jaxbert").setLevel(logging.ERROR)
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "", os.environ.get("JAXBERT_POINTS_SET") == "full")
