"""The line of Python that a run ends with, and that the README shows, as transformers runs it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.train.test_finish import trained  # noqa: F401

ROOT = Path(__file__).parents[2]


def words_of(printed: str) -> list[str]:
    """The words of a pipeline's answer, as it is printed."""
    return re.findall(r"'token_str': '([^']*)'", printed)


def test_the_line_fills_a_mask_in_transformers(trained, capsys):  # noqa: F811
    _, workdir, output = trained
    following = output.partition("\nNext:\n")[2]
    assert "pip install" not in following, "torch and transformers are here"
    (line,) = re.findall(r"^ *(python -c .*)$", following, re.MULTILINE)
    capsys.readouterr()
    exec(shlex.split(line)[2])
    ours = len(words_of(capsys.readouterr().out))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^ *(python -c .*)$", readme, re.MULTILINE)
    program = shlex.split(shown)[2].replace("runs/auto/hf", str(workdir / "hf"))
    exec(program)
    assert ours == len(words_of(capsys.readouterr().out)) == 5
