"""RoBERTa-base in its own large-batch recipe (Liu et al. 2019, table 9): 8,192 rows of 512 tokens, 500,000 steps.

    jaxbert pretrain roberta_base --workdir DIR --data ROWS_512

Rows: `jaxbert prepare` and `jaxbert rows --policy full_sentences --length 512`, from 160 GB of text in the paper
(books + Wikipedia, CC-News, OpenWebText, Stories), with a byte-level BPE vocabulary of 50,265 pieces: the published
one, or one of your own of that size (`jaxbert tokenizer SOURCE --kind bpe --vocab-size 50265`). `doc_sentences` rows
are its variant that is slightly better in the paper. Hardware: 1,024 V100 for a day per 100,000 steps of the large
one, in the paper. Expected: MNLI-m 87.6, SST-2 94.8 dev. With fewer devices set `--set phases.*.accumulation=A`, or
`--set scale.batch_size=N`.

From the paper: batch, steps, peak 6e-4, warm-up 24,000, beta 0.9 and 0.98, epsilon 1e-6, decay 0.01, dropout 0.1, no
clipping, always 512 tokens, no shorter rows. From the code (facebookresearch/fairseq) where the paper is silent: Adam
with bias correction that decays all parameters, LayerNorms and biases too; the decay of the rate starts behind the
warm-up; random ids exclude the special tokens.

Departures from the code:
- It may mask <s> and </s>; here special tokens are never chosen. (Hugging Face's collator does as we do.)
- It predicts int(0.15 n + u) tokens of a row, u uniform; here round(0.15 n).
- Its masks repeat among a million random streams; here every visit has its own.
"""

from jaxbert.config import (
    CheckpointConfig,
    DataConfig,
    EvaluationConfig,
    MaskedLMConfig,
    ObjectivesConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
)
from jaxbert.models.families.roberta import PRESETS


def get_config() -> RunConfig:
    return RunConfig(
        name="roberta_base",
        encoder=PRESETS["base"],
        objectives=ObjectivesConfig(masked_lm=MaskedLMConfig(random_ids="ordinary"), next_sentence=None),
        optimizer=OptimizerConfig(name="fairseq_adamw", beta2=0.98, epsilon=1e-6, weight_decay=0.01),
        phases=(
            PhaseConfig(
                length=512,
                batch_size=8192,
                steps=500_000,
                schedule=ScheduleConfig(kind="linear", peak=6e-4, warmup_steps=24_000, decay_from="warmup"),
            ),
        ),
        data=DataConfig(tokenizer_kind="bpe", lowercase=False, policy="full_sentences"),
        checkpoint=CheckpointConfig(every_steps=1000),
        evaluation=EvaluationConfig(every_steps=5000, batch_size=1024, batches=16),
    )
