"""A share of the train examples is held out: the same texts together, and no label without a train example."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from jaxbert.config import EncoderConfig, LabelledConfig, find_config
from jaxbert.errors import InputError
from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample, WordsExample
from jaxbert.tasks.labelled_runs import complete
from jaxbert.tasks.sequences import Classification, ClassificationConfig
from jaxbert.tasks.splits import divided, places_of, seen_lines, splits_of
from jaxbert.text.tokenizers import Tokenizer

DATA = LabelledConfig(train="a.jsonl")


def choice(question: str, *choices: str, text: str = "") -> ChoiceExample:
    return ChoiceExample(text=text, question=question, choices=choices, target=0)


SAME: dict[str, tuple[Sequence[Example], int]] = {
    "questions without a text": ([choice(f"q{n // 2}", "x", "y") for n in range(40)], 20),
    "one question": ([choice("which is true?", f"x{n // 2}", "y") for n in range(40)], 20),
    "the choices in another order": (
        [choice("which?", *(("y", f"x{n // 2}") if n % 2 else (f"x{n // 2}", "y"))) for n in range(40)],
        20,
    ),
    "questions about a text": ([choice(f"q{n}", "x", "y", text=f"t{n // 4}") for n in range(40)], 10),
    "answers in a text": ([Question(question=f"q{n}", context=f"t{n // 4}") for n in range(40)], 10),
    "questions with an empty text": ([Question(question=f"q{n // 2}", context=" ") for n in range(40)], 20),
    "words": ([WordsExample(text=f"t{n // 2}", words=(), tags=()) for n in range(40)], 20),
    "pairs": ([TextExample(text="t", pair=f"t{n // 2}", target="x") for n in range(40)], 20),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_text_is_on_one_side(name: str):
    examples, texts = SAME[name]
    each = len(examples) // texts
    numbered = [dataclasses.replace(one, id=str(number // each)) for number, one in enumerate(examples)]
    found = divided({"train": numbered}, DATA, 0)
    sides = [{one.id for one in found[split]} for split in ("train", "validation")]
    assert not sides[0] & sides[1] and len(sides[0]) + len(sides[1]) == texts
    assert 4 <= len(found["validation"]) < 4 + each


REPEATED: list[tuple[Example, Example]] = [
    (TextExample(text="a", target="x"), TextExample(text="b", pair="a")),
    (TextExample(text="a", pair="b"), TextExample(text="b", pair="a")),
    (Question(question="q", context="t"), Question(question="r", context="t")),
    (choice("q", "x", "y", text="t"), choice("q", "y", "x", text="t")),
    (WordsExample(text="a", words=(), tags=()), WordsExample(text="b", words=(), tags=())),
]


@pytest.mark.parametrize(("known", "new"), REPEATED)
def test_examples_that_the_model_has_seen_are_counted(known: Example, new: Example):
    again = dataclasses.replace(known, place="test.csv, line 7")
    splits = {"train": [known], "validation": [new], "test": [new, again, again]}
    (line,) = seen_lines(splits)
    assert line.startswith("test: examples that the train split has too: 2 of 3 (test.csv, line 7); ")


@pytest.mark.parametrize("seed", range(4))
def test_no_label_is_only_held_out(seed: int):
    labels = [*"abcdefgh" * 2, *"xy"]
    one = [TextExample(text=str(number), target=label) for number, label in enumerate(labels)]
    several = [TextExample(text=str(number), target=(label, "z")) for number, label in enumerate(labels)]
    words = [WordsExample(text=str(number), words=(), tags=(f"B-{label}",)) for number, label in enumerate(labels)]
    answers = [(("x", 0),)] * 17 + [()]
    questions = [Question(question="q", context=f"x{number}", answers=one) for number, one in enumerate(answers)]
    data = dataclasses.replace(DATA, validation_fraction=0.4)
    for examples, name in ((one, "target"), (several, "target"), (words, "tags"), (questions, "answers")):
        found = divided({"train": list(examples)}, data, seed)
        assert len(found["validation"]) == 7
        assert {vars(e)[name] for e in found["train"]} == {vars(e)[name] for e in examples}


def test_where_nothing_can_be_held_out():
    examples: list[Example] = [TextExample(text=str(number), target=str(number)) for number in range(20)]
    with pytest.raises(InputError, match=r"no example can be held out.*--validation FILE.*E-LABELLED-EMPTY"):
        divided({"train": examples}, DATA, 0)
    with pytest.raises(InputError, match=r"the same text.*E-LABELLED-EMPTY"):
        divided({"train": [TextExample(text="a", target=str(number % 2)) for number in range(20)]}, DATA, 0)


def test_a_file_of_glue_is_one_split_only(tmp_path: Path):
    """A folder has a validation split; of a file, a part is held out, and the train split does not judge itself."""
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text("sentence\tlabel\n" + "".join(f"a {n}\t{n % 2}\n" for n in range(40)))
    assert set(places_of(LabelledConfig(train=f"glue:sst2:{tmp_path}"))) == {"train", "validation"}
    for data in (
        LabelledConfig(train=f"glue:sst2:{tmp_path / 'train.tsv'}", validation_fraction=0.25),
        LabelledConfig(train=str(tmp_path / "train.tsv"), form="glue:sst2", validation_fraction=0.25),
    ):
        assert set(places_of(data)) == {"train"}
        found = splits_of("classification", "", data, 0)
        assert {name: len(examples) for name, examples in found.items()} == {"train": 30, "validation": 10}


def test_weights_come_from_what_is_trained_on(tmp_path: Path, tokenizer: Tokenizer):
    file = tmp_path / "a.jsonl"
    records = [
        {"text": f"the cat {number}", "label": "rare" if number < 3 else "ab"[number % 2]} for number in range(30)
    ]
    file.write_text("".join(json.dumps(one) + "\n" for one in records))
    config = find_config("classify")
    assert isinstance(config.task, ClassificationConfig)
    task = dataclasses.replace(
        config.task, weighting="balanced", data=LabelledConfig(train=str(file), validation_fraction=0.5)
    )
    sizes = EncoderConfig(vocab_size=tokenizer.vocab_size, hidden_size=16, num_layers=1, num_heads=2)
    found = complete(Classification, dataclasses.replace(config, task=task, encoder=sizes), tokenizer, None, ())
    assert isinstance(found.task, ClassificationConfig) and found.task.labels == ("a", "b", "rare")
    train = splits_of("classification", "one_label", found.task.data, config.evaluation.seed)["train"]
    counts = Counter(str(vars(one)["target"]) for one in train)
    assert len(train) == 15 and found.task.class_weights == tuple(
        len(train) / (3 * counts[label]) for label in found.task.labels
    )
