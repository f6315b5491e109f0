"""Writes the dry runs that docs/launch.md shows (`python -m tests.launch.document`); test_document.py holds it to them.

What differs from machine to machine, and with every change of the code, is written as a sign: hashes, sizes, ports,
paths. Of scripts only the head is shown, with the values of this job: the rest is a file of launch/.
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

from jaxbert.commands.main import main

PAGE = Path(__file__).parents[2] / "docs" / "launch.md"
_GS = "--workdir gs://my-bucket/base --data seq128:gs://my-bucket/rows-128 seq512:gs://my-bucket/rows-512"
_DISK = "--data seq128:/shared/rows-128 seq512:/shared/rows-512"
_PLACE = "--project my-project --zone us-east5-a"
COMMANDS = {
    "local": f"launch local bert_base --workdir /shared/base {_DISK} --processes 2 --dry-run",
    "slurm": f"launch slurm bert_base --workdir /shared/base {_DISK} --topology h100:8 --slices 2 --partition gpu "
    "--time 1-00:00:00 --analytic --dry-run",
    "gke": f"launch gke bert_base {_GS} --topology v5e:4x4 --queue tpu "
    "--image us-docker.pkg.dev/my-project/jaxbert/tpu:1 --spot --analytic --dry-run",
    "queued-resource": f"launch queued-resource bert_base {_GS} --topology v5e:4x4 {_PLACE} --spot --analytic "
    "--dry-run",
    "gce-tpu": f"launch gce-tpu bert_base {_GS} --topology v6e:4x4 {_PLACE} --spot --analytic --dry-run",
    "skypilot": f"launch skypilot bert_base {_GS} --topology h100:8 --slices 2 --spot --secret HF_TOKEN --analytic "
    "--dry-run",
}


def output(command: str) -> str:
    """What it prints, with signs for what differs."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as place:
        # What a shell has told jax is none of the page's.
        own = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        settings = {**own, "XDG_STATE_HOME": f"{place}/state", "JAXBERT_CACHE": f"{place}/cache", "LANG": "C.UTF-8"}
        with (
            mock.patch.dict(os.environ, settings, clear=True),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            assert main(shlex.split(command)) == 0
        text = said.getvalue().replace(f"{place}/state", "~/.local/state")
    # Hashes, whole or cut to 16 or 12 digits. Names of jobs have 8, and are the same everywhere.
    text = re.sub(r"\b[0-9a-f]{12}(?:[0-9a-f]{4})?(?:[0-9a-f]{48})?\b", "CODE", text)
    # So many has an instance template's, after its job's name.
    text = re.sub(r"(-[0-9a-f]{8}-)[0-9a-f]{8}\b", r"\1CODE", text)
    text = re.sub(r"\d+ files, sha256", "N files, sha256", text)
    text = re.sub(r"\([\d,]+ bytes\)", "(N bytes)", text).replace(sys.executable, "python")
    text = re.sub(r"localhost:\d+", "localhost:PORT", text)
    text = re.sub(r"--export=\S+", lambda found: "--export=PATH,HOME,LANG", text)
    text = re.sub(r"^python=.*$", "python=python", text, flags=re.M)
    return _without_bodies(text)


def _without_bodies(text: str) -> str:
    """Scripts up to where the file of launch/ begins."""
    begins = {
        "# The batch script:": "slurm_batch.sh",
        "# One task:": "slurm_task.sh",
        "# A bare machine:": "bootstrap.sh",
        "# On each node, once:": "sky_setup.sh",
        "# On each node: one": "sky_run.sh",
        "# What a pod runs.": "gke_pod.sh",
    }
    found, skipping = [], ""
    for line in text.splitlines():
        here = line.strip()
        name = next((name for start, name in begins.items() if here.startswith(start)), "")
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
    """Of the page: the command and what it prints."""
    command = COMMANDS[target]
    shown = re.sub(
        r" (?=--(?:data|topology|project|queue|image|spot|processes|partition)\b)", " \\\n      ", f"jaxbert {command}"
    )
    lines = [f"    {line}".rstrip() for line in output(command).splitlines()]
    return "\n".join([f"    $ {shown}", *lines])


def written(page: str) -> str:
    """The page with every block as it is now."""
    for target in COMMANDS:
        begin, end = f"<!-- dry run: {target} -->\n", f"<!-- end: {target} -->"
        head, _, rest = page.partition(begin)
        _, _, tail = rest.partition(end)
        page = f"{head}{begin}\n{block(target)}\n\n{end}{tail}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
