"""`cloze`: the share of masks whose likeliest piece is the right one, and of those with it among the likeliest five."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxbert.core.metrics import Metric
from jaxbert.errors import InputError
from jaxbert.evaluate.suite.base import Kind, Outcome, Setting, Task, renamed
from jaxbert.inputs.values import Maybe, short
from jaxbert.labelled.tables import open_records
from jaxbert.scores import intervals
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.library import Loaded
from jaxbert.use.predict import fill_mask

# The mask in a suite's files. It stands for the mask of whatever model answers.
MASK = "[MASK]"
_BEST = 5
# In the place of the id of an answer: it is several pieces; the model does not know it.
_SEVERAL, _UNKNOWN = -1, -2


@dataclass(frozen=True)
class Cloze:
    """A text with one mask.

    Attributes:
      place: file and line.
      text: it has `MASK` once.
      answer: the word for the mask.
    """

    place: str
    text: str
    answer: str


class ClozeTest(Kind[Cloze]):
    """Records with a text and an answer. An answer that is not one piece of a model is never right, and is counted.

    Options: text and answer, the names of the fields, by default "text" and "answer".
    """

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("accuracy_1", "right at once", "acc@1", note="Share of masks whose likeliest piece is the answer."),
        Metric("accuracy_5", "right among five", "acc@5", note="Share of masks with the answer in the likeliest five."),
    )
    options: ClassVar[Mapping[str, Any]] = {"text": Maybe(str), "answer": Maybe(str)}
    heads: ClassVar[tuple[str, ...]] = ("masked_lm",)

    def read(self, task: Task) -> list[Cloze]:
        """See `Kind`."""
        names = [task.options.get(name) or name for name in ("text", "answer")]
        found = []
        for file in task.files:
            for place, record in open_records(file, split="validation", wanted=names).read():
                text, answer = (record.get(name) for name in names)
                if not isinstance(text, str) or text.count(MASK) != 1 or not isinstance(answer, str) or not answer:
                    raise InputError(
                        f"a record needs a text with one {MASK} in {names[0]!r} and a word in {names[1]!r}, and has "
                        f"{short(text)} and {short(answer)}",
                        where=place,
                        fix="Mend the record, or name the fields with the options text and answer.",
                        code="E-SUITE-ITEM",
                    )
                found.append(Cloze(place, text, answer))
        return found

    def texts(self, item: Cloze) -> Sequence[str]:
        """See `Kind`."""
        return (item.text.replace(MASK, item.answer),)

    def place(self, item: Cloze) -> str:
        """See `Kind`."""
        return item.place

    def check(self, model: Loaded, items: Sequence[Cloze], task: Task) -> None:
        """See `Kind`."""
        tokenizer = model.require_tokenizer()
        # `fill_mask` says the same about the first text that is too long, after it has filled others.
        for item in items:
            tokens = len(model.ids(_masked(item, tokenizer))) + 2
            if tokens > model.config.longest_row:
                raise InputError(
                    f"the text has {tokens} tokens, but the model takes {model.config.longest_row}",
                    where=item.place,
                    fix="Shorten the text.",
                    code="E-SUITE-ITEM",
                )

    def answer(
        self, model: Loaded, items: Sequence[Cloze], task: Task, setting: Setting
    ) -> Sequence[tuple[int, int, int]]:
        """Returns of each item: whether the answer is first, whether it is among five, and its id; see `_piece`."""
        tokenizer = model.require_tokenizer()
        texts = [_masked(item, tokenizer) for item in items]
        filled = fill_mask(model, texts, top=_BEST, batch_tokens=setting.batch_tokens)
        found = []
        for item, text, one in zip(items, texts, filled, strict=True):
            right = _piece(item, text, tokenizer)
            ids = [candidate.id for candidate in one.candidates]
            found.append((int(ids[0] == right), int(right in ids), right))
        return found

    def score(
        self, task: Task, items: Sequence[Cloze], answers: Sequence[tuple[int, int, int]], setting: Setting
    ) -> Outcome:
        """See `Kind`."""
        sums = intervals.of_means({"first": [one[0] for one in answers], "five": [one[1] for one in answers]})
        values = renamed(intervals.intervals(sums), {"first": "accuracy_1", "five": "accuracy_5"})
        several, unknown = (sum(one[2] == sign for one in answers) for sign in (_SEVERAL, _UNKNOWN))
        notes = [
            f"{count:,} of {len(answers):,} answers are {what} for this model, which are never right."
            for count, what in ((several, "several pieces"), (unknown, "unknown words"))
            if count
        ]
        return Outcome(values, {"answers_of_several_pieces": several, "unknown_answers": unknown}, notes)


def _masked(item: Cloze, tokenizer: Tokenizer) -> str:
    return item.text.replace(MASK, tokenizer.token(tokenizer.mask_id))


def _piece(item: Cloze, masked: str, tokenizer: Tokenizer) -> int:
    """Returns the id of the answer where it is one piece in the place of the mask; else `_SEVERAL` or `_UNKNOWN`."""
    before, after = (
        tokenizer.encode(text, special_tokens=True) for text in (masked, item.text.replace(MASK, item.answer))
    )
    if len(before) != len(after):
        return _SEVERAL
    at = before.index(tokenizer.mask_id)
    same = before[:at] == after[:at] and before[at + 1 :] == after[at + 1 :]
    if after[at] == tokenizer.unk_id:
        return _UNKNOWN
    return after[at] if same else _SEVERAL


KIND = ClozeTest()
