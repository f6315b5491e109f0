"""BERT-large, uncased, in BERT's own recipe (Devlin et al. 2019, appendix A.2): 128 tokens, then 512.

    jaxbert pretrain bert_large --workdir DIR --data seq128:ROWS_128 --data seq512:ROWS_512

Hardware: 16 Cloud TPUs (64 chips), 4 days in the paper. Expected: SQuAD 1.1 dev F1 90.5 to 91.0 (google-research/bert
README). Data and departures are those of bert_base.
"""

import dataclasses

from jaxbert.configs import bert_base

from jaxbert.config import RunConfig
from jaxbert.models.families.bert import PRESETS


def get_config() -> RunConfig:
    encoder = dataclasses.replace(PRESETS["large"], remat="dots")
    return dataclasses.replace(bert_base.get_config(), name="bert_large", encoder=encoder)
