"""The small files that bad command lines name: good ones of every kind, and one for each way of being wrong."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from jaxbert.commands.main import main
from jaxbert.config import EncoderConfig, PhaseConfig, RowsSource, RunConfig, ScheduleConfig, save_json
from jaxbert.stores.steps import write_manifest

BERT = Path(__file__).parent.parent / "goldens" / "bert_pretraining"
DEEP = "[" * 100_000 + "]" * 100_000
LONG = "9" * 400
MODEL_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(92))]

CONFIG = RunConfig(
    name="run",
    encoder=EncoderConfig(
        vocab_size=120, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32, max_positions=32
    ),
    phases=(
        PhaseConfig(
            name="main",
            rows=(RowsSource(path="rows"),),
            length=32,
            batch_size=4,
            steps=10,
            schedule=ScheduleConfig(peak=1e-3, warmup_steps=1, total_steps=10),
        ),
    ),
)
META = {
    **{"rows": [["a"]], "teacher": None, "init": None, "best": {"step": 2, "loss": 4.0}, "stopped_early": False},
    **{"last_evaluation": {"step": 2, "loss": 4.0}, "evaluations_since_best": 0, "phase": 0, "next_batch": 2},
    **{"skipped": 0, "validation_loss": 4.0, "evaluated_phase": 0},
}


@contextmanager
def inside(place: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)


def make(place: Path) -> None:
    """Makes everything in the empty directory `place`."""
    with inside(place):
        _texts()
        for words in (
            "tokenizer text:corpus.txt --vocab-size 120 --out tokenizer --validation-fraction 0.1",
            "prepare text:corpus.txt --tokenizer tokenizer --out records --rows rows --length 32 --workers 1 "
            "--validation-fraction 0.1",
        ):
            assert main(words.split()) == 0, words
        _configs()
        _suites()
        _models()
        _runs()
        _launches()
        Path("folder").mkdir()
        os.mkfifo("pipe")
        Path("nowhere").symlink_to("no/such/file")


def _texts() -> None:
    sentences = [f"sentence number {n} of the text says {n * 7 % 13} words ." for n in range(300)]
    paragraphs = [" ".join(sentences[i : i + 9]) for i in range(0, 300, 9)]
    text = "\n\n".join(paragraphs)
    files: dict[str, bytes] = {
        "corpus.txt": text.encode(),
        "empty.txt": b"",
        "blank.txt": b" \n\t\n\n",
        "latin.txt": b"caf\xe9 au lait.\n",
        "utf16.txt": "some words.\n".encode("utf-16"),
        "cut.txt.gz": gzip.compress(text.encode())[:-20],
        "no.txt.gz": b"no gzip",
        "no.txt.bz2": b"no bzip2",
        "no.txt.xz": b"no xz",
        "no.txt.zst": b"no zstd",
        "no.parquet": b"PAR1 no parquet",
        "lines.jsonl": b"".join(json.dumps({"text": one, "more": 1}).encode() + b"\n" for one in paragraphs),
        "deep.jsonl": (DEEP + "\n").encode(),
        "inside.jsonl": ('{"text": ' + DEEP + "}\n").encode(),
        "digits.jsonl": ('{"text": ' + "9" * 5000 + "}\n").encode(),
        "list.jsonl": b'["text"]\n',
        "number.jsonl": b'{"text": 5}\n',
        "object.jsonl": b'{"text": {"text": "a"}}\n',
        "other.jsonl": b'{"body": "a", "title": "b"}\n',
        "torn.jsonl": b'{"text": "a b c."}\n{"text": "a',
        "late.jsonl": b'{"text": "a b c."}\n' * 50 + b"{\n",
        "latin.jsonl": b'{"text": "caf\xe9"}\n',
        "table.csv": b"id,text\n1,some words here.\n",
        "labels.csv": b"text,label\n" + b"w1 w2,a\nw3,b\nw2,a\nw1,b\n" * 3,
        "two-texts.csv": b"text,label\n" + b"w1 w2,a\nw3,b\n" * 6,
        "one-class.csv": b"text,label\n" + b"w1 w2,a\n" * 6,
        "floats.csv": b"text,label\n" + b"".join(b"w1,0.%d\n" % number for number in range(30)),
        "no-label.csv": b"text,label\nw1,a\nw2,\nw3,b\n",
        "new-label.csv": b"text,label\nw1,a\nw2,c\n",
        "header.csv": b"text,label\n",
        "mixed.tsv": b"text\tlabel\nw1\ta\nw2,b\n",
        "nan.csv": b"text,label\nw1,1.5\nw2,nan\n",
        "outside.json": json.dumps(
            {
                "data": [
                    {
                        "paragraphs": [
                            {
                                "context": "w1 w2",
                                "qas": [{"id": "1", "question": "w3", "answers": [{"text": "w9", "answer_start": 0}]}],
                            }
                        ]
                    }
                ]
            }
        ).encode(),
        "one-choice.jsonl": b'{"text": "w1", "choices": ["w2"], "label": 0}\n',
        "far-choice.jsonl": b'{"text": "w1", "choices": ["w2", "w3"], "label": 2}\n',
        "tags.jsonl": b'{"tokens": ["w1", "w2"], "tags": ["O"]}\n',
        "no-pair.csv": b"text,label\nw1,0.5\n",
        "ragged.csv": b'id,text\n1,"open\n',
        "texts.txt": b"w0 w1 w2\nw3 w4\n",
    }
    for name, content in files.items():
        Path(name).write_bytes(content)


def _configs() -> None:
    save_json(CONFIG, Path("run.json"))
    good = Path("run.json").read_text()
    files = {
        "empty.json": "",
        "object.json": "{}",
        "list.json": "[]",
        "null.json": "null",
        "deep.json": DEEP,
        "inside.json": good.replace('"seed": 0', f'"seed": {DEEP}'),
        "digits.json": good.replace('"seed": 0', f'"seed": {LONG}'),
        "large.json": good.replace('"seed": 0', '"seed": 18446744073709551616'),
        "infinite.json": good.replace('"seed": 0', '"seed": 1e999'),
        "nan.json": good.replace('"peak": 0.001', '"peak": NaN'),
        "twice.json": good.replace('"seed": 0', '"seed": 0, "seed": 1'),
        "unknown.json": good.replace('"seed": 0', '"sed": 0'),
        "mistyped.json": good.replace('"seed": 0', '"seed": "0"'),
        "nul.json": good.replace('"name": "run"', '"name": "r\\u0000n"'),
        "half.json": good.replace('"name": "run"', '"name": "r\\ud800n"'),
        "cut.json": good[:200],
        "syntax.py": "def get_config(:",
        "raises.py": "def get_config():\n    return 1 / 0\n",
        "exits.py": "import sys\n\ndef get_config():\n    sys.exit(0)\n",
        "leaves.py": "raise SystemExit(0)\n",
        "recurses.py": "def get_config():\n    return get_config()\n",
        "nothing.py": "x = 1\n",
        "other.py": "def get_config():\n    return {'name': 'run'}\n",
        "imports.py": "import no_such_module\n",
        "wants.py": "def get_config(x):\n    return x\n",
    }
    for name, text in files.items():
        Path(name).write_text(text)
    Path("latin.json").write_bytes(good.replace("run", "r\xe9n").encode("latin-1"))
    Path("folder.json").mkdir()
    os.mkfifo("pipe.json")


def _suites() -> None:
    """A sound suite, and others with one fault each."""
    task = {"name": "cloze", "kind": "cloze", "files": ["cloze.jsonl"]}
    Path("cloze.jsonl").write_text('{"text": "w0 [MASK]", "answer": "w1"}\n')
    suites: dict[str, list[dict[str, Any]]] = {
        "suite": [task],
        "suite-no-tasks": [],
        "suite-kind": [{**task, "kind": "clozes"}],
        "suite-key": [{**task, "file": "x"}],
        "suite-metric": [{**task, "metric": "accuracy"}],
        "suite-option": [{**task, "options": {"mask": "word"}}],
        "suite-twice": [task, task],
        "suite-missing": [{**task, "files": ["no.jsonl"]}],
        "suite-config": [{**task, "kind": "finetuned", "options": {"config": "smoke"}}],
        "suite-no-config": [{**task, "kind": "finetuned", "options": {"config": "no"}}],
        "suite-record": [{**task, "files": ["lines.jsonl"]}],
        "suite-head": [{**task, "kind": "robustness", "files": ["table.csv"], "options": {"columns": {"label": "id"}}}],
    }
    for name, tasks in suites.items():
        Path(f"{name}.json").write_text(json.dumps({"tasks": tasks}))


def _models() -> None:
    """A sound model, and copies with one file spoilt."""
    Path("model").mkdir()
    for file in ("config.json", "model.safetensors"):
        shutil.copy(BERT / file, Path("model") / file)
    Path("model/vocab.txt").write_text("\n".join(MODEL_WORDS) + "\n")
    text = Path("model/config.json").read_text()

    def spoilt(name: str, file: str, content: str | bytes | None) -> None:
        shutil.copytree("model", name)
        path = Path(name) / file
        path.unlink(missing_ok=True)
        if isinstance(content, str):
            path.write_text(content)
        elif content is not None:
            path.write_bytes(content)

    spoilt("model-deep", "config.json", DEEP)
    spoilt("model-list", "config.json", "[]")
    spoilt("model-digits", "config.json", text.replace('"vocab_size": 97', f'"vocab_size": {LONG}'))
    spoilt("model-type", "config.json", text.replace('"bert"', '"gpt2"'))
    spoilt("model-weightless", "model.safetensors", None)
    spoilt("model-cut", "model.safetensors", (BERT / "model.safetensors").read_bytes()[:1000])
    spoilt("model-wordless", "vocab.txt", None)
    spoilt("model-few-words", "vocab.txt", "[PAD]\n[UNK]\n")
    spoilt("model-modules", "modules.json", DEEP)
    spoilt("model-module", "modules.json", '[{"type": "sentence_transformers.models.Dense", "path": ""}]')
    spoilt("model-tokenizer", "tokenizer.json", DEEP)
    shutil.copytree("model", "classifier")
    tensors = {name: value for name, value in load_file("model/model.safetensors").items() if name.startswith("bert.")}
    size = json.loads(text)["hidden_size"]
    tensors |= {"classifier.weight": np.zeros((2, size), np.float32), "classifier.bias": np.zeros(2, np.float32)}
    save_file(tensors, "classifier/model.safetensors", {"format": "pt"})
    changed = {**json.loads(text), "architectures": ["BertForSequenceClassification"]}
    Path("classifier/config.json").write_text(json.dumps(changed))
    for name, file in (("model-pipe", "config.json"), ("model-pipe-weights", "model.safetensors")):
        spoilt(name, file, None)
        os.mkfifo(Path(name) / file)


def _runs() -> None:
    """A workdir with one checkpoint that holds no arrays, and workdirs with one file spoilt."""
    run = Path("run")
    (run / "checkpoints" / "2").mkdir(parents=True)
    save_json(CONFIG, run / "config.json")
    shutil.copytree("tokenizer", run / "tokenizer")
    lines = [{"step": step, "phase": "main", "loss": 5.0 - step / 10, "rate": 1e-3} for step in range(1, 4)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    telemetry: list[dict[str, Any]] = [{"versions": {"jax": "0"}, "devices": 1, "device": "cpu"}]
    telemetry += [{"step": 3, "elapsed_s": 5.0, "goodput": 0.9, "tokens_per_s": 10.0}]
    (run / "telemetry.jsonl").write_text("".join(json.dumps(line) + "\n" for line in telemetry))
    (run / "evaluation.json").write_text(json.dumps({"loss": 4.0, "baselines": {"left bigram": 0.1}}))
    (run / "checkpoints" / "2" / "array").write_bytes(b"array")
    write_manifest(run, 2, META)
    Path("begun").mkdir()
    save_json(CONFIG, Path("begun") / "config.json")

    def spoilt(name: str, change: Callable[[Path], object]) -> None:
        shutil.copytree("run", name)
        change(Path(name))

    spoilt("run-deep", lambda path: (path / "config.json").write_text(DEEP))
    spoilt("run-cut", lambda path: (path / "config.json").write_text("{"))
    spoilt("run-evaluation", lambda path: (path / "evaluation.json").write_text(DEEP))
    spoilt("run-manifest", lambda path: (path / "checkpoints" / "2" / "manifest.json").write_text(DEEP))
    spoilt("run-array", lambda path: (path / "checkpoints" / "2" / "array").write_bytes(b"arraz"))
    spoilt("run-bucket", lambda path: (path / ".remote").write_text("no url"))


def _launches() -> None:
    """Workdirs whose record of a launch is spoilt."""
    good = {"workdir": "w", "target": "gke", "name": "run", "options": {}}
    launcher = {"host": "node7", "boot": "", "space": "", "process": 7, "start": "ticks 1", "since": 1}
    launcher |= {"processes": 2, "restarts": 0, "again": 0, "code": None, "ended": None}
    local = {"workdir": "w", "target": "local", "name": "local", "options": launcher}
    records = {
        "deep": DEEP,
        "list": "[]",
        "digits": json.dumps(good).replace('"w"', LONG),
        "twice": '{"target": "gke", ' + json.dumps(good)[1:],
        "target": json.dumps({**good, "target": "no"}),
        "options": json.dumps(good),
        "mistyped": json.dumps({**good, "options": []}),
        "elsewhere": json.dumps(local),
        "process": json.dumps({**local, "options": {**launcher, "process": 0}}),
    }
    for name, content in records.items():
        place = Path(f"launched-{name}") / "launch"
        place.mkdir(parents=True)
        (place / "job.json").write_text(content)
    Path("launched-pipe/launch").mkdir(parents=True)
    os.mkfifo("launched-pipe/launch/job.json")


def snapshot(place: Path) -> dict[str, tuple[int, int, int]]:
    """Returns mode, size and time of everything below a directory."""
    found = {}
    for directory, folders, files in os.walk(place):
        for name in (*folders, *files):
            path = os.path.join(directory, name)
            stat = os.lstat(path)
            found[os.path.relpath(path, place)] = (stat.st_mode, stat.st_size if name in files else 0, stat.st_mtime_ns)
    return found
