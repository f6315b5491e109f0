"""Rows of examples: special tokens, windows in which every word counts once, and answers that their tokens hold."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from jaxbert.labelled.encode import Encoding, encode, texts_of, windows
from jaxbert.labelled.examples import ChoiceExample, Question, TextExample, WordsExample
from jaxbert.labelled.words import joined, split_words
from jaxbert.text.tokenizers import Tokenizer

KINDS = ("wordpiece", "bpe", "unigram")
WORDS = [
    "the",
    "cat",
    "Paris",
    "house",
    "unbelievableness",
    "1,000",
    "(still)",
    "don't",
    "naïve",
    "São",
    "…",
    "a",
    ".",
    '"x."',
    "北京",
    "½",
    "ﬁne",
    "İstanbul",
    "हिन्दी",
    "ｶﾞ",
    "&",
]
WORDS += ["[MASK]", "e\u0301te\u0301", "\u200b", "\u0301"]


def text_of(rng: random.Random, most: int) -> str:
    return "".join(rng.choice(WORDS) + rng.choice((" ", " ", " ", "", "  ", "\n")) for _ in range(rng.randint(1, most)))


def row_tokens(row: np.void) -> list[int]:
    return [int(token) for token in row["tokens"][row["group"] > 0]]


# ----------------------------------------------------------------------------------------------------------------------
# Texts with one answer


def test_single_texts_and_pairs(tokenizers: dict[str, Tokenizer]):
    for kind, tokenizer in tokenizers.items():
        cls, sep = tokenizer.cls_id, tokenizer.sep_id
        examples = [TextExample(text="the cat", pair="a dog", target="y"), TextExample(text="the cat", target="x")]
        found = encode(
            Encoding(kind="classification", labels=("x", "y"), tokenizer=tokenizer, length=32), examples, first=5
        )
        one, two = tokenizer.encode_batch(["the cat", "a dog"])
        between = [sep] * (2 if kind == "bpe" else 1)
        assert row_tokens(found.rows[0]) == [cls, *one, *between, *two, sep]
        assert row_tokens(found.rows[1]) == [cls, *one, sep]
        second = found.rows[0]["types"][1 + len(one) + len(between) :][: len(two) + 1]
        assert set(second.tolist()) == {0 if kind == "bpe" else 1} and found.rows[1]["types"].max() == 0
        assert found.rows["target"].tolist() == [1, 0] and found.rows["label"].tolist() == [0, 0]
        assert found.rows["origins"]["document"].ravel().tolist() == [5, 6]
        padding = found.rows["group"] == 0
        assert (found.rows["tokens"][padding] == tokenizer.pad_id).all()
        assert found.counts.to_json() == {
            **dict.fromkeys(found.counts.to_json(), 0),
            **{"examples": 2, "rows": 2, "tokens": int((~padding).sum())},
        }


def test_special_tokens_in_texts_are_special_as_for_predictions(tokenizer: Tokenizer):
    encoding = Encoding(kind="classification", labels=("x",), tokenizer=tokenizer, length=16)
    (row,) = encode(encoding, [TextExample(text="a [MASK]")]).rows
    assert row_tokens(row)[-2] == tokenizer.mask_id and row["target"] == -1


def test_long_pairs_are_cut_and_counted(tokenizer: Tokenizer):
    encoding = Encoding(kind="classification", labels=("x",), tokenizer=tokenizer, length=9)
    long, short = TextExample(place="b.csv, line 3", text="a a a a a a", pair="a a"), TextExample(text="a", pair="a")
    found = encode(encoding, [short, long])
    # Three special tokens; the longer text is cut to the room that the shorter one leaves.
    assert found.rows["types"].sum(1).tolist() == [2, 3] and (found.rows["group"][1] == 1).all()
    assert (found.counts.cut_examples, found.counts.cut_tokens) == (1, 2)
    assert "1 example too long: 2 tokens cut off (b.csv, line 3)" in found.counts.lines()


def test_targets_of_other_problems(tokenizer: Tokenizer):
    def targets(problem: str, *given: Any) -> Any:
        encoding = Encoding(kind="classification", problem=problem, labels=("x", "y"), tokenizer=tokenizer, length=8)
        return encode(encoding, [TextExample(text="a", target=one) for one in given]).rows["target"]

    assert targets("several_labels", ("y",), (), ("y", "x"), None).tolist() == [[0, 1], [0, 0], [1, 1], [255, 255]]
    numbers = targets("number", 2.5, None)
    assert numbers.dtype == np.float32 and numbers[0] == 2.5 and np.isnan(numbers[1])


def test_several_texts_in_a_row(tokenizer: Tokenizer):
    examples = [
        ChoiceExample(text="the cat", question="a", choices=("b", "c"), target=1),
        ChoiceExample(text="", question="who", choices=("x", "y", "z"), target=None),
    ]
    assert texts_of("multiple_choice", examples) == 3
    found = encode(Encoding(kind="multiple_choice", tokenizer=tokenizer, length=16, texts=3), examples)
    assert found.rows["tokens"].shape == (2, 3, 16) and found.rows["target"].tolist() == [1, -1]
    assert (found.rows["group"][0, 2] == 0).all() and found.rows["group"][1, 2].any()
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    the, a, b, who, z = tokenizer.encode_batch(["the cat", "a", "b", "who", "z"])
    tokens, group = found.rows["tokens"], found.rows["group"]
    assert tokens[0, 0][group[0, 0] > 0].tolist() == [cls, *the, sep, *a, *b, sep]
    assert tokens[1, 2][group[1, 2] > 0].tolist() == [cls, *who, sep, *z, sep]
    assert found.rows["origins"]["length"].ravel().tolist() == (group > 0).sum((1, 2)).tolist()
    pairs = [TextExample(text="a", pair="b c", target=0.5), TextExample(text="a", pair="b")]
    found = encode(Encoding(kind="sentence_vectors", tokenizer=tokenizer, length=8), pairs)
    assert found.rows["group"].sum(2).tolist() == [[3, 4], [3, 3]] and found.rows["types"].max() == 0
    assert found.rows["target"][0] == 0.5 and np.isnan(found.rows["target"][1])


# ----------------------------------------------------------------------------------------------------------------------
# Windows


def test_windows_cover_a_text():
    for tokens in range(30):
        for room in range(1, 12):
            for stride in range(8):
                found = windows(tokens, room, stride)
                assert found[0][0] == 0 and found[-1][1] == tokens
                assert all(end - start == min(room, tokens) for start, end in found)
                for (_, end), (start, _) in pairwise(found[:-1]):
                    assert end - start == min(stride, room // 2)
                assert all(before[0] < after[0] <= before[1] for before, after in pairwise(found))


@pytest.mark.parametrize("kind", KINDS)
def test_windows_have_every_word_once(tokenizers: dict[str, Tokenizer], kind: str):
    """Each word of a random text has its label at its first token, where it is farther from an edge."""
    tokenizer, rng = tokenizers[kind], random.Random(kind)
    for _ in range(60):
        length, stride = rng.randint(3, 30), rng.choice((0, 1, 4, 64))
        examples = []
        for number in range(3):
            if rng.random() < 0.5:
                text = text_of(rng, 30)
                words = split_words(text)
            else:
                text, words = joined(rng.choices(WORDS, k=rng.randint(0, 30)))
            tags = tuple(rng.choice(("O", "B-X")) for _ in words)
            examples.append(WordsExample(id=str(number), text=text, words=words, tags=tags))
        encoding = Encoding(kind="token_labels", labels=("O", "B-X"), tokenizer=tokenizer, length=length, stride=stride)
        found = encode(encoding, examples)
        lost = 0
        for number, one in enumerate(examples):
            rows = found.rows[found.rows["origins"]["document"][:, 0] == number]
            ids, offsets = tokenizer.encode_offsets([one.text], special_tokens=True)[0]
            spans = windows(len(ids), length - 2, stride)
            assert rows["origins"]["offset"].ravel().tolist() == list(range(len(spans)))
            seen: dict[int, tuple[int, int, int]] = {}
            for window, (row, (start, end)) in enumerate(zip(rows, spans, strict=True)):
                assert row_tokens(row) == [tokenizer.cls_id, *ids[start:end], tokenizer.sep_id]
                assert ((row["word"] >= 0) == (row["target"] >= 0)).all()
                for column in np.flatnonzero(row["word"] >= 0).tolist():
                    word = int(row["word"][column])
                    assert word not in seen, "a word counts twice"
                    assert encoding.labels[row["target"][column]] == (one.tags or ())[word]
                    seen[word] = (window, start, column - 1 + start)
            used = {token for _, _, token in seen.values()}
            assert len(used) == len(seen)
            for word, (begin, end) in enumerate(one.words):
                mine = [at for at, (first, last) in enumerate(offsets) if first < end and last > begin and first < last]
                if word not in seen:
                    # It has no token, or only tokens that are the first ones of other words.
                    assert set(mine) <= used
                    lost += 1
                    continue
                window, _, token = seen[word]
                assert token in mine and set(mine[: mine.index(token)]) <= used

                def distance(span: tuple[int, int], token: int = token, count: int = len(ids)) -> float:
                    start, end = span
                    if not start <= token < end:
                        return -1
                    return min(token - start if start else count, end - 1 - token if end < count else count)

                assert distance(spans[window]) == max(map(distance, spans))
        assert found.counts.lost_words == lost and found.counts.words == sum(len(one.words) for one in examples)
        assert bool(lost) == bool(found.counts.named.get("lost_words"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokens_of_an_answer_hold_it(tokenizers: dict[str, Tokenizer], kind: str):
    """Of random questions: where a row has the answer, its first to its last token has all characters of the answer."""
    tokenizer, rng = tokenizers[kind], random.Random(kind)
    held = lost = 0
    for _ in range(60):
        examples = []
        for _ in range(3):
            context = text_of(rng, 40)
            start = rng.randrange(len(context))
            answer = context[start : start + rng.randint(1, 12)]
            examples.append(Question(question=text_of(rng, 6), context=context, answers=((answer, start), ("x", 0))))
        length, stride = rng.randint(12, 60), rng.choice((4, 128))
        found = encode(Encoding(kind="question_answering", tokenizer=tokenizer, length=length, stride=stride), examples)
        for number, one in enumerate(examples):
            rows = found.rows[found.rows["origins"]["document"][:, 0] == number]
            assert one.answers is not None
            answer, start = one.answers[0]
            end = start + len(answer)
            whole = 0
            covered: set[int] = set()
            for row in rows:
                first, last = row["target"].tolist()
                offsets, inside = row["offsets"].astype(int), np.flatnonzero(row["inside"])
                assert (row["inside"] == (offsets[:, 0] < offsets[:, 1])).all()
                assert set(inside.tolist()) <= set(np.flatnonzero(row["group"]).tolist())
                covered.update(position for at in inside for position in range(*offsets[at]))
                if first > 0:
                    whole += 1
                    assert first <= last and row["inside"][first] and row["inside"][last]
                    cut = one.context[offsets[first, 0] : offsets[last, 1]]
                    # Characters without a token at the edges, such as those that the normaliser drops, are not needed.
                    needed = [at for at in range(start, end) if at in covered]
                    assert offsets[first, 0] <= needed[0] and needed[-1] < offsets[last, 1]
                    if needed == list(range(start, end)):
                        assert answer in cut
                else:
                    assert (first, last) in ((0, 0), (-1, -1))
            # No character of the text is lost but those without a token.
            _, offsets_of = tokenizer.encode_offsets([one.context], special_tokens=True)[0]
            assert covered == {position for span in offsets_of for position in range(*span)}
            held += whole > 0
            lost += whole == 0
            if whole == 0:
                assert (rows["target"] == -1).all()
        assert found.counts.lost_answers == sum(
            (found.rows["target"][found.rows["origins"]["document"][:, 0] == number] == -1).all() for number in range(3)
        )
    assert held > 100 > lost > 0


def test_questions(tokenizer: Tokenizer):
    context = "the red house is red"
    examples = [
        Question(question="who", context=context, answers=(("red", 4), ("red", 17))),
        Question(question="who", context=context, answers=()),
        Question(question="who", context=context, answers=None),
        Question(place="a.json, question 7", question="a " * 30, context=context, answers=((" red ", 3),)),
    ]
    found = encode(Encoding(kind="question_answering", tokenizer=tokenizer, length=40), examples)
    first, last = found.rows["target"][0]
    assert found.rows["offsets"][0, first].tolist()[0] == 4 and found.rows["offsets"][0, last].tolist()[1] == 7
    assert found.rows["target"][1:3].tolist() == [[0, 0], [-1, -1]]
    # Only a question that would fill more than half of the row is cut; its text keeps the rest.
    assert (found.counts.cut_examples, found.counts.cut_tokens) == (1, 10)
    assert found.counts.named["cut_examples"] == ["a.json, question 7"]
    question = found.rows["inside"][3].argmax()
    assert question == 1 + 20 + 1 and found.rows["types"][3][question - 1 : question + 1].tolist() == [0, 1]
    row = found.rows[3]
    assert context[row["offsets"][row["target"][0], 0] : row["offsets"][row["target"][1], 1]] == "red"


def test_an_answer_that_no_row_holds_is_named(tokenizer: Tokenizer):
    long = "a " * 40
    examples = [
        Question(place="a.json, question 1", question="who", context=long, answers=((long.strip(), 0),)),
        Question(place="a.json, question 2", question="who", context="a \u200b b", answers=(("\u200b", 2),)),
    ]
    found = encode(Encoding(kind="question_answering", tokenizer=tokenizer, length=30), examples)
    assert found.counts.lost_answers == 2 and (found.rows["target"] == -1).all()
    assert [one.partition(":")[0] for one in found.counts.named["lost_answers"]] == [
        "a.json, question 1",
        "a.json, question 2",
    ]
