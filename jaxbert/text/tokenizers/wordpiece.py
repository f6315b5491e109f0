"""BERT's WordPiece, with the Rust library `tokenizers`.

Normalisation and ids are those of the published files (google-research/bert tokenization.py, and Hugging Face's
BertTokenizer): control characters are removed and CJK characters are separated. Uncased also means NFD without accents
and lower case. Words of more than 100 characters are [UNK] (the original says 200, the published files 100).
"""

from __future__ import annotations

import collections
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tokenizers as rust

from jaxbert.errors import InputError
from jaxbert.text.scripts import is_south_eastern, south_eastern_letters
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
    stands_apart,
    unknown_spans,
)
from jaxbert.text.tokenizers.declared import Declared, assemble, check_template, read_declared
from jaxbert.text.tokenizers.learned import Learned, dotless, dropped_marks, sampled, share
from jaxbert.text.tokenizers.words import Remembered, count_words, scaled, shown

SPECIALS = Specials("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Classes of transformers that are BERT's tokenizer under other names (models/auto/tokenization_auto.py).
_CLASSES = (
    *("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "ConvBertTokenizer"),
    *("SqueezeBertTokenizer", "LayoutLMTokenizer", "LxmertTokenizer", "RetriBertTokenizer", "RealmTokenizer"),
    *("DPRContextEncoderTokenizer", "DPRQuestionEncoderTokenizer", "DPRReaderTokenizer"),
)
# The name of the piece that fills a hole among the ids. WordPiece cuts a text at "[", so that no text contains it.
_FILLER = "[hole{}]"
MAX_WORD_CHARS = 100
_PREFIX = "##"

_log = logging.getLogger(__name__)

# Training, as in Hugging Face's trainers: the number of single characters that a vocabulary always gets, and the least
# count of a merge. A text with more different characters, such as Chinese, gets as many as it takes to cover this share
# of it (SentencePiece's --character_coverage), up to this share of the vocabulary.
ALPHABET = 1000
_MIN_FREQUENCY = 2
COVERAGE = 0.9995
_MOST_SINGLES = 0.5


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

    A word starts at a piece without the mark "##". Thai, Lao, Khmer and Burmese write no spaces between words, so there
    every piece starts one: whole-word masking would take a whole clause for a word.

    Attributes: those of `Tokenizer`, and
      normalisation: the settings of BERT's normaliser.
      max_word_chars: longer words are [UNK].
    """

    kind = "wordpiece"
    classes = _CLASSES
    specials = SPECIALS

    def __init__(
        self,
        vocab: Sequence[str],
        normalisation: Normalisation,
        *,
        max_word_chars: int = MAX_WORD_CHARS,
        where: str = "",
        specials: Specials | None = None,
        added: Sequence[Added] = (),
        model_size: int | None = None,
    ):
        """Raises InputError, which names `where`, if a special token is missing or a piece occurs twice."""
        super().__init__(
            vocab,
            lowercase=normalisation.lowercase,
            starts_word=lambda piece: not piece.startswith(_PREFIX) or is_south_eastern(piece.removeprefix(_PREFIX)),
            where=where,
            fix="Give the files of a BERT tokenizer.",
            specials=specials,
            added=added,
            model_size=model_size,
        )
        self.normalisation = normalisation
        self.max_word_chars = max_word_chars
        self._rust = self._build(literal=False)
        # The characters "[MASK]" in a text are text, unless the caller asks for special tokens.
        self._literal = self._build(literal=True)
        # Neither BERT's normalisation nor a piece reaches across a space.
        self._remembered = Remembered(
            lambda words: [
                encoding.ids for encoding in self._literal.encode_batch_fast(words, add_special_tokens=False)
            ]
        )

    def _build(self, *, literal: bool) -> Any:
        pieces = {piece: index for index, piece in enumerate(self.vocab[: self.model_size])}
        model = rust.models.WordPiece(pieces, unk_token=self.specials.unk, max_input_chars_per_word=self.max_word_chars)
        tokenizer = rust.Tokenizer(model)
        tokenizer.normalizer = self.normalisation.build()
        tokenizer.pre_tokenizer = rust.pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = rust.decoders.WordPiece(prefix=_PREFIX)
        tokenizer.post_processor = self._bert_template()
        return self._add_to(tokenizer, literal=literal)

    def _unknown_chars(self, word: str) -> int:
        return unknown_spans(self._literal, word, self.unk_id)

    def meaning(self, piece: str) -> Meaning:
        """See `Tokenizer`."""
        inside = piece.startswith(_PREFIX) and piece != _PREFIX
        return (False, piece.removeprefix(_PREFIX)) if inside else (True, piece)

    def splitter(self) -> Callable[[bool, str], list[int]]:
        """See `Tokenizer`."""
        # In this second tokenizer, the pieces that continue a word begin a word.
        pieces = self.vocab[: self.model_size]
        marked = [piece for piece in pieces if piece.startswith(_PREFIX) and piece != _PREFIX]
        names = tuple(dict.fromkeys(self.specials))
        known = {*names, *marked}
        bare = [piece for piece in (piece.removeprefix(_PREFIX) for piece in marked) if piece not in known]
        inside = WordPiece(
            [*names, *bare, *marked], self.normalisation, max_word_chars=self.max_word_chars, specials=self.specials
        )
        old_ids = [self.id(piece) for piece in (*names, *(_PREFIX + piece for piece in bare), *marked)]
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
            **self._decides_added(),
        }

    def encode_batch(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[list[int]]:
        """See `Tokenizer`."""
        if special_tokens:
            return [encoding.ids for encoding in self._rust.encode_batch_fast(list(texts), add_special_tokens=False)]
        if self.further:  # An added token may reach across a space.
            return [encoding.ids for encoding in self._literal.encode_batch_fast(list(texts), add_special_tokens=False)]
        return self._remembered([text.split(" ") for text in texts])

    def encode_offsets(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[tuple[list[int], Offsets]]:
        """See `Tokenizer`."""
        return library_offsets(self._rust if special_tokens else self._literal, texts)

    def decode(self, ids: Iterable[int]) -> str:
        """See `Tokenizer`."""
        # From the names themselves: the library's `decode` gives a normalised added token in lower case.
        return str(self._rust.decoder.decode([self.token(index) for index in ids]))

    def _files(self) -> dict[str, str | bytes]:
        names = {f"{role}_token": name for role, name in self.specials._asdict().items()}
        # transformers 5 builds its BertTokenizer with the usual values of these two. The other class takes the file.
        usual = self.normalisation.clean_text and self.max_word_chars == MAX_WORD_CHARS
        config = {
            "tokenizer_class": "BertTokenizer" if usual else "PreTrainedTokenizerFast",
            "do_lower_case": self.lowercase,
            "strip_accents": self.normalisation.strip_accents,
            "tokenize_chinese_chars": self.normalisation.handle_chinese_chars,
            **names,
        }
        return {
            "vocab.txt": "".join(piece + "\n" for piece in self.vocab[: self.model_size]),
            **self._added_files(config, names),
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
    declared = read_declared(path.parent, _CLASSES, value)
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
        ids: dict[str, int] = dict(model["vocab"])
        normalisation = Normalisation(
            lowercase=bool(declared.setting("do_lower_case", normalizer["lowercase"], True)),
            clean_text=bool(declared.only("clean_text", normalizer["clean_text"], True)),
            handle_chinese_chars=bool(
                declared.setting("tokenize_chinese_chars", normalizer["handle_chinese_chars"], True)
            ),
            strip_accents=declared.setting("strip_accents", normalizer["strip_accents"], None),
        )
        key = "max_input_chars_per_word"
        max_word_chars = int(declared.only(key, model[key], MAX_WORD_CHARS))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"unusable tokenizer ({error!r})", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        ) from None
    made = _made(ids, declared, normalisation, path, max_word_chars)
    check_template(value.get("post_processor"), declared, made, path)
    return made


def _from_vocab(directory: Path) -> WordPiece:
    path = directory / "vocab.txt"
    declared = read_declared(directory, _CLASSES)
    # White space at the end of a line is no part of a piece, as in google-research/bert tokenization.py `load_vocab`.
    pieces = [piece.rstrip() or piece for piece in read_text(path).removesuffix("\n").split("\n")]
    # Special and unused tokens are in capitals in any vocabulary, so they do not count.
    capitals = any(re.search("[A-Z]", piece) for piece in pieces if not re.fullmatch(r"\[.*\]|<.*>", piece))
    if capitals and "do_lower_case" not in declared.config and (directory / "config.json").exists():
        _log.warning(
            f"{path} has capitals, so that case is kept here; transformers lower-cases, because no "
            "tokenizer_config.json has do_lower_case"
        )
    normalisation = Normalisation(
        lowercase=bool(declared.flag("do_lower_case", not capitals)),
        handle_chinese_chars=bool(declared.flag("tokenize_chinese_chars", True)),
        strip_accents=declared.flag("strip_accents", None),
    )
    # Of a piece that occurs twice the last id counts, as everywhere; the other ids are never used.
    ids = {piece: index for index, piece in enumerate(pieces)}
    if len(ids) < len(pieces):
        twice = next(piece for index, piece in enumerate(pieces) if ids[piece] != index)
        _log.warning(f"{path}: {twice!r} occurs twice; the last id counts, as in transformers")
    return _made(ids, declared, normalisation, path, MAX_WORD_CHARS)


def _made(
    ids: dict[str, int], declared: Declared, normalisation: Normalisation, path: Path, max_word_chars: int
) -> WordPiece:
    parts = assemble(ids, declared, WordPiece.usual, default=SPECIALS, filler=_FILLER.format, path=path)
    made = WordPiece(
        parts.vocab,
        normalisation,
        max_word_chars=max_word_chars,
        where=str(path),
        specials=parts.specials,
        added=parts.added,
        model_size=parts.model_size,
    )
    made.max_length = declared.max_length
    return made


# ----------------------------------------------------------------------------------------------------------------------
# Training


def train(texts: Iterable[str], *, vocab_size: int, lowercase: bool, where: str = "texts") -> WordPiece:
    """Trains a vocabulary; see `jaxbert.text.tokenizers.train_tokenizer`.

    The Rust trainer numbers the pieces "##x" in the order of a hash map, and breaks ties between merges by these
    numbers, so that two runs differ. So this function counts the words, and gives the trainer all single characters as
    special tokens in a fixed order.

    Args:
      texts: is read once. Only the counts of words are kept.
      vocab_size: V. [PAD] is 0, then come [UNK] [CLS] [SEP] [MASK]. If the text does not give enough pieces, the last
        are [unused0], [unused1], ...
      lowercase: whether to use BERT's uncased normalisation.
      where: the place of the texts, which an error names.

    Raises:
      InputError: there is no text, or the vocabulary is too small for the characters of the text.
    """
    normalisation = Normalisation(lowercase=lowercase)
    raw = count_words(texts)
    every = _words(raw, normalisation)
    words = {word: count for word, count in every.items() if len(word) <= MAX_WORD_CHARS}
    if not words:
        longer = f": all have more than {MAX_WORD_CHARS} characters, which WordPiece takes for unknown" if every else ""
        raise InputError(
            f"no words to learn from{longer}",
            where=where,
            fix="Take --kind unigram or bpe, which cut text without spaces."
            if every
            else "Give a source that has text, for example text:FILE.",
            code="E-TOKENIZER-TEXT",
        )
    starts: collections.Counter[str] = collections.Counter()
    inner: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        starts[word[0]] += count
        for char in word[1:]:
            inner[char] += count
    frequency = starts + inner
    by_count = sorted(frequency, key=lambda char: (-frequency[char], char))
    alphabet = set(by_count[: _alphabet_size(by_count, frequency, inner, vocab_size)])
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
    # Where the text gives no more merges, further characters are better than pieces that no text has.
    for char in by_count[len(alphabet) :]:
        new = [char, *([_PREFIX + char] if char in inner else [])]
        if len(vocab) + len(new) > vocab_size:
            break
        vocab += new
    filling = vocab_size - len(vocab)
    known = set(vocab)
    unused = (name for name in (f"[unused{index}]" for index in range(vocab_size)) if name not in known)
    vocab += [next(unused) for _ in range(filling)]
    made = WordPiece(vocab, normalisation)
    made.learned = _learned(made, raw, every, filling)
    return made


def _alphabet_size(
    by_count: Sequence[str], frequency: Mapping[str, int], inner: Mapping[str, int], vocab_size: int
) -> int:
    """Returns the number of characters, commonest first, that become pieces before words are learned."""
    left = (1 - COVERAGE) * sum(frequency.values()) - sum(frequency[char] for char in by_count[ALPHABET:])
    pieces = sum(1 + (char in inner) for char in by_count[:ALPHABET])
    for size, char in enumerate(by_count[ALPHABET:], ALPHABET):
        pieces += 1 + (char in inner)
        if left >= 0 or pieces > _MOST_SINGLES * vocab_size:
            return size
        left += frequency[char]
    return len(by_count)


def _learned(tokenizer: WordPiece, raw: Mapping[str, int], words: Mapping[str, int], unused: int) -> Learned:
    some, marked = sampled(words), sampled(raw) if tokenizer.lowercase else {}
    return Learned(
        kind=tokenizer.kind,
        size=tokenizer.vocab_size,
        unknown=share(some, {word: tokenizer.unknown_chars(word) for word in some}),
        unused=unused,
        left_out=share(words, {word: len(word) for word in words if len(word) > MAX_WORD_CHARS}),
        limit=MAX_WORD_CHARS,
        marks=share(marked, dropped_marks(marked, lambda char: unicodedata.category(char) == "Mn")),
        unspaced=share(some, {word: south_eastern_letters(word) for word in some}),
        dotless=share(marked, dotless(marked)),
    )


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
    return scaled(words)


def _train(words: dict[str, int], given: list[str], vocab_size: int) -> list[str]:
    """Returns the pieces beyond `given`, in the order in which they were learned."""
    tokenizer = rust.Tokenizer(rust.models.WordPiece(unk_token=SPECIALS.unk))
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
