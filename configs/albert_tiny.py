"""ALBERT in BERT-tiny's shape on the sample text, for a first look: about a minute on a CPU.

    jaxbert pretrain albert_tiny --workdir runs/albert_tiny

Trains its own SentencePiece unigram vocabulary; one set of weights for both layers, embeddings of 64; n-gram masking
and sentence order. 400 steps of bert_tiny's small-model recipe, AdamW included: ALBERT's LAMB is for large batches, and
with a weight of 1 thirty pairs a step drown what the masked tokens say (docs/results.md).
"""

import dataclasses

from jaxbert.configs import bert_tiny

from jaxbert.config import (
    DataConfig,
    MaskedLMConfig,
    ObjectivesConfig,
    RunConfig,
    SentenceOrderConfig,
)
from jaxbert.models.families.albert import PRESETS


def get_config() -> RunConfig:
    base = bert_tiny.get_config()
    encoder = dataclasses.replace(bert_tiny.small(PRESETS["tiny"]), embedding_size=64)
    return dataclasses.replace(
        base,
        name="albert_tiny",
        encoder=encoder,
        objectives=ObjectivesConfig(
            masked_lm=MaskedLMConfig(scheme="ngram", rate=0.3),
            next_sentence=None,
            sentence_order=SentenceOrderConfig(weight=0.1),
        ),
        data=DataConfig(
            source="sample:aws-docs", tokenizer_kind="unigram", lowercase=True, policy="ordered_pair", short_rows=0.0
        ),
    )
