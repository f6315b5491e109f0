"""Checks of a corpus before training: repeats, broken encodings, other languages, text without sentences.

Most reports of "my BERT does not learn" trace to data. The one reader finds repeats, which need the whole corpus, in
bounded memory. The workers count everything that needs only one document.
"""

from __future__ import annotations

import hashlib
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from jaxbert.data.sources.base import IGNORABLE, Document, Source, is_blank
from jaxbert.errors import counted
from jaxbert.text.wrapped import is_wrapped

# Shorter lines (headings, "Yes.") naturally repeat.
MIN_LINE_CHARS = 20
# Slots of the tables of hashes, 8 bytes each. Half of them are used: 16.8M documents and 8.4M lines.
_DOCUMENT_SLOTS = 1 << 25
_LINE_SLOTS = 1 << 24
# The lines of validation that are compared with train: half of so many.
_HELD_SLOTS = 1 << 21
# The number of documents checked together, so that numpy works on whole arrays.
_BATCH_DOCUMENTS, _BATCH_CHARS = 512, 1 << 20
# Characters without width, and white space that NFKC does not make ASCII.
_UNSEEN = re.compile(f"[{IGNORABLE}\x85\u1680\u2028\u2029]")
_ASCII = bytes(range(128))
_CONTINUING = bytes(range(0x80, 0xC0))
_ASCII_SPACE = bytes(code for code in range(128) if chr(code).isspace())
_SMALL_LETTERS = bytes(code + 32 if chr(code) in string.ascii_uppercase else code for code in range(256))
# The number of names given as examples of a finding.
_EXAMPLES = 3


class HashSet:
    """A set of 64-bit hashes of bounded size, in a numpy table with open addressing. Hashes are added in batches.

    Attributes:
      full: whether the bound is reached. New hashes are then no longer kept.
    """

    def __init__(self, max_slots: int):
        """Makes an empty set. `max_slots` is a power of two, at least 1024."""
        self._max_slots = max_slots
        self._table = np.zeros(1024, np.uint64)
        self._count = 0
        self.full = False

    def __len__(self) -> int:
        return self._count

    def add(self, hashes: np.ndarray) -> np.ndarray:
        """Adds hashes uint64 [n]; returns bool [n], whether each was there before, or earlier in the batch."""
        wanted, first = np.unique(np.maximum(hashes, np.uint64(1)), return_index=True)
        while (self._count + len(wanted)) * 2 > len(self._table) and len(self._table) < self._max_slots:
            old = self._table[self._table != 0]
            self._table = np.zeros(len(self._table) * 2, np.uint64)
            self._insert(old, keep=True)
        self.full = self.full or (self._count + len(wanted)) * 2 > len(self._table)
        present = self._insert(wanted, keep=not self.full)
        self._count += 0 if self.full else int((~present).sum())
        seen = np.ones(len(hashes), bool)
        seen[first] = present
        return seen

    def contains(self, hashes: np.ndarray) -> np.ndarray:
        """Returns bool [n]: which of the hashes uint64 [n] are there."""
        wanted, back = np.unique(np.maximum(hashes, np.uint64(1)), return_inverse=True)
        return self._insert(wanted, keep=False)[back]

    def _insert(self, hashes: np.ndarray, *, keep: bool) -> np.ndarray:
        """Returns which of the distinct `hashes` are in the table, and adds the others if `keep`."""
        mask = np.uint64(len(self._table) - 1)
        present = np.zeros(len(hashes), bool)
        left = np.arange(len(hashes))
        place = hashes & mask
        while len(left):
            at, mine = place[left], hashes[left]
            there = self._table[at]
            present[left[there == mine]] = True
            empty = there == 0
            if keep:
                # If several hashes want one slot, the last one gets it, and the others go on.
                self._table[at[empty]] = mine[empty]
                there = self._table[at]
                settled = there == mine
            else:
                settled = empty | (there == mine)
            left = left[~settled]
            place[left] = (place[left] + np.uint64(1)) & mask
        return present


