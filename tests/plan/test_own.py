"""Chips that the table lacks: `--chip FILE` and this machine's CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jaxbert.commands.main import main
from jaxbert.core.chips import CHIPS, GIB
from jaxbert.core.machine import memory_bytes
from jaxbert.errors import InputError
from jaxbert.plan import here
from jaxbert.plan.cost import ATTAINED_CPU, POOR_CPU
from jaxbert.plan.own import own_chip
from jaxbert.plan.topologies import topology

LEAST: dict[str, Any] = {"name": "a6000", "tflops": 154.8, "memory_gib": 47.5, "memory_gb_per_s": 768}
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "plan.md"


@pytest.fixture
def file(tmp_path: Path):
    def write(figures: Any) -> str:
        path = tmp_path / "chip.json"
        path.write_text(figures if isinstance(figures, str) else json.dumps(figures))
        return str(path)

    return write


def test_four_figures_make_a_chip(file):
    chip = own_chip(file(LEAST))
    assert (chip.flops, chip.float32_flops, chip.vector) == (154.8e12, 77.4e12, 154.8e12 / 16)
    assert chip.hbm == pytest.approx(0.92 * 47.5 * GIB) and chip.kind == "gpu" and chip.price is None
    assert chip.power.source.startswith("assumed") and chip.power.low < chip.power.watts < chip.power.high


def test_the_figures_of_a_known_chip_give_its_plan(file, tmp_path: Path, capsys):
    """The file of a chip of the table is worth as much as the table."""
    known = CHIPS["a100-80gb"]
    figures = {
        "name": "mine",
        "tflops": known.flops / 1e12,
        "float32_tflops": known.float32_flops / 1e12,
        "vector_tflops": known.vector / 1e12,
        "memory_gib": known.hbm / 0.92 / GIB,
        "memory_gb_per_s": known.hbm_bandwidth / 1e9,
        "link_gb_per_s": known.links * known.link_bandwidth / 1e9,
        "network_gbit_per_s": known.network * 8 / 1e9,
        "price": 2.0,
        "watts": 400,
    }
    plans = []
    for place in (["--topology", "a100-80gb:8"], ["--topology", "mine:8", "--chip", file(figures)]):
        out = tmp_path / "plan.json"
        assert main(["plan", "bert_base", *place, "--slices", "2", "--json", str(out)]) == 0
        plans.append(json.loads(out.read_text()))
    theirs, ours = plans
    for key in ("hbm_bytes", "mfu", "power"):
        assert ours[key] == pytest.approx(theirs[key]), key
    for one, other in zip(ours["phases"], theirs["phases"], strict=True):
        assert one["step_s"] == pytest.approx(other["step_s"])
    assert ours["bill"]["money"] == pytest.approx(2 * ours["bill"]["chip_hours"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tflops": None}, "tflops"),
        ({"tflops": 0}, "tflops is 0"),
        ({"tflops": "154"}, "tflops"),
        ({"memory_gib": 1e9}, "memory_gib"),
        ({"memory_gb": 48}, "Did you mean memory_gib"),
        ({"name": "A 6000"}, "name"),
        ({"kind": "npu"}, "one of gpu, tpu"),
        ({"chips_per_host": 0}, "chips_per_host"),
        ({"price": -1}, "price is -1"),
        ({"watts": True}, "watts"),
        ({"name": "h100"}, "Choose another name"),
        ({"name": "v5e", "kind": "tpu"}, "the name of a chip whose figures are known"),
        ({"bfloat16": False}, "float32_tflops is missing"),
    ],
)
def test_a_wrong_figure_is_named(change: dict[str, Any], said: str, file):
    with pytest.raises(InputError, match="E-PLAN-CHIP-FILE") as caught:
        own_chip(file({**LEAST, **change}))
    assert said in str(caught.value)


def test_a_gpu_of_float16_is_planned_at_the_peak_of_float32(file, tmp_path: Path, capsys):
    """The file of a V100 gives the plan of the table's V100, MFU included."""
    known = CHIPS["v100-32gb"]
    figures = {**LEAST, "name": "mine", "tflops": known.flops / 1e12, "bfloat16": False}
    figures |= {"float32_tflops": 15.7, "vector_tflops": 15.7, "memory_gib": known.hbm / 0.92 / GIB}
    figures |= {"memory_gb_per_s": 900, "link_gb_per_s": 150}
    plans = []
    for place in (["--topology", "v100-32gb:8"], ["--topology", "mine:8", "--chip", file(figures)]):
        assert main(["plan", "bert_base", *place, "--json", str(tmp_path / "plan.json")]) == 0
        plans.append(json.loads((tmp_path / "plan.json").read_text()))
    assert plans[0]["mfu"] == pytest.approx(plans[1]["mfu"])


