"""The byte-level BPE of RoBERTa and GPT-2, with the Rust library `tokenizers`.

A text is taken as its UTF-8 bytes, each written as a printable character (a space as "Ġ"), without normalisation.
GPT-2's regular expression cuts it, and pieces are merged by rank (openai/gpt-2 encoder.py; fairseq gpt2_bpe_utils.py).
The ids are fairseq's: <s> 0, <pad> 1, </s> 2, <unk> 3, then the pieces, and <mask> last (fairseq dictionary.py,
tasks/masked_lm.py).
"""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tokenizers as rust

from jaxbert.errors import InputError
from jaxbert.text.tokenizers.base import Kind, Meaning, Specials, Tokenizer, in_order, read_json, read_text, to_json
from jaxbert.text.tokenizers.words import count_words, scaled, shown

SPECIALS = Specials(pad="<pad>", unk="<unk>", cls="<s>", sep="</s>", mask="<mask>")
# Ids 0 to 3. The mask has the last id.
_FIRST = (SPECIALS.cls, SPECIALS.pad, SPECIALS.sep, SPECIALS.unk)
# fairseq's name for the pieces that fill a vocabulary up (dictionary.py pad_to_multiple_).
_FILLER = "madeupword{:04d}"
# The most ids that a vocab.json may leave out: some copies of RoBERTa's lack its three fillers.
_MAX_HOLES = 64

Merge = tuple[str, str]

_BYTES = rust.decoders.ByteLevel()

# Byte-level forms of the white space among the ASCII characters: a tab is "ĉ", a line feed "Ċ", a space "Ġ".
_WHITE = tuple(chr(0x100 + byte) for byte in (*range(0x09, 0x0E), 0x20))

# GPT-2's expression always cuts here. Its code then cuts further inside the parts.
_CHUNK = re.compile(r" ?\S+|\s+(?!\S)|\s+")
_MIN_FREQUENCY = 2
# In characters. Longer strings are hardly words, and merging takes the square of their length.
_MAX_WORD_CHARS = 256


