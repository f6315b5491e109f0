"""MRPC of GLUE: paraphrases, accuracy and F1.

    jaxbert finetune glue_mrpc --init MODEL --workdir DIR --train GLUE/MRPC

GLUE/MRPC is the folder of the task in GLUE's archive. Its dev split chooses the checkpoint.

The settings are RoBERTa's (facebookresearch/fairseq, examples/roberta/README.glue.md): 1e-5, 16 rows, 2,296
steps, 137 of them warm-up; see `jaxbert.finetune.glue`. The steps follow from 10 epochs here.
"""

from jaxbert.config import RunConfig
from jaxbert.finetune.glue import glue_config


def get_config() -> RunConfig:
    return glue_config("mrpc", rate=1e-5, batch_size=16)
