"""The page's model fills masks as the command line does: all families, a hundred prompts."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxbert
from jaxbert.commands.main import main
from jaxbert.config import EncoderConfig, load_json, save_json
from jaxbert.models.model import Model, as_dicts
from jaxbert.report.browser import block, weights
from jaxbert.report.browser.block import form_of, model_block, script
from jaxbert.report.browser.reasons import LeftOut
from jaxbert.report.markup import embedded
from jaxbert.stores.arrays import read_params
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.library import Loaded
from jaxbert.use.predict import Filled, fill_mask
from tests.report_browser.engine import Engine
from tests.report_browser.models import FAMILIES_HERE, make_run, model_of
from tests.report_browser.prompts import prompts

TOP = 5


def page_of(model: Loaded) -> Engine:
    """A model as the page has it."""
    assert model.tokenizer is not None
    engine = Engine("tokenizer.js", "model.js", "fill.js")
    form = json.loads(embedded(form_of(model.config, model.params, model.tokenizer)))
    engine.call("(form) => { globalThis.fill = makeFiller(form) }", form)
    return engine


def page_masks(model: Loaded, texts: list[str], top: int = TOP) -> list[list[dict[str, Any]]]:
    with page_of(model) as page:
        return page.call("(texts, top) => texts.flatMap((text) => fill(text, top).masks)", texts, top)


def compare(page: list[list[dict[str, Any]]], filled: list[Filled]) -> tuple[int, float]:
    """Returns how many masks have another likeliest word, and the greatest difference of a probability."""
    other, greatest = 0, 0.0
    for words, one in zip(page, filled, strict=True):
        other += words[0]["id"] != one.candidates[0].id
        probabilities = {candidate.id: candidate.probability for candidate in one.candidates}
        both = [abs(word["probability"] - probabilities[word["id"]]) for word in words if word["id"] in probabilities]
        greatest = max([greatest, *both])
    return other, greatest


@pytest.mark.parametrize("family", FAMILIES_HERE)
def test_a_hundred_prompts(family: str) -> None:
    model = model_of(family)
    assert model.tokenizer is not None
    texts = prompts(model.tokenizer.token(model.tokenizer.mask_id))
    page = page_masks(model, texts)
    # With the values that int8 leaves the weights, the page computes the same.
    exact = copy.copy(model)
    exact.params = weights.rounded(model.params, model.config)
    filled = fill_mask(exact, texts, top=TOP)
    other, greatest = compare(page, filled)
    assert (other, len(page)) == (0, len(filled)) and greatest < 1e-5
    for words, one in zip(page, filled, strict=True):
        for word, candidate in zip(words, one.candidates, strict=True):
            # Of words with nearly the same probability, either may be first.
            if word["id"] == candidate.id:
                assert word["token"] == candidate.token
    # The full weights give nearly the same.
    full = fill_mask(model, texts, top=TOP)
    other, greatest = compare(page, full)
    same = [words[0]["id"] == one.candidates[0].id for words, one in zip(page, full, strict=True) if one.mask == 0]
    assert len(same) == 100 and sum(same) >= 98, f"{sum(same)} of 100"
    assert greatest < 0.03


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = model_of("bert")
    assert model.tokenizer is not None and isinstance(model.config, EncoderConfig)
    full = as_dicts(jax.jit(Model(model.config, ("masked_lm", "pooler", "next_sentence")).init)(jax.random.key(0)))
    params = {**full, **model.params}
    return make_run(tmp_path_factory.mktemp("runs"), model.config, params, model.tokenizer)


def in_page(html: str) -> dict[str, Any]:
    """The model that a page holds, read from its HTML."""
    found = re.search(r'<script type="application/json" id="try-data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_of_a_run_against_the_command_line(run: Path, tmp_path: Path) -> None:
    """The commands themselves: `report` writes the page, `fill-mask` prints the words."""
    (run / "metrics.jsonl").write_text(json.dumps({"step": 2, "loss": 1.0}) + "\n")
    sentences = ["the [MASK] of <b>the</b> bucket", "no mask", "a & [MASK]"]
    (run / "predictions.jsonl").write_text("".join(json.dumps({"sentence": one}) + "\n" for one in sentences))
    assert main(["report", str(run)]) == 0
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "The model of step 2 is in this page" in html and "<b>the</b>" not in html
    assert "the [MASK] of &lt;b&gt;the&lt;/b&gt; bucket" in html and ">no mask<" not in html
    texts = prompts("[MASK]")
    assert main(["fill-mask", "--json", str(tmp_path / "json"), "--", str(run), *texts]) == 0
    printed = json.loads((tmp_path / "json").read_text(encoding="utf-8"))["masks"]
    with Engine("tokenizer.js", "model.js", "fill.js") as page:
        page.call("(form) => { globalThis.fill = makeFiller(form) }", in_page(html))
        masks = page.call("(texts) => texts.flatMap((text) => fill(text, 5).masks)", texts)
    first = [words[0]["token"] == one["candidates"][0]["token"] for words, one in zip(masks, printed, strict=True)]
    assert len(first) == sum(text.count("[MASK]") for text in texts)
    assert sum(first) >= 0.98 * len(first)


def test_what_is_asked_of_the_reader() -> None:
    model = model_of("bert")
    with page_of(model) as page:
        fill = "(text) => { const { problem, has, takes } = fill(text, 5); return [problem, has, takes]; }"
        assert page.call(fill, "the bucket") == ["no mask", None, None]
        assert page.call(fill, "[MASK] " * 249) == ["too long", 249, 248]
        assert page.call(fill, "[MASK] " * 248)[0] is None


def test_parameters_without_jax_are_those_of_the_checkpoint(run: Path) -> None:
    params = read_params(run, 2)
    expected = jaxbert.load(run).params
    assert params.keys() == expected.keys()
    jax.tree.map(np.testing.assert_array_equal, params, as_dicts(jax.tree.map(np.asarray, expected)))


def test_int8_is_within_half_a_step() -> None:
    matrix = np.random.default_rng(0).normal(size=(7, 33)).astype(np.float32)
    matrix[3] = 0
    values, scales = weights.quantised(matrix)
    assert values.dtype == np.int8 and scales[3] == 0
    assert np.abs(values).max(axis=1).tolist() == [127, 127, 127, 0, 127, 127, 127]
    assert (np.abs(values * scales[:, None] - matrix) <= scales[:, None] / 2 + 1e-7).all()


def changed(run: Path, copy_to: Path, **changes: Any) -> Path:
    shutil.copytree(run, copy_to)
    config = load_json(copy_to / "config.json")
    save_json(
        dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, **changes)), copy_to / "config.json"
    )
    return copy_to


def test_a_page_says_why_it_has_no_model(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a large model not a byte is read.
    large = model_block(changed(run, tmp_path / "large", hidden_size=768, num_layers=12, vocab_size=30522))
    assert "it takes 71.2 MB" in large.reason and "a page holds 8.0 MB" in large.reason
    assert large.html.startswith("<p") and "<script" not in large.html
    # The limit counts the text in the page.
    size = len(json.dumps(form_of(*_parts(run)), ensure_ascii=False, separators=(",", ":")).encode())
    assert model_block(run).reason == ""
    monkeypatch.setattr(block, "LIMIT", size - 1)
    assert "a page holds" in model_block(run).reason
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "large" / "checkpoints")
    (tmp_path / "large" / "checkpoints").mkdir()
    save_json(load_json(run / "config.json"), tmp_path / "large" / "config.json")
    assert "no checkpoint yet" in model_block(tmp_path / "large").reason
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    next(path for path in (damaged / "checkpoints" / "2" / "params" / "d").iterdir()).write_bytes(b"x")
    assert "damaged" in model_block(damaged).reason
    with pytest.raises(LeftOut, match="no masked-LM head"):
        weights.write({"encoder": {}}, model_of("bert").config)


def _parts(run: Path) -> tuple[Any, ...]:
    config = load_json(run / "config.json")
    return config.encoder, read_params(run, 2), Tokenizer.load(run / "tokenizer")


def test_nothing_in_the_page_can_end_its_script() -> None:
    assert embedded({"a": "</script><!--&"}) == '{"a":"\\u003c/script\\u003e\\u003c!--\\u0026"}'
    assert json.loads(embedded(["</script>\u2028 \u4e2d"])) == ["</script>\u2028 \u4e2d"]
    assert "</" not in script() and "<!--" not in script()
    # Nothing is fetched, and nothing runs text as code.
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|eval\(|Function\(|innerHTML|https?:", script())
