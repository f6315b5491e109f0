"""The command line: finds the command, runs it, and turns every wrong end into one line and an exit code.

The exit codes are those of `jaxbert.errors`. `JAXBERT_TRACEBACK=1` prints the whole traceback above that line.
"""

from __future__ import annotations

import argparse
import errno
import fnmatch
import functools
import glob
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, TextIO

from jaxbert.commands import (
    arguments,
    checkpoint,
    convert,
    doctor,
    embed,
    evaluate,
    fill_mask,
    finetune,
    launch,
    plan,
    predict,
    prepare,
    pretrain,
    report,
    rows,
    score,
    tokenizer,
)
from jaxbert.commands.figures import write_figures
from jaxbert.commands.parsing import Parser
from jaxbert.config import did_you_mean
from jaxbert.core.signals import end_at_once, start_again
from jaxbert.errors import TRACEBACK, CommandError, InputError, Interrupted
from jaxbert.inputs.files import disk_failed, disk_fails
from jaxbert.observe.console import show_error, show_log
from jaxbert.stores.files import disk_full, disk_is_full

# The commands in the order of --help.
COMMANDS: dict[str, ModuleType] = {
    "pretrain": pretrain,
    "finetune": finetune,
    "launch": launch,
    "tokenizer": tokenizer,
    "prepare": prepare,
    "rows": rows,
    "evaluate": evaluate,
    "predict": predict,
    "fill-mask": fill_mask,
    "embed": embed,
    "score": score,
    "report": report,
    "doctor": doctor,
    "plan": plan,
    "convert": convert,
    "checkpoint": checkpoint,
}
# The commands that compile programs.
COMPUTING = ("pretrain", "finetune", "evaluate", "predict", "fill-mask", "embed", "score", "convert")

# The commands that have work left when nobody reads what they print, apart from `launch` and `checkpoint prune`.
_WORKING = ("pretrain", "finetune", "tokenizer", "prepare", "rows", "evaluate", "report", "convert")

# The commands that train, and may be one of several processes.
_TRAINING = ("pretrain", "finetune")

_MISPLACED = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# The files that commands read directly in a directory that the user gives.
_READ_DIRECTLY = ("config.json", "manifest.json", "metrics.jsonl", "tokenizer.json", "vocab.txt")
_CONTINUE = "The same command continues."


