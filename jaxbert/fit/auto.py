"""Chooses the recipe of a run from its text, its machine and its time: `jaxbert pretrain auto`.

`choose` tries the shapes of `LADDER` from the largest to the smallest, and takes the first one whose recipe suits the
text, the memory and the time. The recipe of a shape follows from these rules, one function each:

    preparation   the seconds that are left for training when rows are made and the model is evaluated
    vocabulary    by the characters of the text, its alphabet and the width of the model: `jaxbert.fit.vocabulary`
    phases        lengths, batches and steps, by the time of a step on this machine
    rate          by shape and batch

The user's settings are a part of the recipe from the beginning, so that they count in all of it.
docs/how-to/auto.md has the experiments behind the figures.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from jaxbert.config import (
    CheckpointConfig,
    DataConfig,
    EncoderConfig,
    EvaluationConfig,
    LoggingConfig,
    MaskedLMConfig,
    MeshConfig,
    ObjectivesConfig,
    OptimizerConfig,
    OptimizerName,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
    check,
)
from jaxbert.config.derived import horizon
from jaxbert.config.overrides import Setting
from jaxbert.core.progress import duration
from jaxbert.errors import InputError
from jaxbert.fit.choice import BESIDE, Choice, Recipe, millions, sizes_of, told
from jaxbert.fit.corpus import Corpus
from jaxbert.fit.machine import Machine, Speed, fits, guessed
from jaxbert.fit.passes import MOST_PASSES
from jaxbert.fit.settings import Given
from jaxbert.fit.shapes import LADDER, Shape
from jaxbert.fit.vocabulary import with_vocabulary
from jaxbert.models.families.bert import PRESETS

# The name of the config on the command line, and of the run.
NAME = "auto"
# Minutes of a run whose user names no time, by platform.
MINUTES = {"cpu": 10.0, "gpu": 30.0, "tpu": 30.0}
# From so many passes on, dropout is worth its time.
_DROPOUT_PASSES = 15
_DROPOUT = 0.1
# The share of tokens that training predicts.
_MASKED = 0.3

# Seconds of a run that are not steps, on two cores: start of the programs; reading the text three times (facts,
# vocabulary, records) and cutting rows, for each million characters; compiling a step and an evaluation of a phase;
# evaluation with count tables, report and export at the end. docs/how-to/auto.md has the measurements.
_START, _PREPARE, _COMPILE, _END = 10.0, 2.0, 8.0, 30.0
_COMPILE_ACCELERATOR = 45.0
# Below so many steps no model learns anything. A shorter time is exceeded instead, but never the passes over the text.
_LEAST_STEPS = 60
# A phase has so many steps until they are chosen, so that each warm-up and decay of the user fits.
_PROVISIONAL_STEPS = 100_000_000
# Steps of one run: more tokens than these steps take come in larger batches.
_MOST_STEPS = 100_000
# Fewer steps than these come in smaller batches.
_FEW_STEPS = 1_500
# An accelerator is hardly busy with fewer tokens in a device's batch.
_DEVICE_TOKENS = 1 << 12
# LAMB is for batches of 2,048 rows of 128 tokens and more (You et al. 2020). Its rate is 6.25e-4 at 512 rows.
_LAMB_TOKENS, _LAMB_RATE = 1 << 18, 6.25e-4 / math.sqrt(512 * 128)
_LEAST_BATCH, _MOST_BATCH = 1 << 9, 1 << 20
# Post-LN layers stay at the constant guess with rates far above these (docs/explanations/results.md).
_MOST_RATE = 2.0
# Encoders of so many layers get rows of 128 and 512 tokens on accelerators, like the original.
_LONG_LAYERS = 4
# Runs of more training than this also see rows of 128 tokens on a CPU.
_LONG_SECONDS = 3600.0
# A text of so many characters is refused where its preparation alone takes longer than the time.
_LARGE_CHARACTERS = 20_000_000
# The rate rises over this many steps at least, but over no more than this share of a short run.
_WARMUP_STEPS, _LONGEST_WARMUP = 800, 0.4
# The share of the steps in which the rate falls, where the user sets the schedule `wsd` and no decay.
_DECAY = 0.2
# Rows of an evaluation on the way.
_EVALUATED_ROWS = 1280


def choose(
    corpus: Corpus,
    machine: Machine,
    seconds: float,
    *,
    source: str,
    asked: float | None = None,
    speed: Speed | None = None,
    settings: Sequence[Setting] = (),
) -> Choice:
    """Chooses the recipe of a run.

    Args:
      corpus: the facts of the text.
      machine: the devices.
      seconds: the time of the whole command that is left, preparation and evaluation included.
      asked: the time that the user gave, for the lines; None: `seconds`.
      source: SOURCE of the text, for the config.
      speed: the seconds of a step of a phase, measured. It is asked for few recipes. None: they are guessed.
      settings: what the user sets. The recipe has it, and everything else is chosen to go with it.

    Raises:
      InputError: the preparation of the text takes longer than the time, no shape fits into the memory, or the
        settings do not fit the run.
    """
    beside = preparation(corpus, machine)
    if beside > seconds and corpus.characters > _LARGE_CHARACTERS:
        raise InputError(
            f"the preparation of {millions(corpus.characters)} characters takes about {duration(beside)}, and the run "
            f"has {duration(seconds)}",
            where=source,
            fix=f"Give --hours {math.ceil(2 * beside / 360) / 10:g} or more, or a part of the text.",
            code="E-FIT-TIME",
        )
    given = Given(corpus, machine, source, tuple(settings))
    guess = guessed(machine)
    ratios: dict[tuple[int, int], float] = {}

    def corrected(config: RunConfig, phase: int) -> float:
        # A shape that was not measured is taken to be as much slower than its guess as the one measured last.
        last = next(reversed(ratios.values()), 1.0)
        return guess(config, phase) * ratios.get(sizes_of(config), last)

    while True:
        recipe = _largest(given, seconds - beside, beside, corrected)
        sizes = sizes_of(recipe.config)
        if speed is None or sizes in ratios:
            _check_schedule(recipe)
            return told(recipe, asked or seconds)
        main = len(recipe.config.phases) - 1
        # The steps are not settled before the measurement, so a schedule that does not fit them yet is no error.
        phases = tuple(dataclasses.replace(phase, steps=_PROVISIONAL_STEPS) for phase in recipe.config.phases)
        now = dataclasses.replace(recipe.config, phases=phases)
        ratios[sizes] = speed(now, main) / guess(now, main)


def preparation(corpus: Corpus, machine: Machine) -> float:
    """Returns about how many seconds of the command are not training: rows, compilation, the end."""
    each = _COMPILE if machine.platform == "cpu" else _COMPILE_ACCELERATOR
    return _START + _END + 2 * each + _PREPARE * corpus.characters / 1e6 * 2 / min(machine.cores, 32)


def check_settings(settings: Sequence[Setting], machine: Machine, seconds: float, source: str) -> None:
    """Raises InputError where settings do not fit the smallest run: before the text is read."""
    shape = LADDER[-1]
    given = Given(Corpus(), machine, source, tuple(settings))
    check(_started(shape, given, _lengths(shape, machine, seconds), shape.batch))


def _check_schedule(recipe: Recipe) -> None:
    """Raises InputError where the user's warm-up or decay does not fit the steps, which are known now."""
    try:
        check(recipe.config)
    except InputError as error:
        if error.code != "E-CONFIG-SCHEDULE" or recipe.given.sets_steps:
            raise
        more = "" if recipe.stopped else " More time makes more steps: give a larger --minutes or --hours."
        raise InputError(
            f"{error.what}; auto chooses {sum(phase.steps for phase in recipe.config.phases):,} steps for this text "
            "and time",
            where=error.where,
            fix=f"{error.fix}{more}",
            code="E-CONFIG-SCHEDULE",
        ) from None


