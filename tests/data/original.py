"""BERT's data creation, and ALBERT's, in plain Python: what jaxbert's own is held against.

Written from the published description alone: Devlin et al. 2019 (arXiv:1810.04805), section 3.1 and appendices A.1 and
A.2, and what google-research/bert says of create_pretraining_data.py. Lists and `random.Random`:
no numpy, nothing of jaxbert, nothing clever. What the description fixes:

  - the target length of a document's rows is L - 3, or with probability 0.1 a number from 2 to L - 3, drawn once;
  - sentences are gathered until they reach it or the document ends; A is the first 1 to n - 1 of these n, or the one;
  - B is the rest; or, half the time and always for n = 1, what another document (ten tries) has from a random sentence
    on, up to the target less A; then the rest is used again;
  - while the pair is longer than L - 3, the longer segment loses its first or its last token, by a fair coin;
  - min(M, max(1, round(0.15 n))) of a row's n tokens are predicted, never [CLS] or [SEP]: 80% become [MASK], 10% a
    token drawn from the entire vocabulary, 10% stay.

ALBERT's pairs (Lan et al. 2020, arXiv:1909.11942, section 3.1) are made in the same way but for when B is random
(`elsewhere`): "never", where n = 1 makes a row without B; or "alone", for n = 1 only, as google-research/albert
create_pretraining_data.py does it. That A and B change places is no matter of rows here.

What it leaves open: which segment counts as the longer of two equal ones. Here it is B.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from random import Random
from typing import NamedTuple

Token = int
Sentence = Sequence[Token]
Document = Sequence[Sentence]


class Row(NamedTuple):
    """One row. `lost`: tokens that truncation took from the text of `document` (from a random B: nothing is lost)."""

    document: int
    a: list[Token]
    other: int
    b: list[Token]
    random_next: bool
    lost: list[Token]


def one_pass(
    documents: Sequence[Document], length: int, short_rows: float, rng: Random, elsewhere: str = "half"
) -> list[Row]:
    """Every row of one pass over the corpus, document by document."""
    numbers = range(len(documents))
    return [row for number in numbers for row in rows_of(documents, number, length, short_rows, rng, elsewhere)]


def rows_of(
    documents: Sequence[Document], number: int, length: int, short_rows: float, rng: Random, elsewhere: str = "half"
) -> list[Row]:
    room = length - 3
    target = rng.randint(2, room) if rng.random() < short_rows else room
    waiting = deque(documents[number])
    rows = []
    while waiting:
        gathered = take(waiting, target)
        split = rng.randint(1, len(gathered) - 1) if len(gathered) > 1 else 1
        a, rest = joined(gathered[:split]), gathered[split:]
        random_next = (not rest and elsewhere != "never") or (elsewhere == "half" and rng.random() < 0.5)
        other = number
        if random_next:
            waiting.extendleft(reversed(rest))
            other = another(len(documents), number, rng)
            start = rng.randrange(len(documents[other]))
            rest = take(deque(documents[other][start:]), target - len(a))
        b = joined(rest)
        a, b, lost_a, lost_b = truncated(a, b, room, rng)
        rows.append(Row(number, a, other, b, random_next, lost_a if random_next else lost_a + lost_b))
    return rows


def take(waiting: deque[Sentence], target: int) -> list[Sentence]:
    """Sentences off the front until they have `target` tokens or none is left; one at least."""
    taken = [waiting.popleft()]
    tokens = len(taken[0])
    while waiting and tokens < target:
        taken.append(waiting.popleft())
        tokens += len(taken[-1])
    return taken


def another(count: int, number: int, rng: Random) -> int:
    for _ in range(10):
        other = rng.randrange(count)
        if other != number:
            break
    return other


def truncated(a: list[Token], b: list[Token], room: int, rng: Random) -> tuple[list[Token], list[Token], list, list]:
    """What stays of A and of B, and what each of them loses."""
    cut = {"a": [0, 0], "b": [0, 0]}  # Tokens off the front, off the back.
    left = {"a": len(a), "b": len(b)}
    while left["a"] + left["b"] > room:
        longer = "a" if left["a"] > left["b"] else "b"
        cut[longer][rng.random() < 0.5] += 1
        left[longer] -= 1
    (a_front, a_back), (b_front, b_back) = cut["a"], cut["b"]
    a_end, b_end = len(a) - a_back, len(b) - b_back
    return a[a_front:a_end], b[b_front:b_end], a[:a_front] + a[a_end:], b[:b_front] + b[b_end:]


def joined(sentences: Sequence[Sentence]) -> list[Token]:
    return [token for sentence in sentences for token in sentence]


def laid_out(a: list[Token], b: list[Token], length: int, cls: int, sep: int, pad: int) -> tuple[list, list, list]:
    """[CLS] A [SEP] B [SEP] and padding: tokens, segment numbers, and 1 for what is no padding."""
    tokens = [cls, *a, sep, *b, sep]
    padding = [0] * (length - len(tokens))
    types = [0] * (len(a) + 2) + [1] * (len(b) + 1)
    return tokens + [pad] * len(padding), types + padding, [1] * len(tokens) + padding


def masked(
    tokens: list[Token], special: Collection[Token], mask: int, vocab_size: int, most: int, rate: float, rng: Random
) -> tuple[list[Token], list[int]]:
    """A row (without padding) as the model sees it, and the positions it is to predict, ascending."""
    candidates = [position for position, token in enumerate(tokens) if token not in special]
    rng.shuffle(candidates)
    positions = sorted(candidates[: min(most, max(1, round(len(tokens) * rate)))])
    seen = list(tokens)
    for position in positions:
        if rng.random() < 0.8:
            seen[position] = mask
        elif rng.random() < 0.5:
            seen[position] = rng.randrange(vocab_size)
    return seen, positions
