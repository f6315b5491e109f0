"""What every tokenizer is: a vocabulary, the way from text to its ids, and files that we and others open."""

from __future__ import annotations

import abc
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from jaxbert.errors import InputError, Interrupted
from jaxbert.stores.files import disk_is_full, write_whole
from jaxbert.stores.workdir import workdir_of
from jaxbert.text.tokenizers.registry import REGISTRY

if TYPE_CHECKING:
    pass

# What a piece means: (whether a word begins with it, its text). It is (None, the piece itself) for a piece without a
# text, for example a byte that is not a character.
Meaning = tuple[bool | None, str]


class Specials(NamedTuple):
    """Names of the special tokens, in the order of Hugging Face's `pad_token`, `unk_token`, ..."""

    pad: str
    unk: str
    cls: str
    sep: str
    mask: str


class Tokenizer(abc.ABC):
    """A vocabulary and the way from text to its ids.

    Attributes:
      kind: a key of `REGISTRY`.
      joint: what goes in front of a sentence that is not the first of its document, so that a text tokenised sentence
        by sentence gives what the running text gives, its sentences set apart by one space.
      pair_separators: separators between the two segments of a pair: [CLS] A [SEP] B [SEP] has 1,
        <s> A </s></s> B </s> has 2.
      pair_types: the second segment has token type 1; else every token has 0.
      specials: names of the special tokens.
      vocab: pieces, by id.
      vocab_size: V.
      lowercase: texts are lower-cased.
      pad_id, unk_id, cls_id, sep_id, mask_id: of the special tokens.
      word_start: bool [V], the piece begins a word.
      special: bool [V], `specials` but the unknown token: what masking never chooses.
      hash: hex sha256 of all that decides on ids (not of the files' layout, which changes between libraries).
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
          lowercase: as the attribute.
          starts_word: of a piece that is no special token: as `word_start`.
          where: named in an error.
          fix: likewise.

        Raises:
          InputError: a special token is missing, or a piece stands twice.
        """
        # Deferred: the command line reads the names of the kinds, and does without numpy.
        import numpy as np

        self.vocab = list(vocab)
        self.vocab_size = len(self.vocab)
        self.lowercase = lowercase
        self._ids = {piece: index for index, piece in enumerate(self.vocab)}
        missing = [token for token in self.specials if token not in self._ids]
        if missing or len(self._ids) != self.vocab_size:
            what = f"the vocabulary lacks {', '.join(missing)}" if missing else "a piece stands twice in the vocabulary"
            raise InputError(what, where=where or "vocabulary", fix=fix, code="E-TOKENIZER-VOCABULARY")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (self._ids[token] for token in self.specials)
        self.special = np.zeros(self.vocab_size, bool)
        self.special[[self.pad_id, self.cls_id, self.sep_id, self.mask_id]] = True
        self.word_start = np.array([piece in self.specials or starts_word(piece) for piece in self.vocab], bool)

    @property
    def hash(self) -> str:
        """See the class."""
        return self._hash

    @functools.cached_property
    def _hash(self) -> str:
        return hashlib.sha256(json.dumps(self._decides(), sort_keys=True).encode()).hexdigest()

    @abc.abstractmethod
    def _decides(self) -> dict[str, Any]:
        """All that decides on ids, as JSON has it."""

    @abc.abstractmethod
    def _files(self) -> dict[str, str | bytes]:
        """What `save` writes, by name; the last one last, so that it is there only when the others are."""

    @abc.abstractmethod
    def encode_batch(self, texts: Sequence[str], *, special_tokens: bool = False) -> list[list[int]]:
        """Ids of each text, nothing added around them.

        Args:
          texts: any number.
          special_tokens: whether "[MASK]" and its like in a text are the special tokens, as Hugging Face's call has it,
            or characters like any others.
        """

    @abc.abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids, special tokens shown."""

    def encode(self, text: str, *, special_tokens: bool = False) -> list[int]:
        """Ids of one text; see `encode_batch`."""
        return self.encode_batch([text], special_tokens=special_tokens)[0]

    def meaning(self, piece: str) -> Meaning:
        """Returns the meaning of a piece, in terms that all kinds share; see `Meaning`."""
        return bool(self.word_start[self.id(piece)]), piece

    def splitter(self) -> Callable[[bool, str], list[int]]:
        """Returns a function (whether a word begins with the text, text) -> ids of its pieces, with unknown ones."""
        return lambda starts, text: self.encode(f" {text}" if starts else text)

    def token(self, index: int) -> str:
        """The piece with this id."""
        return self.vocab[int(index)]

    def id(self, token: str) -> int:
        """The id of this piece, that of the unknown token where there is none."""
        return self._ids.get(token, self.unk_id)

    def save(self, directory: Path | str) -> None:
        """Writes the tokenizer's files, tokenizer.json among them, which is there only when all the others are.

        Hugging Face's AutoTokenizer and `load` open the directory.

        Raises:
          InputError: it cannot be written.
          Interrupted: the disk is full.
        """
        directory = Path(directory)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name, content in self._files().items():
                write_whole(directory / name, content, temporary=directory / f".{name}.{os.getpid()}.partial")
        except OSError as error:
            if disk_is_full(error):
                raise Interrupted(
                    "the disk is full",
                    where=str(directory),
                    fix="Free some space and run the same command again.",
                    code="E-DISK-FULL",
                ) from error
            raise InputError(
                f"cannot write there: {error.strerror}",
                where=str(directory),
                fix="Give another directory.",
                code="E-TOKENIZER-WRITE",
            ) from None

    @staticmethod
    def load(directory: Path | str) -> Tokenizer:
        """Opens a tokenizer of any kind.

        Which kind it is its files say: tokenizer.json by its model, else vocab.json with merges.txt (byte-level BPE),
        vocab.txt (WordPiece), spiece.model, spm.model or 30k-clean.model (unigram).

        Raises:
          InputError: missing, unreadable, or of a kind that is none of `REGISTRY`.
        """
        directory = Path(directory)
        if not directory.is_dir():
            what = "a file where a tokenizer's directory is due" if directory.exists() else "no such tokenizer"
            raise InputError(
                what, where=str(directory), fix="Give the --out of `jaxbert tokenizer`.", code="E-TOKENIZER-MISSING"
            )
        model = _model_type(directory / "tokenizer.json")
        for kind in REGISTRY.values():
            if model == kind.model or (model is None and kind.found(directory)):
                return kind.load(directory)
        if model is not None:
            raise InputError(
                f"a tokenizer of another kind ({model})",
                where=str(directory / "tokenizer.json"),
                fix=f"Known kinds: {', '.join(REGISTRY)}.",
                code="E-TOKENIZER-KIND",
            )
        files = " nor ".join(" with ".join(names) for kind in REGISTRY.values() for names in kind.files)
        raise InputError(
            f"neither tokenizer.json nor {files} is there",
            where=str(directory),
            fix="Give the --out of `jaxbert tokenizer`, or a Hugging Face directory.",
            code="E-TOKENIZER-MISSING",
        )

    @staticmethod
    def present(directory: Path | str) -> bool:
        """Whether the files of some tokenizer are in `directory`; whether they are sound `load` says."""
        directory = Path(directory)
        return (directory / "tokenizer.json").is_file() or any(kind.found(directory) for kind in REGISTRY.values())

    @staticmethod
    def place(model: Path | str) -> Path:
        """Where the tokenizer of a MODEL lies: in tokenizer/ of a run, else, also if none is there, in `model`."""
        path = Path(model)
        workdir, _ = workdir_of(path)
        return next((place for place in (path, workdir / "tokenizer") if Tokenizer.present(place)), path)


@dataclass(frozen=True)
class Kind:
    """How tokenizers of one kind are made and found.

    Attributes:
      train: (texts, *, vocab_size, lowercase) -> tokenizer; see `train_tokenizer`.
      load: opens a directory that is of this kind.
      model: the type of its model in tokenizer.json.
      files: each a set of files that make a tokenizer of this kind where there is no tokenizer.json.
      keeps_case: it has no uncased normalisation.
    """

    train: Callable[..., Tokenizer]
    load: Callable[[Path], Tokenizer]
    model: str
    files: tuple[tuple[str, ...], ...]
    keeps_case: bool = False

    def found(self, directory: Path) -> bool:
        """Whether one of `files` is whole in `directory`."""
        return any(all((directory / name).exists() for name in names) for names in self.files)


def _model_type(path: Path) -> str | None:
    """The type of the model in a tokenizer.json; None where there is no such file.

    Files of older libraries do not say it: a model with merges is BPE, a list of pieces with scores unigram.
    """
    if not path.exists():
        return None
    model = read_json(path).get("model")
    if not isinstance(model, dict):
        raise InputError(
            "unusable tokenizer (no model in it)", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        )
    guess = "BPE" if "merges" in model else "Unigram" if isinstance(model.get("vocab"), list) else "WordPiece"
    return str(model.get("type", guess))


def read_text(path: Path) -> str:
    """A file's text; InputError where it is unreadable or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 at byte {error.start}", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        ) from None
    except OSError as error:
        raise InputError(
            f"unreadable: {error.strerror}",
            where=str(path),
            fix="Check the file and its mode.",
            code="E-TOKENIZER-FILE",
        ) from None


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object; InputError where it is none."""
    try:
        return dict(json.loads(read_text(path)))
    except RecursionError:
        raise InputError(
            "not JSON: nests too deep", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        ) from None
    except (ValueError, TypeError) as error:
        raise InputError(
            f"not JSON: {error}", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        ) from None


def to_json(value: Any) -> str:
    """How our small files write JSON."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def in_order(ids: dict[str, int], path: Path) -> list[str]:
    """Pieces by id; InputError unless the ids are 0 .. V-1, each once."""
    pieces = sorted(ids, key=lambda piece: ids[piece])
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        raise InputError(
            "ids are not 0 .. V-1, each once", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        )
    return pieces


def stands_apart(text: str) -> bool:
    """Whether WordPiece makes each character of `text` a separate word: no letters or digits, or ideographs only."""
    return bool(text) and all(
        not char.isalnum() or "\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf" for char in text
    )
