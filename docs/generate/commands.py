"""Writes the page of commands from the parsers: every command, argument and option with its help and default."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from jaxbert.commands import main

HEAD = """# Commands

Every command also takes `--help`, which prints this text. The build of this site reads this page
from the parsers of the commands, so it has every option of this version.

`jaxbert COMMAND ...` and `python -m jaxbert COMMAND ...` are the same.
"""


def page() -> str:
    """Returns the page in Markdown."""
    top, _ = main.parser()
    parts = [HEAD]
    for name, parser in commands(top):
        parts.append("\n".join(_section(name, parser, level=2)))
    return "\n".join(parts)


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yields each command below a parser, by its name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _section(name: str, parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    yield f"\n{'#' * level} {name}\n"
    if parser.description:
        yield f"{_text(parser, parser.description)}\n"
    inner = list(commands(parser))
    usage = parser.format_usage().removeprefix("usage: ").rstrip()
    yield f"```text\n{usage}\n```\n"
    # What a reader must give comes first.
    rows = sorted((action for action in parser._actions if _shown(action)), key=lambda one: bool(one.option_strings))
    if rows:
        yield "| argument | what |\n|---|---|"
        for action in rows:
            yield f"| {_names(action)} | {_help(parser, action)} |"
        yield ""
    if parser.epilog:
        yield f"{_text(parser, parser.epilog)}\n"
    for word, below in inner:
        yield from _section(f"{name} {word}", below, level + 1)


def _shown(action: argparse.Action) -> bool:
    kinds = (argparse._HelpAction, argparse._SubParsersAction)
    return action.help != argparse.SUPPRESS and not isinstance(action, kinds)


def _names(action: argparse.Action) -> str:
    values = action.metavar or (action.dest if not action.option_strings else action.dest.upper())
    if action.choices is not None and action.metavar is None:
        values = "{" + ",".join(map(str, action.choices)) + "}"
    value = values[0] if isinstance(values, tuple) else str(values)
    if not action.option_strings:
        return f"`{value}`"
    takes = "" if action.nargs == 0 else f" {value}" + (" ..." if action.nargs in ("+", "*") else "")
    return ", ".join(f"`{name}{takes}`" for name in action.option_strings)


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    words = {**vars(action), "prog": parser.prog}
    text = (action.help or _meaning(parser, str(action.metavar))) % words
    if action.choices is not None and action.metavar is not None:
        text += f" ({', '.join(map(str, action.choices))})"
    if action.required and action.option_strings:
        text += " (required)"
    default = action.default
    if default not in (None, False, True, [], "", argparse.SUPPRESS) and "default" not in text:
        text += f" (default: {default})"
    return cell(text)


def _meaning(parser: argparse.ArgumentParser, name: str) -> str:
    """Returns what the epilog of a parser says about an argument ("CONFIG: ..."), or an empty text."""
    before, found, words = (parser.epilog or "").partition(f"{name}: ")
    return words if found and not before else ""


def _text(parser: argparse.ArgumentParser, text: str) -> str:
    """Returns paragraphs of a parser. argparse fills in its name, where the text asks for it."""
    # An indented paragraph is an example, and Markdown shows it as code.
    parts = (text % {"prog": parser.prog}).split("\n\n")
    return "\n\n".join(
        f"    {part.strip()}" if part.startswith("  ") else escaped(" ".join(part.split())) for part in parts
    )


def escaped(text: str) -> str:
    """Returns a text that Markdown shows as it is, but for `code` between backticks."""
    parts = text.split("`")
    for number in range(0, len(parts), 2):
        for mark in "\\*_[]<>":
            parts[number] = parts[number].replace(mark, f"&#{ord(mark)};" if mark in "<>" else f"\\{mark}")
    return "`".join(parts)


def cell(text: str) -> str:
    """Returns a text for the cell of a table."""
    return escaped(" ".join(text.split())).replace("|", "\\|")
