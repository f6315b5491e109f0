"""Labels of words: entities, parts of speech. Fine-tunes a model on words with a label each.

    jaxbert finetune label_words --init MODEL --workdir DIR --train train.conll --validation dev.conll

Files are CoNLL columns, JSONL with lists of tokens and tags, or JSONL with texts and entities by characters. Entities
may be in BIO, IOB1 or IOBES; the run trains BIO, and reports F1 of whole entities as conlleval does.

Devlin et al. 2019, section 5.3 and appendix A.3, fine-tune with 32 rows, 2 to 4 epochs and 2e-5 to 5e-5. transformers'
example for token classification takes 5e-5 and 3 epochs of 8 rows. This config takes 5e-5 over 5 epochs of 32 rows,
because words have many more labels than texts. A long text is divided into windows that overlap, so nothing is cut.
"""

import dataclasses

from jaxbert.configs import classify

from jaxbert.config import RunConfig, ScheduleConfig
from jaxbert.tasks.token_labels import TokenLabelsConfig


def get_config() -> RunConfig:
    usual = classify.get_config()
    schedule = ScheduleConfig(kind="linear", peak=5e-5, warmup_steps=100, decay_from="warmup")
    return dataclasses.replace(
        usual,
        name="label_words",
        task=TokenLabelsConfig(epochs=5.0),
        phases=(dataclasses.replace(usual.phases[0], schedule=schedule),),
    )
