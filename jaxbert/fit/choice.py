"""A recipe that `jaxbert.fit.auto` has chosen, and the five lines that say what it is, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxbert.config import RunConfig
from jaxbert.core.progress import duration
from jaxbert.errors import counted
from jaxbert.fit.corpus import CHINESE, NO_LETTERS, Corpus
from jaxbert.fit.passes import MOST_PASSES
from jaxbert.fit.settings import Given
from jaxbert.fit.shapes import LADDER, TOKENS_A_WEIGHT, Shape
from jaxbert.fit.vocabulary import vocabulary, why_cased, why_kind

# The share of the remaining time that evaluations, checkpoints and logs take, and a reserve for a noisy machine.
BESIDE = 0.08
# Tokens of training after which the model beats two-sided counts, for a text of so many tokens, and the power with
# which they grow with the text. One curve of 2 layers x 128 on textbooks.
_BEAT_TOKENS, _BEAT_CORPUS, _BEAT_POWER = 3.5e6, 1.3e6, 0.42
# The curve says nothing about shorter texts: about a quarter of the text that it was measured on.
_BEAT_LEAST = 300_000


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
class Recipe:
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
        """Returns the tokens that the run trains on, all passes together."""
        return sum(phase.steps * phase.batch_size * phase.length for phase in self.config.phases)

    @property
    def training(self) -> float:
        """Returns the seconds of training, evaluations on the way included."""
        steps = sum(phase.steps * each for phase, each in zip(self.config.phases, self.step_seconds, strict=True))
        return steps / (1 - BESIDE)

    @property
    def fills(self) -> bool:
        """Returns whether the tokens of the budget are enough for the weights."""
        layers, hidden = sizes_of(self.config)
        return self.tokens >= TOKENS_A_WEIGHT * 12 * hidden**2 * layers


def sizes_of(config: RunConfig) -> tuple[int, int]:
    """Returns (N, D) of the encoder of a run."""
    return config.encoder.num_layers, config.encoder.hidden_size


def told(recipe: Recipe, seconds: float) -> Choice:
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


def _tokens_to_beat(recipe: Recipe) -> float:
    """Returns about how many tokens a model must see to predict more masked tokens than two-sided counts do.

    Counts know more with each token of the text: 15.0% of the masked tokens with 79,000 tokens of textbooks, 19.2% with
    315,000 and 22.4% with 1.26 million. The model gains about 3 points with each doubling of the tokens that it trains
    on, and passes the last of these figures after 3 million (docs/how-to/auto.md). So for four times the text it needs
    about 1.8 times as many.
    """
    return _BEAT_TOKENS * (recipe.corpus_tokens / _BEAT_CORPUS) ** _BEAT_POWER


def _lines(recipe: Recipe, seconds: float, beats: bool | None, to_beat: float | None) -> tuple[str, ...]:
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
        f"text: {millions(corpus.characters)} characters in {counted(corpus.documents, 'document')}, "
        f"{_letters(corpus)}: about {millions(recipe.corpus_tokens)} tokens; {data.validation_fraction:.1%} are "
        "held out",
        f"model: {_model(recipe)}",
        f"vocabulary: {recipe.config.encoder.vocab_size:,} pieces ({data.tokenizer_kind}{why_kind(given, data)}), "
        f"{_why_size(recipe)}; {'uncased' if data.lowercase else 'cased'}, {why_cased(given, data)}",
        f"training: {millions(recipe.tokens)} tokens, {recipe.tokens / recipe.corpus_tokens:.1f} passes, in {phases}; "
        f"{optimizer.name} at {schedule.peak:g}; {speed:,.0f} tokens/s on {machine.words}, "
        f"{duration(whole)} in all{end}",
        f"expected: {_expected(recipe, beats, to_beat)}",
    )


def _why_size(recipe: Recipe) -> str:
    """Returns why the vocabulary has its size."""
    if recipe.given.sets("encoder.vocab_size"):
        return "as --set says"
    return vocabulary(recipe.given.corpus, recipe.shape.hidden).why


def _model(recipe: Recipe) -> str:
    """Returns the shape, and why it is not another one."""
    shape = recipe.shape
    layers, hidden = sizes_of(recipe.config)
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
        f"{words}; {larger.layers} x {larger.hidden} would need {millions(TOKENS_A_WEIGHT * larger.weights)} "
        "tokens, or more memory"
    )


def _letters(corpus: Corpus) -> str:
    """Returns which letters a text has, in words."""
    if corpus.script == NO_LETTERS:
        return "without letters"
    return "mostly Chinese characters" if corpus.script == CHINESE else f"mostly {corpus.script.title()}"


def _expected(recipe: Recipe, beats: bool | None, to_beat: float | None) -> str:
    """Returns whether the model beats the counts that it is compared with, and how long that takes."""
    counts = "two-sided counts that see the same input"
    if to_beat is None:
        why = "the text has no letters"
        if recipe.corpus_tokens < _BEAT_LEAST:
            why = f"the text is too short to tell, under {millions(_BEAT_LEAST)} tokens"
        return f"it is not known whether it beats {counts}: {why}; the end of the run says it"
    if beats:
        return f"it beats {counts}, which takes about {duration(to_beat)}"
    hours = to_beat > 5400
    time = f"--hours {math.ceil(to_beat / 360) / 10:g}" if hours else f"--minutes {math.ceil(to_beat / 60)}"
    return f"it does NOT beat {counts} in this time, which takes about {duration(to_beat)}: give {time}"


def millions(number: float) -> str:
    """Returns a number with two or three digits: "6.0M", "930,000"."""
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.{0 if number >= 100 * size else 1}f}{letter}"
    return f"{number:,.0f}"
