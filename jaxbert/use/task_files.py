"""From a file of texts to a JSON object for each of them: `jaxbert predict`."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxbert.data.sources.base import is_blank
from jaxbert.data.sources.packed import inner_suffix
from jaxbert.errors import InputError, counted
from jaxbert.labelled.encode import Counts
from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample, WordsExample
from jaxbert.labelled.opening import has_splits, open_examples
from jaxbert.labelled.tags import are_spans
from jaxbert.labelled.words import split_words
from jaxbert.stores.files import full_disk, replacing
from jaxbert.use.learned import learned_columns, like_training
from jaxbert.use.library import load
from jaxbert.use.tasks import (
    VECTORS,
    Answered,
    Chosen,
    Classified,
    Embedded,
    Predicted,
    Result,
    Tagged,
    kind_of_model,
    labels_of,
    predict_stream,
)
from jaxbert.use.texts import STDIN, open_texts

_log = logging.getLogger(__name__)

LINES = "lines"  # the form of a file with a text a line
# Columns of right answers, which are not read.
_ANSWERS: Mapping[str, tuple[str, ...]] = {
    "classification": ("label",),
    "token_labels": ("tags", "entities"),
    "question_answering": ("answers", "start"),
    "multiple_choice": ("label",),
}
_DIGITS = 6


def predict_file(
    model: str,
    file: str,
    *,
    write: Callable[[str], object] | None = None,
    out: str | Path | None = None,
    task: str = "",
    columns: Mapping[str, str] | None = None,
    form: str = "",
    split: str = "",
    top: int = 5,
    null_threshold: float | None = None,
    max_length: int | None = None,
    batch_tokens: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Gives a JSON object for each text of a file, in the order of the file, while the file is read.

    Args:
      model: MODEL.
      file: what `jaxbert.labelled.opening.open_examples` opens; or a file of lines, a text a line, where the model
        takes single texts: a name that ends with .txt, also packed, or "-" for standard input.
      write: takes each line, with its line break. It is not called where `out` is given.
      out: a file for the lines. It appears when it is complete.
      task: see `jaxbert.use.tasks.kind_of_model`.
      columns: the name of the column of each role; see `open_examples`.
      form: a form of `open_examples`, or "lines"; "" for the form by the name of the file.
      split: the split of a dataset, or of a task of GLUE; "" for "test". A file has no splits.
      top: the number of likeliest labels whose probabilities are given, beside the labels of the text, and of the
        candidates of an answer.
      null_threshold, max_length, batch_tokens: see `jaxbert.use.tasks.answer`.
      overwrite: replace `out`.

    Returns:
      Figures: task, the counts of `Counts`, seconds (of the results, without loading the model), tokens_per_s, out.
      `predicted_lines` prints them.

    Raises:
      InputError: an argument, the model or the file is wrong. `out` is not written then.
      Interrupted: the disk is full; nothing is left behind.
    """
    if out is not None:
        out = Path(out)
        _check_out(out, file, overwrite)
    if top < 1:
        raise InputError(f"top is {top}", where="--top", fix="Give 1 or more.", code="E-PREDICT-TOP")
    if split and not has_splits(file):
        raise InputError(
            f"a file has no splits, so there is no split {split!r} of it",
            where="--split",
            fix="Leave --split out; it is for hf:, tfds:, glue: and sample:.",
            code="E-PREDICT-OPTION",
        )
    loaded = load(model)
    kind = kind_of_model(loaded, task)
    if null_threshold is not None and kind != "question_answering":
        raise InputError(
            f"only questions can be without an answer, and the model's task is {kind}",
            where="--null-threshold",
            fix="Leave --null-threshold out.",
            code="E-PREDICT-OPTION",
        )
    labels = labels_of(loaded)
    # A text without a partner has a vector too.
    read = "classification" if kind == VECTORS else kind
    run = loaded.path if loaded.step is not None else None
    given = dict(columns or {})
    if run is not None and form != LINES and file != STDIN:
        given = {**learned_columns(run, loaded.source, file, form=form, unread=_ANSWERS[read]), **given}
    examples = open_inputs(read, file, columns=given, form=form, split=split or "test")
    began = time.perf_counter()
    parts = predict_stream(
        loaded,
        kind,
        # A run of vectors has learned from pairs, and gives single texts their vectors too.
        examples if kind == VECTORS else like_training(run, loaded.source, file, examples),
        max_length=max_length,
        batch_tokens=batch_tokens,
        candidates=top if kind == "question_answering" else 1,
        null_threshold=null_threshold,
    )
    total = Counts()

    def lines() -> Iterator[str]:
        nonlocal total
        for part in parts:
            total += part.counts
            yield "".join(_lines(part, top, are_spans(labels)))
        if not total.examples:
            raise InputError("no texts", where=file, fix="Give a file with texts.", code="E-PREDICT-EMPTY")

    if out is None:
        for line in lines():
            (write or print)(line)
    else:
        with full_disk(out, "Make room, then repeat the same command."), replacing(out) as handle:
            for line in lines():
                handle.write(line.encode())
    seconds = time.perf_counter() - began
    return {
        "task": kind,
        **total.to_json(),
        "seconds": round(seconds, 3),
        "tokens_per_s": round(total.tokens / seconds),
        "out": None if out is None else str(out),
    }


