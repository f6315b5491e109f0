"""BERT-tiny (2 layers x 128: google-research/bert README, "Smaller BERT Models") on the sample text: a first look.

    jaxbert pretrain bert_tiny --workdir runs/bert_tiny

The run needs no other argument: it makes a vocabulary and rows from botocore's documentation strings. It takes about a
minute on a CPU for 400 steps of the quickstart's recipe, with BERT's dropout and 512 positions. The config `quickstart`
trains a model that has learned something.
"""

import dataclasses

from jaxbert.configs import quickstart

from jaxbert.config import EncoderConfig, EvaluationConfig, RunConfig
from jaxbert.models.families.bert import PRESETS


def small(encoder: EncoderConfig) -> EncoderConfig:
    """Returns a preset with the settings that a small model on few tokens needs (see `quickstart`)."""
    like = quickstart.get_config().encoder
    return dataclasses.replace(
        encoder,
        vocab_size=like.vocab_size,
        max_positions=like.max_positions + encoder.position_offset,
        dropout=like.dropout,
        attention_dropout=like.attention_dropout,
        initializer_range=like.initializer_range,
        position_init=like.position_init,
    )


def get_config() -> RunConfig:
    base = quickstart.get_config()
    encoder = dataclasses.replace(
        PRESETS["tiny"],
        vocab_size=base.encoder.vocab_size,
        initializer_range=base.encoder.initializer_range,
        position_init=base.encoder.position_init,
    )
    return dataclasses.replace(
        base,
        name="bert_tiny",
        encoder=encoder,
        phases=(dataclasses.replace(base.phases[0], steps=400),),
        evaluation=EvaluationConfig(every_steps=200, batch_size=64, batches=10),
    )
