"""ALBERT's SentencePiece unigram, with the `sentencepiece` library.

Normalisation is that of google-research/albert (tokenization.py `preprocess_text`): white space is collapsed, then
NFKD, combining marks removed, lower case. Cased (Hugging Face's `keep_accents`) only collapses white space. Then comes
SentencePiece's nmt_nfkc. Published models bring a table for it. Models trained here have no table, and the Rust library
normalises, because the two libraries read such a table differently (Hangul, marks after half-width letters) and
tokenizer.json must give the same ids. Pieces that end in a digit and a comma are split again (`encode_pieces`). The
vocabulary is arranged as in ALBERT's README: <pad> 0, <unk> 1, [CLS] 2, [SEP] 3, [MASK] 4.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import io
import logging
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers as rust
from sentencepiece import sentencepiece_model_pb2, sentencepiece_pb2

from jaxbert.errors import InputError
from jaxbert.inputs.files import read_bytes
from jaxbert.text.scripts import is_unspaced
from jaxbert.text.tokenizers.base import Added, Kind, Meaning, Offsets, Specials, Tokenizer, read_json
from jaxbert.text.tokenizers.declared import assemble, check_template, read_declared
from jaxbert.text.tokenizers.learned import Learned, dotless, dropped_marks, sampled, share
from jaxbert.text.tokenizers.unigram_json import CLASSES, SPACE, SPECIALS, begins_of_words, load_json
from jaxbert.text.tokenizers.words import Remembered, count_words, cut_long

_log = logging.getLogger(__name__)

# The descriptors are made when the module is loaded, so that no type checker sees them.
_proto: Any = sentencepiece_model_pb2
_pieces: Any = sentencepiece_pb2

# The last name is the one in google-research/albert's archives.
FILES = ("spiece.model", "spm.model", "30k-clean.model")
_FIX = "Give the spiece.model of an ALBERT tokenizer."

# google-research/albert README: --control_symbols, --user_defined_symbols, --character_coverage.
_CONTROL = [SPECIALS.cls, SPECIALS.sep, SPECIALS.mask]
_OWN_SYMBOLS = ["(", ")", '"', "-", ".", "\u2013", "\u00a3", "\u20ac"]
_COVERAGE = 0.99995

# google-research/albert create_pretraining_data.py `_is_start_piece_sp`: ASCII punctuation but four characters, and two
# currencies.
_PUNCTUATION = frozenset(string.punctuation) - frozenset("'<=>") | {"\u20ac", "\u00a3"}
_CONTROLS = re.compile(r"[\x0b\x1c-\x1f]")
# A word as `_split` cuts it, with these characters inside.
_WORD = re.compile(r"(?:[\x0b\x1c-\x1f]|\S)+")
# From this share on of the pieces of several letters, those with letters that English lacks make another language.
_FOREIGN = 0.05
_INNER = frozenset(string.ascii_letters) | _PUNCTUATION

# Training. No piece may reach from a digit to a comma: this private character separates them.
_BREAK = "\ue000"
_DIGIT_COMMA = re.compile(r"(?<=\d),")
_MAX_WORD_CHARS = 100
_LONG_SHARE = 0.1  # See bpe.py.
# Scores are multiples of this fraction of 1.
_SCORE_STEPS = 1024
# The most copies of words shown to the trainer: suffix arrays take about 20 bytes a character.
_SEED_WORDS = 2_000_000
_COPIES_A_LINE = 4
# The sums over words are divided among the threads. Their number decides the last bits, so it is fixed.
_THREADS = 4

# The Rust model has no types of pieces: a piece that SentencePiece never gives gets this score instead.
_NEVER = -1e4


@dataclass(frozen=True)
class Normalisation:
    """The changes of a text before the model. The names are Hugging Face's (AlbertTokenizer).

    Attributes:
      lowercase: whether letters become lower case, one by one (without a rule for the final sigma).
      keep_accents: whether to leave out NFKD and the removal of combining marks.
    """

    lowercase: bool = True
    keep_accents: bool = False

    def build(self, *, nfkc: bool) -> Any:
        """Returns the Rust normaliser, with SentencePiece's nmt_nfkc or without. It does not collapse white space."""
        parts: list[Any] = []
        if not self.keep_accents:
            parts += [rust.normalizers.NFKD(), rust.normalizers.Replace(rust.Regex(_combining()), "")]
        if self.lowercase:
            parts.append(rust.normalizers.Lowercase())
        if nfkc:
            parts += [rust.normalizers.Nmt(), rust.normalizers.NFKC()]
        return rust.normalizers.Sequence(parts)


