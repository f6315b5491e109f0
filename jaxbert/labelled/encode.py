"""Makes rows of token ids from examples: special tokens, windows of long texts, and the answers beside the tokens.

A text that is too long for a row is cut where the task has one answer for all of it. Where words have labels, or a text
may hold an answer, it is divided into windows that overlap, and nothing is cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from jaxbert.data.row_format import row_dtype
from jaxbert.errors import InputError, counted
from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample, WordsExample, without_folder
from jaxbert.text.text_rows import Row, text_rows
from jaxbert.text.tokenizers import Tokenizer

# The tokens that two windows of a text share. 128 is google-research/bert's `doc_stride` and that of Hugging Face's
# examples, where it also counts shared tokens.
STRIDES = {"question_answering": 128, "token_labels": 64}
# The number of places that a count names, and of characters of a text that it shows.
_NAMED, _SHOWN = 5, 40
# The number of places that a line names.
_LISTED = 2
# A row of a question has at least so many tokens, so that its text has some of them.
_LEAST = 12
UNKNOWN = -1
UNKNOWN_BIT = 255


@dataclass(kw_only=True)
class Encoding:
    """Everything that decides the rows of an example.

    Attributes:
      kind: a key of `KINDS`.
      problem: for classification: "one_label" (or ""), "several_labels" or "number".
      labels: of `find_labels`.
      tokenizer: the tokenizer of the model.
      length: L, the tokens of a row.
      stride: the most tokens that two windows of a text share; None takes that of `STRIDES`. Two windows never share
        more than half of the text's room.
      texts: K, the texts of a row: the most choices of a question, 2 for sentence_vectors, else 1.
    """

    kind: str
    problem: str = ""
    labels: tuple[str, ...] = ()
    tokenizer: Tokenizer
    length: int
    stride: int | None = None
    texts: int = 1

    def __post_init__(self) -> None:
        if self.kind == "sentence_vectors":
            self.texts = 2
        if self.stride is None:
            self.stride = STRIDES.get(self.kind, 0)
        least = _LEAST if self.kind == "question_answering" else 3
        if self.length < least:
            raise InputError(
                f"{self.length} tokens have no room for a text",
                where="length",
                fix=f"Choose {least} or more.",
                code="E-MODEL-LENGTH",
            )
        if self.stride < 0:
            raise InputError(
                f"the stride is {self.stride}", where="stride", fix="Choose 0 or more.", code="E-LABELLED-STRIDE"
            )

    @property
    def answers(self) -> list[dict[str, Any]]:
        """Returns the fields of answers, as the manifest states them; see `row_dtype`.

        target: the answer. classification: the number of the label, <i4, -1 where it is unknown; with several labels
        u1 [C], 1 for each label that applies, 255 where they are unknown; a number <f4, NaN where it is unknown.
        token_labels: <i2 [L], the number of the label at the first token of each word, else -1. question_answering:
        <i2 [2], the first and the last token of the answer; (0, 0), the first token of the row, where the row has none;
        -1 where it is unknown. multiple_choice: <i2, the number of the choice, -1 where it is unknown.
        sentence_vectors: <f4, NaN where there is none.

        word: <i4 [L], the number of the word whose first token this is, else -1. A word that is in two windows has its
        number only in one of them, the one that also has its label.

        offsets: <u4 [L, 2], the characters [start, end) of the text for the tokens of the text, else (0, 0). inside: u1
        [L], 1 for the tokens that may be in an answer.
        """
        target: tuple[str, list[Any]]
        match self.kind, self.problem:
            case "classification", "several_labels":
                target = ("u1", [len(self.labels)])
            case ("classification", "number") | ("sentence_vectors", _):
                target = ("<f4", [])
            case "classification", _:
                target = ("<i4", [])
            case "token_labels", _:
                target = ("<i2", ["L"])
            case "question_answering", _:
                target = ("<i2", [2])
            case _:
                target = ("<i2", [])
        found: list[dict[str, Any]] = [{"name": "target", "dtype": target[0], "shape": target[1]}]
        if self.kind == "token_labels":
            found += [{"name": "word", "dtype": "<i4", "shape": ["L"]}]
        if self.kind == "question_answering":
            found += [{"name": "offsets", "dtype": "<u4", "shape": ["L", 2]}]
            found += [{"name": "inside", "dtype": "u1", "shape": ["L"]}]
        return found

    @property
    def dtype(self) -> np.dtype[Any]:
        """Returns the format of a row; see `row_dtype`."""
        return row_dtype(self.length, self.tokenizer.vocab_size, 1, texts=self.texts, answers=self.answers)


def texts_of(kind: str, examples: Iterable[Example]) -> int:
    """Returns K, the texts of a row that holds any of some examples; see `Encoding.texts`."""
    if kind == "sentence_vectors":
        return 2
    return max((len(one.choices) for one in examples if isinstance(one, ChoiceExample)), default=1)


@dataclass
class Counts:
    """Counts of examples, of their rows, and of all that was cut or lost.

    Attributes:
      examples: the number of examples.
      rows: the number of rows.
      tokens: the number of tokens in them, with special tokens and without padding.
      cut_examples: examples of which tokens were cut off. For questions: those whose question was cut.
      cut_tokens: the number of these tokens.
      windows: the rows of examples that have several rows.
      words: the number of words that have labels or get them.
      lost_words: words whose characters have no token, or none that another word does not have; they get no label.
      lost_answers: answers that no row can hold: they have no token, or are longer than what two windows share.
      named: the places of the first examples that each of the last four counts is about.
    """

    examples: int = 0
    rows: int = 0
    tokens: int = 0
    cut_examples: int = 0
    cut_tokens: int = 0
    windows: int = 0
    words: int = 0
    lost_words: int = 0
    lost_answers: int = 0
    named: dict[str, list[str]] = field(default_factory=dict)

    def __add__(self, other: Counts) -> Counts:
        names = [one.name for one in fields(self) if one.name != "named"]
        named = {
            name: (self.named.get(name, []) + other.named.get(name, []))[:_NAMED]
            for name in sorted(self.named.keys() | other.named.keys())
        }
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in names}, named=named)

    def name(self, count: str, example: Example, part: str = "") -> None:
        """Notes the place of something that was cut or lost, and the part of the text that was."""
        names = self.named.setdefault(count, [])
        if len(names) < _NAMED:
            names.append(without_folder(example.place) + (f": {part[:_SHOWN]!r}" if part else ""))

    def to_json(self) -> dict[str, int]:
        """Returns the counts, without places."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "named"}

    def lines(self) -> list[str]:
        """Returns lines to print: the sizes, and what was cut or lost, with places."""
        lines = [f"{counted(self.examples, 'example')} in {counted(self.rows, 'row')}, {self.tokens:,} tokens"]
        if self.windows:
            lines.append(f"{counted(self.windows, 'row')} of texts that are too long for one row")
        for count, what in (
            (
                "cut_examples",
                f"{counted(self.cut_examples, 'example')} too long: {counted(self.cut_tokens, 'token')} cut off",
            ),
            ("lost_words", f"{counted(self.lost_words, 'word')} of {self.words:,} without a token"),
            ("lost_answers", f"{counted(self.lost_answers, 'answer')} that no row holds whole; longer rows may"),
        ):
            if getattr(self, count):
                # A place has a comma in it.
                places = self.named.get(count, [])[:_LISTED]
                more = "; ..." if getattr(self, count) > len(places) else ""
                lines.append(f"{what} ({'; '.join(places)}{more})")
        return lines


