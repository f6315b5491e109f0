"""Tags of words, and spans of words: BIO, IOB1 and IOBES.

All three write an entity as a run of words. In BIO every entity begins with B-TYPE. In IOB1 an entity begins with
I-TYPE, and with B-TYPE only where it follows another one of its type. In IOBES (BILOU) the last word is E-TYPE
(L-TYPE), and an entity of one word is S-TYPE (U-TYPE). `spans` reads all of them by one rule, that of conlleval (Tjong
Kim Sang and Buchholz 2000): an entity begins at B and S, and where its type was not the type of the word before. So a
tag I-TYPE without a B-TYPE before it begins an entity too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jaxbert.errors import InputError, counted

_log = logging.getLogger(__name__)

OUTSIDE = "O"
_TAG = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
# Tags of one kind of entity, which has no name.
_BARE = frozenset("BIO")


class Span(NamedTuple):
    """An entity.

    Attributes:
      label: its type.
      first: the number of its first word.
      end: the number of the word behind its last one.
    """

    label: str
    first: int
    end: int


def parts(tag: str) -> tuple[str, str] | None:
    """Returns (letter, type) of a tag such as B-LOC; ("O", "") outside; None for a tag of another kind."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if tag in _BARE:
        return tag, ""
    found = _TAG.fullmatch(tag)
    return (found[1], found[2]) if found else None


def are_spans(labels: Iterable[str]) -> bool:
    """Returns whether tags mark spans of words. Otherwise each word has a label, such as a part of speech."""
    marks = {label for label in labels if label != OUTSIDE}
    return bool(marks) and all(parts(label) is not None for label in marks)


def spans(tags: Sequence[str]) -> list[Span]:
    """Returns the entities of a text, in order, by the rule of this module.

    Args:
      tags: a tag for each word, in any of the schemes.
    """
    found: list[Span] = []
    begin, current = 0, None  # the open entity's first word and type
    for index, tag in enumerate(tags):
        letter, label = parts(tag) or (OUTSIDE, "")
        if current is not None and (letter in "OBSU" or label != current):
            found.append(Span(current, begin, index))
            current = None
        if letter != OUTSIDE and current is None:
            begin, current = index, label
        if letter in "ESLU":
            assert current is not None
            found.append(Span(current, begin, index + 1))
            current = None
    if current is not None:
        found.append(Span(current, begin, len(tags)))
    return found


def to_bio(found: Iterable[Span], words: int) -> tuple[str, ...]:
    """Returns the tags of a text in BIO.

    Args:
      found: the entities, without overlap.
      words: the number of words.
    """
    tags = [OUTSIDE] * words
    for label, first, end in found:
        ending = f"-{label}" if label else ""
        tags[first:end] = [f"B{ending}", *[f"I{ending}"] * (end - first - 1)]
    return tuple(tags)


@dataclass
class Scheme:
    """Finds the scheme of the tags of a file while it is read, and turns them into BIO.

    Attributes:
      where: the name of the file.
      found: how often each sign of a scheme was seen.
    """

    where: str
    found: dict[str, int] = field(default_factory=dict)
    _first: dict[str, str] = field(default_factory=dict)

    def bio(self, tags: Sequence[str], place: str) -> tuple[str, ...]:
        """Returns the tags of a text as BIO. Tags that mark no spans stay as they are.

        Args:
          tags: a tag for each word.
          place: the place of the text.

        Raises:
          InputError: some tags of the file mark spans, and others do not.
        """
        before, inside = OUTSIDE, ""  # the letter and the type of the word before
        plain = False
        for tag in tags:
            one = parts(tag)
            if one is None:
                plain = True
                self._see("plain", place, tag)
                before, inside = OUTSIDE, ""
                continue
            letter, label = one
            if letter != OUTSIDE:
                self._see("spans", place, tag)
            follows = before in "BI" and label == inside
            if letter in "ESLU":
                self._see("ends", place)
            if letter in "IEL" and not follows:
                self._see("joined" if before in "BI" else "begun", place)
            if letter == "B":
                self._see("apart" if before in "BIESLU" and label == inside else "b", place)
            before, inside = letter, label
        if "plain" in self.found and "spans" in self.found:
            raise InputError(
                f"the tag {self._first['plain tag']!r} marks no span, but {self._first['spans tag']!r} does",
                where=place,
                fix="Give tags of one kind: O, B-TYPE and I-TYPE for spans, or a label for each word.",
                code="E-LABELLED-TAGS",
            )
        return tuple(tags) if plain else to_bio(spans(tags), len(tags))

    def _see(self, sign: str, place: str, tag: str = "") -> None:
        if sign not in self.found:
            self._first[sign], self._first[f"{sign} tag"] = place, tag
        self.found[sign] = self.found.get(sign, 0) + 1

    @property
    def name(self) -> str:
        """Returns the scheme of the tags that were seen; "" where they mark no spans."""
        if "spans" not in self.found:
            return ""
        if "ends" in self.found:
            return "IOBES"
        begun = "begun" in self.found or "joined" in self.found
        return "IOB1" if begun and "b" not in self.found else "BIO"

    def report(self) -> None:
        """Logs the scheme, and warns of entities that do not begin as the scheme says."""
        scheme = self.name
        if not scheme:
            return
        _log.info(f"{self.where}: the tags are {scheme}" + ("" if scheme == "BIO" else "; they become BIO"))
        odd = self.found.get("begun", 0) + self.found.get("joined", 0)
        if odd and scheme != "IOB1":
            first = next(place for sign, place in self._first.items() if sign in ("begun", "joined"))
            _log.warning(
                f"{self.where}: {counted(odd, 'entity', 'entities')} of the tags {scheme} begin without B "
                f"(first in {first}); they count as entities, as in conlleval"
            )
