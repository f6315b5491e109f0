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
from dataclasses import dataclass

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
from jaxbert.config.overrides import Setting
from jaxbert.core.progress import duration
from jaxbert.errors import InputError, counted
from jaxbert.fit.corpus import CHINESE, NO_LETTERS, Corpus
from jaxbert.fit.machine import Machine, Speed, fits, guessed
from jaxbert.fit.passes import MOST_PASSES
from jaxbert.fit.settings import Given
from jaxbert.fit.vocabulary import vocabulary, why_cased, why_kind, with_vocabulary
from jaxbert.models.families.bert import PRESETS

# The name of the config on the command line, and of the run.
NAME = "auto"
# Minutes of a run whose user names no time, by platform.
MINUTES = {"cpu": 10.0, "gpu": 30.0, "tpu": 30.0}


@dataclass(frozen=True)
class Shape:
    """A shape of the ladder with its figures.

    Attributes:
      preset: key of `jaxbert.models.families.bert.PRESETS`.
      rate: peak learning rate with batches of `batch` tokens.
      batch: tokens in a step.
      initializer: standard deviation of the initial weights.
      warmup: share of the steps in which the rate rises.
    """

    preset: str
    rate: float
    batch: int
    initializer: float
    warmup: float

    @property
    def layers(self) -> int:
        """Returns N."""
        return PRESETS[self.preset].num_layers

    @property
    def hidden(self) -> int:
        """Returns D."""
        return PRESETS[self.preset].hidden_size

    @property
    def weights(self) -> int:
        """Returns the number of parameters of the layers: 12 D^2 each, without tables and biases."""
        return 12 * self.hidden**2 * self.layers


# From the largest to the smallest. Tiny's figures are measured on prose (docs/how-to/auto.md), mini's in
# docs/explanations/results.md ("LAMB beside AdamW"); those of small and base are the configs' bert_small and bert_base
# at their batches, with rates by the square root of the batch. The others lie between.
LADDER = (
    Shape("base", 1.5e-4, 1 << 15, 0.02, 0.02),
    Shape("medium", 4e-4, 1 << 15, 0.02, 0.05),
    Shape("small", 5e-4, 1 << 14, 0.03, 0.06),
    Shape("mini", 1e-3, 1 << 11, 0.04, 0.2),
    Shape("tiny", 2e-3, 1 << 10, 0.1, 0.1),
)
# A shape needs this many tokens for each weight of its layers, all passes together. Hoffmann et al. 2022 found 20 for
# one pass of a left-to-right model, which predicts every token.
TOKENS_A_WEIGHT = 20
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
# The share of the remaining time that evaluations, checkpoints and logs take, and a reserve for a noisy machine.
_BESIDE = 0.08
# Below so many steps no model learns anything. A shorter time is exceeded instead, but never the passes over the text.
_LEAST_STEPS = 60
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
# Tokens of training after which the model beats two-sided counts, for a text of so many tokens, and the power with
# which they grow with the text. One curve of 2 layers x 128 on textbooks.
_BEAT_TOKENS, _BEAT_CORPUS, _BEAT_POWER = 3.5e6, 1.3e6, 0.42
# The curve says nothing about shorter texts: about a quarter of the text that it was measured on.
_BEAT_LEAST = 300_000
# The rate rises over this many steps at least, but over no more than this share of a short run.
_WARMUP_STEPS, _LONGEST_WARMUP = 800, 0.4
# Rows of an evaluation on the way.
_EVALUATED_ROWS = 1280


@dataclass(frozen=True)
class Choice:
    """A recipe and the reasons for it.

    Attributes:
      config: the run.
      lines: five lines that say what was chosen, and why.
      seconds: about how long the whole command takes.
      tokens: tokens that the run trains on, all passes together.
      passes: passes over the text.
      step_seconds: seconds of a step, by phase.
      beats_counts: whether the run is expected to predict more masked tokens than two-sided counts do; None where the
        text is too short, or too different, to tell.
      seconds_to_beat: about how long the whole command would have to take for that; None where that is not known.
    """

    config: RunConfig
    lines: tuple[str, ...]
    seconds: float
    tokens: int
    passes: float
    step_seconds: tuple[float, ...]
    beats_counts: bool | None
    seconds_to_beat: float | None


