"""Packs texts of any length into batches of few shapes: sorted by length, several to a row, each text its own group.

The encoder isolates groups exactly, so a packed text gets the same result as in a row without other texts, up to
rounding. Packed rows are full, but rows that are padded to a few widths are a quarter to a third empty. One width
serves all texts that fit into it. Each further width costs a compilation, which takes as long as computing a hundred
sentences.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import jax
import numpy as np

from jaxbert.errors import InputError
from jaxbert.text.text_rows import Text, text_rows
from jaxbert.use.arguments import check_number, check_segments, check_texts

if TYPE_CHECKING:
    from jaxbert.use.library import Loaded

# Attention costs more in longer rows. Measured on two cores with six layers of 384: rows of 32, 64, 128, 256 and 512
# tokens run at 7.5, 7.0, 5.9, 4.9 and 4.4 thousand tokens a second.
NARROWEST = 64
# Texts are read, sorted and packed this many batches at a time. That bounds memory, and the empty rest of the last
# batch of each shape is small beside it.
WINDOW = 64
# A width is worth a compilation from this many batches on. With fewer, its texts go into wider rows.
OWN_WIDTH = 16
# A row may hold one text for this many of its tokens.
TOKENS_A_TEXT = 4
_CHUNK = 256  # texts tokenised at once

Result = TypeVar("Result")


@dataclass(frozen=True)
class Packed:
    """A batch of packed rows.

    Attributes:
      arrays: {"tokens", "types", "group"}, int32 (B, L), the arguments of `Loaded.encode`. Group g + 1 of a row is
        text g.
      texts: int64 (B, G), the index of text g of each row; -1 where a row has no such text. G is the same for all
        batches of one L.
    """

    arrays: dict[str, np.ndarray]
    texts: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Returns (B, L)."""
        rows, width = self.arrays["tokens"].shape
        return rows, width


@dataclass(frozen=True)
class Window:
    """Some consecutive texts of the input.

    Attributes:
      texts: the given texts and pairs.
      tokens: the number of tokens of all texts, with special tokens and after cutting.
      cut: the number of texts that were longer than the limit.
      batches: the packed texts; their indices count in `texts`.
    """

    texts: list[Text]
    tokens: int
    cut: int
    batches: list[Packed]


def default_batch_tokens() -> int:
    """Returns the fewest tokens a batch that keep this device busy, since the last batch of a shape is partly empty."""
    return 512 if jax.default_backend() == "cpu" else 8192


def check_limits(model: Loaded, max_length: int | None, batch_tokens: int | None) -> tuple[int, int]:
    """Returns (longest text in tokens with special tokens, tokens a batch), by default the model's and the device's.

    Raises:
      InputError: the model does not take texts of that length, or a number is not positive.
    """
    longest = model.config.longest_row
    limit = longest if max_length is None else check_number(max_length, "max length")
    if not 3 <= limit <= longest:
        raise InputError(
            f"the longest text may have {limit} tokens, but the model takes from 3 to {longest}",
            where="max length",
            fix=f"Give at most {longest}, special tokens included." if limit > longest else "Give 3 or more.",
            code="E-EMBED-LENGTH",
        )
    tokens = default_batch_tokens() if batch_tokens is None else check_number(batch_tokens, "batch tokens")
    if tokens < 1:
        raise InputError(
            f"a batch is {tokens} tokens", where="batch tokens", fix="Give 1 or more.", code="E-EMBED-BATCH"
        )
    return limit, tokens


def windows(
    model: Loaded, texts: Iterable[Text], *, limit: int, batch_tokens: int, where: str = "texts"
) -> Iterator[Window]:
    """Returns windows of `texts`, in order, tokenised and packed. They are read when they are asked for.

    Args:
      model: it has the tokenizer.
      texts: texts and pairs.
      limit: most tokens of a text, with special tokens; see `text_rows`.
      batch_tokens: tokens a batch.
      where: name of the function that got the texts, for errors.

    Raises:
      InputError: at once where the model has no tokenizer or `texts` is not a list of texts; later where one of them is
        neither a text nor a pair.
    """
    tokenizer = model.require_tokenizer()
    remaining = check_texts(texts, where, check_segments)

    def found() -> Iterator[Window]:
        while True:
            window: list[Text] = []
            ids: list[list[int]] = []
            firsts: list[int] = []
            tokens = cut = 0
            while tokens < WINDOW * batch_tokens and (chunk := list(itertools.islice(remaining, _CHUNK))):
                window += chunk
                for row in text_rows(tokenizer, chunk, limit):
                    ids.append(row.ids)
                    firsts.append(row.first)
                    cut += row.cut > 0
                    tokens += len(row.ids)
            if not window:
                return
            packed = pack(ids, firsts, limit=limit, batch_tokens=batch_tokens, pad_id=tokenizer.pad_id)
            yield Window(window, tokens, cut, packed)

    return found()


