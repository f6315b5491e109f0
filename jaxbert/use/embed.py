"""Vectors of texts: the encoder's hidden states, pooled to one vector a text."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, get_args

import jax
import numpy as np

from jaxbert.convert.sentence_transformers import MODULES, Pooling
from jaxbert.errors import InputError, counted
from jaxbert.stores.files import full_disk, replacing
from jaxbert.text.text_rows import Text
from jaxbert.use.batches import Window, check_limits, dispatch, windows
from jaxbert.use.library import Loaded, load
from jaxbert.use.pooling import pooled_vectors
from jaxbert.use.tasks import trained_layout
from jaxbert.use.texts import open_texts

FORMATS = (".npy", ".jsonl")


@dataclass(frozen=True)
class Embedded:
    """Some consecutive texts of the input, with their vectors.

    Attributes:
      texts: the given texts and pairs.
      vectors: float32 (texts, D).
      tokens: the number of tokens that were computed, with special tokens.
      cut: the number of texts that were longer than the limit and were cut at their end.
    """

    texts: list[Text]
    vectors: np.ndarray
    tokens: int
    cut: int


def embed(
    model: Loaded,
    texts: Iterable[Text],
    *,
    pooling: Pooling = "mean",
    normalize: bool = False,
    max_length: int | None = None,
    batch_tokens: int | None = None,
) -> np.ndarray:
    """Returns the vectors of texts, float32 (N, D), in the order of `texts`.

    Args:
      model: from `jaxbert.load`.
      texts: any number of texts, or of pairs as `Loaded.batch` takes them. A text that is too long is cut at its end.
        An empty text has the vector of its special tokens.
      pooling: "mean" is the mean of the last layer's hidden states over the text's tokens and special tokens; "cls" is
        the hidden state of the first token, [CLS], not the pooler's output. Both are those of sentence-transformers.
      normalize: divide each vector by its length.
      max_length: longest text in tokens, with special tokens; by default the most that the model takes.
      batch_tokens: tokens a batch; by default `default_batch_tokens`.

    Raises:
      InputError: an argument is out of range, `texts` is not a list of texts, or the model has no tokenizer.
    """
    found = [
        one.vectors
        for one in embed_stream(
            model, texts, pooling=pooling, normalize=normalize, max_length=max_length, batch_tokens=batch_tokens
        )
    ]
    return np.concatenate(found) if found else np.zeros((0, model.config.hidden_size), np.float32)


def embed_stream(
    model: Loaded,
    texts: Iterable[Text],
    *,
    pooling: Pooling = "mean",
    normalize: bool = False,
    max_length: int | None = None,
    batch_tokens: int | None = None,
) -> Iterator[Embedded]:
    """Does what `embed` does for some thousand texts at a time, so that memory does not grow with their number.

    The next texts are read and tokenised while the device computes.
    """
    if pooling not in get_args(Pooling):
        raise InputError(
            f"unknown pooling {pooling!r}",
            where="pooling",
            fix=f"Known: {', '.join(get_args(Pooling))}.",
            code="E-EMBED-POOLING",
        )
    limit, batch_tokens = check_limits(model, max_length, batch_tokens)
    return _stream(
        model, windows(model, texts, where="embed", limit=limit, batch_tokens=batch_tokens), pooling, normalize
    )


def _stream(model: Loaded, parts: Iterator[Window], pooling: Pooling, normalize: bool) -> Iterator[Embedded]:
    before: tuple[Window, list[jax.Array]] | None = None
    for window in parts:
        started = dispatch(
            window.batches, lambda batch: pooled_vectors(model.model, pooling, normalize, model.params, batch.arrays)
        )
        if before is not None:
            yield _collect(model, *before)
        before = window, started
    if before is not None:
        yield _collect(model, *before)


def _collect(model: Loaded, window: Window, started: list[jax.Array]) -> Embedded:
    vectors = np.empty((len(window.texts), model.config.hidden_size), np.float32)
    for batch, found in zip(window.batches, started, strict=True):
        there = batch.texts >= 0
        vectors[batch.texts[there]] = np.asarray(found)[there]
    return Embedded(window.texts, vectors, window.tokens, window.cut)


# ----------------------------------------------------------------------------------------------------------------------
# From a file to a file


def embed_file(
    model: str,
    file: str,
    out: str | Path,
    *,
    pooling: Pooling | None = None,
    normalize: bool | None = None,
    max_length: int | None = None,
    batch_tokens: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Writes a vector for each line of a file, in the order of the lines: `jaxbert embed`.

    Args:
      model: MODEL. Its sentence-transformers files give the settings that are None here, and so does a run that has
        learned vectors: the mean of as many tokens as its rows have, normalised. For other models the default is the
        mean, not normalised, of as many tokens as the model takes. Where the files cut vectors to their first numbers
        (truncate_dim), so does this function.
      file: see `jaxbert.use.texts.open_texts`. An empty line has a vector too, that of an empty text.
      out: NAME.npy, float32 (N, D); or NAME.jsonl, lines {"text", "embedding"}. The file appears when it is complete.
      pooling, normalize, max_length, batch_tokens: see `embed`.
      overwrite: replace `out`.

    Returns:
      Figures: texts, empty, cut, tokens, dimension, the settings, seconds (of the vectors, without loading the model).
      `embedded_lines` prints them.

    Raises:
      InputError: an argument or the file is wrong; nothing is written.
      Interrupted: the disk is full; nothing is left behind.
    """
    out = Path(out)
    _check_out(out, file, overwrite)
    texts = open_texts(file)
    loaded = load(model)
    layout = trained_layout(loaded)
    if layout.lowercase and loaded.tokenizer is not None and not loaded.tokenizer.lowercase:
        raise InputError(
            "the model lower-cases texts before a tokenizer that keeps case, which is not supported",
            where=model,
            fix=f"Lower-case the texts, and embed with a copy of the model without {MODULES}.",
            code="E-EMBED-LOWERCASE",
        )
    if layout.default_prompt is not None and layout.prompts.get(layout.default_prompt):
        raise InputError(
            f"the model puts the prompt {layout.default_prompt!r} in front of every text, which is not supported",
            where=model,
            fix=f"Put it into the texts, and embed with a copy of the model without {MODULES}.",
            code="E-EMBED-PROMPT",
        )
    longest = loaded.config.longest_row
    settings: dict[str, Any] = {
        "pooling": layout.pooling if pooling is None else pooling,
        "normalize": layout.normalize if normalize is None else normalize,
        "max_length": min(layout.max_length or longest, longest) if max_length is None else max_length,
    }
    began = time.perf_counter()
    parts = embed_stream(loaded, (text for _, text in texts), batch_tokens=batch_tokens, **settings)
    dimension = min(layout.dimension or loaded.config.hidden_size, loaded.config.hidden_size)
    parts = (_cut(part, dimension, normalize=bool(normalize)) for part in parts)
    counts = _write(out, parts, dimension, file)
    seconds = time.perf_counter() - began
    return {
        **counts,
        "dimension": dimension,
        **settings,
        "seconds": round(seconds, 3),
        "tokens_per_s": round(counts["tokens"] / seconds),
        "out": str(out),
    }


