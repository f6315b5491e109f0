"""The codes of all errors, read from the source; writes docs/reference/errors.md: `python -m tests.errors_page`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "errors.md"
# Stands for a value that a message holds.
VALUE = "<...>"
KINDS = {"InputError": 2, "Interrupted": 3, "Stopped": 4}
HEAD = """# Errors and their codes

jaxbert prints every error that a user can act on as one line on stderr: what is wrong, where, what
to do, and a code.

    jaxbert: error: the rows have length 128, but 512 is needed (rows/seq128). Name other rows, or
    make them: `jaxbert rows --length`. [E-ROWS-LENGTH]

Codes are stable: a script may match them, while the wording may change. The exit code tells a
launcher what it may do: 2 the input is wrong; 3 something interrupted the work, and the same
command continues it; 4 the run stopped on purpose, and repeating the command does not help. Any
other error is a bug: it has a traceback and exit code 1. `JAXBERT_TRACEBACK=1` shows the traceback
of any error. In the tables, `<...>` stands for a value. `python -m tests.errors_page` writes this
page from the source.
"""


# The values that are assigned to each name.
Names = dict[str, list[ast.expr]]


@dataclass(frozen=True)
class Site:
    """A place that raises: file and line, name of the class, code ("" without one), its messages, its fixes."""

    place: str
    kind: str
    code: str
    what: tuple[str, ...]
    fix: tuple[str, ...]


def sites() -> list[Site]:
    """Every call of an error's class in the product, in the order of the files."""
    found = []
    for folder in ("jaxbert", "launch"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found += _sites(path)
    return found


def _sites(path: Path) -> Iterator[Site]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = _assigned(tree.body)
    for node, known in _calls(tree, constants):
        kind = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        words = {keyword.arg: keyword.value for keyword in node.keywords}
        if kind not in KINDS and not _is_code(words.get("code")):
            continue
        code = words.get("code")
        literal = next((value for value in node.args if isinstance(value, ast.Constant | ast.JoinedStr)), None)
        # A message that is no literal may be in a name, or be one of two.
        messages = [literal] if literal is not None else node.args
        what = dict.fromkeys(text for value in messages for text in _texts(value, known) if text)
        yield Site(
            f"{path.relative_to(ROOT)}:{node.lineno}",
            kind if kind in KINDS else "InputError",
            code.value if _is_code(code) else ("(passed on)" if code is not None else ""),
            tuple(what) or (VALUE,),
            tuple(dict.fromkeys(text for text in _texts(words["fix"], known) if text)) if "fix" in words else (),
        )


def _calls(node: ast.AST, known: Names) -> Iterator[tuple[ast.Call, Names]]:
    """Every call, with the values that are assigned to names in its module and in its functions."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        own = _assigned(inner for statement in node.body for inner in ast.walk(statement))
        arguments = node.args
        parameters = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        known = {name: values for name, values in known.items() if name not in {one.arg for one in parameters}} | own
    if isinstance(node, ast.Call):
        yield node, known
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, known)


def _assigned(nodes: Iterable[ast.AST]) -> Names:
    found: Names = {}
    for node in nodes:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            for name, value in pairs:
                if isinstance(name, ast.Name):
                    found.setdefault(name.id, []).append(value)
    return found


def _is_code(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("E-")


def _texts(node: ast.expr, known: Names) -> list[str]:
    """The messages that an expression may be: both arms of a condition, and what a name was assigned."""
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body, known), *_texts(node.orelse, known)]
    if isinstance(node, ast.Name) and node.id in known:
        others = {name: values for name, values in known.items() if name != node.id}
        return [text for value in known[node.id] for text in _texts(value, others)]
    return [_text(node, known)]


def _text(node: ast.AST, known: Names) -> str:
    """A message as people read it, with `<name>` for each value in it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        return f"<{node.id}>"
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, known) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        name = ast.unparse(node.value)
        constant = known.get(name, []) if name.isupper() else []
        if len(constant) == 1 and isinstance(constant[0], ast.Constant) and isinstance(constant[0].value, str):
            return constant[0].value
        return f"<{name.rpartition('.')[2]}>" if name.replace(".", "").replace("_", "").isalnum() else VALUE
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, known) + _text(node.right, known)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "lower":
            return _text(node.func.value, known)
        if node.func.attr == "join" and len(node.args) == 1:
            # Messages of one form, joined: one of them stands for all.
            items = node.args[0]
            if isinstance(items, ast.Name) and len(known.get(items.id, [])) == 1:
                items = known[items.id][0]
            return _text(items.elt, known) if isinstance(items, ast.ListComp | ast.GeneratorExp) else VALUE
    return VALUE


def page() -> str:
    """The text of docs/reference/errors.md."""
    by_room: dict[str, dict[str, list[Site]]] = {}
    for site in sites():
        if site.code.startswith("E-"):
            by_room.setdefault(site.code.split("-")[1], {}).setdefault(site.code, []).append(site)
    parts = [HEAD]
    for room in sorted(by_room):
        parts.append(f"\n## {room.capitalize()}\n\n| code | exit | what it says | what to do |\n|---|---|---|---|\n")
        for code, raised in sorted(by_room[room].items()):
            exits = sorted({KINDS[site.kind] for site in raised})
            says = list(dict.fromkeys(_cell(text) for site in raised for text in site.what))
            fixes = list(dict.fromkeys(_cell(text) for site in raised for text in site.fix))
            row = (f"`{code}`", ", ".join(map(str, exits)), "<br>".join(says), "<br>".join(fixes))
            parts.append(f"| {' | '.join(row)} |\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
