"""Decides which documents are held out for validation."""

from __future__ import annotations

import itertools
import pickle
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace

from jaxbert.data.hygiene import Content
from jaxbert.data.sources.base import MAX_DOCUMENT_BYTES, Document, Source
from jaxbert.stores.files import full_disk
from jaxbert.text.sentences import split_sentences

# Where the hash holds out fewer than two documents, whole documents up to this length take their place.
_SMALL_CHARS = 64 << 10
# The end of a document is held out only if this share of the text, or the share asked for, is enough.
_MOST = 0.1
# The parts of a document wait until its last one has come: in memory up to so many bytes, then in a temporary file.
_WAITING_BYTES = 32 << 20


def drawn(documents: Iterable[Document], validation_fraction: float) -> Iterator[Document]:
    """Yields the documents, each with the digest of its text and its split: the source's choice, or one by that digest.

    Copies that differ only in white space, case or Unicode form have the same digest and split. All parts of a document
    that is longer than `MAX_DOCUMENT_BYTES` have those of the whole, wherever it is cut. A document whose normalised
    text is longer than that is train, because one such document could be most of the validation split.

    `prepare_records` follows it, except for sources so small that the hash holds out fewer than two documents: see
    `hold_out_end`. A vocabulary is trained only on documents that are "train" here.

    Args:
      documents: the documents as a source gives them.
      validation_fraction: the share of documents held out, in [0, 1).

    Raises:
      Interrupted: the disk of temporary files is full.
    """
    number = 0

    def number_of(document: Document) -> int:
        nonlocal number
        number += document.part <= 1
        return number

    for _, group in itertools.groupby(documents, number_of):
        yield from _drawn_whole(group, validation_fraction)


def _drawn_whole(parts: Iterator[Document], validation_fraction: float) -> Iterator[Document]:
    first = next(parts)
    if not first.part:
        yield _drawn(first, Content(first.text), validation_fraction)
        return
    content, count = Content(), 0
    folder = tempfile.gettempdir()
    fix = "A long document waits there until it is read. Free some space, or set TMPDIR to a folder that has it."
    with tempfile.SpooledTemporaryFile(max_size=_WAITING_BYTES) as waiting:
        for part in itertools.chain([first], parts):
            content.add(part.text)
            with full_disk(folder, fix):
                pickle.dump(part, waiting)
            count += 1
        with full_disk(folder, fix):
            waiting.seek(0)
        for _ in range(count):
            yield _drawn(pickle.load(waiting), content, validation_fraction)


def _drawn(document: Document, content: Content, validation_fraction: float) -> Document:
    split = document.split
    if split is None:
        # The first half of the digest finds duplicates. The other half is independent of it.
        held_out = int.from_bytes(content.digest[8:], "little") < int(validation_fraction * 2**64)
        split = "validation" if held_out and content.chars <= MAX_DOCUMENT_BYTES else "train"
    return replace(document, digest=content.digest, split=split)


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
