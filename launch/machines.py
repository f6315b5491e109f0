"""The engines' names for the machines that `jaxbert plan` names by chip and slice.

Sources: Google's pages of TPU configurations (cloud.google.com/tpu/docs/v3, v4, v5e, v5p, v6e), of TPUs in GKE
(cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus) and of runtime versions (.../tpu/docs/runtimes), and GKE's
page of GPUs. The names were compared with copies and quotations of these pages, of which we do not know the
dates, and with two tables of source: that of GKE's autoscaler (github.com/GoogleCloudPlatform/cluster-autoscaler,
pkg/cloudprovider/gke/machinetypes/tpu.go, commit d92d895) and that of xpk (github.com/AI-Hypercomputer/xpk,
src/xpk/core/system_characteristics.py, commit 367c838 of June 2026). tests/launch/test_machines.py has their rows. If
an engine does not know a machine, check these names first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from jaxbert.errors import InputError
from jaxbert.plan.topologies import Topology


@dataclass(frozen=True)
class Tpu:
    """The names of one TPU.

    Attributes:
      gke: the value of the node label cloud.google.com/gke-tpu-accelerator.
      machine: number of chips of a host -> its machine type in Compute Engine and GKE.
      accelerator: the start of the accelerator type in the Cloud TPU API; "" if the API does not have the TPU.
      cores: number of cores that the API counts for a chip.
      runtime: the version of a TPU VM's software in that API.
      compute_engine: whether Compute Engine offers it as a machine.
      one_host: the label and the machine type of a slice of one host, where they differ; () where they do not.
      multislice: whether Google joins several slices of it.
      flex_start: whether GKE has it by flex-start.
    """

    gke: str
    machine: Mapping[int, str]
    accelerator: str
    cores: int
    runtime: str
    compute_engine: bool
    one_host: tuple[str, ...] = ()
    multislice: bool = True
    flex_start: bool = True


TPUS: Mapping[str, Tpu] = {
    # Google joins no slices of v3 (cloud.google.com/kubernetes-engine/docs/how-to/tpu-multislice). GKE has no v3 and no
    # v4 by flex-start (.../kubernetes-engine/docs/concepts/dws).
    "v3": Tpu(
        "tpu-v3-slice",
        {4: "ct3p-hightpu-4t"},
        "v3",
        2,
        "tpu-ubuntu2204-base",
        False,
        one_host=("tpu-v3-device", "ct3-hightpu-4t"),
        multislice=False,
        flex_start=False,
    ),
    "v4": Tpu("tpu-v4-podslice", {4: "ct4p-hightpu-4t"}, "v4", 2, "tpu-ubuntu2204-base", False, flex_start=False),
    "v5e": Tpu(
        "tpu-v5-lite-podslice",
        {1: "ct5lp-hightpu-1t", 4: "ct5lp-hightpu-4t", 8: "ct5lp-hightpu-8t"},
        "v5litepod",
        1,
        "v2-alpha-tpuv5-lite",
        False,
    ),
    "v5p": Tpu("tpu-v5p-slice", {4: "ct5p-hightpu-4t"}, "v5p", 2, "v2-alpha-tpuv5", True),
    "v6e": Tpu(
        "tpu-v6e-slice",
        {1: "ct6e-standard-1t", 4: "ct6e-standard-4t", 8: "ct6e-standard-8t"},
        "v6e",
        1,
        "v2-alpha-tpuv6e",
        True,
    ),
    # The Cloud TPU API does not have it (cloud.google.com/tpu/docs/queued-resources).
    "tpu7x": Tpu("tpu7x", {1: "tpu7x-standard-1t", 4: "tpu7x-standard-4t"}, "", 2, "", True),
}
# Chips of a TPU machine that slices of several hosts are made of.
_USUAL = 4


@dataclass(frozen=True)
class GpuMachine:
    """A machine of Google Cloud whose GPUs reach those of other machines past the kernel.

    Attributes:
      chip: the GPU.
      gke: the value of the node label cloud.google.com/gke-accelerator.
      gpus: number of GPUs.
      fabric: the network, a name of `fabric.NAMES`.
    """

    chip: str
    gke: str
    gpus: int
    fabric: str


# Machine type -> its GPUs and their network, as in xpk's table.
GPU_MACHINES: Mapping[str, GpuMachine] = {
    "a3-highgpu-8g": GpuMachine("h100", "nvidia-h100-80gb", 8, "tcpx"),
    "a3-megagpu-8g": GpuMachine("h100", "nvidia-h100-mega-80gb", 8, "tcpxo"),
    "a3-ultragpu-8g": GpuMachine("h200", "nvidia-h200-141gb", 8, "rdma"),
    "a4-highgpu-8g": GpuMachine("b200", "nvidia-b200", 8, "rdma"),
}
# The start of a machine type -> its GPU (cloud.google.com/compute/docs/gpus). N1 machines take several kinds.
GPU_FAMILIES: Mapping[str, str] = {
    "a2-highgpu": "a100-40gb",
    "a2-megagpu": "a100-40gb",
    "a2-ultragpu": "a100-80gb",
    "a3-edgegpu": "h100",
    "a3-highgpu": "h100",
    "a3-megagpu": "h100",
    "a3-ultragpu": "h200",
    "a4-highgpu": "b200",
    "a4x-highgpu": "gb200",
    "g2-standard": "l4",
}
# GPU -> the value of GKE's node label cloud.google.com/gke-accelerator.
GPUS: Mapping[str, str] = {
    "v100-16gb": "nvidia-tesla-v100",
    "a100-40gb": "nvidia-tesla-a100",
    "a100-80gb": "nvidia-a100-80gb",
    "l4": "nvidia-l4",
    "h100": "nvidia-h100-80gb",
    "h200": "nvidia-h200-141gb",
    "b200": "nvidia-b200",
    "gb200": "nvidia-gb200",
}
# GPU -> SkyPilot's name, as `sky gpus list --all` prints it.
SKYPILOT: Mapping[str, str] = {
    "v100-16gb": "V100",
    "v100-32gb": "V100-32GB",
    "a100-40gb": "A100",
    "a100-80gb": "A100-80GB",
    "l4": "L4",
    "l40s": "L40S",
    "rtx4090": "RTX4090",
    "h100": "H100",
    "h200": "H200",
    "gh200": "GH200",
    "b200": "B200",
}


def tpus() -> Mapping[str, str]:
    """Returns the names of the TPUs in GKE."""
    return {name: tpu.gke for name, tpu in TPUS.items()}


def api_tpus() -> Mapping[str, str]:
    """Returns the names of the TPUs in the Cloud TPU API, which SkyPilot uses too."""
    return {name: tpu.accelerator for name, tpu in TPUS.items() if tpu.accelerator}


def gke_tpu(place: Topology) -> str:
    """Returns the value of GKE's node label of the TPU for a slice."""
    tpu = TPUS[place.chip.name]
    return tpu.one_host[0] if tpu.one_host and hosts(place) == 1 else tpu.gke


