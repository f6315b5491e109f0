"""What is proposed can be run as proposed; `auto` is the fastest that fits, the same for everyone who asks."""

from __future__ import annotations

import dataclasses
import functools
import shlex

import jax
import pytest

from jaxbert.commands.main import main
from jaxbert.config import RunConfig, check, find_config
from jaxbert.config.overrides import apply_overrides
from jaxbert.core.sharding import LAYOUTS, single_device_mesh
from jaxbert.errors import InputError
from jaxbert.plan.layouts import chosen_here, judge, natural, resolved, search, topology_of
from jaxbert.plan.planner import all_layouts, plan, prepared
from jaxbert.plan.topologies import topology
from jaxbert.plan.work import parameters_of, work
from jaxbert.tasks import TASKS
from jaxbert.training.step import build
from tests.tasks import two_encoders


def changed(name: str, *settings: str) -> RunConfig:
    return apply_overrides(find_config(name), ["data.source=sample:aws-docs", *settings])


@pytest.fixture(scope="module")
def found():
    # Rows of such a length that some candidates do not fit.
    return search(changed("bert_large", "phases.*.batch_size=4096"), topology("v5e:4x4"))


def test_a_search_proposes_what_passes_every_check(found):
    for one in found:
        check(one.config, 16)
    assert {one.config.mesh.layout for one in found} == {"replicated", "zero1", "fsdp"}
    assert {one.config.encoder.remat for one in found} == {"none", "dots", "full"}


def test_the_fastest_that_fit_come_first(found):
    fitting = [one for one in found if one.fits]
    assert found[: len(fitting)] == fitting and 0 < len(fitting) < len(found)
    assert [one.seconds for one in fitting] == sorted(one.seconds for one in fitting)


def test_its_words_make_the_config_again(found):
    given = changed("bert_large", "phases.*.batch_size=4096")
    for one in found[:40]:
        words = shlex.split(one.changes(given).removeprefix("--set "))
        assert apply_overrides(given, words) == one.config


def test_phases_of_other_lengths_get_micro_batches_of_as_many_tokens(found):
    for one in found:
        first, second = one.config.phases
        assert (
            second.accumulation == 1
            or second.batch_size * second.length / second.accumulation
            <= 1.01 * (first.batch_size * first.length / first.accumulation)
            or second.batch_size // second.accumulation < 16 * 2
        )
    # A later phase may do without micro-batches: each phase that fits so is fastest so.
    counts = {tuple(phase.accumulation for phase in one.config.phases) for one in found}
    assert {(1, 1), (1, 4), (2, 1), (2, 8)} <= counts


def test_a_later_phase_has_no_more_micro_batches_than_the_devices_divide():
    """With one row a device, a phase of four times the length cannot have four micro-batches."""
    few = changed("bert_large", "phases.*.batch_size=64", "evaluation.batch_size=64")
    assert {tuple(phase.accumulation for phase in one.config.phases) for one in search(few, topology("v5e:8x8"))} == {
        (1, 1)
    }


def test_auto_keeps_what_is_replicated_while_it_fits_and_shards_what_does_not():
    small = resolved(changed("bert_base", "mesh.layout=auto"), topology("v5e:2x2")).mesh
    large = resolved(changed("bert_large", "mesh.layout=auto", "phases.*.accumulation=4"), topology("v5e:4x4"))
    assert small.layout in LAYOUTS
    assert judge(large, topology("v5e:4x4")).fits
    assert large.mesh.layout in ("zero1", "fsdp") and large.mesh.fsdp > 1


def test_auto_is_the_same_for_everyone_and_as_good_as_any_named():
    place = topology("v5e:4x4")
    config = changed("bert_base", "mesh.layout=auto")
    best = resolved(config, place)
    assert best == resolved(config, place)
    for name in ("replicated", "zero1", "fsdp"):
        named = dataclasses.replace(config, mesh=dataclasses.replace(config.mesh, layout="replicated"))
        other = judge(dataclasses.replace(named, mesh=natural(named, place, name)), place)
        assert judge(best, place).seconds <= other.seconds or not other.fits


def test_auto_keeps_the_mesh_that_is_given():
    assert resolved(changed("bert_base", "mesh.layout=auto", "mesh.fsdp=4"), topology("v5e:4x4")).mesh.fsdp == 4


def test_a_named_layout_stays():
    config = changed("bert_base", "mesh.layout=zero1")
    assert resolved(config, topology("v5e:4x4")) is config and chosen_here(config, jax.devices()) is config