@dataclass(frozen=True)
class Encoded:
    """Rows of some examples.

    Attributes:
      rows: a structured array [rows] of `Encoding.dtype`.
      counts: of the examples.
    """

    rows: np.ndarray
    counts: Counts


def encode(encoding: Encoding, examples: Sequence[Example], *, first: int = 0) -> Encoded:
    """Returns the rows of examples, in their order.

    Args:
      encoding: see the class.
      examples: of the kind of `encoding`.
      first: the number of the first of them in its split. It is in the origins of the rows.

    Raises:
      InputError: a label is not among those of `encoding`, or a question has more choices than `encoding.texts`.
    """
    makers: dict[str, Any] = {
        "classification": _texts,
        "sentence_vectors": _vectors,
        "multiple_choice": _choices,
        "token_labels": _words,
        "question_answering": _questions,
    }
    made: Encoded = makers[encoding.kind](encoding, examples, first)
    return made


def _texts(encoding: Encoding, examples: Sequence[TextExample], first: int) -> Encoded:
    given = [one.text if one.pair is None else (one.text, one.pair) for one in examples]
    found = text_rows(encoding.tokenizer, given, encoding.length)
    rows = _rows(encoding, len(found))
    _fill(encoding, rows, found, np.arange(len(found)) + first)
    rows["target"] = _targets(encoding, examples)
    return Encoded(rows, _count(examples, [[row] for row in found]))