def _hashes(texts: Sequence[str]) -> np.ndarray:
    """Returns uint64 [n]: the blake2b of each text, 8 bytes long."""
    digests = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(digests), "<u8")


def normalised(text: str) -> bytes:
    """Returns what copies of a text share, in UTF-8: letters are small, compatible characters are one (Unicode's NFKC),
    and white space and characters without width are gone.

    The parts of a text that is cut at white space, or by `whole_letters`, together give what the text gives.
    """
    if not text.isascii():
        # The search is slow, and most letters of most texts are ASCII.
        others = text.encode("utf-8", "surrogatepass").translate(None, _ASCII).decode("utf-8", "surrogatepass")
        if _UNSEEN.search(others):
            text = _UNSEEN.sub("", text)
        text = text if unicodedata.is_normalized("NFKC", text) else unicodedata.normalize("NFKC", text)
        text = text.casefold()
        text = text if unicodedata.is_normalized("NFKC", text) else unicodedata.normalize("NFKC", text)
    return text.encode("utf-8", "surrogatepass").translate(_SMALL_LETTERS, _ASCII_SPACE)


class Content:
    """The content of a document, as far as copies share it: a digest of its normalised text, and its size.

    Attributes:
      chars: the number of characters of the normalised text.
    """

    def __init__(self, text: str = ""):
        self._hash = hashlib.blake2b(digest_size=16)
        self.chars = 0
        self.add(text)

    def add(self, text: str) -> None:
        """Adds the next part of the text."""
        data = normalised(text)
        self._hash.update(data)
        # Each character has one byte that does not continue another.
        self.chars += len(data) if data.isascii() else len(data.translate(None, _CONTINUING))

    @property
    def digest(self) -> bytes:
        """Returns 16 bytes that depend only on the normalised text. Each half is a hash by itself."""
        return self._hash.digest()


def _first_halves(batch: Sequence[Document]) -> np.ndarray:
    """Returns uint64 [n]: the first half of each document's digest."""
    digests = [document.digest or Content(document.text).digest for document in batch]
    return np.frombuffer(b"".join(digests), "<u8")[::2]


