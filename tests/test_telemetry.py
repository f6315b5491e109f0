"""Metrics files, FLOPs, meters: everything with a made-up clock."""

from __future__ import annotations

import dataclasses
import io
import json
import math

import pytest

from jaxbert.config import DistillationConfig, EncoderConfig
from jaxbert.core.chips import peak_flops
from jaxbert.core.progress import Progress, duration
from jaxbert.observe.energy import Estimated, Joined, Rapl
from jaxbert.observe.flops import step_flops
from jaxbert.observe.lines import JsonLines
from jaxbert.observe.meter import Meter, percentile
from jaxbert.observe.pace import Pace, Work
from jaxbert.observe.peaks import Peak, measured_matmul


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_cut_back_keeps_bytes_up_to_the_step_and_drops_a_torn_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = JsonLines(path)
    for step in (10, 20, 30):
        lines.write({"step": step, "loss": 1 / 3})
    lines.close()
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole) + b'{"step": 5, "lo')
    JsonLines.cut_back(path, 20)
    assert path.read_bytes() == b"".join(whole[:2])
    JsonLines.cut_back(path, 20)
    assert path.read_bytes() == b"".join(whole[:2])
    assert [line["step"] for line in JsonLines.read(path)] == [10, 20]


def test_lines_are_strict_json(tmp_path):
    path = tmp_path / "deep" / "metrics.jsonl"
    lines = JsonLines(path)
    lines.write({"step": 1, "loss": math.nan, "nested": {"rate": math.inf, "ok": 1.5}})
    lines.close()
    text = path.read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text) == {"step": 1, "loss": None, "nested": {"rate": None, "ok": 1.5}}


def test_cut_back_of_nothing_is_nothing(tmp_path):
    JsonLines.cut_back(tmp_path / "metrics.jsonl", 3)
    assert list(tmp_path.iterdir()) == []


def test_flops_of_bert_large():
    # A published figure: about 1.02 TFLOP a row of 512 tokens with 76 predictions (MLPerf's BERT-large).
    large = EncoderConfig(hidden_size=1024, num_layers=24, num_heads=16, intermediate_size=4096)
    flops = step_flops(large, length=512, slots=76, heads=("masked_lm", "pooler", "next_sentence"))
    assert flops == pytest.approx(1.02e12, rel=0.01)


def test_flops_agree_with_the_compiler_on_the_parts_it_can_count():
    import jax
    import jax.numpy as jnp

    L, D, F, M, V = 16, 32, 64, 4, 100

    def forward(x, kernels, slots):
        q, k, v, o, up, down, dense, table = kernels
        context = (x @ q) @ (x @ k).T @ (x @ v)
        return (context @ o @ up @ down), (slots @ dense @ table)

    shapes = [(D, D)] * 4 + [(D, F), (F, D), (D, D), (D, V)]
    kernels = [jnp.zeros(shape) for shape in shapes]
    cost = jax.jit(forward).lower(jnp.zeros((L, D)), kernels, jnp.zeros((M, D))).compile().cost_analysis()
    encoder = EncoderConfig(vocab_size=V, hidden_size=D, num_layers=1, num_heads=1, intermediate_size=F)
    assert step_flops(encoder, length=L, slots=M, heads=("masked_lm",)) == pytest.approx(3 * cost["flops"], rel=0.01)


def test_flops_of_the_other_families_parts():
    """What each adds to a plain encoder, from the shapes of its products, two FLOPs a multiply-add."""
    L, D, E, M, V = 16, 32, 8, 4, 100
    plain = EncoderConfig(vocab_size=V, hidden_size=D, num_layers=4, num_heads=1, intermediate_size=64)
    layers = step_flops(plain, length=L, slots=M, heads=())
    shared = dataclasses.replace(plain, family="albert", embedding_size=E, layer_groups=1)
    # Layers that share weights compute as often; the projection; the head back to E.
    expected = layers + 6 * L * E * D + 6 * M * (D * E + E * V)
    assert step_flops(shared, length=L, slots=M, heads=("masked_lm",)) == pytest.approx(expected)
    pair = step_flops(plain, length=L, slots=M, heads=("pooler", "sentence_order"))
    assert pair == pytest.approx(layers + 6 * (D * D + 2 * D))
    first = step_flops(plain, length=L, slots=0, heads=("pooler", "sequence_classification"), asked=1)
    # The last layer: queries, output, feed-forward, scores and the weighted sum are those of one token.
    assert first == pytest.approx(pair - 6 * (L - 1) * (2 * D * D + 2 * D * 64 + 2 * L * D))
    boundary = step_flops(plain, length=L, slots=M, heads=("span_boundary",))
    assert boundary == pytest.approx(layers + 6 * M * (2 * D * D + D * D + D * V))
    teacher = DistillationConfig(teacher="x", encoder=shared)
    taught = step_flops(plain, length=L, slots=M, heads=("masked_lm",), distillation=teacher)
    student = layers + 6 * (M + L) * (D * D + D * V)
    assert taught == pytest.approx(student + layers / 3 + 2 * L * E * D + 2 * L * (D * E + E * V))
    over_masked = dataclasses.replace(teacher, over="masked")
    few = step_flops(plain, length=L, slots=M, heads=("masked_lm",), distillation=over_masked)
    assert taught - few == pytest.approx((L - M) * (6 * (D * D + D * V) + 2 * (D * E + E * V)))