def _largest(given: Given, left: float, beside: float, speed: Speed) -> Recipe:
    """Returns the recipe of the largest shape that fits into the memory, and that the tokens of the time can fill.

    Raises:
      InputError: not even the smallest shape fits into the memory, or the settings do not fit it.
    """
    for shape in LADDER:
        lengths = _lengths(shape, given.machine, left)
        started = _started(shape, given, lengths, shape.batch)
        try:
            check(started)
        except InputError:
            if shape is LADDER[-1]:
                raise
            continue  # The settings do not fit this shape: its width and its heads, for example.
        recipe = _recipe(shape, given, lengths, left, beside, speed)
        if recipe.fills or shape is LADDER[-1]:
            config = _fitting(recipe.config, given.machine)
            if config is not None:
                return dataclasses.replace(recipe, config=config)
    raise InputError(
        f"the smallest shape does not fit into the memory of {given.machine.words}",
        where="memory",
        fix="Take a machine with more memory.",
        code="E-FIT-MEMORY",
    )


def _recipe(
    shape: Shape, given: Given, lengths: tuple[tuple[int, float], ...], left: float, beside: float, speed: Speed
) -> Recipe:
    """Returns the recipe of a shape in `left` seconds of training, whether it fits into the memory or not."""
    machine = given.machine
    corpus_tokens = given.corpus.tokens(_started(shape, given, lengths, shape.batch).encoder.vocab_size)
    most = MOST_PASSES * corpus_tokens

    def tried(batch: int) -> tuple[RunConfig, float]:
        """Returns (the run with batches of so many tokens, tokens of the whole run)."""
        config = _started(shape, given, lengths, batch)
        token = sum(
            share * speed(config, index) / (phase.batch_size * phase.length)
            for index, ((_, share), phase) in enumerate(zip(lengths, config.phases, strict=True))
        )
        return config, max(0.0, left * (1 - BESIDE)) / token

    # Batches are larger where steps would be too many, or where time is short and devices are idle. They are smaller
    # where steps would be few.
    batch, busy = shape.batch, 0 if machine.platform == "cpu" else _DEVICE_TOKENS * machine.devices
    config, affordable = tried(batch)
    while batch < _MOST_BATCH and (min(most, affordable) > _MOST_STEPS * batch or (affordable < most and batch < busy)):
        batch *= 2
        config, affordable = tried(batch)
    while batch > _LEAST_BATCH and min(most, affordable) < _FEW_STEPS * batch:
        batch //= 2
        config, affordable = tried(batch)
    tokens = min(most, max(affordable, _LEAST_STEPS * batch))
    config = _with_steps(config, lengths, tokens, shape, corpus_tokens, given)
    each = tuple(speed(config, index) for index in range(len(config.phases)))
    return Recipe(shape, config, each, beside, corpus_tokens, affordable > most, given)


