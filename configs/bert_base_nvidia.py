"""BERT-base in NVIDIA's realisation of LAMB: 7,038 steps of 65,536 rows of 128 tokens, 1,563 of 32,768 of 512.

    jaxbert pretrain bert_base_nvidia --workdir DIR --data seq128:ROWS_128 --data seq512:ROWS_512

NVIDIA DeepLearningExamples, PyTorch/LanguageModeling/BERT: scripts/run_pretraining.sh (batches, steps, rates 6e-3 and
4e-3, warm-ups of 28.43% and 12.8% of the steps, 20 and 80 predictions a row), schedulers.py (the rate falls as the
square root of what is left, from step 0, under the warm-up; counting from 1), FusedLAMB with use_nvlamb=False (global
clipping to 1; no decay and no trust ratio on biases and LayerNorm). At the hand-over the moments stay, and the step
count and the rate start anew. Its scripts are for BERT-large (see bert_large_nvidia); this is the same recipe for the
smaller shape. With few GPUs set `--set phases.*.accumulation=A evaluation.batch_size=B`.

Departures: warm-ups are whole steps (2,001 for 2,000.9; 200 for 200.1); masks are dynamic (theirs may be static);
activations are bfloat16, not float16 with a loss scale.
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
