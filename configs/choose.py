"""Multiple choice: fine-tunes a model on texts that go on in one of several ways.

    jaxbert finetune choose --init MODEL --workdir DIR --train train.jsonl

Each choice becomes a row, with the text before it, and gets a score; the scores of a question are compared.
Devlin et al. 2019, section 4.4, fine-tune SWAG with 16 questions, 3 epochs and 2e-5.
"""

from jaxbert.config import (
    CheckpointConfig,
    EvaluationConfig,
    LoggingConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
)
from jaxbert.tasks.choices import MultipleChoiceConfig


def get_config() -> RunConfig:
    return RunConfig(
        name="choose",
        inherit="encoder",
        task=MultipleChoiceConfig(epochs=3.0),
        optimizer=OptimizerConfig(name="adamw", weight_decay=0.01, clip_norm=1.0),
        phases=(
            PhaseConfig(
                length=128,
                batch_size=16,
                steps=1000,
                lengths=(32, 64),
                grouped=32,
                schedule=ScheduleConfig(kind="linear", peak=2e-5, warmup_steps=100, decay_from="warmup"),
            ),
        ),
        checkpoint=CheckpointConfig(every_steps=1000),
        evaluation=EvaluationConfig(every_steps=500, batch_size=16),
        logging=LoggingConfig(every_steps=50),
    )
