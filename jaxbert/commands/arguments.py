"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from jaxbert.config import Registry
from jaxbert.errors import InputError

MODEL = (
    "MODEL: a run's workdir, WORKDIR/checkpoints/STEP, a Hugging Face directory, one of Google's originals, hf:NAME, "
    "or the gs:// URL of one of these"
)
# The CONFIG that is chosen for the text, the machine and the time.
AUTO = "auto"
# The command that begins everything, as help texts and errors show it.
EXAMPLE = f"jaxbert pretrain {AUTO} --text folder --minutes 10"


class Names:
    """The names of a registry in a help text. Its module is imported only when the help is printed."""

    def __init__(self, registry: Registry):
        self._registry = registry

    def __str__(self) -> str:
        return ", ".join(self._registry.names)


def add_named(parser: argparse.ArgumentParser, option: str, registry: Registry, *, default: str, help: str) -> None:
    """Adds an option whose value is a name of a registry; `help` may say %(names)s."""
    action = parser.add_argument(option, default=default, help=help)
    vars(action)["names"] = Names(registry)


class Configs:
    """The names of the configs in a help text. They are looked up only when the help is printed."""

    def __str__(self) -> str:
        from jaxbert.config import config_names

        return ", ".join(config_names())


def add_config(parser: argparse.ArgumentParser, *, auto: bool = False) -> None:
    """Adds CONFIG; `auto` says whether the command takes CONFIG auto."""
    first = f"{AUTO}, which chooses a recipe for your text, machine and time; or " if auto else ""
    action = parser.add_argument(
        "config",
        metavar="CONFIG",
        help=f"{first}a config by its name: %(configs)s; or a Python file with get_config, or a run's config.json",
    )
    vars(action).update(configs=Configs(), fits=_may_be_config, **({"example": EXAMPLE} if auto else {}))


def _may_be_config(word: str) -> bool:
    """Returns whether a word can be CONFIG."""
    from jaxbert.config import config_names

    return word == AUTO or word.endswith((".py", ".json")) or word in config_names()


class Sources:
    """The forms of SOURCE in a help text. Their module is imported only when the help is printed."""

    def __str__(self) -> str:
        from jaxbert.data.sources import SOURCES

        forms = (f"{name}:{kind.form}" for name, kind in SOURCES.items())
        return f"a folder, a file or a pattern in quotes ('folder/**/*.txt'); or {', '.join(forms)}"


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds SOURCE."""
    action = parser.add_argument("source", metavar="SOURCE", help="the text: %(sources)s")
    vars(action)["sources"] = Sources()


def add_language(parser: argparse.ArgumentParser, text: str, default: str | None = "en") -> None:
    """Adds --language."""
    shown = " (default: %(default)s)" if default else ""
    parser.add_argument("--language", default=default, metavar="CODE", help=f"{text}; ISO 639, such as de or zh{shown}")


def add_validation_fraction(parser: argparse.ArgumentParser, verb: str) -> None:
    """Adds --validation-fraction; `verb` says what the command does with that share."""
    parser.add_argument(
        "--validation-fraction",
        type=float,
        default=0.01,
        metavar="F",
        help=f"{verb} this share of the documents for validation (default: %(default)s; a source that has splits "
        "keeps them)",
    )


def add_set(parser: argparse.ArgumentParser, example: str = "phases.0.steps=100") -> None:
    """Adds --set; `example` is one of its values."""
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help=f"change the config, for example {example}",
    )


def add_columns(parser: argparse.ArgumentParser, text: str) -> None:
    """Adds --columns, the columns of a file with labels by their roles; `text` says which file and what is usual."""
    parser.add_argument("--columns", nargs="+", action="extend", default=[], metavar="ROLE=COLUMN", help=text)


def add_batch_tokens(parser: argparse.ArgumentParser) -> None:
    """Adds --batch-tokens."""
    parser.add_argument(
        "--batch-tokens", type=int, metavar="N", help="number of tokens in a batch (default: chosen for the device)"
    )


def add_overwrite(parser: argparse.ArgumentParser, text: str = "replace what is there") -> None:
    """Adds --overwrite."""
    parser.add_argument("--overwrite", action="store_true", help=text)


def check_json_file(file: str | None) -> None:
    """Raises InputError where --json FILE cannot be written."""
    if not file:
        return
    if not Path(file).absolute().parent.is_dir():
        raise InputError(
            "no such directory",
            where=f"--json {file}",
            fix="Make it first, or give another FILE.",
            code="E-ARGUMENT-JSON",
        )
    if Path(file).is_dir():
        raise InputError(
            "the path is a directory, but a file is needed",
            where=f"--json {file}",
            fix="Give a FILE.",
            code="E-ARGUMENT-JSON",
        )
