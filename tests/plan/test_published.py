"""The table of published runs in docs/explanations/results.md: complete, explained, and below the plan's bound."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import published  # noqa: E402

PAGE = published.PAGE.read_text(encoding="utf-8")
ROWS = PAGE.partition(published.BEGIN)[2].partition(published.END)[0].splitlines()[2:]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def test_every_run_has_a_row_and_a_source():
    runs = published.runs()
    assert len(runs) > 20
    assert [cells(row)[0] for row in ROWS] == [f"{run.name} ({run.source})" for run in runs]
    assert all(run.source for run in runs)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: cells(row)[0])
def test_a_ratio_that_is_far_off_is_explained_and_nothing_beats_the_bound(row: str):
    *_, ratio, bound, why = cells(row)
    assert float(bound) > 1
    assert bool(why) == (not 1 / published.OFF <= float(ratio) <= published.OFF)


# A run of each kind whose search is short.
@pytest.mark.parametrize("place", ["a100-80gb:1", "v4:2x2x2"])
def test_a_row_is_what_the_plan_says(place: str):
    for number, run in enumerate(published.runs()):
        if run.place == place:
            assert published.lines([published.compared(run)])[2] == ROWS[number]
