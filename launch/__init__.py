"""`jaxbert launch`: starts a run on this machine, or sends it to an engine that has the chips.

Each engine is one file with a class that derives from `job.Target`. Its functions are pure: they describe files and
commands. `submit` writes those files and runs those commands, after the user has agreed.

To add a target, add its file and a line in `TARGETS`. `local` is not in the table, because it runs processes to their
end instead of handing a job to an engine.

Where a comment here names a page of a provider or of an engine, we read a copy of that page or a quotation of it. We
name the date of the copy where we know it.

This directory is installed as `jaxbert.launch`. Its modules import each other relatively, so that the type checker can
read it where it is.
"""

from __future__ import annotations

from .gce_tpu import GceTpu
from .gke import Gke
from .job import Target
from .kubernetes import Kubernetes
from .queued_resource import QueuedResource
from .skypilot import SkyPilot
from .slurm import Slurm

TARGETS: dict[str, Target] = {
    target.name: target for target in (Slurm(), Gke(), Kubernetes(), QueuedResource(), GceTpu(), SkyPilot())
}

__all__ = ["TARGETS"]
