"""BERT-base with the platform's fused attention, and therefore without dropout on the attention probabilities.

    jaxbert pretrain bert_base_fast --workdir DIR --data seq128:ROWS_128 --data seq512:ROWS_512

Rows, recipe, sources and departures are those of bert_base. Splash on TPU and cuDNN on GPU never store the (L, L)
probabilities, which take half of the memory at 512 tokens. `jaxbert plan` shows the cost of either config.

One more departure from the original: attention_dropout is 0 here, and 0.1 there.
"""

import dataclasses

from jaxbert.configs import bert_base

from jaxbert.config import RunConfig


def get_config() -> RunConfig:
    base = bert_base.get_config()
    encoder = dataclasses.replace(base.encoder, attention="fused", attention_dropout=0.0)
    return dataclasses.replace(base, name="bert_base_fast", encoder=encoder)
