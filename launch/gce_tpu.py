"""TPUs as machines of Compute Engine, with a workload policy, an instance template and a managed instance group.

Sources: Google's pages about groups of TPU machines (docs.cloud.google.com/compute/docs/tpus/
create-tpu-mig-multi-host-slice and docs.cloud.google.com/tpu/docs/spot-compute), about groups that are made at once
(docs.cloud.google.com/compute/docs/instance-groups/bulk-create-instances-in-mig) and about flex-start machines
(docs.cloud.google.com/compute/docs/instances/about-flex-start-vms: all accelerator-optimized types but A4X and G4). We
read copies of them, and do not know the dates of all. SkyPilot makes the same group for v6e and tpu7x
(github.com/skypilot-org/skypilot, sky/provision/gcp/mig_utils.py).
"""

from __future__ import annotations

import hashlib
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from jaxbert.errors import InputError

from . import capacity, google, machines
from .job import Command, Control, Request, Submission, Target

# The families of images with TPU drivers, as SkyPilot names them too (sky/clouds/gcp.py). The first one serves v5p and
# v6e, as its name says. Their default disk of 10 GB is too small for the environment.
_FAMILY, _PROJECT, _DISK = "ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e", "ubuntu-os-accelerator-images", "200GB"
_FAMILIES: Mapping[str, str] = {"tpu7x": "ubuntu-accel-2404-amd64-tpu-tpu7x"}


