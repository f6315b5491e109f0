"""ALBERT-base (version 1) in its own recipe (Lan et al. 2020): LAMB, 4,096 rows of 512 tokens, 125,000 steps.

    jaxbert pretrain albert_base --workdir DIR --data ROWS_512

Rows: `jaxbert prepare` and `jaxbert rows --policy ordered_pair --length 512`, from books + Wikipedia, with a unigram
vocabulary of 30,000 pieces (`jaxbert tokenizer SOURCE --kind unigram --vocab-size 30000`).
Hardware: 64 to 512 TPU v3 in the paper. Expected: SQuAD 1.1 dev F1 89.3, MNLI 81.6 (its table 2).

The paper and the code (google-research/albert) agree on these settings: rate 1.76e-3; warm-up 3,125 steps; a linear
decay to 0 that counts from step 0, before the warm-up ends; weight decay 0.01; epsilon 1e-6; clipping to 1; n-grams of
up to 3 whole words with p(n) ~ 1/n; dropout 0.1. One LAMB trust ratio for each shared parameter, and shorter rows for a
tenth of the documents, are also as in the original.

They differ on masking. The paper masks 15% of the tokens; the code masks at most 20 in a row of 512 (4%), and its
authors say that the difference is marginal. This config follows the code. `--set phases.main.slots=77` follows the
paper.

Departures:
- Sentence order is pure: the rows have policy `ordered_pair`. In the code, a chunk of one segment sometimes takes the
  text of another document; that is `--policy ordered_pair_mixed`.
- Swaps and masks are drawn anew at each visit. The code makes 40 static copies, and does not seed all of them.
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
    SentenceOrderConfig,
)
from jaxbert.models.families.albert import PRESETS


def get_config() -> RunConfig:
    return RunConfig(
        name="albert_base",
        encoder=PRESETS["base"],
        objectives=ObjectivesConfig(
            masked_lm=MaskedLMConfig(scheme="ngram"), next_sentence=None, sentence_order=SentenceOrderConfig()
        ),
        optimizer=OptimizerConfig(name="lamb_albert", weight_decay=0.01, clip_norm=1.0),
        phases=(
            PhaseConfig(
                length=512,
                batch_size=4096,
                steps=125_000,
                slots=20,
                schedule=ScheduleConfig(kind="linear", peak=1.76e-3, warmup_steps=3125, decay_from="zero"),
            ),
        ),
        data=DataConfig(tokenizer_kind="unigram", policy="ordered_pair"),
        checkpoint=CheckpointConfig(every_steps=1000),
        evaluation=EvaluationConfig(every_steps=2500, batch_size=512, batches=16),
    )