@dataclass(frozen=True)
class _Recipe:
    """The recipe of one shape, before anything is decided.

    Attributes:
      shape: the shape.
      config: its run.
      step_seconds: seconds of a step, by phase.
      beside: seconds of the command that are not training.
      corpus_tokens: tokens of one pass.
      stopped: whether the passes over the text end the run before its time does.
      given: the facts that decided the recipe.
    """

    shape: Shape
    config: RunConfig
    step_seconds: tuple[float, ...]
    beside: float
    corpus_tokens: int
    stopped: bool
    given: Given

    @property
    def tokens(self) -> int:
        return sum(phase.steps * phase.batch_size * phase.length for phase in self.config.phases)

    @property
    def training(self) -> float:
        """Returns the seconds of training, evaluations on the way included."""
        steps = sum(phase.steps * each for phase, each in zip(self.config.phases, self.step_seconds, strict=True))
        return steps / (1 - _BESIDE)

    @property
    def fills(self) -> bool:
        """Returns whether the tokens of the budget are enough for the weights."""
        layers, hidden = _sizes(self.config)
        return self.tokens >= TOKENS_A_WEIGHT * 12 * hidden**2 * layers


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
            f"the preparation of {_millions(corpus.characters)} characters takes about {duration(beside)}, and the run "
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
        return guess(config, phase) * ratios.get(_sizes(config), last)

    while True:
        recipe = _largest(given, seconds - beside, beside, corrected)
        sizes = _sizes(recipe.config)
        if speed is None or sizes in ratios:
            return _chosen(recipe, asked or seconds)
        main = len(recipe.config.phases) - 1
        ratios[sizes] = speed(recipe.config, main) / guess(recipe.config, main)


def preparation(corpus: Corpus, machine: Machine) -> float:
    """Returns about how many seconds of the command are not training: rows, compilation, the end."""
    each = _COMPILE if machine.platform == "cpu" else _COMPILE_ACCELERATOR
    return _START + _END + 2 * each + _PREPARE * corpus.characters / 1e6 * 2 / min(machine.cores, 32)


def check_settings(settings: Sequence[Setting], machine: Machine, seconds: float, source: str) -> None:
    """Raises InputError where settings do not fit the smallest run: before the text is read."""
    shape = LADDER[-1]
    given = Given(Corpus(), machine, source, tuple(settings))
    check(_started(shape, given, _lengths(shape, machine, seconds), shape.batch))


def _sizes(config: RunConfig) -> tuple[int, int]:
    return config.encoder.num_layers, config.encoder.hidden_size


def _largest(given: Given, left: float, beside: float, speed: Speed) -> _Recipe:
    """Returns the recipe of the largest shape that fits into the memory, and that the tokens of the time can fill.

    Raises:
      InputError: not even the smallest shape fits into the memory, or the settings do not fit it.
    """
    for shape in LADDER:
        try:
            recipe = _recipe(shape, given, left, beside, speed)
        except InputError:
            if shape is LADDER[-1]:
                raise
            continue  # The settings do not fit this shape: its width and its heads, for example.
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


