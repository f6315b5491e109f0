"""CoLA of GLUE: acceptable sentences, Matthews correlation.

    jaxbert finetune glue_cola --init MODEL --workdir DIR --train GLUE/CoLA

GLUE/CoLA is the folder of the task in GLUE's archive. Its dev split chooses the checkpoint.

The settings are RoBERTa's (facebookresearch/fairseq, examples/roberta/README.glue.md): 1e-5, 16 rows, 5,336
steps, 320 of them warm-up; see `jaxbert.finetune.glue`. The steps follow from 10 epochs here.
"""

from jaxbert.config import RunConfig
from jaxbert.finetune.glue import glue_config


def get_config() -> RunConfig:
    return glue_config("cola", rate=1e-5, batch_size=16, metric="matthews")
