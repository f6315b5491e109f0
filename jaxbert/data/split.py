"""Decides which documents are held out for validation."""

from __future__ import annotations

import itertools
import pickle
import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

import numpy as np

from jaxbert.data.hygiene import Content
from jaxbert.data.sources.base import MAX_DOCUMENT_BYTES, Document, Source, is_blank, whole_letters
from jaxbert.errors import counted
from jaxbert.stores.files import full_disk
from jaxbert.text.sentences import split_sentences

# Where the hash holds out fewer than two documents, whole documents up to this length take their place.
_SMALL_CHARS = 64 << 10
# The end of a document is held out only if this share of the text, or the share asked for, is enough.
_MOST = 0.1
# The parts of a document wait until its last one has come: in memory up to so many bytes, then in a temporary file.
_WAITING_BYTES = 32 << 20
# A source of at most so many documents is held out in blocks if it has at least so many characters, and documents that
# are too long to be held out have at least half of them: a book, or a shelf of books. A block has a few rows of 512
# tokens, so that most of its text has no neighbour in train.
_FEW, _LONG_CHARS, _BLOCK_CHARS = 20, 64 << 10, 4000
# At least so much is held out of a short one, up to `_MOST` of it: about 8,000 tokens, of which 1,200 are masked.
_LEAST_HELD_CHARS = 32 << 10
# The ends of a block, the best first: of a paragraph, of a line, of a sentence, of a word.
_ENDS = [re.compile(end) for end in (r"[.!?:…。！？।][\"'”’»)\]]*\n+", r"\n+", r"[.!?…]\s+|[。！？।]", r"\s+")]  # noqa: RUF001


