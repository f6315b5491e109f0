"""Tokenizers: a thin layer over the Rust `tokenizers` library, for WordPiece as BERT has it.

Normalisation and ids are those of the published files (google-research/bert tokenization.py as Hugging Face's
BertTokenizer has it): control characters out, CJK characters apart, uncased: NFD without accents, then lower case;
cased: neither. Words of more than 100 characters are [UNK] (the original says 200, the published files 100).
"""

from __future__ import annotations

import collections
import errno
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers as rust

from jaxbert.errors import InputError, Interrupted

# Keys of `--kind`.
KINDS = ("wordpiece",)

PAD, UNK, CLS, SEP, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_WORD_CHARS = 100
_PREFIX = "##"

# Characters of words whose ids are remembered; some 15 bytes each, all told.
_REMEMBERED_CHARS = 2_000_000

# Training. As in Hugging Face's trainers: so many single characters at most, and no merge seen but once.
_ALPHABET = 1000
_MIN_FREQUENCY = 2
# Distinct words kept while counting; beyond it those seen once are forgotten. About 2 GB at the worst.
_MAX_WORDS = 10_000_000
# Words shown to the trainer; beyond it all counts are scaled down together, and what rounds to 0 is left out.
_MAX_SHOWN = 200_000_000


@dataclass(frozen=True)
class Normalisation:
    """Settings of BERT's normaliser. `strip_accents` None: as `lowercase` says."""

    lowercase: bool = True
    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None

    def build(self) -> Any:
        """The Rust object."""
        return rust.normalizers.BertNormalizer(**asdict(self))


