"""The FLOPs of a training step of one encoder with heads. The encoder and each head give their costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from jaxbert.config import DistillationConfig, EncoderBase
from jaxbert.models.model import HEADS, encoder_of, on_pooler


def step_flops(
    encoder: EncoderBase,
    *,
    length: int,
    slots: int,
    heads: Collection[str],
    distillation: DistillationConfig | None = None,
    asked: int | None = None,
) -> float:
    """Returns the FLOPs of one row in one training step: three times those of the forward pass.

    The backward pass is twice the forward pass, and a multiply-add is two FLOPs. The encoder's `cost` gives the forward
    pass of a row of L tokens, and each head's `products` those upon it. For the post-LN encoder, M prediction slots:

        each of N layers   2 x (4 L D^2 + 2 L D F)     query, key, value, output; feed-forward up and down
                           2 x 2 L^2 D                 attention scores and weighted sum
        the last of them, where A positions are asked for:
                           2 x (2 L D^2 + 2 A D^2 + 2 A D F + 2 A L D)
        embeddings         2 x L E D                   their projection, where there is one
        masked_lm          2 x M (D E + E V)           transform and tied decoder, on the slots only
        span_boundary      2 x M (2 D^2 + D E + E V)   both boundaries, second layer, tied decoder, on the slots only
        pooler             2 x D^2                     first position only
        next_sentence, sentence_order   2 x 2 D

    A teacher adds its forward pass once. Soft targets over all positions add both decoders at all positions: the
    student's three times, like all of the student's work.

    Look-ups, LayerNorm, softmax, GELU, dropout, the optimizer, vocabulary padding and recomputation are not counted.

    Args:
      encoder: config of the encoder.
      length: L.
      slots: M.
      heads: names of the heads that the run trains (keys of `jaxbert.models.model.HEADS`), or their sizes by name.
      asked: A, the number of positions whose vectors the task asks the encoder for; None: all.
      distillation: settings of a student's distillation, with its teacher's encoder.
    """
    vectors = {"tokens": length, "slots": slots, "rows": 1}

    def head(name: str, config: EncoderBase, counts: Mapping[str, int] = vectors) -> int:
        sizes = heads.get(name, {}) if isinstance(heads, Mapping) else {}
        return sum(product.madds(counts[product.over]) for product in HEADS[name].products(config, **sizes))

    names = set(heads) | ({"pooler"} if any(map(on_pooler, heads)) else set())
    madds = encoder_of(encoder).cost(encoder).forward(length, asked) + sum(head(name, encoder) for name in names)
    teacher = 0
    if distillation is not None and distillation.encoder is not None:
        over = distillation.encoder
        taught = vectors | {"slots": slots if distillation.over == "masked" else length}
        madds += head("masked_lm", encoder, taught)
        teacher = encoder_of(over).cost(over).forward(length) + head("masked_lm", over, taught)
    return 3.0 * 2.0 * madds + 2.0 * teacher
