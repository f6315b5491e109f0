"""What holds of every kind of tokenizer: ids kept by files, sizes, determinism, special tokens, sentences, words."""

from __future__ import annotations

import functools
import itertools
import json
import os
import pickle
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxbert.commands import main as cli
from jaxbert.convert.target import may_write
from jaxbert.data.records import tokenise
from jaxbert.data.sources import open_source
from jaxbert.errors import InputError
from jaxbert.text.sentences import split_sentences
from jaxbert.text.tokenizers import REGISTRY, Tokenizer, train_tokenizer
from jaxbert.text.tokenizers.base import all_file_names, names_of_kind

# (kind, lowercase): all there are.
KINDS = tuple(REGISTRY)
CASES = [(kind, False) for kind in KINDS] + [(kind, True) for kind in KINDS if not REGISTRY[kind].keeps_case]
VARIED = [
    "Ünïcödé naïve café — “quotes” … ﬁn don\u00b4t ~ \uff5e",
    "ah博推zz 日本語テキスト が ガ ｶﾞ 한국어 हिन्दी ไทย",
    "ΣΊΣΥΦΟΣ İstanbul ǅ ﬃ Å e\u0301 a\u0335",
    "tabs\tand\nlines\r\nand\x0cfeeds\x0b\x1c\x00null\u00adsoft\u200bzero\ufffdwrong\ufeff\u2028\u3000wide",
    "1,000 12, 3,4,5 a1, 2010,x -5 (6) [7] £8 €9",
    "🙂🙂 two  spaces   three ▁ ▁x __ ``quoted'' ''",
    "##ing [unused5] <unused 0> madeupword0000 http://x.y/z?a=b&c=d",
    "",
    "   ",
]


@functools.cache
def documents() -> list[str]:
    """Real text, plain ASCII."""
    texts = (document.text for document in open_source("sample:aws-docs").documents())
    return list(itertools.islice((text for text in texts if text.isascii() and len(text) > 2000), 8))


@functools.cache
def trained(kind: str, lowercase: bool) -> Tokenizer:
    return train_tokenizer(kind, [*documents(), *VARIED], vocab_size=1200, lowercase=lowercase)


def ties() -> list[str]:
    """Text with many ties: words of random letters."""
    draw = random.Random(3)
    words = ["".join(draw.choice("abcdeßéÉx") for _ in range(draw.randrange(1, 9))) for _ in range(800)]
    return [" ".join(draw.choice(words) for _ in range(12)).capitalize() + "." for _ in range(300)]


@pytest.mark.parametrize(("kind", "lowercase"), CASES)
def test_a_tokenizer_pickles(kind: str, lowercase: bool) -> None:
    tokenizer = trained(kind, lowercase)
    # `convert --overwrite` looks for other files before it reads the model.
    assert tokenizer.file_names() <= may_write(layout=False)
    again = pickle.loads(pickle.dumps(tokenizer))
    assert (again.hash, again.vocab) == (tokenizer.hash, tokenizer.vocab)
    assert again.encode_batch(VARIED) == tokenizer.encode_batch(VARIED)


def test_the_config_names_the_kinds() -> None:
    for kind, lowercase in CASES:
        assert trained(kind, lowercase).kind == kind and trained(kind, lowercase).lowercase == lowercase


@pytest.mark.parametrize(("kind", "lowercase"), CASES)
def test_saved_and_opened_again(tmp_path: Path, kind: str, lowercase: bool) -> None:
    tokenizer = trained(kind, lowercase)
    assert not Tokenizer.present(tmp_path)
    tokenizer.save(tmp_path)
    assert Tokenizer.present(tmp_path)
    texts = [*VARIED, documents()[0]]
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    # The second time without tokenizer.json: the other files say the same.
    for _ in range(2):
        again = Tokenizer.load(tmp_path)
        assert type(again) is type(tokenizer) and again.hash == tokenizer.hash and again.vocab == tokenizer.vocab
        for special_tokens in (False, True):
            ids = tokenizer.encode_batch(texts, special_tokens=special_tokens)
            assert again.encode_batch(texts, special_tokens=special_tokens) == ids
        again.save(tmp_path / "again")
        assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == before
        (tmp_path / "tokenizer.json").unlink(missing_ok=True)
        assert Tokenizer.present(tmp_path)


