"""BERT-base with the platform's fused attention, and so without dropout on the attention probabilities.

    jaxbert pretrain bert_base_fast --workdir DIR --data seq128:ROWS_128 --data seq512:ROWS_512

Everything else is bert_base: rows, recipe, sources, departures. Splash on TPU and cuDNN on GPU never hold the (L, L)
probabilities, which are half of the memory at 512 tokens; what both cost is what `jaxbert plan` says of them.

Departure from the original, beside bert_base's: attention_dropout is 0, there it is 0.1.
"""

import dataclasses

from jaxbert.configs import bert_base

from jaxbert.config import RunConfig


def get_config() -> RunConfig:
    base = bert_base.get_config()
    encoder = dataclasses.replace(base.encoder, attention="fused", attention_dropout=0.0)
    return dataclasses.replace(base, name="bert_base_fast", encoder=encoder)
