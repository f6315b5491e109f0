"""The contract of a family: presets, its published config, and its published tensor names. Imports no jax."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from jaxbert.config import Activation, EncoderBase, EncoderConfig, PoolerActivation
from jaxbert.errors import InputError

if TYPE_CHECKING:
    from jaxbert.models.base import Encoder

# The form of one of our arrays in a published file:
#   same             the same shape
#   flat             (H, K) as (H*K,)
#   linear           a kernel (in, out...) as a torch Linear's weight (out, in)
#   linear_of_heads  a kernel (H, K, out) as a torch Linear's weight (out, H*K)
Form = Literal["same", "flat", "linear", "linear_of_heads"]


@dataclass(frozen=True)
class Name:
    """One line of a name map.

    Attributes:
      ours: path in the parameters, joined by "/"; its first part is "encoder" or a head's name.
      theirs: published name; `{layer}` where our array is a stack over layers (or groups of layers that share their
        weights) and the file has one tensor for each.
      form: form of the array in the file.
      vocabulary: whether its first axis is the vocabulary, which is padded here and not in the file.
      also: published names of further copies of the same tensor (tied weights), which a file may leave out.
    """

    ours: str
    theirs: str
    form: Form = "same"
    vocabulary: bool = False
    also: tuple[str, ...] = ()

    @property
    def part(self) -> str:
        """Returns the head that the array belongs to, or "encoder"."""
        return self.ours.split("/")[0]


@dataclass(frozen=True)
class Task:
    """A head of a published class for a task after pretraining.

    Attributes:
      architecture: the class.
      names: the head's names in that class, and other names for parameters that the family's name map has too. For
        example, a class may keep the pooler under its classifier.
    """

    architecture: str
    names: tuple[Name, ...]


def post_ln() -> type[Encoder]:
    """Returns the encoder of BERT, RoBERTa, ALBERT, SpanBERT and DistilBERT."""
    from jaxbert.models.encoder import PostLN

    return PostLN


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of encoders.

    Attributes:
      presets: published shapes by name.
      model_type: `model_type` of a published config.json.
      from_published: (published config, where it was read) -> EncoderConfig. Raises InputError for values that
        EncoderConfig cannot express.
      to_published: (EncoderConfig, names of its heads) -> published config.
      names: the name map of an encoder with this config, and of every pretraining head.
      tasks: the head of the published class of each task, by the head's name. Published names overlap ("classifier"),
        so the class decides how a file is read.
      config: the class of its configs.
      encoder: returns the class of its encoder. It is a function, so that a name map can be read without jax.
      pooler: the activation of the pooler that its files hold; a config with another one is not written.
      prefix: start of the encoder's published names in a model with heads. A bare encoder leaves it out.
      only: the values that the family's files can hold, by field of `EncoderConfig`. A field that is not named may have
        any value.
      zeros: shapes, by name, of published tensors that hold only 0 and have no parameter here.
      pads_before_positions: whether published code counts positions from its padding id on. Then that id must be
        position_offset - 1.
      wrappers: further prefixes that all names of a file may have, from the module that held the model in training.
      old_names: endings of names in older files, and their current form.
      ignored: published names that hold no parameter.
    """

    presets: Mapping[str, EncoderBase]
    model_type: str
    from_published: Callable[[Mapping[str, Any], str], EncoderBase]
    to_published: Callable[[Any, tuple[str, ...]], dict[str, Any]]
    names: Callable[[Any], tuple[Name, ...]]
    prefix: str
    tasks: Mapping[str, Task] = field(default_factory=dict)
    config: type[EncoderBase] = EncoderConfig
    encoder: Callable[[], type[Encoder]] = post_ln
    pooler: PoolerActivation = "tanh"
    only: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)
    zeros: Callable[[Any], Mapping[str, tuple[int, ...]]] = lambda config: {}
    pads_before_positions: bool = False
    wrappers: tuple[str, ...] = ("module.",)
    old_names: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


# ----------------------------------------------------------------------------------------------------------------------
# For the families' files

# transformers' ACT2FN: "gelu" and "gelu_python" are the exact erf, "gelu_new" and "gelu_pytorch_tanh" the tanh formula.
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu_erf",
    "gelu_python": "gelu_erf",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
PUBLISHED_ACTIVATION: Mapping[Activation, str] = {"gelu_erf": "gelu", "gelu_tanh": "gelu_new"}

# EncoderConfig field -> (key of the published config, default of transformers where a file leaves the key out).
Fields = Mapping[str, tuple[str, int | float]]

# Keys that change the encoder's arithmetic, with the only values that this encoder computes.
ABSOLUTE: Mapping[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "tie_word_embeddings": (True, None),
}


_MOST_LAYERS = 10_000  # a file of shared layers does not show how many there are
_LARGEST = 2**31  # no size of a model is near it; a file with such a size is damaged, or an attack


def zero(value: Any) -> bool:
    """Returns whether the value is 0: for the fields in `Family.only` that a family does not have."""
    return bool(value == 0)


