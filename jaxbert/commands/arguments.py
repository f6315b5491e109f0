"""Arguments that several commands share, and the parser that names the nearest known word."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Any, NoReturn

from jaxbert.config import Registry
from jaxbert.errors import InputError

MODEL = (
    "MODEL: a run's workdir, WORKDIR/checkpoints/STEP, a Hugging Face directory, one of Google's originals, hf:NAME, "
    "or the gs:// URL of one of these"
)
# Names of options share few letters by chance. `--batch-size` is not like `--tokenizer`.
_NEAR_OPTION = 0.6
CONFIG = "CONFIG: a bare name (see configs/), a Python file, or a run's config.json"


class Parser(argparse.ArgumentParser):
    """Raises InputError with the nearest known word, where argparse would print its usage and exit."""

    def __init__(self, **kwargs: Any):
        super().__init__(**{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        """Raises InputError with the nearest known option."""
        near = ""
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
            near = self._nearest(word)
        raise InputError(message, where=self.prog, fix=f"{near}See `{self.prog} --help`.", code="E-ARGUMENT-USAGE")

    def _nearest(self, word: str) -> str:
        """Returns a question with the option, or the setting of a config, that an unknown word may mean."""
        if Path(word).exists():
            return "To give several files, put a pattern in quotes, so that the shell does not replace it. "
        options = {option.lstrip("-"): option for option in self._option_string_actions}
        if "--set" in self._option_string_actions and word.startswith("--"):
            from jaxbert.config import RunConfig
            from jaxbert.config.overrides import nearby_keys

            found = nearby_keys(RunConfig(name=""), word.lstrip("-").replace("-", "_"))
            if found:
                return f"Did you mean {' or '.join(f'--set {key}=VALUE' for key in found)}? "
        (near, *_) = difflib.get_close_matches(word.lstrip("-"), list(options), n=1, cutoff=_NEAR_OPTION) or [""]
        return f"Did you mean {options[near]}? " if near else ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Does what argparse does, but raises InputError for unknown arguments."""
        # The command's own parser sees the unknown arguments here, so the error can name its nearest option.
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest


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


def add_set(parser: argparse.ArgumentParser) -> None:
    """Adds --set."""
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change the config, for example phases.0.steps=100",
    )


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