@pytest.mark.parametrize(
    ("kind", "dtype", "peak"),
    [
        ("TPU v3", "bfloat16", 61.5e12),
        ("TPU v4", "bfloat16", 275e12),
        ("TPU v5 lite", "bfloat16", 197e12),
        ("TPU v5p", "bfloat16", 459e12),
        ("TPU v6 lite", "float32", 918e12),
        ("NVIDIA A100-SXM4-80GB", "bfloat16", 312e12),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.4e12),
        ("NVIDIA H100 PCIe", "bfloat16", 756e12),
        ("NVIDIA GH200 480GB", "bfloat16", 989.4e12),
        ("NVIDIA H200", "float32", 494.7e12),
        ("NVIDIA L40", "bfloat16", None),
        ("NVIDIA A10G", "bfloat16", None),
        ("TPU v2", "bfloat16", 22.5e12),
        ("TPU7x", "bfloat16", 1153.5e12),
        ("NVIDIA A100-PCIE-40GB", "float32", 156e12),
        ("NVIDIA H100 NVL", "bfloat16", 835e12),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bfloat16", None),
        ("NVIDIA GeForce RTX 4090", "bfloat16", 165.2e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bfloat16", None),
        # It has no bfloat16: XLA multiplies in float32.
        ("Tesla V100-SXM2-16GB", "bfloat16", 15.7e12),
        ("AMD Instinct MI300X", "bfloat16", 1307.4e12),
    ],
)
def test_peaks_by_device_kind(kind, dtype, peak):
    assert peak_flops(kind, dtype) == peak


def test_measured_matmul_is_a_rate():
    assert 1e6 < measured_matmul(size=64, seconds=0.01) < 1e16


def test_meter_rates_of_the_window_and_sums_of_the_run():
    clock = Clock()
    meter = Meter(
        peak=Peak(1e6, "published"), price_per_hour=36.0, currency="EUR", energy=Estimated(50, clock), clock=clock
    )
    meter.start_phase(flops_per_row=1e5, length=10)
    meter.compiled(4.0)
    for seconds in (1.0, 1.0, 2.0):
        meter.step_done(seconds, real_tokens=60, padded_tokens=100, wait_s=0.25)
    clock.now += 10.0
    line = meter.line(3)
    assert line["tokens_per_s"] == 45 and line["padded_tokens_per_s"] == 75
    # 180 real tokens are 18 full rows' worth: 1.8e6 FLOPs in 4 s of 1e6 a second.
    assert line["mfu"] == pytest.approx(0.45)
    assert line["step_ms"] == {"p50": 1000, "p90": 2000, "p99": 2000}
    assert line["data_wait_share"] == pytest.approx(0.75 / 4)
    assert line["goodput"] == pytest.approx(3.25 / 10)
    assert line["compile_s"] == 4.0
    assert (line["energy_joules"], line["energy_source"]) == (500, "estimated")
    assert (line["money"], line["currency"]) == (pytest.approx(0.1), "EUR")
    assert line["host_rss_bytes"] > 1e6
    empty = meter.line(3)
    assert "mfu" not in empty and empty["useful_s"] == line["useful_s"]


def test_the_first_step_after_a_compilation_counts_where_there_is_no_other():
    clock = Clock()
    meter = Meter(clock=clock)
    assert meter.rates() == {}
    meter.compiled(100.0)
    meter.step_done(5.0, real_tokens=50, padded_tokens=50, first=True)
    clock.now += 105.0
    # A run that has just continued has a rate, without its compilation.
    assert meter.rates()["tokens_per_s"] == 10
    meter.step_done(1.0, real_tokens=50, padded_tokens=50)
    line = meter.line(2)
    assert line["tokens_per_s"] == 50 and line["step_ms"]["p99"] == 1000
    assert line["useful_s"] == 6.0 and line["compile_s"] == 100.0
    meter.step_done(5.0, real_tokens=50, padded_tokens=50, first=True)
    assert meter.line(3)["tokens_per_s"] == 10 and meter.rates() == {}


