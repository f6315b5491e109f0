"""The FLOPs of a training step of one encoder with heads."""

from __future__ import annotations

from collections.abc import Collection

from jaxbert.config import DistillationConfig, EncoderConfig


def step_flops(
    encoder: EncoderConfig,
    *,
    length: int,
    slots: int,
    heads: Collection[str],
    distillation: DistillationConfig | None = None,
) -> float:
    """FLOPs of one row in one training step: three times the forward pass (the backward pass is twice the forward).

    A multiply-add is two FLOPs. Forward, for one row of L tokens with M prediction slots:

        each of N layers   2 x (4 L D^2 + 2 L D F)     query, key, value, output; feed-forward up and down
                           2 x 2 L^2 D                 attention scores and weighted sum
        embeddings         2 x L E D                   their projection, where there is one
        masked_lm          2 x M (D E + E V)           transform and tied decoder, on the slots only
        span_boundary      2 x M (2 D^2 + D E + E V)   both boundaries, second layer, tied decoder, on the slots only
        pooler             2 x D^2                     first position only
        next_sentence, sentence_order   2 x 2 D

    A teacher adds its forward pass once, and the soft targets over all positions both decoders there (the student's
    three times, as everything of its own).

    Look-ups, LayerNorm, softmax, GELU, dropout, the optimizer, vocabulary padding and recomputation are not counted.

    Args:
      encoder: the shape.
      length: L.
      slots: M.
      heads: names of the heads the run trains (keys of `jaxbert.models.model.HEADS`); others count nothing.
      distillation: of a student, with its teacher's encoder.
    """
    size, width, vocabulary = encoder.hidden_size, encoder.embedding_width, encoder.vocab_size
    madds = _encoder_madds(encoder, length)
    decoder = size * width + width * vocabulary
    if "masked_lm" in heads:
        madds += slots * decoder
    if "span_boundary" in heads:
        madds += slots * (2 * size * size + decoder)
    pairs = [head for head in ("next_sentence", "sentence_order") if head in heads]
    if "pooler" in heads or pairs:
        madds += size * size
    madds += 2 * size * len(pairs)
    teacher = 0
    if distillation is not None and distillation.encoder is not None:
        over = distillation.encoder
        tokens = slots if distillation.over == "masked" else length
        madds += tokens * decoder
        teacher = _encoder_madds(over, length)
        teacher += tokens * (over.hidden_size * over.embedding_width + over.embedding_width * over.vocab_size)
    return 3.0 * 2.0 * madds + 2.0 * teacher


def _encoder_madds(encoder: EncoderConfig, length: int) -> int:
    """Multiply-adds of one forward pass over a row of L tokens."""
    size, inner = encoder.hidden_size, encoder.intermediate_size
    layer = 4 * length * size * size + 2 * length * size * inner + 2 * length * length * size
    return encoder.num_layers * layer + length * encoder.embedding_size * size
