"""RoBERTa-base in its own large-batch recipe (Liu et al. 2019, table 9): 8,192 rows of 512 tokens, 500,000 steps.

    jaxbert pretrain roberta_base --workdir DIR --data ROWS_512

Rows: `jaxbert prepare` and `jaxbert rows --policy full_sentences --length 512`, from 160 GB of text in the paper
(books + Wikipedia, CC-News, OpenWebText, Stories), with a byte-level BPE vocabulary of 50,265 pieces: the published
one, or your own of that size (`jaxbert tokenizer SOURCE --kind bpe --vocab-size 50265`). In the paper, its variant
`doc_sentences` is slightly better. Hardware: 1,024 V100, which in the paper train the large model for 100,000 steps in
a day. Expected: MNLI-m 87.6, SST-2 94.8 dev. With fewer devices set `--set phases.*.accumulation=A`, or
`--set scale.batch_size=N`.

The paper gives batch, steps, peak 6e-4, warm-up 24,000, beta 0.9 and 0.98, epsilon 1e-6, decay 0.01, dropout 0.1, no
clipping, and rows of 512 tokens, never shorter. The code (facebookresearch/fairseq) gives what the paper leaves open.
Its Adam has bias correction, and decays all parameters, also LayerNorms and biases. The decay of the rate starts after
the warm-up. Random ids exclude the special tokens.

Departures from the code:
- Special tokens are never chosen, as in Hugging Face's collator. The code may mask <s> and </s>.
- round(0.15 n) tokens of a row are predicted. The code predicts int(0.15 n + u) with a uniform u.
- Every visit has new masks. In the code masks repeat, because there are a million random streams.
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
