"""The page about fine-tuned runs in a real browser, with hostile texts, many labels and many seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxbert.report.page import write_report
from tests.browser.chromium import WIDTHS, Browser, Page
from tests.report.finetuned import HOSTILE, errors, judgement, split, write_run, write_runs, write_suite

_LONG = "a-label-without-any-place-to-break-" * 4
_TWENTY = [_LONG, *HOSTILE[:3], *(f"label {number}" for number in range(16))]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a matrix of twenty labels on validation, and with sixty labels on test."""
    sixty = [*_TWENTY, *(f"another label {number}" for number in range(40))]
    wrong = errors(HOSTILE, pair=HOSTILE[2], right=[*HOSTILE], predicted=[_LONG, "short"])
    splits = {"validation": split(labels=_TWENTY, errors=wrong, notes=[*HOSTILE]), "test": split(labels=sixty)}
    workdir = write_run(tmp_path_factory.mktemp("one") / "run", judgement(splits=splits))
    write_suite(workdir, models=[_LONG, "short"])
    return write_report([workdir], png=False)[0]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("several") / "runs"
    settings = {f"rate={rate}e-5 epochs=3": [0.7 - rate / 50 + seed / 90 for seed in range(5)] for rate in range(1, 5)}
    write_runs(place, settings, "rate=1e-5,epochs=3/seed-4")
    return write_report([place], png=False)[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["one", "several"])
def test_nothing_overflows_and_nothing_is_fetched(
    running: Browser, one: Path, several: Path, which: str, scheme: str
) -> None:
    path = {"one": one, "several": several}[which]
    tab = running.page()
    tab.scheme(scheme)
    for width in WIDTHS:
        tab.size(width)
        tab.open(path)
        assert tab.outside() == [], width
        tab.run("document.querySelectorAll('details').forEach(one => one.open = true)")
        tab.settle()
        assert tab.outside() == [], width
    assert tab.errors == [] and set(tab.fetched) == {path.resolve().as_uri()}


def test_a_text_unfolds(running: Browser, one: Path) -> None:
    tab = running.page()
    tab.size(400)
    tab.open(one)
    folds = "document.querySelector('.error details.text')"
    before = tab.run(f"{folds}.getBoundingClientRect().height")
    assert before < 400 and tab.run(f"{folds}.innerText").endswith("\u2026")
    tab.run(f"{folds}.querySelector('summary').click()")
    tab.settle()
    assert tab.run(f"{folds}.getBoundingClientRect().height") > before
    # The beginning is not there a second time.
    assert tab.run(f"getComputedStyle({folds}.querySelector('summary bdi')).display") == "none"


def test_the_names_of_a_matrix_stay_while_it_scrolls(running: Browser, one: Path) -> None:
    tab = running.page()
    tab.size(400)
    tab.open(one)
    left = "document.querySelector('.confusion tbody th').getBoundingClientRect().left"
    before = tab.run(left)
    box = "document.querySelector('.confusion').parentNode"
    assert tab.run(f"{box}.scrollLeft = 300; {box}.scrollLeft") > 0
    assert tab.run(left) == before
    wide = tab.run("document.querySelector('.confusion tbody th').getBoundingClientRect().width")
    assert wide < 200


def test_a_name_of_a_setting_switches_all_of_its_seeds(running: Browser, several: Path) -> None:
    tab = running.page()
    tab.size(1280)
    tab.open(several)
    assert tab.run("document.querySelectorAll('.legend')[0].querySelectorAll('button').length") == 4
    before = _pixels(tab)
    for pressed in ("false", "true"):
        tab.run("document.querySelector('.legend button').click()")
        tab.settle()
        assert tab.run("document.querySelector('.legend button').getAttribute('aria-pressed')") == pressed
        assert (_pixels(tab) == before) == (pressed == "true")
    # A box with values is no higher than a chart, and says how many lines it leaves out.
    tab.run("document.querySelector('.plot').focus()")
    tab.key("ArrowRight")
    tab.settle()
    said = tab.run("document.querySelector('.plot .tip').innerText")
    assert "and 8 more" in said
    assert tab.run("document.querySelector('.plot .tip').offsetHeight") < 330


def _pixels(page: Page) -> str:
    found: str = page.run("document.querySelector('.plot canvas').toDataURL()")
    return found
