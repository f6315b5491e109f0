"""The parser of every command: it names the nearest known word, and an option that has taken an argument's place."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jaxbert.errors import InputError

# Names of options share few letters by chance. `--batch-size` is not like `--tokenizer`.
_NEAR_OPTION = 0.6
# How argparse begins its message about arguments that are missing.
_MISSING = "the following arguments are required: "


class Formatter(argparse.HelpFormatter):
    """Fills each paragraph of a text, and keeps the lines of an example, which are indented."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(part if part.startswith("  ") else fill(part, width, indent) for part in text.split("\n\n"))


class Parser(argparse.ArgumentParser):
    """Raises InputError with the nearest known word, where argparse would print its usage and exit.

    An action may have two more attributes: `fits`, which returns whether a word can be its value, and `example`, a
    command that has it.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"allow_abbrev": False, "formatter_class": Formatter, **kwargs})
        self._words: list[str] = []

    def error(self, message: str) -> NoReturn:
        """Raises InputError with the nearest known option, or with the order of the words that is right."""
        near = ""
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
            near = self._nearest(word)
        elif re.search(r"expected (at least )?one argument$", message):
            near = "Write a value that begins with - behind =, as in --option=-value. "
        elif message.startswith(_MISSING):
            names = message.removeprefix(_MISSING).split(", ")
            missing = [action for action in self._actions if not action.option_strings and action.metavar in names]
            if missing and len(missing) == len(names) and (taken := self._taken(missing)) is not None:
                option, words = taken
                name = " and ".join(names)
                raise InputError(
                    f"{option} takes all words that follow it, so {name} is missing",
                    where=self.prog,
                    fix=f"Give {name} before {option}: `{shlex.join([*self.prog.split(), *words])}`.",
                    code="E-ARGUMENT-ORDER",
                )
            near = "".join(f"For example: `{action.example}`. " for action in missing if hasattr(action, "example"))
        raise InputError(message, where=self.prog, fix=f"{near}See `{self.prog} --help`.", code="E-ARGUMENT-USAGE")

    def _taken(self, missing: Sequence[argparse.Action]) -> tuple[str, list[str]] | None:
        """Returns an option that has taken the words of missing arguments, and all words in the order that is right.

        An option of several values takes all words up to the next option. Its last words may be the arguments.
        Returns None where no option has taken words that can be these arguments.
        """
        for start, end in self._values():
            first = end - len(missing)
            if first <= start:  # The option needs a value, too.
                continue
            found = self._words[first:end]
            fits: list[Callable[[str], bool]] = [getattr(action, "fits", bool) for action in missing]
            if all(fit(word) for fit, word in zip(fits, found, strict=True)):
                left = [*self._words[:first], *self._words[end:]]
                # Behind the arguments that are there, and before the first option.
                place = next((number for number, word in enumerate(left) if word.startswith("-")), len(left))
                return self._words[start - 1], [*left[:place], *found, *left[place:]]
        return None

    def _values(self) -> Iterator[tuple[int, int]]:
        """Yields the range of the words that each option of several values has taken."""
        for number, word in enumerate(self._words):
            action = self._option_string_actions.get(word)
            if action is not None and action.nargs in ("+", "*"):
                end = number + 1
                while end < len(self._words) and not self._words[end].startswith("-"):
                    end += 1
                yield number + 1, end

    def _nearest(self, word: str) -> str:
        """Returns a question with the option, or the setting of a config, that an unknown word may mean."""
        if Path(word).exists():
            return "To give several files, put a pattern in quotes, so that the shell does not replace it. "
        options = {option.lstrip("-"): option for option in self._option_string_actions}
        if "--set" in self._option_string_actions and word.startswith("--"):
            from jaxbert.config import LabelledTaskConfig, RunConfig, TaskConfig
            from jaxbert.config.nearby import near_settings

            labelled = self.prog.endswith(" finetune")
            config = RunConfig(name="", task=LabelledTaskConfig() if labelled else TaskConfig())
            found = [
                key if key.startswith("--") else f"--set {key}{'' if '=' in key else '=VALUE'}"
                for key in near_settings(config, word.lstrip("-").replace("-", "_"))
                if not key.startswith("--") or key in self._option_string_actions
            ]
            if found:
                return f"Did you mean {' or '.join(found)}? "
        (near, *_) = difflib.get_close_matches(word.lstrip("-"), list(options), n=1, cutoff=_NEAR_OPTION) or [""]
        return f"Did you mean {options[near]}? " if near else ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Does what argparse does, but raises InputError for unknown arguments."""
        self._words = list(args or ())
        # The command's own parser sees the unknown arguments here, so the error can name its nearest option.
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest
