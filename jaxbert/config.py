"""What a run is: frozen dataclasses, their checks, and how they are found, saved and compared. Imports no jax.

A run is a `RunConfig`. Every part of the system takes its own small dataclass out of it, never the whole.
`check` holds every rule that concerns more than one field; it runs before any device or file is touched.

Shape letters of the whole repository: B batch, L sequence, D hidden, E embedding, H heads, K head dim, F feed-forward,
V vocabulary, M masked slots, N layers, A micro-batches.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import json
import traceback
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxbert.errors import CommandError, InputError

Activation = Literal["gelu_tanh", "gelu_erf"]
Remat = Literal["none", "dots", "full"]
AttentionName = Literal["reference", "fused"]
Initializer = Literal["truncated_normal", "normal"]
PositionInit = Literal["normal", "sinusoidal"]
LayoutName = Literal["replicated", "zero1", "fsdp", "fsdp_tensor", "auto"]
ScheduleKind = Literal["linear", "polynomial", "wsd", "inverse_sqrt", "constant"]
OptimizerName = Literal[
    "adamw", "bert_adamw", "fairseq_adamw", "lamb_paper", "lamb_albert", "lamb_mlperf", "lamb_nvidia", "lamb_nvlamb"
]
Dtype = Literal["auto", "float32", "bfloat16"]
RowsPolicy = Literal[
    "segment_pair",
    "ordered_pair",
    "ordered_pair_mixed",
    "full_sentences",
    "doc_sentences",
    "single_document",
    "packed",
]
TokenizerKind = Literal["wordpiece", "bpe", "unigram"]
MaskingScheme = Literal["token", "whole_word", "ngram", "span", "frequency"]
RandomIds = Literal["vocabulary", "ordinary", "corpus"]
Inherit = Literal["nothing", "encoder", "all"]
InitVocabulary = Literal["same", "new"]
InitPositions = Literal["refuse", "tile", "interpolate"]


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The shape of a post-LN encoder; the defaults are BERT-base (google-research/bert modeling.py).

    Attributes:
      family: key of `jaxbert.models.families.FAMILIES`: whose files the model is read from and written to.
      vocab_size: V, as the tokenizer has it; checked against the tokenizer before training.
      vocab_multiple: the embedding table is padded to a multiple of this; the padding's logits are masked.
      hidden_size: D.
      embedding_size: E, of the tables and the masked-LM head's last layer, projected to D behind the embeddings
        (ALBERT's factorised embeddings); 0: E is D, without a projection.
      num_layers: N.
      layer_groups: G; 0: every layer has weights of its own; else layers share them in G groups of N / G consecutive
        ones (ALBERT: 1).
      num_heads: H; must divide D.
      intermediate_size: F.
      max_positions: rows of the position table; no row of the data may be longer than those from `position_offset` on.
      position_offset: the first token's position; padding has the one before (fairseq: 2, of 514 rows; all are kept).
      type_vocab_size: rows of the token-type table; 0: there are no token types.
      activation: `gelu_tanh` as in Google's BERT and ALBERT, `gelu_erf` as in the others and in Hugging Face's BERT.
      layer_norm_epsilon: added to the variance.
      dropout: after embeddings, attention output and feed-forward.
      attention_dropout: on attention probabilities.
      attention: `reference`, the only one with dropout on the probabilities; or `fused`: the platform's own kernel
        (splash on TPU for rows of a multiple of 128 tokens, cuDNN's on GPU), which is faster and needs less memory, and
        the reference where there is none.
      initializer_range: standard deviation of the initial weights.
      initializer: `truncated_normal` in the convention of TensorFlow's `truncated_normal_initializer` (cut at two
        deviations, not rescaled afterwards: BERT, ALBERT), or `normal` (RoBERTa, SpanBERT, DistilBERT).
      position_init: how the learned position table starts: `normal`, or `sinusoidal` (sines and cosines scaled to the
        same standard deviation; lets small models find their neighbours early).
      remat: what the backward pass computes again: nothing, all but matrix products, or every layer.
    """

    family: str = "bert"
    vocab_size: int = 30522
    vocab_multiple: int = 128
    hidden_size: int = 768
    embedding_size: int = 0
    num_layers: int = 12
    layer_groups: int = 0
    num_heads: int = 12
    intermediate_size: int = 3072
    max_positions: int = 512
    position_offset: int = 0
    type_vocab_size: int = 2
    activation: Activation = "gelu_tanh"
    layer_norm_epsilon: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    attention: AttentionName = "reference"
    initializer_range: float = 0.02
    initializer: Initializer = "truncated_normal"
    position_init: PositionInit = "normal"
    remat: Remat = "none"

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding table: `vocab_size` rounded up to a multiple of `vocab_multiple`."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    @property
    def head_dim(self) -> int:
        """K."""
        return self.hidden_size // self.num_heads

    @property
    def embedding_width(self) -> int:
        """E."""
        return self.embedding_size or self.hidden_size

    @property
    def distinct_layers(self) -> int:
        """Layers with weights of their own: N, or G where layers share them."""
        return self.layer_groups or self.num_layers

    @property
    def longest_row(self) -> int:
        """The most tokens that a row, or a group of a packed row, may have."""
        return self.max_positions - self.position_offset


