"""BERT-base with LAMB at the LAMB paper's largest batches: 65,536 rows of 128 tokens, 32,768 of 512, 8,599 steps.

    jaxbert pretrain bert_base_lamb --workdir DIR --data seq128:ROWS_128 --data seq512:ROWS_512

The source is You et al. 2020 (ICLR, arXiv:1904.00962). The paper trains only BERT-large, in 76 minutes on 1,024 TPU v3
chips (see bert_large_lamb); this is the same recipe for the smaller shape. With fewer chips set
`--set phases.*.accumulation=A evaluation.batch_size=B`. For small batches `--set scale.batch_size=256` scales rates and
steps, and prints how.

The paper gives both batches, 8,599 steps, 9/10 of the rows at 128 tokens, weight decay 0.01, beta 0.9 and 0.999,
epsilon 1e-6, a rate that follows the square root of the batch (5e-3 at 32,768 rows, so 7.07e-3 at 65,536), and a second
warm-up for the second length. The optimizer is `lamb_mlperf`: TensorFlow Addons' LAMB, which the paper names.

Departures, and choices that the paper leaves open:
- The 8,599 steps are divided into 7,037 and 1,562. 1,562 steps of 32,768 rows are a tenth of the rows of the paper's
  other runs (512 million).
- The first warm-up has 3,125 steps: the paper's table of ratios gives this number at every batch size. The second one
  is a fifth of the steps, which is the ratio in the table at 32,768 rows.
- The moments start anew in the second phase, as in a stage that starts from the weights of a checkpoint.
- Gradients are clipped to a global norm of 1, as in MLPerf's reference.
- There are 20 and 77 predictions in a row: 15% of the tokens, where 77 is round(0.15 x 512).
- Masks are drawn anew at each visit. The original makes ten static copies.
"""

import dataclasses

from jaxbert.configs import bert_base

from jaxbert.config import (
    CheckpointConfig,
    EvaluationConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
)


def get_config() -> RunConfig:
    return dataclasses.replace(
        bert_base.get_config(),
        name="bert_base_lamb",
        optimizer=OptimizerConfig(name="lamb_mlperf", weight_decay=0.01, clip_norm=1.0),
        phases=(
            PhaseConfig(
                name="seq128",
                length=128,
                batch_size=65_536,
                steps=7_037,
                slots=20,
                schedule=ScheduleConfig(kind="linear", peak=7.07e-3, warmup_steps=3_125, decay_from="zero"),
            ),
            PhaseConfig(
                name="seq512",
                length=512,
                batch_size=32_768,
                steps=1_562,
                slots=77,
                schedule=ScheduleConfig(kind="linear", peak=5e-3, warmup_steps=312, decay_from="zero"),
                moments="reset",
            ),
        ),
        checkpoint=CheckpointConfig(every_steps=200),
        evaluation=EvaluationConfig(every_steps=200, batch_size=1024, batches=16),
    )
