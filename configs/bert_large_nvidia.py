"""BERT-large with NVIDIA's implementation of LAMB: 7,038 steps of 65,536 rows of 128 tokens, 1,563 of 32,768 of 512.

    jaxbert pretrain bert_large_nvidia --workdir DIR --data seq128:ROWS_128 --data seq512:ROWS_512

Hardware: 32 DGX A100 (256 GPUs) in NVIDIA's README. Expected there: final loss 1.265 +- 0.023 over 5 seeds, SQuAD 1.1
dev F1 90.68 +- 0.16 over 10. Sources and departures are those of bert_base_nvidia.
"""

import dataclasses

from jaxbert.configs import bert_base_nvidia, bert_large

from jaxbert.config import RunConfig


def get_config() -> RunConfig:
    encoder = bert_large.get_config().encoder
    return dataclasses.replace(bert_base_nvidia.get_config(), name="bert_large_nvidia", encoder=encoder)
