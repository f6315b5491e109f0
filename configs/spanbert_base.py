"""SpanBERT-base in its own recipe (Joshi et al. 2020, section 4.2): 256 rows of 512 tokens, 2.4 million steps.

    jaxbert pretrain spanbert_base --workdir DIR --data ROWS_512

Rows: `jaxbert prepare` and `jaxbert rows --policy single_document --length 512`, from books + Wikipedia, with BERT's
cased vocabulary of 28,996 pieces, or yours of that size (`jaxbert tokenizer SOURCE --kind wordpiece --cased`).
Hardware: 32 V100, 15 days for the large model, in the paper. Expected: SQuAD 1.1 dev F1 92.4 (its README).

The paper and the code (facebookresearch/SpanBERT) agree on these settings:
- Text is cased, a row has text of one document, and there is no next sentence.
- Spans are whole words of geometric length (0.2, at most 10, mean 3.8). One decision of 80/10/10 is for a whole span.
  Random tokens are drawn by their frequency in the corpus.
- Masked LM and span boundary have weight 1 each. Position embeddings of the boundary head have 200 numbers.
- Adam with bias correction decays all parameters. The peak is 1e-4 after a warm-up of 10,000 steps, then the rate falls
  linearly to 0. Epsilon is 1e-8, clipping is to 1, dropout is 0.1.

They differ in two settings. Weight decay is 0.1 in the paper and 0.01 in the published command; this config follows the
paper. The code predicts the first 20 tokens of a span by default, and 15 in the command; this config predicts 20.

Departures from the code:
- The loss is divided by the number of tokens once. The code divides twice, so that its clipping has no effect.
- round(0.15 n) of all n real tokens are predicted. The code predicts ceil(0.15 n) of the tokens between special ones.
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
