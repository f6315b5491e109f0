"""ALBERT in BERT-tiny's shape on the sample text: a first look that takes about a minute on a CPU.

    jaxbert pretrain albert_tiny --workdir runs/albert_tiny

The run trains a SentencePiece unigram vocabulary. Both layers share one set of weights, and embeddings have 64 numbers.
The objectives are n-gram masking and sentence order. It takes 400 steps of bert_tiny's recipe for small models, with
AdamW, because ALBERT's LAMB is for large batches. The weight of sentence order is 0.1, because with 1 the gradient of
thirty pairs in a step hides the gradient of the masked tokens (docs/explanations/results.md).
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