class ByteLevelBPE(Tokenizer):
    """Byte-level BPE.

    A word starts at a piece that begins with white space, as in fairseq's whole-word masking (gpt2_bpe.py
    `is_beginning_of_word`): punctuation belongs to the word before it, without a space.

    Attributes: those of `Tokenizer`, and
      merges: pairs of pieces, in the order in which they are merged.
    """

    kind = "bpe"
    joint = " "
    pair_separators = 2
    pair_types = False
    specials = SPECIALS

    def __init__(self, vocab: Sequence[str], merges: Iterable[Merge], *, where: str = ""):
        """Raises InputError, which names `where`, if the vocabulary lacks a special token, a byte or a merged piece."""
        fix = "Give the files of a RoBERTa tokenizer."
        super().__init__(
            vocab,
            lowercase=False,
            starts_word=lambda piece: piece.startswith((*_WHITE, "madeupword")),
            where=where,
            fix=fix,
        )
        self.merges = list(merges)
        parts = {part for left, right in self.merges for part in (left, right, left + right)}
        lacking = sorted((parts | set(_bytes())) - self._ids.keys())
        if lacking:
            what = f"the vocabulary lacks {len(lacking)} pieces of the bytes and merges, {lacking[0]!r} first"
            raise InputError(what, where=where or "vocabulary", fix=fix, code="E-TOKENIZER-VOCABULARY")
        self._rust = self._build()
        # The characters "<mask>" in a text are text, unless the caller asks for special tokens.
        self._literal = self._build()
        self._literal.encode_special_tokens = True

    def _build(self) -> Any:
        tokenizer = rust.Tokenizer(rust.models.BPE(self._ids, self.merges, fuse_unk=False))
        tokenizer.pre_tokenizer = rust.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = rust.decoders.ByteLevel()
        tokenizer.post_processor = rust.processors.RobertaProcessing(
            (SPECIALS.sep, self.sep_id), (SPECIALS.cls, self.cls_id), trim_offsets=True, add_prefix_space=False
        )
        # The mask stands for a word together with the space before it.
        tokenizer.add_special_tokens(
            [
                rust.AddedToken(token, special=True, normalized=False, lstrip=token == SPECIALS.mask)
                for token in (*_FIRST, SPECIALS.mask)
            ]
        )
        return tokenizer

    def meaning(self, piece: str) -> Meaning:
        """See `Tokenizer`."""
        text = str(_BYTES.decode([piece]))
        return (None, piece) if "\ufffd" in text else (text.startswith(" "), text.removeprefix(" "))

    def _decides(self) -> dict[str, Any]:
        return {"kind": self.kind, "vocab": self.vocab, "merges": self.merges}

    def encode_batch(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[list[int]]:
        """See `Tokenizer`."""
        tokenizer = self._rust if special_tokens else self._literal
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """See `Tokenizer`."""
        return str(self._rust.decode([int(index) for index in ids], skip_special_tokens=False))

    def _files(self) -> dict[str, str | bytes]:
        mask = {"content": SPECIALS.mask, "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
        names: dict[str, Any] = {
            "bos_token": SPECIALS.cls,
            "eos_token": SPECIALS.sep,
            "pad_token": SPECIALS.pad,
            "unk_token": SPECIALS.unk,
            "cls_token": SPECIALS.cls,
            "sep_token": SPECIALS.sep,
        }
        config = {
            "tokenizer_class": "RobertaTokenizer",
            "add_prefix_space": False,
            **names,
            "mask_token": {"__type": "AddedToken", **mask, "special": True},
        }
        return {
            "vocab.json": json.dumps(self._ids, ensure_ascii=False) + "\n",
            "merges.txt": "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in self.merges),
            "tokenizer_config.json": to_json(config),
            "special_tokens_map.json": to_json({**names, "mask_token": mask}),
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
    ids = read_json(path)
    if not all(isinstance(index, int) for index in ids.values()):
        raise InputError(
            "ids are not 0 .. V-1, each once", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        )
    holes = sorted(set(range(max(ids.values(), default=-1) + 1)) - set(ids.values())) if len(ids) < 1 << 22 else []
    if len(holes) <= _MAX_HOLES:
        ids |= {_FILLER.format(number): hole for number, hole in enumerate(holes)}
    lines = read_text(directory / "merges.txt").split("\n")
    merges = [line.removesuffix("\r") for line in lines if line and not line.startswith("#version")]
    return ByteLevelBPE(in_order(ids, path), _pairs(merges, directory / "merges.txt"), where=str(path))


def _from_tokenizer_json(path: Path) -> ByteLevelBPE:
    value = read_json(path)
    try:
        model, normalizer, pre_tokenizer = value["model"], value["normalizer"] or {}, value["pre_tokenizer"] or {}
        kinds = tuple(str(part.get("type")) for part in ({"type": "BPE"}, normalizer, pre_tokenizer))
        # Settings that give other ids: a space in front, GPT-2's expression off, pieces with marks, unmerged pieces.
        others = [pre_tokenizer.get("add_prefix_space"), not pre_tokenizer.get("use_regex", True)]
        others += [model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")]
        others += [model.get(name) for name in ("ignore_merges", "dropout")]
        if kinds != ("BPE", "None", "ByteLevel") or any(others):
            raise InputError(
                f"this is a tokenizer of another kind ({', '.join(kinds)})",
                where=str(path),
                fix="Give RoBERTa's byte-level BPE: without a normalizer, and without add_prefix_space.",
                code="E-TOKENIZER-KIND",
            )
        ids: dict[str, int] = {**model["vocab"], **{entry["content"]: entry["id"] for entry in value["added_tokens"]}}
        pieces, merges = in_order(ids, path), _pairs(model["merges"], path)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"unusable tokenizer ({error!r})", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        ) from None
    return ByteLevelBPE(pieces, merges, where=str(path))


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


def train(texts: Iterable[str], *, vocab_size: int, lowercase: bool) -> ByteLevelBPE:
    """Trains a vocabulary; see `jaxbert.text.tokenizers.train_tokenizer`.

    Args:
      texts: is read once. Only the counts of the parts that GPT-2's expression gives are kept.
      vocab_size: V: four special tokens, 256 bytes, merges, madeupword0000, ... if the text does not give enough
        merges, and <mask>.
      lowercase: must be False.

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
            "no words to learn from", where="SOURCE", fix="Give a source that has text.", code="E-TOKENIZER-TEXT"
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
    tokenizer.train_from_iterator(shown(_words(raw)), trainer)
    merges = _pairs(json.loads(tokenizer.to_str())["model"]["merges"], Path("trainer"))
    ids: dict[str, int] = tokenizer.get_vocab()
    vocab = sorted(ids, key=lambda piece: ids[piece])
    vocab += [_FILLER.format(number) for number in range(vocab_size - 1 - len(vocab))]
    return ByteLevelBPE([*vocab, SPECIALS.mask], merges)


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
    return {word: count for word, count in scaled(words).items() if len(word) <= _MAX_WORD_CHARS}


KIND = Kind(train, load, model="BPE", files=(("vocab.json", "merges.txt"),), keeps_case=True)
