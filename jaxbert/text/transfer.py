"""From one vocabulary to another: which old pieces each new piece's embedding starts from. Imports no jax.

A piece means a text, and whether a word begins with it; each kind of tokenizer writes that in its own way ("##ing",
"Ġthe", "▁the"). A new piece starts from the old one that means the same, else from the mean of those into which the old
tokenizer splits its text (Mosin et al. 2021, "Fine-Tuning Transformers: Vocabulary Transfer"; Gee et al. 2022, "Fast
Vocabulary Transfer for Language Model Compression"), else from the mean of all. Nothing is drawn at random.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tokenizers as rust
from numpy.typing import NDArray

from jaxbert.text.tokenizers.base import Tokenizer
from jaxbert.text.tokenizers.unigram import Unigram
from jaxbert.text.tokenizers.wordpiece import SPECIALS, WordPiece

Array = NDArray[Any]
# (a word begins with it, its text); (None, the piece itself) where it has no text: a byte that is no character.
Meaning = tuple[bool | None, str]

_MARK, _SPACE = "##", "\u2581"
_BYTES = rust.decoders.ByteLevel()


@dataclass(frozen=True)
class Transfer:
    """The old pieces of each new one.

    Attributes:
      sources: by new id, the old ids whose rows it is the mean of; none: the mean of all rows.
      taken: new pieces that are an old one, or have its role.
      averaged: those that start from the mean of their parts.
      unknown: those of which the old tokenizer knows nothing.
    """

    sources: Sequence[tuple[int, ...]]
    taken: int
    averaged: int
    unknown: int

    def rows(self, table: Array) -> Array:
        """Rows (new V, ...) in float32 from the old `table` (V, ...), which has no padding."""
        table = np.asarray(table, np.float32)
        result = np.empty((len(self.sources), *table.shape[1:]), np.float32)
        counts = np.array([len(ids) for ids in self.sources])
        for count in np.unique(counts):
            chosen = np.flatnonzero(counts == count)
            if count == 0:
                result[chosen] = table.mean(axis=0, dtype=np.float64)
                continue
            ids = np.array([ids for ids in self.sources if len(ids) == count])
            total = table[ids[:, 0]]
            for part in range(1, count):
                total += table[ids[:, part]]
            result[chosen] = total / np.float32(count)
        return result

    def line(self) -> str:
        """What to say of it."""
        return (
            f"new vocabulary: of {len(self.sources):,} pieces {self.taken:,} start from the same piece of the old one, "
            f"{self.averaged:,} from the mean of their parts, {self.unknown:,} from the mean of all"
        )


def transfer(old: Tokenizer, new: Tokenizer) -> Transfer:
    """Where each piece of `new` starts in `old`; they may be of different kinds, one cased and one uncased.

    Special tokens go by their role. Another piece is looked for as it is, then without regard to case and accents, then
    split.
    """
    roles = dict(zip(_roles(new), _roles(old), strict=True))
    ordinary = [(index, meaning(old, piece)) for index, piece in enumerate(old.vocab) if index not in roles.values()]
    exact: dict[Meaning, int] = {}
    folded: dict[Meaning, int] = {}
    for index, found in ordinary:
        exact.setdefault(found, index)
        folded.setdefault((found[0], _fold(found[1])), index)
    split = splitter(old)
    sources: list[tuple[int, ...]] = []
    taken = averaged = 0
    for index, piece in enumerate(new.vocab):
        same = roles.get(index)
        if same is None:
            starts, text = meaning(new, piece)
            # Of punctuation and the like kinds do not agree whether it begins a word.
            either = (starts, not starts) if starts is not None and _stands_apart(text) else (starts,)
            same = next((exact[start, text] for start in either if (start, text) in exact), None)
            if same is None and starts is not None:
                text_folded = _fold(text)
                same = next((folded[start, text_folded] for start in either if (start, text_folded) in folded), None)
        if same is not None:
            taken += 1
            sources.append((same,))
            continue
        parts = () if starts is None else tuple(part for part in split(starts, text) if part != old.unk_id)
        averaged += bool(parts)
        sources.append(parts)
    return Transfer(sources, taken, averaged, len(sources) - taken - averaged)


def meaning(tokenizer: Tokenizer, piece: str) -> Meaning:
    """What `piece` of `tokenizer` means, in terms that all kinds share."""
    if tokenizer.kind == "wordpiece":
        return (False, piece.removeprefix(_MARK)) if piece.startswith(_MARK) and piece != _MARK else (True, piece)
    if tokenizer.kind == "bpe":
        text = str(_BYTES.decode([piece]))
        if "\ufffd" in text:
            return None, piece
        return text.startswith(" "), text.removeprefix(" ")
    return piece.startswith(_SPACE), piece.removeprefix(_SPACE)


def splitter(tokenizer: Tokenizer) -> Callable[[bool, str], list[int]]:
    """(a word begins with it, text) -> ids of the text's pieces, unknown ones among them."""
    if isinstance(tokenizer, WordPiece):
        return _wordpiece_splitter(tokenizer)
    if isinstance(tokenizer, Unigram):
        inside = _without_dummy_prefix(tokenizer)
        return lambda starts, text: (tokenizer if starts else inside).encode(text)
    return lambda starts, text: tokenizer.encode(f" {text}" if starts else text)


def _wordpiece_splitter(tokenizer: WordPiece) -> Callable[[bool, str], list[int]]:
    # A tokenizer whose words begin with what continues them in the other.
    marked = [piece for piece in tokenizer.vocab if piece.startswith(_MARK) and piece != _MARK]
    known = {*SPECIALS, *marked}
    bare = [piece for piece in (piece.removeprefix(_MARK) for piece in marked) if piece not in known]
    inside = WordPiece([*SPECIALS, *bare, *marked], tokenizer.normalisation, max_word_chars=tokenizer.max_word_chars)
    old_ids = [tokenizer.id(piece) for piece in (*SPECIALS, *(_MARK + piece for piece in bare), *marked)]
    normalizer, pre_tokenizer = tokenizer.normalisation.build(), rust.pre_tokenizers.BertPreTokenizer()

    def split(starts: bool, text: str) -> list[int]:
        words = [word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text))]
        if starts or not words or _stands_apart(words[0]):
            return tokenizer.encode(" ".join(words))
        return [old_ids[index] for index in inside.encode(words[0])] + tokenizer.encode(" ".join(words[1:]))

    return split


def _without_dummy_prefix(tokenizer: Unigram) -> Unigram:
    """The same, but a text does not begin a word."""
    from sentencepiece import sentencepiece_model_pb2

    proto: Any = sentencepiece_model_pb2
    model = proto.ModelProto()
    model.ParseFromString(tokenizer.model)
    model.normalizer_spec.add_dummy_prefix = False
    return Unigram(model.SerializeToString(), tokenizer.normalisation)


def _roles(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids of the special tokens, in the order of `Specials`."""
    return tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id


def _fold(text: str) -> str:
    """`text` without case and accents."""
    return "".join(char for char in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(char) != "Mn")


def _stands_apart(text: str) -> bool:
    """Whether WordPiece makes each character of `text` a word of its own: neither letters nor digits, or ideographs."""
    return bool(text) and all(
        not char.isalnum() or "\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf" for char in text
    )
