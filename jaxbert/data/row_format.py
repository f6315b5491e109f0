"""Defines a row on disk. `rows` writes it and `pipeline` reads it; reading needs none of the modules for writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def row_dtype(
    length: int,
    vocab_size: int,
    origins: int,
    *,
    texts: int = 1,
    answers: Sequence[Mapping[str, Any]] = (),
) -> np.dtype[Any]:
    """Returns the format of one row on the disk: little-endian, packed.

    tokens u2 (u4 when V > 65536) [L]; types u1 [L]; group u1 [L] (attention group, from 1 along the row: 0 padding);
    label i1 (0: the second segment follows the first, 1: it is from elsewhere, -1: no pair); origins [K] of document u4
    (running number in its split), offset u4 (the segment's first token, counted in its document), length u2 (tokens;
    0: no such segment, nor any behind it).

    Rows of texts with labels (`jaxbert.labelled`) add to this. A row of several texts has tokens, types and group
    [texts, L]. Each entry of `answers`, {"name": "target", "dtype": "<i2", "shape": ["L"]}, is a field more behind the
    others; "L" in its shape is the length of the row.
    """
    shape = (length,) if texts == 1 else (texts, length)
    return np.dtype(
        [
            ("tokens", "<u4" if vocab_size > 65536 else "<u2", shape),
            ("types", "u1", shape),
            ("group", "u1", shape),
            ("label", "i1"),
            ("origins", np.dtype([("document", "<u4"), ("offset", "<u4"), ("length", "<u2")]), (origins,)),
            *(
                (answer["name"], answer["dtype"], tuple(length if size == "L" else size for size in answer["shape"]))
                for answer in answers
            ),
        ]
    )