def test_hashes_tell_tokenizers_apart() -> None:
    assert len({trained(kind, lowercase).hash for kind, lowercase in CASES}) == len(CASES)


@pytest.mark.parametrize(("kind", "lowercase"), CASES)
def test_special_tokens(kind: str, lowercase: bool) -> None:
    tokenizer = trained(kind, lowercase)
    ids = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert [tokenizer.token(index) for index in ids] == list(tokenizer.specials)
    assert tokenizer.special.dtype == bool and tokenizer.special.shape == (tokenizer.vocab_size,)
    assert np.flatnonzero(tokenizer.special).tolist() == sorted(set(ids) - {tokenizer.unk_id})
    text = f"the{' the'.join(tokenizer.specials)} {tokenizer.specials.mask} the"
    running = tokenizer.encode(text)
    assert not tokenizer.special[running].any() and tokenizer.unk_id not in running
    found = tokenizer.encode(text, special_tokens=True)
    assert [index for index in found if index in ids] == [*ids, tokenizer.mask_id]
    # A mask takes no space with it that would be a token.
    mask = tokenizer.specials.mask
    at = [tokenizer.encode(text, special_tokens=True) for text in (f"a {mask} b", f"a{mask} b")]
    assert at[0] == at[1] and at[0].index(tokenizer.mask_id) == 1
    assert tokenizer.id("no such piece") == tokenizer.unk_id
    assert mask in tokenizer.decode(at[0])


@pytest.mark.parametrize(("kind", "lowercase"), CASES)
def test_decoding_gives_the_text(kind: str, lowercase: bool) -> None:
    tokenizer = trained(kind, lowercase)
    text = "The name of the role that you use to list a table"
    assert tokenizer.decode(tokenizer.encode(text)) == (text.lower() if lowercase else text)


@pytest.mark.parametrize(("kind", "lowercase"), CASES)
def test_the_vocabulary_has_the_size_asked_for(kind: str, lowercase: bool) -> None:
    for size in (300, 700):
        tokenizer = train_tokenizer(kind, ties(), vocab_size=size, lowercase=lowercase)
        assert len(set(tokenizer.vocab)) == len(tokenizer.vocab) == tokenizer.vocab_size == size
    # Of so little text most of it must be filled up; what fills is never used.
    scarce = train_tokenizer(kind, ["ab ab abc"], vocab_size=400, lowercase=lowercase)
    assert scarce.vocab_size == 400
    filling = [index for index, piece in enumerate(scarce.vocab) if "unused" in piece or "madeup" in piece]
    assert len(filling) > 50 and scarce.word_start[filling].all()
    assert not set(filling) & set(scarce.encode(" ".join(scarce.vocab)))
    with pytest.raises(InputError, match="E-TOKENIZER-SMALL") as caught:
        train_tokenizer(kind, ["abcdefgh ijkl"], vocab_size=10, lowercase=lowercase)
    least = int("".join(char for char in caught.value.fix if char.isdigit()))
    assert train_tokenizer(kind, ["abcdefgh ijkl"], vocab_size=least, lowercase=lowercase).vocab_size == least
    with pytest.raises(InputError, match=f"{least - 1} pieces.*E-TOKENIZER-SMALL"):
        train_tokenizer(kind, ["abcdefgh ijkl"], vocab_size=least - 1, lowercase=lowercase)
    with pytest.raises(InputError, match=r"\(text:a\.txt\)\. .*text:FILE.*E-TOKENIZER-TEXT"):
        train_tokenizer(kind, ["", "  \n"], vocab_size=400, lowercase=lowercase, where="text:a.txt")


