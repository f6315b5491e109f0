"""The shapes of encoders from which `jaxbert pretrain auto` chooses, with the figures of each."""

from __future__ import annotations

from dataclasses import dataclass

from jaxbert.models.families.bert import PRESETS


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
