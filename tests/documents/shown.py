"""The commands that the documents show, and what becomes of each: it is run, or a reason says why not."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Decisions and the page of style show no commands of a user; the page of errors shows messages.
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(
        path
        for path in (ROOT / "docs").rglob("*")
        if path.suffix in (".md", ".ipynb") and "decisions" not in path.parts and path.name not in ("errors.md",)
    ),
]
# The first word of a line of code that is a command. A line that begins with "$ " is one in any case.
PROGRAMS = ("jaxbert", "make", "pip", "uvx", "python", "printf", "mkdir", "bash", "docker", "gcloud", "kubectl", "sky")
_ASSIGNMENT = re.compile(r"[A-Z][A-Z_0-9]*=\S*")
# What a command prints may begin with the name of the program.
_PRINTED = re.compile(r"jaxbert: ")


@dataclass(frozen=True)
class Shown:
    """A command of a page.

    Attributes:
      page: the page's path in the repository.
      line: the number of its first line.
      text: the command as a shell gets it, without the prompt and without a comment.
      dialogue: whether the page shows it behind a prompt, together with what it prints.
    """

    page: str
    line: int
    text: str
    dialogue: bool = False

    @property
    def words(self) -> list[str]:
        """Returns the words of the command, without assignments of variables before it."""
        words = shlex.split(self.text)
        while words and _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        return words

    @property
    def ours(self) -> bool:
        """Returns whether it is a command of jaxbert."""
        return self.words[0] == "jaxbert"


def shown() -> Iterator[Shown]:
    """Yields the commands of all pages in their order."""
    for path in PAGES:
        name = path.relative_to(ROOT).as_posix()
        yield from of_text(name, _notebook(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8"))


def of_text(name: str, text: str) -> Iterator[Shown]:
    """Yields the commands of a page in Markdown: the lines of its blocks of code that begin with a program."""
    for block, first in blocks(text):
        number = 0
        while number < len(block):
            start, line = number, block[number]
            while line.endswith("\\") and number + 1 < len(block):
                number += 1
                line = line[:-1].rstrip() + " " + block[number].strip()
            number += 1
            prompt = line.startswith("$ ")
            line = line.removeprefix("$ ").removeprefix("!")
            if not (prompt or begins(line)) or line.startswith(" ") or _PRINTED.match(line):
                continue
            # Words behind a wide space are prose, and "# ..." is a comment.
            line = re.split(r" {3,}| {2,}# ", line)[0].strip()
            yield Shown(name, first + start, line, prompt)


def begins(line: str) -> bool:
    """Returns whether a line of code begins with a program, after assignments of variables."""
    words = line.split()
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    return bool(words) and words[0] in PROGRAMS


def blocks(text: str) -> Iterator[tuple[list[str], int]]:
    """Yields the lines of each block of code that may hold commands, and the number of its first line."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        fence = re.match(r"(\s*)(`{3,}|~{3,})(\w*)", lines[number])
        if fence:
            end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == fence[2])
            if fence[3] in ("", "sh", "bash", "shell", "console"):
                yield [line.strip() for line in lines[number + 1 : end]], number + 2
            number = end + 1
        elif lines[number].startswith("    ") and (number == 0 or not lines[number - 1].strip()):
            end = number
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield [line[4:] for line in lines[number:end]], number + 1
            number = end
        else:
            number += 1


def blocks_of(text: str, language: str) -> list[str]:
    """Returns the code of each fenced block of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def _notebook(path: Path) -> str:
    """Returns the cells of code of a notebook as blocks of Markdown."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return "\n".join(f"```\n{text}\n```" for text in code)


@dataclass(frozen=True)
class Left:
    """Commands that no test of the documents runs.

    Attributes:
      pattern: of the command's text.
      why: the reason, and what runs or checks them instead.
      page: of the pages' paths; "" means all.
    """

    pattern: str
    why: str
    page: str = ""


@dataclass(frozen=True)
class Smaller:
    """Commands that the tests run with fewer steps or on a smaller text.

    Attributes:
      pattern: of the command's text.
      replace: parts of the text, and what replaces them.
      add: words that follow the others.
    """

    pattern: str
    replace: dict[str, str] = field(default_factory=dict)
    add: str = ""


LEFT = (
    # Held by a test of its own.
    Left(r".", "tests/launch/test_document.py runs the dry runs of this page", page=r"docs/how-to/launch\.md"),
    Left(r".", "measurements of minutes to hours; benchmarks/ has the programs", page=r"docs/explanations/results\.md"),
    Left(r".", "tests/documents/test_notebook.py runs the notebook", page=r"\.ipynb"),
    Left(r"^jaxbert launch local (?!.*--dry-run)", "tests/multiprocess/test_launch.py launches several processes"),
    Left(r"^jaxbert finetune .*--init MODEL ", "MODEL is any model; commands that name runs/quickstart are run"),
    Left(r"^jaxbert convert runs/mine ", "needs files of the user; tests/finetune converts a fine-tuned model"),
    Left(
        r"^jaxbert evaluate runs/mine --suite ",
        "needs a fine-tuned model; tests/evaluate/test_suite.py runs such a suite",
    ),
    Left(
        r"^jaxbert evaluate runs/mine --test ",
        "needs files of the user; tests/finetune/test_runs.py judges later files",
    ),
    Left(r"^jaxbert predict runs/mine ", "needs files of the user; tests/predict/test_predict_command.py has some"),
    # Other programs.
    Left(r"^make ", "tests/cli/test_documented_commands.py asks make for it; .ci/stages.py runs most of them"),
    Left(r"^\. \.venv/bin/activate$", "it changes a shell, and the tests run in the environment already"),
    Left(r"^bash \.ci/run$", "it is what runs this test"),
    Left(r"^(pip|uvx) ", "needs the network; `make test-wheel` installs the wheel"),
    Left(r"^gcloud ", "needs a bucket; tests/cloud has an emulator of one"),
    Left(r"^python -c .from transformers", "needs transformers; tests/peers/test_finish_peer.py runs the line"),
    Left(r"logging\.sinks=.*wandb", "needs Weights & Biases, which is not installed here"),
    # Other machines.
    Left(r"^jaxbert pretrain .*gs://", "needs a bucket; tests/cloud has an emulator of one", page=r"how-to/scale\.md"),
    Left(r"^jaxbert launch (status|logs|stop) .*gs://", "needs a cloud; tests/launch has engines in place of it"),
    Left(r"--beam", "needs Dataflow; tests/cloud runs Beam's local runner"),
    Left(r"--distributed", "needs a cluster; tests/engines runs a Slurm of two nodes"),
    Left(r"JAXBERT_COORDINATOR=", "needs several hosts; tests/multiprocess runs several processes"),
    # Sizes that a CPU does not train.
    Left(r"^jaxbert pretrain distilbert_tiny ", "trains a teacher first; tests/train/test_distillation.py too"),
    Left(r"^jaxbert pretrain (bert_small|bert_large_lamb) ", "days on a CPU; tests/test_configs.py holds the config"),
)

_FEW = (
    "phases.*.steps=3 phases.0.schedule.warmup_steps=1 logging.every_steps=1 checkpoint.every_steps=3 "
    "evaluation.batches=2 evaluation.every_steps=3"
)
_FEW_LABELS = "--set phases.0.length=32 phases.0.lengths=[] logging.page=no"
# The same command with another folder and workdir: it runs once.
_SAME_AUTO = {"--text books --workdir runs/books": "--text folder"}
# The sample has a few of its documents (tests/documents/test_commands.py), which fill a smaller vocabulary.
SMALLER = (
    # The pages give the same workdir to different folders.
    Smaller(r"^jaxbert pretrain auto .*--minutes", {"--minutes 10": "--minutes 0.2", **_SAME_AUTO}),
    Smaller(r"^jaxbert pretrain auto ", {}, "--minutes 0.2 --overwrite"),
    Smaller(r"^jaxbert pretrain bert_tiny .*--data runs/demo/rows", {}, f"--set {_FEW}"),
    Smaller(r"^jaxbert pretrain bert_tiny .*--profile", {"20:24": "2:3"}, f"--set {_FEW} encoder.vocab_size=2048"),
    # What scale.* scales stands before it.
    Smaller(
        r"^jaxbert pretrain bert_tiny .*scale\.",
        {"--set ": "--set phases.0.steps=8 phases.0.schedule.warmup_steps=4 "},
        "--set encoder.vocab_size=2048",
    ),
    Smaller(r"^jaxbert pretrain bert_tiny .*vocab_size", {}, f"--set {_FEW}"),
    Smaller(r"^jaxbert pretrain adapt ", {}, f"--set {_FEW} phases.0.batch_size=16 evaluation.batch_size=16"),
    Smaller(r"^jaxbert report .*runs/other", {"runs/mine runs/other": "runs/quickstart runs/auto"}),
    Smaller(r"logging\.sentences", {"runs/mine": "runs/sentences"}, f"--set {_FEW} encoder.vocab_size=2048"),
    Smaller(r"^jaxbert pretrain ", {}, f"--set {_FEW} encoder.vocab_size=2048"),
    Smaller(r"^jaxbert finetune .*--sweep", {" --seeds 2": "", "3,6": "0.01"}, _FEW_LABELS),
    Smaller(r"^jaxbert finetune ", {}, f"{_FEW_LABELS} epochs=0.01"),
    Smaller(r"--vocab-size (30522|4096|8192)", {"30522": "2048", "8192": "2048"}),
    Smaller(r"^jaxbert plan ", {" --analytic": ""}, "--analytic"),
    Smaller(r"CONFIG", {"CONFIG": "smoke", "DIR": "runs/placeholder"}),
)


def left(command: Shown) -> Left | None:
    """Returns why no test runs a command; None: one does."""
    return next(
        (one for one in LEFT if re.search(one.page, command.page) and re.search(one.pattern, command.text)), None
    )


def smaller(command: Shown) -> str:
    """Returns the text of a command as the tests run it."""
    text = command.text
    for one in SMALLER:
        if re.search(one.pattern, text):
            for part, other in one.replace.items():
                text = text.replace(part, other)
            return f"{text} {one.add}".strip()
    return text
