"""Tells which languages a corpus is in, by a sample of its text, with the library `py3langid`. Imports no jax.

py3langid (Barbaresi, after langid.py by Lui and Baldwin 2012) knows 140 languages, is pure Python over numpy, and gives
the same answer on every machine. A sample keeps the cost the same for a corpus of any size: about half a second.
"""

from __future__ import annotations

import collections
import functools
from typing import Any

# The characters of a sample, and the most samples. Of more, every second one goes, again and again.
_CHARS, _MOST = 400, 512
# The first samples are so many characters apart.
_APART = 1000
# A shorter text says nothing.
_LEAST_CHARS = 40
# Below this confidence the text is something else: numbers, code, sequences of proteins. Prose has 0.9 and more.
_CONFIDENCE = 0.5
# One sample of 512 may be wrong. Languages with a smaller share count as others.
_LEAST_SHARE = 0.01
UNCLEAR, OTHERS = "unclear", "others"


class Languages:
    """Samples of a text, evenly spaced in its characters. The samples depend on the documents and on nothing else."""

    def __init__(self) -> None:
        self._samples: list[str] = []
        self._apart, self._seen, self._next = _APART, 0, 0

    def add(self, text: str) -> None:
        """Adds the next document, or the next part of one."""
        end = self._seen + len(text)
        while self._next < end:
            # A sample near the end of a document reaches back, so that it has its length where the document has it.
            start = max(0, min(self._next - self._seen, len(text) - _CHARS))
            self._samples.append(text[start : start + _CHARS])
            if len(self._samples) == _MOST:
                self._samples = self._samples[::2]
                self._apart *= 2
            self._next += self._apart
        self._seen = end

    def shares(self) -> dict[str, float]:
        """Returns the share of the text in each language, by ISO 639 code, the largest first.

        `UNCLEAR` is text that no language claims with confidence, and `OTHERS` the sum of all small shares. The result
        is empty if there is too little text.
        """
        long = [sample for sample in self._samples if len(sample.strip()) >= _LEAST_CHARS]
        if not long:
            return {}
        counts = collections.Counter(_language(sample) for sample in long)
        shares = {name: count / len(long) for name, count in sorted(counts.items(), key=lambda item: (-item[1], item))}
        named = {name: share for name, share in shares.items() if share >= _LEAST_SHARE or name == UNCLEAR}
        rest = 1 - sum(named.values())
        return {name: round(share, 4) for name, share in [*named.items(), (OTHERS, rest)] if share > 1e-9}


def _language(text: str) -> str:
    name, confidence = _identifier().classify(text)
    return str(name) if confidence >= _CONFIDENCE else UNCLEAR


@functools.lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