def _recipe(shape: Shape, given: Given, left: float, beside: float, speed: Speed) -> _Recipe:
    """Returns the recipe of a shape in `left` seconds of training, whether it fits into the memory or not."""
    machine = given.machine
    lengths = _lengths(shape, machine, left)
    started = _started(shape, given, lengths, shape.batch)
    check(started)
    corpus_tokens = given.corpus.tokens(started.encoder.vocab_size)
    most = MOST_PASSES * corpus_tokens

    def tried(batch: int) -> tuple[RunConfig, float]:
        """Returns (the run with batches of so many tokens, tokens of the whole run)."""
        config = _started(shape, given, lengths, batch)
        token = sum(
            share * speed(config, index) / (phase.batch_size * phase.length)
            for index, ((_, share), phase) in enumerate(zip(lengths, config.phases, strict=True))
        )
        return config, max(0.0, left * (1 - _BESIDE)) / token

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
    return _Recipe(shape, config, each, beside, corpus_tokens, affordable > most, given)


def _started(shape: Shape, given: Given, lengths: tuple[tuple[int, float], ...], batch: int) -> RunConfig:
    """Returns the run of a shape in batches of so many tokens, before its steps are known."""
    config = dataclasses.replace(_config(shape, given), phases=_phases(lengths, batch, given.machine))
    settled = given.settled(config)
    # A position that no step sees learns nothing, and a text that is longer would get there.
    positions = max(phase.length for phase in settled.phases) + settled.encoder.position_offset
    return given.settled(
        dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, max_positions=positions))
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
            steps=1,
            schedule=ScheduleConfig(warmup_steps=0) if index == 0 else None,
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
    phases = list(given.settled(dataclasses.replace(config, phases=counted_steps)).phases)
    steps = sum(phase.steps for phase in phases)
    batch = phases[0].batch_size * phases[0].length
    name, peak = _rate(shape, batch)
    # The rate falls to 0 over all phases.
    warmup = max(shape.warmup * steps, min(_WARMUP_STEPS, _LONGEST_WARMUP * steps))
    schedule = ScheduleConfig(
        kind="linear", peak=peak, warmup_steps=min(max(1, round(warmup)), max(0, steps - 1)), decay_from="warmup"
    )
    phases[0] = dataclasses.replace(phases[0], schedule=schedule)
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


def _chosen(recipe: _Recipe, seconds: float) -> Choice:
    """Returns the choice of a recipe with its five lines."""
    corpus = recipe.given.corpus
    beats: bool | None = None
    to_beat: float | None = None
    if recipe.corpus_tokens >= _BEAT_LEAST and corpus.script != NO_LETTERS:
        beating = _tokens_to_beat(recipe)
        beats = recipe.tokens >= beating
        to_beat = round(recipe.beside + beating * recipe.training / recipe.tokens, 1)
    return Choice(
        config=recipe.config,
        lines=_lines(recipe, seconds, beats, to_beat),
        seconds=round(recipe.beside + recipe.training, 1),
        tokens=recipe.tokens,
        passes=round(recipe.tokens / recipe.corpus_tokens, 2),
        step_seconds=tuple(float(f"{time:.3g}") for time in recipe.step_seconds),
        beats_counts=beats,
        seconds_to_beat=to_beat,
    )


def _tokens_to_beat(recipe: _Recipe) -> float:
    """Returns about how many tokens a model must see to predict more masked tokens than two-sided counts do.

    Counts know more with each token of the text: 15.0% of the masked tokens with 79,000 tokens of textbooks, 19.2% with
    315,000 and 22.4% with 1.26 million. The model gains about 3 points with each doubling of the tokens that it trains
    on, and passes the last of these figures after 3 million (docs/how-to/auto.md). So for four times the text it needs
    about 1.8 times as many.
    """
    return _BEAT_TOKENS * (recipe.corpus_tokens / _BEAT_CORPUS) ** _BEAT_POWER


