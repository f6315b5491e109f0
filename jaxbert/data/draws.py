"""Random numbers that are the same on every machine and with every version of numpy, made from raw Philox words.

numpy promises the raw stream of a bit generator, but not the streams of `Generator`'s methods. So this module makes
numbers below n, coins and permutations from the raw words.
"""

from __future__ import annotations

import hashlib

import numpy as np

_BUFFER = 1024


def philox(*key: int | str) -> np.random.Philox:
    """Returns the bit generator of `key`. A sha256 of the parts seeds it, so that no two keys share a stream."""
    digest = hashlib.sha256("\0".join(f"{type(part).__name__}:{part}" for part in key).encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little"))


def permutation(size: int, *key: int | str) -> np.ndarray:
    """Returns a uniformly drawn permutation of range(size), int64: the order of `size` raw 64-bit words."""
    return np.argsort(philox(*key).random_raw(size), kind="stable")


class Draws:
    """The stream of random numbers of a key, for decisions made one by one."""

    def __init__(self, *key: int | str):
        self._generator = philox(*key)
        self._words: list[int] = []

    def word(self) -> int:
        """Returns 64 random bits."""
        if not self._words:
            self._words = self._generator.random_raw(_BUFFER).tolist()
            self._words.reverse()
        return self._words.pop()

    def below(self, bound: int) -> int:
        """Returns an integer in [0, bound), by multiplication and shift (bias below bound / 2^64)."""
        return (self.word() * bound) >> 64

    def heads(self, coins: int) -> int:
        """Returns how many of `coins` fair coins show heads."""
        count = 0
        while coins > 64:
            count += self.word().bit_count()
            coins -= 64
        return count + (self.word() >> (64 - coins)).bit_count()
