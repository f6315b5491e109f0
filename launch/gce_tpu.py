"""TPUs as machines of Compute Engine, with a workload policy, an instance template and a managed instance group."""

from __future__ import annotations

import hashlib
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from jaxbert.errors import InputError

from . import capacity, google, machines
from .job import Command, Control, Request, Submission, Target

# The images with TPU drivers (cloud.google.com/compute/docs/tpus; nobody noted when it was read). Their default disk of
# 10 GB is too small for the environment.
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
    names: Mapping[str, str] = {**google.NAMES, "reservation": "network"}
    remembered: Mapping[str, type] = {"project": str, "zone": str}

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        google.add_arguments(parser)
        parser.add_argument("--reservation", metavar="NAME", help="take the machines from this reservation")

    def chips(self) -> Mapping[str, str]:
        """See `Target`."""
        return machines.tpus()

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        place, options, name = request.place, request.options, request.name
        if not machines.TPUS[place.chip.name].compute_engine:
            raise InputError(
                f"Compute Engine does not offer {place.chip.name}",
                where=f"--topology {place.name}",
                fix="Use the target gke.",
                code="E-LAUNCH-TOPOLOGY",
            )
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
                    *(*compute, "instance-templates", "create", template, project),
                    f"--machine-type={kind}",
                    *(
                        f"--image-family={_FAMILIES.get(place.chip.name, _FAMILY)}",
                        f"--image-project={_PROJECT}",
                        f"--boot-disk-size={_DISK}",
                    ),
                    "--maintenance-policy=TERMINATE",
                    *(
                        ("--provisioning-model=SPOT", "--instance-termination-action=DELETE")
                        if request.spot
                        else ("--reservation-affinity=specific", f"--reservation={options.reservation}")
                        if options.reservation
                        else ()
                    ),
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
                            "--target-size-policy-mode=bulk",
                        )
                        if several
                        else ()
                    ),
                    "--default-action-on-vm-failure=do-nothing",
                ),
                does="create the machines, all or none",
            )
        )
        tier = "spot" if request.spot else "reserved" if options.reservation else "on demand"
        return Submission(
            creates=(
                f"managed instance group {name}: {hosts} x {kind} ({tier}), a slice of {place.name}",
                f"instance template {template}" + (f", workload policy {name}" if several else ""),
                f"{request.workdir}/launch/{archive.path.name}: the code",
            ),
            where=f"project {options.project}, zone {options.zone}",
            resumes=f"exit 3 or a reboot: restarted on the same machines, {request.restarts} times at most, counted on "
            "the disk of each machine; preemption: `jaxbert launch stop`, then repeat the same command; exit 1, 2 and "
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
