"""BERT-base with NVIDIA's implementation of LAMB: 7,038 steps of 65,536 rows of 128 tokens, 1,563 of 32,768 of 512.

    jaxbert pretrain bert_base_nvidia --workdir DIR --data seq128:ROWS_128 --data seq512:ROWS_512

The source is NVIDIA DeepLearningExamples, PyTorch/LanguageModeling/BERT:
- scripts/run_pretraining.sh gives the batches, the steps, rates of 6e-3 and 4e-3, warm-ups of 28.43% and 12.8% of the
  steps, and 20 and 80 predictions in a row.
- schedulers.py counts steps from 1, and lets the rate fall as the square root of the remaining share of steps. The
  decay counts from step 0, before the warm-up ends.
- FusedLAMB with use_nvlamb=False clips globally to 1, and has no decay and no trust ratio on biases and LayerNorm.
- In the second phase the moments stay, and the step count and the rate start anew.

NVIDIA's scripts are for BERT-large (see bert_large_nvidia); this is the same recipe for the smaller shape. With few
GPUs set `--set phases.*.accumulation=A evaluation.batch_size=B`.

Departures:
- Warm-ups are whole steps: 2,001 for 2,000.9, and 200 for 200.1.
- Masks are drawn anew at each visit. NVIDIA's may be static.
- Activations are bfloat16, not float16 with a loss scale.
"""

import dataclasses

from jaxbert.configs import bert_base_lamb

from jaxbert.config import OptimizerConfig, RunConfig, ScheduleConfig


def get_config() -> RunConfig:
    base = bert_base_lamb.get_config()
    short, long = base.phases
    schedule = ScheduleConfig(
        kind="polynomial", power=0.5, peak=6e-3, warmup_steps=2_001, decay_from="zero", first_step=1
    )
    return dataclasses.replace(
        base,
        name="bert_base_nvidia",
        optimizer=OptimizerConfig(name="lamb_nvidia", weight_decay=0.01, clip_norm=1.0),
        phases=(
            dataclasses.replace(short, steps=7_038, schedule=schedule),
            dataclasses.replace(
                long,
                steps=1_563,
                slots=80,
                schedule=dataclasses.replace(schedule, peak=4e-3, warmup_steps=200),
                moments="keep_reset_count",
            ),
        ),
    )
