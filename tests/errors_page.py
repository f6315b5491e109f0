"""The codes of all errors, read from the source; writes docs/errors.md: `python -m tests.errors_page`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "errors.md"
KINDS = {"InputError": 2, "Interrupted": 3, "Stopped": 4}
HEAD = """# Errors and their codes

jaxbert prints every error that a user can act on as one line on stderr: what is wrong, where, what to do, and a code.

    jaxbert: error: the rows have length 128, but 512 is needed (rows/seq128). Name other rows, or make them:
    `jaxbert rows --length`. [E-ROWS-LENGTH]

Codes are stable: a script may match them, while the wording may change. The exit code tells a launcher what it may do:
2 the input is wrong; 3 something interrupted the work, and the same command continues it; 4 the run stopped on purpose,
and repeating the command does not help. Any other error is a bug: it has a traceback and exit code 1.
`JAXBERT_TRACEBACK=1` shows the traceback of any error. In the tables, `<...>` stands for a value.
`python -m tests.errors_page` writes this page from the source.
"""


@dataclass(frozen=True)
class Site:
    """A place that raises: file and line, name of the class, code ("" without one), message, fix."""

    place: str
    kind: str
    code: str
    what: str
    fix: str


def sites() -> list[Site]:
    """Every call of an error's class in the product, in the order of the files."""
    found = []
    for folder in ("jaxbert", "launch"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found += _sites(path)
    return found


def _sites(path: Path) -> Iterator[Site]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        kind = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        words = {keyword.arg: keyword.value for keyword in node.keywords}
        if kind not in KINDS and not _is_code(words.get("code")):
            continue
        code = words.get("code")
        yield Site(
            f"{path.relative_to(ROOT)}:{node.lineno}",
            kind if kind in KINDS else "InputError",
            code.value if _is_code(code) else ("(passed on)" if code is not None else ""),
            next((_text(value) for value in node.args if isinstance(value, ast.Constant | ast.JoinedStr)), "<...>"),
            _text(words["fix"]) if "fix" in words else "",
        )


def _is_code(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("E-")


def _text(node: ast.AST) -> str:
    """A message as people read it, with `<name>` for each value in it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        name = ast.unparse(node.value)
        return f"<{name.rpartition('.')[2]}>" if name.replace(".", "").replace("_", "").isalnum() else "<...>"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return "<...>"


def page() -> str:
    """The text of docs/errors.md."""
    by_room: dict[str, dict[str, list[Site]]] = {}
    for site in sites():
        if site.code.startswith("E-"):
            by_room.setdefault(site.code.split("-")[1], {}).setdefault(site.code, []).append(site)
    parts = [HEAD]
    for room in sorted(by_room):
        parts.append(f"\n## {room.capitalize()}\n\n| code | exit | what it says | what to do |\n|---|---|---|---|\n")
        for code, raised in sorted(by_room[room].items()):
            exits = sorted({KINDS[site.kind] for site in raised})
            says = list(dict.fromkeys(_cell(site.what) for site in raised))
            fixes = list(dict.fromkeys(_cell(site.fix) for site in raised if site.fix))
            row = (f"`{code}`", ", ".join(map(str, exits)), "<br>".join(says), "<br>".join(fixes))
            parts.append(f"| {' | '.join(row)} |\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
