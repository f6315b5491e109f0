"""The byte-level BPE of RoBERTa and GPT-2, with the Rust library `tokenizers`.

A text is taken as its UTF-8 bytes, each written as a printable character (a space as "Ġ"), without normalisation.
GPT-2's regular expression cuts it, and pieces are merged by rank (openai/gpt-2 encoder.py; fairseq gpt2_bpe_utils.py).
The ids are fairseq's: <s> 0, <pad> 1, </s> 2, <unk> 3, then the pieces, and <mask> last (fairseq dictionary.py,
tasks/masked_lm.py).
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import tokenizers as rust

from jaxbert.errors import InputError
from jaxbert.text.scripts import are_unspaced_bytes, marks
from jaxbert.text.tokenizers.base import (
    Added,
    Kind,
    Meaning,
    Offsets,
    Specials,
    Tokenizer,
    library_offsets,
    read_json,
    read_text,
)
from jaxbert.text.tokenizers.declared import Declared, assemble, check_template, read_declared
from jaxbert.text.tokenizers.learned import Learned, sampled, share
from jaxbert.text.tokenizers.words import count_words, cut_long, scaled, shown

SPECIALS = Specials(pad="<pad>", unk="<unk>", cls="<s>", sep="</s>", mask="<mask>")
# Ids 0 to 3. The mask has the last id.
_FIRST = (SPECIALS.cls, SPECIALS.pad, SPECIALS.sep, SPECIALS.unk)
# fairseq's name for the pieces that fill a vocabulary up (dictionary.py pad_to_multiple_).
_FILLER = "madeupword{:04d}"
# Classes of transformers that are RoBERTa's tokenizer under other names.
_CLASSES = ("RobertaTokenizer", "BartTokenizer", "LongformerTokenizer", "LEDTokenizer", "GPT2Tokenizer")

Merge = tuple[str, str]

_log = logging.getLogger(__name__)

_BYTES = rust.decoders.ByteLevel()

# Byte-level forms of the white space among the ASCII characters: a tab is "ĉ", a line feed "Ċ", a space "Ġ".
_WHITE = tuple(chr(0x100 + byte) for byte in (*range(0x09, 0x0E), 0x20))

# GPT-2's expression always cuts here. Its code then cuts further inside the parts.
_CHUNK = re.compile(r" ?\S+|\s+(?!\S)|\s+")
_MIN_FREQUENCY = 2
# In characters. Longer strings are hardly words, and merging takes the square of their length. Where they are more than
# this share of the text, it writes no spaces, and they are learned from in stretches.
_MAX_WORD_CHARS = 256
_LONG_SHARE = 0.1


class ByteLevelBPE(Tokenizer):
    """Byte-level BPE.

    A word starts at a piece that begins with white space, as in fairseq's whole-word masking (gpt2_bpe.py
    `is_beginning_of_word`): punctuation belongs to the word before it, without a space. Every piece of a script without
    spaces between words (Thai, Chinese) starts a word too: a whole clause would be one.

    Attributes: those of `Tokenizer`, and
      merges: pairs of pieces, in the order in which they are merged.
      prefix_space: whether a text without white space at its start gets a space there.
    """

    kind = "bpe"
    classes = _CLASSES
    joint = " "
    pair_separators = 2
    pair_types = False
    specials = SPECIALS

    def __init__(
        self,
        vocab: Sequence[str],
        merges: Iterable[Merge],
        *,
        prefix_space: bool = False,
        where: str = "",
        specials: Specials | None = None,
        added: Sequence[Added] = (),
        model_size: int | None = None,
    ):
        """Raises InputError, which names `where`, if the vocabulary lacks a special token, a byte or a merged piece."""
        fix = "Give the files of a RoBERTa tokenizer."
        super().__init__(
            vocab,
            lowercase=False,
            starts_word=lambda piece: piece.startswith((*_WHITE, "madeupword")) or are_unspaced_bytes(_bytes_of(piece)),
            where=where,
            fix=fix,
            specials=specials,
            added=added,
            model_size=model_size,
        )
        self.prefix_space = prefix_space
        self.merges = list(merges)
        parts = {part for left, right in self.merges for part in (left, right, left + right)}
        lacking = sorted((parts | set(_bytes())) - set(self.vocab[: self.model_size]))
        if lacking:
            what = f"the vocabulary lacks {len(lacking)} pieces of the bytes and merges, {lacking[0]!r} first"
            raise InputError(what, where=where or "vocabulary", fix=fix, code="E-TOKENIZER-VOCABULARY")
        self._rust = self._build(literal=False)
        # The characters "<mask>" in a text are text, unless the caller asks for special tokens.
        self._literal = self._build(literal=True)

    @classmethod
    def usual(cls, specials: Specials) -> tuple[Added, ...]:
        """See `Tokenizer`. The mask stands for a word together with the space before it."""
        return tuple(replace(token, lstrip=token.content == specials.mask) for token in super().usual(specials))

    def _build(self, *, literal: bool) -> Any:
        pieces = {piece: index for index, piece in enumerate(self.vocab[: self.model_size])}
        tokenizer = rust.Tokenizer(rust.models.BPE(pieces, self.merges, fuse_unk=False))
        tokenizer.pre_tokenizer = rust.pre_tokenizers.ByteLevel(add_prefix_space=self.prefix_space)
        tokenizer.decoder = rust.decoders.ByteLevel()
        tokenizer.post_processor = rust.processors.RobertaProcessing(
            (self.specials.sep, self.sep_id),
            (self.specials.cls, self.cls_id),
            trim_offsets=True,
            add_prefix_space=self.prefix_space,
        )
        return self._add_to(tokenizer, literal=literal)

    def _unknown_chars(self, word: str) -> int:
        return 0  # Every byte is a piece.

    def meaning(self, piece: str) -> Meaning:
        """See `Tokenizer`."""
        if any(token.content == piece for token in self.further):
            return True, piece
        text = str(_BYTES.decode([piece]))
        return (None, piece) if "\ufffd" in text else (text.startswith(" "), text.removeprefix(" "))

    def word_begins(self, ids: Sequence[int]) -> list[bool]:
        """See `Tokenizer`. GPT-2's expression cuts before a comma and behind it, for example."""
        begins = super().word_begins(ids)
        whole = {token.content for token in self.added}
        pieces = [self.token(index) for index in ids]
        cut = rust.pre_tokenizers.ByteLevel(add_prefix_space=False)
        start = 0
        while start < len(pieces):
            if pieces[start] in whole:
                start += 1
                continue
            end = next((at for at in range(start, len(pieces)) if pieces[at] in whole), len(pieces))
            text = str(_BYTES.decode(pieces[start:end]))
            # The parts are in the byte-level form, as the pieces are, so that their lengths can be compared.
            ends = set(itertools.accumulate(len(part) for part, _ in cut.pre_tokenize_str(text)))
            length = 0
            for at in range(start, end):
                begins[at] = begins[at] or length in ends or at == start
                length += len(pieces[at])
            start = end
        return begins

    def splitter(self) -> Callable[[bool, str], list[int]]:
        """See `Tokenizer`."""
        inside = self._copy()
        inside.prefix_space = False
        inside._literal = inside._build(literal=True)
        return lambda starts, text: inside.encode(f" {text}" if starts else text)

    def _decides(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "vocab": self.vocab,
            "merges": self.merges,
            **self._decides_added(),
            **({"prefix_space": True} if self.prefix_space else {}),
        }

    def encode_batch(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[list[int]]:
        """See `Tokenizer`."""
        tokenizer = self._rust if special_tokens else self._literal
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_offsets(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[tuple[list[int], Offsets]]:
        """See `Tokenizer`."""
        return library_offsets(self._rust if special_tokens else self._literal, texts)

    def decode(self, ids: Iterable[int]) -> str:
        """See `Tokenizer`."""
        return str(self._rust.decode([int(index) for index in ids], skip_special_tokens=False))

    def _files(self) -> dict[str, str | bytes]:
        mask = asdict(next(token for token in self.added if token.content == self.specials.mask))
        names: dict[str, Any] = {f"{role}_token": name for role, name in self.specials._asdict().items()}
        names |= {"bos_token": self.specials.cls, "eos_token": self.specials.sep}
        config = {
            "tokenizer_class": "RobertaTokenizer",
            "add_prefix_space": self.prefix_space,
            **names,
            "mask_token": {"__type": "AddedToken", **mask},
        }
        del mask["special"]  # Versions of before 2023 do not know it here.
        ids = {piece: self._ids[piece] for piece in self.vocab[: self.model_size]}
        return {
            "vocab.json": json.dumps(ids, ensure_ascii=False) + "\n",
            "merges.txt": "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in self.merges),
            **self._added_files(config, {**names, "mask_token": mask}),
            "tokenizer.json": str(self._rust.to_str(pretty=True)) + "\n",
        }


def load(directory: Path) -> ByteLevelBPE:
    """Opens a directory with tokenizer.json, or with vocab.json and merges.txt.

    Raises:
      InputError: the files cannot be read, or they are not RoBERTa's byte-level BPE.
    """
    if (directory / "tokenizer.json").exists():
        return _from_tokenizer_json(directory / "tokenizer.json")
    path = directory / "vocab.json"
    declared = read_declared(directory, _CLASSES)
    lines = read_text(directory / "merges.txt").split("\n")
    merges = [line.removesuffix("\r") for line in lines if line and not line.startswith("#version")]
    prefix_space = bool(declared.flag("add_prefix_space", False))
    made = _made(read_json(path), _pairs(merges, directory / "merges.txt"), declared, prefix_space, path)
    if not declared.states(made.specials.mask):
        _log.warning(
            f"{directory}: {made.specials.mask} takes the space before it, as in fairseq and transformers 4; no file "
            "says so, and transformers 5 leaves the space"
        )
    return made


def _from_tokenizer_json(path: Path) -> ByteLevelBPE:
    value = read_json(path)
    declared = read_declared(path.parent, _CLASSES, value)
    try:
        model, normalizer, pre_tokenizer = value["model"], value["normalizer"] or {}, value["pre_tokenizer"] or {}
        kinds = tuple(str(part.get("type")) for part in ({"type": "BPE"}, normalizer, pre_tokenizer))
        # Settings that give other ids: GPT-2's expression off, pieces with marks, unmerged pieces.
        others = [not pre_tokenizer.get("use_regex", True)]
        others += [model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")]
        others += [model.get(name) for name in ("ignore_merges", "dropout")]
        if kinds != ("BPE", "None", "ByteLevel") or any(others):
            raise InputError(
                f"this is a tokenizer of another kind ({', '.join(kinds)})",
                where=str(path),
                fix="Give RoBERTa's byte-level BPE, without a normalizer.",
                code="E-TOKENIZER-KIND",
            )
        ids: dict[str, int] = dict(model["vocab"])
        merges = _pairs(model["merges"], path)
        prefix_space = declared.setting("add_prefix_space", bool(pre_tokenizer.get("add_prefix_space")), False)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"unusable tokenizer ({error!r})", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        ) from None
    made = _made(ids, merges, declared, bool(prefix_space), path)
    check_template(value.get("post_processor"), declared, made, path)
    return made


def _made(ids: dict[str, int], merges: list[Merge], declared: Declared, prefix_space: bool, path: Path) -> ByteLevelBPE:
    parts = assemble(ids, declared, ByteLevelBPE.usual, default=SPECIALS, filler=_FILLER.format, path=path)
    made = ByteLevelBPE(
        parts.vocab,
        merges,
        prefix_space=prefix_space,
        where=str(path),
        specials=parts.specials,
        # Nothing is normalised, so that this flag, which files set in both ways, changes nothing.
        added=[replace(token, normalized=False) for token in parts.added],
        model_size=parts.model_size,
    )
    made.max_length = declared.max_length
    return made


def _pairs(merges: Iterable[str | list[str]], path: Path) -> list[Merge]:
    """Returns merges as pairs. Files hold "a b" or ["a", "b"]."""
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges]
    bad = next((pair for pair in pairs if len(pair) != 2 or not all(pair)), None)
    if bad is not None:
        raise InputError(
            f"{' '.join(bad)!r} is not a merge of two pieces",
            where=str(path),
            fix="Copy the file again.",
            code="E-TOKENIZER-FILE",
        )
    return [(left, right) for left, right in pairs]


# ----------------------------------------------------------------------------------------------------------------------
# Training


def train(texts: Iterable[str], *, vocab_size: int, lowercase: bool, where: str = "texts") -> ByteLevelBPE:
    """Trains a vocabulary; see `jaxbert.text.tokenizers.train_tokenizer`.

    Args:
      texts: is read once. Only the counts of the parts that GPT-2's expression gives are kept.
      vocab_size: V: four special tokens, 256 bytes, merges, madeupword0000, ... if the text does not give enough
        merges, and <mask>.
      lowercase: must be False.
      where: the place of the texts, which an error names.

    Raises:
      InputError: `lowercase` is set, there is no text, or the vocabulary is too small for the bytes.
    """
    if lowercase:
        raise InputError(
            "byte-level BPE keeps upper case and accents",
            where="lowercase",
            fix="Set data.lowercase=false, or train another kind.",
            code="E-TOKENIZER-CASE",
        )
    raw = count_words(texts, _CHUNK.findall)
    if all(map(str.isspace, raw)):
        raise InputError(
            "no words to learn from",
            where=where,
            fix="Give a source that has text, for example text:FILE.",
            code="E-TOKENIZER-TEXT",
        )
    given = [*_FIRST, *_bytes()]
    if len(given) + 1 > vocab_size:
        raise InputError(
            f"{vocab_size} pieces are fewer than the 256 bytes and {len(SPECIALS)} special tokens",
            where="--vocab-size",
            fix=f"Give at least {len(given) + 1}.",
            code="E-TOKENIZER-SMALL",
        )
    # The trainer breaks ties between merges by the ids of their pieces, which follow from the ids of the bytes.
    tokenizer = rust.Tokenizer(rust.models.BPE())
    tokenizer.pre_tokenizer = rust.pre_tokenizers.WhitespaceSplit()
    trainer = rust.trainers.BpeTrainer(
        vocab_size=vocab_size - 1, min_frequency=_MIN_FREQUENCY, special_tokens=given, show_progress=False
    )
    words, left_out = cut_long(_words(raw), _MAX_WORD_CHARS, _LONG_SHARE)
    tokenizer.train_from_iterator(shown(words), trainer)
    merges = _pairs(json.loads(tokenizer.to_str())["model"]["merges"], Path("trainer"))
    ids: dict[str, int] = tokenizer.get_vocab()
    vocab = sorted(ids, key=lambda piece: ids[piece])
    filling = vocab_size - 1 - len(vocab)
    vocab += [_FILLER.format(number) for number in range(filling)]
    made = ByteLevelBPE([*vocab, SPECIALS.mask], merges)
    some = sampled(raw)
    cut = share(some, {word: marks(word) for word in some})
    made.learned = Learned(made.kind, vocab_size, 0.0, filling, left_out, _MAX_WORD_CHARS, 0.0, cut_at_marks=cut)
    return made


def _bytes_of(piece: str) -> bytes:
    """Returns the bytes of a piece; of a special token, those of its name."""
    return bytes(byte for byte in map(_byte_of().get, piece) if byte is not None)


@functools.cache
def _byte_of() -> dict[str, int]:
    """Returns the byte of each character of the byte-level form (openai/gpt-2 encoder.py `bytes_to_unicode`)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in set(plain))
    return {chr(byte): byte for byte in plain} | {chr(256 + number): byte for number, byte in enumerate(others)}


def _bytes() -> list[str]:
    """Returns the byte-level forms of all 256 bytes, sorted."""
    return sorted(rust.pre_tokenizers.ByteLevel.alphabet())


def _words(raw: dict[str, int]) -> dict[str, int]:
    """Returns the counts of the byte-level forms that GPT-2's expression gives, sorted. They hold no white space."""
    pre_tokenizer = rust.pre_tokenizers.ByteLevel(add_prefix_space=False)
    words: collections.Counter[str] = collections.Counter()
    for string, count in raw.items():
        # Nearly all words are plain and need no call of the Rust library.
        if string.isascii() and string.isalpha():
            words[string] += count
        elif string.isascii() and string[0] == " " and string[1:].isalpha():
            words["Ġ" + string[1:]] += count
        else:
            for word, _ in pre_tokenizer.pre_tokenize_str(string):
                words[word] += count
    return scaled(words)


KIND = Kind(train, load, model="BPE", files=(("vocab.json", "merges.txt"),), keeps_case=True)