def _cut(part: Embedded, dimension: int, *, normalize: bool) -> Embedded:
    """Returns vectors of the first `dimension` numbers, with `normalize` of length 1. Whole ones stay as they are."""
    if dimension == part.vectors.shape[1]:
        return part
    vectors = part.vectors[:, :dimension]
    if normalize:
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return dataclasses.replace(part, vectors=vectors)


def embedded_lines(figures: Mapping[str, Any]) -> list[str]:
    """Returns the lines that `jaxbert embed` prints about the figures of `embed_file`."""
    words = f"{figures['pooling']} pooling{', normalised' if figures['normalize'] else ''}"
    size = f"{counted(figures['texts'], 'text')}, {counted(figures['tokens'], 'token')}"
    lines = [f"{size}, {words}, {figures['seconds']:.1f} s"]
    if figures["empty"]:
        lines.append(
            f"look at: empty lines: {figures['empty']:,}, kept as empty texts, so that every line has its vector"
        )
    if figures["cut"]:
        lines.append(
            f"look at: texts of more than {figures['max_length']} tokens: {figures['cut']:,}, cut at their end"
        )
    return [*lines, f"wrote {figures['out']}: float32 ({figures['texts']}, {figures['dimension']})"]


def _check_out(out: Path, file: str, overwrite: bool) -> None:
    if out.suffix not in FORMATS:
        raise InputError(
            f"{out.suffix or 'no ending'!r} is not a known format",
            where=f"--out {out}",
            fix="Give NAME.npy or NAME.jsonl.",
            code="E-EMBED-FORMAT",
        )
    if not out.absolute().parent.is_dir():
        raise InputError(
            "no such directory",
            where=f"--out {out}",
            fix="Make it first, or give another file.",
            code="E-EMBED-DIRECTORY",
        )
    if not out.exists():
        return
    if not out.is_file():
        raise InputError("it is not a file", where=f"--out {out}", fix="Give another name.", code="E-EMBED-NOT-FILE")
    if not overwrite:
        raise InputError(
            "the file exists already",
            where=f"--out {out}",
            fix="Give another name, or pass --overwrite.",
            code="E-EMBED-EXISTS",
        )
    if Path(file).exists() and out.samefile(file):
        raise InputError(
            "the output would replace the texts", where=f"--out {out}", fix="Give another name.", code="E-EMBED-TEXTS"
        )


def _write(out: Path, parts: Iterator[Embedded], dimension: int, file: str) -> dict[str, int]:
    """Writes the vectors beside `out`, moves them there, and returns the counts."""
    write = _write_npy if out.suffix == ".npy" else _write_jsonl
    counts = dict.fromkeys(("texts", "empty", "cut", "tokens"), 0)

    def counted() -> Iterator[Embedded]:
        for part in parts:
            counts["texts"] += len(part.texts)
            counts["empty"] += sum(not "".join(text).strip() for text in part.texts)
            counts["cut"] += part.cut
            counts["tokens"] += part.tokens
            yield part

    again = "Make room, then repeat the same command."
    with full_disk(out, again), replacing(out) as handle:
        write(handle, counted(), dimension)
        if not counts["texts"]:
            raise InputError("no texts", where=file, fix="Give a file with a text a line.", code="E-EMBED-EMPTY")
    return counts


def _write_npy(file: IO[bytes], parts: Iterable[Embedded], dimension: int) -> None:
    """Writes one array. The header is written first, and again at the end, when the number of rows is known."""

    def header(rows: int) -> int:
        shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
        np.lib.format.write_array_header_1_0(file, shape)
        return file.tell()

    size, rows = header(0), 0
    for part in parts:
        file.write(part.vectors.astype("<f4").tobytes())
        rows += len(part.vectors)
    file.seek(0)
    # numpy leaves room in a header for the first axis to grow.
    if header(rows) != size:
        raise RuntimeError("the header of the array has grown")


def _write_jsonl(file: IO[bytes], parts: Iterable[Embedded], dimension: int) -> None:
    """Writes a record a text. Each number has the fewest digits that give the same float32."""
    for part in parts:
        for text, vector in zip(part.texts, part.vectors, strict=True):
            numbers = ", ".join(map(str, vector))
            file.write(f'{{"text": {json.dumps(text, ensure_ascii=False)}, "embedding": [{numbers}]}}\n'.encode())
