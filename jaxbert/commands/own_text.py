"""The arguments of a run on a user's own text: the text, its language, and the time that CONFIG auto gets."""

from __future__ import annotations

import argparse
import glob
import itertools
import math
import os
from collections.abc import Sequence

from jaxbert.commands.arguments import AUTO
from jaxbert.core.shell import path_word, word
from jaxbert.errors import InputError

# So many paths or fewer are linked by a command that an error shows.
_LINKED = 10


def add_text(parser: argparse.ArgumentParser) -> None:
    """Adds --text and --source."""
    text = parser.add_mutually_exclusive_group()
    text.add_argument(
        "--text",
        nargs="+",
        metavar="PATH",
        help="train on this text: a folder, a file, or a pattern in quotes ('folder/**/*.txt')",
    )
    text.add_argument("--source", metavar="SOURCE", help="train on the text of a SOURCE (see `jaxbert prepare --help`)")


def add_time(parser: argparse.ArgumentParser) -> None:
    """Adds --minutes and --hours."""
    time = parser.add_mutually_exclusive_group()
    time.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help=f"CONFIG {AUTO}: the time of the whole command, preparation and evaluation included (default: 10 on a "
        "CPU, 30 on a GPU or TPU)",
    )
    time.add_argument("--hours", type=float, metavar="H", help=f"CONFIG {AUTO}: the same in hours")


def source_of(args: argparse.Namespace) -> str | None:
    """Returns the SOURCE of --text or --source; None where neither is given. --text may be a SOURCE too.

    Raises:
      InputError: --text has several paths, for example because a shell has replaced a pattern by its files.
    """
    if not args.text:
        return args.source  # type: ignore[no-any-return]
    if len(args.text) > 1:
        raise InputError(
            f"--text takes one path, but it got {len(args.text):,}; a pattern without quotes becomes its files",
            where=f"--text {' '.join(map(word, args.text[:2]))}",
            fix=_in_one(args.text),
            code="E-ARGUMENT-TEXT",
        )
    from jaxbert.data.sources import BARE, SOURCES
    from jaxbert.data.sources.finding import matching

    text = str(args.text[0])
    kind, colon, _ = text.partition(":")
    # Many errors about a text advise a SOURCE, and users type it where they have typed the text.
    return text if colon and kind in SOURCES and not matching(text) else f"{BARE}:{text}"


def _in_one(paths: Sequence[str]) -> str:
    """Returns what to type to give several paths as one: a folder or a pattern with the same files, or links."""
    for path in paths:
        if not os.path.lexists(path):
            return f"Give one path. There is no {word(path)}."
    given = {os.path.abspath(path) for path in paths}
    # A path below another one that was given would count twice.
    given = {path for path in given if not any(path.startswith(os.path.join(other, "")) for other in given)}
    folder = os.path.commonpath([os.path.dirname(path) for path in given])
    shown = os.path.relpath(folder)
    if len(given) == 1:
        return f"Give one path: --text {path_word(os.path.relpath(*given))}"
    names = os.listdir(folder) if os.access(folder, os.R_OK) else []
    if given == {os.path.join(folder, name) for name in names if not name.startswith(".")}:
        return f"Give the folder that has them: --text {path_word(shown)}"
    endings = {os.path.splitext(path)[1] for path in given}
    depths = {os.path.relpath(path, folder).count(os.sep) for path in given}
    if len(endings) == len(depths) == 1:
        pattern = os.path.join(*["*"] * depths.pop(), f"*{glob.escape(endings.pop())}")
        pattern = pattern if shown == os.curdir else os.path.join(glob.escape(shown), pattern)
        if given == {os.path.abspath(path) for path in glob.iglob(pattern)}:
            return f"Give the pattern in quotes: --text {path_word(pattern)}"
    quoted = "If it was a pattern, put it in quotes. " if not all(map(os.path.isdir, given)) else ""
    if len({os.path.basename(path) for path in given}) < len(given) or len(given) > _LINKED:
        return f"{quoted}Or copy them into one folder, and give that folder."
    place = next(name for name in (f"texts{number or ''}" for number in itertools.count()) if not os.path.lexists(name))
    links = " ".join(map(word, sorted(given)))
    return f"{quoted}Make a folder of links to them, and give that folder: mkdir {place} && ln -s {links} {place}"


def settings_of(args: argparse.Namespace) -> list[str]:
    """Returns the texts of --set, after the one that --language stands for.

    Raises:
      InputError: --language is not a language code.
    """
    if args.language is None:
        return list(args.set)
    from jaxbert.text.sentences import check_language

    check_language(args.language)
    return [f"data.language={args.language}", *args.set]


def seconds_of(args: argparse.Namespace) -> float | None:
    """Returns the time that --minutes or --hours gives; None where neither is given.

    Raises:
      InputError: it is not a time, or the config is not one that is chosen by time.
    """
    given = [(name, unit) for name, unit in (("minutes", 60), ("hours", 3600)) if getattr(args, name) is not None]
    if not given:
        return None
    ((name, unit),) = given
    value: float = getattr(args, name)
    if args.config != AUTO:
        raise InputError(
            f"the config {args.config} has its steps, and only CONFIG {AUTO} is chosen by time",
            where=f"--{name}",
            fix=f"Leave --{name} out, or give {AUTO} as CONFIG.",
            code="E-ARGUMENT-TIME",
        )
    if not 0 < value * unit < math.inf:
        raise InputError(
            f"{value:g} is not a time",
            where=f"--{name}",
            fix="Give a number above 0, for example --minutes 10.",
            code="E-ARGUMENT-TIME",
        )
    return value * unit


def check_auto(args: argparse.Namespace, source: str | None) -> None:
    """Raises InputError where CONFIG auto has no text, or has what it would have to choose."""
    if source is None:
        raise InputError(
            f"{AUTO} chooses a config for a text, and there is none",
            where=f"CONFIG {AUTO}",
            fix="Give the text: --text PATH, or --source SOURCE.",
            code="E-ARGUMENT-AUTO",
        )
    for name in ("data", "init", "tokenizer"):
        if getattr(args, name):
            raise InputError(
                f"{AUTO} trains a new model and a new vocabulary on the text",
                where=f"--{name}",
                fix=f"Leave --{name} out, or give another CONFIG: adapt continues a model.",
                code="E-ARGUMENT-AUTO",
            )
