"""What a family is to the rest of the system: presets, its published config, and its published tensor names. No jax."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jaxbert.config import EncoderConfig

# How one of our arrays is written in a published file:
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
      theirs: published name; `{layer}` where our array is a stack over layers and the file has one tensor for each.
      form: how the array is written there.
      vocabulary: its first axis is the vocabulary: padded here, not there.
      also: published names of further copies of the same tensor (tied weights), which a file may leave out.
    """

    ours: str
    theirs: str
    form: Form = "same"
    vocabulary: bool = False
    also: tuple[str, ...] = ()

    @property
    def part(self) -> str:
        """The head that the array belongs to, or "encoder"."""
        return self.ours.split("/")[0]


@dataclass(frozen=True)
class Family:
    """A family of encoders.

    Attributes:
      presets: published shapes by name.
      model_type: of a published config.json.
      from_published: (published config, where it was read) -> EncoderConfig; InputError for what it cannot express.
      to_published: (EncoderConfig, names of its heads) -> published config.
      names: the name map of the encoder and of every head.
      prefix: what the encoder's published names start with where heads stand beside it; a bare encoder leaves it out.
      old_names: endings that older files use, and what they are called now.
      ignored: published names that hold no parameter.
    """

    presets: Mapping[str, EncoderConfig]
    model_type: str
    from_published: Callable[[Mapping[str, Any], str], EncoderConfig]
    to_published: Callable[[EncoderConfig, tuple[str, ...]], dict[str, Any]]
    names: tuple[Name, ...]
    prefix: str
    old_names: Mapping[str, str]
    ignored: tuple[str, ...]