class Split:
    """The split of one source: which documents, or which blocks of its few long documents, are held out.

    Attributes:
      blocks: the number of blocks that are held out, where the source is a few long documents; else 0.
    """

    def __init__(self, validation_fraction: float):
        self.fraction = validation_fraction
        self.blocks = 0
        self._names: list[str] = []
        self._held = self._chars = 0

    def drawn(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yields the documents with their splits; see the function `drawn`."""
        number = 0

        def number_of(document: Document) -> int:
            nonlocal number
            number += document.part <= 1
            return number

        groups = (group for _, group in itertools.groupby(documents, number_of))
        with ExitStack() as stack:
            first = []
            for group in groups:
                first.append(stack.enter_context(_Waiting(group)))
                if len(first) > _FEW:
                    break
            if len(first) <= _FEW and self._are_long(first):
                yield from self._in_blocks(first)
            else:
                for waiting in first:
                    yield from (_drawn(part, waiting.content, self.fraction) for part in waiting)
        for group in groups:
            with _Waiting(group) as waiting:
                yield from (_drawn(part, waiting.content, self.fraction) for part in waiting)

    def _are_long(self, documents: Sequence[_Waiting]) -> bool:
        """Returns whether the documents of a source are so few and long that blocks of them are held out."""
        chars = sum(one.chars for one in documents)
        if self.fraction <= 0 or chars < _LONG_CHARS or any(one.split is not None for one in documents):
            return False
        if sum(_is_held_out(one.content, self.fraction) for one in documents) > 1:
            return False
        longest = max(_SMALL_CHARS, int(self.fraction * chars))
        return 2 * sum(one.chars for one in documents if one.chars >= longest) >= chars

    def _in_blocks(self, documents: Sequence[_Waiting]) -> Iterator[Document]:
        """Yields the parts of a source's few documents, of which blocks are held out, by the hash of their text.

        Blocks of a document that follow one another on the same side are one part.
        """
        hashes, sizes = array("Q"), array("Q")
        for part in itertools.chain.from_iterable(documents):
            for start, end in blocks(part.text):
                hashes.append(int.from_bytes(Content(part.text[start:end]).digest[8:], "little"))
                sizes.append(end - start)
        held = _chosen(np.array(hashes, np.uint64), np.array(sizes, np.int64), self.fraction)
        self._names, self.blocks = [one.name for one in documents], int(held.sum())
        self._held = int(np.array(sizes, np.int64)[held].sum())
        self._chars = sum(one.chars for one in documents)
        sides = iter(held.tolist())
        for one in documents:
            number = 0
            for part in one:
                found = [(next(sides), start, end) for start, end in blocks(part.text)]
                if len(found) == 1 and not part.part:
                    yield replace(part, split="validation" if found[0][0] else "train", digest=one.content.digest)
                    continue
                for side, run in itertools.groupby(found, lambda block: block[0]):
                    places = [(start, end) for _, start, end in run]
                    text = part.text[places[0][0] : places[-1][1]].strip("\n ")
                    if not is_blank(text):
                        number += 1
                        split = "validation" if side else "train"
                        yield Document(f"{one.name}/{number}", text, split, number, one.content.digest)

    def said(self) -> str:
        """Returns a line about the blocks that are held out."""
        place, why = f"the {len(self._names)} documents", "they are too few and too long to hold out a whole one"
        if len(self._names) == 1:
            place, why = f"the document {self._names[0]}", "there is no other document to hold out"
        held = f"{counted(self.blocks, 'block')} of about {_BLOCK_CHARS:,} characters"
        share = f"{self._held / self._chars:.1%} of the text"
        return f"validation is {held} from all over {place}, {share}: {why}, and train has the rest of it"


def drawn(documents: Iterable[Document], validation_fraction: float) -> Iterator[Document]:
    """Yields the documents, each with the digest of its text and its split: the source's choice, or one by that digest.

    Copies that differ only in white space, case or Unicode form have the same digest and split. All parts of a document
    that is longer than `MAX_DOCUMENT_BYTES` have those of the whole, wherever it is cut. A document whose normalised
    text is longer than that is train, because one such document could be most of the validation split.

    If the source is a few long documents, of which the hash holds out fewer than two, this function divides them:
    blocks of consecutive paragraphs, of about `_BLOCK_CHARS` characters, are held out by the hash of their text. They
    come from all over the documents, and are long enough that most of their text has no neighbour in train.

    `prepare_records` follows it, except for sources so small that the hash holds out fewer than two documents: see
    `hold_out_end`. A vocabulary is trained only on documents that are "train" here.

    Args:
      documents: the documents as a source gives them.
      validation_fraction: the share of documents held out, in [0, 1).

    Raises:
      Interrupted: the disk of temporary files is full.
    """
    return Split(validation_fraction).drawn(documents)


class _Waiting:
    """A whole document that waits until its last part is read: in memory, or if it is long, in a temporary file.

    Iterate over it to get its parts, as often as needed.

    Attributes:
      name: the name of the document, without the number of a part.
      split: the split that the source gives it.
      content: its digest and size.
      chars: the number of its characters.
    """

    def __init__(self, parts: Iterator[Document]):
        first = next(parts)
        self.name = first.name.rpartition("/")[0] if first.part and first.name.endswith("/1") else first.name
        self.split, self.content, self.chars = first.split, Content(), 0
        self._whole = None if first.part else first
        self._count = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=_WAITING_BYTES) if first.part else None  # noqa: SIM115
        for part in itertools.chain([first], parts):
            self.content.add(part.text)
            self.chars += len(part.text)
            if self._file is not None:
                with self._full_disk():
                    pickle.dump(part, self._file)
                self._count += 1

    def _full_disk(self) -> AbstractContextManager[None]:
        fix = "A long document waits there until it is read. Free some space, or set TMPDIR to a folder that has it."
        return full_disk(tempfile.gettempdir(), fix)

    def __enter__(self) -> _Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __iter__(self) -> Iterator[Document]:
        if self._file is None:
            assert self._whole is not None
            yield self._whole
            return
        with self._full_disk():
            self._file.seek(0)
        for _ in range(self._count):
            yield pickle.load(self._file)


def blocks(text: str) -> Iterator[tuple[int, int]]:
    """Yields (start, end) of blocks of about `_BLOCK_CHARS` characters, which together are the text.

    A block ends at the end of a paragraph where there is one near, or else at the end of a line, of a sentence or of a
    word.
    """
    start = 0
    while len(text) - start > _BLOCK_CHARS * 3 // 2:
        near, far = start + _BLOCK_CHARS, min(start + 2 * _BLOCK_CHARS, len(text))
        found = next((match for end in _ENDS if (match := end.search(text, near, far))), None)
        end = found.end() if found else whole_letters(text, start, near)
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)


def _chosen(hashes: np.ndarray, sizes: np.ndarray, fraction: float) -> np.ndarray:
    """Returns bool [n], the blocks that are held out: those of the smallest hashes. Equal blocks are on one side.

    Args:
      hashes: uint64 [n], the hash of each block's text.
      sizes: int64 [n], characters.
      fraction: the share asked for. Of a short text, more is held out, so that the validation figures mean something.
    """
    chars = int(sizes.sum())
    wanted = max(fraction * chars, min(_LEAST_HELD_CHARS, _MOST * chars))
    order = np.argsort(hashes, kind="stable")
    count = int(np.searchsorted(np.cumsum(sizes[order]), wanted - _BLOCK_CHARS / 2, side="left")) + 1
    count = min(count, len(sizes) - 1)
    held: np.ndarray = hashes <= hashes[order[count - 1]]
    if held.sum() > 2 * count:  # The text repeats itself. The judgement of the corpus says so.
        held = np.zeros(len(sizes), bool)
        held[order[:count]] = True
    return held


def _drawn(document: Document, content: Content, validation_fraction: float) -> Document:
    split = document.split
    if split is None:
        split = "validation" if _is_held_out(content, validation_fraction) else "train"
    return replace(document, digest=content.digest, split=split)


def _is_held_out(content: Content, validation_fraction: float) -> bool:
    """Returns whether the hash holds out a document with this content."""
    # The first half of the digest finds duplicates. The other half is independent of it.
    drawn = int.from_bytes(content.digest[8:], "little") < int(validation_fraction * 2**64)
    return drawn and content.chars <= MAX_DOCUMENT_BYTES


def train_texts(source: Source, validation_fraction: float) -> Iterator[str]:
    """Yields the texts that a vocabulary may learn from: those of the documents that `drawn` gives to train.

    If a source is so small that all its documents would be held out, this function yields all texts: `hold_out_end`
    gives some of them to train.
    """
    none = True
    for document in drawn(source.documents(), validation_fraction):
        if document.split == "train":
            none = False
            yield document.text
    if none:
        yield from (document.text for document in source.documents() if document.split is None)


def uneven(held: int, chars: int, fraction: float) -> str:
    """Returns a line with validation's share of the text, where that is far more than was asked for; else "".

    A hash draws documents, so one long document may be most of validation, and validation most of the text.

    Args:
      held: the number of characters in validation.
      chars: the number of characters in both splits.
      fraction: the share that was asked for.
    """
    if held <= max(_MOST, 2 * fraction) * chars:
        return ""
    return (
        f"validation has {held / chars:.0%} of the text, where {fraction:.2g} was asked for: there are few documents, "
        "or long ones among those held out"
    )


def hold_out_end(
    train: list[Document], earlier: int, validation: list[Document], *, chars: int, fraction: float, language: str
) -> str:
    """Moves text between train and validation, for a source of which the hash holds out all or hardly any documents.

    If the hash held out all, the first one goes back to train. If it held out fewer than two, this function moves whole
    documents until validation has two, as long as they are short and train keeps two. If that gives none, it divides
    the last document: its last lines, or its last sentences if it has one line, are about the share asked for.

    Args:
      train: the last documents of train, in order. This function takes from its end.
      earlier: the number of documents of train before these.
      validation: the documents held out so far, all of them. This function adds to them.
      chars: the number of characters in both splits.
      fraction: the share to hold out.
      language: ISO 639 code for the sentence splitter.

    Returns:
      A line that says what was held out, where it is not what was asked for; else "".
    """
    if not train and not earlier:
        train.append(validation.pop(0))
        while validation and validation[0].part > 1:
            train.append(validation.pop(0))
    if len(validation) > 1:
        return uneven(sum(len(document.text) for document in validation), chars, fraction)
    longest = max(_SMALL_CHARS, int(fraction * chars))
    while len(validation) < 2 < len(train) + earlier and len(train) > 1:
        if train[-1].part or len(train[-1].text) > longest:
            break
        validation.append(train.pop())
    if validation:
        return uneven(sum(len(document.text) for document in validation), chars, fraction)
    last = train[-1]
    joint = "\n" if "\n" in last.text else " "
    units = last.text.split("\n") if joint == "\n" else split_sentences(last.text, language)
    size = count = 0
    while count < len(units) - 1 and size < max(1, fraction * chars):
        count += 1
        size += len(units[-count]) + len(joint)
    if not count or size > max(_MOST, fraction) * chars:
        return ""
    train[-1] = replace(last, text=joint.join(units[:-count]))
    validation.append(Document(f"{last.name} (end)", joint.join(units[-count:]), "validation"))
    return (
        f"validation is the end of the document {last.name}, {size / chars:.1%} of the text: there are too few "
        "documents to hold out a whole one, and train has the rest of it"
    )
