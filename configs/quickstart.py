"""The quickstart: a small BERT on the documentation strings of botocore, on two CPU cores, in a few minutes.

    make quickstart
    jaxbert pretrain quickstart --workdir runs/quickstart

Trains its vocabulary (8,192 uncased WordPiece), prepares records and rows, pretrains 3.7M tokens, evaluates.
Expected: see README.md ("What it prints").

What a small model on few tokens needs, and BERT-base does not (found by experiment; docs/results.md has the runs):
- Positions start as sinusoids, and weights are five times larger than BERT's 0.02: attention finds a token's neighbours
  in the first half million tokens, where the classic initialisation is still at the constant guess after 3M.
- Rows of 32 tokens, then of 64, 1,024 tokens a step: many short steps. 30% of the tokens are predicted in training, 15%
  in evaluation.
- No dropout: less than one epoch.
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
