"""Questions whose answer is a part of a text. Fine-tunes a model on SQuAD's JSON, 1.1 or 2.0, or on columns.

    jaxbert finetune answer --init MODEL --workdir DIR --train train-v1.1.json --validation dev-v1.1.json

Devlin et al. 2019, section 4.2, fine-tune SQuAD 1.1 with 32 rows of 384 tokens, 3 epochs and 5e-5; google-research/bert
run_squad.py has answers of at most 30 tokens, windows that are 128 tokens apart, and 12 rows at 3e-5 for one GPU. Here
two windows share 128 tokens. Texts without an answer (SQuAD 2.0, 2 epochs at 5e-5 in section 4.3) are found in the
train file: then an answer is given only where its score is above that of none.
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
from jaxbert.tasks.answers import QuestionAnsweringConfig


def get_config() -> RunConfig:
    return RunConfig(
        name="answer",
        inherit="encoder",
        task=QuestionAnsweringConfig(epochs=3.0),
        optimizer=OptimizerConfig(name="adamw", weight_decay=0.01, clip_norm=1.0),
        phases=(
            PhaseConfig(
                length=384,
                batch_size=32,
                steps=1000,
                lengths=(128, 192, 256),
                grouped=32,
                schedule=ScheduleConfig(kind="linear", peak=5e-5, warmup_steps=100, decay_from="warmup"),
            ),
        ),
        checkpoint=CheckpointConfig(every_steps=1000),
        evaluation=EvaluationConfig(every_steps=500, batch_size=32),
        logging=LoggingConfig(every_steps=50),
    )