def _started(shape: Shape, given: Given, lengths: tuple[tuple[int, float], ...], batch: int) -> RunConfig:
    """Returns the run of a shape in batches of so many tokens, before its steps are known."""
    config = dataclasses.replace(_config(shape, given), phases=_phases(lengths, batch, given.machine))
    settled = given.settled(config)
    # A position that no step sees learns nothing, and a text that is longer would get there.
    positions = max(phase.length for phase in settled.phases) + settled.encoder.position_offset
    return given.settled(
        dataclasses.replace(
            config,
            encoder=dataclasses.replace(config.encoder, max_positions=positions),
            phases=(dataclasses.replace(config.phases[0], schedule=_schedule(settled, 1)), *config.phases[1:]),
        )
    )


def _lengths(shape: Shape, machine: Machine, left: float) -> tuple[tuple[int, float], ...]:
    """Returns the lengths of the phases, each with its share of the tokens.

    Short rows come first: attention finds the neighbours of a token sooner among few. Accelerators take the original's
    lengths, because the matrix products of shorter rows leave them idle.
    """
    if machine.platform != "cpu":
        return ((128, 0.9), (512, 0.1)) if shape.layers >= _LONG_LAYERS else ((64, 0.5), (128, 0.5))
    return ((32, 0.4), (64, 0.6)) if left < _LONG_SECONDS else ((32, 0.3), (64, 0.4), (128, 0.3))


def _phases(lengths: tuple[tuple[int, float], ...], batch: int, machine: Machine) -> tuple[PhaseConfig, ...]:
    """Returns phases of `batch` tokens a step, without their steps. Every device has the same number of rows."""
    return tuple(
        PhaseConfig(
            name=f"seq{length}",
            length=length,
            batch_size=machine.devices * max(1, round(batch / length / machine.devices)),
            steps=_PROVISIONAL_STEPS,
            schedule=ScheduleConfig() if index == 0 else None,
        )
        for index, (length, _) in enumerate(lengths)
    )


def _fitting(config: RunConfig, machine: Machine) -> RunConfig | None:
    """Returns the run in as few micro-batches a step as fit into the memory; None if not even one row a device does."""
    while not fits(config, machine):
        phases = []
        for phase in config.phases:
            rows = phase.batch_size // machine.devices
            if phase.accumulation * 2 <= rows and rows % (phase.accumulation * 2) == 0:
                phase = dataclasses.replace(phase, accumulation=phase.accumulation * 2)
            phases.append(phase)
        if tuple(phases) == config.phases:
            return None
        config = dataclasses.replace(config, phases=tuple(phases))
    return config


