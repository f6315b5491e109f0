"""STS-B of GLUE: similarity of sentences, Pearson and Spearman correlation.

    jaxbert finetune glue_stsb --init MODEL --workdir DIR --train GLUE/STS-B

GLUE/STS-B is the folder of the task in GLUE's archive. Its dev split chooses the checkpoint.

The settings are RoBERTa's (facebookresearch/fairseq, examples/roberta/README.glue.md): 2e-5, 16 rows, 3,598
steps, 214 of them warm-up; see `jaxbert.finetune.glue`. The steps follow from 10 epochs here.
"""

from jaxbert.config import RunConfig
from jaxbert.finetune.glue import glue_config


def get_config() -> RunConfig:
    return glue_config("stsb", rate=2e-5, batch_size=16, metric="pearson", problem="number")
