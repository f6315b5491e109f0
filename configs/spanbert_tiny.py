"""SpanBERT in BERT-tiny's shape on the sample text: a first look that takes about a minute on a CPU.

    jaxbert pretrain spanbert_tiny --workdir runs/spanbert_tiny

The vocabulary is cased WordPiece, and a row has text of one document. Spans are masked, and predicted both from the
text and from their boundaries. The run takes 400 steps of bert_tiny's recipe for small models.
"""

import dataclasses

from jaxbert.configs import bert_tiny

from jaxbert.config import (
    DataConfig,
    MaskedLMConfig,
    ObjectivesConfig,
    OptimizerConfig,
    RunConfig,
    SpanBoundaryConfig,
)
from jaxbert.models.families.spanbert import PRESETS


def get_config() -> RunConfig:
    base = bert_tiny.get_config()
    return dataclasses.replace(
        base,
        name="spanbert_tiny",
        encoder=bert_tiny.small(PRESETS["tiny"]),
        objectives=ObjectivesConfig(
            masked_lm=MaskedLMConfig(scheme="span", rate=0.3, random_ids="corpus"),
            next_sentence=None,
            span_boundary=SpanBoundaryConfig(),
        ),
        optimizer=OptimizerConfig(name="fairseq_adamw", beta2=0.98, epsilon=1e-8, weight_decay=0.01, clip_norm=1.0),
        phases=(dataclasses.replace(base.phases[0], length=64, batch_size=16),),
        data=DataConfig(
            source="sample:aws-docs",
            tokenizer_kind="wordpiece",
            lowercase=False,
            policy="single_document",
            short_rows=0.0,
        ),
    )
