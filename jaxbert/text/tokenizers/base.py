"""The tokenizer class that all kinds share: a vocabulary, encoding, and files that we and others open."""

from __future__ import annotations

import abc
import collections
import functools
import hashlib
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from jaxbert.errors import InputError
from jaxbert.inputs import files
from jaxbert.inputs.files import read_bytes
from jaxbert.inputs.values import parse_json
from jaxbert.stores.files import cannot_write, full_disk, write_whole
from jaxbert.stores.workdir import workdir_of
from jaxbert.text.scripts import is_mark
from jaxbert.text.tokenizers.learned import Learned
from jaxbert.text.tokenizers.registry import REGISTRY

# Files that all kinds write, or that all kinds read beside their vocabulary.
_ADDED = "added_tokens.json"
_SHARED = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", _ADDED)
# The half-width marks of voiced kana, which Unicode counts among the letters.
_VOICED = "\uff9e\uff9f"
# The most ids without a piece in a small vocabulary; in a large one there may be as many as pieces.
_MOST_HOLES = 64

# The meaning of a piece: (whether a word begins with it, its text). It is (None, the piece itself) for a piece without
# a text, for example a byte that is not a character.
Meaning = tuple[bool | None, str]
# The characters of each token of a text: its first one, and the one behind its last.
Offsets = list[tuple[int, int]]


class Specials(NamedTuple):
    """Names of the special tokens, in the order of Hugging Face's `pad_token`, `unk_token`, ..."""

    pad: str
    unk: str
    cls: str
    sep: str
    mask: str


@dataclass(frozen=True)
class Added:
    """A token that is cut out of a text before the model of the vocabulary sees the text.

    The names and meanings are those of the Rust library's AddedToken.

    Attributes:
      content: the characters of the token.
      special: whether it is a special token, such as a mask or a mark of an entity.
      single_word: only match where no letter, digit or underscore is beside it.
      lstrip: also take the white space before it.
      rstrip: also take the white space after it.
      normalized: look for the normalised token in the normalised text; otherwise look in the text as it is.
    """

    content: str
    special: bool = False
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True

    def to_rust(self, *, special: bool) -> Any:
        """Returns the token for the Rust library, which treats it as text where `special` is off and texts are text."""
        import tokenizers as rust

        return rust.AddedToken(**{**asdict(self), "special": special})


