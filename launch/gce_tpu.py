"""TPUs as machines of Compute Engine: a workload policy, an instance template, a managed instance group."""

from __future__ import annotations

import hashlib
from argparse import ArgumentParser, Namespace

from jaxbert.launch import google, machines
from jaxbert.launch.job import Command, Control, Request, Submission
from jaxbert.launch.names import checked

from jaxbert.errors import InputError

# cloud.google.com/compute/docs/tpus: the image that has TPU drivers; its own boot disk of 10 GB holds no environment.
_FAMILY, _PROJECT, _DISK = "ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e", "ubuntu-os-accelerator-images", "200GB"


class GceTpu:
    """See `jaxbert.launch.job.Target`."""

    name = "gce-tpu"
    summary = "TPUs as a managed instance group of Compute Engine (v5p, v6e)"
    kinds = ("tpu",)
    remembered = ("project", "zone", "network", "subnetwork")

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        google.add_arguments(parser)
        parser.add_argument("--reservation", metavar="NAME", help="take the machines from it")

    def check(self, options: Namespace) -> None:
        """See `Target`."""
        google.check(options)
        if getattr(options, "reservation", None) is not None:
            checked(options.reservation, "network", "--reservation")

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        place, options, name = request.topology, request.options, request.name
        assert place is not None
        if not machines.TPUS[place.chip.name].compute_engine:
            raise InputError(
                f"Compute Engine has no {place.chip.name}", where=f"--topology {place.name}", fix="Take gke."
            )
        if place.slices > 1:
            raise InputError(
                "groups of Compute Engine do not know of each other", where="--slices", fix="Take gke for several."
            )
        if request.spot and options.reservation:
            raise InputError("one of the two", where="--spot --reservation", fix="Leave one out.")
        hosts, kind = machines.hosts(place), machines.machine_type(place)
        control = self.control(name, options)
        archive, upload = google.upload(request)
        startup = google.startup(request, control.stop[0].arguments)
        # Templates do not change: another script is another template.
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
                    does=f"a policy that makes {hosts} machines one slice",
                    unless=(*compute, "resource-policies", "describe", *named),
                )
            )
        commands.append(
            Command(
                (
                    *(*compute, "instance-templates", "create", template, project),
                    f"--machine-type={kind}",
                    *(f"--image-family={_FAMILY}", f"--image-project={_PROJECT}", f"--boot-disk-size={_DISK}"),
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
                    # Where a subnetwork is named, gcloud wants its region.
                    *([policy] if options.subnetwork else []),
                    f"--scopes={google.SCOPE}",
                    f"--labels={google.labels(request)}",
                    f"--metadata-from-file=startup-script={startup.path}",
                ),
                does="what a machine is",
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
                does="the machines, all or none",
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
            resumes=f"exit 3: started again on the machine, {request.restarts} times at most; after a preemption: "
            "`jaxbert launch stop`, then the same command again; 1, 2 and 4 end it",
            ends="the first machine removes the group when the run ends, however it ends; template and policy cost "
            "nothing, and stay until `jaxbert launch stop`",
            files=(archive, startup),
            commands=tuple(commands),
        )

    def control(self, name: str, options: Namespace, *, follow: bool = False) -> Control:
        """See `Target`."""
        compute, where = ("gcloud", "compute"), google.here(options)
        group = (*compute, "instance-groups", "managed")
        project = f"--project={options.project}"
        if follow:
            # Machines of a group have names with random ends, and any of them may be the first.
            raise InputError("of a group only as it was a minute ago", where="--follow", fix="Leave it out.")
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
