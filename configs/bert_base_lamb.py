"""BERT-base by LAMB at the LAMB paper's largest batches: 65,536 rows of 128 tokens, 32,768 of 512, 8,599 steps.

    jaxbert pretrain bert_base_lamb --workdir DIR --data seq128:ROWS_128 --data seq512:ROWS_512

You et al. 2020 (ICLR, arXiv:1904.00962). Hardware: 1,024 TPU v3 chips, 76 minutes, for BERT-large (see
bert_large_lamb; the paper trains only that; this is the same recipe for the smaller shape). With fewer chips set
`--set phases.*.accumulation=A evaluation.batch_size=B`; for small batches `--set scale.batch_size=256` scales rates and
steps, and says how.

From the paper: both batches, 8,599 steps, 9/10 of the rows at 128 tokens, weight decay 0.01, beta 0.9 and 0.999,
epsilon 1e-6, a rate that follows the square root of the batch (5e-3 at 32,768 rows, so 7.07e-3 at 65,536), warmed up
again for the second length. The optimizer is `lamb_mlperf`: TensorFlow Addons' LAMB, to which the paper points.

Departures, and what the paper leaves open:
- How the 8,599 steps divide: 1,562 are a tenth of the rows of its other runs (512 million) at 32,768; the rest, 7,037,
  is seq128's.
- The warm-ups: 3,125 steps, which is what its table of ratios comes to at every batch size, for the first length; a
  fifth of the steps, its ratio at 32,768 rows, for the second.
- The moments at the hand-over: they start anew, as when a stage starts from the weights of a checkpoint.
- Gradients are clipped to a global norm of 1, as MLPerf's reference does.
- 20 and 77 predictions a row: 15% of the tokens, 77 being round(0.15 x 512).
- Masks are dynamic; the original's are ten static copies.
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