def pack(
    ids: Sequence[Sequence[int]],
    firsts: Sequence[int] | None = None,
    *,
    limit: int,
    batch_tokens: int,
    pad_id: int,
) -> list[Packed]:
    """Returns batches that hold each of `ids` once.

    The same ids give the same batches on any machine. Longer texts come first, into wider rows. Shorter texts fill the
    room that they leave, and whole rows of the last batch.

    Args:
      ids: token ids of each text, with special tokens; none is longer than `limit`.
      firsts: number of ids of token type 0 in each text, which come first; None if all ids have type 0.
      limit: longest row in tokens.
      batch_tokens: tokens a batch, B x L. A row longer than that makes a batch by itself.
      pad_id: token id of the padding.

    Returns:
      Batches sorted by width, the narrowest first. Each width in use has one shape.
    """
    lengths = [len(one) for one in ids]
    left = sorted(range(len(ids)), key=lambda index: -lengths[index])
    widths = choose_widths(lengths, limit=limit, batch_tokens=batch_tokens)
    batches: list[Packed] = []
    for narrower, width in reversed(list(zip([0, *widths], widths, strict=False))):
        rows = _Rows(width)
        left = rows.place(left, lengths, above=narrower)
        full = max(1, batch_tokens // width)
        count = min(full, 1 << (len(rows.texts) - 1).bit_length())  # few texts: the next power of two
        rows.open(-len(rows.texts) % count)
        left = rows.place(left, lengths, above=width)
        parts = [
            _batch(rows.texts[at : at + count], ids, firsts, width, pad_id) for at in range(0, len(rows.texts), count)
        ]
        batches = parts + batches
    return batches


def choose_widths(lengths: Sequence[int], *, limit: int, batch_tokens: int) -> list[int]:
    """Returns the widths of rows that are worth a compilation, narrowest first: powers of two up to `limit`.

    The widest is the first that holds the longest text. A narrower width is used where the texts that it is the first
    to hold fill `OWN_WIDTH` batches. Texts of a width that is left out go to the next one.
    """
    if not lengths:
        return []
    ladder = [min(NARROWEST, limit)]
    while ladder[-1] < max(lengths):
        ladder.append(min(2 * ladder[-1], limit))
    needed = dict.fromkeys(ladder, 0)
    for length in lengths:
        needed[ladder[bisect.bisect_left(ladder, length)]] += length
    chosen, carried = [], 0
    for width in ladder[:-1]:
        carried += needed[width]
        if carried >= OWN_WIDTH * batch_tokens:
            chosen.append(width)
            carried = 0
    return [*chosen, ladder[-1]]


class _Rows:
    """Rows of one width that are being filled.

    Attributes:
      texts: indices of each row's texts, in their places.
    """

    def __init__(self, width: int):
        self.width, self.most = width, max(1, width // TOKENS_A_TEXT)
        self.texts: list[list[int]] = []
        self._by_room: dict[int, list[int]] = {}  # rows by their number of free tokens
        self._rooms: list[int] = []  # its keys, sorted

    def open(self, number: int) -> None:
        """Adds empty rows."""
        for _ in range(number):
            self.texts.append([])
            self._offer(len(self.texts) - 1, self.width)

    def place(self, texts: list[int], lengths: Sequence[int], above: int) -> list[int]:
        """Puts each text into the fullest row that can take it, and returns those left over.

        Args:
          texts: indices.
          lengths: lengths by index.
          above: a text longer than this may begin a new row.
        """
        left = []
        for index in texts:
            length = lengths[index]
            at = bisect.bisect_left(self._rooms, length)
            if at == len(self._rooms):
                if length <= above:
                    left.append(index)
                    continue
                self.open(1)
                at = len(self._rooms) - 1
            room = self._rooms[at]
            row = self._by_room[room].pop()
            if not self._by_room[room]:
                del self._by_room[room], self._rooms[at]
            self.texts[row].append(index)
            if room > length and len(self.texts[row]) < self.most:
                self._offer(row, room - length)
        return left

    def _offer(self, row: int, room: int) -> None:
        if room not in self._by_room:
            self._by_room[room] = []
            bisect.insort(self._rooms, room)
        self._by_room[room].append(row)


def _batch(
    rows: Sequence[Sequence[int]],
    ids: Sequence[Sequence[int]],
    firsts: Sequence[int] | None,
    width: int,
    pad_id: int,
) -> Packed:
    tokens = np.full((len(rows), width), pad_id, np.int32)
    types, group = np.zeros_like(tokens), np.zeros_like(tokens)
    texts = np.full((len(rows), max(1, width // TOKENS_A_TEXT)), -1, np.int64)
    for row, indices in enumerate(rows):
        texts[row, : len(indices)] = indices
        start = 0
        for number, index in enumerate(indices, 1):
            end = start + len(ids[index])
            tokens[row, start:end] = ids[index]
            group[row, start:end] = number
            if firsts is not None:
                types[row, start + firsts[index] : end] = 1
            start = end
    return Packed({"tokens": tokens, "types": types, "group": group}, texts)


def dispatch(batches: Sequence[Packed], compute: Callable[[Packed], Result]) -> list[Result]:
    """Returns `compute` of each batch, in order. `compute` should start the device's work and not wait for it.

    One thread computes each shape, so that one shape is compiled while the device works on another.
    """
    shapes = {
        batch.shape: [index for index, one in enumerate(batches) if one.shape == batch.shape] for batch in batches
    }
    found: dict[int, Result] = {}

    def work(indices: list[int]) -> None:
        for index in indices:
            found[index] = compute(batches[index])

    if len(shapes) < 2:
        work(list(range(len(batches))))
    else:
        with ThreadPoolExecutor(len(shapes)) as pool:
            for done in [pool.submit(work, indices) for indices in shapes.values()]:
                done.result()
    return [found[index] for index in range(len(batches))]