@dataclass(frozen=True, kw_only=True)
class MaskedLMConfig:
    """Masked language modelling (google-research/bert create_pretraining_data.py, but dynamic).

    Attributes:
      weight: of this term in the loss.
      scheme: which tokens are chosen; `jaxbert.objectives.masking.SCHEMES` has them all: `token` uniform (BERT,
        RoBERTa), `whole_word`, `ngram` of whole words (ALBERT), `span` of whole words (SpanBERT), `frequency` rare
        tokens more often (DistilBERT).
      rate: share of a row's tokens (special tokens counted, never chosen) to predict; at least one a row.
      mask: share of the chosen that become [MASK].
      random: share of the chosen that become a randomly drawn id; the rest stays.
      random_ids: what such an id is drawn from: the whole `vocabulary` uniformly (BERT, ALBERT, DistilBERT), the
        `ordinary` tokens uniformly, without the special ones (RoBERTa), or as often as in the `corpus` (SpanBERT).
      word_cap: the most pieces a word has; what is longer counts as several (scripts that write no spaces).
      max_ngram: of `ngram`: words of the longest; a length n has probability proportional to 1/n.
      span_p, max_span: of `span`: lengths in words are geometric with this parameter, cut at so many and renormalised
        (0.2 and 10: mean 3.8).
      smoothing: of `frequency`: a token is drawn with probability proportional to count^-smoothing.
    """

    weight: float = 1.0
    scheme: MaskingScheme = "token"
    rate: float = 0.15
    mask: float = 0.8
    random: float = 0.1
    random_ids: RandomIds = "vocabulary"
    word_cap: int = 10
    max_ngram: int = 3
    span_p: float = 0.2
    max_span: int = 10
    smoothing: float = 0.7


@dataclass(frozen=True, kw_only=True)
class NextSentenceConfig:
    """Next sentence prediction: label 0: B follows A, 1: it does not (google-research/bert run_pretraining.py)."""

    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class SentenceOrderConfig:
    """Sentence order prediction (ALBERT): label 0: A and B are in their order, 1: they are swapped.

    Attributes:
      weight: of this term in the loss.
      swap: share of the pairs that are swapped, drawn anew at each visit.
    """

    weight: float = 1.0
    swap: float = 0.5


