"""`jaxbert plan` from the command line, by the model alone: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from jaxbert.commands.main import main
from jaxbert.config import RunConfig, find_config
from jaxbert.observe.meter import Meter
from jaxbert.observe.peaks import mesh_peak
from jaxbert.plan import layouts, planner
from jaxbert.plan.compile import Compiled
from jaxbert.plan.topologies import Topology, topology

PLACE = ("--topology", "v5e:4x4", "--analytic")


@pytest.fixture
def plan(capsys: Any, tmp_path: Any):
    def run(*arguments: str) -> tuple[int, str, str, Any]:
        code = main(["plan", *arguments, "--json", str(tmp_path / "plan.json")])
        file = tmp_path / "plan.json"
        printed = capsys.readouterr()
        return code, printed.out, printed.err, json.loads(file.read_text()) if file.exists() else None

    return run


def test_a_plan_says_everything(plan):
    code, out, _, figures = plan("bert_base", *PLACE)
    assert code == 0
    for word in (
        *("fits", "parameters", "optimizer", "activations and temporaries", "binds", "MFU", "tokens/s", "HBM"),
        *("all-reduce over data", "chip-hours", "USD", "kWh", "CO2e", "PUE", "assumed", "phase seq512", "W a chip"),
    ):
        assert word in out, word
    assert figures["fits"] and figures["over_bytes"] == 0
    assert figures["judged_by"].startswith("the analytic model, because of --analytic")
    assert [phase["steps"] for phase in figures["phases"]] == [900_000, 100_000]
    for phase in figures["phases"]:
        assert phase["mfu"]["worst"] < phase["mfu"]["expected"] < phase["mfu"]["best"] <= 1.000001
        assert phase["tokens_per_s"] == pytest.approx(phase["tokens"] / phase["step_s"]["expected"])
        assert phase["terms_s"][phase["binds"]] == max(phase["terms_s"].values())
    trained = sum(phase["steps"] * phase["step_s"]["expected"] for phase in figures["phases"])
    assert figures["bill"]["hours"] * 3600 == pytest.approx(trained + figures["evaluation_s"])
    assert 0 < figures["evaluation_s"] < 0.02 * trained


def test_a_plan_of_a_config_that_inherits_says_whose_sizes_it_has(plan):
    said = "sizes: those of the config, although a run takes them from the model of --init"
    assert said in plan("adapt", *PLACE)[1] and said not in plan("bert_base", *PLACE)[1]


def test_what_is_given_is_what_is_billed(plan):
    *_, figures = plan("bert_base", *PLACE, "--price", "2", "--watts", "100", "--pue", "1.5", "--grid", "100")
    bill = figures["bill"]
    assert bill["money"] == pytest.approx(2 * bill["chip_hours"])
    assert bill["kwh"] == bill["kwh_low"] == pytest.approx(bill["chip_hours"] * 0.1 * 1.5)
    assert bill["kg_co2e"] == pytest.approx(bill["kwh"] * 0.1)
    assert figures["price"]["source"] == "given"


def test_gpus_say_that_the_figures_are_the_model_s(plan):
    code, out, _, figures = plan("bert_base", "--topology", "h200:8")
    assert code == 0 and "the plan has no compiler for GPUs" in out
    assert figures["phases"][0]["transfers"] and "compiled" not in figures["phases"][0]


def test_a_gpu_has_the_memory_that_a_run_asks_jax_for(plan):
    rows = ("--set", "phases.*.batch_size=1024", "mesh.layout=replicated")
    code, out, _, figures = plan("bert_base", "--topology", "h100:8", *rows)
    used = max(phase["memory_model_bytes"]["total"] for phase in figures["phases"])
    # More than jax takes of 79.1 GiB by itself.
    assert 0.75 * 79.1 * 2**30 < used < figures["hbm_bytes"] == pytest.approx(0.92 * 79.1 * 2**30)
    assert code == 0 and figures["fits"] and "XLA_CLIENT_MEM_FRACTION=0.92" in out


def test_half_a_chip_is_a_device(plan):
    code, out, _, figures = plan("bert_base", "--topology", "v3-32", "--analytic")
    assert code == 0 and (figures["topology"], figures["chips"], figures["devices"]) == ("v3:4x4", 16, 32)
    assert figures["mesh"]["data"] * figures["mesh"]["fsdp"] * figures["mesh"]["tensor"] == 32
    assert figures["bill"]["chip_hours"] == pytest.approx(16 * figures["bill"]["hours"])
    assert "through each device's HBM" in out and "chip's HBM" not in out
    assert figures["price"] is None and figures["bill"]["money"] is None and "give --price" in out


def test_each_price_is_shown_with_its_seller(plan):
    _, out, _, figures = plan("bert_base", "--topology", "h100:8")
    assert all(seller in out for seller in ("AWS", "Google Cloud", "Azure", "Lambda")) and len(figures["prices"]) > 3
    _, out, _, figures = plan("bert_base", "--topology", "h100:8", "--provider", "google")
    assert "AWS" not in out and figures["price"]["provider"] == "google"
    # AWS sells these by Capacity Blocks, which nobody gets on demand.
    _, out, _, blocks = plan("bert_base", "--topology", "h100:8", "--provider", "aws")
    assert blocks["price"] is None and "no price is known" in out
    *_, on_demand = plan("bert_base", "--topology", "a100-80gb:8", "--provider", "aws")
    assert on_demand["price"]["provider"] == "aws"
    assert figures["bill"]["money"] == pytest.approx(figures["price"]["per_hour"] * figures["bill"]["chip_hours"])


def test_a_chip_without_bfloat16_is_planned_in_float32(plan):
    _, out, _, one = plan("bert_base", "--topology", "v100-16gb:8")
    _, _, _, other = plan("bert_base", "--topology", "v100-16gb:8", "--set", "numerics.dtype=float32")
    assert "no units for bfloat16" in out
    assert one["phases"][0]["terms_s"]["compute"] == pytest.approx(other["phases"][0]["terms_s"]["compute"], rel=1e-6)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("v5e:2x2", "TPU v5 lite"),
        ("v3:2x2", "TPU v3"),
        ("a100-80gb:8", "NVIDIA A100-SXM4-80GB"),
        ("v100-32gb:8", "Tesla V100-SXM2-32GB"),
        ("mi300x:8", "AMD Instinct MI300X"),
    ],
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_mfu_of_a_plan_is_that_of_the_meter(place: str, kind: str, dtype: str, plan):
    """A run that takes the planned time for each step has the planned MFU on its meter."""
    *_, figures = plan("bert_base", "--topology", place, "--analytic", "--set", f"numerics.dtype={dtype}")
    peak = mesh_peak([SimpleNamespace(device_kind=kind, platform="any")] * figures["devices"], dtype)
    for phase in figures["phases"]:
        meter = Meter(peak=peak)
        meter.start_phase(flops_per_row=phase["model_flops"] / phase["batch_size"], length=phase["length"])
        tokens = phase["batch_size"] * phase["length"]
        meter.step_done(phase["step_s"]["expected"], real_tokens=tokens, padded_tokens=tokens)
        assert phase["mfu"]["expected"] == pytest.approx(meter.rates()["mfu"])


def test_several_slices_pay_for_the_network_between_them(plan):
    *_, one = plan("bert_base", "--topology", "v5e:4x8", "--analytic")
    code, out, _, two = plan("bert_base", "--topology", "v5e:4x4", "--slices", "2", "--analytic")
    assert code == 0 and "2 slices of v5e:4x4" in out and two["chips"] == one["chips"] == 32
    assert one["phases"][0]["terms_s"]["dcn"] == 0 < two["phases"][0]["terms_s"]["dcn"]


def test_all_layouts_are_a_line_each(plan):
    code, out, _, figures = plan("bert_base", *PLACE, "--layouts", "all", "--set", "encoder.vocab_multiple=256")
    assert code == 0 and [word.split()[0] for word in out.splitlines()[1:]] == [
        "replicated",
        "zero1",
        "fsdp",
        "fsdp_tensor",
    ]
    memory = [max(sum(phase["memory_bytes"].values()) for phase in one["phases"]) for one in figures["layouts"]]
    assert memory[0] > memory[1] > memory[2]


def test_a_layout_that_does_not_go_says_why(plan):
    _, out, _, _ = plan("bert_base", *PLACE, "--layouts", "all", "--set", "mesh.layout=replicated")
    assert "fsdp_tensor bert_base does not divide among 2 or more devices along tensor" in out and "vocabulary" in out
    _, out, _, _ = plan("bert_base", "--topology", "l4:1", "--layouts", "all", "--set", "mesh.layout=replicated")
    assert out.count("it needs several devices") == 3
    # The config's own layout goes, as `plan` without --layouts says.
    _, out, _, _ = plan("bert_base", *PLACE, "--layouts", "all")
    assert "fsdp_tensor 16x1x1 " in " ".join(out.split()) and "does not divide" not in out


def test_the_table_is_one_row_that_markdown_reads(plan):
    _, out, _, _ = plan("bert_base", *PLACE, "--table")
    head, rule, row = out.splitlines()
    assert head.count("|") == rule.count("|") == row.count("|")


def test_a_search_ranks_and_says_what_to_set(plan):
    code, out, _, figures = plan("bert_base", *PLACE, "--search")
    assert (code == 0 and "--set mesh.layout=" in out and "no change" in out) or "encoder.remat" in out
    seconds = [one["seconds"] for one in figures["search"] if one["fits_model"]]
    assert seconds == sorted(seconds) and len(figures["search"]) == 10


def test_what_does_not_fit_is_exit_2_with_the_shortfall_and_what_would(plan):
    code, out, err, figures = plan("bert_large", "--topology", "v5e:2x2", "--analytic")
    assert code == 2 and "does NOT fit" in out
    assert "GiB more than one v5e has, 15.75 GiB" in err and "--set " in err and err.count("\n") == 1
    assert not figures["fits"] and figures["over_bytes"] > 2**30
    fix = err.partition("would fit: --set ")[2].partition(". --search")[0].split()
    assert plan("bert_large", "--topology", "v5e:2x2", "--analytic", "--set", *fix)[0] == 0


def test_where_nothing_would_fit_a_larger_slice_is_named(plan):
    huge = ("encoder.num_layers=96", "encoder.hidden_size=8192", "encoder.intermediate_size=32768")
    code, _, err, _ = plan("bert_large", "--topology", "v5e:1x1", "--analytic", "--set", *huge, "encoder.num_heads=64")
    assert code == 2 and "No layout, accumulation or remat fits here. v" in err and "would fit. [E-PLAN-MEMORY]" in err


def test_what_fits_nowhere_is_said_after_few_tries(plan, monkeypatch):
    """Every slice is looked at, and for each only the candidates that need the least memory."""
    judge, judged = layouts.judge, []
    monkeypatch.setattr(layouts, "judge", lambda *given: judged.append(given) or judge(*given))
    huge = ("encoder.num_layers=512", "encoder.hidden_size=16384", "encoder.intermediate_size=65536")
    code, _, err, _ = plan("bert_large", "--topology", "v5e:1x1", "--analytic", "--set", *huge, "encoder.num_heads=128")
    assert code == 2 and "Take a smaller model or batch. [E-PLAN-MEMORY]" in err
    # Two for each mesh of each slice.
    assert 0 < len(judged) < 1000
    # It says the same of a place as the whole search does.
    config = find_config("bert_large")
    for name in ("v5e:1x1", "v5e:2x2", "v5e:4x4"):
        place = topology(name)
        assert layouts.anything_fits(config, place) == any(one.fits for one in layouts.search(config, place))


@pytest.mark.parametrize(
    ("arguments", "said", "fix", "code"),
    [
        (["bert_base", "--topology", "v5e:3x3"], "3x3", "v5e:2x4", "E-PLAN-SLICE"),
        (["bert_base", "--topology", "v5e"], "the slice is missing after v5e", "v5e:", "E-PLAN-SLICE"),
        (["bert_base", "--topology", "v9:2"], "'v9'", "Known: v3", "E-PLAN-CHIP"),
        (["bert_base", "--topology", "8xA100"], "a100-40gb:8 or a100-80gb:8", "that you mean", "E-PLAN-AMBIGUOUS"),
        (
            ["bert_base", *PLACE, "--set", "mesh.data=5"],
            "16 devices, but the mesh is data 5",
            "data 16 x fsdp 1 x tensor 1",
            "E-CONFIG-MESH",
        ),
        (["bert_base", "--topology", "v5p:8x8x16"], "data 1024", "a multiple of 1024", "E-CONFIG-BATCH"),
        (["bert_base", *PLACE, "--layouts", "all", "--search"], "--layouts prints", "--table", "E-ARGUMENT-TOGETHER"),
        (["bert_base", "--topology", "cpu:8"], "the CPU is one device", "Write cpu for", "E-PLAN-CPU"),
        (["bert_base", *PLACE, "--slices", "0"], "slices is 0", "Give 1 to 4,096", "E-PLAN-SLICES"),
        (["bert_base", *PLACE, "--grid", "-1"], "-1.0", "from 0 to 100,000", "E-ARGUMENT-RANGE"),
        (["bert_base", *PLACE, "--real", "0"], "0.0", "above 0 and up to 1", "E-ARGUMENT-RANGE"),
        (["bert_base", *PLACE, "--real", "nan"], "nan", "above 0 and up to 1", "E-ARGUMENT-RANGE"),
        (["bert_bass", *PLACE], "bert_bass", "bert_base", "E-CONFIG-MISSING"),
        (
            ["distilbert_base", *PLACE, "--set", "objectives.distillation.teacher=my/model"],
            "my/model",
            "config:bert_base",
            "E-PLAN-TEACHER",
        ),
    ],
)
def test_bad_input_is_exit_2_and_one_line_that_says_what_would_work(plan, arguments, said: str, fix: str, code: str):
    ended, out, err, figures = plan(*arguments)
    assert (ended, figures) == (2, None) and out == ""
    assert said in err and fix in err and f"[{code}]" in err and err.count("\n") == 1


def test_a_fused_path_with_dropout_on_attention_is_refused(plan):
    code, _, err, _ = plan("bert_base", *PLACE, "--set", "encoder.attention=fused")
    assert code == 2 and "attention_dropout" in err


def test_the_command_line_names_chips_without_jax():
    program = "import sys; from jaxbert.commands.main import parser; parser(); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_phases_with_the_same_batches_are_compiled_once(plan, monkeypatch, capsys):
    """Only names, steps, schedules and moments differ, and the program's memory and cycles do not depend on them."""
    asked: list[int] = []

    def compile_step(config: RunConfig, place: Topology, phase: int) -> Compiled:
        asked.append(phase)
        return Compiled(True, 1.0, arguments=float(2**30), limit=place.chip.hbm, cycles=3e9)

    monkeypatch.setattr(planner.compiler, "available", lambda: "1.2")
    monkeypatch.setattr(planner.compiler, "compile_step", compile_step)
    settings = ["phases.1.length=128", "phases.1.slots=0", "phases.0.slots=0"]
    code, out, err, figures = plan("bert_base", "--topology", "v5e:4x4", "--set", *settings)
    assert code == 0 and asked == [0] and err.count("compiling the step") == 1
    assert "memory by libtpu 1.2; time by libtpu's estimates of cycles" in out
    for phase in figures["phases"]:
        assert phase["step_judged_by"] == "libtpu's estimates of cycles"
        assert phase["cycles_s"] == pytest.approx(2.0) and phase["step_s"]["expected"] > 2.0
    trained = sum(phase["steps"] * phase["step_s"]["expected"] for phase in figures["phases"])
    assert figures["bill"]["hours"] * 3600 == pytest.approx(trained + figures["evaluation_s"])
    asked.clear()
    assert plan("bert_base", "--topology", "v5e:4x4")[0] == 0 and asked == [0, 1]


def test_padding_lowers_only_the_bound(plan):
    *_, full = plan("bert_base", *PLACE)
    *_, half = plan("bert_base", *PLACE, "--real", "0.5")
    for one, other in zip(full["phases"], half["phases"], strict=True):
        assert other["step_s"]["best"] < 0.51 * one["step_s"]["best"]
        assert other["step_s"]["expected"] == one["step_s"]["expected"]
        assert one["mfu"]["best"] == pytest.approx(1.0)
