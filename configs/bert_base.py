"""BERT-base, uncased, in BERT's own recipe (Devlin et al. 2019, appendix A.2; google-research/bert).

    jaxbert pretrain bert_base --workdir DIR --data seq128:ROWS_128 --data seq512:ROWS_512

Rows: `jaxbert prepare` and `jaxbert rows --policy segment_pair` at both lengths, from a corpus of the size of Wikipedia
+ books (3.3B words, 40 epochs), with the published vocabulary of 30,522 pieces or your own of that size.
Hardware: 4 Cloud TPUs (16 chips), 4 days in the paper. Expected: SQuAD 1.1 dev F1 88.4 (google-research/bert README).

Departures from the original:
- Masks are drawn anew at each visit. The original makes ten static copies.
- Loss and clipping are for the global batch. The TPU code normalises and clips on each core, and then sums.
- One schedule covers both phases, with 90% of the steps at 128 tokens and 10% at 512, as the paper says. The released
  code leaves this to its user.
"""

from jaxbert.config import (
    CheckpointConfig,
    EvaluationConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
)
from jaxbert.models.families.bert import PRESETS


def get_config() -> RunConfig:
    return RunConfig(
        name="bert_base",
        encoder=PRESETS["base"],
        optimizer=OptimizerConfig(name="bert_adamw", weight_decay=0.01, clip_norm=1.0),
        phases=(
            PhaseConfig(
                name="seq128",
                length=128,
                batch_size=256,
                steps=900_000,
                schedule=ScheduleConfig(kind="linear", peak=1e-4, warmup_steps=10_000, decay_from="zero"),
            ),
            PhaseConfig(name="seq512", length=512, batch_size=256, steps=100_000, schedule=None),
        ),
        checkpoint=CheckpointConfig(every_steps=2000),
        evaluation=EvaluationConfig(every_steps=10_000, batch_size=256, batches=64),
    )
