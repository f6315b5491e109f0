"""From scores of windows back to answers: what `encode` put into rows comes out again."""

from __future__ import annotations

import random

import numpy as np
import pytest

from jaxbert.labelled.answers import best_answers, entities, words_of_windows
from jaxbert.labelled.encode import Encoding, encode
from jaxbert.labelled.examples import Question, WordsExample
from jaxbert.labelled.words import joined, split_words
from jaxbert.text.tokenizers import Tokenizer


def test_labels_of_words_come_back(tokenizer: Tokenizer):
    rng = random.Random(0)
    labels = ("O", "B-X", "I-X")
    examples = []
    for _ in range(20):
        text, words = joined(rng.choices(["cat", "Paris", "unbelievableness", "\u200b"], k=rng.randint(0, 30)))
        examples.append(WordsExample(text=text, words=words, tags=tuple(rng.choice(labels) for _ in words)))
    encoding = Encoding(kind="token_labels", labels=labels, tokenizer=tokenizer, length=16)
    found = encode(encoding, examples, first=7)
    # The rows may come in any order.
    rows = found.rows[np.random.default_rng(0).permutation(len(found.rows))]
    ids = words_of_windows(rows["target"], rows, examples, first=7)
    scores = words_of_windows(np.eye(4)[rows["target"]], rows, examples, first=7)
    for one, mine, score in zip(examples, ids, scores, strict=True):
        assert mine.shape == (len(one.words),) and score.shape == (len(one.words), 4)
        for (start, end), tag, number, values in zip(one.words, one.tags or (), mine, score, strict=True):
            if one.text[start:end] == "\u200b":
                assert number == -1 and np.isnan(values).all()
            else:
                assert labels[number] == tag and values[number] == 1


def test_entities(tokenizer: Tokenizer):
    text = "In New York, Smith."
    example = WordsExample(text=text, words=split_words(text))
    tags = ["O", "B-LOC", "I-LOC", "O", "I-PER", "O"]
    found = entities(tags, example, [1.0, 0.9, 0.7, 1.0, float("nan"), 1.0])
    assert [tuple(one)[:6] for one in found] == [("LOC", 1, 2, 3, 11, "New York"), ("PER", 4, 4, 13, 18, "Smith")]
    assert found[0].probability == 0.7 and np.isnan(found[1].probability)
    assert np.isnan(entities(tags, example)[0].probability)


@pytest.mark.parametrize("length", [24, 64])
def test_answers_of_questions_come_back(tokenizers: dict[str, Tokenizer], length: int):
    rng = random.Random(length)
    for tokenizer in tokenizers.values():
        examples = []
        for _ in range(10):
            words = rng.choices(["the", "cat", "Paris", "house"], k=30)
            place = rng.randrange(30)
            context = " ".join(words)
            start = len(" ".join(words[:place])) + (place > 0)
            examples.append(Question(question="who", context=context, answers=((words[place], start),)))
        found = encode(Encoding(kind="question_answering", tokenizer=tokenizer, length=length), examples, first=3)
        order = np.random.default_rng(0).permutation(len(found.rows))
        rows = found.rows[order]
        columns = np.arange(length)
        start = 5.0 * (columns == rows["target"][:, :1])
        end = 5.0 * (columns == rows["target"][:, 1:])
        # Tokens outside the text may have any score.
        start[:, 1], end[:, 1] = 50, 50
        answers = best_answers(start, end, rows, examples, first=3)
        for one, answer in zip(examples, answers, strict=True):
            assert one.answers is not None
            text, begin = one.answers[0]
            assert (answer.text, answer.start, answer.end, answer.score) == (text, begin, begin + len(text), 10.0)
            assert answer.candidates[0][:4] == (answer.text, answer.start, answer.end, answer.score)
            places = {(other.start, other.end) for other in answer.candidates}
            assert len(places) == len(answer.candidates) > 1
            shares = [other.probability for other in answer.candidates]
            assert shares == sorted(shares, reverse=True) and 0.8 < shares[0] < sum(shares) < 1


def test_the_score_of_no_answer_is_the_least_of_the_windows(tokenizer: Tokenizer):
    examples = [Question(question="who", context="a " * 60, answers=())]
    found = encode(Encoding(kind="question_answering", tokenizer=tokenizer, length=32), examples)
    shape = (len(found.rows), 32)
    start, end = np.zeros(shape), np.zeros(shape)
    start[:, 0], end[:, 0] = np.arange(len(found.rows)), 1
    (answer,) = best_answers(start, end, found.rows, examples, max_tokens=2)
    assert len(found.rows) > 2 and answer.null_score == 1 and answer.score == 0
    assert all(len(one.text.split()) <= 2 for one in answer.candidates)
    rows = found.rows[:1].copy()
    rows["inside"] = 0
    (answer,) = best_answers(start[:1], end[:1], rows, examples)
    assert (answer.text, answer.score, answer.candidates) == ("", float("-inf"), ())
