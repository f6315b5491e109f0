"""RTE of GLUE: entailment, accuracy.

    jaxbert finetune glue_rte --init MODEL --workdir DIR --train GLUE/RTE

GLUE/RTE is the folder of the task in GLUE's archive. Its dev split chooses the checkpoint.

The settings are RoBERTa's (facebookresearch/fairseq, examples/roberta/README.glue.md): 2e-5, 16 rows, 2,036
steps, 122 of them warm-up; see `jaxbert.finetune.glue`. The steps follow from 10 epochs here.
"""

from jaxbert.config import RunConfig
from jaxbert.finetune.glue import glue_config


def get_config() -> RunConfig:
    return glue_config("rte", rate=2e-5, batch_size=16)