def _vectors(encoding: Encoding, examples: Sequence[TextExample], first: int) -> Encoded:
    given = [text for one in examples for text in (one.text, one.pair or "")]
    found = text_rows(encoding.tokenizer, given, encoding.length)
    rows = _rows(encoding, len(examples))
    _fill(encoding, rows, found, np.arange(len(examples)) + first)
    rows["target"] = _numbers(examples)
    return Encoded(rows, _count(examples, [found[at : at + 2] for at in range(0, len(found), 2)]))


def _choices(encoding: Encoding, examples: Sequence[ChoiceExample], first: int) -> Encoded:
    given: list[tuple[str, str]] = []
    slots: list[int] = []
    for number, one in enumerate(examples):
        if len(one.choices) > encoding.texts:
            raise InputError(
                f"the question has {len(one.choices)} choices, but the rows have room for {encoding.texts}",
                where=one.place,
                fix=f"Give questions of at most {encoding.texts} choices, or make the rows with more.",
                code="E-LABELLED-CHOICE",
            )
        for place, choice in enumerate(one.choices):
            # The text before, and how it goes on. Without a text, the question is what goes on.
            before, after = (one.text, f"{one.question} {choice}".strip()) if one.text else (one.question, choice)
            given.append((before, after))
            slots.append(number * encoding.texts + place)
    found = text_rows(encoding.tokenizer, given, encoding.length)
    rows = _rows(encoding, len(examples))
    _fill(encoding, rows, found, np.arange(len(examples)) + first, slots)
    rows["target"] = [UNKNOWN if one.target is None else one.target for one in examples]
    ends = list(itertools.accumulate((len(one.choices) for one in examples), initial=0))
    return Encoded(rows, _count(examples, [found[begin:end] for begin, end in itertools.pairwise(ends)]))


def _rows(encoding: Encoding, count: int) -> np.ndarray:
    """Returns rows of padding, with answers that are unknown."""
    rows = np.zeros(count, encoding.dtype)
    rows["tokens"] = encoding.tokenizer.pad_id
    if encoding.kind in ("token_labels", "question_answering"):
        rows["target"] = UNKNOWN
    if encoding.kind == "token_labels":
        rows["word"] = UNKNOWN
    return rows


def _fill(
    encoding: Encoding,
    rows: np.ndarray,
    found: Sequence[Row],
    documents: np.ndarray,
    slots: Sequence[int] | None = None,
    windows: Sequence[int] | None = None,
) -> None:
    """Puts tokens, types, groups and origins into rows.

    Args:
      encoding: see the class.
      rows: rows of padding [n].
      found: the token ids of each text.
      documents: the number of each row's example [n].
      slots: the place of each text of `found` among the n * K texts of the rows; None for all of them in order.
      windows: the number of each row among those of its example; None where each has one.
    """
    length = encoding.length
    lengths = np.fromiter((len(row.ids) for row in found), np.int64, len(found))
    firsts = np.fromiter((row.first for row in found), np.int64, len(found))
    place = np.arange(len(found)) if slots is None else np.asarray(slots, np.int64)
    flat = np.fromiter(itertools.chain.from_iterable(row.ids for row in found), np.int64, int(lengths.sum()))
    columns = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    where = np.repeat(place, lengths), columns
    count = len(rows) * encoding.texts
    shape = (count, length)
    tokens = np.full(shape, encoding.tokenizer.pad_id, rows["tokens"].dtype)
    types, group = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    tokens[where] = flat
    types[where] = columns >= np.repeat(firsts, lengths)
    group[where] = 1
    for name, values in (("tokens", tokens), ("types", types), ("group", group)):
        rows[name] = values.reshape(rows[name].shape)
    origins = rows["origins"][:, 0]
    origins["document"] = documents
    if windows is not None:
        origins["offset"] = windows
    origins["length"] = np.minimum(group.reshape(len(rows), -1).sum(1), np.iinfo(np.uint16).max)


def _count(examples: Sequence[Example], found: Sequence[Sequence[Row]]) -> Counts:
    """Returns the counts of examples that have one row each, whose texts are `found`."""
    counts = Counts(examples=len(examples), rows=len(examples))
    for example, rows in zip(examples, found, strict=True):
        counts.tokens += sum(len(row.ids) for row in rows)
        cut = sum(row.cut for row in rows)
        if cut:
            counts.cut_examples += 1
            counts.cut_tokens += cut
            counts.name("cut_examples", example)
    return counts


# ----------------------------------------------------------------------------------------------------------------------
# Targets of whole texts


