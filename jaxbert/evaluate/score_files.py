"""Scores the texts or the minimal pairs of files: `jaxbert score`."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from jaxbert.core.progress import Progress
from jaxbert.data.sources.finding import find_files, printable
from jaxbert.data.sources.formats import HOLDERS, kind_of
from jaxbert.errors import InputError, counted
from jaxbert.evaluate import minimal_pairs
from jaxbert.evaluate.likelihood import Counts, ScoredText, check_mask, count, score_stream
from jaxbert.evaluate.minimal_pairs import BAD, GOOD, Judged, Pair, Tally
from jaxbert.stores.files import full_disk, replacing
from jaxbert.text.text_rows import Text
from jaxbert.use.batches import check_limits
from jaxbert.use.library import Loaded, load
from jaxbert.use.texts import STDIN, open_texts

_log = logging.getLogger(__name__)

# A text with fewer digits than float32 has is as exact as the scores are.
_DIGITS = 6
_NAMED = 5  # files and places that a line names


@dataclass(frozen=True)
class Inputs:
    """The files to score.

    Attributes:
      files: what `open_texts` opens, or the paths of files of pairs.
      pairs: whether the files hold minimal pairs.
      left_out: the names of files of folders that are not read.
    """

    files: list[str]
    pairs: bool
    left_out: list[str]


def find_inputs(given: Sequence[str], *, good: str | None = None, bad: str | None = None) -> Inputs:
    """Returns the files that the user means, and whether they hold minimal pairs.

    Args:
      given: files, with #FIELD for one field of records, or folders, or patterns. Of a folder, the files of records
        are taken (JSON lines, JSON, CSV, Parquet), or else all files of texts.
      good, bad: the fields of the sentences of pairs. Where one is given, every file must hold pairs. By default, a
        file holds pairs if its first record has the fields of BLiMP.

    Raises:
      InputError: there is no such file, or some files hold pairs and others do not.
    """
    files: list[str] = []
    left_out: list[str] = []
    for one in given:
        if not Path(one).is_dir() and (one == STDIN or Path(one).exists() or "#" in one):
            files.append(one)
            continue
        found = find_files(one, one)
        paths = [path for _, path in found.files]
        if found.folder:
            taken = [path for path in paths if kind_of(path) in HOLDERS] or [path for path in paths if kind_of(path)]
            left_out += [printable(str(path)) for path in paths if path not in taken]
            paths = taken
        if not paths:
            raise InputError(
                "the folder has no file that can be scored",
                where=one,
                fix="Give files of texts (.txt), or of records (.jsonl, .json, .csv, .tsv, .parquet).",
                code="E-SCORE-NONE",
            )
        files += [str(path) for path in paths]
    if STDIN in files and len(files) > 1:
        raise InputError(
            "standard input is one of several files",
            where="FILE",
            fix="Give - only, or give files only.",
            code="E-SCORE-MIXED",
        )
    if good is not None or bad is not None:
        return Inputs(files, True, left_out)
    pairs = [Path(file).is_file() and minimal_pairs.holds_pairs(file) for file in files]
    if any(pairs) and not all(pairs):
        raise InputError(
            f"{files[pairs.index(True)]} holds minimal pairs, and {files[pairs.index(False)]} does not",
            where="FILE",
            fix="Score the files of pairs and the files of texts with two commands.",
            code="E-SCORE-MIXED",
        )
    return Inputs(files, all(pairs), left_out)


def score_files(
    model: str,
    files: Sequence[str],
    *,
    out: str | None = None,
    mask: str = "token",
    good: str | None = None,
    bad: str | None = None,
    pieces: bool = False,
    batch_tokens: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Scores the texts or pairs of files, and returns figures; `lines` describes them.

    Args:
      model: MODEL with a masked-LM head.
      files: see `find_inputs`; "-" is standard input.
      out: a file of JSON lines to write: a record for each text (text, tokens, score, score_per_token) or pair. It
        appears when it is complete. None prints the records of texts on standard output, and writes none of pairs.
      mask: see `jaxbert.evaluate.likelihood.score`.
      good, bad: see `find_inputs`.
      pieces: also write the tokens with their scores.
      batch_tokens: tokens a batch.
      overwrite: replace `out`.

    Raises:
      InputError: an argument or a file is wrong, or texts are longer than the model's positions; nothing is written.
      Interrupted: the disk is full; nothing is left behind.
    """
    check_mask(mask)
    if out is not None:
        _check_out(Path(out), overwrite)
    inputs = find_inputs(files, good=good, bad=bad)
    if out is not None and any(
        Path(file).exists() and Path(out).exists() and Path(out).samefile(file) for file in files
    ):
        raise InputError(
            "the output would replace the input", where=f"--out {out}", fix="Give another name.", code="E-SCORE-OUT"
        )
    for file in inputs.files:
        if not inputs.pairs and file != STDIN:
            open_texts(file)  # It checks the head of the file.
    loaded = load(model)
    loaded.require("masked_lm")
    check_limits(loaded, None, batch_tokens)
    if inputs.pairs:
        return _score_pairs(
            loaded, inputs, out, mask, good or GOOD, bad or BAD, pieces=pieces, batch_tokens=batch_tokens
        )
    return _score_texts(loaded, inputs, out, mask, pieces=pieces, batch_tokens=batch_tokens)


