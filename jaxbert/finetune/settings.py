"""From the words of `jaxbert finetune` to the runs that they ask for: one, or one for each seed and setting."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from jaxbert.config import LabelledTaskConfig, RunConfig
from jaxbert.config.overrides import parse_settings, with_long_key
from jaxbert.errors import InputError
from jaxbert.run.wanted import Wanted, wanted

_MOST_RUNS = 1000


@dataclass(frozen=True)
class Run:
    """One run of a fine-tuning.

    Attributes:
      name: the directory of the run in the workdir, "rate=3e-05,epochs=3/seed-0"; "" for a single run, which has the
        workdir for itself.
      setting: the part of the sweep, "rate=3e-05 epochs=3"; "" without a sweep.
      seed: its seed.
      asked: the run as `jaxbert.run.pretrain.train` takes it.
    """

    name: str
    setting: str
    seed: int
    asked: Wanted


@dataclass(frozen=True)
class Files:
    """The files and columns of the command line; an empty one leaves what the config says.

    Attributes:
      train, validation, test: see `LabelledConfig`.
      columns: "role=column" each.
      form: format of the files.
    """

    train: str = ""
    validation: str = ""
    test: str = ""
    columns: tuple[str, ...] = ()
    form: str = ""


def runs_of(
    config: RunConfig,
    files: Files,
    *,
    init: str | None,
    tokenizer: str | None = None,
    settings: Sequence[str] = (),
    seeds: int = 1,
    sweep: Sequence[str] = (),
) -> list[Run]:
    """Returns the runs of a fine-tuning: each combination of the sweep, and each seed of it.

    Args:
      config: the config that the command names.
      files: of the command line.
      init: MODEL that the runs start from; None starts them at random, with the tokenizer of the command line.
      tokenizer: directory of a tokenizer, for runs that start at random.
      settings: `--set` texts; the names of `jaxbert.config.nearby.SHORT_KEYS` are keys too.
      seeds: number of seeds, from the config's on.
      sweep: "key=value,value" each; see `jaxbert.config.nearby.SHORT_KEYS`.

    Raises:
      InputError: the config is not of a task with labels, or a setting or a sweep cannot be read.
    """
    settings = [with_long_key(text) for text in settings]
    config = _with_files(config, files)
    if init is None and not config.init:
        if tokenizer is None:
            raise InputError(
                "there is no model to fine-tune",
                where=f"config {config.name}",
                fix="Give --init MODEL: a run, a Hugging Face directory, or hf:NAME. To train from a random start all "
                "the same, give the sizes of the encoder in a config, and --tokenizer DIR.",
                code="E-FINETUNE-INIT",
            )
        config = dataclasses.replace(config, inherit="nothing")
    if not 1 <= seeds <= _MOST_RUNS:
        raise InputError(
            f"{seeds} seeds",
            where="--seeds",
            fix="Give a number from 1 to 1000, for example 3.",
            code="E-FINETUNE-SEEDS",
        )
    combinations = _combinations(sweep)
    several = seeds > 1 or bool(sweep)
    found = []
    for combination in combinations:
        texts = [with_long_key(f"{key}={value}") for key, value in combination]
        try:
            base = wanted(config, init=init, tokenizer=tokenizer, settings=[*settings, *texts])
        except InputError as error:
            raise _in_sweep(error, combination, settings) from None
        first = base.config.seed
        setting = " ".join(f"{key}={value}" for key, value in combination)
        for seed in range(first, first + seeds):
            seeded = [*settings, *texts, f"seed={seed}"] if several else [*settings, *texts]
            asked = wanted(config, init=init, tokenizer=tokenizer, settings=seeded) if several else base
            name = ""
            if several:
                place = PurePosixPath(_directory(combination)) if combination else PurePosixPath()
                name = str(place / f"seed-{seed}")
            found.append(Run(name, setting, seed, asked))
    if len(found) > _MOST_RUNS:
        raise InputError(
            f"the sweep has {len(found):,} runs",
            where="--sweep",
            fix=f"Give fewer values: at most {_MOST_RUNS:,} runs.",
            code="E-FINETUNE-SWEEP",
        )
    names = [run.name for run in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(
            f"two runs of the sweep are the same: {twice}",
            where="--sweep",
            fix="Give each value once.",
            code="E-FINETUNE-SWEEP",
        )
    return found


def _with_files(config: RunConfig, files: Files) -> RunConfig:
    task = config.task
    if not isinstance(task, LabelledTaskConfig):
        raise InputError(
            f"the config {config.name} has the task {task.name}, which learns without labels",
            where="CONFIG",
            fix="Give a config of a task with labels, for example classify, or train it with `jaxbert pretrain`.",
            code="E-FINETUNE-CONFIG",
        )
    given = {name: value for name, value in dataclasses.asdict(files).items() if value}
    return dataclasses.replace(config, task=dataclasses.replace(task, data=dataclasses.replace(task.data, **given)))


def _combinations(sweep: Sequence[str]) -> list[tuple[tuple[str, str], ...]]:
    """Returns the combinations of a sweep, each as (key, value) pairs; one empty combination without a sweep."""
    axes: list[tuple[str, list[str]]] = []
    for text in sweep:
        key, separator, values = text.partition("=")
        each = [value.strip() for value in values.split(",")]
        if not separator or not key or not all(each):
            raise InputError(
                f"{text!r} is not KEY=VALUE,VALUE",
                where="--sweep",
                fix="Write for example --sweep rate=1e-5,3e-5,5e-5 epochs=3,10.",
                code="E-FINETUNE-SWEEP",
            )
        if key in [name for name, _ in axes]:
            raise InputError(
                f"the key {key} stands twice in the sweep",
                where="--sweep",
                fix=f"Write all its values in one word: {key}=VALUE,VALUE.",
                code="E-FINETUNE-SWEEP",
            )
        axes.append((key, each))
    parse_settings([with_long_key(f"{key}={value}") for key, each in axes for value in each])
    return list(itertools.product(*[[(key, value) for value in each] for key, each in axes]))


def _in_sweep(error: InputError, combination: Sequence[tuple[str, str]], settings: Sequence[str]) -> InputError:
    """Returns an error about `--set KEY` as one about `--sweep KEY`, where only the sweep has set the key."""
    typed = {f"--set {with_long_key(f'{key}=').removesuffix('=')}": key for key, _ in combination}
    by_hand = {f"--set {text.partition('=')[0]}" for text in settings}
    if error.where not in typed or error.where in by_hand:
        return error
    return InputError(error.what, where=f"--sweep {typed[error.where]}", fix=error.fix, code=error.code)


def _directory(combination: Sequence[tuple[str, str]]) -> str:
    """Returns the name of the directory of a combination. A slash in a value, as of a path, becomes an underscore."""
    return ",".join(f"{key}={value}" for key, value in combination).replace("/", "_")
