"""SpanBERT-base in its own recipe (Joshi et al. 2020, section 4.2): 256 rows of 512 tokens, 2.4 million steps.

    jaxbert pretrain spanbert_base --workdir DIR --data ROWS_512

Rows: `jaxbert prepare` and `jaxbert rows --policy single_document --length 512`, from books + Wikipedia, with BERT's
cased vocabulary of 28,996 pieces or one of your own of that size (`jaxbert tokenizer SOURCE --kind wordpiece --cased`).
Hardware: 32 V100, 15 days for the large one, in the paper. Expected: SQuAD 1.1 dev F1 92.4 (its README).

From the paper and the code (facebookresearch/SpanBERT): cased; one document a row, no next sentence; geometric spans
of whole words (0.2, at most 10, mean 3.8); one decision a span; masked LM + span boundary, each of weight 1; Adam
with bias correction that decays all parameters, peak 1e-4, warm-up 10,000, linear to 0, epsilon 1e-8, clipping to 1,
dropout 0.1; random tokens by their frequency in the corpus. Paper against code: weight decay is 0.1 in the paper,
0.01 in the published command: the paper is followed. The code predicts the first 20 tokens of a span (15 in the
command): 20 here. Its position embeddings are 200 wide.

Departures from the code:
- It divides the loss by the number of tokens twice, which leaves clipping without effect: here once.
- It predicts ceil(0.15 n) tokens of the n between the special ones; here round(0.15 n) of all.
"""

from jaxbert.config import (
    CheckpointConfig,
    DataConfig,
    EvaluationConfig,
    MaskedLMConfig,
    ObjectivesConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
    SpanBoundaryConfig,
)
from jaxbert.models.families.spanbert import PRESETS


def get_config() -> RunConfig:
    return RunConfig(
        name="spanbert_base",
        encoder=PRESETS["base"],
        objectives=ObjectivesConfig(
            masked_lm=MaskedLMConfig(scheme="span", random_ids="corpus"),
            next_sentence=None,
            span_boundary=SpanBoundaryConfig(),
        ),
        optimizer=OptimizerConfig(name="fairseq_adamw", epsilon=1e-8, weight_decay=0.1, clip_norm=1.0),
        phases=(
            PhaseConfig(
                length=512,
                batch_size=256,
                steps=2_400_000,
                schedule=ScheduleConfig(kind="linear", peak=1e-4, warmup_steps=10_000, decay_from="warmup"),
            ),
        ),
        data=DataConfig(lowercase=False, policy="single_document"),
        checkpoint=CheckpointConfig(every_steps=2000),
        evaluation=EvaluationConfig(every_steps=20_000, batch_size=256, batches=64),
    )