class Unigram(Tokenizer):
    """SentencePiece unigram.

    A word starts by ALBERT's rule (`_is_start_piece_sp`): at a piece that begins with the space mark or "<", is
    punctuation, or has a character that is neither an ASCII letter nor punctuation, and so at every number and every
    foreign letter. The space mark alone also starts a word. The next piece belongs to that word, unless it starts a
    word too, as a number or a bracket does. The rule is made for English: in a vocabulary of another language, nearly
    every piece would be a word. There, a piece that begins with a letter of a script with spaces starts none.

    Attributes: those of `Tokenizer`, and
      normalisation: the changes of a text before the model.
      model: SentencePiece's ModelProto, serialized.
      split_again: the ids that replace a piece that ends in a digit and a comma.
    """

    kind = "unigram"
    classes = CLASSES
    specials = SPECIALS

    def __init__(
        self,
        model: bytes,
        normalisation: Normalisation,
        *,
        where: str = "",
        beyond: Sequence[str] = (),
        specials: Specials | None = None,
        added: Sequence[Added] = (),
    ):
        """Makes the tokenizer.

        Args:
          model: see the attribute.
          normalisation: see the attribute.
          where: the file that an error names.
          beyond: the added tokens that `model` lacks, in the order of their ids.
          specials: see `Tokenizer`.
          added: see `Tokenizer`.

        Raises:
          InputError: `model` is not a unigram model with ALBERT's special tokens.
        """
        parsed = self.parse(model, where)
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        super().__init__(
            [*(piece.piece for piece in parsed.pieces), *beyond],
            lowercase=normalisation.lowercase,
            starts_word=_rule(piece.piece for piece in self.parse(model, where).pieces),
            where=where,
            fix=_FIX,
            specials=specials,
            added=added,
            model_size=len(parsed.pieces),
        )
        self.normalisation = normalisation
        self.model = model
        self._parsed = parsed
        self._normalizer = normalisation.build(nfkc=not parsed.normalizer_spec.precompiled_charsmap)
        model_pieces = enumerate(self.vocab[: self.model_size])
        self.split_again = {index: self._split_again(piece) for index, piece in model_pieces if _ends(piece)}
        # Neither a piece nor the normalisation reaches across a space.
        self._remembered = Remembered(self._encode_words)
        self._usual = self.added == self.usual(self.specials)
        self._names = re.compile(f"({'|'.join(map(re.escape, self.specials))})")
        self._cutters = {literal: self._cutter(literal=literal) for literal in (False, True)} if not self._usual else {}

    @staticmethod
    def parse(model: bytes, where: str = "") -> Any:
        """Returns a ModelProto. Raises InputError, which names `where`, if it is not one of a unigram model."""
        parsed = _proto.ModelProto()
        try:
            parsed.ParseFromString(model)
            sentencepiece.SentencePieceProcessor(model_proto=model)
        except Exception as error:
            # The library and protobuf raise types that differ between their versions.
            raise InputError(
                f"this is not a SentencePiece model ({error})",
                where=where or "model",
                fix=_FIX,
                code="E-TOKENIZER-FILE",
            ) from None
        spec = parsed.trainer_spec
        if spec.model_type != spec.UNIGRAM or spec.treat_whitespace_as_suffix:
            raise InputError(
                "this is a SentencePiece model of another kind than unigram",
                where=where or "model",
                fix=_FIX,
                code="E-TOKENIZER-KIND",
            )
        return parsed

    def _split_again(self, piece: str) -> list[int]:
        """Returns the ids of the number and of the comma, for a piece that ends in a digit and a comma.

        The number is tokenised as a separate word. This puts a space mark before it, which is removed if the piece had
        none.
        """
        pieces = self._processor.encode(piece[:-1].replace(SPACE, ""), out_type=str)
        if not piece.startswith(SPACE) and pieces and pieces[0].startswith(SPACE):
            pieces = [rest for rest in [pieces[0][1:]] if rest] + pieces[1:]
        return [self.id(part) for part in [*pieces, ","]]

    def _cutter(self, *, literal: bool) -> tuple[Any, dict[Any, str]]:
        """Returns a tokenizer of the Rust library that only finds added tokens, and the token of each of its ids.

        It gives id 0 to the text between them.
        """
        cutter: Any = rust.Tokenizer(rust.models.WordLevel({"\0": 0}, unk_token="\0"))
        cutter.normalizer = self._normalizer
        cutter.encode_special_tokens = literal
        further = {token.content for token in self.further} if literal else set()
        for token in self.added:
            cutter.add_tokens([token.to_rust(special=token.special and token.content not in further)])
        return cutter, {cutter.token_to_id(token.content): token.content for token in self.added}

    def _cut(self, text: str, *, special_tokens: bool) -> list[tuple[int, int, str]]:
        """Returns (first character, the one behind the last, added token or "" for text) of text, token, ..., text."""
        if self._usual:
            found = self._names.finditer(text) if special_tokens else ()
            tokens = [(one.start(), one.end(), one[0]) for one in found]
        else:
            cutter, names = self._cutters[not special_tokens]
            encoding = cutter.encode(text, add_special_tokens=False)
            pairs = zip(encoding.ids, encoding.offsets, strict=True)
            tokens = [(start, stop, names[index]) for index, (start, stop) in pairs if index]
        parts, end = [], 0
        for start, stop, name in tokens:
            parts += [(end, start, ""), (start, stop, name)]
            end = stop
        return [*parts, (end, len(text), "")]

    def _encode_words(self, words: list[str]) -> Iterator[list[int]]:
        texts = [_normalise(word, self._normalizer, self.normalisation) for word in words]
        again = self.split_again
        for ids in self._processor.encode(texts, num_threads=1):
            if again and not again.keys().isdisjoint(ids):
                ids = [new for index in ids for new in again.get(index, [index])]
            yield ids

    def _unknown_chars(self, word: str) -> int:
        text = _normalise(word, self._normalizer, self.normalisation)
        pieces = self._processor.encode(text, out_type=str)
        return sum(len(piece) for piece in pieces if self._processor.piece_to_id(piece) == self.unk_id)

    def meaning(self, piece: str) -> Meaning:
        """See `Tokenizer`."""
        return piece.startswith(SPACE), piece.removeprefix(SPACE)

    def word_begins(self, ids: Sequence[int]) -> list[bool]:
        """See `Tokenizer`. White space separates words."""
        return begins_of_words(self, ids)

    def splitter(self) -> Callable[[bool, str], list[int]]:
        """See `Tokenizer`."""
        # The same tokenizer, for texts that do not begin a word.
        model = _proto.ModelProto()
        model.ParseFromString(self.model)
        model.normalizer_spec.add_dummy_prefix = False
        inside = Unigram(model.SerializeToString(), self.normalisation)
        return lambda starts, text: (self if starts else inside).encode(text)

    def _decides(self) -> dict[str, Any]:
        spec = self._parsed.normalizer_spec
        return {
            "kind": self.kind,
            "pieces": [(piece.piece, piece.score, piece.type) for piece in self._parsed.pieces],
            "charsmap": hashlib.sha256(spec.precompiled_charsmap).hexdigest(),
            "settings": [spec.add_dummy_prefix, spec.remove_extra_whitespaces, spec.escape_whitespaces],
            "byte_fallback": self._parsed.trainer_spec.byte_fallback,
            "lowercase": self.normalisation.lowercase,
            "keep_accents": self.normalisation.keep_accents,
            **self._decides_added(),
        }

    def encode_batch(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[list[int]]:
        """See `Tokenizer`."""
        if not special_tokens and not self.further:
            return self._remembered([_split(text) for text in texts])
        # The parts between added tokens are encoded like separate texts.
        split = [self._cut(text, special_tokens=special_tokens) for text in texts]
        texts_and_parts = zip(texts, split, strict=True)
        inside = [_split(text[start:end]) for text, parts in texts_and_parts for start, end, _ in parts[::2]]
        between = iter(self._remembered(inside))
        found = []
        for parts in split:
            ids = list(next(between))
            for _, _, name in parts[1::2]:
                ids += [self._ids[name], *next(between)]
            found.append(ids)
        return found

    def encode_offsets(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[tuple[list[int], Offsets]]:
        """See `Tokenizer`."""
        known: dict[str, list[tuple[int, int, int]]] = {}
        found = []
        for text in texts:
            ids: list[int] = []
            offsets: Offsets = []
            for start, end, name in self._cut(text, special_tokens=special_tokens):
                if name:
                    ids.append(self._ids[name])
                    inner = text[start:end].lstrip()
                    offsets.append((end - len(inner), end - len(inner) + len(inner.rstrip())))
                    continue
                for match in _WORD.finditer(text, start, end):
                    word = match[0]
                    if word not in known:
                        known[word] = self._word_offsets(word)
                    for index, first, last in known[word]:
                        ids.append(index)
                        offsets.append((match.start() + first, match.start() + last))
            found.append((ids, offsets))
        return found

    def _word_offsets(self, word: str) -> list[tuple[int, int, int]]:
        """Returns (id, first character, the one behind the last) of each piece of a string without white space."""
        places = [index for index, char in enumerate(word) if not _CONTROLS.match(char)]
        bare = "".join(word[index] for index in places)
        if not bare:
            return []
        # The characters of `bare` that each character of the normalised word stands for.
        if bare.isascii() and bare.isprintable():
            spans = [(index, index + 1) for index in range(len(bare))]
        else:
            begins = [begin for begin, _ in self._characters.encode(bare, add_special_tokens=False).offsets]
            # The normaliser may make one character of two, and several of one. Each has all that it comes from.
            ends = [
                next((later for later in begins[at:] if later > begin), len(bare)) for at, begin in enumerate(begins)
            ]
            spans = list(zip(begins, ends, strict=True))
        text = _normalise(bare, self._normalizer, self.normalisation)
        assert len(spans) == len(text), f"{word!r} has {len(text)} characters, and places of {len(spans)}"
        parsed = _pieces.SentencePieceText()
        parsed.ParseFromString(self._processor.encode(text, out_type="serialized_proto"))
        data = text.encode()
        pieces: list[tuple[int, int, int]] = []
        for piece in parsed.pieces:
            begin, end = len(data[: piece.begin].decode()), len(data[: piece.end].decode())
            if piece.id not in self.split_again:
                pieces.append((piece.id, begin, end))
                continue
            # The comma is the last character. The pieces before it share the number.
            *number, comma = self.split_again[piece.id]
            at = begin
            for index in number:
                stop = min(end - 1, at + len(self.vocab[index].removeprefix(SPACE)))
                pieces.append((index, at, stop))
                at = stop
            pieces.append((comma, max(begin, end - 1), end))
        found = []
        for index, begin, end in pieces:
            inside = [span for span in spans[begin:end] if span[0] < span[1]]
            if inside:
                found.append((index, places[inside[0][0]], places[inside[-1][1] - 1] + 1))
            else:
                here = places[spans[begin][0]] if begin < len(spans) else len(word)
                found.append((index, here, here))
        return found

    @functools.cached_property
    def _characters(self) -> Any:
        """Returns a tokenizer of the Rust library that normalises a word as we do, and makes each character a token."""
        made: Any = rust.Tokenizer(rust.models.WordLevel({"\0": 0}, unk_token="\0"))
        made.normalizer = self._normalizer
        made.pre_tokenizer = rust.pre_tokenizers.Split(rust.Regex("(?m:.)"), "isolated")
        return made

    def decode(self, ids: Iterable[int]) -> str:
        """See `Tokenizer`."""
        return "".join(self.vocab[int(index)] for index in ids).replace(SPACE, " ").strip()

    def _rust(self) -> Any:
        """Returns the same tokenizer in the Rust library, for programs that open tokenizer.json."""
        types = _proto.ModelProto.SentencePiece
        scores = []
        for piece in self._parsed.pieces:
            score = piece.score
            if piece.type in (types.CONTROL, types.UNUSED, types.UNKNOWN):
                score = _NEVER
            elif _ends(piece.piece):
                # Hugging Face has such pieces split by a low score (convert_slow_tokenizer.py AlbertConverter).
                score -= 100
            scores.append((piece.piece, score))
        tokenizer = rust.Tokenizer(rust.models.Unigram(scores, unk_id=self.unk_id, byte_fallback=False))
        parts = [self._normalizer]
        if self._parsed.normalizer_spec.precompiled_charsmap:
            parts.append(rust.normalizers.Precompiled(self._parsed.normalizer_spec.precompiled_charsmap))
        tokenizer.normalizer = rust.normalizers.Sequence(parts)
        tokenizer.pre_tokenizer = rust.pre_tokenizers.Sequence(
            [
                rust.pre_tokenizers.WhitespaceSplit(),
                rust.pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always"),
            ]
        )
        tokenizer.decoder = rust.decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
        tokenizer.post_processor = self._bert_template()
        return self._add_to(tokenizer, literal=False)

    def _files(self) -> dict[str, str | bytes]:
        names = {f"{role}_token": name for role, name in self.specials._asdict().items()}
        names |= {"bos_token": self.specials.cls, "eos_token": self.specials.sep}
        config = {
            # Not AlbertTokenizer: transformers 5 builds it anew with another normaliser, which replaces quotation marks
            # and removes vowel signs of Indic and Thai letters. This class takes tokenizer.json as it is.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            "do_lower_case": self.normalisation.lowercase,
            "keep_accents": self.normalisation.keep_accents,
            **names,
        }
        return {
            "spiece.model": self.model,
            **self._added_files(config, names),
            "tokenizer.json": str(self._rust().to_str(pretty=True)) + "\n",
        }


def load(directory: Path) -> Tokenizer:
    """Opens a directory with a SentencePiece model (and tokenizer_config.json's `do_lower_case`, `keep_accents`).

    Without that model, tokenizer.json is read.

    Raises:
      InputError: the files cannot be read, or they are not ALBERT's unigram.
    """
    path = next((directory / name for name in FILES if (directory / name).exists()), None)
    whole = read_json(directory / "tokenizer.json") if (directory / "tokenizer.json").exists() else None
    declared = read_declared(directory, CLASSES, whole)
    # Of other classes' SentencePiece models only tokenizer.json says how a text is normalised. Ours say it themselves.
    foreign = not declared.settings and "keep_accents" not in declared.config
    if path is None or (whole is not None and foreign):
        return load_json(directory, _rule)
    normalisation = Normalisation(
        lowercase=bool(declared.flag("do_lower_case", True)), keep_accents=bool(declared.flag("keep_accents", False))
    )
    try:
        model = read_bytes(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError(
            f"the file cannot be read: {error.strerror}",
            where=str(path),
            fix="Check the file and its mode.",
            code="E-TOKENIZER-FILE",
        ) from None
    parsed = Unigram.parse(model, str(path))
    ids = {piece.piece: index for index, piece in enumerate(parsed.pieces)}
    unknown = _proto.ModelProto.SentencePiece.UNKNOWN
    default = SPECIALS._replace(
        unk=next((piece.piece for piece in parsed.pieces if piece.type == unknown), SPECIALS.unk)
    )
    parts = assemble(ids, declared, Unigram.usual, default=default, filler="<hole {}>".format, path=path)
    made = Unigram(
        model,
        normalisation,
        where=str(path),
        beyond=parts.vocab[parts.model_size :],
        specials=parts.specials,
        added=parts.added,
    )
    if whole is not None:
        check_template(whole.get("post_processor"), declared, made, directory / "tokenizer.json")
    made.max_length = declared.max_length
    return made


@functools.cache
def _combining() -> str:
    """Returns a regular expression for a combining mark: its class is not 0, which is the class of most vowel signs."""
    ranges: list[list[int]] = []
    for code in range(0x110000):
        if unicodedata.combining(chr(code)):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "[" + "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in ranges) + "]"


def _split(text: str) -> list[str]:
    """Returns the words between white space, without the five control characters of Python's that nmt_nfkc drops."""
    return _CONTROLS.sub("", text).split()


def _normalise(word: str, normalizer: Any, normalisation: Normalisation) -> str:
    # Nearly all words need no call of the Rust library.
    if word.isascii() and word.isprintable():
        return word.lower() if normalisation.lowercase else word
    return str(normalizer.normalize_str(word))


def _ends(piece: str) -> bool:
    """Returns whether a piece ends in a digit and a comma."""
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()


def _rule(pieces: Iterable[str]) -> Callable[[str], bool]:
    """Returns the rule for the pieces of a vocabulary that start a word; see `Unigram`."""
    words = [word for piece in pieces if len(word := piece.removeprefix(SPACE)) > 1 and word.isalpha()]
    foreign = sum(not word.isascii() for word in words)
    return _starts_word_elsewhere if foreign > _FOREIGN * len(words) else _starts_word


def _starts_word_elsewhere(piece: str) -> bool:
    if not _starts_word(piece):
        return False
    inside = unicodedata.category(piece[0])[0] in "LM" and not is_unspaced(piece)
    return not inside


def _starts_word(piece: str) -> bool:
    """See `Unigram`."""
    return piece.startswith((SPACE, "<")) or piece in _PUNCTUATION or not _INNER.issuperset(piece)


# ----------------------------------------------------------------------------------------------------------------------
# Training


def train(texts: Iterable[str], *, vocab_size: int, lowercase: bool, where: str = "texts") -> Unigram:
    """Trains a vocabulary; see `jaxbert.text.tokenizers.train_tokenizer`.

    Unlike the original, it learns no pieces that end in a digit and a comma, because they would never be used.

    Args:
      texts: is read once. Only the counts of words are kept. The trainer searches pieces in as many copies of each word
        as there is room for, at least two, and learns the probabilities from the counts.
      vocab_size: V: special tokens, ALBERT's symbols, pieces, and <unused 0>, ... if the text does not give enough. No
        text contains these, because no piece has a space in it.
      lowercase: whether to use ALBERT's uncased normalisation. Otherwise accents are kept too.
      where: the place of the texts, which an error names.

    Raises:
      InputError: there is no text, or the vocabulary is too small for the characters of the text.
    """
    normalisation = Normalisation(lowercase=lowercase, keep_accents=not lowercase)
    raw = count_words(texts, _split)
    words, left_out = cut_long(_words(raw, normalisation), _MAX_WORD_CHARS, _LONG_SHARE)
    if not words:
        raise InputError(
            "no words to learn from",
            where=where,
            fix="Give a source that has text, for example text:FILE.",
            code="E-TOKENIZER-TEXT",
        )
    if not left_out and any(len(word) > _MAX_WORD_CHARS for word in raw):
        # Without spaces nearly every substring of up to 16 characters is a candidate, and each round weighs them all.
        _log.warning(
            f"{where} has long stretches without white space: learning a unigram of them may take minutes for each "
            "megabyte (--kind bpe is faster)"
        )
    least = len(SPECIALS) + len(_OWN_SYMBOLS) + 1
    made = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(words),
            model_writer=made,
            input_format="tsv",
            model_type="unigram",
            vocab_size=max(vocab_size, least),
            hard_vocab_limit=False,
            character_coverage=_COVERAGE,
            normalization_rule_name="identity",
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            pad_piece=SPECIALS.pad,
            unk_piece=SPECIALS.unk,
            control_symbols=_CONTROL,
            user_defined_symbols=_OWN_SYMBOLS,
            pretokenization_delimiter=_BREAK,
            num_threads=_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        # "Vocabulary size is smaller than required_chars. 20 vs 57."
        numbers = re.search(r"required_chars\D*(\d+)\D+(\d+)", str(error))
        if numbers is None:
            raise
        least = int(numbers[2])
    model = _proto.ModelProto()
    model.ParseFromString(made.getvalue())
    if vocab_size < least or not model.pieces:
        raise InputError(
            f"{vocab_size} pieces are fewer than the characters of the text and {len(SPECIALS)} special tokens",
            where="--vocab-size",
            fix=f"Give at least {least}.",
            code="E-TOKENIZER-SMALL",
        )
    # SentencePiece adds scores in float32 and the Rust library in float64. Sums of these multiples are exact in both,
    # so that both decide in the same way between cuts of equal probability.
    for piece in model.pieces:
        piece.score = round(piece.score * _SCORE_STEPS) / _SCORE_STEPS
    filling = vocab_size - len(model.pieces)
    for number in range(filling):
        model.pieces.add(piece=f"<unused {number}>", score=0.0, type=_proto.ModelProto.SentencePiece.UNUSED)
    model.trainer_spec.vocab_size = vocab_size
    tokenizer = Unigram(model.SerializeToString(deterministic=True), normalisation)
    some, marked = sampled(words), sampled(raw) if lowercase else {}
    tokenizer.learned = Learned(
        kind=tokenizer.kind,
        size=vocab_size,
        unknown=share(some, {word: tokenizer.unknown_chars(word) for word in some}),
        unused=filling,
        left_out=left_out,
        limit=_MAX_WORD_CHARS,
        marks=share(marked, dropped_marks(marked, unicodedata.combining)),
        dotless=share(marked, dotless(marked)),
    )
    return tokenizer


def _words(raw: Mapping[str, int], normalisation: Normalisation) -> dict[str, int]:
    """Returns the counts of the normalised words, sorted."""
    normalizer = normalisation.build(nfkc=True)
    words: collections.Counter[str] = collections.Counter()
    for word, count in raw.items():
        for part in _normalise(word, normalizer, normalisation).split():
            words[part] += count
    return {word: words[word] for word in sorted(words) if _BREAK not in word}


def _lines(words: Mapping[str, int]) -> Iterator[str]:
    """Yields lines for the trainer: copies of a word, and a weight for each copy.

    A word that was seen twice gets at least two copies, because a single occurrence makes no piece. A line has few
    copies, because the trainer takes the square of the length of a repetition.
    """
    scale = max(1, -(-sum(words.values()) // _SEED_WORDS))
    for word, count in words.items():
        shown = _DIGIT_COMMA.sub(_BREAK + ",", word)
        copies, left = min(count, max(2, count // scale)), count
        while copies:
            here, weight = min(copies, _COPIES_A_LINE), max(1, round(left / copies))
            yield f"{' '.join([shown] * here)}\t{weight}"
            copies, left = copies - here, left - here * weight


KIND = Kind(train, load, model="Unigram", files=tuple((name,) for name in FILES))
