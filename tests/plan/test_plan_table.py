"""The table of docs/how-to/plan.md is what `jaxbert plan` says: every row is made again, by the model alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from jaxbert.commands.main import main
from jaxbert.plan.report import TABLE_HEAD

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "plan.md").read_text(encoding="utf-8")
LINES = PAGE.partition("<!-- plan: begin -->\n")[2].partition("<!-- plan: end -->")[0].splitlines()
ROWS = LINES[len(TABLE_HEAD) :]
MEMORY = TABLE_HEAD[0].split(" | ").index("HBM a device")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def gib(cell: str) -> float:
    return float(cell.replace(",", "").split()[0])


def test_five_families_on_four_chips():
    assert LINES[: len(TABLE_HEAD)] == list(TABLE_HEAD)
    configs = {cells(row)[0].strip("`") for row in ROWS}
    places = {cells(row)[1].partition(":")[0] for row in ROWS}
    assert configs == {"bert_base", "roberta_base", "albert_base", "spanbert_base", "distilbert_base"}
    assert places == {"v5e", "v5p", "v6e", "h200"}
    assert len(ROWS) == len(configs) * len(places)


@pytest.mark.parametrize("line", ROWS, ids=lambda line: " ".join(cells(line)[:2]))
def test_a_row_is_what_plan_says(line: str, capsys: Any):
    config, place, settings = (cell.strip("`") for cell in cells(line)[:3])
    command = ["plan", config, "--topology", place, "--analytic", "--table"]
    if settings:
        command += ["--set", *settings.split()]
    assert main(command) == 0
    (made,) = capsys.readouterr().out.splitlines()[len(TABLE_HEAD) :]
    ours, theirs = cells(line), cells(made)
    for number, name in enumerate(cells(TABLE_HEAD[0])):
        if number != MEMORY:
            assert ours[number] == theirs[number], name
    # The compiler's figure where there is a compiler; the model's is near it.
    assert gib(ours[MEMORY]) == pytest.approx(gib(theirs[MEMORY]), rel=0.25)
    assert ("(model)" in ours[MEMORY]) == place.startswith("h200")
    assert re.search(r"of [\d.]+ GiB", ours[MEMORY])