TRAIN = """
import json, sys
from jaxbert.text.tokenizers import REGISTRY, train_tokenizer
texts = json.load(sys.stdin)
for kind in REGISTRY:
    made = train_tokenizer(kind, texts, vocab_size=400, lowercase=not REGISTRY[kind].keeps_case)
    made.save(f"{sys.argv[1]}/{kind}")
    print(made.hash)
"""


def test_training_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Names, hash seeds and threads change; not a byte of the files does."""
    found = []
    for number, (threads, seed) in enumerate([("1", "0"), ("2", "1"), ("5", "random")]):
        done = subprocess.run(
            [sys.executable, "-c", TRAIN, str(tmp_path / str(number))],
            input=json.dumps(ties()),
            env=os.environ
            | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        place = tmp_path / str(number)
        files = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*.*")}
        found.append((done.stdout, files))
    assert found[0][0].count("\n") == len(KINDS) and len(found[0][1]) >= 4 * len(KINDS)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("kind", "lowercase"), CASES)
def test_sentence_by_sentence_is_the_running_text(kind: str, lowercase: bool) -> None:
    tokenizer = trained(kind, lowercase)
    several = 0
    for text in documents():
        sentences = split_sentences(text)
        several += len(sentences) > 1
        tokens, lengths = tokenise(text, tokenizer, "en")
        assert tokens.tolist() == tokenizer.encode(" ".join(sentences))
        assert len(lengths) == len(sentences) and lengths.sum() == len(tokens)
    assert several > 3


def spelled(tokenizer: Tokenizer, index: int) -> str:
    """What a piece stands for in its word."""
    piece = tokenizer.token(index)
    return {"wordpiece": piece.removeprefix("##"), "bpe": piece.removeprefix("Ġ"), "unigram": piece.lstrip("▁")}[
        tokenizer.kind
    ]


@pytest.mark.parametrize(("kind", "lowercase"), CASES)
def test_words_are_the_text_s(kind: str, lowercase: bool) -> None:
    """From one start to the next: never across white space, and a word of letters is never cut."""
    tokenizer = trained(kind, lowercase)
    assert tokenizer.word_start.dtype == bool and tokenizer.word_start.shape == (tokenizer.vocab_size,)
    assert tokenizer.word_start[[tokenizer.id(token) for token in tokenizer.specials]].all()
    cut = whole = 0
    for text in documents():
        # A character may be too rare for the vocabulary.
        words = [word for word in text.split() if tokenizer.unk_id not in tokenizer.encode(word)]
        assert len(words) > 0.99 * len(text.split())
        text = " ".join(words)
        ids = tokenizer.encode(text)
        starts = np.flatnonzero(tokenizer.word_start[ids] | (np.arange(len(ids)) == 0))
        groups = ["".join(spelled(tokenizer, i) for i in part) for part in np.split(np.array(ids), starts[1:])]
        rest = iter(group for group in groups if group)
        for word in (text.lower() if lowercase else text).split():
            parts = [next(rest)]
            while len("".join(parts)) < len(word):
                parts.append(next(rest))
            assert "".join(parts) == word
            if word.isalpha():
                assert parts == [word]
                whole += 1
            cut += len(parts) > 1
        assert next(rest, None) is None
    assert whole > 1000 and (cut > 100) == (kind != "bpe")


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_says_what_it_made(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("\n\n".join(ties()), encoding="utf-8")
    arguments = ["tokenizer", "text:text.txt", "--kind", kind, "--vocab-size", "300", "--out", "made"]
    assert cli.main(arguments) == 0
    words = f"cased {kind} (it always is)" if REGISTRY[kind].keeps_case else f"uncased {kind}"
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"300 pieces, {words}: made"
    assert said[1].startswith("0.000% of the characters unknown, 0 unused pieces, 0.000% of") and len(said) == 2
    assert Tokenizer.load("made").kind == kind
    assert cli.main(arguments) == 0 and "is there already" in capsys.readouterr().out
    assert cli.main([*arguments, "--cased", "--overwrite"]) == 0
    same = "made is there already, made from the same source with the same options."
    first = capsys.readouterr().out.splitlines()[0]
    assert first == (same if REGISTRY[kind].keeps_case else f"300 pieces, cased {kind}: made")


@pytest.mark.parametrize("kind", KINDS)
def test_overwrite_leaves_no_file_that_the_tokenizer_would_be_read_with(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("\n\n".join(ties()), encoding="utf-8")
    make = ["tokenizer", "text:text.txt", "--vocab-size", "300", "--out", "made", "--kind"]
    others = sorted(all_file_names() | {"config.json"})
    # Files of others: those that are written again are replaced, the rest are named, and nothing is touched before.
    (tmp_path / "made").mkdir()
    for name in (*others, "notes.txt"):
        (tmp_path / "made" / name).write_text('{"[NEW]": 300}')
    tokenizer = trained(kind, not REGISTRY[kind].keeps_case)
    rest = [name for name in others if name not in tokenizer.file_names()]
    assert "added_tokens.json" in rest and tokenizer.file_names() == names_of_kind(kind) <= all_file_names()
    for number in range(len(rest)):
        assert cli.main([*make, kind, "--overwrite"]) == 2
        named = f"{', '.join(rest[number:])} (made)"
        said = capsys.readouterr().err
        assert "E-TOKENIZER-OTHERS" in said and f"read: {named}" in said
        assert {path.read_text() for path in (tmp_path / "made").iterdir()} == {'{"[NEW]": 300}'}
        (tmp_path / "made" / rest[number]).unlink()
    assert cli.main([*make, kind, "--overwrite"]) == 0
    assert Tokenizer.load("made").vocab_size == 300 and (tmp_path / "made" / "notes.txt").exists()

    # A file that comes later is seen too.
    (tmp_path / "made" / "added_tokens.json").write_text('{"[NEW]": 300}')
    assert cli.main([*make, kind]) == 2
    assert re.search(
        r"not as this command wrote them: added_tokens\.json .*E-TOKENIZER-CHANGED", capsys.readouterr().err
    )
    assert cli.main([*make, kind, "--overwrite"]) == 2 and "E-TOKENIZER-OTHERS" in capsys.readouterr().err
    (tmp_path / "made" / "added_tokens.json").unlink()
    (tmp_path / "made" / "tokenizer_config.json").write_text("{}")
    assert cli.main([*make, kind]) == 2 and "tokenizer_config.json" in capsys.readouterr().err

    # What this command wrote is removed for another kind, unless somebody has changed it.
    other = next(name for name in KINDS if name != kind)
    old = next(name for name in sorted(tokenizer.file_names()) if name not in names_of_kind(other))
    right = (tmp_path / "made" / old).read_bytes()
    (tmp_path / "made" / old).write_text("changed")
    assert cli.main([*make, other, "--overwrite"]) == 2
    assert f"read: {old} " in capsys.readouterr().err and (tmp_path / "made" / old).read_text() == "changed"
    (tmp_path / "made" / old).write_bytes(right)
    assert cli.main([*make, other, "--overwrite"]) == 0 and Tokenizer.load("made").kind == other
    assert {path.name for path in (tmp_path / "made").iterdir()} == {
        *trained(other, not REGISTRY[other].keeps_case).file_names(),
        *("made_from.json", "notes.txt"),
    }


def test_what_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordLevel", "vocab": {}}}))
    with pytest.raises(InputError, match="E-TOKENIZER-KIND") as caught:
        Tokenizer.load(tmp_path)
    assert all(kind in str(caught.value) for kind in KINDS)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="E-TOKENIZER-FILE"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_goes_into_a_directory(tmp_path: Path) -> None:
    tokenizer = train_tokenizer("wordpiece", ["some words"], vocab_size=30, lowercase=True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file.*E-TOKENIZER-WRITE"):
        tokenizer.save(tmp_path / "file")
