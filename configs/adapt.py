"""Domain adaptation: continues to train any model of any family on your own text. All sizes come from the model.

    jaxbert pretrain adapt --workdir DIR --init MODEL --text mine.txt
    jaxbert pretrain adapt --workdir DIR --init MODEL --data ROWS

MODEL is a run's workdir, a Hugging Face directory or hf:NAME. The run inherits from it the encoder, the tokenizer, the
policy of the rows, and the objectives of its family for which it has heads (always masked LM; next sentence, sentence
order, span boundary). Rows that already exist (`jaxbert prepare SOURCE --tokenizer MODEL_DIR`) decide their length, and
which objectives can learn from them. `--set` is applied after all this.

For a vocabulary of the domain give `--tokenizer DIR`; its embeddings start from the model's. For longer rows give
`--set encoder.max_positions=1024 init_positions=tile` (or interpolate).

Recipe: Gururangan et al. 2020, "Don't Stop Pretraining", adapt RoBERTa-base to a domain with 12,500 steps of 2,048 rows
at a peak of 5e-4, and to a task with 256 rows at 1e-4. They use Adam with beta2 0.98, epsilon 1e-6 and decay 0.01; 6%
of the steps are warm-up, then the rate falls linearly to 0. This config has 12,500 steps of 256 rows of 128 tokens
(410M tokens) at 1e-4, and clips to norm 1.

On less than 10M tokens of text this would be more than 40 passes over it, so the run shortens the recipe to 40 passes
(`max_passes`) and says so. BERT's own pretraining passed 40 times over its text (Devlin et al. 2019, appendix A.2), and
repeated text teaches hardly anything after about 40 passes (Muennighoff et al. 2023, "Scaling Data-Constrained Language
Models"). For the whole recipe: `--set max_passes=0`. With less time: `--set scale.steps=0.1`, `--set
scale.batch_size=32`.
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
        max_passes=40.0,
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