def predicted_lines(figures: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Returns the line of sizes that `jaxbert predict` prints, and the lines about what was cut or has no result."""
    size = f"{counted(figures['examples'], 'text')}, {counted(figures['tokens'], 'token')}"
    notes = []
    if figures["cut_examples"]:
        what = "questions" if figures["task"] == "question_answering" else "texts"
        notes.append(
            f"look at: {what} that were too long: {figures['cut_examples']:,}, cut by {figures['cut_tokens']:,} tokens "
            "(--max-length)"
        )
    if figures["lost_words"]:
        notes.append(f"look at: words without a token: {figures['lost_words']:,} of {figures['words']:,}, labelled O")
    if figures["windows"]:
        size += f", long texts in {counted(figures['windows'], 'window')}"
    return f"{size}, {figures['seconds']:.1f} s", notes


def open_inputs(
    kind: str, file: str, *, columns: Mapping[str, str], form: str = "", split: str = "test"
) -> Iterator[Example]:
    """Returns a stream of the examples of a file, in order; see `predict_file`.

    Raises:
      InputError: the file cannot be opened, or has lines where the kind needs more than one text.
    """
    if form == LINES or (not form and (file == STDIN or inner_suffix(Path(file)) == ".txt")):
        if kind not in ("classification", "token_labels") or columns:
            what = "a file of lines has no columns" if columns else f"a line is one text, but {kind} needs several"
            raise InputError(
                what,
                where=file,
                fix="Give a file with named columns, such as .jsonl or .csv; --form says what the name does not.",
                code="E-PREDICT-FORM",
            )
        return _of_lines(kind, open_texts(file))
    unread = dict.fromkeys(_ANSWERS[kind], "")
    return open_examples(kind, file, columns={**columns, **unread}, form=form, split=split)


def _of_lines(kind: str, texts: Iterable[tuple[str, str]]) -> Iterator[Example]:
    blank, first = 0, ""
    for number, (place, text) in enumerate(texts):
        if is_blank(text):
            blank, first = blank + 1, first or place
        if kind == "classification":
            yield TextExample(place=place, id=str(number), text=text)
        else:
            yield WordsExample(place=place, id=str(number), text=text, words=split_words(text))
    if blank:
        _log.warning(f"{counted(blank, 'text')} of only white space, first in {first}")


def _lines(part: Predicted, top: int, spans: bool) -> Iterator[str]:
    for example, result in zip(part.examples, part.results, strict=True):
        record = {"id": example.id, **_given(example), **_found(example, result, top, spans)}
        yield json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def _given(example: Example) -> dict[str, Any]:
    """Returns the texts of an example, but not the long ones."""
    match example:
        case TextExample(text=text, pair=pair):
            return {"text": text} if pair is None else {"text": text, "pair": pair}
        case WordsExample(text=text):
            return {"text": text}
        case Question(question=question):
            return {"question": question}
        case ChoiceExample(text=text, question=question):
            return {"text": text, **({"question": question} if question else {})}
    raise TypeError(type(example))


def _found(example: Example, result: Result, top: int, spans: bool) -> dict[str, Any]:
    match result:
        case Classified(number=float() as number):
            return {"number": _rounded(number)}
        case Classified():
            # A label that is given has a probability, whatever `top` says.
            most = max(top, len(result.labels))
            best = sorted(result.probabilities.items(), key=lambda item: -item[1])[:most]
            shown = {label: _rounded(share) for label, share in best}
            if not result.several:
                return {"label": best[0][0], "probability": _rounded(best[0][1]), "probabilities": shown}
            return {"labels": list(result.labels), "probabilities": shown}
        case Tagged() if spans:
            return {
                "entities": [
                    {
                        "label": one.label,
                        "start": one.start,
                        "end": one.end,
                        "text": one.text,
                        "probability": _rounded(one.probability),
                    }
                    for one in result.entities
                ]
            }
        case Tagged():
            assert isinstance(example, WordsExample)
            return {"words": [example.text[start:end] for start, end in result.words], "tags": list(result.tags)}
        case Embedded():
            names = {"vector": result.vector, "pair_vector": result.pair}
            return {name: [_rounded(x) for x in one] for name, one in names.items() if one is not None}
        case Answered():
            return {
                "answer": result.text,
                "start": result.start,
                "end": result.end,
                "probability": _rounded(result.probability),
                "score": _rounded(result.score),
                "null_score": _rounded(result.null_score),
                "candidates": [
                    {
                        "text": one.text,
                        "start": one.start,
                        "end": one.end,
                        "probability": _rounded(one.probability),
                        "score": _rounded(one.score),
                    }
                    for one in result.candidates
                ],
            }
        case Chosen():
            return {
                "choice": result.choice,
                "answer": result.text,
                "probability": _rounded(result.probabilities[result.choice]),
                "probabilities": [_rounded(share) for share in result.probabilities],
            }
    raise TypeError(type(result))


def _rounded(value: float) -> float | None:
    """Returns a number for JSON, which has no infinity."""
    return round(value, _DIGITS) if math.isfinite(value) else None


def _check_out(out: Path, file: str, overwrite: bool) -> None:
    wrong = fix = ""
    ending = inner_suffix(out)
    if ending in (".csv", ".tsv", ".parquet"):
        wrong, fix = f"the answers are a JSON object a line, not {ending[1:].upper()}", "Name it NAME.jsonl."
    elif not out.absolute().parent.is_dir():
        wrong, fix = "no such directory", "Make it first, or give another file."
    elif out.exists() and not out.is_file():
        wrong, fix = "it is not a file", "Give another name."
    elif out.exists() and not overwrite:
        wrong, fix = "the file exists already", "Give another name, or pass --overwrite."
    elif out.exists() and Path(file).exists() and out.samefile(file):
        wrong, fix = "the output would replace the texts", "Give another name."
    if wrong:
        raise InputError(wrong, where=f"--out {out}", fix=fix, code="E-PREDICT-OUT")