def test_on_a_machine_without_figures_auto_is_replicated():
    assert topology_of(jax.devices()) is None
    assert chosen_here(changed("smoke", "mesh.layout=auto"), jax.devices()).mesh.layout == "replicated"


def test_a_task_that_no_plan_knows_is_refused_and_never_planned_as_pretraining(monkeypatch, capsys, tmp_path):
    """Two encoders have twice the parameters; a plan that knows one encoder would be wrong by half."""
    monkeypatch.setitem(TASKS, "two_encoders", two_encoders.KIND)
    config, place = changed("bert_tiny", "task.name=two_encoders"), topology("v5e:2x2")
    figures = functools.partial(parameters_of, phase=config.phases[0])
    one = sum(p.elements for p in figures(changed("bert_tiny")) if p.path.startswith("encoder/"))
    assert sum(p.elements for p in figures(config)) == 2 * one
    auto = dataclasses.replace(config, mesh=dataclasses.replace(config.mesh, layout="auto"))
    for refused in (
        lambda: plan(config, place, grid=475.0, compiled=False),
        lambda: all_layouts(config, place, grid=475.0, compiled=False),
        lambda: work(config, place, config.phases[0]),
        lambda: search(config, place),
        lambda: resolved(auto, place),
        lambda: chosen_here(auto, [Device("TPU v5 lite")] * 4),
    ):
        with pytest.raises(InputError, match=r"two_encoders.*mesh.layout=fsdp.*E-PLAN-TASK"):
            refused()
    assert chosen_here(config, jax.devices()) is config
    assert chosen_here(auto, jax.devices()).mesh.layout == "replicated"
    # As `jaxbert plan` says it; `launch` runs that command, and sends nothing.
    arguments = ["plan", "bert_tiny", "--topology=v5e:2x2", "--analytic", "--set", "task.name=two_encoders"]
    assert main(arguments) == 2
    assert "E-PLAN-TASK" in capsys.readouterr().err


class Device:
    def __init__(self, kind: str, process: int = 0, slice_index: int | None = None):
        self.device_kind, self.process_index = kind, process
        if slice_index is not None:
            self.slice_index = slice_index


@pytest.mark.parametrize(
    ("devices", "name", "slices"),
    [
        ([Device("TPU v5 lite")] * 16, "v5e:4x4", 1),
        ([Device("TPU v5")] * 64, "v5p:4x4x4", 1),
        ([Device("TPU v6 lite", slice_index=number // 16) for number in range(32)], "v6e:4x4", 2),
        ([Device("NVIDIA H200", process=number // 8) for number in range(16)], "h200:8", 2),
        ([Device("NVIDIA H100 80GB HBM3")], "h100:1", 1),
        ([Device("NVIDIA H100 PCIe")] * 2, "h100-pcie:2", 1),
        ([Device("TPU v4")] * 4, "v4:2x2x1", 1),
        ([Device("TPU v3")] * 32, "v3:4x4", 1),
        ([Device("TPU7x")] * 8, "tpu7x:2x2x1", 1),
        # One of the two devices of a chip.
        ([Device("TPU v3")], "v3:1", 1),
    ],
)
def test_devices_that_are_here_have_a_topology(devices, name: str, slices: int):
    found = topology_of(devices)
    assert (found.name, found.slices, found.devices) == (name, slices, len(devices))


def test_batches_that_no_mesh_divides_say_what_would():
    with pytest.raises(InputError, match=r"batch_size 256.*E-CONFIG-BATCH") as caught:
        resolved(changed("bert_base", "mesh.layout=auto"), topology("v5p:8x8x16"))
    assert "Set it to a multiple of" in caught.value.fix


def test_slices_divide_data():
    config = changed("bert_base", "mesh.layout=fsdp", "mesh.fsdp=32")
    with pytest.raises(InputError, match=r"data is 1.*2 slices.*E-CONFIG-SLICES"):
        prepared(config, topology("v5e:4x4", 2))


def test_a_layout_without_a_mesh_is_refused():
    odd = changed("bert_base", "encoder.num_heads=3")
    with pytest.raises(InputError, match=r"does not divide among 2 or more devices along tensor.*E-PLAN-LAYOUT"):
        natural(odd, topology("v5e:2x2"), "fsdp_tensor")


def test_a_program_needs_a_layout():
    with pytest.raises(InputError, match="E-CONFIG-LAYOUT"):
        build(changed("smoke", "mesh.layout=auto"), single_device_mesh())
