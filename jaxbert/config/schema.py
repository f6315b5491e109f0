"""The config of a run, as frozen dataclasses. A run is a `RunConfig`, and each part of the system takes one part of it.

Shape letters of the whole repository: B batch, L sequence, D hidden, E embedding, H heads, K head dim, F feed-forward,
V vocabulary, M masked slots, N layers, A micro-batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from jaxbert.config.registry import Registry

Activation = Literal["gelu_tanh", "gelu_erf"]
Remat = Literal["none", "dots", "full"]
AttentionName = Literal["reference", "fused"]
Initializer = Literal["truncated_normal", "normal"]
PositionInit = Literal["normal", "sinusoidal"]
PoolerActivation = Literal["tanh", "relu"]
_FAMILIES = Registry("family", "jaxbert.models.families", "FAMILIES")
FamilyName = Annotated[str, _FAMILIES]
LayoutName = Annotated[str, Registry("layout", "jaxbert.core.sharding", "LAYOUTS", also=("auto",))]
ScheduleKind = Literal["linear", "polynomial", "wsd", "inverse_sqrt", "constant"]
OptimizerName = Annotated[str, Registry("optimizer", "jaxbert.training.optim", "OPTIMIZERS")]
Dtype = Literal["auto", "float32", "bfloat16"]
RowsPolicy = Annotated[str, Registry("rows policy", "jaxbert.data.policies", "POLICIES")]
TokenizerKind = Annotated[str, Registry("kind of tokenizer", "jaxbert.text.tokenizers", "REGISTRY")]
MaskingScheme = Annotated[str, Registry("masking scheme", "jaxbert.objectives.masking", "SCHEMES")]
SinkName = Annotated[str, Registry("sink", "jaxbert.observe.sinks", "SINKS")]
RandomIds = Literal["vocabulary", "ordinary", "corpus"]
Inherit = Literal["nothing", "encoder", "all"]
InitVocabulary = Literal["same", "new"]
InitPositions = Literal["refuse", "tile", "interpolate"]


class Problem(NamedTuple):
    """A rule that a part of a config breaks.

    Attributes:
      field: the field to change.
      what: the mistake.
      fix: the value to set instead.
    """

    field: str
    what: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class EncoderBase:
    """The part of an encoder's config that all architectures share. Heads, data, planner and files read it.

    Each architecture has a subclass with the fields that only it knows. `jaxbert.models.families.FAMILIES` has it:
    the entry `family` holds the config's class and the encoder that it describes.

    Attributes:
      family: key of `jaxbert.models.families.FAMILIES`: the architecture, and the files that the model is read from and
        written to. It decides nothing that the other fields decide.
      vocab_size: V. The run checks it against the tokenizer before training.
      vocab_multiple: the embedding table is padded to a multiple of this. The logits of the padding are masked.
      hidden_size: D.
      num_layers: N.
      num_heads: H, number of attention heads.
      max_positions: number of positions that the encoder knows. No row may be longer than `longest_row`.
      activation: `gelu_tanh` (Google's BERT and ALBERT), or `gelu_erf` (the others, and Hugging Face's BERT).
      layer_norm_epsilon: the number that LayerNorm adds to the variance.
      pooler: the activation of the pooler, the head upon the first token: `tanh`, or `relu` (DistilBERT's classes).
      initializer_range: standard deviation of the initial weights.
      initializer: `truncated_normal` in the convention of TensorFlow's `truncated_normal_initializer` (cut at two
        deviations, not rescaled afterwards: BERT, ALBERT), or `normal` (RoBERTa, SpanBERT, DistilBERT).
      remat: the part that the backward pass computes again: nothing, all but matrix products, or every layer.
    """

    VARIANTS: ClassVar[Registry] = _FAMILIES
    VARIANT_KEY: ClassVar[str] = "family"
    VARIANT_DEFAULT: ClassVar[type[EncoderBase]]

    family: FamilyName = "bert"
    vocab_size: int = 30522
    vocab_multiple: int = 128
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    max_positions: int = 512
    activation: Activation = "gelu_tanh"
    layer_norm_epsilon: float = 1e-12
    pooler: PoolerActivation = "tanh"
    initializer_range: float = 0.02
    initializer: Initializer = "truncated_normal"
    remat: Remat = "none"

    @property
    def padded_vocab_size(self) -> int:
        """Returns the rows of the embedding table: `vocab_size` rounded up to a multiple of `vocab_multiple`."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    @property
    def embedding_width(self) -> int:
        """Returns E, the width of the word table. It is D unless the architecture has another."""
        return self.hidden_size

    @property
    def distinct_layers(self) -> int:
        """Returns the number of layers with separate weights. It is N unless layers share weights."""
        return self.num_layers

    @property
    def shares_layers(self) -> bool:
        """Returns whether layers share weights."""
        return False

    @property
    def position_offset(self) -> int:
        """Returns the position of the first token. It is 0 unless the architecture has another."""
        return 0

    @property
    def type_vocab_size(self) -> int:
        """Returns the number of token types. It is 0 unless the architecture has token types."""
        return 0

    @property
    def longest_row(self) -> int:
        """Returns the most tokens that a row, or a group of a packed row, may have."""
        return self.max_positions - self.position_offset

    @property
    def sharded(self) -> Mapping[str, tuple[str, ...]]:
        """Returns the fields (or properties) whose size mesh axes must divide, with those axes."""
        return {"hidden_size": ("fsdp",), "embedding_width": ("fsdp",)}

    @property
    def of_layers(self) -> tuple[str, ...]:
        """Returns the fields (or properties) that must be equal if one model's layers start from another's."""
        return ("hidden_size", "embedding_width", "max_positions", "position_offset")

    def problems(self) -> Iterator[Problem]:
        """Yields the rules that the config breaks, in the order in which a user should mend them."""
        for name in ("vocab_size", "vocab_multiple", "hidden_size", "num_layers", "num_heads"):
            if getattr(self, name) < 1:
                yield Problem(name, f"is {getattr(self, name)}", "Set it to 1 or more.")
        # With 0, a constant row would give 0 / 0.
        if self.layer_norm_epsilon <= 0:
            yield Problem("layer_norm_epsilon", f"is {self.layer_norm_epsilon}", "Set it to a number above 0: 1e-12.")
        if self.initializer_range <= 0:
            yield Problem("initializer_range", f"is {self.initializer_range}", "Set it to a number above 0.")

    @classmethod
    def upgraded(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the values of a saved config, completed where an older version did not write a field.

        Before the field `pooler`, a model had the pooler of its family's files.
        """
        family = cls.VARIANTS.entries.get(values.get("family", ""))
        if "pooler" not in values and family is not None:
            return {**values, "pooler": family.pooler}
        return values


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(EncoderBase):
    """The shape of a post-LN encoder; the defaults are BERT-base (google-research/bert modeling.py).

    Attributes:
      embedding_size: E, width of the tables and of the masked-LM head's last layer. A projection takes embeddings to D
        (ALBERT's factorised embeddings). 0: E is D, without a projection.
      layer_groups: G. 0: every layer has separate weights. Otherwise layers share weights in G groups of N / G
        consecutive layers (ALBERT: 1).
      intermediate_size: F.
      max_positions: rows of the position table.
      position_offset: position of the first token. Padding has the position before it (fairseq: 2, in a table of 514
        rows that keeps all rows).
      type_vocab_size: rows of the token-type table; 0: there are no token types.
      dropout: rate of the dropout after embeddings, attention output and feed-forward.
      attention_dropout: rate of the dropout on attention probabilities.
      attention: `reference`, the only one with dropout on the probabilities; or `fused`, the kernel of the platform
        (splash on TPU if rows have a multiple of 128 tokens, cuDNN's on GPU), which is faster and needs less memory.
        Where there is no such kernel, `fused` is the reference.
      position_init: start of the learned position table: `normal`, or `sinusoidal` (sines and cosines scaled to the
        same standard deviation, with which small models learn about neighbours early).
    """

    embedding_size: int = 0
    layer_groups: int = 0
    intermediate_size: int = 3072
    position_offset: int = 0  # type: ignore[misc]  # A field replaces the base's property.
    type_vocab_size: int = 2  # type: ignore[misc]
    dropout: float = 0.1
    attention_dropout: float = 0.1
    attention: AttentionName = "reference"
    position_init: PositionInit = "normal"

    @property
    def head_dim(self) -> int:
        """Returns K."""
        return self.hidden_size // self.num_heads

    @property
    def embedding_width(self) -> int:
        """Returns E."""
        return self.embedding_size or self.hidden_size

    @property
    def distinct_layers(self) -> int:
        """Returns the number of layers with separate weights: N, or G if layers share weights."""
        return self.layer_groups or self.num_layers

    @property
    def shares_layers(self) -> bool:
        """Returns whether layers share weights. N groups count too, because their weights are gathered by group."""
        return self.layer_groups > 0

    @property
    def sharded(self) -> Mapping[str, tuple[str, ...]]:
        """See `EncoderBase`."""
        return {"num_heads": ("tensor",), **super().sharded, "intermediate_size": ("fsdp", "tensor")}

    @property
    def of_layers(self) -> tuple[str, ...]:
        """See `EncoderBase`."""
        return (
            *("hidden_size", "embedding_width", "num_heads", "intermediate_size"),
            *("max_positions", "position_offset"),
        )

    def problems(self) -> Iterator[Problem]:
        """See `EncoderBase`."""
        yield from super().problems()
        if self.intermediate_size < 1:
            yield Problem("intermediate_size", f"is {self.intermediate_size}", "Set it to 1 or more.")
        if self.num_heads >= 1 and self.hidden_size % self.num_heads:
            yield Problem(
                "num_heads",
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}",
                f"Set encoder.num_heads to a divisor of {self.hidden_size}.",
            )
        if self.embedding_size < 0:
            yield Problem(
                "embedding_size", f"is {self.embedding_size}", "Set it to 1 or more, or to 0 for hidden_size."
            )
        if self.layer_groups < 0 or (self.layer_groups and self.num_layers % self.layer_groups):
            yield Problem(
                "layer_groups",
                f"{self.num_layers} layers cannot be divided into {self.layer_groups} groups of equal size",
                f"Set it to a divisor of {self.num_layers}, or to 0 so that layers share no weights.",
            )
        if not 0 <= self.position_offset < self.max_positions:
            yield Problem(
                "position_offset",
                f"is {self.position_offset}, but the encoder has positions from 0 to {self.max_positions - 1}",
                "Set it to one of these positions.",
            )
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                yield Problem(name, f"is {getattr(self, name)}", "Set it to a share of 0 or more, and below 1.")
        if self.attention != "reference" and self.attention_dropout:
            yield Problem(
                "attention",
                "fused attention cannot drop attention probabilities, but attention_dropout is "
                f"{self.attention_dropout}",
                "Set encoder.attention=reference, or set encoder.attention_dropout=0, which trains another model than "
                "the paper's.",
            )
        if self.type_vocab_size < 0:
            yield Problem(
                "type_vocab_size", f"is {self.type_vocab_size}", "Set it to 1 or more, or to 0 for no token types."
            )


EncoderBase.VARIANT_DEFAULT = EncoderConfig


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """The task that a run learns. A task with more settings subclasses this.

    `jaxbert.tasks.TASKS` has the class of each name.

    Attributes:
      name: key of `jaxbert.tasks.TASKS`. `pretraining` learns the terms of `ObjectivesConfig` with one encoder.
    """

    VARIANTS: ClassVar[Registry] = Registry("task", "jaxbert.tasks", "TASKS")
    VARIANT_KEY: ClassVar[str] = "name"

    name: str = "pretraining"


@dataclass(frozen=True, kw_only=True)
class LabelledConfig:
    """The files of a task that learns from labels; see docs/how-to/finetune.md.

    Attributes:
      train, validation, test: FILE (JSONL, CSV, TSV, Parquet, CoNLL columns, SQuAD's JSON), `glue:TASK:FOLDER`,
        `tfds:NAME` or `hf:NAME`; empty: there is none.
      form: format of the files; empty: as their endings say.
      columns: columns by their roles, "text=sentence"; a role that is left out takes the usual names.
      validation_fraction: share of the train examples that is held out where no validation file is given.
      contents: "SPLIT NAME SHA256" of each file. The run finds them when it begins, and so notices a changed file.
    """

    train: str = ""
    validation: str = ""
    test: str = ""
    form: str = ""
    columns: tuple[str, ...] = ()
    validation_fraction: float = 0.1
    contents: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelledTaskConfig(TaskConfig):
    """The settings that all tasks with labels share.

    Attributes:
      data: the files.
      labels: the names of the classes. The run finds them in the train file when it begins.
      found: the names of the settings that the run found in its files when it began. Its user set the others.
      metric: the metric that chooses the best checkpoint; empty: the first of the task.
      epochs: passes over the train examples. The run sets the steps of its phase by it; 0 leaves the steps of the
        phase.
      warmup: share of the steps in which the rate rises; the run sets the schedule's warm-up by it. Below 0 leaves
        it as it is.
      evaluations: evaluations an epoch; the run sets `evaluation.every_steps` by it. 0 leaves it as it is.
      shapes: the most lengths of batches that the run chooses by its train rows when it begins, and sets the phase's
        `lengths` by, where the config has none; 0 chooses none. A length must save more padding than its
        compilation costs, so a short run has few.
      dropout: dropout before the head; below 0 takes the encoder's.
      fit_rate: raise the schedule's rate for a model that is narrower than BERT-base, or whose weights began larger;
        see `jaxbert.tasks.labelled_runs.fitted_rate`. A rate of `--set` stays as it is.
    """

    data: LabelledConfig = LabelledConfig()
    labels: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    metric: str = ""
    epochs: float = 3.0
    warmup: float = 0.1
    evaluations: float = 1.0
    shapes: int = 8
    dropout: float = -1.0
    fit_rate: bool = True


@dataclass(frozen=True, kw_only=True)
class MaskedLMConfig:
    """Masked language modelling (google-research/bert create_pretraining_data.py, but dynamic).

    Attributes:
      weight: weight of this term in the loss.
      scheme: the rule that chooses tokens, a key of `jaxbert.objectives.masking.SCHEMES`: `token` uniform (BERT,
        RoBERTa), `whole_word`, `ngram` of whole words (ALBERT), `span` of whole words (SpanBERT), `frequency` rare
        tokens more often (DistilBERT).
      rate: share of a row's tokens to predict, at least one a row. Special tokens count but are never chosen.
      mask: share of the chosen tokens that become [MASK].
      random: share of the chosen tokens that become a randomly drawn id. The rest keep their ids.
      random_ids: the ids from which that id is drawn: the whole `vocabulary` uniformly (BERT, ALBERT, DistilBERT), the
        `ordinary` tokens uniformly, without the special ones (RoBERTa), or as often as in the `corpus` (SpanBERT).
      word_cap: the most pieces of a word. A longer word counts as several (scripts without spaces have such words).
      max_ngram: words of the longest n-gram, for `ngram`. A length n has probability proportional to 1/n.
      span_p, max_span: parameters of `span`. Lengths in words are geometric with parameter span_p, cut at max_span
        words and renormalised (0.2 and 10: mean 3.8).
      smoothing: parameter of `frequency`. A token is drawn with probability proportional to count^-smoothing.
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
    """Next sentence prediction (google-research/bert run_pretraining.py). Label 0: B follows A; 1: B is random.

    Attributes:
      weight: weight of this term in the loss.
    """

    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class SentenceOrderConfig:
    """Sentence order prediction (ALBERT). Label 0: A and B are in their order; 1: they are swapped.

    Attributes:
      weight: weight of this term in the loss.
      swap: share of the pairs that are swapped. It is drawn anew at each visit.
    """

    weight: float = 1.0
    swap: float = 0.5


@dataclass(frozen=True, kw_only=True)
class SpanBoundaryConfig:
    """The span-boundary objective (SpanBERT). It predicts a masked token from the two tokens around
    its span and from its place in the span.

    Attributes:
      weight: weight of this term in the loss.
      max_targets: number of tokens of a span that are predicted, from its first one (facebookresearch/SpanBERT: 20; its
        published command says 15).
      position_size: width of the embedding of the place in the span (that repository uses 200 and ignores its flag).
    """

    weight: float = 1.0
    max_targets: int = 20
    position_size: int = 200


# The beginning of a teacher that is not a MODEL but a config, whose run comes first.
TRAINED_FIRST = "config:"


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Distillation from a teacher that sees the same corrupted rows (DistilBERT: Sanh et al. 2019, and its code).

    Attributes:
      teacher: MODEL of the same vocabulary, of any family; or `config:NAME`, which first trains the run of that config
        on the same source, in WORKDIR-teacher.
      encoder: the teacher's encoder. The run sets it when it begins.
      soft: weight of the soft targets: KL(teacher || student) of the distributions at `temperature`, times its square.
      cosine: weight of 1 - cosine of the last hidden states; a student of another width is projected to the teacher's.
      temperature: temperature of the soft targets.
      over: the tokens that both terms count: `all` real ones, the original's default, or the `masked` ones.
      layers: the teacher's layers from which the student's layers start, one each, counted from 0. Without any, the
        student starts at random. With them, embeddings and output bias come from the teacher too.
      transform: start the masked-LM head's transform from the teacher's too (the original's --vocab_transform).
      chunk: positions of a row whose logits are in memory at once, (B, chunk, V).
    """

    teacher: str = ""
    encoder: EncoderBase | None = None
    soft: float = 5.0
    cosine: float = 1.0
    temperature: float = 2.0
    over: Literal["all", "masked"] = "all"
    layers: tuple[int, ...] = ()
    transform: bool = False
    chunk: int = 64


@dataclass(frozen=True, kw_only=True)
class ExtraObjective:
    """An objective that has no field in `ObjectivesConfig`. One with more settings subclasses this.

    Attributes:
      name: key of `jaxbert.objectives.OBJECTIVES`, which has the class of each objective's settings.
      weight: weight of its terms in the loss.
    """

    VARIANTS: ClassVar[Registry] = Registry("objective", "jaxbert.objectives", "OBJECTIVES")
    VARIANT_KEY: ClassVar[str] = "name"

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
    """The optimizer of the whole run. Its rate comes from the schedule of the phase.

    Attributes:
      name: `adamw` (bias-corrected, decoupled decay), `bert_adamw` (no bias correction: google-research/bert
        optimization.py), `fairseq_adamw` (bias-corrected, every parameter decayed, no clipping), and five LAMBs,
        because no two published LAMBs are equal: `lamb_paper`, `lamb_albert`, `lamb_mlperf`, `lamb_nvidia`,
        `lamb_nvlamb`. `jaxbert.training.optim.OPTIMIZERS` describes their differences.
      beta1, beta2: decay rates of the first and the second moment.
      epsilon: the number that is added to the square root of the second moment.
      weight_decay: weight decay of the kernels and tables. Only `fairseq_adamw` and `lamb_paper` also decay LayerNorm
        and bias parameters.
      clip_norm: bound of the gradient's global norm; 0: no clipping; None: the optimizer's default.
      clip_scope: `batch` clips the gradient of the global batch, after all sums (NVIDIA, and every textbook).
        `micro_batch` clips each micro-batch's share to clip_norm / A before the sum: Google's TPU programs clip on each
        core before they sum over cores. The result then depends on `accumulation`, and never on the mesh.
      layer_decay: factor of the rate from each layer to the one below it; the embeddings are below the first layer, and
        heads have the whole rate. 1: one rate for all.
      frozen_layers: the embeddings and this many layers, from the first one, are not trained; -1: the whole encoder.
    """

    name: OptimizerName = "bert_adamw"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    clip_norm: float | None = None
    clip_scope: Literal["batch", "micro_batch"] = "batch"
    layer_decay: float = 1.0
    frozen_layers: int = 0


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate as a function of the step.

    Attributes:
      kind: after the warm-up, `linear` falls to `end`; `polynomial` falls as (1 - t)^power (NVIDIA's LAMB: 0.5);
        `wsd` (warm-up, stable, decay) stays at the peak and falls over the last `decay_steps`, as (1 - t)^power;
        `inverse_sqrt` falls as sqrt(warm-up / step), without end; `constant` stays.
      peak: rate at the end of the warm-up.
      warmup_steps: steps of the linear rise from 0.
      end: rate at the last step.
      total_steps: the horizon of the decay; 0 takes the steps of the phase (and of those that continue its schedule).
      decay_from: start of the decay, for `linear` and `polynomial`. `zero`: the decay runs from step 0 and the warm-up
        overrides it, with a jump where it ends (google-research/bert optimization.py, NVIDIA schedulers.py); `warmup`:
        the decay starts at the peak.
      power: exponent of the decay, for `polynomial` and `wsd`.
      decay_steps: number of last steps in which the rate falls, for `wsd`.
      first_step: count at the first update: 0, whose rate is 0 in a warm-up (google-research/bert), or 1 (NVIDIA).
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
    """A directory of rows and its share of the batches.

    Attributes:
      path: the directory, which `jaxbert rows` or `jaxbert prepare` made.
      weight: its share of each batch, in relation to the weights of the phase's other directories.
    """

    path: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """A part of the run with one kind of batch.

    Attributes:
      name: a name for lines and messages, and for `--data NAME:ROWS`.
      rows: directories or URLs of its rows; if empty, the run makes rows from `DataConfig.source` in the workdir.
      length: L of its rows.
      batch_size: B, rows of a global batch over all devices and micro-batches.
      steps: optimizer steps.
      accumulation: micro-batches a step; must divide B.
      lengths: further lengths of batches, below L. A batch is cut to the shortest of them that holds its rows, and the
        step is compiled once for each. Without any, every batch has length L.
      grouped: batches whose rows are sorted by length before they are cut into batches; 1: none are sorted.
      slots: M, prediction slots a row; 0 takes round(rate x L).
      schedule: None continues the previous phase's schedule.
      moments: the optimizer's moments and step count at the start of the phase (a first phase ignores it).
    """

    name: str = "main"
    rows: tuple[RowsSource, ...] = ()
    length: int = 128
    batch_size: int = 256
    steps: int = 1_000_000
    accumulation: int = 1
    lengths: tuple[int, ...] = ()
    grouped: int = 1
    slots: int = 0
    schedule: ScheduleConfig | None = ScheduleConfig()
    moments: Literal["keep", "keep_reset_count", "reset"] = "keep"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The arguments of `jaxbert tokenizer`, `prepare` and `rows` for a phase that names no rows.

    Attributes:
      source: SOURCE string (`jaxbert prepare --help`); empty: every phase must name its rows.
      tokenizer: a directory. If empty, the run takes the initial model's tokenizer, or trains one with
        `EncoderConfig.vocab_size` pieces on the source's train split.
      tokenizer_kind: kind of a trained tokenizer.
      lowercase: whether a trained tokenizer has BERT's uncased normalisation.
      language: ISO 639 code of the text, for the splitter of sentences.
      policy: rows policy. Each objective checks that it can learn from such rows.
      validation_fraction: share of documents held out, chosen by hash (sources that have splits ignore it).
      short_rows: probability, for pairs, that a row's target length is drawn at random (classic: 0.1).
      copies: passes over the corpus with other pairings (the original's dupe_factor; masks are dynamic anyway).
      shuffle_window: shards that are shuffled together (the second level of the order).
    """

    source: str = ""
    tokenizer: str = ""
    tokenizer_kind: TokenizerKind = "wordpiece"
    lowercase: bool = True
    language: str = "en"
    policy: RowsPolicy = "segment_pair"
    validation_fraction: float = 0.01
    short_rows: float = 0.1
    copies: int = 1
    shuffle_window: int = 16


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """The mesh of devices, (data, fsdp, tensor), and the layout of arrays on it. `data` -1 takes all devices left.

    Attributes:
      data: devices along which rows are split.
      fsdp: devices along which rows, parameters and moments are split.
      tensor: devices along which heads, feed-forward and vocabulary are split.
      layout: `replicated`; `zero1` (moments sharded over `fsdp`); `fsdp` (parameters too); `fsdp_tensor` (heads,
        feed-forward and vocabulary over `tensor` too); `auto`: the fastest one that fits by `jaxbert plan`, which also
        chooses `fsdp` and `tensor` where they are 1.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    layout: LayoutName = "fsdp_tensor"


@dataclass(frozen=True, kw_only=True)
class NumericsConfig:
    """The numbers that the step computes with.

    Attributes:
      dtype: dtype of activations and of weights in use; `auto` is bfloat16 on TPU and GPU, float32 on CPU. Parameters,
        softmax, LayerNorm, loss and optimizer are always float32.
      deterministic: whether to ask XLA for deterministic kernels on a GPU. A resumed run gives the same bits there only
        with them.
    """

    dtype: Dtype = "auto"
    deterministic: bool = True


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """The times at which checkpoints are written, and the number that is kept.

    Attributes:
      every_steps: steps between checkpoints. The end of a phase, SIGTERM and SIGINT also make one.
      keep: number of the newest steps to keep; at least 3, so that a good one is left when one is damaged.
      keep_best: whether to also keep the step with the lowest validation loss.
    """

    every_steps: int = 1000
    keep: int = 3
    keep_best: bool = True


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """The evaluations of a run.

    Attributes:
      every_steps: steps between evaluations; 0 evaluates only at the end of the run.
      batch_size: rows a batch. It is fixed, because the fixed masks belong to (batch, row).
      batches: at most this many batches; 0 takes the whole validation split.
      mask_rate: share of tokens masked in evaluation. It does not follow training, so that runs compare.
      masking: choose these tokens as in `training`, or by `token`, so that runs of different schemes compare.
      seed: seed of the fixed masks.
      patience: stop early after this many evaluations without a lower loss; 0 never stops early.
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
    """The logs of a run.

    Attributes:
      every_steps: steps between lines in metrics.jsonl, telemetry.jsonl and on the terminal.
      sinks: programs that get the scalars of these lines too: `tensorboard`, `wandb`, `mlflow`, `trackio`. Each but the
        first needs its extra: `pip install 'jaxbert[wandb]'`.
      tensorboard: how configs said it before `sinks`: true adds `tensorboard` to it, false takes it out.
      price_per_hour: price of the whole mesh, in `currency`; 0 leaves money out.
      currency: of the price, as the logs show it.
      watts: power of the whole machine where no meter can be read. Its figures are labelled estimated; 0 leaves it out.
      carbon_per_kwh: grams of CO2 equivalent that the grid emits for a kWh; 0 leaves carbon out of the page.
      predictions: sentences of the validation rows for which each evaluation predicts a masked word; 0 for none.
      sentences: sentences with a mask that the run takes instead of those of the validation rows.
      page: whether WORKDIR/report.html is written after each evaluation.
    """

    every_steps: int = 50
    sinks: tuple[SinkName, ...] = ("tensorboard",)
    tensorboard: bool | None = None
    price_per_hour: float = 0.0
    currency: str = "USD"
    watts: float = 0.0
    carbon_per_kwh: float = 0.0
    predictions: int = 5
    sentences: tuple[str, ...] = ()
    page: bool = True


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """The limits at which a run ends itself.

    Attributes:
      max_skipped: this many non-finite steps in a row end the run with exit 4.
      max_diverged: this many steps in a row with a finite loss that is not sane (`jaxbert.run.guard` has the figures)
        end the run with exit 4. A run whose loss is not sane at its end ends with exit 4 too. 0 switches both off.
      hang_minutes: a step, a batch of an evaluation or a checkpoint that takes longer ends the process with exit 3,
        because a collective waits for ever when its other side has gone. A step that is compiled has half an hour more.
        0 sets no limit.
    """

    max_skipped: int = 10
    max_diverged: int = 200
    hang_minutes: float = 20.0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One pretraining run: phases in one workdir.

    Attributes:
      name: a name for people.
      init: MODEL whose parameters the run starts from (`--init`). If empty, the run starts at random.
      inherit: the part of the config that comes from that model when the run begins, before `--set`
        (`jaxbert.run.inherit`): its `encoder`, or `all`, which adds the objectives of its family's pretraining and the
        policy and lengths of the rows. The config that the run saves is complete and says `nothing`.
      init_vocabulary: `same`: the rows have the initial model's vocabulary. `new` (`--tokenizer`): they have another
        one, whose embeddings start from the old ones (`jaxbert.text.transfer`).
      init_positions: the start of positions that the initial model lacks: `refuse` the run; `tile` the model's table
        again and again, as Longformer did (Beltagy et al. 2020, section 5); or `interpolate` it linearly.
      max_passes: the most passes over the text. A run that begins, and whose steps would make more, shortens its recipe
        (as `scale.steps` does) and says so, unless `--set` asks for a number of steps. 0: no limit.
      steps_share: the share of the recipe's steps that `max_passes` has left. The run sets it when it begins.
      seed: seed of everything that is drawn: initial parameters, order of the rows, masks, dropout.
    """

    name: str
    init: str = ""
    inherit: Inherit = "nothing"
    init_vocabulary: InitVocabulary = "same"
    init_positions: InitPositions = "refuse"
    max_passes: float = 0.0
    steps_share: float = 1.0
    encoder: EncoderBase = EncoderConfig()
    task: TaskConfig = TaskConfig()
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
