"""The names of Google's machines, against rows of the sources that launch/machines.py names. No cluster is asked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from jaxbert.launch import machines

from jaxbert.core.chips import SLICES
from jaxbert.plan.topologies import topology
from tests.launch.test_targets import pod, sent

# The tables of GKE's autoscaler: machine type -> (label of the TPU, chips of a machine, topology of a slice of one
# machine). ct3p has no slices of one machine.
AUTOSCALER = {
    "ct3-hightpu-4t": ("tpu-v3-device", 4, "2x2"),
    "ct3p-hightpu-4t": ("tpu-v3-slice", 4, ""),
    "ct4p-hightpu-4t": ("tpu-v4-podslice", 4, "2x2x1"),
    "ct5lp-hightpu-1t": ("tpu-v5-lite-podslice", 1, "1x1"),
    "ct5lp-hightpu-4t": ("tpu-v5-lite-podslice", 4, "2x2"),
    "ct5lp-hightpu-8t": ("tpu-v5-lite-podslice", 8, "2x4"),
    "ct5p-hightpu-4t": ("tpu-v5p-slice", 4, "2x2x1"),
    "ct6e-standard-1t": ("tpu-v6e-slice", 1, "1x1"),
    "ct6e-standard-4t": ("tpu-v6e-slice", 4, "2x2"),
    "ct6e-standard-8t": ("tpu-v6e-slice", 8, "2x4"),
    "tpu7x-standard-1t": ("tpu7x", 1, "1x1x1"),
    "tpu7x-standard-4t": ("tpu7x", 4, "2x2x1"),
}
# xpk's topologies of v4, each of a machine for four chips: the same as those of `plan`.
XPK_V4 = "2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8 8x8x12 8x8x16 8x16x16"


@pytest.mark.parametrize("chip", sorted(machines.TPUS))
def test_every_slice_has_the_machines_of_the_autoscaler(chip: str):
    for shape in SLICES[chip]:
        place = topology(f"{chip}:{shape}", 1)
        label, chips, alone = AUTOSCALER[machines.machine_type(place)]
        assert (machines.gke_tpu(place), machines.chips_per_host(place)) == (label, chips), shape
        # A slice of one machine is one that this machine type has.
        assert (machines.hosts(place) == 1) == (shape == alone), shape
    names = {name for name, row in AUTOSCALER.items() if row[0] in (machines.TPUS[chip].gke, f"tpu-{chip}-device")}
    assert names == {*machines.TPUS[chip].machine.values(), *machines.TPUS[chip].one_host[1:]}


def test_the_slices_of_v4_are_those_of_xpk():
    assert " ".join(SLICES["v4"]) == XPK_V4


@pytest.mark.parametrize(
    ("place", "label", "pods", "devices"),
    [
        # A chip of v3 is two devices.
        ("v3:2x2", "tpu-v3-device", 1, "8"),
        ("v3:4x4", "tpu-v3-slice", 4, "8"),
        ("v4:2x2x1", "tpu-v4-podslice", 1, "4"),
        ("v4:2x2x4", "tpu-v4-podslice", 4, "4"),
    ],
)
def test_gke_takes_older_tpus(place: str, label: str, pods: int, devices: str, launch, programs, tmp_path: Path):
    files = sent(launch, "gke", tmp_path, "--topology", place)
    one = pod(files)
    assert one["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": label,
        "cloud.google.com/gke-tpu-topology": place.partition(":")[2],
    }
    (container,) = one["containers"]
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert {"name": "JAXBERT_DEVICES", "value": devices} in container["env"]
    (group,) = yaml.safe_load(files["jobset.yaml"])["spec"]["replicatedJobs"]
    assert group["template"]["spec"]["completions"] == pods


def test_several_slices_of_v4_are_joined(launch, programs, tmp_path: Path):
    one = pod(sent(launch, "gke", tmp_path, "--topology", "v4:2x2x2", "--slices", "2"))
    assert one["hostNetwork"] and any(each["name"] == "MEGASCALE_NUM_SLICES" for each in one["containers"][0]["env"])


@pytest.mark.parametrize(
    ("target", "place", "kind"),
    [
        ("queued-resource", "v3:2x2", "1 x v3-8"),
        ("queued-resource", "v3:4x4", "1 x v3-32"),
        ("queued-resource", "v4:2x2x2", "1 x v4-16"),
        ("skypilot", "v4:2x2x1", "tpu-v4-8"),
    ],
)
def test_the_cloud_tpu_api_takes_older_tpus(target: str, place: str, kind: str, launch, programs):
    code, said = launch(target, "--topology", place, "--dry-run")
    assert code == 0 and kind in said and "tpu-ubuntu2204-base" in said, said


@pytest.mark.parametrize(
    ("target", "more", "said"),
    [
        ("gke", "v3:4x4 --slices 2", r"does not join slices of v3.*--slices 2.*E-LAUNCH-SLICES"),
        ("queued-resource", "v3:4x4 --slices 2", r"does not join slices of v3.*--slices 2.*E-LAUNCH-SLICES"),
        ("gke", "v4:2x2x1 --slices 2", r"one host.*E-LAUNCH-SLICES"),
        ("gke", "v3:4x4 --flex-start", r"no v3 by flex-start.*E-LAUNCH-TOPOLOGY"),
        ("gke", "v4:4x4x4 --flex-start", r"no v4 by flex-start.*E-LAUNCH-TOPOLOGY"),
        ("queued-resource", "v4:4x4x4 --flex-start", r"no v4 by flex-start.*E-LAUNCH-TOPOLOGY"),
        ("gce-tpu", "v4:2x2x1", r"gce-tpu has no v4.*tpu7x, v5p, v6e.*E-LAUNCH-TOPOLOGY"),
        ("gke", "v3:4x4 --machine-type ct3-hightpu-4t", r"Give ct3p-hightpu-4t.*E-LAUNCH-TOPOLOGY"),
        ("gke", "v3:2x2 --machine-type ct3p-hightpu-4t", r"Give ct3-hightpu-4t.*E-LAUNCH-TOPOLOGY"),
    ],
)
def test_what_older_tpus_cannot_do_is_refused(target: str, more: str, said: str, launch, programs):
    code, shown = launch(target, "--topology", *more.split(), "--dry-run")
    assert code == 2 and re.search(said, " ".join(shown.split())), shown
