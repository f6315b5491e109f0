"""Answers of a fine-tuned model: labels of texts, entities, answers to questions, choices, vectors.

Texts are packed into batches as `embed` packs them, so the result of a text does not depend on the others, up to
rounding. Long texts of the kinds token_labels and question_answering are read in windows, and nothing is cut.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import load_json
from jaxbert.convert.sentence_transformers import Pooling, SentenceLayout
from jaxbert.core.parameters import Params
from jaxbert.errors import InputError
from jaxbert.labelled.answers import (
    MAX_ANSWER_TOKENS,
    N_BEST,
    Candidate,
    Entity,
    best_answers,
    entities,
    words_of_windows,
)
from jaxbert.labelled.encode import Counts, Encoding, encode
from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample, WordsExample
from jaxbert.labelled.tags import OUTSIDE, are_spans
from jaxbert.labelled.words import joined, split_words
from jaxbert.models.model import Model
from jaxbert.scores.base import check_scores
from jaxbert.text.text_rows import Text
from jaxbert.use.arguments import check_segments, check_text, check_texts
from jaxbert.use.batches import TOKENS_A_TEXT, WINDOW, Packed, check_limits, dispatch, pack
from jaxbert.use.pooling import pooled_vectors

if TYPE_CHECKING:
    from jaxbert.use.library import Loaded

# The kinds of tasks with labels (`jaxbert.labelled.examples.KINDS`) that a model's head answers.
HEADS_OF_KINDS: Mapping[str, str] = {
    "classification": "sequence_classification",
    "token_labels": "token_classification",
    "question_answering": "question_answering",
    "multiple_choice": "multiple_choice",
}
# The kind that needs no head. Its runs give vectors.
VECTORS = "sentence_vectors"
_CHUNK = 64  # examples tokenised at once
# The first texts are read this many batches at a time, and then four times as many each time, up to `WINDOW`. So the
# first results come soon.
_FIRST_WINDOW = 4


@dataclass(frozen=True)
class Classified:
    """The labels of a text.

    Attributes:
      labels: the likeliest label; of a model for several labels those with a probability above one half; empty where
        the model gives a number.
      probabilities: the probability of each label, in the order of the model's labels.
      number: the number that a regression gives; None for labels.
      several: whether the model may give any number of labels.
    """

    labels: tuple[str, ...]
    probabilities: Mapping[str, float]
    number: float | None = None
    several: bool = False


@dataclass(frozen=True)
class Tagged:
    """The labels of the words of a text.

    Attributes:
      entities: the entities, in order; empty where the labels do not mark spans, as parts of speech do not.
      words: of each word its first character and the one behind its last.
      tags: the likeliest label of each word; "O" for a word without a token.
      probabilities: the probability of each of them; NaN for a word without a token.
    """

    entities: tuple[Entity, ...]
    words: tuple[tuple[int, int], ...]
    tags: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Answered:
    """The answer to a question.

    Attributes:
      text: the answer; "" where the text has none.
      start: its first character in the text; None where there is no answer.
      end: the character behind its last one; None where there is no answer.
      probability: the share of this answer in the softmax over the best candidates and the answer that there is none.
      score: the score of the best candidate, the sum of the logits of its first and its last token; minus infinity
        where the text has no token.
      null_score: the score of the answer that there is none, on the same scale.
      candidates: the best parts of the text, the best first, whether or not the text is thought to have an answer.
    """

    text: str
    start: int | None
    end: int | None
    probability: float
    score: float
    null_score: float
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Chosen:
    """The choice among several texts.

    Attributes:
      choice: the number of the choice, from 0.
      text: its text.
      probabilities: the probability of each choice.
    """

    choice: int
    text: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Embedded:
    """The vector of a text, or those of a pair.

    Attributes:
      vector: the vector of the text, of length 1, as the task compares it.
      pair: that of its partner; None where it has none.
    """

    vector: tuple[float, ...]
    pair: tuple[float, ...] | None = None


Result = Classified | Tagged | Answered | Chosen | Embedded
One = TypeVar("One", bound=Result)


@dataclass(frozen=True)
class Predicted:
    """Some consecutive examples of the input, with their results.

    Attributes:
      examples: the examples.
      results: a result for each of them.
      counts: what was cut, and the numbers of rows and tokens.
    """

    examples: list[Example]
    results: list[Result]
    counts: Counts


# ----------------------------------------------------------------------------------------------------------------------
# The four functions


def classify(
    model: Loaded, texts: Iterable[Text], *, max_length: int | None = None, batch_tokens: int | None = None
) -> list[Classified]:
    """Returns the labels of texts or of pairs of texts, in their order.

    Args:
      model: from `jaxbert.load`, with the head sequence_classification.
      texts: any number of texts, or of pairs.
      max_length: longest text in tokens, with special tokens. A longer one is cut at its end. By default the length of
        the run that trained the model, else the most that the model takes.
      batch_tokens: tokens a batch; by default `default_batch_tokens`.

    Raises:
      InputError: the model has no such head or no tokenizer, `texts` is not a list of texts, an argument is out of
        range, or the model's scores are not finite.
    """

    def example(text: Text) -> TextExample:
        return TextExample(text=text) if isinstance(text, str) else TextExample(text=text[0], pair=text[1])

    given = map(example, check_texts(texts, "classify", check_segments))
    return _all(Classified, model, "classification", given, max_length=max_length, batch_tokens=batch_tokens)


def tag(
    model: Loaded,
    texts: Iterable[str | Sequence[str]],
    *,
    max_length: int | None = None,
    batch_tokens: int | None = None,
) -> list[Tagged]:
    """Returns the entities of texts, or the labels of their words, in the order of the texts.

    Args:
      model: from `jaxbert.load`, with the head token_classification.
      texts: any number of texts. `jaxbert.labelled.words.split_words` divides a text into words. A list of words is a
        text that is divided already: its words with a space between two.
      max_length: tokens of a window of a long text, with special tokens; by default as in `classify`.
      batch_tokens: tokens a batch.

    Raises:
      InputError: as `classify`.
    """

    def one(text: Any, where: str) -> WordsExample:
        if isinstance(text, str):
            return WordsExample(text=check_text(text, where), words=split_words(text))
        whole, words = joined([check_text(word, where) for word in check_texts(text, where, check_text)])
        return WordsExample(text=whole, words=words)

    given = check_texts(texts, "tag", one)
    return _all(Tagged, model, "token_labels", given, max_length=max_length, batch_tokens=batch_tokens)


def answer(
    model: Loaded,
    questions: Iterable[tuple[str, str]],
    *,
    candidates: int = 1,
    null_threshold: float | None = None,
    max_length: int | None = None,
    batch_tokens: int | None = None,
) -> list[Answered]:
    """Returns the answers to questions, each a part of its text.

    Args:
      model: from `jaxbert.load`, with the head question_answering.
      questions: any number of (question, text).
      candidates: the number of candidates to give for each question.
      null_threshold: a text has no answer where the null score is higher than the best score by more than this. None:
        0 for a run that learned from texts without answers; any other model always answers.
      max_length: tokens of a question with a window of its text; by default as in `classify`.
      batch_tokens: tokens a batch.

    Raises:
      InputError: as `classify`.
    """

    def example(pair: Text) -> Question:
        if isinstance(pair, str):
            raise InputError(
                "a question needs a text, but one string is given",
                where="answer",
                fix="Give a list of (question, text).",
                code="E-MODEL-TEXTS",
            )
        return Question(question=pair[0], context=pair[1])

    given = map(example, check_texts(questions, "answer", check_segments))
    return _all(
        Answered,
        model,
        "question_answering",
        given,
        max_length=max_length,
        batch_tokens=batch_tokens,
        candidates=candidates,
        null_threshold=null_threshold,
    )


def choose(
    model: Loaded,
    questions: Iterable[tuple[str, Sequence[str]] | tuple[str, str, Sequence[str]]],
    *,
    max_length: int | None = None,
    batch_tokens: int | None = None,
) -> list[Chosen]:
    """Returns the choices of a model, in the order of the questions.

    Args:
      model: from `jaxbert.load`, with the head multiple_choice.
      questions: any number of (text, choices), or of (text, question, choices) as the files of fine-tuning have them. A
        text goes on with one of its choices, of which there are at least two.
      max_length: longest text with a choice, in tokens. Longer ones are cut. By default as in `classify`.
      batch_tokens: tokens a batch.

    Raises:
      InputError: as `classify`; or a question has fewer than two choices.
    """

    def one(question: Any, where: str) -> ChoiceExample:
        if not isinstance(question, tuple | list) or len(question) not in (2, 3):
            check_text(None, where)
        text, *asked, choices = question
        given = tuple(check_texts(choices, where, check_text))
        if len(given) < 2:
            raise InputError(
                f"the question has {len(given)} choices", where=where, fix="Give two or more.", code="E-PREDICT-CHOICES"
            )
        return ChoiceExample(
            text=check_text(text, where), question=check_text(asked[0], where) if asked else "", choices=given
        )

    given = check_texts(questions, "choose", one)
    return _all(Chosen, model, "multiple_choice", given, max_length=max_length, batch_tokens=batch_tokens)


def _all(kind: type[One], model: Loaded, task: str, examples: Iterable[Example], **options: Any) -> list[One]:
    found = [one for part in predict_stream(model, task, examples, **options) for one in part.results]
    return [one for one in found if isinstance(one, kind)]


# ----------------------------------------------------------------------------------------------------------------------
# Any kind, as a stream


def kind_of_model(model: Loaded, task: str = "") -> str:
    """Returns the kind of task that a model answers.

    Args:
      model: the model.
      task: a key of `HEADS_OF_KINDS`, or `VECTORS`, which needs no head; "" for the one whose head the model has, or
        for the one that it was trained for where it has none.

    Raises:
      InputError: the model lacks the head, or has several.
    """
    if task == VECTORS or (not task and _task_of(model) == VECTORS):
        return VECTORS
    there = [kind for kind, head in HEADS_OF_KINDS.items() if head in model.params]
    if task:
        if task not in HEADS_OF_KINDS:
            raise InputError(
                f"unknown task {task!r}",
                where="task",
                fix=f"Known: {', '.join((*HEADS_OF_KINDS, VECTORS))}.",
                code="E-PREDICT-TASK",
            )
        model.require(HEADS_OF_KINDS[task])
        return task
    if not there:
        raise InputError(
            "the model has no head for a task with labels",
            where=model.source,
            fix="Give a fine-tuned model; `jaxbert finetune` makes one. `jaxbert embed` gives vectors of any model.",
            code="E-PREDICT-HEAD",
        )
    if len(there) > 1:
        raise InputError(
            f"the model has heads for several tasks: {', '.join(there)}",
            where=model.source,
            fix="Choose one with --task.",
            code="E-PREDICT-TASK",
        )
    return there[0]


def predict_stream(
    model: Loaded,
    kind: str,
    examples: Iterable[Example],
    *,
    max_length: int | None = None,
    batch_tokens: int | None = None,
    candidates: int = 1,
    null_threshold: float | None = None,
) -> Iterator[Predicted]:
    """Returns the results of examples, in their order, for some thousand at a time.

    The next examples are read and tokenised while the device computes. Memory does not grow with their number.

    Args:
      model: from `jaxbert.load`.
      kind: a key of `HEADS_OF_KINDS`, or `VECTORS`, whose examples are texts or pairs.
      examples: of this kind. Their right answers are not looked at.
      max_length, batch_tokens, candidates, null_threshold: see `answer`.

    Raises:
      InputError: see `classify`. What is wrong with the model or an argument is raised at once.
    """
    kind = kind_of_model(model, kind)
    tokenizer = model.require_tokenizer()
    settings = _settings_of(model)
    limit, batch_tokens = check_limits(model, settings.length if max_length is None else max_length, batch_tokens)
    if kind == VECTORS:
        return _vectors_stream(
            model, Encoding(kind="classification", tokenizer=tokenizer, length=limit), examples, batch_tokens
        )
    encoding = Encoding(kind=kind, tokenizer=tokenizer, length=limit, stride=settings.stride)
    threshold = settings.null_threshold if null_threshold is None else null_threshold
    if candidates < 1:
        raise InputError(f"{candidates} candidates", where="candidates", fix="Give 1 or more.", code="E-PREDICT-TOP")
    readers: Mapping[str, Callable[[_Chunk], list[Result]]] = {
        "classification": partial(_classified, model),
        "token_labels": partial(_tagged, labels_of(model)),
        "question_answering": partial(_answered, candidates, settings.longest_answer, threshold),
        "multiple_choice": _chosen,
    }
    return _stream(model, _windows(encoding, iter(examples), batch_tokens, HEADS_OF_KINDS[kind]), readers[kind])


def _vectors_stream(
    model: Loaded, encoding: Encoding, examples: Iterable[Example], batch_tokens: int
) -> Iterator[Predicted]:
    """Returns the vectors of texts and of pairs, whose two texts are read one after the other."""
    waiting: deque[TextExample] = deque()

    def texts() -> Iterator[Example]:
        for one in examples:
            assert isinstance(one, TextExample)
            waiting.append(one)
            yield from (
                dataclasses.replace(one, text=text, pair=None) for text in (one.text, one.pair) if text is not None
            )

    def read(chunk: _Chunk) -> list[Result]:
        check_scores(chunk.logits, chunk.first)
        return [Embedded(tuple(vector)) for vector in chunk.logits.tolist()]

    ready: deque[Any] = deque()
    for part in _stream(model, _windows(encoding, texts(), batch_tokens, ""), read):
        ready += part.results
        done: list[Example] = []
        results: list[Result] = []
        while waiting and len(ready) > (waiting[0].pair is not None):
            one = waiting.popleft()
            first = ready.popleft()
            done.append(one)
            results.append(first if one.pair is None else Embedded(first.vector, ready.popleft().vector))
        yield Predicted(done, results, dataclasses.replace(part.counts, examples=len(done)))


@dataclass(frozen=True)
class _Settings:
    """Settings of the run that trained the model, or usual ones.

    Attributes:
      length: tokens of a row; None where no run says it.
      stride: tokens that two windows of a text share; None for the usual number.
      longest_answer: tokens of the longest answer.
      null_threshold: see `answer`; infinite where the model always answers.
    """

    length: int | None = None
    stride: int | None = None
    longest_answer: int = MAX_ANSWER_TOKENS
    null_threshold: float = math.inf


def trained_layout(model: Loaded) -> SentenceLayout:
    """Returns how a model makes vectors: as its run learned it, by its files, or the mean of all tokens.

    A run of vectors compares them by their cosine, and has read texts of the length of its rows.
    """
    if _task_of(model) == VECTORS:
        return SentenceLayout("mean", normalize=True, max_length=_settings_of(model).length)
    return model.layout or SentenceLayout("mean")


def longest_text(model: Loaded) -> int:
    """Returns the most tokens of a text that `classify` reads, with special tokens: those of the rows of its run."""
    limit, _ = check_limits(model, _settings_of(model).length, None)
    return limit


def _task_of(model: Loaded) -> str:
    """Returns the name of the task of the run that the model is; "" for another model."""
    return "" if model.step is None or model.path is None else load_json(model.path / "config.json").task.name


def _settings_of(model: Loaded) -> _Settings:
    if model.step is None or model.path is None:
        return _Settings()
    config = load_json(model.path / "config.json")
    if config.task.name not in (*HEADS_OF_KINDS, VECTORS):  # a run of pretraining, with a head that is new
        return _Settings()
    task = vars(config.task)
    return _Settings(
        config.phases[-1].length,
        task.get("stride"),
        task.get("longest_answer", MAX_ANSWER_TOKENS),
        0.0 if task.get("unanswerable") else math.inf,
    )


@dataclass(frozen=True)
class _Chunk:
    """Some examples, with what the model's head says of them.

    Attributes:
      examples: the examples.
      rows: the structured array that `encode` made of them, [rows].
      logits: float32 (rows, C) or (rows, L, C); of choices (all choices of all examples, 1).
      first: the number of the first example in the input.
    """

    examples: list[Example]
    rows: Any
    logits: np.ndarray
    first: int


@dataclass(frozen=True)
class _Window:
    """Some consecutive examples, tokenised and packed.

    Attributes:
      head: the name of the head; "" for vectors.
      chunks: the examples, with the structured array of rows that `encode` made of them.
      lengths: the number of tokens of each text of all rows; the texts of a row follow each other.
      batches: the packed texts.
      counts: of the examples.
      first: the number of the first example in the input.
    """

    head: str
    chunks: list[tuple[list[Example], Any]]
    lengths: np.ndarray
    batches: list[Packed]
    counts: Counts
    first: int


def _windows(encoding: Encoding, examples: Iterator[Example], batch_tokens: int, head: str) -> Iterator[_Window]:
    seen = 0
    for size in itertools.count():
        budget = batch_tokens * min(WINDOW, _FIRST_WINDOW * 4 ** min(size, 8))
        chunks: list[tuple[list[Example], Any]] = []
        ids: list[list[int]] = []
        firsts: list[int] = []
        counts = Counts()
        while counts.tokens < budget and (chunk := list(itertools.islice(examples, _CHUNK))):
            texts = max((len(one.choices) for one in chunk if isinstance(one, ChoiceExample)), default=1)
            encoded = encode(dataclasses.replace(encoding, texts=texts), [_unanswered(one) for one in chunk])
            chunks.append((chunk, encoded.rows))
            counts += encoded.counts
            tokens, types, group = (
                encoded.rows[name].reshape(-1, encoding.length) for name in ("tokens", "types", "group")
            )
            for row, length in enumerate((group > 0).sum(axis=1).tolist()):
                if length:  # a question has fewer choices than another one
                    ids.append(tokens[row, :length].tolist())
                    firsts.append(int(length - types[row, :length].sum()))
        if not chunks:
            return
        packed = pack(ids, firsts, limit=encoding.length, batch_tokens=batch_tokens, pad_id=encoding.tokenizer.pad_id)
        lengths = np.array([len(one) for one in ids], np.int64)
        yield _Window(head, chunks, lengths, packed, counts, seen)
        seen += sum(len(chunk) for chunk, _ in chunks)


def _unanswered(example: Example) -> Example:
    """Returns an example without its right answer, which may have a label that the model does not know."""
    names = {TextExample: "target", WordsExample: "tags", Question: "answers", ChoiceExample: "target"}
    return dataclasses.replace(example, **{names[type(example)]: None})  # type: ignore[arg-type]


def _stream(model: Loaded, windows: Iterator[_Window], read: Callable[[_Chunk], list[Result]]) -> Iterator[Predicted]:
    before: tuple[_Window, list[jax.Array]] | None = None
    for window in windows:
        compute: Callable[..., jax.Array] = (
            _of_tokens if window.head in ("token_classification", "question_answering") else _of_texts
        )
        if not window.head:
            compute = partial(_of_vectors, trained_layout(model).pooling)
        started = dispatch(
            window.batches,
            lambda batch: compute(model.model, window.head, model.params, batch.arrays),  # noqa: B023
        )
        if before is not None:
            yield _collect(*before, read)
        before = window, started
    if before is not None:
        yield _collect(*before, read)


def _collect(window: _Window, started: list[jax.Array], read: Callable[[_Chunk], list[Result]]) -> Predicted:
    of_tokens = window.head in ("token_classification", "question_answering")
    starts = np.cumsum(window.lengths) - window.lengths
    flat: np.ndarray | None = None  # the logits of all texts, or of all tokens of all texts
    for batch, device in zip(window.batches, started, strict=True):
        found = np.asarray(device)
        if flat is None:
            flat = np.empty((int(window.lengths.sum()) if of_tokens else len(starts), found.shape[-1]), np.float32)
        if of_tokens:
            group = batch.arrays["group"]
            rows, columns = np.nonzero(group)
            owners = batch.texts[rows, group[rows, columns] - 1]
            begins = np.zeros(len(window.lengths), np.int64)
            new = np.diff(group, axis=1, prepend=0) != 0
            at = new[rows, columns]
            begins[owners[at]] = columns[at]
            flat[starts[owners] + columns - begins[owners]] = found[rows, columns]
        else:
            there = batch.texts >= 0
            flat[batch.texts[there]] = found[there]
    assert flat is not None
    results: list[Result] = []
    examples: list[Example] = []
    text = 0
    for chunk, rows in window.chunks:
        real = rows["group"] > 0
        count = int(real.any(axis=-1).sum())
        if of_tokens:
            logits = np.zeros((*real.shape, flat.shape[-1]), np.float32)
            logits[real] = flat[starts[text] :][: int(real.sum())]
        else:
            logits = flat[text : text + count]
        results += read(_Chunk(chunk, rows, logits, window.first + len(examples)))
        examples += chunk
        text += count
    return Predicted(examples, results, window.counts)


@partial(jax.jit, static_argnums=(0, 1))
def _of_tokens(model: Model, head: str, params: Params, batch: dict[str, Any]) -> jax.Array:
    """Returns the logits (B, L, C) of the tokens of packed rows."""
    return model.apply_head(head, params, model.hidden(params, batch))


@partial(jax.jit, static_argnums=(0, 1))
def _of_texts(model: Model, head: str, params: Params, batch: dict[str, Any]) -> jax.Array:
    """Returns the logits (B, G, C) of the texts of packed rows; anything where a row has fewer texts.

    The pooler reads the first place of a row. So each text's first hidden state becomes a row of one place.
    """
    group_BL = batch["group"]
    rows, length = group_BL.shape
    number_G = jnp.arange(1, max(1, length // TOKENS_A_TEXT) + 1)
    first_BG = (group_BL[:, None, :] == number_G[:, None]).argmax(-1)
    x_BGD = model.hidden(params, batch, at_BM=first_BG)
    z_TC = model.apply_head(head, params, x_BGD.reshape(-1, 1, x_BGD.shape[-1]))
    return z_TC.reshape(rows, len(number_G), -1)


def _of_vectors(pooling: Pooling, model: Model, head: str, params: Params, batch: dict[str, Any]) -> jax.Array:
    """Returns the vectors (B, G, D) of the texts of packed rows, those of `embed` with length 1."""
    del head
    return pooled_vectors(model, pooling, True, params, batch)


# ----------------------------------------------------------------------------------------------------------------------
# From logits to results


def labels_of(model: Loaded) -> tuple[str, ...]:
    """Returns the names of the classes; LABEL_0, LABEL_1 ... where the model has none, as transformers names them."""
    heads = ("sequence_classification", "token_classification")
    count = next((model.model.sizes[head]["labels"] for head in heads if head in model.model.heads), 0)
    if model.labels is not None and len(model.labels.names) == count:
        return model.labels.names
    return tuple(f"LABEL_{number}" for number in range(count))


def _classified(model: Loaded, chunk: _Chunk) -> list[Result]:
    check_scores(chunk.logits, chunk.first)
    labels = labels_of(model)
    problem = model.labels.problem_type if model.labels is not None else ""
    if problem == "regression" or (not problem and len(labels) == 1):
        return [Classified((), {}, float(value)) for value in chunk.logits[:, 0]]
    several = problem == "multi_label_classification"
    shares = _sigmoid(chunk.logits) if several else _softmax(chunk.logits)
    found: list[Result] = []
    for row in shares:
        chosen = np.flatnonzero(row > 0.5) if several else [int(row.argmax())]
        names = tuple(labels[number] for number in chosen)
        found.append(Classified(names, dict(zip(labels, row.tolist(), strict=True)), several=several))
    return found


def _tagged(labels: tuple[str, ...], chunk: _Chunk) -> list[Result]:
    _check_tokens(chunk)
    examples = [one for one in chunk.examples if isinstance(one, WordsExample)]
    marks = are_spans(labels)
    found: list[Result] = []
    for example, logits in zip(examples, words_of_windows(chunk.logits, chunk.rows, examples), strict=True):
        shares = _softmax(logits)
        known = ~np.isnan(shares[:, 0])
        best = np.where(known, shares.argmax(axis=-1), 0)
        # A word without a token has no label.
        none = OUTSIDE if marks else ""
        tags = [labels[number] if there else none for number, there in zip(best, known, strict=True)]
        sure = shares[np.arange(len(best)), best]
        parts = tuple(entities(tags, example, sure)) if marks else ()
        found.append(Tagged(parts, example.words, tuple(tags), tuple(sure.tolist())))
    return found


def _answered(candidates: int, longest: int, threshold: float, chunk: _Chunk) -> list[Result]:
    _check_tokens(chunk)
    examples = [one for one in chunk.examples if isinstance(one, Question)]
    best = best_answers(
        chunk.logits[..., 0],
        chunk.logits[..., 1],
        chunk.rows,
        examples,
        n_best=max(N_BEST, candidates),
        max_tokens=longest,
    )
    found: list[Result] = []
    for one in best:
        some = one.candidates[:candidates]
        scores = one.score, one.null_score
        if not some or one.null_score - one.score > threshold:
            none = 1.0 - sum(candidate.probability for candidate in one.candidates)
            found.append(Answered("", None, None, none, *scores, some))
        else:
            found.append(Answered(one.text, one.start, one.end, some[0].probability, *scores, some))
    return found


def _check_tokens(chunk: _Chunk) -> None:
    """Raises InputError where a logit is not finite."""
    for row in np.flatnonzero(~np.isfinite(chunk.logits).all(axis=(1, 2))):
        document = int(chunk.rows["origins"]["document"][row, 0])
        check_scores(chunk.logits[row].reshape(1, -1), chunk.first + document)


def _chosen(chunk: _Chunk) -> list[Result]:
    check_scores(chunk.logits, chunk.first, "choice")
    found: list[Result] = []
    at = 0
    for example in chunk.examples:
        assert isinstance(example, ChoiceExample)
        count = len(example.choices)
        shares = _softmax(chunk.logits[None, at : at + count, 0])[0]
        best = int(shares.argmax())
        found.append(Chosen(best, example.choices[best], tuple(shares.tolist())))
        at += count
    return found


def _softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    shares: np.ndarray = np.exp(-np.logaddexp(0, -logits.astype(np.float64)))
    return shares
