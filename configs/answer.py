"""Questions whose answer is a part of a text. Fine-tunes a model on SQuAD's JSON, 1.1 or 2.0, or on columns.

    jaxbert finetune answer --init MODEL --workdir DIR --train train-v1.1.json --validation dev-v1.1.json

Devlin et al. 2019, section 4.2, fine-tune SQuAD 1.1 with 32 rows of 384 tokens, 3 epochs and 5e-5; google-research/bert
run_squad.py has answers of at most 30 tokens, windows that are 128 tokens apart, and 12 rows at 3e-5 for one GPU. Here
two windows share 128 tokens. Texts without an answer (SQuAD 2.0, 2 epochs at 5e-5 in section 4.3) are found in the
train file: then an answer is given only where its score is above that of none.
"""

import dataclasses

from jaxbert.configs import classify

from jaxbert.config import EvaluationConfig, RunConfig, ScheduleConfig
from jaxbert.tasks.answers import QuestionAnsweringConfig


def get_config() -> RunConfig:
    usual = classify.get_config()
    schedule = ScheduleConfig(kind="linear", peak=5e-5, warmup_steps=100, decay_from="warmup")
    return dataclasses.replace(
        usual,
        name="answer",
        task=QuestionAnsweringConfig(epochs=3.0),
        phases=(dataclasses.replace(usual.phases[0], length=384, schedule=schedule),),
        evaluation=EvaluationConfig(every_steps=500, batch_size=32),
    )
