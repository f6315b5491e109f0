"""BERT's WordPiece, with the Rust library `tokenizers`.

Normalisation and ids are those of the published files (google-research/bert tokenization.py, and Hugging Face's
BertTokenizer): control characters are removed and CJK characters are separated. Uncased also means NFD without accents
and lower case. Words of more than 100 characters are [UNK] (the original says 200, the published files 100).
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tokenizers as rust

from jaxbert.errors import InputError
from jaxbert.text.tokenizers.base import (
    Kind,
    Meaning,
    Specials,
    Tokenizer,
    in_order,
    read_json,
    read_text,
    stands_apart,
    to_json,
)
from jaxbert.text.tokenizers.words import Remembered, count_words, scaled, shown

PAD, UNK, CLS, SEP, MASK = SPECIALS = Specials("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_WORD_CHARS = 100
_PREFIX = "##"

# Training, as in Hugging Face's trainers: the most single characters, and the least count of a merge.
_ALPHABET = 1000
_MIN_FREQUENCY = 2


@dataclass(frozen=True)
class Normalisation:
    """Settings of BERT's normaliser. `strip_accents` None follows `lowercase`."""

    lowercase: bool = True
    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None

    def build(self) -> Any:
        """Returns the normaliser of the Rust library."""
        return rust.normalizers.BertNormalizer(**asdict(self))


class WordPiece(Tokenizer):
    """WordPiece.

    A word starts at a piece without the mark "##".

    Attributes: those of `Tokenizer`, and
      normalisation: the settings of BERT's normaliser.
      max_word_chars: longer words are [UNK].
    """

    kind = "wordpiece"
    specials = SPECIALS

    def __init__(
        self,
        vocab: Sequence[str],
        normalisation: Normalisation,
        *,
        max_word_chars: int = MAX_WORD_CHARS,
        where: str = "",
    ):
        """Raises InputError, which names `where`, if a special token is missing or a piece occurs twice."""
        super().__init__(
            vocab,
            lowercase=normalisation.lowercase,
            starts_word=lambda piece: not piece.startswith(_PREFIX),
            where=where,
            fix="Give the files of a BERT tokenizer.",
        )
        self.normalisation = normalisation
        self.max_word_chars = max_word_chars
        self._rust = self._build()
        # The characters "[MASK]" in a text are text, unless the caller asks for special tokens.
        self._literal = self._build()
        self._literal.encode_special_tokens = True
        # Neither BERT's normalisation nor a piece reaches across a space.
        self._remembered = Remembered(
            lambda words: [
                encoding.ids for encoding in self._literal.encode_batch_fast(words, add_special_tokens=False)
            ]
        )

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

    def meaning(self, piece: str) -> Meaning:
        """See `Tokenizer`."""
        inside = piece.startswith(_PREFIX) and piece != _PREFIX
        return (False, piece.removeprefix(_PREFIX)) if inside else (True, piece)

    def splitter(self) -> Callable[[bool, str], list[int]]:
        """See `Tokenizer`."""
        # In this second tokenizer, the pieces that continue a word begin a word.
        marked = [piece for piece in self.vocab if piece.startswith(_PREFIX) and piece != _PREFIX]
        known = {*SPECIALS, *marked}
        bare = [piece for piece in (piece.removeprefix(_PREFIX) for piece in marked) if piece not in known]
        inside = WordPiece([*SPECIALS, *bare, *marked], self.normalisation, max_word_chars=self.max_word_chars)
        old_ids = [self.id(piece) for piece in (*SPECIALS, *(_PREFIX + piece for piece in bare), *marked)]
        normalizer, pre_tokenizer = self.normalisation.build(), rust.pre_tokenizers.BertPreTokenizer()

        def split(starts: bool, text: str) -> list[int]:
            words = [word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text))]
            if starts or not words or stands_apart(words[0]):
                return self.encode(" ".join(words))
            return [old_ids[index] for index in inside.encode(words[0])] + self.encode(" ".join(words[1:]))

        return split

    def _decides(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "vocab": self.vocab,
            **asdict(self.normalisation),
            "max_word_chars": self.max_word_chars,
        }

    def encode_batch(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[list[int]]:
        """See `Tokenizer`."""
        if special_tokens:
            return [encoding.ids for encoding in self._rust.encode_batch_fast(list(texts), add_special_tokens=False)]
        return self._remembered([text.split(" ") for text in texts])

    def decode(self, ids: Iterable[int]) -> str:
        """See `Tokenizer`."""
        return str(self._rust.decode([int(index) for index in ids], skip_special_tokens=False))

    def _files(self) -> dict[str, str | bytes]:
        names = {"pad_token": PAD, "unk_token": UNK, "cls_token": CLS, "sep_token": SEP, "mask_token": MASK}
        config = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.lowercase,
            "strip_accents": self.normalisation.strip_accents,
            "tokenize_chinese_chars": self.normalisation.handle_chinese_chars,
            **names,
        }
        return {
            "vocab.txt": "".join(piece + "\n" for piece in self.vocab),
            "tokenizer_config.json": to_json(config),
            "special_tokens_map.json": to_json(names),
            "tokenizer.json": str(self._rust.to_str(pretty=True)) + "\n",
        }