def test_time_left_counts_phases_and_evaluations_by_their_work():
    """Phase b has steps of twice the work. An evaluation is a third of the work, until one has been measured."""
    phases = [Work(steps=10, step=1.0, evaluation=3.0), Work(steps=10, step=2.0, evaluation=6.0)]
    pace = Pace(phases, evaluate_every=5, save_every=100)
    assert pace.left_s(0) is None
    pace.step(0, 50.0, first=True)
    assert pace.left_s(1) == pytest.approx(50 * (9 + 20 + 2 * 1 + 2 * 2))
    for _ in range(4):
        pace.step(0, 1.0)  # the first step has taken longer for other reasons
    assert pace.left_s(5) == pytest.approx(5 + 20 + 1 + 2 * 2)
    pace.evaluation(0, 12.0)
    assert pace.left_s(5) == pytest.approx(5 + 20 + 12 + 2 * 24)
    pace.checkpoint(2.0)  # one at the end of each phase
    assert pace.left_s(5) == pytest.approx(5 + 20 + 12 + 2 * 24 + 2 * 2)
    assert pace.left_s(20) == 0
    # It follows a machine that becomes faster.
    for _ in range(2000):
        pace.step(1, 1.0)
    assert pace.left_s(19) == pytest.approx(1 + 24 + 2, rel=0.01)


def test_time_left_without_validation_rows_or_with_one_evaluation_at_the_end():
    pace = Pace([Work(10, 1.0)], evaluate_every=1, save_every=3)
    pace.step(0, 2.0)
    assert pace.left_s(1) == 18
    pace = Pace([Work(10, 1.0, 3.0)], evaluate_every=0, save_every=3)
    pace.step(0, 2.0)
    assert pace.left_s(9) == 2 + 2


def test_what_was_spent_before_a_kill_stays_spent_and_lost_steps_are_not_useful(tmp_path):
    path, clock = tmp_path / "telemetry.jsonl", Clock()
    lines, meter = JsonLines(path), Meter(energy=Estimated(10, clock), clock=clock)
    for step in (1, 2):
        meter.step_done(5.0, 1, 1)
        clock.now += 5.0
        lines.write(meter.line(step))
    lines.close()
    again = Meter(energy=Estimated(10, clock), clock=clock, carried=Meter.carry(path, step=1))
    again.step_done(5.0, 1, 1)
    clock.now += 5.0
    line = again.line(2)
    assert line["elapsed_s"] == 15 and line["energy_joules"] == 150
    assert line["useful_s"] == 10 and line["goodput"] == pytest.approx(10 / 15)


def test_percentile_is_nearest_rank():
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert percentile([7.0], 0.01) == 7.0


def test_rapl_counts_packages_and_memory_once_and_survives_a_wrap(tmp_path):
    def zone(name, kind, start, span=1_000_000_000):
        path = tmp_path / name
        path.mkdir(parents=True)
        (path / "name").write_text(f"{kind}\n")
        (path / "energy_uj").write_text(f"{start}\n")
        (path / "max_energy_range_uj").write_text(f"{span}\n")
        return path / "energy_uj"

    package = zone("intel-rapl:0", "package-0", 999_999_999)
    memory = zone("intel-rapl:0:1", "dram", 0)
    core = zone("intel-rapl:0:0", "core", 0)
    whole = zone("intel-rapl:1", "psys", 0)
    meter = Rapl(tmp_path)
    package.write_text("2000000")  # wrapped: 1 + 1 + 2,000,000 - 1 microjoules on
    memory.write_text("500000")
    core.write_text("7000000")
    whole.write_text("9000000")
    assert meter.joules() == pytest.approx(2.500001)
    assert meter.joules() == pytest.approx(2.500001)
    with pytest.raises(OSError):
        Rapl(tmp_path / "nothing")


def test_joined_meters_add_up():
    clock = Clock()
    both = Joined([Estimated(10, clock), Estimated(5, clock)])
    clock.now += 2
    assert both.joules() == 30 and both.source == "estimated+estimated"


def test_synced_lines_are_on_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("jaxbert.observe.lines.os.fsync", synced.append)
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.write({"step": 1})
    assert not synced
    lines.sync()
    assert len(synced) == 1 and (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_progress_in_a_log_is_plain_lines():
    log = io.StringIO()
    with Progress(10, start=2, stream=log) as progress:
        progress.update(3)
        progress.update(4, "loss 1.5")
        progress.note("saved")
        progress.update(10, "loss 1.0")
    lines = log.getvalue().splitlines()
    assert len(lines) == 3 and lines[1] == "saved" and "\x1b" not in log.getvalue()
    assert lines[0].startswith("step 4/10  loss 1.5") and lines[0].endswith("left")
    assert lines[2] == "step 10/10  loss 1.0"


def test_progress_of_other_processes_is_silent():
    log = io.StringIO()
    Progress(10, stream=log, enabled=False).update(1, "loss")
    assert log.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7620, "2 h 07 min"), (273600, "3 d 04 h")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text
