"""Answers of models with a head: each text gets what it gets alone, whatever it is packed with."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from jaxbert.convert.read import Labels
from jaxbert.errors import InputError
from jaxbert.labelled.answers import best_answers
from jaxbert.labelled.encode import Encoding, encode
from jaxbert.labelled.examples import Question, TextExample
from jaxbert.use import batches, tasks
from jaxbert.use.library import Loaded

LENGTHS = [3, 60, 0, 130, 12, 7, 1, 100, 12, 200, 31, 5, 5, 90, 2, 17]
TEXTS = [" ".join(f"w{(7 * index + word) % 60}" for word in range(length)) for index, length in enumerate(LENGTHS)]
PAIRS = [(TEXTS[0], TEXTS[1]), TEXTS[4], (TEXTS[6], TEXTS[9]), (TEXTS[2], TEXTS[10])]
QUESTIONS = [(TEXTS[one], TEXTS[other]) for one, other in ((0, 1), (4, 3), (2, 9), (5, 13), (14, 6), (0, 9))]
CHOICES = [
    (TEXTS[0], TEXTS[4:7]),
    (TEXTS[1], TEXTS[10:12]),
    (TEXTS[2], [*TEXTS[12:15], TEXTS[7]]),
    (TEXTS[9], TEXTS[:2]),
]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several windows of several chunks, and two widths."""
    monkeypatch.setattr(tasks, "WINDOW", 8)
    monkeypatch.setattr(tasks, "_CHUNK", 3)
    monkeypatch.setattr(batches, "OWN_WIDTH", 1)


def numbers_of(result: Any) -> np.ndarray:
    match result:
        case tasks.Classified():
            return np.array(list(result.probabilities.values()))
        case tasks.Answered():
            return np.array([result.score, result.null_score, *(one.score for one in result.candidates)])
        case _:
            return np.array(result.probabilities)


def words_of(result: Any) -> Any:
    match result:
        case tasks.Classified():
            return result.labels
        case tasks.Tagged():
            return result.tags, [(one.label, one.start, one.end, one.text) for one in result.entities]
        case tasks.Answered():
            return result.text, result.start, result.end, [(one.start, one.end) for one in result.candidates]
        case _:
            return result.choice, result.text


@pytest.mark.parametrize(
    ("name", "method", "inputs", "options"),
    [
        ("classifier", "classify", [*TEXTS, *PAIRS], {}),
        ("tagger", "tag", TEXTS, {"max_length": 40}),
        ("reader", "answer", QUESTIONS, {"max_length": 60, "candidates": 3}),
        ("chooser", "choose", CHOICES, {}),
    ],
)
def test_each_gets_what_it_gets_alone(
    request: pytest.FixtureRequest, small: None, name: str, method: str, inputs: list[Any], options: dict[str, Any]
):
    model = request.getfixturevalue(name)
    call: Callable[..., list[Any]] = getattr(model, method)
    together = call(iter(inputs), batch_tokens=64, **options)
    assert len(together) == len(inputs)
    for one, result in zip(inputs, together, strict=True):
        (alone,) = call([one], **options)
        assert words_of(result) == words_of(alone)
        np.testing.assert_allclose(numbers_of(result), numbers_of(alone), rtol=0, atol=1e-5)


def test_classify_is_the_head_on_one_row_each(classifier: Loaded):
    batch = classifier.batch([*TEXTS, *PAIRS])
    logits = np.asarray(
        classifier.sequence_classification(classifier.params, classifier.encode(classifier.params, **batch))
    )
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = classifier.classify([*TEXTS, *PAIRS])
    np.testing.assert_allclose([list(one.probabilities.values()) for one in found], expected, atol=1e-5)
    assert [one.labels for one in found] == [(("bad", "fair", "good")[row.argmax()],) for row in expected]


def test_the_problem_decides_what_logits_are(classifier: Loaded):
    def changed(labels: Labels | None) -> list[tasks.Classified]:
        return Loaded("here", classifier.config, classifier.params, classifier.tokenizer, labels=labels).classify(TEXTS)

    names = ("bad", "fair", "good")
    one, several = changed(Labels(names)), changed(Labels(names, "multi_label_classification"))
    number = changed(Labels(names, "regression"))
    for single, many, plain in zip(one, several, number, strict=True):
        odds = {label: share / (1 - share) for label, share in many.probabilities.items()}
        total = sum(odds.values())
        assert single.probabilities == pytest.approx({label: value / total for label, value in odds.items()}, abs=1e-5)
        assert many.labels == tuple(label for label in names if many.probabilities[label] > 0.5) and many.several
        assert plain.number == pytest.approx(math.log(odds["bad"]), abs=1e-4) and plain.labels == ()
    assert {len(many.labels) for many in several} != {1}, "no text with another number of labels than one"
    assert [one.labels[0] for one in changed(None)] == [f"LABEL_{names.index(one.labels[0])}" for one in one]