@functools.cache
def parser() -> tuple[argparse.ArgumentParser, dict[str, Callable[[argparse.Namespace], dict[str, Any]]]]:
    """Returns the parser of the whole command line, and the function of each command; made once in a process."""
    top = Parser(
        prog="jaxbert",
        description="Pretrains BERT encoders in JAX: raw text in, a trained, resumable, usable BERT out.",
        epilog=f"To train on your own text:\n\n  {arguments.EXAMPLE}\n\n"
        "Exit codes: 0 done; 1 a bug; 2 the input is wrong; 3 interrupted: the same command continues; "
        "4 stopped on purpose: repeating does not help, and the line says what does. "
        f"{TRACEBACK}=1 shows the traceback of any wrong end.",
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    words = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        one = words.add_parser(name, help=summary, description=summary, epilog=module.EPILOG)
        one.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
        module.add_arguments(one)
    return top, {name: module.run for name, module in COMMANDS.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. Every wrong end but a bug is one line on stderr."""
    words = sys.argv[1:] if argv is None else list(argv)
    show_log()
    try:
        return _run(words)
    except CommandError as error:
        return _failed(error)
    except KeyboardInterrupt:
        return _failed(Interrupted("interrupted", where="signal", fix=_CONTINUE, code="E-SIGNAL-INTERRUPT"))
    except BrokenPipeError:
        # The reader of the output has gone (`jaxbert doctor | head`), so there is nobody to tell.
        _close(sys.stdout)
        fix = _to_do(words)
        if not fix:
            return 0
        return _failed(
            Interrupted(
                "nobody reads what this command prints, so it has ended before its work was done",
                where="standard output",
                fix=f"{fix} Print to a file (> FILE) if the reader may end first.",
                code="E-OUTPUT-CLOSED",
            )
        )
    except OSError as error:
        known = _known(error, words)
        if known is None:
            raise
        return _failed(known)


def _run(words: list[str]) -> int:
    top, functions = parser()
    word = words[0] if words else "--help"
    if not word.startswith("-") and word not in functions:
        raise InputError(
            f"no command {word!r}",
            where="jaxbert",
            fix=f"{did_you_mean(word, list(functions))}Known: {', '.join(functions)}.",
            code="E-ARGUMENT-COMMAND",
        )
    args = top.parse_args(words or ["--help"])
    if args.version:
        from importlib.metadata import version

        print(f"jaxbert {version('jaxbert')}")
        return 0
    if args.command is None:
        top.print_help()
        return 0
    arguments.check_json_file(args.json)
    write_figures(args.json, functions[args.command](args))
    return 0


def _known(error: OSError, words: Sequence[str]) -> CommandError | None:
    """Returns the error to show for an OSError; None where it is a bug.

    A full disk interrupts. Any other error is wrong input only where it is about a path that the user chose.

    Args:
      error: raised by a command.
      words: the command line.
    """
    where = str(error.filename or "disk")
    if disk_is_full(error):
        return disk_full(where, f"Make room. {_CONTINUE}")
    if error.filename is not None and disk_fails(error):
        return disk_failed(error, Path(where))
    # A directory that the user gave may forbid what a command does anywhere below it.
    forbidden = error.errno in _FORBIDDEN
    if error.filename is None or not _chosen(os.fsdecode(error.filename), words, below=forbidden):
        return None
    if forbidden:
        return InputError(
            "no permission",
            where=where,
            fix="Change the mode or the owner of the path, or choose another path.",
            code="E-ARGUMENT-PERMISSION",
        )
    if error.errno in _MISPLACED:
        return InputError(f"{error.strerror}".lower(), where=where, fix="Check the path.", code="E-ARGUMENT-PATH")
    return None


def _chosen(path: str, words: Sequence[str], *, below: bool) -> bool:
    """Returns whether the user chose `path` by the command line, a config or a variable.

    That is so for the path that the user gave, its parent, and the files that commands read directly in it. A path
    deeper in it counts only if the path that the user gave is no directory: then nothing below it can be there. Any
    other path below it is ours, and its error is a bug.

    Args:
      path: the path of an error.
      words: the command line.
      below: paths anywhere below a directory count too.
    """
    found = Path(path).absolute()
    for name in _chosen_paths(words):
        with suppress(ValueError):  # a text with a null byte is not a path
            place = Path(os.path.expanduser(name)).absolute()
            if found in (place, place.parent) or fnmatch.fnmatchcase(str(found), str(place)):
                return True
            if found in place.parents and not os.path.exists(found):  # a directory above it that cannot be made
                return True
            if found.parent == place and found.name in _READ_DIRECTLY:
                return True
            if place in found.parents and place != place.parent and (below or not place.is_dir()):
                return True
    return False


def _chosen_paths(words: Sequence[str]) -> list[str]:
    """Returns every text that may be a path which the user chose."""
    from jaxbert.stores.storage import cache_directory

    texts = list(words)
    config = next((word for word in words[1:] if not word.startswith("-")), "")
    if words and words[0] in ("pretrain", "finetune", "launch", "plan"):
        # A config may name rows, sources, tokenizers and models.
        from jaxbert.config import find_config, to_json

        with suppress(Exception):
            texts += _leaves(to_json(find_config(config)))
    with suppress(RuntimeError):  # there is no home
        texts.append(str(cache_directory()))
    return [part for text in texts for part in _pieces(text) if not part.startswith("-")]


def _pieces(text: str) -> list[str]:
    """Returns every part of KEY=VALUE, KIND:PATH or PATH#FIELD that may be a path, and the directory of a pattern."""
    cuts = [match.start() for match in re.finditer("[=:#]", text)]
    pieces = [text[start:end] for start in [0, *(cut + 1 for cut in cuts)] for end in [*cuts, len(text)] if start < end]
    return pieces + [os.path.dirname(re.split(r"[*?\[]", piece)[0]) or "." for piece in pieces if glob.has_magic(piece)]


def _leaves(value: Any) -> list[str]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if items is None:
        return [value] if isinstance(value, str) else []
    return [leaf for item in items for leaf in _leaves(item)]


def _failed(error: CommandError) -> int:
    """Prints the line of an error and returns its exit code, also where nobody reads the line."""
    try:
        show_error(error)
    except BrokenPipeError:
        _close(sys.stdout)
        _close(sys.stderr)
    return error.exit_code


def _close(stream: TextIO) -> None:
    """Sends what is still printed to nobody. Python itself would end with another exit code."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _to_do(words: list[str]) -> str:
    """Returns what to type after a command that nobody reads; "" where printing was all that it did."""
    command, word = (*words, "", "")[:2]
    if command == "launch" and word not in ("status", "logs") and "--dry-run" not in words:
        return "Type `jaxbert launch status --workdir DIR` to see what was started, before you repeat it."
    return _CONTINUE if command in _WORKING or (command, word) == ("checkpoint", "prune") else ""


def _prepare_process(command: str | None) -> None:
    """Sets the compilation cache and huge pages before a command that computes.

    Compiled programs are kept, so that the next command and a resumed run begin at once. The command itself calls
    `jaxbert.core.compiled.verify_kept_programs`, because this needs jax. On Linux XLA's buffers also
    get huge pages: they are mapped anew at each step, and page faults took a fifth of a small model's step on a CPU.
    glibc reads that setting only when a process begins, so the process begins again, once, with the same number.
    """
    if command not in COMPUTING:
        return
    # Without HOME and an entry in passwd (containers), there is no place for them.
    with suppress(RuntimeError):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "jaxbert" / "compiled"))
        if command in ("predict", "fill-mask", "embed", "score"):
            # jax does not keep programs that compile within a second. For these commands,
            # compiling them is most of the wait.
            os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if "GLIBC_TUNABLES" not in os.environ and pages.is_file() and "[madvise]" in pages.read_text(encoding="utf-8"):
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        start_again(sys.executable, sys.orig_argv)


def entry() -> NoReturn:
    """Runs the command of this process, and ends the process. Training handles the signals itself while it runs."""
    command = sys.argv[1] if len(sys.argv) > 1 else None
    if command == "launch" and sys.argv[2:3] != ["local"]:
        end_at_once("`jaxbert launch status` shows what exists.")
    elif command in _TRAINING:
        end_at_once("Everything finished is saved, and the same command continues.")
    else:
        end_at_once()
    _prepare_process(command)
    if command in _TRAINING:
        from jaxbert.run import processes

        if processes.wanted(os.environ, "--distributed" in sys.argv) and processes.SUPERVISED not in os.environ:
            sys.exit(processes.supervise([sys.executable, *sys.orig_argv[1:]], os.environ))
        if processes.SUPERVISED in os.environ:
            processes.as_child()
    code = main()
    if code:
        # Threads of libraries may wait for minutes, for example for a disk that is full, or for other processes.
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