def load(directory: Path) -> WordPiece:
    """Opens a directory with tokenizer.json, or with vocab.txt (and tokenizer_config.json's `do_lower_case`).

    Google's archives and old ones have only vocab.txt: a vocabulary with capitals is then cased.

    Raises:
      InputError: the files cannot be read, or they are not BERT's WordPiece.
    """
    if (directory / "tokenizer.json").exists():
        return _from_tokenizer_json(directory / "tokenizer.json")
    return _from_vocab(directory)


def _from_tokenizer_json(path: Path) -> WordPiece:
    value = read_json(path)
    try:
        model, normalizer, pre_tokenizer = value["model"], value["normalizer"], value["pre_tokenizer"]
        kinds = (model.get("type", "WordPiece"), normalizer["type"], pre_tokenizer["type"])
        if (
            kinds != ("WordPiece", "BertNormalizer", "BertPreTokenizer")
            or model["continuing_subword_prefix"] != _PREFIX
        ):
            raise InputError(
                f"this is a tokenizer of another kind ({', '.join(kinds)})",
                where=str(path),
                fix="Give a WordPiece tokenizer with BERT's normalisation.",
                code="E-TOKENIZER-KIND",
            )
        vocab: dict[str, int] = {**model["vocab"], **{entry["content"]: entry["id"] for entry in value["added_tokens"]}}
        pieces = in_order(vocab, path)
        normalisation = Normalisation(
            lowercase=normalizer["lowercase"],
            clean_text=normalizer["clean_text"],
            handle_chinese_chars=normalizer["handle_chinese_chars"],
            strip_accents=normalizer["strip_accents"],
        )
        max_word_chars = int(model["max_input_chars_per_word"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"unusable tokenizer ({error!r})", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        ) from None
    return WordPiece(pieces, normalisation, max_word_chars=max_word_chars, where=str(path))


def _from_vocab(directory: Path) -> WordPiece:
    path, config_path = directory / "vocab.txt", directory / "tokenizer_config.json"
    config = read_json(config_path) if config_path.exists() else {}
    pieces = read_text(path).removesuffix("\n").split("\n")
    # Special and unused tokens are in capitals in any vocabulary, so they do not count.
    capitals = any(re.search("[A-Z]", piece) for piece in pieces if not re.fullmatch(r"\[.*\]\r?", piece))
    normalisation = Normalisation(
        lowercase=bool(config.get("do_lower_case", not capitals)),
        handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
        strip_accents=config.get("strip_accents"),
    )
    return WordPiece([piece.removesuffix("\r") for piece in pieces], normalisation, where=str(path))


# ----------------------------------------------------------------------------------------------------------------------
# Training


def train(texts: Iterable[str], *, vocab_size: int, lowercase: bool) -> WordPiece:
    """Trains a vocabulary; see `jaxbert.text.tokenizers.train_tokenizer`.

    The Rust trainer numbers the pieces "##x" in the order of a hash map, and breaks ties between merges by these
    numbers, so that two runs differ. So this function counts the words, and gives the trainer all single characters as
    special tokens in a fixed order.

    Args:
      texts: is read once. Only the counts of words are kept.
      vocab_size: V. [PAD] is 0, then come [UNK] [CLS] [SEP] [MASK]. If the text does not give enough pieces, the last
        are [unused0], [unused1], ...
      lowercase: whether to use BERT's uncased normalisation.

    Raises:
      InputError: there is no text, or the vocabulary is too small for the characters of the text.
    """
    normalisation = Normalisation(lowercase=lowercase)
    words = _words(count_words(texts), normalisation)
    if not words:
        raise InputError(
            "no words to learn from", where="SOURCE", fix="Give a source that has text.", code="E-TOKENIZER-TEXT"
        )
    starts: collections.Counter[str] = collections.Counter()
    inner: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        starts[word[0]] += count
        for char in word[1:]:
            inner[char] += count
    frequency = starts + inner
    alphabet = set(sorted(frequency, key=lambda char: (-frequency[char], char))[:_ALPHABET])
    # Words with a character outside the alphabet will be [UNK], and teach the trainer nothing.
    words = {word: count for word, count in words.items() if alphabet.issuperset(word)}
    singles = sorted(alphabet) + [_PREFIX + char for char in sorted(alphabet & inner.keys())]
    if len(SPECIALS) + len(singles) > vocab_size:
        raise InputError(
            f"{vocab_size} pieces are fewer than the {len(singles)} single characters of the text and "
            f"{len(SPECIALS)} special tokens",
            where="--vocab-size",
            fix=f"Give at least {len(SPECIALS) + len(singles)}.",
            code="E-TOKENIZER-SMALL",
        )
    trained = _train(words, [*SPECIALS, *singles], vocab_size)
    vocab = [*SPECIALS, *singles, *trained]
    unused = (name for name in (f"[unused{index}]" for index in range(vocab_size)) if name not in trained)
    vocab += [next(unused) for _ in range(vocab_size - len(vocab))]
    return WordPiece(vocab, normalisation)


def _words(raw: dict[str, int], normalisation: Normalisation) -> dict[str, int]:
    """Returns the counts of the normalised words that WordPiece sees, without punctuation, sorted."""
    normalizer, pre_tokenizer = normalisation.build(), rust.pre_tokenizers.BertPreTokenizer()
    words: collections.Counter[str] = collections.Counter()
    for string, count in raw.items():
        # Nearly all words are plain and need no call of the Rust library.
        if string.isascii() and string.isalnum():
            words[string.lower() if normalisation.lowercase else string] += count
            continue
        for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(string)):
            words[word] += count
    return {word: count for word, count in scaled(words).items() if len(word) <= MAX_WORD_CHARS}


def _train(words: dict[str, int], given: list[str], vocab_size: int) -> list[str]:
    """Returns the pieces beyond `given`, in the order in which they were learned."""
    tokenizer = rust.Tokenizer(rust.models.WordPiece(unk_token=UNK))
    tokenizer.pre_tokenizer = rust.pre_tokenizers.WhitespaceSplit()
    trainer = rust.trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=given,
        show_progress=False,
        continuing_subword_prefix=_PREFIX,
    )
    tokenizer.train_from_iterator(shown(words), trainer)
    vocab: dict[str, int] = tokenizer.get_vocab()
    known = set(given)
    return sorted((piece for piece in vocab if piece not in known), key=lambda piece: vocab[piece])


KIND = Kind(train, load, model="WordPiece", files=(("vocab.txt",),))
