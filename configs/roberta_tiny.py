"""RoBERTa in BERT-tiny's shape on the sample text: a first look that takes about a minute on a CPU.

    jaxbert pretrain roberta_tiny --workdir runs/roberta_tiny

The run trains a byte-level BPE vocabulary. Rows are whole sentences. The only objective is masked LM, with random ids
among the ordinary tokens. It takes 400 steps of bert_tiny's recipe for small models, with RoBERTa's Adam.
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
