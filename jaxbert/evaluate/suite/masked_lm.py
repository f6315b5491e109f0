"""`masked_lm`: the loss of masked words, by how frequent they are and by file.

The masked words are the same for every model, because white space and punctuation choose them and no tokenizer does.
All pieces of a word are masked together, and its loss is the sum over them in nats. So losses of models with different
vocabularies can be compared.
"""

from __future__ import annotations

import bisect
import logging
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jaxbert.core.metrics import Metric
from jaxbert.data.sources import open_source
from jaxbert.errors import InputError, counted
from jaxbert.evaluate.masked import Query, log_probabilities
from jaxbert.evaluate.suite.base import Kind, Outcome, Setting, Task
from jaxbert.evaluate.suite.contamination import normalised
from jaxbert.inputs.values import Maybe, Whole
from jaxbert.labelled.words import split_words
from jaxbert.scores.intervals import Interval, Sums, intervals
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.library import Loaded

_log = logging.getLogger(__name__)

WORDS = 100  # words of a passage
LEAST_WORDS = 4  # a shorter one says little about a masked word
SHARE = 0.15  # of the words of a passage are masked, as in training
# The least frequency of each bin, and its name.
BINS = (0, 1, 10, 100, 1_000, 10_000)
_NAMES = ("0", *(f"{low:,} to {10 * low - 1:,}" for low in BINS[1:-1]), f"{BINS[-1]:,} and more")


@dataclass(frozen=True)
class Passage:
    """A part of a document.

    Attributes:
      place: file and number of the passage.
      file: the file, as the suite names it.
      text: at most `WORDS` words, with a space between two.
    """

    place: str
    file: str
    text: str


# The loss of a word in nats, with the word; NaN where the tokenizer does not cut at the edges of the word.
Loss = tuple[str, float]


