"""DistilBERT on the sample text, a first look: bert_tiny with its two layers teaches a student of one layer.

    jaxbert pretrain distilbert_tiny --workdir runs/distilbert_tiny

The run first trains the teacher, `bert_tiny`, in runs/distilbert_tiny-teacher, which takes three quarters of a minute
on a CPU. The student has its teacher's vocabulary; its 400 steps take about as long again. It learns from the teacher
at the masked tokens only. Learning at all tokens, as distilbert_base does, would take three times as long. To use an
existing teacher: `--set objectives.distillation.teacher=MODEL`.
"""

import dataclasses

from jaxbert.configs import bert_tiny

from jaxbert.config import (
    DataConfig,
    DistillationConfig,
    MaskedLMConfig,
    ObjectivesConfig,
    OptimizerConfig,
    RunConfig,
)
from jaxbert.models.families.distilbert import PRESETS


def get_config() -> RunConfig:
    base = bert_tiny.get_config()
    # The student's table of positions starts from the teacher's, so it has the same number of rows.
    encoder = dataclasses.replace(bert_tiny.small(PRESETS["tiny"]), max_positions=base.encoder.max_positions)
    return dataclasses.replace(
        base,
        name="distilbert_tiny",
        encoder=encoder,
        objectives=ObjectivesConfig(
            masked_lm=MaskedLMConfig(weight=2.0, scheme="frequency", rate=0.3),
            next_sentence=None,
            distillation=DistillationConfig(
                teacher="config:bert_tiny", layers=(0,), soft=5.0, cosine=1.0, over="masked"
            ),
        ),
        # Evaluation masks single tokens, as the teacher's does, and not the rare tokens of training.
        evaluation=dataclasses.replace(base.evaluation, masking="token"),
        optimizer=OptimizerConfig(name="adamw", beta2=0.98, weight_decay=0.0, clip_norm=5.0),
        phases=(dataclasses.replace(base.phases[0], length=64, batch_size=16),),
        data=DataConfig(source="sample:aws-docs", policy="single_document", short_rows=0.0),
    )
