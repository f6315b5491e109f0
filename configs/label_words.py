"""Labels of words: entities, parts of speech. Fine-tunes a model on words with a label each.

    jaxbert finetune label_words --init MODEL --workdir DIR --train train.conll --validation dev.conll

Files are CoNLL columns, JSONL with lists of tokens and tags, or JSONL with texts and entities by characters. Entities
may be in BIO, IOB1 or IOBES; the run trains BIO, and reports F1 of whole entities as conlleval does.

Devlin et al. 2019, section 5.3 and appendix A.3, fine-tune with 32 rows, 2 to 4 epochs and 2e-5 to 5e-5. transformers'
example for token classification takes 5e-5 and 3 epochs of 8 rows. This config takes 5e-5 over 5 epochs of 32 rows,
because words have many more labels than texts. A long text is divided into windows that overlap, so nothing is cut.
"""

from jaxbert.config import (
    CheckpointConfig,
    EvaluationConfig,
    LoggingConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
)
from jaxbert.tasks.token_labels import TokenLabelsConfig


def get_config() -> RunConfig:
    return RunConfig(
        name="label_words",
        inherit="encoder",
        task=TokenLabelsConfig(epochs=5.0),
        optimizer=OptimizerConfig(name="adamw", weight_decay=0.01, clip_norm=1.0),
        phases=(
            PhaseConfig(
                length=128,
                batch_size=32,
                steps=1000,
                lengths=(32, 64),
                grouped=32,
                schedule=ScheduleConfig(kind="linear", peak=5e-5, warmup_steps=100, decay_from="warmup"),
            ),
        ),
        checkpoint=CheckpointConfig(every_steps=1000),
        evaluation=EvaluationConfig(every_steps=500, batch_size=64),
        logging=LoggingConfig(every_steps=50),
    )