class Repeats:
    """Finds, and optionally removes, duplicates of documents and lines in a stream.

    Documents are duplicates if their normalised texts are equal; lines, if they are equal but for white space at their
    ends. A document that comes in parts is one document: each part carries the digest of the whole.

    Attributes:
      documents: the number of documents that occurred before.
      lines: the number of lines of at least `MIN_LINE_CHARS` characters that occurred before.
      line_chars: the number of characters in such lines.
      chars: the number of characters in all documents that were kept.
      examples: the names of the first few duplicate documents.
      whole: the number of documents that were kept, where all parts of a long one count as one.
    """

    def __init__(self, *, remove_documents: bool, remove_lines: bool):
        self.remove_documents, self.remove_lines = remove_documents, remove_lines
        self.documents = self.lines = self.line_chars = self.chars = self.whole = 0
        self.examples: list[str] = []
        self._seen_documents, self._seen_lines = HashSet(_DOCUMENT_SLOTS), HashSet(_LINE_SLOTS)
        self._held = HeldLines()
        self._again = False  # whether the last document occurred before

    def filter(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yields the documents, in order, without the duplicates that are to be removed."""
        batch: list[Document] = []
        chars = 0
        for document in documents:
            batch.append(document)
            chars += len(document.text)
            if len(batch) >= _BATCH_DOCUMENTS or chars >= _BATCH_CHARS:
                yield from self._filter(batch)
                batch, chars = [], 0
        yield from self._filter(batch)

    def _filter(self, batch: list[Document]) -> Iterator[Document]:
        if not batch:
            return
        whole = [document for document in batch if document.part <= 1]
        found = self._seen_documents.add(_first_halves(whole))
        self.documents += int(found.sum())
        names = [document.name for document, repeated in zip(whole, found, strict=True) if repeated]
        self.examples += names[: _EXAMPLES - len(self.examples)]
        first = iter(found.tolist())
        seen = []
        for document in batch:
            self._again = next(first) if document.part <= 1 else self._again
            seen.append(self._again)
        if self.remove_documents:
            batch = [document for document, repeated in zip(batch, seen, strict=True) if not repeated]
        lines = [document.text.split("\n") for document in batch]
        long, held = [], []
        for document, part in zip(batch, lines, strict=True):
            found_long = [line for line in map(str.strip, part) if len(line) >= MIN_LINE_CHARS]
            long += found_long
            held += [document.split == "validation"] * len(found_long)
        hashes = _hashes(long)
        known = self._seen_lines.add(hashes)
        self._held.add(hashes, known, np.array(held, bool), np.array([len(line) for line in long], np.int64))
        repeats = iter(known.tolist())
        for document, part in zip(batch, lines, strict=True):
            self.whole += document.part <= 1
            kept = [
                line for line in part if len(line.strip()) < MIN_LINE_CHARS or not self._repeated(line, next(repeats))
            ]
            self.chars += len(document.text)
            if self.remove_lines and len(kept) < len(part):
                document = replace(document, text="\n".join(kept))
            if not is_blank(document.text):
                yield document

    def _repeated(self, line: str, repeated: bool) -> bool:
        self.lines += repeated
        self.line_chars += len(line) * repeated
        return repeated

    @property
    def held_in_train(self) -> float | None:
        """Returns the share of validation's long lines, in characters, that occur in train too; None without any."""
        return self._held.share()

    def findings(self) -> list[str]:
        """Returns one line for each finding."""
        findings = []
        if self.documents:
            done = "removed" if self.remove_documents else "kept, as asked for"
            of = f", compared with the first {len(self._seen_documents):,}" if self._seen_documents.full else ""
            findings.append(
                f"{counted(self.documents, 'duplicate')} of documents, equal but for white space, case and Unicode "
                f"form{of}, for example {', '.join(self.examples)} ({done})"
            )
        if self.lines:
            done = "removed" if self.remove_lines else "kept: remove them with --remove-repeated-lines"
            of = f", compared with the first {len(self._seen_lines):,} different lines" if self._seen_lines.full else ""
            share = self.line_chars / max(1, self.chars)
            findings.append(f"{counted(self.lines, 'repeated line')}, {share:.1%} of the text{of} ({done})")
        return findings


class HeldLines:
    """Finds out how much of the validation split occurs in train, line by line.

    A line of validation is in train if an earlier line of train, or a later one, is equal to it. The lines of train are
    those of a table of all lines, so that only the few lines of validation need more memory.
    """

    def __init__(self) -> None:
        self._held, self._in_train = HashSet(_HELD_SLOTS), HashSet(_HELD_SLOTS)
        self._hashes: list[np.ndarray] = []
        self._chars: list[np.ndarray] = []
        self._count = 0

    def add(self, hashes: np.ndarray, known: np.ndarray, held: np.ndarray, chars: np.ndarray) -> None:
        """Adds a batch of lines.

        Args:
          hashes: uint64 [n].
          known: bool [n], whether each line occurred before, in any split.
          held: bool [n], whether each line is in validation.
          chars: int64 [n], the length of each line.
        """
        if held.any() and self._count < _HELD_SLOTS // 2:
            mine = hashes[held]
            self._hashes.append(mine)
            self._chars.append(chars[held])
            # What occurred before, but not in validation, occurred in train.
            self._in_train.add(mine[known[held] & ~self._held.add(mine)])
            self._count += len(mine)
        train = hashes[~held]
        if len(self._held) and len(train):
            self._in_train.add(train[self._held.contains(train)])

    def share(self) -> float | None:
        """Returns the share of validation's lines, in characters, that are in train; None if it has no such line."""
        if not self._hashes:
            return None
        chars = np.concatenate(self._chars)
        return float(chars[self._in_train.contains(np.concatenate(self._hashes))].sum() / chars.sum())


# ----------------------------------------------------------------------------------------------------------------------
# One document

# The most common function words of a language, which fill its pages and are rare in other languages.
_FUNCTION_WORDS = {
    "da": "og i at det er en til af på for med den ikke som har de et der jeg",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an",
    "en": "the of and to in a is that for it was as with be by on not he his are this or at an from you",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más",
    "fi": "ja on ei se että hän oli en mutta kun ovat niin ole joka myös sen",
    "fr": "de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il",
    "it": "di e il la che in a per un è con non una del si da le sono dei al come più i",
    "nl": "de van het een en in is dat op te zijn met voor niet aan er om ook als dan maar",
    "no": "og i det er på en til som for av at med den har ikke de et om jeg var",
    "pl": "i w na z do się że nie to jest o jak a po co ale przez od za dla",
    "pt": "de a o que e do da em um para com não uma os no se na por mais as dos como mas",
    "ru": "и в не на я что он с как это по но все она так его за был от то",  # noqa: RUF001
    "sv": "och i att det som en på är av för med till den har inte de ett om var jag",
    "tr": "ve bir bu da de için ile çok gibi daha ne o ama olarak en kadar olan",
}
LANGUAGES = {language: frozenset(words.split()) for language, words in _FUNCTION_WORDS.items()}
_SAMPLE_CHARS = 4000
_MIN_WORDS = 50

# UTF-8 text gets these characters when it is read as Latin-1 or Windows-1252 and encoded again.
_MOJIBAKE = ("â€", "Ã©", "Ã¨", "Ã¼", "Ã¶", "Ã¤", "Ã±", "Ã§", "Ã\u00a0", "Â\u00a0", "Ð°", "Ð¾")
# With more tokens per sentence than this, on average, the text is probably not split into sentences.
_LONG_SENTENCE = 150
# From this share of unknown characters on, a vocabulary does not fit its text.
_UNKNOWN_SHARE = 0.01
# A model learns a shorter text by heart.
_FEW_TOKENS = 20_000


def guess_language(text: str, language: str) -> str:
    """Returns `language`, unless the function words of the text clearly belong to another of `LANGUAGES`.

    This is a rough test on the first 4000 characters. Texts of fewer than 50 words, and languages without a list, pass.
    """
    words = text[:_SAMPLE_CHARS].lower().split()
    declared = LANGUAGES.get(language.partition("-")[0])
    if len(words) < _MIN_WORDS or declared is None:
        return language
    shares = {name: sum(word in known for word in words) / len(words) for name, known in LANGUAGES.items()}
    best = max(shares, key=lambda name: (shares[name], name))
    own = shares[language.partition("-")[0]]
    return best if shares[best] >= 0.12 and shares[best] > 3 * own else language


@dataclass
class Counts:
    """Sums over documents. `asdict` and `Counts(**value)` convert them to JSON and back.

    Attributes:
      documents, sentences, chars, tokens: their numbers.
      words: the number of strings between white space.
      unknown: the number of tokens that are [UNK].
      unknown_chars: the number of characters that became [UNK].
      other: the number of documents for each kind of finding.
      examples: the names of the first few documents of each kind of finding.
    """

    documents: int = 0
    sentences: int = 0
    words: int = 0
    chars: int = 0
    tokens: int = 0
    unknown: int = 0
    unknown_chars: int = 0
    other: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        text: str,
        *,
        sentences: int,
        tokens: int,
        unknown: int,
        unknown_chars: int = 0,
        language: str,
        sentence_structure: bool,
    ) -> None:
        """Counts one document."""
        self.documents += 1
        self.sentences += sentences
        self.words += len(text.split())
        self.chars += len(text)
        self.tokens += tokens
        self.unknown += unknown
        self.unknown_chars += unknown_chars
        if "\ufffd" in text:
            self._note("replacement", name)
        if any(mark in text for mark in _MOJIBAKE):
            self._note("mojibake", name)
        guess = guess_language(text, language)
        if guess != language:
            self._note(f"language {guess}", name)
        if is_wrapped(text):
            self._note("wrapped", name)
        if tokens == 0:
            self._note("empty", name)
        elif sentence_structure and sentences < 2:
            self._note("single", name)
        elif sentence_structure and tokens > _LONG_SENTENCE * sentences:
            self._note("long", name)

    def _note(self, kind: str, name: str) -> None:
        self.other[kind] = self.other.get(kind, 0) + 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < _EXAMPLES:
            examples.append(name)

    def merge(self, more: Counts) -> None:
        """Adds the sums of later documents."""
        for name in ("documents", "sentences", "words", "chars", "tokens", "unknown", "unknown_chars"):
            setattr(self, name, getattr(self, name) + getattr(more, name))
        for kind, count in more.other.items():
            self.other[kind] = self.other.get(kind, 0) + count
            examples = self.examples.setdefault(kind, [])
            examples += more.examples[kind][: _EXAMPLES - len(examples)]

    def findings(self, language: str, unwrap: str = Source.unwrap) -> list[str]:
        """Returns one line for each finding. `unwrap` is the advice for wrapped lines, see `Source`."""
        texts = {
            "replacement": "U+FFFD (decoded wrongly before it came here)",
            "mojibake": "UTF-8 that was read as Latin-1 (convert it again from the original)",
            "empty": "no tokens",
            "single": "only one sentence, so next sentence prediction gets no pair from it "
            "(check the document boundaries)",
            "wrapped": "lines broken inside sentences, as in text of a fixed width, so each of these lines counts as a "
            f"sentence ({unwrap})",
            "long": f"more than {_LONG_SENTENCE} tokens a sentence (is it text with full stops and line breaks?)",
        }
        findings = []
        for kind in sorted(self.other):
            text = texts.get(kind) or f"text that looks like {kind.removeprefix('language ')}, not {language}"
            documents = counted(self.other[kind], "document")
            findings.append(f"{text}: {documents}, for example {', '.join(self.examples[kind])}")
        if self.unknown_chars > _UNKNOWN_SHARE * self.chars:
            findings.append(
                f"unknown: {self.unknown_chars / self.chars:.1%} of the characters became [UNK], and a model learns "
                "nothing from them (words of more than 100 characters and rare characters do in WordPiece: take a "
                "larger vocabulary, or --kind unigram or bpe)"
            )
        if 0 < self.tokens < _FEW_TOKENS:
            size = f"{counted(self.tokens, 'token')} in {counted(self.sentences, 'sentence')}"
            findings.append(
                f"little text: {size}. A model learns it by heart, and its accuracy says nothing about other text"
            )
        return findings


