"""QQP of GLUE: duplicate questions, accuracy and F1.

    jaxbert finetune glue_qqp --init MODEL --workdir DIR --train GLUE/QQP

GLUE/QQP is the folder of the task in GLUE's archive. Its dev split chooses the checkpoint.

The settings are RoBERTa's (facebookresearch/fairseq, examples/roberta/README.glue.md): 1e-5, 32 rows, 113,272
steps, 28,318 of them warm-up; see `jaxbert.finetune.glue`. The steps follow from 10 epochs here.
"""

from jaxbert.config import RunConfig
from jaxbert.finetune.glue import glue_config


def get_config() -> RunConfig:
    return glue_config("qqp", rate=1e-5, batch_size=32, warmup=0.25)
