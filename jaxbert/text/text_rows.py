"""Makes rows of token ids from texts and pairs: special tokens, separators, and the cut of what is too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jaxbert.errors import InputError
from jaxbert.text.tokenizers import Tokenizer

# A text, or a pair of texts.
Text = str | tuple[str, str]


class Row(NamedTuple):
    """A text or a pair as token ids.

    Attributes:
      ids: token ids with special tokens.
      first: number of ids before the first one of token type 1; the length of `ids` where all have type 0.
      cut: number of tokens that were cut off because the text was too long.
    """

    ids: list[int]
    first: int
    cut: int


def text_rows(tokenizer: Tokenizer, texts: Sequence[Text], limit: int) -> list[Row]:
    """Returns rows [CLS] A [SEP] or [CLS] A [SEP] B [SEP], as the tokenizer separates the segments of a pair.

    Args:
      tokenizer: the model's.
      texts: texts and pairs.
      limit: most tokens of a row, with special tokens. A text loses its end; of a pair, see `longest_first`.

    Raises:
      InputError: the limit has no room for the special tokens of a pair.
    """
    segments = [part for text in texts for part in ((text,) if isinstance(text, str) else text)]
    encoded = iter(tokenizer.encode_batch(segments, special_tokens=True))
    rows = []
    for text in texts:
        if isinstance(text, str):
            ids = next(encoded)
            row = [tokenizer.cls_id, *ids[: limit - 2], tokenizer.sep_id]
            rows.append(Row(row, len(row), max(0, len(ids) - (limit - 2))))
            continue
        one, two = next(encoded), next(encoded)
        between = [tokenizer.sep_id] * tokenizer.pair_separators
        room = limit - 2 - len(between)
        if room < 0:
            raise InputError(
                f"{limit} tokens have no room for a pair, which has {2 + len(between)} special tokens",
                where="length",
                fix="Choose a larger length.",
                code="E-MODEL-LENGTH",
            )
        ones, twos = longest_first(len(one), len(two), room)
        begin = [tokenizer.cls_id, *one[:ones], *between]
        row = [*begin, *two[:twos], tokenizer.sep_id]
        rows.append(Row(row, len(begin) if tokenizer.pair_types else len(row), len(one) + len(two) - ones - twos))
    return rows


def longest_first(one: int, two: int, room: int) -> tuple[int, int]:
    """Returns the lengths of the segments of a pair, cut to `room` tokens in all.

    The longer segment is cut first, until both have the same length; then both are cut. One token that cannot be shared
    goes to the segment that was longer, and to the second one where they were equal. So do the fast tokenizers of
    transformers with `truncation="longest_first"` (tokenizers 0.22, utils/truncation.rs).
    """
    if one + two <= room:
        return one, two
    shorter = min(one, two, room // 2)
    return (room - shorter, shorter) if one > two else (shorter, room - shorter)
