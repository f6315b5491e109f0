"""The model in the page fills masks in a real browser as `jaxbert fill-mask` does, without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import pytest

from jaxbert.commands.main import main
from jaxbert.config import EncoderConfig
from jaxbert.models.model import Model, as_dicts
from jaxbert.report.browser.weights import rounded
from tests.browser.chromium import WIDTHS, Browser, Page
from tests.report_browser.models import make_run, model_of

SENTENCES = (
    "The [MASK] of the bucket.",
    "From [MASK] to [MASK], and from [MASK] to here.",
    "Café <b>[MASK]</b> &amp; ünïcödé " + "a" * 90 + ".",
)
# What a reader sees of each mask: the words with their probabilities.
_SHOWN = """
[...document.querySelectorAll("#try-found table")].map(table =>
  [...table.tBodies[0].rows].map(row => ["bdi", ".try-share"].map(part => row.querySelector(part).innerText)))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its page. The weights are those that int8 leaves, so the command line computes with the same ones."""
    model = model_of("bert")
    assert model.tokenizer is not None and isinstance(model.config, EncoderConfig)
    heads = jax.jit(Model(model.config, ("masked_lm", "pooler", "next_sentence")).init)(jax.random.key(0))
    params = {**as_dicts(heads), **rounded(model.params, model.config)}
    workdir = make_run(tmp_path_factory.mktemp("runs") / "tiny", model.config, params, model.tokenizer)
    (workdir / "metrics.jsonl").write_text(json.dumps({"step": 2, "loss": 1.0}) + "\n")
    assert main(["report", str(workdir)]) == 0
    return workdir


@pytest.fixture(scope="module")
def printed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[list[dict[str, Any]]]]:
    """The candidates of each mask of each sentence, from the command line."""
    out = tmp_path_factory.mktemp("json") / "masks.json"
    assert main(["fill-mask", "--top", "6", "--json", str(out), "--", str(run), *SENTENCES]) == 0
    masks = iter(json.loads(out.read_text(encoding="utf-8"))["masks"])
    return [[next(masks)["candidates"] for _ in range(text.count("[MASK]"))] for text in SENTENCES]


def _type(tab: Page, text: str) -> None:
    """Types a text as a reader does, and presses the button."""
    tab.run("(text => { text.focus(); text.select(); })(document.getElementById('try-text'))")
    tab.call("Input.insertText", text=text)
    button = "document.querySelector('#try-form button[type=submit]')"
    tab.run(f"{button}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    x, y = tab.run(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({button}.getBoundingClientRect())")
    for kind in ("mousePressed", "mouseReleased"):
        tab.mouse(kind, x, y, 1)
    tab.settle()


def _compare(words: list[list[str]], candidates: list[dict[str, Any]]) -> None:
    """Compares five words with their probabilities, as shown, with the six likeliest of the command line."""
    exact = [one["probability"] for one in candidates]
    assert len(words) == 5 and len(exact) == 6
    for rank, (word, share) in enumerate(words):
        # The page rounds to a tenth of a percent.
        assert share.endswith("%") and float(share[:-1]) == pytest.approx(100 * exact[rank], abs=0.051)
        if word != candidates[rank]["token"]:  # Of words with nearly the same probability, either may be first.
            assert min(abs(exact[rank] - exact[other]) for other in (rank - 1, rank + 1) if other >= 0) < 1e-5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_typed_sentence_is_filled_as_on_the_command_line(running, run, printed, scheme):
    tab = running.page()
    tab.offline()
    tab.scheme(scheme)
    page = run / "report.html"
    tab.open(page)
    for width in WIDTHS:
        tab.size(width)
        for text, masks in zip(SENTENCES, printed, strict=True):
            _type(tab, text)
            shown = tab.run(_SHOWN)
            for words, candidates in zip(shown, masks, strict=True):
                _compare(words, candidates)
            assert shown[0][0][0] in tab.run("document.getElementById('try-said').innerText")
            assert tab.outside() == [], (width, text)
    assert tab.errors == [] and tab.fetched == [page.resolve().as_uri()]


def test_a_text_without_a_mask_is_said_and_the_button_inserts_one(running: Browser, run: Path) -> None:
    tab = running.page()
    tab.size(400)
    tab.open(run / "report.html")
    _type(tab, "The name of the ")
    assert tab.run(_SHOWN) == [] and "no [MASK]" in tab.run("document.getElementById('try-said').innerText")
    assert tab.run("document.getElementById('try-text').getAttribute('aria-invalid')") == "true"
    tab.run("document.getElementById('try-insert').click()")
    tab.settle()
    assert tab.run("document.getElementById('try-text').value") == "The name of the [MASK]"
    assert len(tab.run(_SHOWN)[0]) == 5 and tab.outside() == [] and tab.errors == []


def test_in_the_dark_the_words_can_be_read(running: Browser, run: Path) -> None:
    """Text and background of the section have a contrast of at least 4.5 (WCAG 2.2, 1.4.3) in both schemes."""
    for scheme in ("light", "dark"):
        tab = running.page()
        tab.scheme(scheme)
        tab.open(run / "report.html")
        _type(tab, SENTENCES[0])
        low = tab.run("""
          (() => {
            const parts = (text) => text.match(/[\\d.]+/g).map(Number);
            const light = (text) => parts(text).slice(0, 3).map(value => value / 255)
              .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
              .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
            const below = (one) => {
              for (; one; one = one.parentElement) {
                const colour = getComputedStyle(one).backgroundColor;
                if (parts(colour).length < 4 || parts(colour)[3] > 0) return colour;
              }
              return "rgb(255, 255, 255)";
            };
            return ["label", "textarea", "button", "p", "bdi", ".try-share"]
              .flatMap(part => [...document.querySelectorAll(`#try ${part}`)])
              .map(one => [one.outerHTML.slice(0, 80), light(getComputedStyle(one).color), light(below(one))])
              .map(([name, a, b]) => [name, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)])
              .filter(([name, contrast]) => contrast < 4.5);
          })()
        """)
        assert low == [], scheme
