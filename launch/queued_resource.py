"""TPU VMs from a queued resource of the Cloud TPU API: v5e, v5p and v6e. Google calls that API legacy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from jaxbert.errors import InputError

from . import google, machines
from .job import Command, Control, Request, Submission, Target


class QueuedResource(Target):
    """See `jaxbert.launch.job.Target`."""

    name = "queued-resource"
    summary = "TPU VMs that the Cloud TPU API grants when it has some (v5e, v5p, v6e)"
    kinds = ("tpu",)
    provider = "google"
    example = "--topology v5e:4x4 --project my-project --zone us-east5-a"
    programs = google.GCLOUD
    names: Mapping[str, str] = {**google.NAMES, "valid_until_duration": "duration", "runtime_version": "word"}
    remembered: Mapping[str, type] = {"project": str, "zone": str, "slices": int}

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        google.add_arguments(parser)
        parser.add_argument(
            "--valid-until-duration", metavar="T", help="give up the request after this time, for example 6h"
        )
        parser.add_argument("--reserved", action="store_true", help="take the machines from a reservation")
        parser.add_argument(
            "--runtime-version", metavar="V", help="software of the machines (default: the usual one of the chip)"
        )
        parser.add_argument(
            "--internal-ips",
            action="store_true",
            help="give the machines no public address; the network then needs Cloud NAT",
        )

    def chips(self) -> Mapping[str, str]:
        """See `Target`."""
        return machines.tpus()

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        place, options, name = request.place, request.options, request.name
        machines.check_slices(place)
        if request.spot and options.reserved:
            raise InputError(
                "these options exclude each other",
                where="--spot --reserved",
                fix="Remove one.",
                code="E-LAUNCH-OPTIONS",
            )
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
            does="request the machines",
        )
        return Submission(
            creates=(
                f"queued resource {name}: {place.slices} x {kind} ({tier}), {place.hosts} "
                f"machine{'s' if place.hosts > 1 else ''} in all",
                f"{request.workdir}/launch/{archive.path.name}: the code",
            ),
            where=f"project {options.project}, zone {options.zone}",
            resumes=f"exit 3 or a reboot: restarted on the same machines, {request.restarts} times at most, counted on "
            "the disk of each machine; preemption: repeat the same command; exit 1, 2 and 4 end the run",
            ends="the first machine removes the queued resource when the run ends, even if it fails",
            files=(archive, startup),
            commands=(
                upload,
                # Without --force this removes a queued resource only if it has no machines any more.
                Command(
                    (*base, "delete", name, *google.here(options), "--quiet"),
                    does="remove an earlier queued resource that has lost its machines",
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
