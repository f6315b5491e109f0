"""Parameters of every preset: what transformers' classes have, counted live by tests/peers/test_families_peer.py."""

from __future__ import annotations

import dataclasses
from math import prod

from jaxbert.config import EncoderConfig
from jaxbert.core.shapes import shapes_of
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import Model, count_parameters

POOLED, WORDS = ("pooler",), ("masked_lm",)
# (family, preset) -> (heads, parameters). BERT's with its pooler alone, as google-research/bert README.md and Turc et
# al. 2019 (table 1) count; ALBERT's likewise, 12, 18 and 60 million in Lan et al. 2020 (table 1; its 235 of xxlarge are
# more than the published file has); the others' with their masked-LM head, tied.
SIZES: dict[tuple[str, str], tuple[tuple[str, ...], int]] = {
    ("bert", "l2_h128"): (POOLED, 4_385_920),
    ("bert", "l2_h256"): (POOLED, 9_591_040),
    ("bert", "l2_h512"): (POOLED, 22_458_880),
    ("bert", "l2_h768"): (POOLED, 38_603_520),
    ("bert", "l4_h128"): (POOLED, 4_782_464),
    ("bert", "l4_h256"): (POOLED, 11_170_560),
    ("bert", "l4_h512"): (POOLED, 28_763_648),
    ("bert", "l4_h768"): (POOLED, 52_779_264),
    ("bert", "l6_h128"): (POOLED, 5_179_008),
    ("bert", "l6_h256"): (POOLED, 12_750_080),
    ("bert", "l6_h512"): (POOLED, 35_068_416),
    ("bert", "l6_h768"): (POOLED, 66_955_008),
    ("bert", "l8_h128"): (POOLED, 5_575_552),
    ("bert", "l8_h256"): (POOLED, 14_329_600),
    ("bert", "l8_h512"): (POOLED, 41_373_184),
    ("bert", "l8_h768"): (POOLED, 81_130_752),
    ("bert", "l10_h128"): (POOLED, 5_972_096),
    ("bert", "l10_h256"): (POOLED, 15_909_120),
    ("bert", "l10_h512"): (POOLED, 47_677_952),
    ("bert", "l10_h768"): (POOLED, 95_306_496),
    ("bert", "l12_h128"): (POOLED, 6_368_640),
    ("bert", "l12_h256"): (POOLED, 17_488_640),
    ("bert", "l12_h512"): (POOLED, 53_982_720),
    ("bert", "l12_h768"): (POOLED, 109_482_240),
    ("bert", "tiny"): (POOLED, 4_385_920),
    ("bert", "mini"): (POOLED, 11_170_560),
    ("bert", "small"): (POOLED, 28_763_648),
    ("bert", "medium"): (POOLED, 41_373_184),
    ("bert", "base"): (POOLED, 109_482_240),
    ("bert", "large"): (POOLED, 335_141_888),
    ("roberta", "tiny"): (WORDS, 6_963_673),
    ("roberta", "base"): (WORDS, 124_697_433),
    ("roberta", "large"): (WORDS, 355_412_057),
    ("albert", "tiny"): (POOLED, 4_137_344),
    ("albert", "base"): (POOLED, 11_683_584),
    ("albert", "large"): (POOLED, 17_683_968),
    ("albert", "xlarge"): (POOLED, 58_724_864),
    ("albert", "xxlarge"): (POOLED, 222_595_584),
    ("spanbert", "tiny"): (WORDS, 4_219_844),
    ("spanbert", "base"): (WORDS, 108_340_804),
    ("spanbert", "large"): (WORDS, 333_610_308),
    ("distilbert", "tiny"): (WORDS, 4_218_170),
    ("distilbert", "base"): (WORDS, 66_985_530),
}


def size_of(config: EncoderConfig, heads: tuple[str, ...]) -> int:
    """Parameters in a published file: no padding of the vocabulary, and the tables of zeros that the family has."""
    shapes = shapes_of(Model(dataclasses.replace(config, vocab_multiple=1), heads).init)
    return count_parameters(shapes) + sum(prod(shape) for shape in FAMILIES[config.family].zeros(config).values())