def _lines(recipe: _Recipe, seconds: float, beats: bool | None, to_beat: float | None) -> tuple[str, ...]:
    """Returns the five lines that say what was chosen, and why."""
    given = recipe.given
    corpus, machine = given.corpus, given.machine
    data, optimizer = recipe.config.data, recipe.config.optimizer
    schedule = recipe.config.phases[0].schedule
    assert schedule is not None
    phases = " and ".join(
        f"{phase.steps:,} steps of {phase.batch_size:,} x {phase.length}" for phase in recipe.config.phases
    )
    speed = recipe.tokens / recipe.training
    whole = recipe.beside + recipe.training
    end = f"; more than {MOST_PASSES} passes teach little" if recipe.stopped else ""
    if whole > 1.05 * seconds:
        why = "as --set makes it" if given.sets_steps else "because fewer steps teach nothing"
        end = f", and not {duration(seconds)}, {why}"
    return (
        f"text: {_millions(corpus.characters)} characters in {counted(corpus.documents, 'document')}, "
        f"{_letters(corpus)}: about {_millions(recipe.corpus_tokens)} tokens; {data.validation_fraction:.1%} are "
        "held out",
        f"model: {_model(recipe)}",
        f"vocabulary: {recipe.config.encoder.vocab_size:,} pieces ({data.tokenizer_kind}{why_kind(given, data)}), "
        f"{_why_size(recipe)}; {'uncased' if data.lowercase else 'cased'}, {why_cased(given, data)}",
        f"training: {_millions(recipe.tokens)} tokens, {recipe.tokens / recipe.corpus_tokens:.1f} passes, in {phases}; "
        f"{optimizer.name} at {schedule.peak:g}; {speed:,.0f} tokens/s on {machine.words}, "
        f"{duration(whole)} in all{end}",
        f"expected: {_expected(recipe, beats, to_beat)}",
    )


def _why_size(recipe: _Recipe) -> str:
    """Returns why the vocabulary has its size."""
    if recipe.given.sets("encoder.vocab_size"):
        return "as --set says"
    return vocabulary(recipe.given.corpus, recipe.shape.hidden).why


def _model(recipe: _Recipe) -> str:
    """Returns the shape, and why it is not another one."""
    shape = recipe.shape
    layers, hidden = _sizes(recipe.config)
    same = (layers, hidden) == (shape.layers, shape.hidden)
    words = f"{layers} layers x {hidden} ({shape.preset}{'' if same else ', as --set changes it'})"
    if not recipe.fills:
        return f"{words}, the smallest shape: {TOKENS_A_WEIGHT} tokens a weight would be more than there are"
    words += f", the largest shape that gets {TOKENS_A_WEIGHT} tokens a weight"
    place = LADDER.index(shape)
    if place == 0 or not same:
        return words
    larger = LADDER[place - 1]
    return (
        f"{words}; {larger.layers} x {larger.hidden} would need {_millions(TOKENS_A_WEIGHT * larger.weights)} "
        "tokens, or more memory"
    )


def _letters(corpus: Corpus) -> str:
    """Returns which letters a text has, in words."""
    if corpus.script == NO_LETTERS:
        return "without letters"
    return "mostly Chinese characters" if corpus.script == CHINESE else f"mostly {corpus.script.title()}"


def _expected(recipe: _Recipe, beats: bool | None, to_beat: float | None) -> str:
    """Returns whether the model beats the counts that it is compared with, and how long that takes."""
    counts = "two-sided counts that see the same input"
    if to_beat is None:
        why = "the text has no letters"
        if recipe.corpus_tokens < _BEAT_LEAST:
            why = f"the text is too short to tell, under {_millions(_BEAT_LEAST)} tokens"
        return f"it is not known whether it beats {counts}: {why}; the end of the run says it"
    if beats:
        return f"it beats {counts}, which takes about {duration(to_beat)}"
    hours = to_beat > 5400
    time = f"--hours {math.ceil(to_beat / 360) / 10:g}" if hours else f"--minutes {math.ceil(to_beat / 60)}"
    return f"it does NOT beat {counts} in this time, which takes about {duration(to_beat)}: give {time}"


def _millions(number: float) -> str:
    """Returns a number with two or three digits: "6.0M", "930,000"."""
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.{0 if number >= 100 * size else 1}f}{letter}"
    return f"{number:,.0f}"