def test_one_class_without_a_name_is_a_number(model: Loaded):
    from tests.predict.conftest import with_head

    found = with_head(model, "sequence_classification", 1).classify(["w1"])
    assert found[0].number is not None and found[0].probabilities == {}


def test_words_may_be_given(tagger: Loaded):
    (text,), (words,) = tagger.tag(["w1 w2 w3"]), tagger.tag([["w1", "w2", "w3"]])
    assert text == words and words.words == ((0, 2), (3, 5), (6, 8))
    empty, odd = tagger.tag([[], ["w1", "\u200b", "w2"]])
    assert empty == tasks.Tagged((), (), (), ())
    assert odd.tags[1] == "O" and math.isnan(odd.probabilities[1]) and not math.isnan(odd.probabilities[2])


def test_labels_that_mark_no_spans_make_no_entities(tagger: Loaded):
    names = Labels(("NOUN", "VERB", "ADJ", "DET", "X"))
    other = Loaded("here", tagger.config, tagger.params, tagger.tokenizer, labels=names)
    (found,), (spans,) = other.tag([TEXTS[4]]), tagger.tag([TEXTS[4]])
    assert found.entities == () and len(found.tags) == 12 and spans.entities
    assert found.probabilities == spans.probabilities and set(found.tags) <= set(names.names)
    for one in spans.entities:
        assert TEXTS[4][one.start : one.end] == one.text


def test_answers_are_the_best_of_rows_that_are_not_packed(reader: Loaded):
    assert reader.tokenizer is not None
    examples = [Question(question=one, context=other) for one, other in QUESTIONS]
    rows = encode(Encoding(kind="question_answering", tokenizer=reader.tokenizer, length=60), examples).rows
    assert len(rows) > len(examples)
    batch = {name: rows[name].astype(np.int32) for name in ("tokens", "types", "group")}
    logits = np.asarray(reader.question_answering(reader.params, reader.encode(reader.params, **batch)))
    expected = best_answers(logits[..., 0], logits[..., 1], rows, examples)
    for found, one in zip(reader.answer(QUESTIONS, max_length=60), expected, strict=True):
        assert (found.text, found.start, found.end) == (one.text, one.start, one.end)
        assert (found.score, found.null_score) == pytest.approx((one.score, one.null_score), abs=1e-5)


def test_a_text_may_have_no_answer(reader: Loaded):
    plain = reader.answer(QUESTIONS)
    lead = sorted(one.null_score - one.score for one in plain)
    middle = (lead[2] + lead[3]) / 2
    found = reader.answer(QUESTIONS, null_threshold=middle)
    for one, other in zip(found, plain, strict=True):
        if other.null_score - other.score > middle:
            assert (one.text, one.start, one.end) == ("", None, None) and one.candidates == other.candidates
        else:
            assert one == other
        assert 0 <= one.probability <= 1
    assert sum(not one.text for one in found) == 3
    (nothing,) = reader.answer([("w1", " ")])
    assert (nothing.text, nothing.score, nothing.candidates) == ("", -math.inf, ())


def test_a_run_says_how_its_questions_are_read(reader: Loaded, monkeypatch: pytest.MonkeyPatch, tmp_path):
    task = SimpleNamespace(name="question_answering", longest_answer=2, unanswerable=True)
    config = SimpleNamespace(task=task, phases=[SimpleNamespace(length=60)])
    monkeypatch.setattr(tasks, "load_json", lambda path: config)
    run = Loaded("run", reader.config, reader.params, reader.tokenizer, path=tmp_path, step=1)
    found = run.answer(QUESTIONS, candidates=20)
    longest = max(len(one.text.split()) for answer in found for one in answer.candidates)
    assert longest == 2
    assert all((one.text == "") == (one.null_score > one.score) for one in found)
    task.name = "pretraining"
    assert run.answer(QUESTIONS) == reader.answer(QUESTIONS)


