"""The rules of docs/style.md that a program can check: first words of docstrings, and banned phrases."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = sorted(path for room in ("jaxbert", "launch", "configs", "benchmarks") for path in (ROOT / room).rglob("*.py"))
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
PAGES += sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "style.md")

FRAGMENT = re.compile(r"(?:What|Where|Of|Whose|Which|How often)\b")
# A function's docstring begins with a verb in the third person; "See `Task`" refers to the docstring of a protocol.
VERB = re.compile(r"(?:See|[A-Z][a-z]+s)\b")
BANNED = re.compile(
    r"\b(?:is|are|was|were) due\b"
    r"|\bstands? there\b"
    r"|\b(?:lies|lie) here\b"
    r"|\bof (?:its|their|his|her|our|your) own\b"
    r"|\ball (?:its|their) own\b"
    r"|\bwhat is (?:\w+ ){1,4}is\b",
    re.IGNORECASE,
)

VALUE = re.compile(r"\{[^{}]*\}")
MARKS = re.compile(r"""(?:[\s#"']|\bf(?=["']))+""")

parsed = functools.cache(ast.parse)


def docstrings(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield node, text


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Yields (line, text) of every string and of every block of comments, each on one line."""
    inside = set()
    for node in ast.walk(parsed(source)):  # An f-string comes before its parts.
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            parts = (str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
            yield node.lineno, " ".join("".join(parts).split())
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, " ".join(node.value.split())
    block: list[str] = []
    begin = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:
                yield begin, " ".join(block)
                block, begin = [], token.start[0]
            block.append(token.string.lstrip("# "))
            last = token.start[0]
    yield begin, " ".join(block)


def banned(path: Path) -> list[str]:
    """Returns the banned phrases of a file, each with its place."""
    text = path.read_text(encoding="utf-8")
    # Most files have no such phrase, even if all is one line without quotes. Parsing the others takes longer.
    if not BANNED.search(MARKS.sub(" ", VALUE.sub("X", text))):
        return []
    # A phrase may cross the end of a line, so a page is searched paragraph by paragraph.
    if path.suffix == ".py":
        passages = prose(text)
    else:
        starts = [0, *(found.end() for found in re.finditer(r"\n\s*\n", text)), len(text)]
        passages = (
            (text.count("\n", 0, begin) + 1, " ".join(text[begin:end].split())) for begin, end in pairwise(starts)
        )
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    return [f"{name}:{line}: {found[0]}" for line, passage in passages for found in BANNED.finditer(passage)]


def test_docstrings_are_sentences():
    wrong = []
    for path in CODE:
        for node, text in docstrings(parsed(path.read_text(encoding="utf-8"))):
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            product = path.relative_to(ROOT).parts[0] in ("jaxbert", "launch")
            if FRAGMENT.match(text) or (function and product and not VERB.match(text)):
                wrong.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}: {text.splitlines()[0]}")
    assert len(CODE) > 200 and not wrong, "\n".join(wrong)


def test_no_phrase_is_banned():
    found = [phrase for path in (*CODE, *PAGES) for phrase in banned(path)]
    assert len(PAGES) > 10 and not found, "\n".join(found)


WIDTH = 100
FENCE = re.compile(r"\s*(`{3,}|~{3,})")
ITEM = re.compile(r"\s*(?:[-*]|\d+\.) ")


def lines_of_prose(text: str) -> Iterator[tuple[int, str]]:
    """Yields the lines of a page that can be wrapped: not those of code, of tables, of headings and of pictures."""
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        found = FENCE.match(line)
        if found and (not fence or line.strip() == fence):
            fence = "" if fence else found[1]
        elif not fence and not line.startswith(("    ", "|", "#", "!", "<")):
            yield number, line


def test_pages_are_wrapped():
    long = [
        f"{path.relative_to(ROOT)}:{number}: {len(line)} columns"
        for path in PAGES
        for number, line in lines_of_prose(path.read_text(encoding="utf-8"))
        if len(line) > WIDTH and " " in line.strip()
    ]
    assert not long, "\n".join(long)


def test_a_list_follows_an_empty_line():
    """The site's Markdown shows a list that follows a line of a paragraph as a part of the paragraph."""
    wrong = []
    for path in PAGES:
        prose, inside = dict(lines_of_prose(path.read_text(encoding="utf-8"))), False
        for number, line in prose.items():
            before = prose.get(number - 1, "")
            if ITEM.match(line) and before.strip() and not inside:
                wrong.append(f"{path.relative_to(ROOT)}:{number}")
            inside = bool(ITEM.match(line)) or (inside and bool(line.strip()))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("code.py", '"""A docstring, where a matrix\n    is due."""\n'),
        ("code.py", 'raise ValueError(f"{name} has a file of its " "own")\n'),
        ("code.py", "# A process of its\n# own.\n"),
        ("page.md", "A paragraph.\n\nEach run has a folder of\nits own.\n"),
        ("page.md", "What is read from disk is dropped.\n"),
    ],
)
def test_the_search_finds_phrases_across_lines(tmp_path, name: str, text: str):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert len(banned(path)) == 1
