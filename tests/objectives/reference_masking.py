"""The masking schemes in plain Python, one position after the other: what jaxbert's own are held against.

Written from the descriptions alone: Devlin et al. 2019 (whole words: google-research/bert README), Lan et al. 2020
(n-grams), Joshi et al. 2020 (spans), Sanh et al. 2019 after Lample and Conneau 2019 (frequency). Lists and numbers
drawn by the caller, from `random.Random` or those that jaxbert drew: no numpy, nothing of jaxbert, nothing clever.

Everywhere: a row of n tokens has min(M, max(1, round(rate n))) to predict. A text is what stands between special tokens
within one group; a word of more than `cap` pieces counts as several.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from random import Random

Word = list[int]  # Positions, one after the other.
Text = list[Word]


def budget_of(groups: Sequence[int], rate: float, most: int) -> int:
    real = sum(group > 0 for group in groups)
    return min(most, max(1, round(rate * real))) if real else 0


def texts_of(
    tokens: Sequence[int], groups: Sequence[int], special: Collection[int], starts: Collection[int], cap: int
) -> list[Text]:
    texts: list[Text] = []
    before = 0  # Group of the token before, 0 where that is none of a text.
    for position, (token, group) in enumerate(zip(tokens, groups, strict=True)):
        if group == 0 or token in special:
            before = 0
            continue
        if group != before:
            texts.append([[position]])
        elif token in starts or len(texts[-1][-1]) == cap:
            texts[-1].append([position])
        else:
            texts[-1][-1].append(position)
        before = group
    return texts


def whole_words(texts: Iterable[Text], budget: int, ordered: Callable[[list[int]], Iterable[int]]) -> set[int]:
    """The words in random order, each taken where it fits into what is left. `ordered`: first positions, shuffled."""
    words = {word[0]: word for text in texts for word in text}
    chosen: set[int] = set()
    for first in ordered(list(words)):
        if len(chosen) + len(words[first]) <= budget:
            chosen.update(words[first])
    return chosen


def ngrams(
    texts: Iterable[Text],
    budget: int,
    ordered: Callable[[list[int]], Iterable[int]],
    draw: Callable[[int, int], int],
    longest: int,
) -> set[int]:
    """At each word in random order one to `longest` words, as many as `draw(first position, words there)` says.

    A word is dropped from the end until they fit; they are left out where none does, or one is chosen already.
    """
    following = {text[i][0]: text[i : i + longest] for text in texts for i in range(len(text))}
    chosen: set[int] = set()
    for first in ordered(list(following)):
        taken = following[first][: draw(first, len(following[first]))]
        while taken and len(chosen) + sum(map(len, taken)) > budget:
            taken = taken[:-1]
        positions = [position for word in taken for position in word]
        if chosen.isdisjoint(positions):
            chosen.update(positions)
    return chosen


def spans(
    texts: Iterable[Text], budget: int, anchors: Callable[[list[int]], Iterable[int]], draw: Callable[[int], int]
) -> set[int]:
    """From the begin of an anchor's word on `draw(anchor)` words, token by token until the budget is reached.

    `anchors`: positions, of which those chosen already are passed over.
    """
    rest = {position: text[i:] for text in texts for i in range(len(text)) for position in text[i]}
    budget = min(budget, len(rest))
    chosen: set[int] = set()
    tries = iter(anchors(list(rest)))
    while len(chosen) < budget:
        anchor = next(tries)
        if anchor in chosen:
            continue
        for word in rest[anchor][: draw(anchor)]:
            for position in word:
                if len(chosen) < budget:
                    chosen.add(position)
    return chosen


def weighted(weights: Mapping[int, float], budget: int, draw: Callable[[float], float]) -> set[int]:
    """One position after the other by its weight among those left. `draw(total)`: a number from 0 to the total."""
    left, chosen = dict(weights), set()
    while left and len(chosen) < budget:
        below = draw(sum(left.values()))
        for position, weight in left.items():
            found = position
            below -= weight
            if below < 0:
                break
        chosen.add(found)
        del left[found]
    return chosen


def shuffled(rng: Random) -> Callable[[list[int]], list[int]]:
    return lambda positions: rng.sample(positions, len(positions))


def endless(rng: Random) -> Callable[[list[int]], Iterable[int]]:
    """Positions drawn again and again."""

    def draws(positions: list[int]) -> Iterable[int]:
        while True:
            yield rng.choice(positions)

    return draws


def harmonic(rng: Random) -> Callable[[int, int], int]:
    """1 .. `there` words with probability proportional to 1/n."""
    return lambda first, there: rng.choices(range(1, there + 1), [1 / n for n in range(1, there + 1)])[0]


def geometric(rng: Random, p: float, longest: int) -> Callable[[int], int]:
    """Drawn again where it is longer than the longest: the geometric distribution renormalised."""

    def draw(anchor: int) -> int:
        del anchor
        while True:
            length = 1
            while rng.random() >= p:
                length += 1
            if length <= longest:
                return length

    return draw


def boundary_targets(
    tokens: Sequence[int], groups: Sequence[int], special: Collection[int], masked: Collection[int], most: int
) -> dict[int, tuple[int, int, int]]:
    """Position: (token left of its span, token right of it, place in it), of each that the span-boundary loss counts.

    Args:
      tokens: clean.
      masked: positions; those side by side are one span.
      most: of a span only the first so many.
    """

    def is_text(position: int, group: int) -> bool:
        return 0 <= position < len(tokens) and tokens[position] not in special and groups[position] == group

    found = {}
    for position in masked:
        left = right = position
        while left in masked:
            left -= 1
        while right in masked:
            right += 1
        place = position - left - 1
        if is_text(left, groups[position]) and is_text(right, groups[position]) and place < most:
            found[position] = (left, right, place)
    return found
