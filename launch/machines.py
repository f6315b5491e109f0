"""What engines call the machines that `jaxbert plan` knows by chip and slice.

Where the names are from: Google's pages of TPU configurations (cloud.google.com/tpu/docs/v5e, v5p, v6e), of TPUs in
GKE (cloud.google.com/kubernetes-engine/docs/concepts/tpus) and of runtime versions; GPU labels from GKE's page of GPUs.
Read in November 2026; the ones to check first where an engine says that it knows no such thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxbert.plan.topologies import Topology


@dataclass(frozen=True)
class Tpu:
    """Names of one TPU.

    Attributes:
      gke: value of the node label cloud.google.com/gke-tpu-accelerator.
      machine: Compute Engine's machine type of a host with so many chips, by that number.
      accelerator: start of the accelerator type of the Cloud TPU API.
      cores: what that API counts for a chip.
      runtime: version of a TPU VM's software, in that API.
      compute_engine: whether it can be had as a machine of Compute Engine.
    """

    gke: str
    machine: Mapping[int, str]
    accelerator: str
    cores: int
    runtime: str
    compute_engine: bool


TPUS: Mapping[str, Tpu] = {
    "v5e": Tpu(
        "tpu-v5-lite-podslice",
        {1: "ct5lp-hightpu-1t", 4: "ct5lp-hightpu-4t"},
        "v5litepod",
        1,
        "v2-alpha-tpuv5-lite",
        False,
    ),
    "v5p": Tpu("tpu-v5p-slice", {4: "ct5p-hightpu-4t"}, "v5p", 2, "v2-alpha-tpuv5", True),
    "v6e": Tpu("tpu-v6e-slice", {1: "ct6e-standard-1t", 4: "ct6e-standard-4t"}, "v6e", 1, "v2-alpha-tpuv6e", True),
}
# GKE's node label cloud.google.com/gke-accelerator.
GPUS: Mapping[str, str] = {"h100": "nvidia-h100-80gb", "h200": "nvidia-h200-141gb"}


def shape(place: Topology) -> str:
    """Chips along the sides of a slice: "4x4"."""
    return "x".join(map(str, place.shape))


def hosts(place: Topology) -> int:
    """Machines of one slice."""
    return place.hosts // place.slices


def chips_per_host(place: Topology) -> int:
    """Chips of one machine of a slice."""
    return place.slice_chips // hosts(place)


def accelerator_type(place: Topology) -> str:
    """Of one slice, as the Cloud TPU API has it: "v5litepod-16", "v5p-8" (cores), "v6e-16"."""
    tpu = TPUS[place.chip.name]
    return f"{tpu.accelerator}-{place.slice_chips * tpu.cores}"


def machine_type(place: Topology) -> str:
    """Of Compute Engine: the type of each host of a slice."""
    return TPUS[place.chip.name].machine[chips_per_host(place)]