class GceTpu(Target):
    """See `jaxbert.launch.job.Target`."""

    name = "gce-tpu"
    summary = "TPUs as a managed instance group of Compute Engine (v5p, v6e, tpu7x)"
    kinds = ("tpu",)
    provider = "google"
    example = "--topology v6e:4x4 --project my-project --zone us-east5-a"
    programs = google.GCLOUD
    names: Mapping[str, str] = {**google.NAMES, "max_run_duration": "duration", "reservation": "network"}
    remembered: Mapping[str, type] = {"project": str, "zone": str}

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        google.add_arguments(parser)
        capacity.add_arguments(parser)

    def chips(self) -> Mapping[str, str]:
        """See `Target`."""
        return {name: tpu.gke for name, tpu in machines.TPUS.items() if tpu.compute_engine}

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        place, options, name = request.place, request.options, request.name
        if place.slices > 1:
            raise InputError(
                "Compute Engine cannot join several slices",
                where="--slices",
                fix="Use the target gke.",
                code="E-LAUNCH-SLICES",
            )
        capacity.check(options, spot=request.spot)
        hosts, kind = machines.hosts(place), machines.machine_type(place)
        control = self.control(name, options)
        archive, upload = google.upload(request)
        startup = google.startup(request, control.stop[0].arguments)
        # A template cannot be changed. So its name holds the hash of the script.
        template = f"{name}-{hashlib.sha256(startup.content).hexdigest()[:8]}"
        project, where = f"--project={options.project}", google.here(options)
        compute = ("gcloud", "compute")
        policy = f"--region={google.region(options)}"
        several = hosts > 1
        commands = [upload]
        if several:
            named = (name, policy, project)
            commands.append(
                Command(
                    (
                        *(*compute, "resource-policies", "create", "workload-policy", *named),
                        "--type=HIGH_THROUGHPUT",
                        f"--accelerator-topology={machines.shape(place)}",
                    ),
                    does=f"create the policy that joins {hosts} machines to one slice",
                    unless=(*compute, "resource-policies", "describe", *named),
                )
            )
        commands.append(
            Command(
                (
                    # gcloud 528 takes flex-start by its beta commands only.
                    *("gcloud", *(["beta"] if options.flex_start else []), *compute[1:]),
                    *("instance-templates", "create", template, project),
                    f"--machine-type={kind}",
                    *(
                        f"--image-family={_FAMILIES.get(place.chip.name, _FAMILY)}",
                        f"--image-project={_PROJECT}",
                        f"--boot-disk-size={_DISK}",
                    ),
                    "--maintenance-policy=TERMINATE",
                    *_capacity(options, spot=request.spot),
                    *([f"--service-account={options.service_account}"] if options.service_account else []),
                    *google.network(options, "--subnet"),
                    # gcloud requires the region of a subnetwork.
                    *([policy] if options.subnetwork else []),
                    f"--scopes={google.SCOPE}",
                    f"--labels={google.labels(request)}",
                    f"--metadata-from-file=startup-script={startup.path}",
                ),
                does="create the template of a machine",
                unless=(*compute, "instance-templates", "describe", template, project),
            )
        )
        group = ("compute", "instance-groups", "managed")
        commands.append(
            Command(
                (
                    *("gcloud", "alpha", *group, "create", name, *where, f"--template={template}", f"--size={hosts}"),
                    *(
                        (
                            f"--workload-policy=projects/{options.project}/regions/{google.region(options)}"
                            f"/resourcePolicies/{name}",
                        )
                        if several
                        else ()
                    ),
                    # Google makes groups of flex-start machines so only, also those of one machine.
                    *(("--target-size-policy-mode=bulk",) if several or options.flex_start else ()),
                    "--default-action-on-vm-failure=do-nothing",
                ),
                does="create the machines, all or none",
            )
        )
        tier = "spot" if request.spot else "reserved" if options.reservation else "on demand"
        gone = "preemption"
        if options.flex_start:
            tier, gone = f"flex-start, {options.max_run_duration or '7d'} at most", "the end of that time"
        return Submission(
            creates=(
                f"managed instance group {name}: {hosts} x {kind} ({tier}), a slice of {place.name}",
                f"instance template {template}" + (f", workload policy {name}" if several else ""),
                f"{request.workdir}/launch/{archive.path.name}: the code",
            ),
            where=f"project {options.project}, zone {options.zone}",
            resumes=f"exit 3 or a reboot: restarted on the same machines, {request.restarts} times at most, counted on "
            f"the disk of each machine; {gone}: `jaxbert launch stop`, then repeat the same command; exit 1, 2 and "
            "4 end the run",
            ends="the first machine removes the group when the run ends, even if it fails; the template and the policy "
            "cost nothing and stay",
            files=(archive, startup),
            commands=tuple(commands),
        )

    def control(self, name: str, options: Namespace, *, follow: bool = False) -> Control:
        """See `Target`."""
        compute, where = ("gcloud", "compute"), google.here(options)
        group = (*compute, "instance-groups", "managed")
        project = f"--project={options.project}"
        if follow:
            # The names of a group's machines end in random letters, so no name is known to be the first machine's.
            raise InputError(
                "the log of a group can be read from the bucket only, where it is copied each minute",
                where="--follow",
                fix="Remove it.",
                code="E-LAUNCH-OPTIONS",
            )
        return Control(
            status=(
                Command((*group, "describe", name, *where)),
                Command((*group, "list-instances", name, *where)),
            ),
            logs=(google.logs(options),),
            stop=(
                Command((*group, "delete", name, *where, "--quiet")),
                Command(
                    (
                        *(*compute, "resource-policies", "delete", name, project),
                        *(f"--region={google.region(options)}", "--quiet"),
                    ),
                    optional=True,
                ),
            ),
        )


def _capacity(options: Namespace, *, spot: bool) -> tuple[str, ...]:
    """Returns the options of an instance template for the kind of capacity."""
    if spot:
        return ("--provisioning-model=SPOT", "--instance-termination-action=DELETE")
    if options.flex_start:
        return (
            "--provisioning-model=FLEX_START",
            f"--max-run-duration={capacity.run_seconds(options)}s",
            "--instance-termination-action=DELETE",
            # Machines of flex-start come from their own pool.
            "--reservation-affinity=none",
        )
    if options.reservation:
        return ("--reservation-affinity=specific", f"--reservation={options.reservation}")
    return ()
