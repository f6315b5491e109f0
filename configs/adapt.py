"""Domain adaptation: any model of any family trained on, on text of your own; all sizes come from the model.

    jaxbert pretrain adapt --workdir DIR --init MODEL --set data.source=text:mine.txt
    jaxbert pretrain adapt --workdir DIR --init MODEL --data ROWS

MODEL is a run's workdir, a Hugging Face directory or hf:NAME. Inherited from it: the encoder; the objectives that its
family pretrains with, as far as it has the heads (masked LM always; next sentence, sentence order, span boundary); its
tokenizer, with which the rows are made, and their policy. Rows that are there (`jaxbert prepare SOURCE --tokenizer
MODEL_DIR`) decide on their length, and on the objectives that can learn from them. `--set` comes after all this.

Also: `--tokenizer DIR` for a vocabulary of the domain, whose embeddings start from the model's;
`--set encoder.max_positions=1024 init_positions=tile` (or interpolate) for longer rows.

Recipe: Gururangan et al. 2020, "Don't Stop Pretraining", adapts RoBERTa-base to a domain with 12,500 steps of 2,048
rows at a peak of 5e-4, and to a task with 256 rows at 1e-4; Adam with beta2 0.98, epsilon 1e-6, decay 0.01; 6% of the
steps are warm-up, then linear to 0. Here: 12,500 steps of 256 rows of 128 tokens (410M tokens) at 1e-4, and clipping
to norm 1. Less text or time: `--set scale.steps=0.1`, `--set scale.batch_size=32`.
"""

from jaxbert.config import (
    CheckpointConfig,
    DataConfig,
    EvaluationConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
)


def get_config() -> RunConfig:
    return RunConfig(
        name="adapt",
        inherit="all",
        optimizer=OptimizerConfig(name="adamw", beta2=0.98, epsilon=1e-6, weight_decay=0.01, clip_norm=1.0),
        phases=(
            PhaseConfig(
                length=128,
                batch_size=256,
                steps=12_500,
                schedule=ScheduleConfig(kind="linear", peak=1e-4, warmup_steps=750, decay_from="warmup"),
            ),
        ),
        data=DataConfig(),
        checkpoint=CheckpointConfig(every_steps=500),
        evaluation=EvaluationConfig(every_steps=500, batch_size=64, batches=20),
    )
