"""TPU VMs by a queued resource of the Cloud TPU API: v5e, v5p and v6e, as long as that API lives."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from jaxbert.launch import google, machines
from jaxbert.launch.job import Command, Control, Request, Submission
from jaxbert.launch.names import checked

from jaxbert.errors import InputError


class QueuedResource:
    """See `jaxbert.launch.job.Target`."""

    name = "queued-resource"
    summary = "TPU VMs that the Cloud TPU API gives when there are some (v5e, v5p, v6e)"
    kinds = ("tpu",)
    remembered = ("project", "zone", "slices")

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        google.add_arguments(parser)
        parser.add_argument("--valid-until-duration", metavar="T", help="give the request up after so long, as 6h")
        parser.add_argument("--reserved", action="store_true", help="from a reservation")
        parser.add_argument("--runtime-version", metavar="V", help="of the machines (default: the chip's own)")
        parser.add_argument(
            "--internal-ips", action="store_true", help="no public addresses; the network needs Cloud NAT"
        )

    def check(self, options: Namespace) -> None:
        """See `Target`."""
        google.check(options)
        if getattr(options, "valid_until_duration", None) is not None:
            checked(options.valid_until_duration, "duration", "--valid-until-duration")
        if getattr(options, "runtime_version", None) is not None:
            checked(options.runtime_version, "word", "--runtime-version")

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        place, options, name = request.topology, request.options, request.name
        assert place is not None
        if request.spot and options.reserved:
            raise InputError("one of the two", where="--spot --reserved", fix="Leave one out.")
        control = self.control(name, Namespace(**{**vars(options), "slices": place.slices}))
        (remove,) = control.stop
        archive, upload = google.upload(request)
        startup = google.startup(request, remove.arguments)
        kind = machines.accelerator_type(place)
        several = place.slices > 1
        tier = "spot" if request.spot else "reserved" if options.reserved else "on demand"
        base = ("gcloud", "compute", "tpus", "queued-resources")
        create = Command(
            (
                *(*base, "create", name, *google.here(options)),
                f"--accelerator-type={kind}",
                f"--runtime-version={options.runtime_version or machines.TPUS[place.chip.name].runtime}",
                *((f"--node-count={place.slices}", f"--node-prefix={name}") if several else (f"--node-id={name}",)),
                *(["--spot"] if request.spot else ["--reserved"] if options.reserved else []),
                *([f"--service-account={options.service_account}"] if options.service_account else []),
                *google.network(options, "--subnetwork"),
                *(["--internal-ips"] if options.internal_ips else []),
                *([f"--valid-until-duration={options.valid_until_duration}"] if options.valid_until_duration else []),
                f"--scopes={google.SCOPE}",
                f"--labels={google.labels(request)}",
                f"--metadata-from-file=startup-script={startup.path}",
                *("--async", "--quiet"),
            ),
            does="ask for the machines",
        )
        return Submission(
            creates=(
                f"queued resource {name}: {place.slices} x {kind} ({tier}), {place.hosts} machines in all",
                f"{request.workdir}/launch/{archive.path.name}: the code",
            ),
            where=f"project {options.project}, zone {options.zone}",
            resumes=f"exit 3: started again on the machine, {request.restarts} times at most; after a preemption: the "
            "same command again; 1, 2 and 4 end it",
            ends="the first machine removes the queued resource when the run ends, however it ends",
            files=(archive, startup),
            commands=(
                upload,
                # Without --force this removes only one that has no machines any more.
                Command(
                    (*base, "delete", name, *google.here(options), "--quiet"),
                    does="remove what a preemption has left of an earlier one",
                    optional=True,
                ),
                create,
            ),
        )

    def control(self, name: str, options: Namespace, *, follow: bool = False) -> Control:
        """See `Target`."""
        base, where = ("gcloud", "compute", "tpus"), google.here(options)
        node = f"{name}-0" if options.slices > 1 else name
        ssh = (*base, "tpu-vm", "ssh", node, *where, "--worker=0", "--command=tail -n +1 -F /var/log/jaxbert.log")
        return Control(
            status=(Command((*base, "queued-resources", "describe", name, *where)),),
            logs=(Command(ssh) if follow else google.logs(options),),
            stop=(Command((*base, "queued-resources", "delete", name, *where, "--force", "--quiet")),),
        )