def _targets(encoding: Encoding, examples: Sequence[TextExample]) -> np.ndarray:
    if encoding.problem == "number":
        return _numbers(examples)
    ids = {label: number for number, label in enumerate(encoding.labels)}
    if encoding.problem == "several_labels":
        bits = np.zeros((len(examples), len(ids)), np.uint8)
        for row, one in zip(bits, examples, strict=True):
            if one.target is None:
                row[:] = UNKNOWN_BIT
            for label in one.target if isinstance(one.target, tuple) else ():
                row[_id_of(label, ids, one.place)] = 1
        return bits
    known = (UNKNOWN if one.target is None else _id_of(one.target, ids, one.place) for one in examples)
    return np.fromiter(known, np.int32, len(examples))


def _numbers(examples: Sequence[TextExample]) -> np.ndarray:
    found = (float("nan") if one.target is None else float(one.target) for one in examples)  # type: ignore[arg-type]
    return np.fromiter(found, np.float32, len(examples))


def _id_of(label: Any, ids: dict[str, int], place: str) -> int:
    if label not in ids:
        raise InputError(
            f"the label {label!r} is not known",
            where=place,
            fix=f"The labels are {', '.join(list(ids)[:20])}.",
            code="E-LABELLED-LABEL",
        )
    return ids[label]


# ----------------------------------------------------------------------------------------------------------------------
# Windows