class Tokenizer(abc.ABC):
    """A vocabulary, and the encoding of texts as ids.

    Attributes:
      kind: a key of `REGISTRY`.
      classes: the classes of transformers that cut texts as this kind does, without "Fast" at their end.
      joint: the string before every sentence but the first of a document, so that tokenising sentence by sentence gives
        the tokens of the running text with one space between sentences.
      pair_separators: the number of separators between the segments of a pair: 1 in [CLS] A [SEP] B [SEP], 2 in
        <s> A </s></s> B </s>.
      pair_types: whether the second segment has token type 1; otherwise every token has type 0.
      specials: the names of the special tokens. A kind has its usual ones; files may name others.
      vocab: pieces, by id.
      vocab_size: V.
      model_size: the number of pieces that the model of the vocabulary knows. The pieces after these are added tokens.
      added: the tokens that are cut out of a text first: `specials` in their order, then others.
      learned: figures of the training; None where the tokenizer was not trained by this call.
      max_length: the longest row that the files name, in tokens; None where they name none.
      source: the directory that the tokenizer was read from; None where it was made here.
      lowercase: whether texts are lower-cased.
      pad_id, unk_id, cls_id, sep_id, mask_id: the ids of the special tokens.
      word_start: bool [V], whether the piece begins a word.
      special: bool [V], the special tokens but the unknown one, which masking never chooses.
      hash: sha256, in hexadecimal, of everything that decides the ids. The layout of files, which changes between
        libraries, is not in it.
    """

    kind: ClassVar[str]
    classes: ClassVar[tuple[str, ...]] = ()
    joint: ClassVar[str] = ""
    pair_separators: ClassVar[int] = 1
    pair_types: ClassVar[bool] = True
    specials: ClassVar[Specials]

    learned: Learned | None = None
    max_length: int | None = None
    source: Path | None = None

    def __init__(
        self,
        vocab: Sequence[str],
        *,
        lowercase: bool,
        starts_word: Callable[[str], bool],
        where: str,
        fix: str,
        specials: Specials | None = None,
        added: Sequence[Added] = (),
        model_size: int | None = None,
    ):
        """Sets all attributes.

        Args:
          vocab: pieces, by id.
          lowercase: see the attribute.
          starts_word: returns whether a piece begins a word; it is not asked about added tokens.
          where: the file that an error names.
          fix: the advice that an error gives.
          specials: the names of the special tokens; None takes those of the kind.
          added: see the attribute; none means the special tokens with the flags of `usual`.
          model_size: see the attribute; None means all of `vocab`.

        Raises:
          InputError: a special token is missing, or a piece occurs twice.
        """
        # Imported here, so that the command line lists the kinds without numpy.
        import numpy as np

        self.vocab = list(vocab)
        self.vocab_size = len(self.vocab)
        self.model_size = self.vocab_size if model_size is None else model_size
        self.lowercase = lowercase
        if specials is not None:
            self.specials = specials  # type: ignore[misc]  # The class has those of the kind.
        self.added = tuple(added) or self.usual(self.specials)
        self._ids = {piece: index for index, piece in enumerate(self.vocab)}
        missing = [token for token in self.specials if token not in self._ids]
        if missing or len(self._ids) != self.vocab_size:
            what = f"the vocabulary lacks {', '.join(missing)}" if missing else "a piece occurs twice in the vocabulary"
            raise InputError(what, where=where or "vocabulary", fix=fix, code="E-TOKENIZER-VOCABULARY")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (self._ids[token] for token in self.specials)
        self.special = np.zeros(self.vocab_size, bool)
        self.special[[self.pad_id, self.cls_id, self.sep_id, self.mask_id]] = True
        whole = {token.content for token in self.added}
        self.word_start = np.array([piece in whole or starts_word(piece) for piece in self.vocab], bool)

    @classmethod
    def usual(cls, specials: Specials) -> tuple[Added, ...]:
        """Returns the special tokens with the flags that they have in the published files of the kind."""
        return tuple(Added(name, special=True, normalized=False) for name in specials)

    @property
    def further(self) -> tuple[Added, ...]:
        """Returns the added tokens that are not among `specials`."""
        return tuple(token for token in self.added if token.content not in self.specials)

    def _add_to(self, tokenizer: Any, *, literal: bool) -> Any:
        """Gives a tokenizer of the Rust library the added tokens, after its normaliser is set.

        Args:
          tokenizer: it is changed, and returned.
          literal: whether the names of `specials` in a text are ordinary characters. Further tokens always count: they
            are there to be found in texts.

        Raises:
          InputError: the library gives an added token another id than ours.
        """
        if literal:
            tokenizer.encode_special_tokens = True
        further = {token.content for token in self.further} if literal else set()
        order = sorted(self.added, key=lambda token: max(self._ids[token.content], self.model_size - 1))
        for token in order:
            tokenizer.add_tokens([token.to_rust(special=token.special and token.content not in further)])
        for token in order:
            if tokenizer.token_to_id(token.content) != self._ids[token.content]:
                raise InputError(
                    f"the added token {token.content!r} cannot have id {self._ids[token.content]}: ids after the "
                    "vocabulary must follow it without a gap",
                    where=str(self.source or "vocabulary"),
                    fix="Save the tokenizer again with transformers.",
                    code="E-TOKENIZER-ADDED",
                )
        return tokenizer

    def _bert_template(self) -> Any:
        """Returns the Rust library's processor that puts BERT's special tokens and types around one or two texts."""
        import tokenizers as rust

        cls, sep = self.specials.cls, self.specials.sep
        return rust.processors.TemplateProcessing(
            single=f"{cls}:0 $A:0 {sep}:0",
            pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
            special_tokens=[(cls, self.cls_id), (sep, self.sep_id)],
        )

    def _decides_added(self) -> dict[str, Any]:
        """Returns what of `added` and `specials` decides the ids, as JSON values; nothing for the usual tokens."""
        usual = self.usual(type(self).specials)
        if self.added == usual and self.model_size == self.vocab_size:
            return {}
        return {"added": [list(asdict(token).values()) for token in self.added], "model_size": self.model_size}

    def _added_files(self, config: dict[str, Any], names: dict[str, Any]) -> dict[str, str | bytes]:
        """Returns the files that say what is special, with the added tokens that are not the usual ones.

        Args:
          config: the content of tokenizer_config.json without them.
          names: the content of special_tokens_map.json without them.
        """
        extra = [token.content for token in self.further if token.special]
        if self.max_length is not None:
            config = {**config, "model_max_length": self.max_length}
        if self._decides_added():
            config = {
                **config,
                "added_tokens_decoder": {str(self._ids[token.content]): asdict(token) for token in self.added},
                **({"extra_special_tokens": extra} if extra else {}),
            }
            names = {**names, **({"additional_special_tokens": extra} if extra else {})}
        beyond = {piece: self._ids[piece] for piece in self.vocab[self.model_size :]}
        return {
            **({_ADDED: to_json(beyond)} if beyond else {}),
            "tokenizer_config.json": to_json(config),
            "special_tokens_map.json": to_json(names),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # Kinds hold functions, which cannot be pickled. Their files say everything.
        return _of_files, (self._files(), self.source)

    @property
    def hash(self) -> str:
        """See the class."""
        return self._hash

    @functools.cached_property
    def _hash(self) -> str:
        return hashlib.sha256(json.dumps(self._decides(), sort_keys=True).encode()).hexdigest()

    @abc.abstractmethod
    def _decides(self) -> dict[str, Any]:
        """Returns everything that decides the ids, as JSON values."""

    @abc.abstractmethod
    def _files(self) -> dict[str, str | bytes]:
        """Returns the content of the files that `save` writes, by name, in the order of writing."""

    @abc.abstractmethod
    def encode_batch(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[list[int]]:
        """Returns the ids of each text, without special tokens around them.

        Args:
          texts: any number of texts.
          special_tokens: whether "[MASK]" and the like in a text stand for special tokens, as in Hugging Face's call.
            Otherwise they are ordinary characters.
        """

    @abc.abstractmethod
    def encode_offsets(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[tuple[list[int], Offsets]]:
        """Returns of each text its ids, as `encode_batch` does, and for each id its characters in the text.

        They are (first character, the one behind the last) of the text as it is given, also where normalisation changes
        lengths, without white space around them. Pieces of one character have the same characters. A piece without any,
        such as a mark for a space, has (n, n).

        Args:
          texts: any number of texts.
          special_tokens: see `encode_batch`.
        """

    @abc.abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids, with the names of special tokens."""

    def encode(self, text: str, *, special_tokens: bool = False) -> list[int]:
        """Returns the ids of one text; see `encode_batch`."""
        return self.encode_batch([text], special_tokens=special_tokens)[0]

    def unknown_chars(self, text: str) -> int:
        """Returns how many characters of `text` become unknown tokens."""
        words = collections.Counter(text.split())
        ids = self.encode_batch(list(words))
        return sum(
            count * self._unknown_chars(word)
            for (word, count), of_word in zip(words.items(), ids, strict=True)
            if self.unk_id in of_word
        )

    def _unknown_chars(self, word: str) -> int:
        """Returns how many characters of a word without white space, which has an unknown token, become unknown."""
        return len(word)

    def meaning(self, piece: str) -> Meaning:
        """Returns the meaning of a piece, in terms that all kinds share; see `Meaning`."""
        return bool(self.word_start[self.id(piece)]), piece

    def word_begins(self, ids: Sequence[int]) -> list[bool]:
        """Returns whether a word begins at each token of a text.

        The words are those into which the tokenizer cuts a text before it cuts words into pieces. Each piece of a
        script without spaces is a word. The table `word_start` differs from them where whole-word masking does.

        Args:
          ids: the tokens of a text, in order.
        """
        return [bool(begins) for begins in self.word_start[list(ids)]]

    def splitter(self) -> Callable[[bool, str], list[int]]:
        """Returns a function (whether a word begins with the text, text) -> ids of its pieces, with unknown ones."""
        return lambda starts, text: self.encode(f" {text}" if starts else text)

    def token(self, index: int) -> str:
        """Returns the piece with this id."""
        return self.vocab[int(index)]

    def id(self, token: str) -> int:
        """Returns the id of this piece, or the id of the unknown token if there is no such piece."""
        return self._ids.get(token, self.unk_id)

    def limited(self, length: int) -> Tokenizer:
        """Returns this tokenizer with a `max_length` of at most `length` tokens."""
        changed = self._copy()
        changed.max_length = min(length, self.max_length or length)
        return changed

    def _copy(self) -> Self:
        """Returns a copy that shares all attributes."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def file_names(self) -> frozenset[str]:
        """Returns the names of the files that `save` writes."""
        return frozenset(self._files())

    def save(self, directory: Path | str) -> None:
        """Writes the tokenizer's files. tokenizer.json comes last, so that it exists only when all others do.

        `load` and Hugging Face's AutoTokenizer open the directory.

        Raises:
          InputError: the directory cannot be written.
          Interrupted: the disk is full.
        """
        directory = Path(directory)
        with writing(directory):
            for name, content in self._files().items():
                write_whole(directory / name, content)

    def digests(self) -> dict[str, str]:
        """Returns the sha256, in hexadecimal, of each file that `save` writes."""
        contents = {name: text.encode() if isinstance(text, str) else text for name, text in self._files().items()}
        return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}

    def is_saved(self, directory: Path | str) -> bool:
        """Returns whether `directory` has every file that `save` writes, with the same bytes."""
        for name, content in self._files().items():
            try:
                if read_bytes(Path(directory) / name) != (content.encode() if isinstance(content, str) else content):
                    return False
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return False
        return True

    @staticmethod
    def load(directory: Path | str) -> Tokenizer:
        """Opens a tokenizer of any kind.

        The files decide the kind: the model in tokenizer.json, else vocab.json with merges.txt (byte-level BPE),
        vocab.txt (WordPiece), or spiece.model, spm.model or 30k-clean.model (unigram).

        Raises:
          InputError: it is missing, cannot be read, or belongs to a kind that is not in `REGISTRY`.
        """
        directory = Path(directory)
        if not directory.is_dir():
            there = directory.exists()
            raise InputError(
                "this is a file, but the directory of a tokenizer is needed" if there else "no such tokenizer",
                where=str(directory),
                fix="Give the --out of `jaxbert tokenizer`.",
                code="E-TOKENIZER-MISSING",
            )
        model = _model_type(directory / "tokenizer.json")
        for kind in REGISTRY.values():
            if model == kind.model or (model is None and kind.found(directory)):
                found = kind.load(directory)
                found.source = directory
                return found
        if model is not None:
            raise InputError(
                f"this is a tokenizer of another kind ({model})",
                where=str(directory / "tokenizer.json"),
                fix=f"Known kinds: {', '.join(REGISTRY)}.",
                code="E-TOKENIZER-KIND",
            )
        files = " nor ".join(" with ".join(names) for kind in REGISTRY.values() for names in kind.files)
        raise InputError(
            f"the directory has neither tokenizer.json nor {files}",
            where=str(directory),
            fix="Give the --out of `jaxbert tokenizer`, or a Hugging Face directory.",
            code="E-TOKENIZER-MISSING",
        )

    @staticmethod
    def present(directory: Path | str) -> bool:
        """Returns whether `directory` holds the files of a tokenizer. Only `load` checks their content."""
        directory = Path(directory)
        return (directory / "tokenizer.json").is_file() or any(kind.found(directory) for kind in REGISTRY.values())

    @staticmethod
    def place(model: Path | str) -> Path:
        """Returns the directory of a MODEL's tokenizer: tokenizer/ of a run, else `model`, even without a tokenizer."""
        path = Path(model)
        workdir, _ = workdir_of(path)
        return next((place for place in (path, workdir / "tokenizer") if Tokenizer.present(place)), path)


def all_file_names() -> frozenset[str]:
    """Returns the names of all files that a tokenizer of any kind may have: what `save` writes, and `load` reads."""
    return frozenset((*_SHARED, *(name for kind in REGISTRY.values() for names in kind.files for name in names)))


def names_of_kind(kind: str) -> frozenset[str]:
    """Returns the names of the files that `save` writes for a tokenizer of a kind that was trained here."""
    return frozenset((*_SHARED, *REGISTRY[kind].files[0])) - {_ADDED}


def _of_files(files: Mapping[str, str | bytes], source: Path | None) -> Tokenizer:
    """Returns the tokenizer of files that `Tokenizer._files` gave."""
    with tempfile.TemporaryDirectory() as place:
        for name, content in files.items():
            write_whole(Path(place, name), content, temporary=Path(place, "partial"))
        made = Tokenizer.load(place)
    made.source = source
    return made


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Makes the directory of a tokenizer, for a block that writes its files.

    Raises:
      InputError: the directory cannot be written.
      Interrupted: the disk is full.
    """
    try:
        with full_disk(directory, "Free some space and run the same command again."):
            directory.mkdir(parents=True, exist_ok=True)
            yield
    except OSError as error:
        if not cannot_write(error):
            raise
        raise InputError(
            f"the tokenizer cannot be written: {error.strerror}",
            where=str(directory),
            fix="Give another directory.",
            code="E-TOKENIZER-WRITE",
        ) from None


@dataclass(frozen=True)
class Kind:
    """The functions and files of one kind of tokenizer.

    Attributes:
      train: (texts, *, vocab_size, lowercase, where) -> tokenizer; see `train_tokenizer`.
      load: opens a directory of this kind.
      model: the type of the model in tokenizer.json.
      files: sets of files. A directory without tokenizer.json that holds one of the sets is of this kind. The first
        set is the one that `train`'s tokenizers save.
      keeps_case: whether the kind has no uncased normalisation.
    """

    train: Callable[..., Tokenizer]
    load: Callable[[Path], Tokenizer]
    model: str
    files: tuple[tuple[str, ...], ...]
    keeps_case: bool = False

    def found(self, directory: Path) -> bool:
        """Returns whether `directory` holds all files of one of the sets in `files`."""
        return any(all((directory / name).exists() for name in names) for names in self.files)


def _model_type(path: Path) -> str | None:
    """Returns the type of the model in a tokenizer.json, or None if there is no such file.

    Files of older libraries do not state it: a model with merges is BPE, and a list of pieces with scores is unigram.
    """
    if not path.exists():
        return None
    model = read_json(path).get("model")
    if not isinstance(model, dict):
        raise InputError(
            "unusable tokenizer (it has no model)", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        )
    guess = "BPE" if "merges" in model else "Unigram" if isinstance(model.get("vocab"), list) else "WordPiece"
    return str(model.get("type", guess))


def read_text(path: Path) -> str:
    """Returns the text of a file. Raises InputError if it cannot be read or is not UTF-8."""
    try:
        return files.read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    except ValueError as error:
        raise InputError(str(error), where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE") from None
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError(
            f"the file cannot be read: {error.strerror}",
            where=str(path),
            fix="Check the file and its mode.",
            code="E-TOKENIZER-FILE",
        ) from None


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file. Raises InputError if there is none."""
    found: dict[str, Any] = parse_json(
        read_text(path),
        "the file cannot be used",
        where=str(path),
        fix="Copy the file again.",
        code="E-TOKENIZER-FILE",
        shape=dict,
    )
    return found


def to_json(value: Any) -> str:
    """Returns JSON in the format of our small files."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def in_order(ids: dict[str, int], path: Path, filler: Callable[[int], str]) -> list[str]:
    """Returns the pieces by id.

    Args:
      ids: the id of each piece.
      path: the file that an error names.
      filler: number -> the name of the piece that fills this hole among the ids, from 0 on. No text contains it.

    Raises:
      InputError: an id is not a whole number of at least 0, two pieces have one id, or there are more holes than
        pieces.
    """
    right = all(isinstance(index, int) and not isinstance(index, bool) and index >= 0 for index in ids.values())
    size = max(ids.values(), default=-1) + 1 if right else 0
    if not right or len(set(ids.values())) != len(ids) or size > 2 * len(ids) + _MOST_HOLES:
        raise InputError(
            "ids are not 0 .. V-1, each once", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        )
    names = (name for name in map(filler, itertools.count()) if name not in ids)
    pieces = {index: piece for piece, index in ids.items()}
    return [pieces[index] if index in pieces else next(names) for index in range(size)]


def unknown_spans(tokenizer: Any, word: str, unk_id: int) -> int:
    """Returns how many characters of a word become unknown tokens in a tokenizer of the Rust library."""
    found = tokenizer.encode(word, add_special_tokens=False)
    spans = zip(found.ids, found.offsets, strict=True)
    return sum(stop - start for index, (start, stop) in spans if index == unk_id)


def library_offsets(tokenizer: Any, texts: Sequence[str]) -> list[tuple[list[int], Offsets]]:
    """Returns what `Tokenizer.encode_offsets` returns, from a tokenizer of the Rust library."""
    found = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [(one.ids, _trimmed(text, one.offsets)) for text, one in zip(texts, found, strict=True)]


def _trimmed(text: str, offsets: Offsets) -> Offsets:
    """Returns the characters of tokens without white space around them, and with the marks that no token has."""
    for index, (start, end) in enumerate(offsets):
        if start == end:
            continue
        if text[start].isspace() or text[end - 1].isspace():
            inner = text[start:end].lstrip()
            start, end = end - len(inner), end - len(inner) + len(inner.rstrip())
            offsets[index] = (start, end)
        if end < len(text) and text[end] > "\x7f":
            # A normaliser that removes accents, or joins them with letters, leaves the accent to no token.
            most = offsets[index + 1][0] if index + 1 < len(offsets) else len(text)
            while end < most and (is_mark(text[end]) or text[end] in _VOICED):
                end += 1
            offsets[index] = (start, end)
    return offsets


def stands_apart(text: str) -> bool:
    """Returns whether WordPiece makes each character of `text` a word: no letters or digits, or only ideographs.

    The marks on letters, such as vowel signs, do not stand apart: they belong to a word as its letters do.
    """
    return bool(text) and all(
        not (char.isalnum() or is_mark(char)) or "\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf"
        for char in text
    )
