"""A unigram tokenizer that has no SentencePiece model, only a tokenizer.json, as transformers 5 saves ALBERT's.

The Rust library `tokenizers` computes the ids, with the normaliser and the cuts of the file. With a SentencePiece model
beside it, `jaxbert.text.tokenizers.unigram` reads the tokenizer instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers as rust

from jaxbert.errors import InputError
from jaxbert.inputs.values import parse
from jaxbert.text.scripts import is_unspaced
from jaxbert.text.tokenizers.base import (
    Added,
    Meaning,
    Offsets,
    Specials,
    Tokenizer,
    library_offsets,
    read_json,
    stands_apart,
    unknown_spans,
)
from jaxbert.text.tokenizers.declared import Declared, assemble, check_template, read_declared

SPACE = "\u2581"
# Classes of transformers that are ALBERT's tokenizer.
CLASSES = ("AlbertTokenizer",)
SPECIALS = Specials(pad="<pad>", unk="<unk>", cls="[CLS]", sep="[SEP]", mask="[MASK]")
_PARTS = ("model", "normalizer", "pre_tokenizer", "decoder")
_FIX = "Give the tokenizer.json of an ALBERT tokenizer."


def begins_of_words(tokenizer: Tokenizer, ids: Sequence[int]) -> list[bool]:
    """Returns `Tokenizer.word_begins` of a unigram, whose pieces have a mark for the space before them.

    An unknown character is a part of the word around it.
    """
    whole = {token.content for token in tokenizer.added} - {tokenizer.specials.unk}
    pieces = [tokenizer.token(index) for index in ids]
    return [piece.startswith(SPACE) or piece in whole or is_unspaced(piece) for piece in pieces]


class UnigramOfJson(Tokenizer):
    """A unigram in the form of a tokenizer.json.

    Attributes: those of `Tokenizer`, and
      parts: the values of tokenizer.json under "model", "normalizer", "pre_tokenizer" and "decoder".
    """

    kind = "unigram"
    classes = CLASSES
    specials = SPECIALS

    def __init__(
        self,
        parts: Mapping[str, Any],
        vocab: Sequence[str],
        *,
        specials: Specials,
        added: Sequence[Added],
        model_size: int,
        starts_word: Callable[[str], bool],
        where: str = "",
    ):
        """Raises InputError, which names `where`, if a special token is missing or the library refuses the parts."""
        self.parts = dict(parts)
        super().__init__(
            vocab,
            lowercase=_lowers(parts["normalizer"]),
            starts_word=starts_word,
            where=where,
            fix=_FIX,
            specials=specials,
            added=added,
            model_size=model_size,
        )
        self._starts_word, self._where = starts_word, where
        self._rust = self._build(literal=False)
        self._literal = self._build(literal=True)

    def _build(self, *, literal: bool) -> Any:
        whole: dict[str, Any] = {**dict.fromkeys(("truncation", "padding", "post_processor")), "added_tokens": []}
        try:
            tokenizer = rust.Tokenizer.from_str(json.dumps({"version": "1.0", **whole, **self.parts}))
        except Exception as error:  # The library raises Exception itself.
            raise InputError(
                f"unusable tokenizer ({error})", where=self._where or "model", fix=_FIX, code="E-TOKENIZER-FILE"
            ) from None
        tokenizer.post_processor = self._bert_template()
        return self._add_to(tokenizer, literal=literal)

    def _unknown_chars(self, word: str) -> int:
        return unknown_spans(self._literal, word, self.unk_id)

    def meaning(self, piece: str) -> Meaning:
        """See `Tokenizer`."""
        return piece.startswith(SPACE), piece.removeprefix(SPACE)

    def word_begins(self, ids: Sequence[int]) -> list[bool]:
        """See `Tokenizer`. White space separates words."""
        return begins_of_words(self, ids)

    def splitter(self) -> Callable[[bool, str], list[int]]:
        """See `Tokenizer`."""
        # The same tokenizer, for texts that do not begin a word.
        inside = UnigramOfJson(
            {**self.parts, "pre_tokenizer": _without_prefix(self.parts["pre_tokenizer"])},
            self.vocab,
            specials=self.specials,
            added=self.added,
            model_size=self.model_size,
            starts_word=self._starts_word,
        )
        return lambda starts, text: (self if starts or stands_apart(text) else inside).encode(text)

    def _decides(self) -> dict[str, Any]:
        return {
            "kind": "unigram of tokenizer.json",
            "vocab": self.vocab,
            **{name: self.parts[name] for name in _PARTS[:3]},
            **self._decides_added(),
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
        # From the names themselves: the library's `decode` gives a normalised added token in lower case.
        names = [self.token(index) for index in ids]
        return str(self._rust.decoder.decode(names)) if self._rust.decoder is not None else " ".join(names)

    def _files(self) -> dict[str, str | bytes]:
        # The library's own words for everything but the parts, which stay as they were read.
        whole = {**parse(self._rust.to_str()), **self.parts}
        names = {f"{role}_token": name for role, name in self.specials._asdict().items()}
        names |= {"bos_token": self.specials.cls, "eos_token": self.specials.sep}
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            **names,
        }
        return {
            **self._added_files(config, names),
            "tokenizer.json": json.dumps(whole, ensure_ascii=False, indent=2) + "\n",
        }


def load_json(directory: Path, rule: Callable[[Iterable[str]], Callable[[str], bool]]) -> UnigramOfJson:
    """Opens a directory whose tokenizer.json holds a unigram model.

    Args:
      directory: the directory.
      rule: returns the rule for the pieces of a vocabulary that start a word.

    Raises:
      InputError: the file cannot be read, or it puts special tokens around texts in another way than ALBERT.
    """
    path = directory / "tokenizer.json"
    whole = read_json(path)
    declared = read_declared(directory, CLASSES, whole)
    try:
        parts = {name: whole[name] for name in _PARTS}
        ids = {piece: index for index, (piece, _) in enumerate(parts["model"]["vocab"])}
        unknown = parts["model"].get("unk_id")
        default = SPECIALS if unknown is None else SPECIALS._replace(unk=parts["model"]["vocab"][unknown][0])
        parts["normalizer"] = _normalizer(declared, parts["normalizer"])
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise InputError(
            f"unusable tokenizer ({error!r})", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        ) from None
    found = assemble(ids, declared, UnigramOfJson.usual, default=default, filler="<hole {}>".format, path=path)
    made = UnigramOfJson(
        parts,
        found.vocab,
        specials=found.specials,
        added=found.added,
        model_size=found.model_size,
        starts_word=rule(found.vocab),
        where=str(path),
    )
    check_template(whole.get("post_processor"), declared, made, path)
    made.max_length = declared.max_length
    return made


def _parts(normalizer: Any) -> list[dict[str, Any]]:
    """Returns the normalisers of a sequence, also where it is one or none."""
    if normalizer is None:
        return []
    return list(normalizer["normalizers"]) if normalizer.get("type") == "Sequence" else [normalizer]


def _lowers(normalizer: Any) -> bool:
    return any(part.get("type") == "Lowercase" for part in _parts(normalizer))


def _normalizer(declared: Declared, there: Any) -> Any:
    """Returns the normaliser with the case and the accents that the settings ask for, as AlbertTokenizer builds it."""
    parts = _parts(there)
    lower = declared.setting("do_lower_case", _lowers(there), True)
    accents = not any(part.get("type") == "StripAccents" for part in parts)
    keep = declared.setting("keep_accents", accents, False)
    if (lower, keep) == (_lowers(there), accents):
        return there
    left = [part for part in parts if part.get("type") not in ("NFKD", "StripAccents", "Lowercase")]
    at = next((index for index, part in enumerate(left) if part.get("type") == "Precompiled"), len(left))
    new = [] if keep else [{"type": "NFKD"}, {"type": "StripAccents"}]
    new += [{"type": "Lowercase"}] if lower else []
    return {"type": "Sequence", "normalizers": [*left[:at], *new, *left[at:]]}


def _without_prefix(pre_tokenizer: Any) -> Any:
    """Returns a pre-tokenizer that puts no space mark before a text."""
    if isinstance(pre_tokenizer, dict):
        if pre_tokenizer.get("type") == "Metaspace":
            return {**pre_tokenizer, "prepend_scheme": "never"}
        return {key: _without_prefix(value) for key, value in pre_tokenizer.items()}
    return [_without_prefix(value) for value in pre_tokenizer] if isinstance(pre_tokenizer, list) else pre_tokenizer