def _config(shape: Shape, given: Given) -> RunConfig:
    """Returns all of the run that its phases do not change."""
    accelerated = given.machine.platform != "cpu"
    encoder = dataclasses.replace(
        PRESETS[shape.preset],
        dropout=0.0,
        attention_dropout=0.0,
        attention="fused" if accelerated else "reference",
        initializer_range=shape.initializer,
        position_init="sinusoidal",
    )
    config = RunConfig(
        name=NAME,
        encoder=encoder,
        objectives=ObjectivesConfig(masked_lm=MaskedLMConfig(rate=_MASKED), next_sentence=None),
        optimizer=OptimizerConfig(name="adamw", beta2=0.98, weight_decay=0.01, clip_norm=1.0),
        data=DataConfig(source=given.source, policy="packed", validation_fraction=_held_out(given.corpus)),
        mesh=MeshConfig(layout="auto" if accelerated else "replicated"),
    )
    return with_vocabulary(config, given.corpus, given.language)


def _held_out(corpus: Corpus) -> float:
    """Returns the share of the documents for validation: about 300,000 characters, from 0.1% to 5% of the text."""
    return round(min(0.05, max(0.001, 3e5 / max(1, corpus.characters))), 4)


def _with_steps(
    config: RunConfig,
    lengths: tuple[tuple[int, float], ...],
    tokens: float,
    shape: Shape,
    corpus_tokens: int,
    given: Given,
) -> RunConfig:
    """Returns the run with its steps, and with everything that depends on their number."""
    counted_steps = tuple(
        dataclasses.replace(phase, steps=max(1, round(share * tokens / (phase.batch_size * phase.length))))
        for (_, share), phase in zip(lengths, config.phases, strict=True)
    )
    # The schedule follows the steps that the user sets.
    counted = given.settled(dataclasses.replace(config, phases=counted_steps))
    phases = list(counted.phases)
    steps = sum(phase.steps for phase in phases)
    batch = phases[0].batch_size * phases[0].length
    name, peak = _rate(shape, batch)
    # The rate falls to 0 over all phases.
    warmup = max(shape.warmup * steps, min(_WARMUP_STEPS, _LONGEST_WARMUP * steps))
    schedule = _schedule(counted, min(max(1, round(warmup)), max(0, steps - 1)))
    phases[0] = dataclasses.replace(phases[0], schedule=dataclasses.replace(schedule, peak=peak))
    devices = given.machine.devices
    rows = devices * max(1, 64 // devices)
    encoder = config.encoder
    if isinstance(encoder, EncoderConfig):
        dropout = _DROPOUT if tokens > _DROPOUT_PASSES * corpus_tokens and encoder.num_layers > 2 else 0.0
        encoder = dataclasses.replace(encoder, dropout=dropout)
    complete = dataclasses.replace(
        config,
        encoder=encoder,
        optimizer=dataclasses.replace(config.optimizer, name=name),
        phases=tuple(phases),
        checkpoint=CheckpointConfig(every_steps=_interval(steps, 8, 50)),
        evaluation=EvaluationConfig(
            every_steps=_interval(steps, 8, 50), batch_size=rows, batches=-(-_EVALUATED_ROWS // rows)
        ),
        logging=LoggingConfig(every_steps=_interval(steps, 80, 10)),
    )
    return given.settled(complete, scaled=True)


def _schedule(config: RunConfig, warmup: int) -> ScheduleConfig:
    """Returns the schedule that goes with a run, before the settings change it; a `wsd` of the user gets a decay."""
    set_now = config.phases[0].schedule
    decays = set_now is not None and set_now.kind == "wsd"
    decay = max(1, round(_DECAY * horizon(config, 0))) if decays else 0
    return ScheduleConfig(kind="linear", warmup_steps=warmup, decay_steps=decay, decay_from="warmup")


def _rate(shape: Shape, batch: int) -> tuple[OptimizerName, float]:
    """Returns the optimizer and its peak rate, which follows the square root of the tokens in a step."""
    if batch >= _LAMB_TOKENS:
        return "lamb_mlperf", _rounded(_LAMB_RATE * math.sqrt(batch))
    return "adamw", _rounded(shape.rate * min(_MOST_RATE, math.sqrt(batch / shape.batch)))


def _rounded(value: float) -> float:
    """Returns a number with two digits, so that people can read it."""
    return float(f"{value:.1e}")


def _interval(steps: int, times: int, least: int) -> int:
    """Returns steps between events that happen about `times` times: 1, 2 or 5 times a power of ten, `least` or more."""
    wanted = max(least, steps / times)
    power = 10 ** math.floor(math.log10(wanted))
    return int(max(power * digit for digit in (1, 2, 5) if power * digit <= wanted))