def windows(tokens: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Returns (first token, the one behind the last) of each window of a text.

    The last window ends with the text. It begins so early that it is full, so it may share more tokens with the one
    before it.

    Args:
      tokens: the number of tokens of the text.
      room: the number of tokens that a row has for it, at least 1.
      stride: the number of tokens that two windows share. They share at most half of the room.
    """
    if tokens <= room:
        return [(0, tokens)]
    step = room - min(stride, room // 2)
    starts = [*range(0, tokens - room, step), tokens - room]
    return [(start, start + room) for start in starts]


class _Aligned:
    """The tokens of a text with their characters."""

    def __init__(self, found: tuple[list[int], list[tuple[int, int]]]):
        self.ids = found[0]
        self.offsets = np.array(found[1], np.int64).reshape(-1, 2)
        self.filled = np.flatnonzero(self.offsets[:, 0] < self.offsets[:, 1])
        self._starts, self._ends = self.offsets[self.filled].T

    def inside(self, start: int, end: int) -> tuple[int, int] | None:
        """Returns the first and the last token that have characters of [start, end); None where none has."""
        low = int(np.searchsorted(self._ends, start, side="right"))
        high = int(np.searchsorted(self._starts, end, side="left")) - 1
        return (int(self.filled[low]), int(self.filled[high])) if low <= high else None

    def words(self, words: Sequence[tuple[int, int]]) -> list[int]:
        """Returns the first token of each word that no word before it has; -1 for a word without one."""
        if not words:
            return []
        starts, ends = np.array(words, np.int64).T
        lows = np.searchsorted(self._ends, starts, side="right").tolist()
        highs = np.searchsorted(self._starts, ends, side="left").tolist()
        found, free = [], 0
        for low, high in zip(lows, highs, strict=True):
            low = max(low, free)
            found.append(int(self.filled[low]) if low < high else -1)
            free = low + 1 if low < high else free
        return found


def _words(encoding: Encoding, examples: Sequence[WordsExample], first: int) -> Encoded:
    tokenizer, room = encoding.tokenizer, encoding.length - 2
    ids = {label: number for number, label in enumerate(encoding.labels)}
    counts = Counts(examples=len(examples))
    found: list[Row] = []
    documents: list[int] = []
    numbers: list[int] = []
    marks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # columns, words and labels of each row
    encoded = tokenizer.encode_offsets([one.text for one in examples], special_tokens=True)
    for number, (one, pair) in enumerate(zip(examples, encoded, strict=True), first):
        aligned = _Aligned(pair)
        tokens = np.array(aligned.words(one.words), np.int64)
        labels = np.full(len(tokens), UNKNOWN, np.int64)
        if one.tags is not None:
            labels[:] = [_id_of(tag, ids, one.place) for tag in one.tags]
        counts.words += len(tokens)
        for word in np.flatnonzero(tokens < 0).tolist():
            start, end = one.words[word]
            counts.lost_words += 1
            counts.name("lost_words", one, one.text[start:end])
        spans = windows(len(aligned.ids), room, encoding.stride or 0)
        best = _windows_of(tokens, spans, len(aligned.ids))
        counts.windows += len(spans) if len(spans) > 1 else 0
        for window, (start, end) in enumerate(spans):
            row = [tokenizer.cls_id, *aligned.ids[start:end], tokenizer.sep_id]
            mine = np.flatnonzero(best == window)
            found.append(Row(row, len(row), 0))
            marks.append((tokens[mine] - start + 1, mine, labels[mine]))
            documents.append(number)
            numbers.append(window)
    rows = _rows(encoding, len(found))
    _fill(encoding, rows, found, np.array(documents, np.int64), windows=numbers)
    for index, (columns, mine, labels) in enumerate(marks):
        rows["word"][index, columns] = mine
        rows["target"][index, columns] = labels
    counts.rows, counts.tokens = len(found), sum(len(row.ids) for row in found)
    return Encoded(rows, counts)


def _windows_of(tokens: np.ndarray, spans: Sequence[tuple[int, int]], count: int) -> np.ndarray:
    """Returns the window of each token in which it is farther from an edge that divides the text; -1 for token -1.

    Of two windows in which it is equally far, it is the first.
    """
    best = np.full(len(tokens), -1)
    far = np.full(len(tokens), -1)
    for window, (start, end) in enumerate(spans):
        left = tokens - start if start else np.full(len(tokens), count)
        right = end - 1 - tokens if end < count else np.full(len(tokens), count)
        distance = np.where((tokens >= start) & (tokens < end), np.minimum(left, right), -1)
        closer = distance > far
        best[closer], far[closer] = window, distance[closer]
    return best


def _questions(encoding: Encoding, examples: Sequence[Question], first: int) -> Encoded:
    tokenizer = encoding.tokenizer
    between = [tokenizer.sep_id] * tokenizer.pair_separators
    counts = Counts(examples=len(examples))
    contexts = list(dict.fromkeys(one.context for one in examples))
    found = map(_Aligned, tokenizer.encode_offsets(contexts, special_tokens=True))
    aligned_of = dict(zip(contexts, found, strict=True))
    questions = tokenizer.encode_batch([one.question for one in examples], special_tokens=True)
    rows_of: list[Row] = []
    documents: list[int] = []
    numbers: list[int] = []
    spans_of: list[tuple[_Aligned, int, int, int]] = []  # the text, its window, and the window's first column
    targets: list[tuple[int, int]] = []
    for number, (one, question) in enumerate(zip(examples, questions, strict=True), first):
        most = encoding.length // 2
        if len(question) > most:
            counts.cut_examples += 1
            counts.cut_tokens += len(question) - most
            counts.name("cut_examples", one)
            question = question[:most]
        begin = [tokenizer.cls_id, *question, *between]
        aligned = aligned_of[one.context]
        spans = windows(len(aligned.ids), encoding.length - len(begin) - 1, encoding.stride or 0)
        counts.windows += len(spans) if len(spans) > 1 else 0
        answers = _answer_tokens(one, aligned, spans, len(begin))
        if answers is None:
            assert one.answers
            counts.lost_answers += 1
            counts.name("lost_answers", one, one.answers[0][0])
            answers = [(UNKNOWN, UNKNOWN)] * len(spans)
        targets += answers
        for window, (start, end) in enumerate(spans):
            row = [*begin, *aligned.ids[start:end], tokenizer.sep_id]
            rows_of.append(Row(row, len(begin) if tokenizer.pair_types else len(row), 0))
            spans_of.append((aligned, start, end, len(begin)))
            documents.append(number)
            numbers.append(window)
    rows = _rows(encoding, len(rows_of))
    _fill(encoding, rows, rows_of, np.array(documents, np.int64), windows=numbers)
    if targets:
        rows["target"] = np.array(targets)
    for index, (aligned, start, end, column) in enumerate(spans_of):
        offsets = aligned.offsets[start:end]
        rows["offsets"][index, column : column + end - start] = offsets
        rows["inside"][index, column : column + end - start] = offsets[:, 0] < offsets[:, 1]
    counts.rows, counts.tokens = len(rows_of), sum(len(row.ids) for row in rows_of)
    return Encoded(rows, counts)


def _answer_tokens(
    one: Question, aligned: _Aligned, spans: Sequence[tuple[int, int]], column: int
) -> list[tuple[int, int]] | None:
    """Returns the first and the last column of the first answer in each window; None where no window can hold it.

    Args:
      one: the question.
      aligned: its text.
      spans: the windows of the text.
      column: the column of the first token of each window.
    """
    if one.answers is None:
        return [(UNKNOWN, UNKNOWN)] * len(spans)
    if not one.answers:
        return [(0, 0)] * len(spans)
    text, start = one.answers[0]
    bare = text.strip()
    start += text.index(bare)
    tokens = aligned.inside(start, start + len(bare)) if bare else None
    if tokens is None:
        return None
    first, last = tokens
    found = [
        (first - begin + column, last - begin + column) if begin <= first and last < end else (0, 0)
        for begin, end in spans
    ]
    return found if any(answer != (0, 0) for answer in found) else None
