"""DistilBERT from BERT-base (Sanh et al. 2019, and Hugging Face's examples/research_projects/distillation).

    jaxbert pretrain distilbert_base --workdir DIR --data ROWS_512

Rows: `jaxbert prepare --tokenizer` with the teacher's vocabulary, `jaxbert rows --policy single_document --length 512`,
from books + Wikipedia. For another teacher, of any family: `--set objectives.distillation.teacher=MODEL`.
Hardware: 8 V100, 90 hours in the paper. Expected: GLUE dev macro average 77.0 (BERT-base: 79.5).

From the code:
- The student starts from layers 0 2 4 7 9 11 of the teacher. The transform of its masked-LM head starts at random
  (`objectives.distillation.transform=True` copies the teacher's).
- Soft targets at temperature 2 over all real tokens have weight 5, masked LM 2, the cosine of the last hidden states 1.
  This is the README's command for one GPU; in its other command each weight is a third.
- A token is masked with a probability that is proportional to count^-0.7.
- AdamW has peak 5e-4, beta 0.9 and 0.98, epsilon 1e-6, no decay and clipping to 5. After a warm-up of 5% the rate falls
  linearly to 0. There are three epochs.

Departures:
- There are 2,048 rows in a step. The code has 5 x 50 accumulated x 8 GPUs, which is 2,000, and the paper up to 4,000.
  12,600 steps are three epochs of some 8.6 million rows (books + Wikipedia, 4.4 billion pieces).
- In each row 15% of the tokens are masked. The code masks 15% of a batch.
- All rows have one length. The code groups rows by length.
- Sentences longer than a row are left out, as in SpanBERT's rows. The code splits them.
"""

from jaxbert.config import (
    CheckpointConfig,
    DataConfig,
    DistillationConfig,
    EvaluationConfig,
    MaskedLMConfig,
    ObjectivesConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
)
from jaxbert.models.families.distilbert import PRESETS


def get_config() -> RunConfig:
    return RunConfig(
        name="distilbert_base",
        encoder=PRESETS["base"],
        objectives=ObjectivesConfig(
            masked_lm=MaskedLMConfig(weight=2.0, scheme="frequency"),
            next_sentence=None,
            distillation=DistillationConfig(
                teacher="hf:google-bert/bert-base-uncased",
                layers=(0, 2, 4, 7, 9, 11),
                soft=5.0,
                cosine=1.0,
                temperature=2.0,
            ),
        ),
        optimizer=OptimizerConfig(name="adamw", beta2=0.98, epsilon=1e-6, weight_decay=0.0, clip_norm=5.0),
        phases=(
            PhaseConfig(
                length=512,
                batch_size=2048,
                steps=12_600,
                schedule=ScheduleConfig(kind="linear", peak=5e-4, warmup_steps=630, decay_from="warmup"),
            ),
        ),
        data=DataConfig(policy="single_document"),
        checkpoint=CheckpointConfig(every_steps=500),
        evaluation=EvaluationConfig(every_steps=500, batch_size=256, batches=32),
    )
