"""BERT-large with LAMB at the LAMB paper's largest batches: 65,536 rows of 128 tokens, 32,768 of 512, 8,599 steps.

    jaxbert pretrain bert_large_lamb --workdir DIR --data seq128:ROWS_128 --data seq512:ROWS_512

Source: You et al. 2020 (ICLR, arXiv:1904.00962). Hardware: 1,024 TPU v3 chips, 76.2 minutes in the paper. Expected:
SQuAD 1.1 dev F1 90.58. Recipe and departures are those of bert_base_lamb.
"""

import dataclasses

from jaxbert.configs import bert_base_lamb, bert_large

from jaxbert.config import RunConfig


def get_config() -> RunConfig:
    encoder = bert_large.get_config().encoder
    return dataclasses.replace(bert_base_lamb.get_config(), name="bert_large_lamb", encoder=encoder)