def _texts(inputs: Inputs) -> Iterator[tuple[str, Text]]:
    for file in inputs.files:
        yield from open_texts(file)


def _score_texts(
    model: Loaded, inputs: Inputs, out: str | None, mask: str, *, pieces: bool, batch_tokens: int | None
) -> dict[str, Any]:
    # Standard input can be read only once, and is checked on the way.
    counts = None if STDIN in inputs.files else count(model, _texts(inputs))
    if counts is not None and not counts.texts:
        raise _no_texts(inputs)
    began = time.perf_counter()
    sums = {"texts": 0, "tokens": 0, "empty": 0, "unknown": 0, "score": 0.0}

    def found() -> Iterator[dict[str, Any]]:
        scores = score_stream(model, _texts(inputs), mask=mask, batch_tokens=batch_tokens)
        for one in _shown(scores, counts, lambda one: one.tokens):
            sums["texts"] += 1
            sums["tokens"] += one.tokens
            sums["empty"] += not one.tokens
            sums["unknown"] += one.unknown
            sums["score"] += one.score
            yield {
                "text": one.text,
                "tokens": one.tokens,
                "score": round(one.score, _DIGITS),
                "score_per_token": None if not one.tokens else round(one.score / one.tokens, _DIGITS),
                **({"pieces": _pieces(model, one)} if pieces else {}),
            }

    with _opened(out) as write:
        for record in found():
            write(record)
        if not sums["texts"]:
            raise _no_texts(inputs)
    per_token = sums["score"] / sums["tokens"] if sums["tokens"] else None
    return {
        "kind": "texts",
        **_settings(inputs, out, mask),
        **sums,
        "score_per_token": per_token,
        # Salazar et al. 2020, equation 2.
        "pseudo_perplexity": None if per_token is None else math.exp(min(-per_token, 700.0)),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _score_pairs(
    model: Loaded,
    inputs: Inputs,
    out: str | None,
    mask: str,
    good: str,
    bad: str,
    *,
    pieces: bool,
    batch_tokens: int | None,
) -> dict[str, Any]:
    def pairs() -> Iterator[Pair]:
        for file in inputs.files:
            yield from minimal_pairs.read_pairs(file, good=good, bad=bad)

    counts = count(model, (sentence for pair in pairs() for sentence in minimal_pairs.sentences(pair)))
    if not counts.texts:
        raise _no_texts(inputs)
    began = time.perf_counter()
    tally = Tally()

    def found() -> Iterator[dict[str, Any]]:
        judged = minimal_pairs.judge_stream(model, pairs(), mask=mask, batch_tokens=batch_tokens)
        for one in _shown(judged, counts, lambda one: one.good.tokens + sum(bad.tokens for bad in one.bad)):
            tally.add(one)
            yield _record(model, one, good, bad, pieces=pieces)

    with _opened(out, silent=True) as write:
        for record in found():
            write(record)
    return {
        "kind": "pairs",
        **_settings(inputs, out, mask),
        **tally.figures(),
        "texts": counts.texts,
        "tokens": counts.tokens,
        "empty": counts.empty,
        "unknown": counts.unknown,
        "seconds": round(time.perf_counter() - began, 3),
    }


def _settings(inputs: Inputs, out: str | None, mask: str) -> dict[str, Any]:
    return {"files": inputs.files, "left_out": inputs.left_out, "out": out, "mask": mask}


def _record(model: Loaded, one: Judged, good: str, bad: str, *, pieces: bool) -> dict[str, Any]:
    several = len(one.bad) > 1
    scores = [round(other.score, _DIGITS) for other in one.bad]
    shown: dict[str, Any] = {
        "UID": one.pair.uid,
        "field": one.pair.field,
        good: one.pair.good,
        bad: list(one.pair.bad) if several else one.pair.bad[0],
        "score_good": round(one.good.score, _DIGITS),
        "score_bad": scores if several else scores[0],
        "points": one.points,
    }
    if pieces:
        others = [_pieces(model, other) for other in one.bad]
        shown |= {"pieces_good": _pieces(model, one.good), "pieces_bad": others if several else others[0]}
    return shown


def _pieces(model: Loaded, one: ScoredText) -> list[list[Any]]:
    tokenizer = model.require_tokenizer()
    return [
        [tokenizer.token(index), round(value, _DIGITS)]
        for index, value in zip(one.ids.tolist(), one.scores.tolist(), strict=True)
    ]


def _shown(items: Iterable[Any], counts: Counts | None, tokens: Any) -> Iterator[Any]:
    """Yields items, and shows on stderr how many tokens are done."""
    with Progress(counts.tokens if counts else None, label="score", unit="token", enabled=_is_long(counts)) as progress:
        for item in items:
            yield item
            progress.advance(by=tokens(item))


def _is_long(counts: Counts | None) -> bool:
    """Returns whether the work may take more than some seconds, so that it is worth lines about its progress."""
    return counts is None or counts.tokens > 20_000


@contextmanager
def _opened(out: str | None, *, silent: bool = False) -> Iterator[Any]:
    """Gives a function that writes a record as a line of `out`, or on standard output, or nowhere if it is silent."""

    def writer(file: IO[Any]) -> Any:
        return lambda record: file.write(json.dumps(record, ensure_ascii=False) + "\n")

    if out is None:
        yield (lambda record: None) if silent else writer(sys.stdout)
        return
    path = Path(out)
    with full_disk(path, "Make room, then repeat the same command."), replacing(path, "w") as file:
        yield writer(file)


def _check_out(out: Path, overwrite: bool) -> None:
    what = fix = ""
    if not out.absolute().parent.is_dir():
        what, fix = "no such directory", "Make it first, or give another file."
    elif out.exists() and not out.is_file():
        what, fix = "it is not a file", "Give another name."
    elif out.exists() and not overwrite:
        what, fix = "the file exists already", "Give another name, or pass --overwrite."
    if what:
        raise InputError(what, where=f"--out {out}", fix=fix, code="E-SCORE-OUT")


def _no_texts(inputs: Inputs) -> InputError:
    return InputError(
        "there is nothing to score",
        where=", ".join(inputs.files[:_NAMED]),
        fix="Give a file with a text a line, or with a record of a pair a line.",
        code="E-SCORE-NONE",
    )


def lines(figures: Mapping[str, Any]) -> list[str]:
    """Returns the lines that `jaxbert score` prints about the figures of `score_files`."""
    size = f"{counted(figures['texts'], 'text')}, {counted(figures['tokens'], 'token')}, mask {figures['mask']}"
    shown = [f"{size}, {figures['seconds']:.1f} s"]
    if figures["kind"] == "pairs":
        shown = [f"{counted(figures['pairs'], 'pair')} of {counted(len(figures['files']), 'file')}; {shown[0]}"]
        shown += minimal_pairs.lines(figures)
    elif figures["tokens"]:
        shown[0] += f": {figures['score']:,.1f} nats, {figures['score_per_token']:.4f} a token"
        shown[0] += f", pseudo-perplexity {figures['pseudo_perplexity']:,.2f}"
    if figures.get("empty"):
        shown.append(f"look at: texts without a token: {figures['empty']:,}, with score 0")
    if figures["unknown"]:
        shown.append(f"look at: unknown tokens: {figures['unknown']:,} ({figures['unknown'] / figures['tokens']:.2%})")
    if figures["left_out"]:
        names = figures["left_out"]
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        shown.append(f"look at: files left out: {', '.join(names[:_NAMED])}{more}")
    if figures["out"]:
        shown.append(f"wrote {figures['out']}")
    return shown
