"""SST-2 of GLUE: sentiment of sentences, accuracy.

    jaxbert finetune glue_sst2 --init MODEL --workdir DIR --train GLUE/SST-2

GLUE/SST-2 is the folder of the task in GLUE's archive. Its dev split chooses the checkpoint.

The settings are RoBERTa's (facebookresearch/fairseq, examples/roberta/README.glue.md): 1e-5, 32 rows, 20,935
steps, 1,256 of them warm-up; see `jaxbert.finetune.glue`. The steps follow from 10 epochs here.
"""

from jaxbert.config import RunConfig
from jaxbert.finetune.glue import glue_config


def get_config() -> RunConfig:
    return glue_config("sst2", rate=1e-5, batch_size=32)
