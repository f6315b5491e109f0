"""Vectors of sentences: fine-tunes a model so that the cosine of two texts says how alike they are.

    jaxbert finetune vectors --init MODEL --workdir DIR --train pairs.csv

Pairs with scores: the cosine is fitted to the score, which may have any scale. Pairs alone, such as questions and their
answers, or titles and texts: `--set task.loss=negatives`, where the other second texts of a batch are negatives; larger
batches then help, for example `--set phases.0.batch_size=128`. `jaxbert convert DIR OUT --to sentence-transformers`
writes the model for sentence-transformers.

Reimers and Gurevych 2019, section 4, fine-tune STS-B with 16 pairs, 4 epochs, 2e-5 and a warm-up over a tenth of the
steps; a vector is the mean of the hidden states. Without dropout before a head, because there is none.
"""

import dataclasses

from jaxbert.configs import classify

from jaxbert.config import RunConfig, ScheduleConfig
from jaxbert.tasks.vectors import SentenceVectorsConfig


def get_config() -> RunConfig:
    usual = classify.get_config()
    schedule = ScheduleConfig(kind="linear", peak=2e-5, warmup_steps=100, decay_from="warmup")
    return dataclasses.replace(
        usual,
        name="vectors",
        task=SentenceVectorsConfig(epochs=4.0),
        phases=(dataclasses.replace(usual.phases[0], batch_size=16, schedule=schedule),),
    )
