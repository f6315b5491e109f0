"""DistilBERT on the sample text, for a first look: one layer taught by bert_tiny's two.

    jaxbert pretrain distilbert_tiny --workdir runs/distilbert_tiny

The teacher, `bert_tiny`, is trained first, in runs/distilbert_tiny-teacher: three quarters of a minute on a CPU; the
student, 400 steps with its teacher's vocabulary, takes about as long again. It learns from its teacher at the masked
tokens; from all, as distilbert_base does, it would take three times as long. With a teacher that is there already:
`--set objectives.distillation.teacher=MODEL`.
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
    # As many positions as the teacher has, from whose table the student's starts.
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
        # Judged on single tokens, as its teacher is, not on the rare ones that it masks.
        evaluation=dataclasses.replace(base.evaluation, masking="token"),
        optimizer=OptimizerConfig(name="adamw", beta2=0.98, weight_decay=0.0, clip_norm=5.0),
        phases=(dataclasses.replace(base.phases[0], length=64, batch_size=16),),
        data=DataConfig(source="sample:aws-docs", policy="single_document", short_rows=0.0),
    )