@dataclass(frozen=True, kw_only=True)
class SpanBoundaryConfig:
    """The span-boundary objective (SpanBERT): a masked token from the two tokens around its span, and its place in it.

    Attributes:
      weight: of this term in the loss.
      max_targets: only the first so many tokens of a span are predicted (facebookresearch/SpanBERT: 20; its published
        command says 15).
      position_size: width of the embedding of the place in the span (200 there, whatever its flag says).
    """

    weight: float = 1.0
    max_targets: int = 20
    position_size: int = 200


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Distillation from a teacher that sees the same corrupted rows (DistilBERT: Sanh et al. 2019, and its code).

    Attributes:
      teacher: MODEL of the same vocabulary, of any family; or `config:NAME`: the run of that config on the same source,
        which is trained first, in WORKDIR-teacher.
      encoder: the teacher's, as found there; set when the run begins.
      soft: weight of the soft targets: KL(teacher || student) of the distributions at `temperature`, times its square.
      cosine: weight of 1 - cosine of the last hidden states; a student of another width is projected to the teacher's.
      temperature: of the soft targets.
      over: the tokens that both count: `all` real ones, as in the original by default, or the `masked` ones.
      layers: the teacher's layers from which the student's start, counted from 0, one each; none: a random start.
        Embeddings and the output bias come from the teacher too.
      transform: start the masked-LM head's transform from the teacher's as well (the original's --vocab_transform).
      chunk: positions of a row whose logits exist at once, (B, chunk, V).
    """

    teacher: str = ""
    encoder: EncoderConfig | None = None
    soft: float = 5.0
    cosine: float = 1.0
    temperature: float = 2.0
    over: Literal["all", "masked"] = "all"
    layers: tuple[int, ...] = ()
    transform: bool = False
    chunk: int = 64


@dataclass(frozen=True, kw_only=True)
class ExtraObjective:
    """An objective that has no field of its own in `ObjectivesConfig`.

    Attributes:
      name: key of `jaxbert.objectives.OBJECTIVES`.
      weight: of its terms in the loss.
    """

    name: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ObjectivesConfig:
    """The terms of the loss: a field that is not None is a term. Keys of `jaxbert.objectives.OBJECTIVES`."""

    masked_lm: MaskedLMConfig | None = MaskedLMConfig()
    next_sentence: NextSentenceConfig | None = NextSentenceConfig()
    sentence_order: SentenceOrderConfig | None = None
    span_boundary: SpanBoundaryConfig | None = None
    distillation: DistillationConfig | None = None
    extra: tuple[ExtraObjective, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """One optimizer for the whole run; its rate comes from the phase's schedule.

    Attributes:
      name: `adamw` (bias-corrected, decoupled decay), `bert_adamw` (no bias correction: google-research/bert
        optimization.py), `fairseq_adamw` (bias-corrected, every parameter decayed, no clipping), and the LAMBs, of
        which no two published ones are alike: `lamb_paper`, `lamb_albert`, `lamb_mlperf`, `lamb_nvidia`,
        `lamb_nvlamb`. `jaxbert.optim.OPTIMIZERS` says what sets each apart.
      weight_decay: not applied to LayerNorm and bias parameters (but in `fairseq_adamw` and `lamb_paper`, which decay
        all).
      clip_norm: the gradient's global norm is cut to this; 0 switches it off; None takes the optimizer's own.
      clip_scope: `batch` clips the gradient of the global batch, after all sums (NVIDIA, and every textbook);
        `micro_batch` clips each micro-batch's share to clip_norm / A before the sum, as Google's TPU programs clip on
        each core before they sum over cores. Then the result depends on `accumulation`, never on the mesh.
    """

    name: OptimizerName = "bert_adamw"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    clip_norm: float | None = None
    clip_scope: Literal["batch", "micro_batch"] = "batch"


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate as a function of the step.

    Attributes:
      kind: what follows the warm-up: `linear` falls to `end`; `polynomial` falls as (1 - t)^power (NVIDIA's LAMB: 0.5);
        `wsd` (warm-up, stable, decay) stays at the peak and falls over the last `decay_steps`, as (1 - t)^power;
        `inverse_sqrt` falls as sqrt(warm-up / step), without end; `constant` stays.
      peak: rate at the end of the warm-up.
      warmup_steps: linear rise from 0.
      end: rate at the last step.
      total_steps: the horizon of the decay; 0 takes the steps of the phase (and of those that continue its schedule).
      decay_from: of `linear` and `polynomial`. `zero`: the decay runs from step 0 and the warm-up overrides it, with a
        jump where it ends (google-research/bert optimization.py, NVIDIA schedulers.py); `warmup`: the decay starts at
        the peak.
      power: of `polynomial` and `wsd`.
      decay_steps: of `wsd`.
      first_step: the count at the first update: 0, whose rate is 0 in a warm-up (google-research/bert), or 1 (NVIDIA).
    """

    kind: ScheduleKind = "linear"
    peak: float = 1e-4
    warmup_steps: int = 10_000
    end: float = 0.0
    total_steps: int = 0
    decay_from: Literal["zero", "warmup"] = "zero"
    power: float = 1.0
    decay_steps: int = 0
    first_step: int = 0


@dataclass(frozen=True, kw_only=True)
class RowsSource:
    """A directory of rows and its share of the batches."""

    path: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """A stretch of the run with one kind of batch.

    Attributes:
      rows: where its batches come from; empty: made from `DataConfig.source`, in the workdir.
      length: L of its rows.
      batch_size: B, rows of a global batch over all devices and micro-batches.
      steps: optimizer steps.
      accumulation: micro-batches a step; must divide B.
      slots: M, prediction slots a row; 0 takes round(rate x L).
      schedule: None continues the previous phase's schedule.
      moments: what the hand-over does to the optimizer's moments and its own step count (a first phase ignores it).
    """

    name: str = "main"
    rows: tuple[RowsSource, ...] = ()
    length: int = 128
    batch_size: int = 256
    steps: int = 1_000_000
    accumulation: int = 1
    slots: int = 0
    schedule: ScheduleConfig | None = ScheduleConfig()
    moments: Literal["keep", "keep_reset_count", "reset"] = "keep"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How rows are made when a phase names none: `jaxbert tokenizer`, `prepare` and `rows` with these arguments.

    Attributes:
      source: SOURCE string (see README); empty: every phase must name its rows.
      tokenizer: a directory; empty: the initial model's, or one is trained on the source's train split, to
        `EncoderConfig.vocab_size` pieces.
      tokenizer_kind: of a trained one.
      lowercase: of a trained one: BERT's uncased normalisation.
      policy: rows policy; checked against what the objectives ask for.
      validation_fraction: share of documents held out, chosen by hash (sources with a split of their own ignore it).
      short_rows: of pairs: probability that a row's target length is drawn at random (classic: 0.1).
      copies: passes over the corpus with other pairings (the original's dupe_factor; masks are dynamic anyway).
      shuffle_window: shards that are shuffled together (the second level of the order).
    """

    source: str = ""
    tokenizer: str = ""
    tokenizer_kind: TokenizerKind = "wordpiece"
    lowercase: bool = True
    policy: RowsPolicy = "segment_pair"
    validation_fraction: float = 0.01
    short_rows: float = 0.1
    copies: int = 1
    shuffle_window: int = 16


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Devices as (data, fsdp, tensor), and how arrays lie on them. -1 on `data`: all that is left.

    Attributes:
      layout: `replicated`; `zero1` (moments sharded over `fsdp`); `fsdp` (parameters too); `fsdp_tensor` (heads,
        feed-forward and vocabulary over `tensor` too); `auto`: the fastest of those that fit, as `jaxbert plan` has it,
        with `fsdp` and `tensor` where they are left at 1.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    layout: LayoutName = "fsdp_tensor"


@dataclass(frozen=True, kw_only=True)
class NumericsConfig:
    """Attributes:
    dtype: of activations and of weights in use; `auto` is bfloat16 on TPU and GPU, float32 on CPU. Parameters, softmax,
      LayerNorm, loss and optimizer are float32 always.
    deterministic: ask the GPU compiler for deterministic kernels (the bitwise promise needs it there).
    """

    dtype: Dtype = "auto"
    deterministic: bool = True


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Attributes:
    every_steps: how often (also at the end of each phase, of the run, and on SIGTERM and SIGINT).
    keep: newest verified steps that stay; at least 3, so that a damaged one leaves a good one behind it.
    keep_best: the step with the lowest validation loss stays too.
    """

    every_steps: int = 1000
    keep: int = 3
    keep_best: bool = True


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Attributes:
    every_steps: 0 evaluates only at the end of the run.
    batch_size: rows a batch; fixed, because the fixed masks belong to (batch, row).
    batches: at most so many; 0 takes the whole validation split.
    mask_rate: share of tokens masked in evaluation, whatever training masks, so that runs compare.
    masking: how they are chosen: as in `training`, or by `token` (then runs of different schemes compare).
    seed: of the fixed masks.
    patience: stop early after so many evaluations without a lower loss; 0 never does.
    """

    every_steps: int = 1000
    batch_size: int = 64
    batches: int = 0
    mask_rate: float = 0.15
    masking: Literal["training", "token"] = "training"
    seed: int = 0
    patience: int = 0


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """Attributes:
    every_steps: how often a line is written to metrics.jsonl, telemetry.jsonl and the terminal.
    tensorboard: also write event files.
    price_per_hour: of the whole mesh, in `currency`; 0 leaves money out.
    watts: assumed power of the whole machine where no meter is readable; labelled estimated; 0 leaves it out.
    """

    every_steps: int = 50
    tensorboard: bool = True
    price_per_hour: float = 0.0
    currency: str = "USD"
    watts: float = 0.0


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """Attributes:
    max_skipped: so many non-finite steps in a row end the run with exit 4.
    hang_minutes: a step, a batch of an evaluation or a checkpoint that takes longer ends the process with exit 3: a
      collective whose other side has gone would wait for ever. Half an hour more where a step is compiled; 0: never.
    """

    max_skipped: int = 10
    hang_minutes: float = 20.0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One pretraining run: phases in one workdir.

    Attributes:
      name: for people.
      init: MODEL whose parameters the run starts from (`--init`); empty starts at random.
      inherit: what the config takes from that model when the run begins, before `--set` (`jaxbert.initial.inherit`):
        its `encoder`, or `all`: the objectives that its family pretrains with, the rows' policy and lengths too. The
        config that the run saves is complete and says `nothing`.
      init_vocabulary: `same`: the rows are of the initial model's vocabulary. `new` (`--tokenizer`): of another, whose
        embeddings start from the old ones (`jaxbert.text.transfer`).
      init_positions: where the encoder has more positions than the initial model: `refuse`; `tile` its table again
        and again, as Longformer did (Beltagy et al. 2020, section 5); or `interpolate` it linearly.
    """

    name: str
    init: str = ""
    inherit: Inherit = "nothing"
    init_vocabulary: InitVocabulary = "same"
    init_positions: InitPositions = "refuse"
    encoder: EncoderConfig = EncoderConfig()
    objectives: ObjectivesConfig = ObjectivesConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    phases: tuple[PhaseConfig, ...] = (PhaseConfig(),)
    data: DataConfig = DataConfig()
    mesh: MeshConfig = MeshConfig()
    numerics: NumericsConfig = NumericsConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    logging: LoggingConfig = LoggingConfig()
    guard: GuardConfig = GuardConfig()
    seed: int = 0


# ----------------------------------------------------------------------------------------------------------------------
# Checks that concern more than one field


def check(config: RunConfig, devices: int | None = None) -> None:
    """Raises InputError at the first rule that `config` breaks. Touches no device and no file.

    Args:
      config: the run.
      devices: number of devices of the mesh, where known: then the mesh and the batches are checked against it.
    """
    encoder = config.encoder
    _positive(encoder, "encoder", "vocab_size vocab_multiple hidden_size num_layers num_heads intermediate_size")
    _require(
        encoder.hidden_size % encoder.num_heads == 0,
        f"hidden_size {encoder.hidden_size} is not a multiple of num_heads {encoder.num_heads}",
        "encoder.num_heads",
        "Choose a number of heads that divides the hidden size.",
    )
    _require(encoder.embedding_size >= 0, "is negative", "encoder.embedding_size", "0 takes hidden_size.")
    _require(
        encoder.layer_groups >= 0 and (encoder.layer_groups == 0 or encoder.num_layers % encoder.layer_groups == 0),
        f"{encoder.layer_groups} groups do not divide {encoder.num_layers} layers",
        "encoder.layer_groups",
        "Choose a number that does; 0: no sharing.",
    )
    _require(
        0 <= encoder.position_offset < encoder.max_positions,
        f"is {encoder.position_offset} of {encoder.max_positions} positions",
        "encoder.position_offset",
        "Take one in 0 .. max_positions - 1.",
    )
    for name in ("dropout", "attention_dropout"):
        rate = getattr(encoder, name)
        _require(0 <= rate < 1, f"is {rate}", f"encoder.{name}", "Take a share in [0, 1).")
    _require(
        encoder.attention == "reference" or encoder.attention_dropout == 0,
        f"fused attention has no dropout on the probabilities, and attention_dropout is {encoder.attention_dropout}",
        "encoder.attention",
        "Set encoder.attention_dropout=0 (another model than the paper's), or keep encoder.attention=reference.",
    )
    _require(encoder.initializer_range > 0, "is not positive", "encoder.initializer_range", "Take one above 0.")
    _require(encoder.type_vocab_size >= 0, "is negative", "encoder.type_vocab_size", "0: no token types.")
    _require(0 <= config.seed < 2**31, f"is {config.seed}", "seed", "Take one in 0 .. 2147483647.")
    _require(bool(config.phases), "a run needs at least one phase", "phases", "Add a PhaseConfig.")
    _require(
        config.objectives.masked_lm is not None,
        "a run needs the masked-LM term",
        "objectives.masked_lm",
        "Set objectives.masked_lm=default.",
    )
    _check_objectives(config)
    _check_phases(config)
    _check_optimizer(config.optimizer)
    _require(
        config.checkpoint.keep >= 3,
        f"keep is {config.checkpoint.keep}",
        "checkpoint.keep",
        "Keep at least 3, so that a damaged checkpoint leaves a good one behind it.",
    )
    _positive(config.checkpoint, "checkpoint", "every_steps")
    evaluation = config.evaluation
    _positive(evaluation, "evaluation", "batch_size")
    for name in ("every_steps", "batches", "patience", "seed"):
        _require(getattr(evaluation, name) >= 0, "is negative", f"evaluation.{name}", "Take 0 or more.")
    _require(0 < evaluation.mask_rate < 1, f"is {evaluation.mask_rate}", "evaluation.mask_rate", "Take one in (0, 1).")
    _positive(config.logging, "logging", "every_steps")
    _positive(config.guard, "guard", "max_skipped")
    _require(config.guard.hang_minutes >= 0, "is negative", "guard.hang_minutes", "0 never ends a run.")
    _positive(config.data, "data", "copies shuffle_window")
    _check_mesh(config, devices)


def _check_objectives(config: RunConfig) -> None:
    objectives, encoder = config.objectives, config.encoder
    masked, order = objectives.masked_lm, objectives.sentence_order
    boundary, distillation = objectives.span_boundary, objectives.distillation
    for name in ("next_sentence", "sentence_order"):
        _require(
            getattr(objectives, name) is None or encoder.type_vocab_size >= 2,
            f"pairs ({name}) have two token types, the table has {encoder.type_vocab_size}",
            "encoder.type_vocab_size",
            "Take 2.",
        )
    _require(
        objectives.next_sentence is None or order is None,
        "next_sentence and sentence_order label the same pairs",
        "objectives",
        "Set one of them to none.",
    )
    if masked is not None:
        where = "objectives.masked_lm"
        _require(0 < masked.rate < 1, f"rate is {masked.rate}", f"{where}.rate", "Take one in (0, 1).")
        _require(
            masked.mask >= 0 and masked.random >= 0 and masked.mask + masked.random <= 1,
            f"mask + random is {masked.mask + masked.random}",
            where,
            "Both must be at least 0 and their sum at most 1.",
        )
        _positive(masked, where, "word_cap max_ngram max_span")
        _require(0 < masked.span_p < 1, f"is {masked.span_p}", f"{where}.span_p", "Take one in (0, 1).")
        _require(masked.smoothing >= 0, f"is {masked.smoothing}", f"{where}.smoothing", "Take 0 or more.")
    if order is not None:
        _require(0 < order.swap < 1, f"is {order.swap}", "objectives.sentence_order.swap", "Take one in (0, 1).")
    if boundary is not None:
        _require(
            masked is not None and masked.scheme == "span",
            f"needs spans, but the masking scheme is {masked.scheme if masked else 'none'}",
            "objectives.span_boundary",
            "Set objectives.masked_lm.scheme=span.",
        )
        _positive(boundary, "objectives.span_boundary", "max_targets position_size")
    if distillation is not None:
        _check_distillation(config, distillation)


def _check_distillation(config: RunConfig, distillation: DistillationConfig) -> None:
    where, student, teacher = "objectives.distillation", config.encoder, distillation.encoder
    _require(bool(distillation.teacher), "no teacher", f"{where}.teacher", f"Pass --set {where}.teacher=MODEL.")
    _require(
        distillation.temperature > 0, f"is {distillation.temperature}", f"{where}.temperature", "Take one above 0."
    )
    _positive(distillation, where, "chunk")
    for name in ("soft", "cosine"):
        _require(getattr(distillation, name) >= 0, "is negative", f"{where}.{name}", "Take 0 or more.")
    _require(
        distillation.soft > 0 or distillation.cosine > 0,
        "soft and cosine are both 0, so the teacher teaches nothing",
        where,
        f"Give one of them a weight, or set {where}=none.",
    )
    _require(
        len(distillation.layers) in (0, student.distinct_layers),
        f"{len(distillation.layers)} layers of the teacher for {student.distinct_layers} of the student",
        f"{where}.layers",
        "Name one of the teacher's for each of the student's, or none for a random start.",
    )
    if teacher is None:
        return
    _require(
        teacher.vocab_size == student.vocab_size,
        f"the teacher's vocabulary has {teacher.vocab_size} pieces, the student's {student.vocab_size}",
        f"{where}.teacher",
        f"Set encoder.vocab_size={teacher.vocab_size}, or take a teacher of this vocabulary.",
    )
    for phase in config.phases:
        _require(
            phase.length <= teacher.longest_row,
            f"rows of {phase.length} tokens, the teacher takes {teacher.longest_row}",
            f"phases.{phase.name}.length",
            "Shorten the rows, or take another teacher.",
        )
    for layer in distillation.layers:
        _require(
            0 <= layer < teacher.num_layers,
            f"layer {layer} of a teacher that has {teacher.num_layers}",
            f"{where}.layers",
            f"Take numbers from 0 to {teacher.num_layers - 1}.",
        )
    for name in (
        "hidden_size",
        "embedding_width",
        "num_heads",
        "intermediate_size",
        "max_positions",
        "position_offset",
    ):
        mine, other = getattr(student, name), getattr(teacher, name)
        _require(
            not distillation.layers or mine == other,
            f"{name} is {mine}, the teacher's {other}, so its layers do not fit",
            f"{where}.layers",
            f"Set {where}.layers=[] for a random start, or make them equal.",
        )


def _check_phases(config: RunConfig) -> None:
    names = [phase.name for phase in config.phases]
    _require(len(set(names)) == len(names), f"phases share a name: {names}", "phases", "Give each its own.")
    for index, phase in enumerate(config.phases):
        where = f"phases.{phase.name}"
        _positive(phase, where, "length batch_size steps accumulation")
        _require(
            8 <= phase.length <= config.encoder.longest_row,
            f"length {phase.length} is outside 8 .. {config.encoder.longest_row}, the encoder's positions",
            f"{where}.length",
            "Shorten the rows or raise encoder.max_positions.",
        )
        _require(
            phase.batch_size % phase.accumulation == 0,
            f"accumulation {phase.accumulation} does not divide batch_size {phase.batch_size}",
            f"{where}.accumulation",
            "Choose one that does.",
        )
        _require(
            0 <= phase.slots <= phase.length,
            f"slots is {phase.slots}, rows have {phase.length} tokens",
            f"{where}.slots",
            "0 takes round(rate x length).",
        )
        _require(
            index > 0 or phase.schedule is not None,
            "the first phase has no schedule to continue",
            f"{where}.schedule",
            "Give it a ScheduleConfig.",
        )
        if phase.schedule is not None:
            _check_schedule(phase.schedule, horizon(config, index), f"{where}.schedule", f"phases.{index}.schedule")
        for source in phase.rows:
            _require(source.weight > 0, f"weight is {source.weight}", f"{where}.rows", "Weights are positive.")
        _require(
            bool(phase.rows) or bool(config.data.source),
            "no rows and no source to make them from",
            f"{where}.rows",
            "Pass --data ROWS, or set data.source.",
        )


def _check_schedule(schedule: ScheduleConfig, steps: int, where: str, key: str) -> None:
    _require(schedule.peak > 0, "peak is not positive", f"{where}.peak", "Give a rate.")
    for name in ("warmup_steps", "end", "total_steps", "decay_steps"):
        _require(getattr(schedule, name) >= 0, "negative", f"{where}.{name}", "Take 0 or more.")
    _require(schedule.first_step in (0, 1), f"is {schedule.first_step}", f"{where}.first_step", "Take 0 or 1.")
    _require(schedule.power > 0, f"is {schedule.power}", f"{where}.power", "Take one above 0.")
    shaped = schedule.kind in ("polynomial", "wsd")
    _require(
        shaped or schedule.power == 1.0,
        f"power is {schedule.power}, which {schedule.kind} does not have",
        f"{where}.power",
        f"Set {key}.kind=polynomial or wsd, or leave the power at 1.",
    )
    _require(
        schedule.kind in ("constant", "inverse_sqrt") or schedule.warmup_steps < steps,
        f"the warm-up of {schedule.warmup_steps} steps leaves nothing of {steps}",
        f"{where}.warmup_steps",
        f"Shorten it, for example --set {key}.warmup_steps={steps // 10}.",
    )
    _require(
        schedule.kind != "inverse_sqrt" or schedule.warmup_steps > 0,
        "inverse_sqrt falls as sqrt(warm-up / step), and there is no warm-up",
        f"{where}.warmup_steps",
        f"Give one, for example --set {key}.warmup_steps={max(1, steps // 10)}.",
    )
    _require(
        schedule.kind == "wsd" or schedule.decay_steps == 0,
        f"decay_steps is {schedule.decay_steps}, which {schedule.kind} does not have",
        f"{where}.decay_steps",
        f"Set {key}.kind=wsd, or leave it at 0.",
    )
    _require(
        schedule.kind != "wsd" or 0 < schedule.decay_steps <= steps - schedule.warmup_steps,
        f"{schedule.decay_steps} steps do not fit between the warm-up of {schedule.warmup_steps} and the end, {steps}",
        f"{where}.decay_steps",
        f"Set {key}.decay_steps between 1 and {max(1, steps - schedule.warmup_steps)}.",
    )


def _check_optimizer(optimizer: OptimizerConfig) -> None:
    for name in ("beta1", "beta2"):
        _require(0 <= getattr(optimizer, name) < 1, "outside [0, 1)", f"optimizer.{name}", "Take one in [0, 1).")
    # With 0, a parameter that has had no gradient yet would be moved by 0 / 0.
    _require(optimizer.epsilon > 0, f"is {optimizer.epsilon}", "optimizer.epsilon", "Take one above 0, say 1e-6.")
    for name in ("weight_decay", "clip_norm"):
        _require((getattr(optimizer, name) or 0.0) >= 0, "negative", f"optimizer.{name}", "Take 0 or more.")


def _check_mesh(config: RunConfig, devices: int | None) -> None:
    mesh = config.mesh
    _positive(mesh, "mesh", "fsdp tensor")
    _require(mesh.data == -1 or mesh.data >= 1, f"data is {mesh.data}", "mesh.data", "A positive number, or -1.")
    _require(
        config.encoder.num_heads % mesh.tensor == 0,
        f"tensor {mesh.tensor} does not divide num_heads {config.encoder.num_heads}",
        "mesh.tensor",
        "Choose one that does.",
    )
    _require(
        mesh.tensor == 1 or config.encoder.padded_vocab_size % (128 * mesh.tensor) == 0,
        f"the padded vocabulary of {config.encoder.padded_vocab_size} is not a multiple of 128 x tensor {mesh.tensor}",
        "encoder.vocab_multiple",
        f"Set it to {128 * mesh.tensor}.",
    )
    for name in ("hidden_size", "embedding_width", "intermediate_size"):
        size = getattr(config.encoder, name)
        _require(
            size % (mesh.fsdp * (mesh.tensor if name == "intermediate_size" else 1)) == 0,
            f"the mesh (fsdp {mesh.fsdp}, tensor {mesh.tensor}) does not divide {name} {size}",
            "mesh",
            "Choose one that does.",
        )
    if devices is None:
        return
    inner = mesh.fsdp * mesh.tensor
    _require(
        devices % inner == 0 if mesh.data == -1 else mesh.data * inner == devices,
        f"{devices} devices are not data {mesh.data} x fsdp {mesh.fsdp} x tensor {mesh.tensor}",
        "mesh",
        f"Make the product {devices}: {_meshes(config, devices)}; data -1 takes what is left.",
    )
    data, fsdp, _ = mesh_shape(mesh, devices)
    for phase in config.phases:
        _require(
            phase.batch_size % (data * fsdp * phase.accumulation) == 0,
            f"batch_size {phase.batch_size} is not a multiple of data {data} x fsdp {fsdp} x accumulation "
            f"{phase.accumulation}",
            f"phases.{phase.name}.batch_size",
            f"Take a multiple of {data * fsdp * phase.accumulation}.",
        )
    _require(
        config.evaluation.batch_size % (data * fsdp) == 0,
        f"batch_size {config.evaluation.batch_size} is not a multiple of data {data} x fsdp {fsdp}",
        "evaluation.batch_size",
        f"Take a multiple of {data * fsdp}.",
    )


def _meshes(config: RunConfig, devices: int) -> str:
    """Up to three meshes of that many devices, nearest to the config's first."""
    mesh, encoder = config.mesh, config.encoder
    found = [
        (abs(fsdp - mesh.fsdp) + abs(tensor - mesh.tensor), fsdp, tensor)
        for fsdp in range(1, devices + 1)
        if devices % fsdp == 0 and encoder.hidden_size % fsdp == 0 and encoder.embedding_width % fsdp == 0
        for tensor in range(1, devices // fsdp + 1)
        if devices % (fsdp * tensor) == 0 and encoder.num_heads % tensor == 0
    ]
    return ", ".join(
        f"data {devices // (fsdp * tensor)} x fsdp {fsdp} x tensor {tensor}" for _, fsdp, tensor in sorted(found)[:3]
    )


def _require(condition: bool, what: str, where: str, fix: str) -> None:
    if not condition:
        raise InputError(f"{where}: {what}", where="config", fix=fix)


def _positive(part: Any, where: str, names: str) -> None:
    for name in names.split():
        _require(getattr(part, name) >= 1, f"is {getattr(part, name)}", f"{where}.{name}", "Take 1 or more.")


def check_slices(data: int, slices: int) -> None:
    """Raises InputError unless `slices` TPU slices divide the `data` axis, which runs over them."""
    _require(
        data % slices == 0,
        f"{slices} slices do not divide data {data}",
        "mesh.data",
        f"Take a multiple of {slices}, or leave it at -1 and take fsdp x tensor that fits into one slice.",
    )


# ----------------------------------------------------------------------------------------------------------------------
# Derived quantities


def mesh_shape(mesh: MeshConfig, devices: int) -> tuple[int, int, int]:
    """(data, fsdp, tensor) over `devices` devices."""
    data = devices // (mesh.fsdp * mesh.tensor) if mesh.data == -1 else mesh.data
    return data, mesh.fsdp, mesh.tensor


def slots(config: RunConfig, phase: PhaseConfig) -> int:
    """M of a phase: prediction slots a row."""
    masked = config.objectives.masked_lm
    return phase.slots or max(1, round((masked.rate if masked else 0.0) * phase.length))


def phase_rows(config: RunConfig, phase: PhaseConfig, workdir: Path) -> list[tuple[str | Path, float]]:
    """(directory or URL, weight) of the rows of a phase: those it names, or those made in the workdir."""
    if phase.rows:
        return [(source.path, source.weight) for source in phase.rows]
    return [(workdir / "data" / f"rows-{config.data.policy}-{phase.length}", 1.0)]


def schedule_start(config: RunConfig, index: int) -> int:
    """Index of the phase whose schedule phase `index` runs under."""
    while config.phases[index].schedule is None:
        index -= 1
    return index


def horizon(config: RunConfig, index: int) -> int:
    """Steps over which the schedule of phase `index` decays: its own phase and those that continue it."""
    start = schedule_start(config, index)
    schedule = config.phases[start].schedule
    assert schedule is not None
    if schedule.total_steps:
        return schedule.total_steps
    total = config.phases[start].steps
    for phase in config.phases[start + 1 :]:
        if phase.schedule is not None:
            break
        total += phase.steps
    return total


def total_steps(config: RunConfig) -> int:
    """Steps of all phases."""
    return sum(phase.steps for phase in config.phases)


def phase_at(config: RunConfig, step: int) -> tuple[int, int]:
    """(phase, step within it) of global step `step`; past the end: (number of phases, 0)."""
    for index, phase in enumerate(config.phases):
        if step < phase.steps:
            return index, step
        step -= phase.steps
    return len(config.phases), 0


# ----------------------------------------------------------------------------------------------------------------------
# Finding, saving, comparing

# What a resumed run may change; any other difference is an InputError that shows it.
RESUME_MAY_CHANGE = ("mesh", "checkpoint", "logging", "guard.hang_minutes", "phases.*.steps")


def find_config(name: str) -> RunConfig:
    """CONFIG of the command line: a bare name from `jaxbert.configs`, a Python file with `get_config`, or a JSON file.

    Raises:
      InputError: no such config (with the nearest names), or one that does not give a RunConfig.
    """
    path = Path(name)
    if path.suffix == ".json":
        return load_json(path)
    if path.suffix == ".py":
        if not path.is_file():
            raise InputError("no such config file", where=name, fix="Check the path.")
        config = _from_file(path)
    else:
        known = config_names()
        if name not in known:
            raise InputError(
                f"no config named {name!r}",
                where="CONFIG",
                fix=f"{did_you_mean(name, known)}Known: {', '.join(known)}.",
            )
        config = importlib.import_module(f"jaxbert.configs.{name}").get_config()
    if not isinstance(config, RunConfig):
        raise InputError(f"get_config() gave a {type(config).__name__}", where=name, fix="Return a RunConfig.")
    return config


def _from_file(path: Path) -> Any:
    """What get_config() of a Python file gives. It is the user's: whatever goes wrong in it is wrong input."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise InputError("no function get_config", where=str(path), fix="Let it return a RunConfig.")
        return module.get_config()
    except CommandError:
        raise
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == spec.origin]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        raise InputError(f"{type(error).__name__}: {error}", where=where, fix="Mend the config file.") from error


def config_names() -> list[str]:
    """Names of the configs that are installed."""
    import pkgutil

    package = importlib.import_module("jaxbert.configs")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def did_you_mean(word: str, known: list[str]) -> str:
    """'Did you mean X? ', or nothing."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}? " if near else ""


def to_json(config: Any) -> Any:
    """A dataclass as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def config_hash(config: RunConfig) -> str:
    """sha256 of the canonical JSON."""
    return hashlib.sha256(json.dumps(to_json(config), sort_keys=True).encode()).hexdigest()


def save_json(config: RunConfig, path: Path) -> None:
    """Writes `config` for `load_json`."""
    path.write_text(json.dumps(to_json(config), indent=2) + "\n", encoding="utf-8")


def load_json(path: Path) -> RunConfig:
    """Reads what `save_json` wrote; strict: an unknown key or a value of another type is an InputError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such config file", where=str(path), fix="Check the path.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"unreadable config: {error}", where=str(path), fix="Give a saved config.json.") from None
    return typing.cast(RunConfig, from_json(RunConfig, values, str(path)))


def from_json(kind: Any, value: Any, where: str) -> Any:
    """`value` (plain JSON) as `kind`: a dataclass, a Literal, int, float, str, bool, `X | None` or `tuple[X, ...]`."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise _mistyped(value, "an object", where)
        hints = typing.get_type_hints(kind)
        for key in value:
            if key not in hints:
                raise unknown_key(key, list(hints), where)
        for field in dataclasses.fields(kind):
            needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if needed and field.name not in value:
                raise InputError(f"no {field.name!r}", where=where, fix=f"Add {field.name!r}: it has no default.")
        return typing.cast(Any, kind)(
            **{key: from_json(hints[key], item, f"{where}.{key}") for key, item in value.items()}
        )
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else from_json(inner, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _mistyped(value, "a list", where)
        return tuple(from_json(arguments[0], item, f"{where}.{index}") for index, item in enumerate(value))
    if origin is Literal:
        if value not in arguments:
            raise _mistyped(value, "one of " + ", ".join(map(str, arguments)), where)
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise _mistyped(value, f"of type {kind.__name__}", where)
    return value


def unknown_key(key: str, known: list[str], where: str) -> InputError:
    """The error for a key that does not exist, naming the nearest."""
    return InputError(
        f"unknown key {key!r}", where=where, fix=f"{did_you_mean(key, known)}Known: {', '.join(sorted(known))}."
    )


def _mistyped(value: Any, expected: str, where: str) -> InputError:
    return InputError(f"{value!r} is not {expected}", where=where, fix=f"Give a value that is {expected}.")


def resume_differences(saved: RunConfig, new: RunConfig) -> list[str]:
    """Differences that a resume does not allow, as lines 'key: saved -> new'."""
    lines = []
    before, after = dict(_leaves(to_json(saved))), dict(_leaves(to_json(new)))
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key) and not any(_covers(pattern, key) for pattern in RESUME_MAY_CHANGE):
            lines.append(f"{key}: {before.get(key)} -> {after.get(key)}")
    return lines


def _covers(pattern: str, key: str) -> bool:
    parts, keys = pattern.split("."), key.split(".")
    return len(parts) <= len(keys) and all(p in ("*", k) for p, k in zip(parts, keys, strict=False))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
        return
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))
