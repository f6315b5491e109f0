"""The tokenizer class that all kinds share: a vocabulary, encoding, and files that we and others open."""

from __future__ import annotations

import abc
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from jaxbert.errors import InputError
from jaxbert.inputs import files
from jaxbert.inputs.values import parse_json
from jaxbert.stores.files import cannot_write, full_disk, write_whole
from jaxbert.stores.workdir import workdir_of
from jaxbert.text.tokenizers.registry import REGISTRY

# The meaning of a piece: (whether a word begins with it, its text). It is (None, the piece itself) for a piece without
# a text, for example a byte that is not a character.
Meaning = tuple[bool | None, str]


class Specials(NamedTuple):
    """Names of the special tokens, in the order of Hugging Face's `pad_token`, `unk_token`, ..."""

    pad: str
    unk: str
    cls: str
    sep: str
    mask: str


class Tokenizer(abc.ABC):
    """A vocabulary, and the encoding of texts as ids.

    Attributes:
      kind: a key of `REGISTRY`.
      joint: the string before every sentence but the first of a document, so that tokenising sentence by sentence gives
        the tokens of the running text with one space between sentences.
      pair_separators: the number of separators between the segments of a pair: 1 in [CLS] A [SEP] B [SEP], 2 in
        <s> A </s></s> B </s>.
      pair_types: whether the second segment has token type 1; otherwise every token has type 0.
      specials: the names of the special tokens.
      vocab: pieces, by id.
      vocab_size: V.
      lowercase: whether texts are lower-cased.
      pad_id, unk_id, cls_id, sep_id, mask_id: the ids of the special tokens.
      word_start: bool [V], whether the piece begins a word.
      special: bool [V], the special tokens but the unknown one, which masking never chooses.
      hash: sha256, in hexadecimal, of everything that decides the ids. The layout of files, which changes between
        libraries, is not in it.
    """

    kind: ClassVar[str]
    joint: ClassVar[str] = ""
    pair_separators: ClassVar[int] = 1
    pair_types: ClassVar[bool] = True
    specials: ClassVar[Specials]

    def __init__(
        self, vocab: Sequence[str], *, lowercase: bool, starts_word: Callable[[str], bool], where: str, fix: str
    ):
        """Sets all attributes.

        Args:
          vocab: pieces, by id.
          lowercase: see the attribute.
          starts_word: returns whether a piece begins a word; it is not asked about special tokens.
          where: the file that an error names.
          fix: the advice that an error gives.

        Raises:
          InputError: a special token is missing, or a piece occurs twice.
        """
        # Imported here, so that the command line lists the kinds without numpy.
        import numpy as np

        self.vocab = list(vocab)
        self.vocab_size = len(self.vocab)
        self.lowercase = lowercase
        self._ids = {piece: index for index, piece in enumerate(self.vocab)}
        missing = [token for token in self.specials if token not in self._ids]
        if missing or len(self._ids) != self.vocab_size:
            what = f"the vocabulary lacks {', '.join(missing)}" if missing else "a piece occurs twice in the vocabulary"
            raise InputError(what, where=where or "vocabulary", fix=fix, code="E-TOKENIZER-VOCABULARY")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (self._ids[token] for token in self.specials)
        self.special = np.zeros(self.vocab_size, bool)
        self.special[[self.pad_id, self.cls_id, self.sep_id, self.mask_id]] = True
        self.word_start = np.array([piece in self.specials or starts_word(piece) for piece in self.vocab], bool)

    def __reduce__(self) -> tuple[Any, ...]:
        # Kinds hold functions, which cannot be pickled. Their files say everything.
        return _of_files, (self._files(),)

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
    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids, with the names of special tokens."""

    def encode(self, text: str, *, special_tokens: bool = False) -> list[int]:
        """Returns the ids of one text; see `encode_batch`."""
        return self.encode_batch([text], special_tokens=special_tokens)[0]

    def meaning(self, piece: str) -> Meaning:
        """Returns the meaning of a piece, in terms that all kinds share; see `Meaning`."""
        return bool(self.word_start[self.id(piece)]), piece

    def splitter(self) -> Callable[[bool, str], list[int]]:
        """Returns a function (whether a word begins with the text, text) -> ids of its pieces, with unknown ones."""
        return lambda starts, text: self.encode(f" {text}" if starts else text)

    def token(self, index: int) -> str:
        """Returns the piece with this id."""
        return self.vocab[int(index)]

    def id(self, token: str) -> int:
        """Returns the id of this piece, or the id of the unknown token if there is no such piece."""
        return self._ids.get(token, self.unk_id)

    def save(self, directory: Path | str) -> None:
        """Writes the tokenizer's files. tokenizer.json comes last, so that it exists only when all others do.

        `load` and Hugging Face's AutoTokenizer open the directory.

        Raises:
          InputError: the directory cannot be written.
          Interrupted: the disk is full.
        """
        directory = Path(directory)
        try:
            with full_disk(directory, "Free some space and run the same command again."):
                directory.mkdir(parents=True, exist_ok=True)
                for name, content in self._files().items():
                    write_whole(directory / name, content, temporary=directory / f".{name}.{os.getpid()}.partial")
        except OSError as error:
            if not cannot_write(error):
                raise
            raise InputError(
                f"the tokenizer cannot be written: {error.strerror}",
                where=str(directory),
                fix="Give another directory.",
                code="E-TOKENIZER-WRITE",
            ) from None

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
                return kind.load(directory)
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


def _of_files(files: Mapping[str, str | bytes]) -> Tokenizer:
    """Returns the tokenizer of files that `Tokenizer._files` gave."""
    with tempfile.TemporaryDirectory() as place:
        for name, content in files.items():
            write_whole(Path(place, name), content, temporary=Path(place, "partial"))
        return Tokenizer.load(place)


@dataclass(frozen=True)
class Kind:
    """The functions and files of one kind of tokenizer.

    Attributes:
      train: (texts, *, vocab_size, lowercase) -> tokenizer; see `train_tokenizer`.
      load: opens a directory of this kind.
      model: the type of the model in tokenizer.json.
      files: sets of files. A directory without tokenizer.json that holds one of the sets is of this kind.
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


def in_order(ids: dict[str, int], path: Path) -> list[str]:
    """Returns the pieces by id. Raises InputError unless the ids are 0 .. V-1, each once."""
    pieces = sorted(ids, key=lambda piece: ids[piece])
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        raise InputError(
            "ids are not 0 .. V-1, each once", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        )
    return pieces


def stands_apart(text: str) -> bool:
    """Returns whether WordPiece makes each character of `text` a word: no letters or digits, or only ideographs."""
    return bool(text) and all(
        not char.isalnum() or "\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf" for char in text
    )