def _types(place: Topology) -> Mapping[int, str]:
    """Returns number of chips of a host -> its machine type, for a slice."""
    tpu = TPUS[place.chip.name]
    return dict.fromkeys(tpu.machine, tpu.one_host[1]) if tpu.one_host and hosts(place) == 1 else tpu.machine


def shape(place: Topology) -> str:
    """Returns the number of chips along each side of a slice, for example "4x4"."""
    return "x".join(map(str, place.shape))


def hosts(place: Topology) -> int:
    """Returns the number of machines of one slice."""
    return place.hosts // place.slices


def chips_per_host(place: Topology, machine: str | None = None) -> int:
    """Returns the number of chips of one machine.

    Args:
      place: the slices of TPUs.
      machine: a machine type that the user chooses; None for the usual one.

    Raises:
      InputError: the slice has no machines of this type.
    """
    usual = place.slice_chips // hosts(place)
    if machine is None:
        return usual
    types = _types(place)
    # A slice that fits one larger machine is also made of smaller ones.
    fitting = {types[count]: count for count in types if count == usual or place.slice_chips > count == _USUAL}
    if machine not in fitting:
        raise InputError(
            f"a slice of {place.name} has no machines of this type",
            where=f"--machine-type {machine}",
            fix=f"Give {' or '.join(fitting)}, or leave the option out.",
            code="E-LAUNCH-TOPOLOGY",
        )
    return fitting[machine]


