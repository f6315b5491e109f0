"""Writes the dry runs of docs/how-to/launch.md: `python -m tests.launch.document`. A new target gets a new section.

The page shows placeholders for everything that differs between machines or changes with the code: hashes, sizes,
ports, paths. It shows the head of each script with this job's values. The body is a file of launch/.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from unittest import mock

from jaxbert.launch import TARGETS

from jaxbert.commands.main import main

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "launch.md"
_GS = "--workdir gs://my-bucket/base --data seq128:gs://my-bucket/rows-128 seq512:gs://my-bucket/rows-512"
_DISK = "--workdir /shared/base --data seq128:/shared/rows-128 seq512:/shared/rows-512"
_VOLUME = "--workdir /data/base --data seq128:/data/rows-128 seq512:/data/rows-512"
# Options that the page shows in addition to a target's own example.
_MORE = {
    "kubernetes": "--slices 2 --volume runs-claim:/data --resource rdma/ib=8",
    "slurm": "--slices 2 --partition gpu --time 1-00:00:00",
    "gke": "--spot",
    "queued-resource": "--spot",
    "gce-tpu": "--spot",
    "skypilot": "--slices 2 --spot --secret HF_TOKEN",
}
# The first section that is not about one target. New sections go before it.
_LAST = "\n## If you are stuck"


def command(target: str) -> str:
    """Returns the command whose dry run the page shows for `target`."""
    if target == "local":
        return "launch local bert_tiny --workdir /shared/tiny --processes 2 --dry-run"
    where = _VOLUME if target == "kubernetes" else _DISK if TARGETS[target].shares_disk else _GS
    words = ["launch", target, "bert_base", where, TARGETS[target].example, _MORE.get(target, "")]
    return " ".join([*filter(None, words), "--analytic", "--dry-run"])


def output(command: str) -> str:
    """Returns what the command prints, with placeholders."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as place:
        # The page must not depend on settings of jax in this shell.
        own = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        settings = {**own, "XDG_STATE_HOME": f"{place}/state", "JAXBERT_CACHE": f"{place}/cache", "LANG": "C.UTF-8"}
        if command.startswith("launch local"):
            # Nor on the devices of this machine.
            settings["JAX_PLATFORMS"] = "cpu"
        with (
            mock.patch.dict(os.environ, settings, clear=True),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(io.StringIO()),
            # The rows of the page are on no disk.
            mock.patch("jaxbert.run.before.check_named_inputs"),
        ):
            assert main(shlex.split(command)) == 0
        text = said.getvalue().replace(f"{place}/state", "~/.local/state")
    # Hashes, whole or cut to 16 or 12 digits. The hash in a job's name has 8 digits and is the same everywhere.
    text = re.sub(r"\b[0-9a-f]{12}(?:[0-9a-f]{4})?(?:[0-9a-f]{48})?\b", "CODE", text)
    # The hash in the name of an instance template has 8 digits too, and follows the job's name.
    text = re.sub(r"(-[0-9a-f]{8}-)[0-9a-f]{8}\b", r"\1CODE", text)
    text = re.sub(r"\d+ files, sha256", "N files, sha256", text)
    text = re.sub(r"\([\d,]+ bytes\)", "(N bytes)", text).replace(sys.executable, "python")
    text = re.sub(r"localhost:\d+", "localhost:PORT", text)
    text = re.sub(r"--export=\S+", lambda found: "--export=PATH,HOME,LANG", text)
    text = re.sub(r"^python=.*$", "python=python", text, flags=re.M)
    return _without_bodies(text)


def beginnings() -> dict[str, str]:
    """Returns the name of each script body of launch/ and its first comment, by which a page or a test finds it."""
    found = {}
    for path in sorted((Path(__file__).parents[2] / "launch").glob("*.sh")):
        lines = path.read_text(encoding="utf-8").splitlines()
        found[path.name] = next(line for line in lines if not line.startswith("# shellcheck"))
    return found


def _without_bodies(text: str) -> str:
    """Cuts each script where the file of launch/ begins."""
    begins = {line: name for name, line in beginnings().items()}
    found, skipping = [], ""
    for line in text.splitlines():
        here = line.strip()
        name = begins.get(here, "")
        if name:
            indent = line[: len(line) - len(line.lstrip())]
            found.append(f"{indent}... (launch/{name})")
            skipping = indent or "--"
        elif skipping:
            over = (
                line.startswith("---") or line == "commands:"
                if skipping == "--"
                else not line.startswith(skipping) and line
            )
            if over:
                skipping = ""
                if line.startswith("---") or line == "commands:":
                    found.append("")
                found.append(line)
        elif here != "# shellcheck shell=sh":
            found.append(line)
    return "\n".join(line.rstrip() for line in found)


def block(target: str) -> str:
    """Returns the command and its output as the page shows them."""
    shown = re.sub(
        r" (?=--(?:data|topology|project|queue|image|spot|processes|partition|volume)\b)",
        " \\\n      ",
        f"jaxbert {command(target)}",
    )
    lines = [f"    {line}".rstrip() for line in output(command(target)).splitlines()]
    return "\n".join([f"    $ {shown}", *lines])


def written(page: str) -> str:
    """Returns the page with every block brought up to date, and a section for each target that had none."""
    for target in ("local", *TARGETS):
        begin, end = f"<!-- dry run: {target} -->\n", f"<!-- end: {target} -->"
        if begin not in page:
            title, summary = target.replace("-", " ").capitalize(), TARGETS[target].summary
            section = f"\n## {title}\n\n{summary[0].upper()}{summary[1:]}.\n\n{begin}{end}\n"
            page = page.replace(_LAST, f"{section}{_LAST}")
        head, _, rest = page.partition(begin)
        _, _, tail = rest.partition(end)
        page = f"{head}{begin}\n{block(target)}\n\n{end}{tail}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