def read_fields(
    published: Mapping[str, Any], where: str, *, fields: Fields, only: Mapping[str, tuple[Any, ...]]
) -> dict[str, Any]:
    """Returns values of `EncoderConfig`'s fields from a published config.

    Raises:
      InputError: a value has a wrong type, or it asks for something that this encoder does not compute.
    """
    for key, allowed in only.items():
        if published.get(key) not in allowed:
            raise InputError(
                f"{key} is {published[key]!r}",
                where=where,
                fix=f"Only {allowed[0]!r} can be loaded for this family.",
                code="E-MODEL-PUBLISHED",
            )
    values: dict[str, Any] = {}
    for name, (key, default) in fields.items():
        value = published.get(key, default)
        whole = isinstance(default, int)
        right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not right or not (1 if whole else 0) <= value < _LARGEST:
            kind = "a positive whole number below 2^31" if whole else "a number of at least 0"
            raise InputError(
                f"{key} is {value!r}, but it must be {kind}",
                where=where,
                fix="Correct the config.",
                code="E-MODEL-PUBLISHED",
            )
        values[name] = type(default)(value)
    for name in ("dropout", "attention_dropout"):
        if not values.get(name, 0) < 1:
            raise InputError(
                f"{fields[name][0]} is {values[name]}, but it must be below 1",
                where=where,
                fix="Check the config.",
                code="E-MODEL-PUBLISHED",
            )
    if values["num_layers"] > _MOST_LAYERS:
        raise InputError(
            f"{fields['num_layers'][0]} is {values['num_layers']}, more than {_MOST_LAYERS:,}",
            where=where,
            fix="Check the config.",
            code="E-MODEL-PUBLISHED",
        )
    if values["hidden_size"] % values["num_heads"]:
        raise InputError(
            f"{fields['num_heads'][0]} {values['num_heads']} does not divide {fields['hidden_size'][0]} "
            f"{values['hidden_size']}",
            where=where,
            fix="Check the config.",
            code="E-MODEL-PUBLISHED",
        )
    return values


def read_activation(published: Mapping[str, Any], key: str, default: str, where: str) -> Activation:
    """Returns the GELU that a published config names. Raises InputError for another activation."""
    act = published.get(key, default)
    if not isinstance(act, str) or act not in ACTIVATIONS:
        raise InputError(
            f"{key} {act!r} is unknown", where=where, fix=f"Known: {', '.join(ACTIVATIONS)}.", code="E-MODEL-PUBLISHED"
        )
    return ACTIVATIONS[act]


def write_fields(config: EncoderConfig, fields: Fields) -> dict[str, Any]:
    """Returns the keys of a published config that `fields` names."""
    return {key: getattr(config, name) for name, (key, _) in fields.items()}


def dense(ours: str, theirs: str, *, kernel: Form = "linear", bias: Form = "same") -> tuple[Name, Name]:
    """Returns the names of kernel and bias of a projection."""
    return Name(f"{ours}/kernel", f"{theirs}.weight", kernel), Name(f"{ours}/bias", f"{theirs}.bias", bias)


def norm(ours: str, theirs: str) -> tuple[Name, Name]:
    """Returns the names of scale and bias of a LayerNorm."""
    return Name(f"{ours}/scale", f"{theirs}.weight"), Name(f"{ours}/bias", f"{theirs}.bias")


def block(
    theirs: str, *, query: str, key: str, value: str, out: str, attention: str, up: str, down: str, output: str
) -> tuple[Name, ...]:
    """Returns the name map of a block: published names of its eight parts below `theirs`."""
    ours = "encoder/layers"
    return (
        *dense(f"{ours}/query", f"{theirs}.{query}", bias="flat"),
        *dense(f"{ours}/key", f"{theirs}.{key}", bias="flat"),
        *dense(f"{ours}/value", f"{theirs}.{value}", bias="flat"),
        *dense(f"{ours}/out", f"{theirs}.{out}", kernel="linear_of_heads"),
        *norm(f"{ours}/attention_norm", f"{theirs}.{attention}"),
        *dense(f"{ours}/up", f"{theirs}.{up}"),
        *dense(f"{ours}/down", f"{theirs}.{down}"),
        *norm(f"{ours}/output_norm", f"{theirs}.{output}"),
    )


def tasks(stem: str, text: Sequence[Name], choice: Sequence[Name] | None = None) -> dict[str, Task]:
    """Returns the four task classes of a family. All call their last layers "classifier" and "qa_outputs".

    Args:
      stem: start of the names of the classes.
      text: the name map of the classifier of texts.
      choice: the name map of the multiple choice; by default a classifier on the pooler.
    """
    choice = dense("multiple_choice/dense", "classifier") if choice is None else choice
    return {
        "sequence_classification": Task(f"{stem}ForSequenceClassification", tuple(text)),
        "token_classification": Task(
            f"{stem}ForTokenClassification", dense("token_classification/dense", "classifier")
        ),
        "question_answering": Task(f"{stem}ForQuestionAnswering", dense("question_answering/dense", "qa_outputs")),
        "multiple_choice": Task(f"{stem}ForMultipleChoice", tuple(choice)),
    }


# BERT's block, which RoBERTa and SpanBERT have too.
BERT_BLOCK: Mapping[str, str] = dict(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    out="attention.output.dense",
    attention="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output="output.LayerNorm",
)
