"""Starting runs somewhere: one file a target, pure functions that say what would be done, and one place that does it.

To add a target: a file with a class as `jaxbert.launch.job.Target` has it, and a line here. `local` is apart: it runs
processes to their end instead of handing a job over.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxbert.launch.gce_tpu import GceTpu
from jaxbert.launch.gke import Gke
from jaxbert.launch.job import Target
from jaxbert.launch.queued_resource import QueuedResource
from jaxbert.launch.skypilot import SkyPilot
from jaxbert.launch.slurm import Slurm

TARGETS: Mapping[str, Target] = {
    target.name: target for target in (Slurm(), Gke(), QueuedResource(), GceTpu(), SkyPilot())
}

__all__ = ["TARGETS"]
