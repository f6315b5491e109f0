"""The page in a real browser: nothing overflows, nothing is fetched, no script fails, and every control does its work.

`make test-browser` runs this. Without a chromium on the machine it fails, and says what to install.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jaxbert.config import DataConfig, PhaseConfig, RunConfig, ScheduleConfig, save_json
from jaxbert.core.metrics import Metric, to_json
from jaxbert.report.page import write_report
from tests.browser.chromium import WIDTHS, Browser, Page
from tests.report.corpora import write_corpus

_LONG = "a-very-long-name-of-a-run-without-any-place-to-break-" * 3
_PHASES = (
    PhaseConfig(name="short", steps=600, batch_size=8, schedule=ScheduleConfig(peak=1e-3, warmup_steps=10)),
    PhaseConfig(name="long", steps=400),
)
_METRICS = (
    Metric("masked_lm_accuracy", "masked-LM accuracy", "mlm", note="Share of masked tokens."),
    Metric("masked_lm_loss", "masked LM loss", "masked_lm", "number", note="Nats per token."),
)


def make_workdir(path: Path, name: str) -> Path:
    """A run of two phases that was interrupted once, with evaluations, predictions and a corpus."""
    path.mkdir(parents=True)
    config = RunConfig(name=name, data=DataConfig(source="sample:aws-docs"), phases=_PHASES)
    save_json(config, path / "config.json")
    metrics, telemetry, predictions = [], [], []
    facts = {"versions": {"jax": "0.10.2"}, "devices": 1, "device": "cpu", "metrics": to_json(_METRICS)}
    telemetry.append({"step": 0, "command": f"jaxbert pretrain quickstart --workdir {_LONG}", **facts})
    for step in range(10, 1001, 10):
        wave = (step * 7919 % 101) / 400
        figures = {"loss": 8 - step / 300 + wave, "masked_lm_accuracy": step / 4000 + wave / 4}
        figures |= {
            "masked_lm_loss": 7 - step / 300 + wave,
            "rate": 1e-3 * (1 - step / 1001),
            "grad_norm": 1 + 9 * wave,
        }
        phase = "short" if step <= _PHASES[0].steps else "long"
        metrics.append({"step": step, "phase": phase, **figures, "real_tokens": 256, "epoch": step / 150})
        telemetry.append({"step": step, "tokens_per_s": 9000 + 1000 * wave, "elapsed_s": step / 2, "mfu": 0.2 + wave})
        if step == 500:
            telemetry.append({"step": 450, **facts})
        if step % 100 == 0:
            metrics.append(
                {"step": step, "validation_loss": 8 - step / 290, "validation_masked_lm_accuracy": step / 3900}
            )
            words = [[word, 0.3 / (rank + 1)] for rank, word in enumerate(("bucket", "value", "name", "user", "role"))]
            line = {"step": step, "sentence": "The name of the [MASK] is long.", "mask": "[MASK]", "truth": "bucket"}
            predictions.append({**line, "probability": step / 2000, "words": words})
    for file, lines in (("metrics", metrics), ("telemetry", telemetry), ("predictions", predictions)):
        (path / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (path / "evaluation.json").write_text(json.dumps({"baselines": {"left bigram": 0.194, "two-sided": 0.211}}))
    write_corpus(path, config, rows=9)
    return path


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([make_workdir(tmp_path_factory.mktemp("one") / "run", "quickstart")], png=False)[0]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("several")
    workdirs = [make_workdir(out / name, name) for name in ("first", _LONG, "third")]
    return write_report(workdirs, out / "page", png=False)[0]


@pytest.fixture
def page(running: Browser, one: Path) -> Page:
    found = running.page()
    found.size(1280)
    found.open(one)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["one", "several"])
def test_nothing_overflows_and_nothing_is_fetched(running, one, several, which, scheme):
    path = {"one": one, "several": several}[which]
    tab = running.page()
    tab.scheme(scheme)
    tab.open(path)
    for width in WIDTHS:
        tab.size(width)
        tab.run("document.querySelectorAll('details').forEach(one => one.open = true)")
        tab.settle()
        assert tab.outside() == [], width
        # Each chart is as wide as its box, and has been drawn.
        assert tab.run("document.querySelectorAll('.plot canvas').length == document.querySelectorAll('figure').length")
        assert tab.run(
            "[...document.querySelectorAll('.plot')].every(p => p.querySelector('.uplot').offsetWidth <= p.clientWidth)"
        )
    assert tab.errors == [] and tab.fetched == [path.resolve().as_uri()]


def test_final_figures_are_on_the_screen_at_400_pixels(running, one):
    tab = running.page()
    tab.size(400)
    tab.open(one)
    cells = tab.run(
        "[...document.querySelectorAll('#figures td')].map(one => one.getBoundingClientRect())"
        ".map(box => [box.left, box.right])"
    )
    assert len(cells) > 8 and all(0 < left < right <= 400 for left, right in cells)


def test_legends_overlap_nothing(running, several):
    tab = running.page()
    for width in WIDTHS:
        tab.size(width)
        tab.open(several)
        assert tab.run("""
          [...document.querySelectorAll("figure")].every(figure => {
            const parts = [".head", ".legend", ".plot", "figcaption"].map(part => figure.querySelector(part))
              .map(part => part.getBoundingClientRect()).filter(box => box.height > 0);
            return parts.every((box, index) => index === 0 || box.top >= parts[index - 1].bottom - 1);
          })
        """), width


def _plot(page: Page) -> dict[str, float]:
    page.run("document.querySelector('.u-over').scrollIntoView({block: 'center', behavior: 'instant'})")
    page.settle()
    box: dict[str, float] = page.run(
        "(({x, y, width, height}) => ({x, y, width, height}))"
        "(document.querySelector('.u-over').getBoundingClientRect())"
    )
    return box


def test_values_of_all_lines_are_shown_at_the_cursor(page):
    box = _plot(page)
    page.mouse("mouseMoved", box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.settle()
    said = page.run("document.querySelector('.plot .tip').innerText")
    assert "step 5" in said and "training" in said and "validation" in said
    page.mouse("mouseMoved", 5, 5)
    page.settle()
    assert page.run("document.querySelector('.plot .tip').hidden")


def test_a_drag_zooms_and_a_double_click_shows_all_again(page):
    box = _plot(page)
    y = box["y"] + box["height"] / 2
    before = _pixels(page)
    page.mouse("mouseMoved", box["x"] + box["width"] * 0.3, y)
    page.mouse("mousePressed", box["x"] + box["width"] * 0.3, y, 1)
    page.mouse("mouseMoved", box["x"] + box["width"] * 0.6, y, 1)
    page.mouse("mouseReleased", box["x"] + box["width"] * 0.6, y, 1)
    page.settle()
    assert not page.run("document.querySelector('.reset').hidden") and _pixels(page) != before
    for clicks in (1, 2):
        page.mouse("mousePressed", box["x"] + box["width"] / 2, y, clicks)
        page.mouse("mouseReleased", box["x"] + box["width"] / 2, y, clicks)
    page.settle()
    assert page.run("document.querySelector('.reset').hidden") and _pixels(page) == before


def _pixels(page: Page) -> str:
    found: str = page.run("document.querySelector('.plot canvas').toDataURL()")
    return found


def test_a_name_switches_its_line_off_and_on(page):
    before = _pixels(page)
    for pressed in ("false", "true"):
        page.run("document.querySelector('.legend button').click()")
        page.settle()
        assert page.run("document.querySelector('.legend button').getAttribute('aria-pressed')") == pressed
        assert (_pixels(page) == before) == (pressed == "true")


@pytest.mark.parametrize("axis", ["tokens", "epochs", "hours"])
def test_other_axes(page, axis):
    before = _pixels(page)
    page.run(
        f"axis.value = '{axis}'; axis.dispatchEvent(new Event('change'))".replace(
            "axis.", "document.getElementById('axis')."
        )
    )
    page.settle()
    assert _pixels(page) != before
    box = _plot(page)
    page.mouse("mouseMoved", box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.settle()
    said = page.run("document.querySelector('.plot .tip').innerText")
    assert {"tokens": "tokens", "epochs": "epoch 3.", "hours": " min"}[axis] in said


def test_smoothing_and_the_logarithmic_axis(page):
    before = _pixels(page)
    page.run("(s => { s.value = 0.9; s.dispatchEvent(new Event('input')) })(document.getElementById('smoothing'))")
    page.settle()
    smoothed = _pixels(page)
    assert smoothed != before and page.run("document.getElementById('smoothed').textContent") == "0.90"
    page.run("document.querySelector('.log').click()")
    page.settle()
    assert _pixels(page) != smoothed
    assert page.run("document.querySelector('.log').getAttribute('aria-pressed')") == "true"


def test_the_keyboard_reads_a_chart(page):
    page.run("document.querySelector('.plot').focus()")
    page.key("ArrowRight")
    page.settle()
    assert page.run("document.querySelector('.plot .tip b').textContent") == "step 10"
    page.key("ArrowRight")
    page.settle()
    assert page.run("document.querySelector('.plot .tip b').textContent") == "step 20"


def test_a_dark_screen_and_white_paper(page, tmp_path):
    light = _pixels(page)
    page.scheme("dark")
    dark = _pixels(page)
    assert dark != light
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(15, 18, 22)"
    # Before it prints, the page takes the light colours, and afterwards those of the screen.
    page.run(
        "window.seen = []; addEventListener('beforeprint', () => "
        "seen.push(getComputedStyle(document.documentElement).getPropertyValue('--card')))"
    )
    page.pdf(tmp_path / "page.pdf")
    page.settle()
    assert page.run("seen.map(one => one.trim())") == ["#ffffff"] and _pixels(page) == dark
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_without_scripts_the_charts_are_pictures(running, one):
    tab = running.page()
    tab.size(400)
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.navigate(one)
    document = tab.call("DOM.getDocument", depth=0)["root"]["nodeId"]
    stills = tab.call("DOM.querySelectorAll", nodeId=document, selector="svg.still")["nodeIds"]
    assert len(stills) > 5
    box = tab.call("DOM.getBoxModel", nodeId=stills[0])["model"]
    assert 200 < box["width"] <= 400 and box["height"] > 80
