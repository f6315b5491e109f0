"""Predictions for fixed sentences, at each evaluation of a run: lines of WORKDIR/predictions.jsonl.

Each sentence has one mask. They are the sentences of `logging.sentences`, or else a few of the validation rows, of
which one whole word is masked and known. The choice is a pure function of the rows, and a prediction is one of the
parameters. So a run that continues after a kill writes the same lines.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxbert.config import RunConfig
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import BATCH, Field, compute_dtype, global_batch, reshard
from jaxbert.data.pipeline import Rows
from jaxbert.models.layers import take_slots
from jaxbert.models.model import Model
from jaxbert.observe.lines import JsonLines
from jaxbert.run.inputs import PhaseRows, tokenizer_of
from jaxbert.stores.workdir import PREDICTIONS
from jaxbert.tasks.pretraining import Pretraining
from jaxbert.text.scripts import letters_of_word
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.training.step import Program

_log = logging.getLogger(__name__)

TOP = 5  # words that a line has
# A sentence has at most this many tokens, so that its prediction costs little and its text fits a page.
_LONGEST = 46
# Rows that are read for each sentence of the validation rows.
_TRIED = 16
# What a sentence is asked for, best first: letters of the masked word, tokens, and whether it ends as a sentence does.
# Long words of whole sentences say more about a model than "the" in half of one.
_WISHES = ((5, 10, True), (5, 6, True), (3, 6, False), (1, 3, False))
# Tokens that end a sentence, in several scripts.
_ENDS = frozenset(".!?\u3002\uff01\uff1f\u0964\u061f")


@dataclass(frozen=True)
class Sentence:
    """A sentence with one mask.

    Attributes:
      text: the sentence for people, with the name of the mask in it.
      ids: its token ids, with the mask and without special tokens at its ends.
      at: the place of the mask in `ids`.
      truth: the id of the masked word; None where nobody knows it.
    """

    text: str
    ids: tuple[int, ...]
    at: int
    truth: int | None


class Samples:
    """Predicts the masked words of fixed sentences, and writes a line for each.

    All processes of a run call `predict` together, and process 0 writes. Tasks other than pretraining, and models
    without a masked-LM head, have no predictions.

    Args:
      config: the run.
      mesh: the mesh of the run.
      rows: the rows of its phases.
      workdir: the workdir, on this machine.
      leader: whether this process writes.
    """

    def __init__(self, config: RunConfig, mesh: Mesh, rows: Sequence[PhaseRows], workdir: Path, *, leader: bool):
        self._config, self._mesh, self._rows = config, mesh, rows
        wanted = bool(config.logging.sentences) or config.logging.predictions > 0
        self._wanted = wanted and config.task.name == "pretraining"
        self._file = JsonLines(workdir / PREDICTIONS) if self._wanted and leader else None
        self._sentences: list[Sentence] | None = None
        self._tokenizer: Tokenizer | None = None
        self._likeliest: Callable[..., Any] | None = None

    def predict(self, program: Program, params: Params, step: int, phase: str) -> None:
        """Appends what the model of `step` predicts. The program is compiled once in a process, by the first call."""
        task = program.task
        if not (self._wanted and isinstance(task, Pretraining) and "masked_lm" in task.model.heads):
            return
        if self._sentences is None or self._tokenizer is None:
            self._tokenizer = tokenizer_of(self._rows[0].train[0][0])
            self._sentences = self._chosen(self._tokenizer)
        if not self._sentences:
            return
        if self._likeliest is None:
            dtype = compute_dtype(self._config.numerics.dtype, self._mesh.devices.flat[0].platform)
            self._likeliest = jax.jit(partial(likeliest, task.model, self._tokenizer.vocab_size, dtype))
        found = jax.device_get(self._likeliest(params, self._batch(self._sentences, self._tokenizer)))
        if self._file is None:
            return
        for sentence, shares, ids, truth in zip(self._sentences, *found, strict=False):
            words = [[shown(self._tokenizer, int(i)), round(float(p), 5)] for p, i in zip(shares, ids, strict=True)]
            line = {"step": step, "phase": phase, "sentence": sentence.text, "mask": _mask(self._tokenizer)}
            if sentence.truth is not None:
                line |= {"truth": shown(self._tokenizer, sentence.truth), "probability": round(float(truth), 5)}
            self._file.write({**line, "words": words})
        self._file.sync()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _chosen(self, tokenizer: Tokenizer) -> list[Sentence]:
        length = min(phase.length for phase in self._config.phases) - 2
        given = self._config.logging.sentences
        if given:
            return [found for text in given if (found := named(text, tokenizer, length)) is not None]
        splits = [split for phase in self._rows for split in phase.validation]
        if not splits:
            return []
        return chosen(splits[0], tokenizer, self._config.logging.predictions, min(length, _LONGEST))

    def _batch(self, sentences: Sequence[Sentence], tokenizer: Tokenizer) -> dict[str, jax.Array]:
        """Returns the sentences as a global batch. Rows that fill it up have no token, and nobody reads them."""
        shards = self._mesh.shape[BATCH[0]] * self._mesh.shape[BATCH[1]]
        size = -(-len(sentences) // shards) * shards
        length = max(len(one.ids) for one in sentences) + 2
        fields = {name: Field((length,)) for name in ("tokens", "types", "group")} | {
            "slots": Field((1,)),
            "truth": Field((1,)),
        }
        host = {name: np.zeros((size, *field.shape), np.int32) for name, field in fields.items()}
        host["tokens"][:] = tokenizer.pad_id
        for row, one in enumerate(sentences):
            ids = [tokenizer.cls_id, *one.ids, tokenizer.sep_id]
            host["tokens"][row, : len(ids)] = ids
            host["group"][row, : len(ids)] = 1
            host["slots"][row] = one.at + 1
            host["truth"][row] = one.truth or 0
        return global_batch(self._mesh, lambda lo, hi: {name: part[lo:hi] for name, part in host.items()}, size, fields)


def likeliest(
    model: Model, size: int, dtype: Any, params: Params, batch: dict[str, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns (probabilities (B, TOP), ids (B, TOP), probability of the true word (B,)), whole on every device.

    Args:
      model: the model of the run.
      size: the number of pieces of the vocabulary; the model's may be padded.
      dtype: the dtype of activations.
      params: its parameters.
      batch: rows with `slots` (B, 1), the place of the mask, and `truth` (B, 1), the masked piece.
    """
    x_BLD = model.hidden(params, batch, dtype=dtype)
    z_B1V = model.masked_lm(params, take_slots(x_BLD, batch["slots"]))
    z_BV = reshard(z_B1V, P(None, None, None))[:, 0, :size]
    log_BV = jax.nn.log_softmax(z_BV.astype(jnp.float32), axis=-1)
    best_BT, ids_BT = jax.lax.top_k(log_BV, min(TOP, size))
    truth_B1 = reshard(batch["truth"], P(None, None))
    true_B = jnp.where(jnp.arange(size)[None] == truth_B1, log_BV, 0.0).sum(-1)
    return jnp.exp(best_BT), ids_BT, jnp.exp(true_B)