def test_results_come_while_texts_are_read(classifier: Loaded, small: None):
    read = 0

    def examples():
        nonlocal read
        for text in TEXTS * 40:
            read += 1
            yield TextExample(text=text)

    stream = tasks.predict_stream(classifier, "classification", examples(), batch_tokens=64)
    first = next(stream)
    assert 0 < read < 100
    count = len(first.results) + sum(len(part.results) for part in stream)
    assert count == len(TEXTS) * 40


def test_what_is_cut_is_counted(classifier: Loaded):
    examples = [TextExample(text=text) for text in TEXTS]
    (part,) = tasks.predict_stream(classifier, "classification", examples, max_length=20)
    assert part.counts.cut_examples == sum(length > 18 for length in LENGTHS)


def test_right_answers_are_not_looked_at(classifier: Loaded):
    example = TextExample(text="w1", target="a label that the model does not know")
    (part,) = tasks.predict_stream(classifier, "classification", [example])
    assert part.examples == [example]


def refused(call: Callable[[], Any], code: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    assert error.value.code == code


def test_what_does_not_fit_is_refused(
    model: Loaded, classifier: Loaded, tagger: Loaded, reader: Loaded, chooser: Loaded
):
    wordless = Loaded("here", classifier.config, classifier.params, None)
    both = Loaded("here", model.config, {**tagger.params, **reader.params}, model.tokenizer)
    spoilt = jax.tree.map(lambda leaf: leaf * np.nan, classifier.params)
    broken = Loaded("here", classifier.config, spoilt, classifier.tokenizer, labels=classifier.labels)
    spoilt = jax.tree.map(lambda leaf: leaf * np.nan, reader.params)
    silent = Loaded("here", reader.config, spoilt, reader.tokenizer)
    for call, code in (
        (lambda: model.classify(["w1"]), "E-MODEL-HEAD"),
        (lambda: classifier.tag(["w1"]), "E-MODEL-HEAD"),
        (lambda: tasks.kind_of_model(model), "E-PREDICT-HEAD"),
        (lambda: tasks.kind_of_model(both), "E-PREDICT-TASK"),
        (lambda: tasks.kind_of_model(both, "classify"), "E-PREDICT-TASK"),
        (lambda: wordless.classify(["w1"]), "E-MODEL-NO-TOKENIZER"),
        (lambda: classifier.classify("w1"), "E-MODEL-TEXTS"),
        (lambda: classifier.classify([1]), "E-MODEL-TEXTS"),
        (lambda: classifier.classify([("w1", "w2", "w3")]), "E-MODEL-TEXTS"),
        (lambda: classifier.classify(["w1"], max_length=2), "E-EMBED-LENGTH"),
        (lambda: classifier.classify(["w1"], batch_tokens=0), "E-EMBED-BATCH"),
        (lambda: tagger.tag([["w1", 2]]), "E-MODEL-TEXTS"),
        (lambda: reader.answer(["w1"]), "E-MODEL-TEXTS"),
        (lambda: reader.answer([("w1", "w2")], candidates=0), "E-PREDICT-TOP"),
        (lambda: chooser.choose(["w1"]), "E-MODEL-TEXTS"),
        (lambda: chooser.choose([("w1", "w2")]), "E-MODEL-TEXTS"),
        (lambda: chooser.choose([("w1", ["w2"])]), "E-PREDICT-CHOICES"),
        (lambda: broken.classify(["w1"]), "E-SCORES-NAN"),
        (lambda: silent.answer([("w1", "w2")]), "E-SCORES-NAN"),
    ):
        refused(call, code)
    assert tasks.kind_of_model(both, "token_labels") == "token_labels"
    assert dataclasses.is_dataclass(tasks.Chosen) and classifier.classify([]) == []


def test_a_choice_may_have_a_question(chooser: Loaded) -> None:
    """The question begins each choice, as in the files of fine-tuning."""
    asked = tasks.choose(chooser, [("w1 w2", "w3 w4", ["w5", "w6 w7"]), ("w1 w2", ["w3 w4 w5", "w3 w4 w6 w7"])])
    np.testing.assert_allclose(asked[0].probabilities, asked[1].probabilities, atol=1e-6)
    assert tasks.choose(chooser, [("w1 w2", ["w5", "w6 w7"])])[0].probabilities != asked[0].probabilities
