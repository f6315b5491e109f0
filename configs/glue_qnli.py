"""QNLI of GLUE: questions and sentences that answer them, accuracy.

    jaxbert finetune glue_qnli --init MODEL --workdir DIR --train GLUE/QNLI

GLUE/QNLI is the folder of the task in GLUE's archive. Its dev split chooses the checkpoint.

The settings are RoBERTa's (facebookresearch/fairseq, examples/roberta/README.glue.md): 1e-5, 32 rows, 33,112
steps, 1,986 of them warm-up; see `jaxbert.finetune.glue`. The steps follow from 10 epochs here.
"""

from jaxbert.config import RunConfig
from jaxbert.finetune.glue import glue_config


def get_config() -> RunConfig:
    return glue_config("qnli", rate=1e-5, batch_size=32)