def test_a_missing_key_is_named(file):
    with pytest.raises(InputError, match=r"memory_gb_per_s.*E-PLAN-CHIP-FILE"):
        own_chip(file({key: value for key, value in LEAST.items() if key != "memory_gb_per_s"}))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 5000, '{"name": "a", "name": "b"}', '{"tflops": NaN}'])
def test_what_is_no_chip_is_refused(text: str, file):
    with pytest.raises(InputError, match="E-PLAN-CHIP-FILE"):
        own_chip(file(text))


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"none.json.*E-PLAN-CHIP-FILE"):
        own_chip(str(tmp_path / "none.json"))


def test_its_slices_are_what_one_machine_has(file):
    chip = own_chip(file({**LEAST, "chips_per_host": 4}))
    assert topology("a6000:3", 2, chip).chips == 6 and topology("a6000", 1, chip).chips == 1
    assert topology("h100:8", 1, chip).chip is CHIPS["h100"]
    for wrong in ("a6000:5", "a6000:0", "a6000:2x2", "a6000:-1"):
        with pytest.raises(InputError, match=r"1 to 4 chips.*E-PLAN-SLICE\]"):
            topology(wrong, 1, chip)


@pytest.mark.parametrize("text", ["a6000:4", "4xA6000", "4 x a6000"])
def test_its_slices_are_typed_as_those_of_the_table(text: str, file):
    assert topology(text, own=own_chip(file({**LEAST, "name": "a6000"}))).name == "a6000:4"


def test_the_page_shows_a_file_that_works(file):
    example = PAGE.read_text(encoding="utf-8").partition('    {\n     "name"')
    assert own_chip(file('{"name"' + example[2].partition("    }\n")[0] + "}")).name == "a6000"


def test_a_tpu_of_a_file_is_not_compiled(file, capsys):
    place = ["--topology", "mine:4", "--chip", file({**LEAST, "name": "mine", "kind": "tpu"})]
    assert main(["plan", "bert_base", *place]) == 0
    assert "libtpu does not know a chip of --chip" in capsys.readouterr().out


def test_this_machine_is_measured(capsys, monkeypatch):
    chip = here.measured_cpu(seconds=0.01)
    for rate in (chip.flops, chip.vector, chip.hbm_bandwidth, chip.gather):
        assert 1e6 < rate < 1e16
    assert chip.hbm == pytest.approx((memory_bytes() or 0) / 2) and chip.measured
    monkeypatch.setattr(here, "measured_cpu", lambda seconds: chip)
    assert main(["plan", "smoke", "--topology", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "cpu:1" in out and "Other work on this machine" in out and "no price is known" in out
    # A step that a CPU needs longest for is slower than an expected one.
    assert all(getattr(POOR_CPU, name) <= getattr(ATTAINED_CPU, name) for name in vars(POOR_CPU))


@pytest.mark.parametrize("more", [["--slices", "2"], ["--chip", "a6000.json"]])
def test_this_machine_has_no_slices_and_no_figures_of_a_file(more: list[str], capsys):
    assert main(["plan", "smoke", "--topology", "cpu", *more]) == 2
    said = capsys.readouterr().err
    assert f"--topology cpu {more[0]}" in said and "E-PLAN-CPU" in said


def test_what_a_cpu_cannot_hold_is_not_answered_with_a_larger_one(capsys, monkeypatch):
    chip = here.measured_cpu(seconds=0.01)
    monkeypatch.setattr(here, "measured_cpu", lambda seconds: chip)
    huge = ("encoder.num_layers=96", "encoder.hidden_size=16384", "encoder.intermediate_size=65536")
    assert main(["plan", "bert_large", "--topology", "cpu", "--set", *huge, "encoder.num_heads=64"]) == 2
    assert "Take a smaller model or batch. [E-PLAN-MEMORY]" in capsys.readouterr().err