def gpu(place: Topology, machine: str | None = None) -> tuple[str, str]:
    """Returns (value of GKE's label of the accelerator, GPUDirect network of the machines or "").

    Args:
      place: the machines with GPUs.
      machine: their machine type; None for the usual one.

    Raises:
      InputError: the machine has other GPUs, or fewer.
    """
    usual = GPUS[place.chip.name]
    if machine is None:
        found = next((one for one in GPU_MACHINES.values() if one.gke == usual), None)
    else:
        found = GPU_MACHINES.get(machine)
        has = GPU_FAMILIES.get(machine.rpartition("-")[0], place.chip.name)
        if has != place.chip.name:
            raise InputError(
                f"this machine has {has}, and --topology names {place.name}",
                where=f"--machine-type {machine}",
                fix="Change one of the two, or leave --machine-type out.",
                code="E-LAUNCH-TOPOLOGY",
            )
    if found is None:
        return usual, ""
    # A pod with a part of a machine's GPUs cannot have its network cards.
    return found.gke, found.fabric if place.slice_chips == found.gpus else ""


# A MIG device, such as 3g.20gb, a100_3g.20gb, mig-1g.5gb or nvidia.com/mig-1g.5gb.
_MIG = re.compile(r"(?:.*[^a-z])?(?:mig(?![a-z])|[0-9]+g\.[0-9]+gb).*")


def check_whole(kind: str, place: Topology, where: str) -> None:
    """Raises InputError if `kind` is a part of a GPU, and the plan is for whole ones of the table.

    Args:
      kind: the engine's name of the GPUs that a job asks for.
      place: the machines of the plan.
      where: the options that say so.
    """
    if _MIG.fullmatch(kind.lower()) and not place.chip.own:
        raise InputError(
            f"a MIG device is a part of a GPU, and has less memory and speed than {place.chip.name}",
            where=where,
            fix="Describe the part in a file, with a name such as h100-mig-1g-10gb, and give it with --chip FILE.",
            code="E-LAUNCH-OPTIONS",
        )


def accelerator_type(place: Topology) -> str:
    """Returns a slice's type in the Cloud TPU API: "v5litepod-16", "v5p-8" (it counts cores), "v6e-16"."""
    tpu = TPUS[place.chip.name]
    return f"{tpu.accelerator}-{place.slice_chips * tpu.cores}"


def machine_type(place: Topology) -> str:
    """Returns the machine type of each host of a slice in Compute Engine."""
    return _types(place)[chips_per_host(place)]


def check_slices(place: Topology, fix: str = "") -> None:
    """Raises InputError for several TPU slices of one host each, or of a TPU whose slices Google does not join.

    Google joins slices of several hosts only (cloud.google.com/kubernetes-engine/docs/how-to/tpu-multislice).

    Args:
      place: the slices.
      fix: another way out that the engine has.
    """
    if place.chip.kind == "tpu" and place.slices > 1 and not TPUS[place.chip.name].multislice:
        raise InputError(
            f"Google does not join slices of {place.chip.name}",
            where=f"--slices {place.slices}",
            fix=f"Take one larger slice in place of {place.slices}.",
            code="E-LAUNCH-SLICES",
        )
    if place.chip.kind == "tpu" and place.slices > 1 and hosts(place) == 1:
        raise InputError(
            f"Google joins slices of several hosts only, and a slice of {place.name} has one host",
            where=f"--slices {place.slices}",
            fix=f"Take a larger slice in place of {place.slices} small ones.{fix}",
            code="E-LAUNCH-SLICES",
        )
