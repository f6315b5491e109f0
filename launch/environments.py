"""Chooses the lock file of a job's environment by its chip, and for NVIDIA GPUs by the CUDA that their driver runs.

CUDA 13 does not support GPUs older than Turing, such as Volta's V100: NVIDIA's release notes, section of deprecated
architectures (docs.nvidia.com/cuda/cuda-toolkit-release-notes/index.html#deprecated-architectures), say that CUDA 12 is
the last with Maxwell, Pascal and Volta.
"""

from __future__ import annotations

import re

from jaxbert.core.chips import Chip
from jaxbert.errors import InputError
from jaxbert.inputs.files import read_bytes
from jaxbert.observe.accelerators import CUDA_DRIVERS, NEWEST_CUDA

from .archive import checkout
from .google import PYTHON

# CUDA -> the end of the name of its lock file.
_ENDS = {13: "-cuda", 12: "-cuda12"}
# Prefixes of the table's GPUs that CUDA 13 does not support, and of AMD's GPUs.
_OLD, _AMD = "v100", "mi"
# The prefix of the resource by which a cluster counts AMD's GPUs.
_AMD_RESOURCE = "amd.com/"


def locks(chip: Chip, cuda: int | None, resource: str = "") -> tuple[str, str]:
    """Returns the names of two lock files: that of the job, and that for machines with older drivers.

    Args:
      chip: the chip of the job.
      cuda: the version of CUDA that the user asks for; None lets the driver of the machines decide.
      resource: the resource by which a cluster counts its GPUs; "" for NVIDIA's.

    Returns:
      The second is "" where there is no choice.

    Raises:
      InputError: no lock file fits the chip, or the chip does not fit the version.
    """
    if chip.kind != "gpu":
        if cuda is not None:
            raise InputError(
                f"{chip.name} is a {chip.kind}, and only NVIDIA GPUs use CUDA",
                where=f"--cuda {cuda}",
                fix="Remove it.",
                code="E-LAUNCH-CUDA",
            )
        return _name(f"-{chip.kind}"), ""
    # The name of a chip that the user describes says nothing.
    name = "" if chip.own else chip.name
    if name.startswith(_AMD) or resource.startswith(_AMD_RESOURCE):
        raise InputError(
            "the lock files have environments for TPUs and for NVIDIA GPUs only",
            where=f"--gpu-resource {resource}" if resource.startswith(_AMD_RESOURCE) else f"--topology {chip.name}",
            fix="Use the target slurm, with an environment in which jax has AMD's plugin (jax[rocm7-local]).",
            code="E-LAUNCH-ENVIRONMENT",
        )
    if name.startswith(_OLD):
        if cuda == NEWEST_CUDA:
            raise InputError(
                f"CUDA {cuda} does not support {chip.name}",
                where=f"--cuda {cuda}",
                fix=f"Give --cuda {min(CUDA_DRIVERS)}, or leave it out.",
                code="E-LAUNCH-CUDA",
            )
        return _name(_ENDS[min(CUDA_DRIVERS)]), ""
    if cuda is not None:
        return _name(_ENDS[cuda]), ""
    return _name(_ENDS[NEWEST_CUDA]), _name(_ENDS[min(CUDA_DRIVERS)])


def nccl(lock: str) -> str:
    """Returns the release of NCCL in a lock file of the checkout; "" if it has none.

    Args:
      lock: the name of the file, as `locks` returns it; "" for none.
    """
    path = checkout() / lock
    text = read_bytes(path).decode("utf-8") if lock and path.is_file() else ""
    found = re.search(r"^nvidia-nccl-cu\d+==(\S+)", text, re.MULTILINE)
    return found[1] if found else ""


def _name(end: str) -> str:
    return f"requirements-lock-{PYTHON}{end}.txt"