class Tokenizer:
    """A vocabulary and the way from text to its ids.

    Attributes:
      kind: a key of `KINDS`.
      vocab: pieces, by id.
      vocab_size: V.
      lowercase: texts are lower-cased.
      pad_id, unk_id, cls_id, sep_id, mask_id: of the special tokens.
      word_start: bool [V], the piece begins a word.
      special: bool [V], [PAD], [CLS], [SEP] and [MASK]: what masking never chooses.
      hash: hex sha256 of all that decides on ids (not of the files' layout, which changes between libraries).
    """

    kind = "wordpiece"

    def __init__(
        self,
        vocab: Sequence[str],
        normalisation: Normalisation,
        *,
        max_word_chars: int = MAX_WORD_CHARS,
        where: str = "",
    ):
        """Raises InputError when a special token is missing or a piece stands twice; `where` is named in it."""
        self.vocab = list(vocab)
        self.vocab_size = len(self.vocab)
        self.normalisation = normalisation
        self.lowercase = normalisation.lowercase
        self.max_word_chars = max_word_chars
        self._ids = {piece: index for index, piece in enumerate(self.vocab)}
        missing = [token for token in SPECIALS if token not in self._ids]
        if missing or len(self._ids) != self.vocab_size:
            what = f"the vocabulary lacks {', '.join(missing)}" if missing else "a piece stands twice in the vocabulary"
            raise InputError(what, where=where or "vocabulary", fix="Give the files of a BERT tokenizer.")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (self._ids[token] for token in SPECIALS)
        self.word_start = np.array([not piece.startswith(_PREFIX) for piece in self.vocab])
        self.special = np.zeros(self.vocab_size, bool)
        self.special[[self.pad_id, self.cls_id, self.sep_id, self.mask_id]] = True
        self._rust = self._build()
        # In running text the characters "[MASK]" are text: only where asked for are they the special token.
        self._literal = self._build()
        self._literal.encode_special_tokens = True
        # Nothing in BERT's normalisation or WordPiece reaches across a space, so what a word gave once it gives again;
        # looking it up takes a tenth of the time.
        self._remembered: dict[str, list[int]] = {}
        self._remembered_chars = 0

    def _build(self) -> Any:
        model = rust.models.WordPiece(self._ids, unk_token=UNK, max_input_chars_per_word=self.max_word_chars)
        tokenizer = rust.Tokenizer(model)
        tokenizer.normalizer = self.normalisation.build()
        tokenizer.pre_tokenizer = rust.pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = rust.decoders.WordPiece(prefix=_PREFIX)
        tokenizer.post_processor = rust.processors.TemplateProcessing(
            single=f"{CLS}:0 $A:0 {SEP}:0",
            pair=f"{CLS}:0 $A:0 {SEP}:0 $B:1 {SEP}:1",
            special_tokens=[(CLS, self.cls_id), (SEP, self.sep_id)],
        )
        tokenizer.add_special_tokens([rust.AddedToken(token, special=True, normalized=False) for token in SPECIALS])
        return tokenizer

    @property
    def hash(self) -> str:
        """See the class."""
        return self._hash

    @functools.cached_property
    def _hash(self) -> str:
        decides = {
            "kind": self.kind,
            "vocab": self.vocab,
            **asdict(self.normalisation),
            "max_word_chars": self.max_word_chars,
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def encode_batch(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[list[int]]:
        """Ids of each text, nothing added around them.

        Args:
          texts: any number.
          special_tokens: whether "[MASK]" and its like in a text are the special tokens, as Hugging Face's call has it,
            or characters like any others.
        """
        if special_tokens:
            return [encoding.ids for encoding in self._rust.encode_batch_fast(list(texts), add_special_tokens=False)]
        split = [text.split(" ") for text in texts]
        if self._remembered_chars > _REMEMBERED_CHARS:
            self._remembered, self._remembered_chars = {}, 0
        remembered = self._remembered
        new = list(set().union(*split) - remembered.keys())
        if new:
            encodings = self._literal.encode_batch_fast(new, add_special_tokens=False)
            remembered.update((word, encoding.ids) for word, encoding in zip(new, encodings, strict=True))
            self._remembered_chars += sum(map(len, new))
        return [[index for word in words for index in remembered[word]] for words in split]

    def encode(self, text: str, *, special_tokens: bool = False) -> list[int]:
        """Ids of one text; see `encode_batch`."""
        return self.encode_batch([text], special_tokens=special_tokens)[0]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids, special tokens shown."""
        return str(self._rust.decode([int(index) for index in ids], skip_special_tokens=False))

    def token(self, index: int) -> str:
        """The piece with this id."""
        return self.vocab[int(index)]

    def id(self, token: str) -> int:
        """The id of this piece, that of [UNK] where there is none."""
        return self._ids.get(token, self.unk_id)

    def save(self, directory: Path | str) -> None:
        """Writes tokenizer.json, vocab.txt, tokenizer_config.json and special_tokens_map.json.

        Hugging Face's AutoTokenizer and `load` open the directory.

        Raises:
          InputError: it cannot be written.
          Interrupted: the disk is full.
        """
        directory = Path(directory)
        names = {"pad_token": PAD, "unk_token": UNK, "cls_token": CLS, "sep_token": SEP, "mask_token": MASK}
        config = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.lowercase,
            "strip_accents": self.normalisation.strip_accents,
            "tokenize_chinese_chars": self.normalisation.handle_chinese_chars,
            **names,
        }
        files = {
            "tokenizer.json": str(self._rust.to_str(pretty=True)) + "\n",
            "vocab.txt": "".join(piece + "\n" for piece in self.vocab),
            "tokenizer_config.json": json.dumps(config, indent=2, sort_keys=True) + "\n",
            "special_tokens_map.json": json.dumps(names, indent=2, sort_keys=True) + "\n",
        }
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                partial = directory / f".{name}.{os.getpid()}.partial"
                try:
                    partial.write_text(text, encoding="utf-8", newline="\n")
                    os.replace(partial, directory / name)
                finally:
                    partial.unlink(missing_ok=True)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Interrupted(
                    "the disk is full", where=str(directory), fix="Free some space and run the same command again."
                ) from error
            raise InputError(
                f"cannot write there: {error.strerror}", where=str(directory), fix="Give another directory."
            ) from None

    @staticmethod
    def load(directory: Path | str) -> Tokenizer:
        """Opens a directory with tokenizer.json, or with vocab.txt (and tokenizer_config.json's `do_lower_case`).

        Raises:
          InputError: missing, unreadable, or not a WordPiece tokenizer.
        """
        directory = Path(directory)
        if not directory.is_dir():
            what = "a file where a tokenizer's directory is due" if directory.exists() else "no such tokenizer"
            raise InputError(what, where=str(directory), fix="Give the --out of `jaxbert tokenizer`.")
        if (directory / "tokenizer.json").exists():
            return _from_tokenizer_json(directory / "tokenizer.json")
        if (directory / "vocab.txt").exists():
            return _from_vocab(directory)
        raise InputError(
            "neither tokenizer.json nor vocab.txt is there",
            where=str(directory),
            fix="Give the --out of `jaxbert tokenizer`, or a Hugging Face directory.",
        )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", where=str(path), fix="Copy the file again.") from None
    except OSError as error:
        raise InputError(f"unreadable: {error.strerror}", where=str(path), fix="Check the file and its mode.") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(_read(path)))
    except (ValueError, TypeError) as error:
        raise InputError(f"not JSON: {error}", where=str(path), fix="Copy the file again.") from None


def _from_tokenizer_json(path: Path) -> Tokenizer:
    value = _read_json(path)
    try:
        model, normalizer, pre_tokenizer = value["model"], value["normalizer"], value["pre_tokenizer"]
        kinds = (model.get("type", "WordPiece"), normalizer["type"], pre_tokenizer["type"])
        if (
            kinds != ("WordPiece", "BertNormalizer", "BertPreTokenizer")
            or model["continuing_subword_prefix"] != _PREFIX
        ):
            raise InputError(
                f"a tokenizer of another kind ({', '.join(kinds)})",
                where=str(path),
                fix=f"Known kinds: {', '.join(KINDS)}, with BERT's normalisation.",
            )
        vocab: dict[str, int] = {**model["vocab"], **{entry["content"]: entry["id"] for entry in value["added_tokens"]}}
        pieces = sorted(vocab, key=lambda piece: vocab[piece])
        if [vocab[piece] for piece in pieces] != list(range(len(pieces))):
            raise InputError("ids are not 0 .. V-1, each once", where=str(path), fix="Copy the file again.")
        normalisation = Normalisation(
            lowercase=normalizer["lowercase"],
            clean_text=normalizer["clean_text"],
            handle_chinese_chars=normalizer["handle_chinese_chars"],
            strip_accents=normalizer["strip_accents"],
        )
        max_word_chars = int(model["max_input_chars_per_word"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"unusable tokenizer ({error!r})", where=str(path), fix="Copy the file again.") from None
    return Tokenizer(pieces, normalisation, max_word_chars=max_word_chars, where=str(path))


def _from_vocab(directory: Path) -> Tokenizer:
    path, config_path = directory / "vocab.txt", directory / "tokenizer_config.json"
    config = _read_json(config_path) if config_path.exists() else {}
    pieces = _read(path).removesuffix("\n").split("\n")
    normalisation = Normalisation(
        lowercase=bool(config.get("do_lower_case", True)),
        handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
        strip_accents=config.get("strip_accents"),
    )
    return Tokenizer([piece.removesuffix("\r") for piece in pieces], normalisation, where=str(path))


# ----------------------------------------------------------------------------------------------------------------------
# Training


def train_tokenizer(kind: str, texts: Iterable[str], *, vocab_size: int, lowercase: bool) -> Tokenizer:
    """Learns a vocabulary; the same texts in the same order give the same one on any machine.

    The Rust trainer numbers the pieces "##x" in the order in which a hash map hands out words, and breaks ties between
    merges by these numbers: two runs differ. So all single characters are given to it as special tokens, in our order,
    and words are counted here.

    Args:
      kind: a key of `KINDS`.
      texts: read once; a text is only ever a bag of words here, so memory is that of the distinct words.
      vocab_size: V. [PAD] is 0, then [UNK] [CLS] [SEP] [MASK]; where the text does not give enough pieces, the last
        are [unused0], [unused1], ...
      lowercase: BERT's uncased normalisation.

    Raises:
      InputError: an unknown kind, no text, or a vocabulary too small for the characters of the text.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind {kind!r}", where="--kind", fix=f"Known: {', '.join(KINDS)}.")
    normalisation = Normalisation(lowercase=lowercase)
    words = _words(_count(texts), normalisation)
    if not words:
        raise InputError("no words to learn from", where="SOURCE", fix="Give a source that has text.")
    starts: collections.Counter[str] = collections.Counter()
    inner: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        starts[word[0]] += count
        for char in word[1:]:
            inner[char] += count
    frequency = starts + inner
    alphabet = set(sorted(frequency, key=lambda char: (-frequency[char], char))[:_ALPHABET])
    # Words with a character outside the alphabet are [UNK] later and teach nothing now.
    words = {word: count for word, count in words.items() if alphabet.issuperset(word)}
    singles = sorted(alphabet) + [_PREFIX + char for char in sorted(alphabet & inner.keys())]
    if len(SPECIALS) + len(singles) > vocab_size:
        raise InputError(
            f"{vocab_size} pieces are fewer than the {len(singles)} single characters of the text and "
            f"{len(SPECIALS)} special tokens",
            where="--vocab-size",
            fix=f"Give at least {len(SPECIALS) + len(singles)}.",
        )
    trained = _train(words, [*SPECIALS, *singles], vocab_size)
    vocab = [*SPECIALS, *singles, *trained]
    unused = (name for name in (f"[unused{index}]" for index in range(vocab_size)) if name not in trained)
    vocab += [next(unused) for _ in range(vocab_size - len(vocab))]
    return Tokenizer(vocab, normalisation)


def _count(texts: Iterable[str]) -> dict[str, int]:
    """How often each string between white space stands in the texts."""
    words: collections.Counter[str] = collections.Counter()
    for text in texts:
        words.update(text.split())
        if len(words) > _MAX_WORDS:
            words = collections.Counter({word: count for word, count in words.items() if count > 1})
            if len(words) > _MAX_WORDS // 2:
                words = collections.Counter(dict(words.most_common(_MAX_WORDS // 2)))
    return words


def _words(raw: dict[str, int], normalisation: Normalisation) -> dict[str, int]:
    """The same, normalised and with punctuation split off: what WordPiece gets to see. Sorted."""
    normalizer, pre_tokenizer = normalisation.build(), rust.pre_tokenizers.BertPreTokenizer()
    words: collections.Counter[str] = collections.Counter()
    for string, count in raw.items():
        # Plain words, nearly all, need no trip to Rust and back.
        if string.isascii() and string.isalnum():
            words[string.lower() if normalisation.lowercase else string] += count
            continue
        for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(string)):
            words[word] += count
    scale = max(1, -(-words.total() // _MAX_SHOWN))
    return {
        word: shown
        for word, count in sorted(words.items())
        if len(word) <= MAX_WORD_CHARS and (shown := (count + scale // 2) // scale)
    }


def _train(words: dict[str, int], given: list[str], vocab_size: int) -> list[str]:
    """Pieces beyond `given`, in the order they were learned."""
    tokenizer = rust.Tokenizer(rust.models.WordPiece(unk_token=UNK))
    tokenizer.pre_tokenizer = rust.pre_tokenizers.WhitespaceSplit()
    trainer = rust.trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=given,
        show_progress=False,
        continuing_subword_prefix=_PREFIX,
    )
    tokenizer.train_from_iterator(_shown(words), trainer)
    vocab: dict[str, int] = tokenizer.get_vocab()
    known = set(given)
    return sorted((piece for piece in vocab if piece not in known), key=lambda piece: vocab[piece])


def _shown(words: dict[str, int]) -> Iterable[str]:
    """Texts in which each word stands as often as it was counted."""
    piece = 4096
    for word, count in words.items():
        for start in range(0, count, piece):
            yield " ".join([word] * min(piece, count - start))
