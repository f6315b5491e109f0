"""MNLI of GLUE: entailment, accuracy.

    jaxbert finetune glue_mnli --init MODEL --workdir DIR --train GLUE/MNLI

GLUE/MNLI is the folder of the task in GLUE's archive. Its dev split chooses the checkpoint.

The settings are RoBERTa's (facebookresearch/fairseq, examples/roberta/README.glue.md): 1e-5, 32 rows, 123,873
steps, 7,432 of them warm-up; see `jaxbert.finetune.glue`. The steps follow from 10 epochs here.

The checkpoint is chosen by the matched sentences (dev_matched.tsv).
"""

from jaxbert.config import RunConfig
from jaxbert.finetune.glue import glue_config


def get_config() -> RunConfig:
    return glue_config("mnli", rate=1e-5, batch_size=32)
