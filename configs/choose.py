"""Multiple choice: fine-tunes a model on texts that go on in one of several ways.

    jaxbert finetune choose --init MODEL --workdir DIR --train train.jsonl

Each choice becomes a row, with the text before it, and gets a score; the scores of a question are compared.
Devlin et al. 2019, section 4.4, fine-tune SWAG with 16 questions, 3 epochs and 2e-5.
"""

import dataclasses

from jaxbert.configs import classify

from jaxbert.config import EvaluationConfig, RunConfig, ScheduleConfig
from jaxbert.tasks.choices import MultipleChoiceConfig


def get_config() -> RunConfig:
    usual = classify.get_config()
    schedule = ScheduleConfig(kind="linear", peak=2e-5, warmup_steps=100, decay_from="warmup")
    return dataclasses.replace(
        usual,
        name="choose",
        task=MultipleChoiceConfig(epochs=3.0),
        phases=(dataclasses.replace(usual.phases[0], batch_size=16, schedule=schedule),),
        evaluation=EvaluationConfig(every_steps=500, batch_size=16),
    )
