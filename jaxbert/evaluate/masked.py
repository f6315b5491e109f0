"""Log-probabilities of tokens at masked positions: the computation below every score of a masked language model.

Masked rows are packed into the same few shapes as the texts of `embed`, and only the asked positions are projected to
the vocabulary. The products are those of float32 on every device, so that sums over a text agree between machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.core.parameters import Params
from jaxbert.models.model import Model
from jaxbert.use import batches
from jaxbert.use.batches import Packed, check_limits, dispatch, pack
from jaxbert.use.library import Loaded

# One call projects one position to the vocabulary for this many tokens of a batch. Batches with more take several.
_TOKENS_A_POSITION = 8


class Query(NamedTuple):
    """A masked row, and the tokens whose log-probabilities are asked for.

    Attributes:
      ids: token ids with special tokens and masks; at most the model's positions.
      first: the number of ids before the first one of token type 1; the number of ids where all have type 0.
      positions: the positions of the tokens, in any order.
      targets: the id of the token at each position.
    """

    ids: Sequence[int]
    first: int
    positions: Sequence[int]
    targets: Sequence[int]


@dataclass(frozen=True)
class _Window:
    """Some consecutive queries in batches. Their positions are in one list, query after query.

    Attributes:
      starts: int64 (Q + 1,), the first place of each query in that list, and the end of the list.
      positions: int64 (T,), the position in its query at each place of the list.
      targets: int64 (T,), the token at each place.
      batches: the queries in packed rows.
    """

    starts: np.ndarray
    positions: np.ndarray
    targets: np.ndarray
    batches: list[Packed]


def log_probabilities(
    model: Loaded, queries: Iterable[Query], *, batch_tokens: int | None = None
) -> Iterator[np.ndarray]:
    """Yields for each query the log-probability of each of its tokens in nats, float64, in order.

    The next queries are read while the device computes, and memory does not grow with their number.

    Args:
      model: from `jaxbert.load`.
      queries: they are read when they are asked for.
      batch_tokens: tokens a batch; by default `jaxbert.use.batches.default_batch_tokens`.

    Raises:
      InputError: at once where the model has no masked-LM head or no tokenizer, or `batch_tokens` is not positive.
    """
    model.require("masked_lm")
    pad_id = model.require_tokenizer().pad_id
    limit, tokens = check_limits(model, None, batch_tokens)
    return _stream(model, _windows(iter(queries), limit, tokens, pad_id))


def _windows(queries: Iterator[Query], limit: int, batch_tokens: int, pad_id: int) -> Iterator[_Window]:
    def window(some: list[Query]) -> _Window:
        starts = np.cumsum([0, *(len(query.positions) for query in some)], dtype=np.int64)
        positions = np.fromiter((at for query in some for at in query.positions), np.int64, starts[-1])
        targets = np.fromiter((index for query in some for index in query.targets), np.int64, starts[-1])
        ids, firsts = [query.ids for query in some], [query.first for query in some]
        packed = pack(ids, firsts, limit=limit, batch_tokens=batch_tokens, pad_id=pad_id)
        return _Window(starts, positions, targets, packed)

    some: list[Query] = []
    size = 0
    for query in queries:
        some.append(query)
        size += len(query.ids)
        # The constant is looked up here, so that tests can make windows small.
        if size >= batches.WINDOW * batch_tokens:
            yield window(some)
            some, size = [], 0
    if some:
        yield window(some)


class _Started(NamedTuple):
    """The work of a batch that the device has begun.

    Attributes:
      places: int64 (M,), places in the list of the window.
      parts: the log-probabilities of equally many places each; the last part is padded.
    """

    places: np.ndarray
    parts: list[jax.Array]


def _stream(model: Loaded, windows: Iterator[_Window]) -> Iterator[np.ndarray]:
    before: tuple[_Window, list[_Started]] | None = None
    for window in windows:
        started = dispatch(window.batches, partial(_start, model, window))
        if before is not None:
            yield from _collect(*before)
        before = window, started
    if before is not None:
        yield from _collect(*before)


def _start(model: Loaded, window: _Window, batch: Packed) -> _Started:
    """Starts the computation of a batch and does not wait for it."""
    hidden = _hidden(model.model, model.params, batch.arrays)
    rows, columns, places = _slots(window, batch)
    number = max(1, batch.arrays["tokens"].size // _TOKENS_A_POSITION)
    parts = []
    for start in range(0, len(rows), number):
        some = slice(start, start + number)
        given = (rows[some], columns[some], window.targets[places[some]])
        padded = (np.pad(one.astype(np.int32), (0, number - len(one))) for one in given)
        parts.append(_log_probabilities(model.model, model.config.vocab_size, model.params, hidden, *padded))
    return _Started(places, parts)


def _slots(window: _Window, batch: Packed) -> np.ndarray:
    """Returns row, column and place in the list of each asked position of a batch, int64 (3, M)."""
    group = batch.arrays["group"]
    before = np.pad(group, ((0, 0), (1, 0)))[:, :-1]
    row_begin, column_begin = np.nonzero((group != before) & (group > 0))
    begin = np.zeros(batch.texts.shape, np.int64)
    begin[row_begin, group[row_begin, column_begin] - 1] = column_begin
    row, slot = np.nonzero(batch.texts >= 0)
    query = batch.texts[row, slot]
    start = window.starts[query]
    number = window.starts[query + 1] - start
    # The places of a query are start, start + 1, ...
    place = np.arange(number.sum()) + np.repeat(start - np.cumsum(number) + number, number)
    return np.stack([np.repeat(row, number), np.repeat(begin[row, slot], number) + window.positions[place], place])


def _collect(window: _Window, started: list[_Started]) -> Iterator[np.ndarray]:
    found = np.empty(len(window.targets), np.float64)
    for places, parts in started:
        if parts:
            found[places] = np.concatenate([np.asarray(part) for part in parts])[: len(places)]
    yield from np.split(found, window.starts[1:-1])


@partial(jax.jit, static_argnums=0)
def _hidden(model: Model, params: Params, batch: dict[str, Any]) -> jax.Array:
    """Returns hidden states (B, L, D)."""
    # By default, devices with fast products of fewer bits take those for float32.
    with jax.default_matmul_precision("highest"):
        return model.hidden(params, batch)


@partial(jax.jit, static_argnums=(0, 1))
def _log_probabilities(
    model: Model,
    size: int,
    params: Params,
    x_BLD: jax.Array,
    row_M: jax.Array,
    column_M: jax.Array,
    token_M: jax.Array,
) -> jax.Array:
    """Returns log p (M,) of the given tokens at the given positions of a batch, over the `size` real pieces."""
    with jax.default_matmul_precision("highest"):
        logits_MV = model.masked_lm(params, x_BLD[row_M, column_M][:, None])[:, 0, :size]
    right_M = jnp.take_along_axis(logits_MV, token_M[:, None], axis=-1)[:, 0]
    return right_M - jax.nn.logsumexp(logits_MV, axis=-1)
