"""The table of published runs in docs/explanations/results.md: complete, explained, and below the plan's bound."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from jaxbert.config import find_config
from jaxbert.plan.cost import ATTAINED, CLOCKS, op_seconds
from jaxbert.plan.work import work

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import published  # noqa: E402

PAGE = published.PAGE.read_text(encoding="utf-8")
ROWS = PAGE.partition(published.BEGIN)[2].partition(published.END)[0].splitlines()[2:]
PARTS = PAGE.partition(published.PARTS_BEGIN)[2].partition(published.PARTS_END)[0].splitlines()[2:]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def test_every_run_has_a_row_and_a_source():
    runs = published.runs()
    assert len(runs) > 20
    assert [cells(row)[0] for row in ROWS] == [f"{run.name} ({run.source})" for run in runs]
    assert all(run.source for run in runs)


# Accumulated rows of a GPU, by (GPUs, chip, length), in the columns of mixed precision of NVIDIA's tables. A table of
# several machines has 256 A100 (32 nodes of 8).
NVIDIA_ROWS = {
    **{(gpus, "A100-80GB", 128): 8192 for gpus in (1, 8)},
    **{(gpus, "A100-80GB", 512): 4096 for gpus in (1, 8)},
    (256, "A100-80GB", 128): 256,
    (256, "A100-80GB", 512): 128,
    (8, "V100-32GB", 128): 4096,
    (8, "V100-32GB", 512): 2048,
}


def test_every_run_of_nvidia_has_the_batch_and_the_length_of_its_row():
    found = {}
    for run in published.runs():
        if run.name.startswith("PyTorch, "):
            config, place = published.planned(run)
            (phase,) = config.phases
            chip = place.chip.name.upper()
            assert run.name == f"PyTorch, {place.chips} x {chip}, {phase.length} tokens, {phase.batch_size:,} rows"
            found[place.chips, chip, phase.length] = phase.batch_size // place.chips
    assert found == NVIDIA_ROWS


def test_a_run_of_one_length_plans_that_phase_and_no_other():
    for run in published.runs():
        config, _ = published.planned(run)
        whole = find_config(run.config)
        assert len(config.phases) == (len(whole.phases) if run.seconds else 1), run.name
        if run.name.startswith("MLPerf"):
            (phase,) = config.phases
            batch = int(run.name.rsplit(", ", 1)[1].removesuffix(" rows").replace(",", ""))
            assert (phase.length, phase.slots, phase.batch_size) == (512, 76, batch)


def test_every_row_was_searched_and_the_paper_s_baseline_is_not_called_lamb():
    assert not any("not searched" in row for row in ROWS)
    way = re.compile(r"(replicated|zero1|fsdp)[ \d]*, .*micro-batch(es)?, remat \w+")
    assert all(way.fullmatch(cells(row)[1]) for row in ROWS)
    (slow,) = (run for run in published.runs() if run.seconds == 81.4 * 3600)
    assert slow.name.startswith("LAMB's baseline") and "lamb" not in slow.config


@pytest.mark.parametrize("row", ROWS, ids=lambda row: cells(row)[0])
def test_a_ratio_that_is_far_off_is_explained_and_nothing_beats_the_bound(row: str):
    name, *_, ratio, bound, why = cells(row)
    assert float(bound) > 1
    figures = [cells(part) for part in PARTS if name.startswith(f"{cells(part)[0]} (")]
    if not published.is_off(float(ratio)):
        assert not figures
        return
    ((_, planned, *parts),) = figures
    given = dict(zip(published.COLUMNS, parts, strict=True))
    assert planned == ratio and given[published.LEFT]
    # What was computed is in the text, and what is left over is said plainly.
    for column, figure in given.items():
        if figure and column not in (published.LEFT, published.SCORES):
            assert figure in why
    assert published.is_off(float(given[published.LEFT])) == ("stays unexplained" in why)


def test_no_text_says_that_nothing_was_measured():
    assert not any("not measured" in row or "have not compared" in row for row in ROWS)


def test_every_program_is_recorded_as_it_is_compiled():
    recorded = published.compiled()
    assert recorded.keys() == published.PROGRAMS.keys()
    for name, program in published.PROGRAMS.items():
        found = recorded[name]
        assert (found["place"], tuple(found["settings"])) == (program.place, program.settings)
        assert 0 < found["scores"] < found["cycles"] and not found["kernels"]
    used = {name for run in published.runs() for name in run.programs}
    assert used == published.PROGRAMS.keys()


@pytest.mark.parametrize("name", published.PROGRAMS)
def test_libtpu_agrees_with_the_model_on_chips_that_nothing_was_fitted_to(name: str):
    """On v3 and v4 the model's time of a step is within a quarter of libtpu's."""
    config, place = published.PROGRAMS[name].made()
    found = published.compiled()[name]
    ours = work(config, place, config.phases[published.PROGRAMS[name].phase])
    busy = sum(op_seconds(op, place, ATTAINED) for op in ours.ops)
    assert busy == pytest.approx(found["model_s"], rel=1e-6)
    assert 0.75 < busy / (found["cycles"] / CLOCKS[place.chip.name]) < 1.2


# A run of each kind whose search is short, and those of the most chips, where a search of both phases found nothing.
@pytest.mark.parametrize("place", ["a100-80gb:1", "v4:2x2x2", "v3:32x32", "h100:8"])
def test_a_row_is_what_the_plan_says(place: str):
    checked = 0
    for number, run in enumerate(published.runs()):
        if run.place == place and not run.seconds:
            checked += 1
            found = published.compared(run)
            assert published.lines([found])[2] == ROWS[number]
            assert all(line in PARTS for line in published.parts_lines([found])[2:])
    assert checked


def test_a_run_that_fits_nowhere_is_no_row():
    (run,) = (one for one in published.runs() if one.place == "v4:2x2x2")
    huge = ("encoder.hidden_size=16384", "encoder.num_heads=256", "encoder.intermediate_size=65536")
    with pytest.raises(ValueError, match="no way to run it fits on v4:2x2x2"):
        published.compared(dataclasses.replace(run, settings=(*run.settings, *huge)))