class MaskedWords(Kind[Passage]):
    """Files of text: any that `jaxbert prepare` reads.

    Options: words, the most words of a passage; seed, which words are masked.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (Metric("word_loss", "nats a masked word", "nats", "number", higher=False),)
    options: ClassVar[Mapping[str, Any]] = {"words": Maybe(Whole(LEAST_WORDS)), "seed": Maybe(Whole())}
    heads: ClassVar[tuple[str, ...]] = ("masked_lm",)

    def read(self, task: Task) -> list[Passage]:
        """See `Kind`."""
        size = task.options.get("words") or WORDS
        found: list[Passage] = []
        for file in task.files:
            number = short = 0
            for document in open_source(file).documents():
                words = document.text.split()
                for start in range(0, len(words), size):
                    some = words[start : start + size]
                    if len(some) >= LEAST_WORDS:
                        number += 1
                        found.append(Passage(f"{file}, passage {number}", file, " ".join(some)))
                    else:
                        short += 1
            if short:
                _log.warning(f"{file}: {counted(short, 'passage')} of fewer than {LEAST_WORDS} words left out")
        return found

    def texts(self, item: Passage) -> Sequence[str]:
        """See `Kind`."""
        return (item.text,)

    def place(self, item: Passage) -> str:
        """See `Kind`."""
        return item.place

    def check(self, model: Loaded, items: Sequence[Passage], task: Task) -> None:
        """See `Kind`."""
        tokenizer = model.require_tokenizer()
        for item in items:
            tokens = len(tokenizer.encode(item.text)) + 2
            if tokens > model.config.longest_row:
                raise InputError(
                    f"the passage has {tokens} tokens, but the model takes {model.config.longest_row}",
                    where=item.place,
                    fix='Make passages shorter, with the option "words".',
                    code="E-SUITE-ITEM",
                )

    def answer(self, model: Loaded, items: Sequence[Passage], task: Task, setting: Setting) -> Sequence[Sequence[Loss]]:
        """See `Kind`."""
        tokenizer = model.require_tokenizer()
        seed = task.options.get("seed") or 0
        asked: list[list[tuple[str, int]]] = []

        def queries() -> Iterator[Query]:
            for item in items:
                query, words = _masked(tokenizer, item.text, seed)
                asked.append(words)
                yield query

        found = []
        for number, scores in enumerate(log_probabilities(model, queries(), batch_tokens=setting.batch_tokens)):
            losses: list[Loss] = []
            start = 0
            for word, pieces in asked[number]:
                losses.append((word, -float(scores[start : start + pieces].sum()) if pieces else float("nan")))
                start += pieces
            found.append(losses)
        return found

    def score(
        self, task: Task, items: Sequence[Passage], answers: Sequence[Sequence[Loss]], setting: Setting
    ) -> Outcome:
        """See `Kind`."""
        counts = setting.frequencies
        if counts is None:
            counts = Counter(word for item in items for word in normalised(item.text))
        flat = [(number, word, loss) for number, some in enumerate(answers) for word, loss in some if loss == loss]
        skipped = sum(loss != loss for some in answers for _, loss in some)
        by_frequency = {}
        for low, name in zip(BINS, _NAMES, strict=True):
            some = [one for one in flat if BINS[bisect.bisect_right(BINS, counts.get(one[1], 0)) - 1] == low]
            if some:
                by_frequency[name] = _figures(some)
        by_file = {}
        bare = Counter(os.path.basename(file.rstrip("/")) for file in {item.file for item in items})
        for file in dict.fromkeys(item.file for item in items):
            some = [one for one in flat if items[one[0]].file == file]
            if some:
                name = os.path.basename(file.rstrip("/"))
                by_file[name if name and bare[name] == 1 else file] = _figures(some)
        details = {
            "masked_words": len(flat),
            "words_across_pieces": skipped,
            "frequencies": "of the files themselves" if setting.frequencies is None else "of the training corpus",
            "by_frequency": by_frequency,
            "by_file": by_file,
        }
        notes = []
        if skipped:
            notes.append(f"{skipped:,} masked words are left out, because a piece of this model reaches beyond them.")
        return Outcome({"word_loss": _loss(flat)}, details, notes)


def _masked(tokenizer: Tokenizer, text: str, seed: int) -> tuple[Query, list[tuple[str, int]]]:
    """Returns a passage with masks, and of each masked word its small letters and the number of its pieces.

    A word has no pieces where the tokenizer does not cut at its edges.
    """
    spans = [(start, end) for start, end in split_words(text) if text[start:end].isalnum()]
    rng = np.random.default_rng([seed, zlib.crc32(text.encode())])
    number = min(len(spans), max(1, round(SHARE * len(spans))))
    chosen = sorted(rng.choice(len(spans), number, replace=False).tolist()) if spans else []
    ((ids, offsets),) = tokenizer.encode_offsets([text])
    row = [tokenizer.cls_id, *ids, tokenizer.sep_id]
    positions: list[int] = []
    words: list[tuple[str, int]] = []
    for start, end in (spans[index] for index in chosen):
        mine = [at for at, (first, last) in enumerate(offsets, 1) if first < end and last > start and first < last]
        whole = all(start <= offsets[at - 1][0] and offsets[at - 1][1] <= end for at in mine)
        mine = mine if whole and not set(mine) & set(positions) else []
        positions += mine
        words.append((" ".join(normalised(text[start:end])), len(mine)))
    targets = [row[at] for at in positions]
    for at in positions:
        row[at] = tokenizer.mask_id
    return Query(row, len(row), positions, targets), words


def _loss(flat: Sequence[tuple[int, str, float]]) -> Interval:
    """Returns the mean loss of words. Its interval is over passages, whose words depend on one another."""
    if not flat:
        return Interval(float("nan"), float("nan"), float("nan"), 0.95, "bca")
    numbers, places = np.unique([one[0] for one in flat], return_inverse=True)
    losses = np.array([one[2] for one in flat], np.float64)
    table = np.stack([np.bincount(places, losses), np.bincount(places).astype(np.float64)], axis=1)
    sums = Sums(np.arange(len(numbers)), table, {"loss": lambda sums, _: sums[..., 0] / np.maximum(sums[..., 1], 1)})
    return intervals(sums)["loss"]


def _figures(flat: Sequence[tuple[int, str, float]]) -> dict[str, Any]:
    return {"words": len(flat), "word_loss": _loss(flat).to_json()}


KIND = MaskedWords()
