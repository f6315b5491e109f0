"""The quickstart: a small BERT on the documentation strings of botocore, on two CPU cores, in a few minutes.

    make quickstart
    jaxbert pretrain quickstart --workdir runs/quickstart

The run trains a vocabulary (8,192 uncased WordPieces), prepares records and rows, pretrains on 3.7M tokens, and
evaluates. docs/tutorials/quickstart.md shows the expected result.

A small model on few tokens needs some settings that BERT-base does not. We found them by experiment;
docs/explanations/results.md has the runs:
- Positions start as sinusoids, and initial weights are five times larger than BERT's 0.02. Attention then finds the
  neighbours of a token within half a million tokens. With the classic initialisation, the model is still at the
  constant guess after 3M tokens.
- Rows have 32 tokens and then 64, with 1,024 tokens in a step, so that there are many short steps. Training predicts
  30% of the tokens, evaluation 15%.
- There is no dropout, because the run is shorter than an epoch.
"""

from jaxbert.config import (
    CheckpointConfig,
    DataConfig,
    EncoderConfig,
    EvaluationConfig,
    LoggingConfig,
    MaskedLMConfig,
    ObjectivesConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
)


def get_config() -> RunConfig:
    return RunConfig(
        name="quickstart",
        encoder=EncoderConfig(
            vocab_size=8192,
            hidden_size=128,
            num_layers=2,
            num_heads=2,
            intermediate_size=512,
            max_positions=128,
            dropout=0.0,
            attention_dropout=0.0,
            initializer_range=0.1,
            position_init="sinusoidal",
        ),
        objectives=ObjectivesConfig(masked_lm=MaskedLMConfig(rate=0.3)),
        optimizer=OptimizerConfig(name="adamw", beta2=0.98, weight_decay=0.01, clip_norm=1.0),
        phases=(
            PhaseConfig(
                name="short",
                length=32,
                batch_size=32,
                steps=1400,
                schedule=ScheduleConfig(kind="linear", peak=2e-3, warmup_steps=200, decay_from="warmup"),
            ),
            PhaseConfig(name="long", length=64, batch_size=16, steps=2200, schedule=None),
        ),
        data=DataConfig(source="sample:aws-docs", tokenizer_kind="wordpiece", lowercase=True, short_rows=0.0),
        checkpoint=CheckpointConfig(every_steps=500),
        evaluation=EvaluationConfig(every_steps=1000, batch_size=64, batches=20),
        logging=LoggingConfig(every_steps=100),
    )