# ----------------------------------------------------------------------------------------------------------------------
# The corpus


@dataclass(frozen=True)
class Summary:
    """The result of `prepare_records`.

    Attributes:
      splits: {"train": Counts, "validation": Counts}.
      findings: lines that describe possible problems of the corpus.
      corpus: further figures, see `jaxbert.data.figures`; empty for records of an earlier version.
    """

    splits: dict[str, Counts]
    findings: list[str]
    corpus: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Returns lines to print."""
        lines = []
        for split, counts in self.splits.items():
            if counts.documents == 0:
                lines.append(f"{split}: no documents")
                continue
            lines.append(
                f"{split}: {counted(counts.documents, 'document')}, {counted(counts.sentences, 'sentence')}, "
                f"{counted(counts.words, 'word')}, {counted(counts.tokens, 'token')}; "
                f"{counts.tokens / max(1, counts.words):.2f} tokens a word, "
                f"{counts.tokens / max(1, counts.sentences):.1f} a sentence, "
                f"{counts.unknown / max(1, counts.tokens):.3%} unknown, "
                f"{counts.unknown_chars / max(1, counts.chars):.3%} of the characters"
            )
        return lines + [f"look at: {finding}" for finding in self.findings]

    def to_json(self) -> dict[str, Any]:
        """Returns the values for `--json` and the manifest."""
        splits = {name: asdict(counts) for name, counts in self.splits.items()}
        return {"splits": splits, "findings": self.findings, "corpus": self.corpus}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Summary:
        """Returns the summary that `to_json` converted."""
        splits = {name: Counts(**counts) for name, counts in value["splits"].items()}
        return Summary(splits, list(value["findings"]), dict(value.get("corpus", {})))
