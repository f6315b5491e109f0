"""Words of a shell in messages: pasted into bash, each gives the text again."""

from __future__ import annotations

import os
import subprocess

from jaxbert.core.shell import path_word, word
from jaxbert.errors import InputError, line_of

TEXTS = ["a.txt", "", "two words", "two  blanks", " ends ", "it's", 'a "b" $c `d` \\ !e', "*[x]#?", "~/x", "ä 水"]
TEXTS += ["new\nline", "tab\t'quote'", "\x1b[1m", "no\u00a0break", os.fsdecode(b"caf\xe9 1"), "100%", "\x7fA"]


def test_bash_reads_each_word_as_its_text():
    lines = [line_of(InputError("x", where="y", fix=word(text), code="E-X")) for text in TEXTS]
    given = [line.removeprefix("jaxbert: error: x (y). ").removesuffix(" [E-X]") for line in lines]
    script = f"printf '%s\\0' {' '.join(given)}".encode("utf-8", "surrogateescape")
    read = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout.split(b"\0")[:-1]
    assert [os.fsdecode(text) for text in read] == TEXTS


def test_a_path_is_never_an_option():
    assert [path_word(path) for path in ("-a b", "a-b", "/-c")] == ["'./-a b'", "a-b", "/-c"]
