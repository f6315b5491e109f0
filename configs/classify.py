"""Classification: fine-tunes a model on texts, or pairs of texts, with a label each.

    jaxbert finetune classify --init MODEL --workdir DIR --train train.csv

The labels are found in the train file. For several labels a text, `--set task.problem=several_labels`; for a number,
`--set task.problem=number`.

Devlin et al. 2019, section 4.1 and appendix A.3, fine-tune with 16 or 32 rows, 2 to 4 epochs, a rate of 2e-5, 3e-5 or
5e-5 and dropout 0.1. Mosbach et al. 2021 (ICLR) show that small tasks need the bias correction of Adam, a warm-up of a
tenth of the steps and more epochs: 2e-5 over 20 epochs. This config takes 3e-5 over 3 epochs, with bias correction and
warm-up, and clips to norm 1 as google-research/bert does. For fewer than some thousand examples, give
`--set task.epochs=10`, and several seeds: `--seeds 5`.

Rows are at most 128 tokens. A batch is cut to the next length of 32 and 64 that holds its rows, which were
sorted over 32 batches; a longer text is cut, and the run says how many. `--set phases.0.length=512` takes longer ones.
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
from jaxbert.tasks.sequences import ClassificationConfig


def get_config() -> RunConfig:
    return RunConfig(
        name="classify",
        inherit="encoder",
        task=ClassificationConfig(),
        optimizer=OptimizerConfig(name="adamw", weight_decay=0.01, clip_norm=1.0),
        phases=(
            PhaseConfig(
                length=128,
                batch_size=32,
                steps=1000,
                grouped=32,
                schedule=ScheduleConfig(kind="linear", peak=3e-5, warmup_steps=100, decay_from="warmup"),
            ),
        ),
        checkpoint=CheckpointConfig(every_steps=1000),
        evaluation=EvaluationConfig(every_steps=500, batch_size=64),
        logging=LoggingConfig(every_steps=50),
    )
