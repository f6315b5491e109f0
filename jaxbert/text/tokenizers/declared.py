"""Reads what the files of Hugging Face say about a tokenizer beside its vocabulary.

That is the names of the special tokens, the tokens that were added after training, and settings. The files are
tokenizer_config.json, special_tokens_map.json, added_tokens.json, the added tokens in tokenizer.json, and config.json
for the class of the tokenizer. They repeat each other, and may disagree. The order in which they count is that of
transformers (tokenization_utils_base.py `_from_pretrained`): for the flags of a token `added_tokens_decoder` of
tokenizer_config.json, then tokenizer.json, then special_tokens_map.json, then the named tokens of
tokenizer_config.json; for a setting such as `do_lower_case` tokenizer_config.json, then tokenizer.json.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxbert.errors import InputError
from jaxbert.text.tokenizers.base import Added, Specials, Tokenizer, in_order, read_json

_log = logging.getLogger(__name__)

_ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
# These are special tokens too, but no family here has a use for them other than to find them in texts.
_OTHER_ROLES = ("bos_token", "eos_token")
_LISTS = ("additional_special_tokens", "extra_special_tokens")
# Classes that take tokenizer.json as it is. The classes of the kinds build the tokenizer anew from the vocabulary, with
# the settings of tokenizer_config.json.
_AS_IT_IS = ("PreTrainedTokenizer", "TokenizersBackend", "PythonBackend", "SentencePieceBackend")
# Classes of the kinds that nevertheless put the special tokens around a text as tokenizer.json says, and the model for
# which every class does (models/auto/tokenization_auto.py).
_TEMPLATE_OF_FILE = ("GPT2Tokenizer", "RetriBertTokenizer", "RealmTokenizer")
_MODEL_OF_FILE = "modernbert"
# Classes that cut texts into words with other programs, which no tokenizer.json and no vocab.txt describes, and what a
# user needs to run them.
_OTHERS: Mapping[str, str] = {
    "BertJapaneseTokenizer": "fugashi with a dictionary of MeCab (or sudachipy, or rhoknp)",
    "BertweetTokenizer": "nltk and emoji",
    "PhobertTokenizer": "VnCoreNLP or underthesea",
    "HerbertTokenizer": "sacremoses",
    "FlaubertTokenizer": "sacremoses",
    "XLMTokenizer": "sacremoses",
    "BioGptTokenizer": "sacremoses",
    "RoCBertTokenizer": "transformers, for its tables of shapes and sounds",
    "RoFormerTokenizer": "rjieba",
    "CpmTokenizer": "jieba",
    "TapasTokenizer": "transformers and pandas",
    "CanineTokenizer": "transformers: it has no vocabulary",
    "ByT5Tokenizer": "transformers: it has no vocabulary",
}
# Classes that cut texts as the kinds do, but put other special tokens around them, or give them other types; and the
# models whose class they are, for files that name no class.
_AROUND: Mapping[str, str] = {
    "MPNetTokenizer": "mpnet",
    "FunnelTokenizer": "funnel",
    "SplinterTokenizer": "splinter",
    "DebertaTokenizer": "deberta",
    "GPT2Tokenizer": "gpt2",
}
# The largest number that counts as a length; files say 1e30 for "no limit".
_LONGEST = 10**9


# An id or the name of a text, and its type.
Part = tuple[Any, int]


@dataclass(frozen=True)
class Declared:
    """The content of the files of a directory, as far as it concerns ids.

    Attributes:
      directory: the directory.
      config: tokenizer_config.json; empty where there is none.
      names: the names of special tokens, by `Specials`' fields, where a file states them.
      tokens: the flags and the id (None where no file gives one) of every token that a file lists, by its content.
      plain: tokens that a file names without flags.
      settings: whether the settings of `config` count, beside a tokenizer.json.
      template: whether tokenizer.json says which special tokens stand around a text, and not the class.
    """

    directory: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, tuple[Added, int | None]] = field(default_factory=dict)
    plain: frozenset[str] = frozenset()
    settings: bool = True
    template: bool = False

    def setting(self, key: str, there: Any, default: Any) -> Any:
        """Returns a setting: that of tokenizer_config.json, or else `there`, the one of tokenizer.json.

        Args:
          key: its key in tokenizer_config.json.
          there: the value in tokenizer.json.
          default: the value that transformers takes where tokenizer_config.json has none. A warning says where it
            differs from `there`.
        """
        if not self.settings:
            return there
        if key in self.config:
            value = self.flag(key, default)
            if value != there:
                _log.warning(
                    f"{self.directory}: {key} is {value!r} in tokenizer_config.json and {there!r} in tokenizer.json; "
                    "the first counts, as in transformers"
                )
            return value
        if there != default:
            _log.warning(
                f"{self.directory}: {key} is {there!r} in tokenizer.json, which counts here; transformers takes "
                f"{default!r}, because tokenizer_config.json does not state it"
            )
        return there

    def only(self, key: str, there: Any, default: Any) -> Any:
        """Returns `there`, a setting that only tokenizer.json has, and warns where transformers 5 takes another value.

        Args:
          key: its key in tokenizer.json.
          there: the value.
          default: the value that the class of transformers 5 takes, whatever the file says. Version 4 takes `there`.
        """
        if self.settings and there != default:
            _log.warning(
                f"{self.directory}: {key} is {there!r} in tokenizer.json, which counts here; the class of "
                f"transformers 5 takes {default!r}"
            )
        return there

    def states(self, content: str) -> bool:
        """Returns whether a file gives the flags of a token."""
        return content in self.tokens and content not in self.plain

    def flag(self, key: str, default: bool | None) -> bool | None:
        """Returns a setting of tokenizer_config.json that is true, false or null.

        Raises:
          InputError: it is something else.
        """
        value = self.config.get(key, default)
        if value is not None and not isinstance(value, bool):
            raise InputError(
                f"{key} is {value!r}, but it must be true, false or null",
                where=str(self.directory / "tokenizer_config.json"),
                fix="Correct it, or copy the file again.",
                code="E-TOKENIZER-FILE",
            )
        return value

    @property
    def max_length(self) -> int | None:
        """Returns the longest row, in tokens; None where there is no limit."""
        found = self.config.get("model_max_length")
        right = isinstance(found, int) and not isinstance(found, bool) and 0 < found < _LONGEST
        return int(found) if right else None  # type: ignore[arg-type]


@dataclass(frozen=True)
class Parts:
    """The arguments of `Tokenizer` that `assemble` finds."""

    vocab: list[str]
    specials: Specials
    added: tuple[Added, ...]
    model_size: int


def read_declared(directory: Path, classes: Sequence[str], whole: Mapping[str, Any] | None = None) -> Declared:
    """Reads the files of a directory.

    Args:
      directory: the directory.
      classes: the classes of transformers that cut texts as this kind does, without "Fast" at their end.
      whole: the content of tokenizer.json; None where there is none.

    Raises:
      InputError: a file is damaged, or the class of the tokenizer cuts words by other means than ours, or puts other
        special tokens around texts.
    """
    config = _object(directory / "tokenizer_config.json")
    kind = _class(directory, config)
    if kind in _AROUND and (whole is None or kind not in _TEMPLATE_OF_FILE):
        raise InputError(
            f"the tokenizer is a {kind}, which puts special tokens around texts in another way than {classes[0]}",
            where=str(directory),
            fix="Make the ids with transformers, or give the model a new vocabulary: "
            "`jaxbert pretrain adapt --tokenizer DIR`.",
            code="E-TOKENIZER-CLASS",
        )
    if kind not in ("", *_AS_IT_IS, *classes) and whole is None:
        raise InputError(
            f"the tokenizer is a {kind}, which may cut texts in another way than {classes[0]}",
            where=str(directory),
            fix="Make the ids with transformers, or give the model a new vocabulary: "
            "`jaxbert pretrain adapt --tokenizer DIR`.",
            code="E-TOKENIZER-CLASS",
        )
    try:
        found = _declared(directory, config, whole, settings=kind in ("", *classes))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"the added or special tokens are unusable ({error!r})",
            where=str(directory),
            fix="Copy the tokenizer's files again.",
            code="E-TOKENIZER-FILE",
        ) from None
    return replace(found, template=whole is not None and _template_of_file(directory, kind, classes))


def _template_of_file(directory: Path, kind: str, classes: Sequence[str]) -> bool:
    """Returns whether transformers puts special tokens around a text as tokenizer.json says."""
    model = _object(directory / "config.json").get("model_type")
    if model == _MODEL_OF_FILE or (kind == "" and not model):
        return True
    return kind in _TEMPLATE_OF_FILE or kind not in ("", *classes)


def check_template(processor: Any, declared: Declared, made: Tokenizer, path: Path) -> None:
    """Checks that transformers puts the special tokens around a text and a pair where the kind has them.

    Args:
      processor: "post_processor" of tokenizer.json, in any form.
      declared: what the files say. Where the class puts the tokens, `processor` does not count.
      made: the tokenizer that was read.
      path: the file that an error names.

    Raises:
      InputError: `processor` is unusable, or it puts other tokens there, or gives them other types.
    """
    if not declared.template:
        return
    try:
        single, pair = _rows(processor)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise InputError(
            f"unusable post_processor ({error!r})", where=str(path), fix="Copy the file again.", code="E-TOKENIZER-FILE"
        ) from None
    after = 1 if made.pair_types else 0
    start: list[Part] = [(made.cls_id, 0), ("A", 0), (made.sep_id, 0)]
    rest: list[Part] = [*[(made.sep_id, after)] * (made.pair_separators - 1), ("B", after), (made.sep_id, after)]
    expected, found = [start, [*start, *rest]], [single, pair]
    names = declared.config.get("model_input_names")
    if not made.pair_types and isinstance(names, list) and "token_type_ids" not in names:
        # No model sees the types.
        found = [[(part, 0) for part, _ in row] for row in found]
    if expected != found:
        raise InputError(
            f"the tokenizer puts special tokens around texts in another way than {made.classes[0]}",
            where=str(path),
            fix="Give its post_processor the template of that class.",
            code="E-TOKENIZER-KIND",
        )


def _rows(processor: Any) -> tuple[list[Part], list[Part]]:
    """Returns what a post-processor makes of a text A and of a pair A B: texts and ids, each with its type.

    Of no processor, and of one that adds no special tokens, it returns the texts alone.
    """
    parts = processor["processors"] if processor and processor["type"] == "Sequence" else [processor]
    # ByteLevel only moves offsets.
    adding = [part for part in parts if part is not None and part["type"] != "ByteLevel"]
    if not adding:
        return [("A", 0)], [("A", 0), ("B", 1)]
    (one,) = adding
    if one["type"] == "TemplateProcessing":
        ids = {name: token["ids"] for name, token in one["special_tokens"].items()}
        single, pair = (
            [
                (part, value["type_id"])
                for entry in one[name]
                for form, value in entry.items()
                for part in ([value["id"]] if form == "Sequence" else ids[value["id"]])
            ]
            for name in ("single", "pair")
        )
        return single, pair
    # The number of separators between two texts, and the type of the second.
    separators, after = {"BertProcessing": (1, 1), "RobertaProcessing": (2, 0)}[one["type"]]
    cls, sep = one["cls"][1], one["sep"][1]
    single = [(cls, 0), ("A", 0), (sep, 0)]
    return single, [*single, *[(sep, after)] * (separators - 1), ("B", after), (sep, after)]


def _declared(directory: Path, config: dict[str, Any], whole: Mapping[str, Any] | None, *, settings: bool) -> Declared:
    decoder = config.get("added_tokens_decoder")
    # Files of before 2023 have these two instead of added_tokens_decoder.
    old = {} if decoder is not None else _object(directory / "special_tokens_map.json")
    later = {} if decoder is not None else _object(directory / "added_tokens.json")
    stated = {**config, **old}
    tokens: dict[str, tuple[Added, int | None]] = {}
    plain: set[str] = set()
    lists = [token for key in _LISTS for token in _listed(stated.get(key))]
    named = {key: stated[key] for key in (*_ROLES, *_OTHER_ROLES) if stated.get(key) is not None}
    for token in (*named.values(), *lists):
        made = _token(token, special=True)
        if isinstance(token, str):
            plain.add(made.content)
        tokens[made.content] = (made, None)
    special = set(tokens)
    # transformers 5 does not look into additional_special_tokens of special_tokens_map.json here.
    lists = [token for key in _LISTS for token in _listed(config.get(key))] + _listed(old.get(_LISTS[-1]))
    counted = {_token(token, special=True).content for token in (*named.values(), *lists)}
    for content, index in later.items():
        known = content in counted
        tokens[content] = (Added(_text(content), special=known, normalized=not known), _id(index))
    for entry in (whole or {}).get("added_tokens") or ():
        made = _token(entry, special=False)
        tokens[made.content] = (made, _id(entry["id"]))
        plain.discard(made.content)
    for index, entry in (decoder or {}).items():
        made = _token(entry, special=False)
        tokens[made.content] = (made, _id(int(index)))
        plain.discard(made.content)
    for content in special:  # A token with a role is special, whatever its entry says.
        made, number = tokens[content]
        tokens[content] = (replace(made, special=True), number)
    names = {role.removesuffix("_token"): _token(named[role], special=True).content for role in _ROLES if role in named}
    return Declared(directory, config, names, tokens, frozenset(plain), settings)


def assemble(
    model: dict[str, int],
    declared: Declared,
    usual: Callable[[Specials], tuple[Added, ...]],
    *,
    default: Specials,
    filler: Callable[[int], str],
    path: Path,
) -> Parts:
    """Returns the vocabulary with its added tokens, under the ids that the Rust library and transformers give them.

    An added token that the model of the vocabulary lacks gets the next free id, whatever id the file gives. A warning
    says where the two differ. A token that the model lacks and that has no id in any file is left out: no model can
    have been trained with it.

    Args:
      model: the id of each piece of the model.
      declared: what the files say.
      usual: see `Tokenizer.usual`.
      default: the names of the special tokens where the files have no others.
      filler: see `in_order`.
      path: the file that an error names.

    Raises:
      InputError: the ids are unusable, or added tokens would get ids that pieces have.
    """
    vocab = in_order(model, path, filler)
    specials = Specials(*(declared.names.get(role, name) for role, name in default._asdict().items()))
    tokens: dict[str, tuple[Added, int | None]] = {}
    for content, (token, number) in declared.tokens.items():
        if content in model or number is not None:
            tokens[content] = token, number
        elif content not in specials:
            _log.warning(f"{path}: the token {content!r} has no id in any file, and is left out")
    flags = {token.content: token for token in usual(specials)}
    flags |= {
        content: token
        for content, (token, _) in tokens.items()
        if content not in flags or content not in declared.plain
    }
    beyond = sorted(
        (content for content in tokens if content not in model), key=lambda content: tokens[content][1] or 0
    )
    if beyond and len(model) < len(vocab):
        raise InputError(
            f"the token {beyond[0]!r} was added to a vocabulary of {len(vocab)} ids of which "
            f"{len(vocab) - len(model)} have no piece, so that transformers gives it an id that a piece may have",
            where=str(path),
            fix="Give the pieces that are missing, or remove the added token.",
            code="E-TOKENIZER-ADDED",
        )
    for index, content in enumerate(beyond, len(vocab)):
        stated = tokens[content][1] or 0
        if stated < len(vocab) or specials.unk not in model:
            raise InputError(
                f"the vocabulary lacks {specials.unk if specials.unk not in model else content}",
                where=str(path),
                fix="Copy the tokenizer's files again: they belong to different vocabularies.",
                code="E-TOKENIZER-VOCABULARY",
            )
        if stated != index:
            _log.warning(f"{path}: the added token {content!r} has id {index} here, as in transformers, not {stated}")
    further = sorted(
        (token for content, token in flags.items() if content not in specials),
        key=lambda token: model.get(token.content, len(model)),
    )
    # `Tokenizer` refuses the vocabulary where a special token is missing.
    named = [name for name in dict.fromkeys(specials) if name in model or name in tokens]
    added = (*(flags[name] for name in named), *further)
    return Parts([*vocab, *beyond], specials, added, len(vocab))


def _class(directory: Path, config: Mapping[str, Any]) -> str:
    """Returns the class of the tokenizer without "Fast", or "" where no file names one or a model of `_AROUND`.

    Raises:
      InputError: it is one of `_OTHERS`.
    """
    model = _object(directory / "config.json")
    named = config.get("tokenizer_class") or model.get("tokenizer_class") or ""
    kind = str(named).removesuffix("Fast")
    if kind == "":
        kind = next((name for name, of in _AROUND.items() if of == model.get("model_type")), "")
    if kind == "" and config.get("word_tokenizer_type") not in (None, "basic"):
        kind = "BertJapaneseTokenizer"
    if kind in _OTHERS:
        raise InputError(
            f"the tokenizer is a {kind}, which cuts texts into words with {_OTHERS[kind]}; its ids would be wrong here",
            where=str(directory),
            fix="Make the ids with transformers and that package, or give the model a new vocabulary: "
            "`jaxbert pretrain adapt --tokenizer DIR`.",
            code="E-TOKENIZER-CLASS",
        )
    return kind


def _object(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _listed(value: Any) -> list[Any]:
    """Returns the tokens of a list, or of an object that gives each a name."""
    return list(value.values()) if isinstance(value, dict) else list(value or ())


def _token(value: Any, *, special: bool) -> Added:
    """Returns a token from its name, or from an object with flags. `special` is for an object that does not say it."""
    if isinstance(value, str):
        return Added(_text(value), special=special, normalized=not special)
    special = bool(value.get("special", special))
    flags = {key: bool(value[key]) for key in asdict(Added("")) if key not in ("content", "special") and key in value}
    return Added(_text(value["content"]), **{"special": special, "normalized": not special, **flags})


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not the text of a token")
    return value


def _id(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not an id")
    return value
