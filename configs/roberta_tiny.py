"""RoBERTa in BERT-tiny's shape on the sample text, for a first look: about a minute on a CPU.

    jaxbert pretrain roberta_tiny --workdir runs/roberta_tiny

Trains its own byte-level BPE vocabulary; rows of whole sentences; masked LM only, random ids among the ordinary tokens.
400 steps of bert_tiny's small-model recipe, under RoBERTa's Adam.
"""

import dataclasses

from jaxbert.configs import bert_tiny

from jaxbert.config import DataConfig, MaskedLMConfig, ObjectivesConfig, OptimizerConfig, RunConfig
from jaxbert.models.families.roberta import PRESETS


def get_config() -> RunConfig:
    base = bert_tiny.get_config()
    return dataclasses.replace(
        base,
        name="roberta_tiny",
        encoder=bert_tiny.small(PRESETS["tiny"]),
        objectives=ObjectivesConfig(masked_lm=MaskedLMConfig(rate=0.3, random_ids="ordinary"), next_sentence=None),
        optimizer=OptimizerConfig(name="fairseq_adamw", beta2=0.98, epsilon=1e-6, weight_decay=0.01),
        phases=(dataclasses.replace(base.phases[0], length=64, batch_size=16),),
        data=DataConfig(
            source="sample:aws-docs", tokenizer_kind="bpe", lowercase=False, policy="full_sentences", short_rows=0.0
        ),
    )