def named(text: str, tokenizer: Tokenizer, length: int) -> Sentence | None:
    """Returns a sentence that the user wrote; None, with a warning, where it does not have one mask.

    Args:
      text: the sentence. Its mask is "[MASK]" for every tokenizer.
      tokenizer: the tokenizer of the run.
      length: tokens that the sentence may have. Of a longer one, the tokens around the mask are kept.
    """
    mask = _mask(tokenizer)
    ids = tokenizer.encode(text.replace("[MASK]", mask), special_tokens=True)
    places = [at for at, index in enumerate(ids) if index == tokenizer.mask_id]
    if len(places) != 1:
        _log.warning(f"logging.sentences: {text!r} has {len(places)} masks and needs one; it is left out")
        return None
    start = max(0, min(places[0] - length // 2, len(ids) - length))
    return Sentence(text.replace("[MASK]", mask), tuple(ids[start : start + length]), places[0] - start, None)


def chosen(rows: Rows, tokenizer: Tokenizer, number: int, length: int) -> list[Sentence]:
    """Returns `number` sentences of evenly spread rows, or fewer where the rows have not so many.

    Args:
      rows: validation rows.
      tokenizer: their tokenizer.
      number: how many sentences.
      length: tokens of the longest sentence.
    """
    tried = min(len(rows), number * _TRIED)
    read = rows.read(np.arange(tried) * len(rows) // max(1, tried))
    found: list[Sentence] = []
    seen: set[str] = set()
    for letters, shortest, whole in _WISHES:
        for group in np.array_split(np.arange(tried), max(1, min(number, tried))):
            if len(found) == number:
                return found
            for index in group.tolist():
                sentence = next(_masked(read[index], tokenizer, length, letters, shortest, whole), None)
                if sentence is not None and sentence.text not in seen:
                    seen.add(sentence.text)
                    found.append(sentence)
                    break
    return found


def _masked(
    row: np.void, tokenizer: Tokenizer, length: int, letters: int, shortest: int, whole: bool
) -> Iterator[Sentence]:
    """Yields the sentences of a row, each with one whole word of at least `letters` letters masked."""
    tokens = row["tokens"][row["group"] == 1].astype(int).tolist()
    for part in _parts(tokens, tokenizer):
        # A sentence of a user's text begins with a word. What a dot inside an address leaves over does not.
        if whole and not (tokenizer.word_start[part[0]] and shown(tokenizer, part[0])[:1].isalnum()):
            continue
        ids = part[:length]
        if len(ids) < min(shortest, length) or tokenizer.unk_id in ids:
            continue
        if whole and (len(part) > length or shown(tokenizer, part[-1]) not in _ENDS):
            continue
        for at in sorted(range(len(ids)), key=lambda at: abs(2 * at - len(ids))):
            ends = at + 1 == len(part) or tokenizer.word_start[part[at + 1]]
            if not (tokenizer.word_start[ids[at]] and ends):
                continue
            if letters_of_word(shown(tokenizer, ids[at])) >= letters:
                masked = [*ids[:at], tokenizer.mask_id, *ids[at + 1 :]]
                yield Sentence(_read(tokenizer, masked, at), tuple(masked), at, ids[at])
                break


def _parts(tokens: Sequence[int], tokenizer: Tokenizer) -> Iterator[list[int]]:
    """Yields the sentences between special tokens; none is empty.

    The first of a row may have begun before the row, so it comes last, and not at all where it begins inside a word.
    """
    parts: list[list[int]] = [[]]
    for index in tokens:
        if tokenizer.special[index]:
            parts.append([])
            continue
        parts[-1].append(index)
        if shown(tokenizer, index) in _ENDS:
            parts.append([])
    found = [part for part in parts if part]
    yield from found[1:]
    if found and tokenizer.word_start[found[0][0]]:
        yield found[0]


def _read(tokenizer: Tokenizer, ids: Sequence[int], at: int) -> str:
    """Returns the text of a sentence, with the name of the mask between spaces."""
    before, after = tokenizer.decode(ids[:at]).strip(), tokenizer.decode(ids[at + 1 :]).strip()
    return " ".join(filter(None, (before, _mask(tokenizer), after)))


def _mask(tokenizer: Tokenizer) -> str:
    return tokenizer.token(tokenizer.mask_id)


def shown(tokenizer: Tokenizer, index: int) -> str:
    """Returns a piece as text, without the marks that some vocabularies have for spaces, unless it has only those."""
    return tokenizer.decode([index]).strip() or tokenizer.token(index)
