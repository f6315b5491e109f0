"""Links that somebody has put into a workdir: nothing is written where they lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxbert.config import find_config, save_json
from jaxbert.errors import InputError
from jaxbert.observe.lines import JsonLines
from jaxbert.run.hold import Hold, check_workdir
from jaxbert.run.processes import Watch


@pytest.mark.parametrize(
    "name", ["checkpoints", "metrics.jsonl", ".lock", ".lease", ".replaced", "tokenizer/vocab.txt", "data/rows/x"]
)
def test_a_workdir_with_a_link_is_refused(tmp_path: Path, name: str):
    workdir, mine = tmp_path / "run", tmp_path / "mine"
    (workdir / name).parent.mkdir(parents=True)
    config = find_config("smoke")
    save_json(config, workdir / "config.json")
    (workdir / name).symlink_to(mine)
    with pytest.raises(InputError, match="E-WORKDIR-LINK"):
        check_workdir(config, workdir, True)
    assert not mine.exists()


def test_the_workdir_itself_and_other_files_in_it_may_be_links(tmp_path: Path):
    config = find_config("smoke")
    (tmp_path / "run").mkdir()
    save_json(config, tmp_path / "run" / "config.json")
    (tmp_path / "run" / "mine.txt").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert check_workdir(config, tmp_path / "link", False)


def test_files_that_are_appended_to_are_not_opened_through_a_link(tmp_path: Path):
    """Also where the link comes between the check and the opening."""
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in ("metrics.jsonl", ".lock"):
        (tmp_path / name).symlink_to(mine)
    with pytest.raises(InputError, match="E-WORKDIR-LINK"):
        JsonLines(tmp_path / "metrics.jsonl")
    with Hold(tmp_path, Watch(0, 1, None)) as hold, pytest.raises(InputError, match="E-WORKDIR-LINK"):
        hold.take()
    assert mine.read_text() == "mine"
