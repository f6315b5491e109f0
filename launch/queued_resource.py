"""TPU VMs from a queued resource of the Cloud TPU API: v3 to v6e. Google calls that API legacy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from jaxbert.errors import InputError

from . import capacity, google, machines
from .job import Command, Control, Request, Submission, Target

# The TPUs that flex-start gives out through this API (cloud.google.com/tpu/docs/request-using-flex-start, as
# its copies of August and September 2025 say).
_FLEX_START = ("v5e", "v6e")


class QueuedResource(Target):
    """See `jaxbert.launch.job.Target`."""

    name = "queued-resource"
    summary = "TPU VMs that the Cloud TPU API grants when it has some (v3, v4, v5e, v5p, v6e)"
    kinds = ("tpu",)
    provider = "google"
    example = "--topology v5e:4x4 --project my-project --zone us-east5-a"
    programs = google.GCLOUD
    names: Mapping[str, str] = {
        **google.NAMES,
        "valid_until_duration": "duration",
        "runtime_version": "word",
        "max_run_duration": "duration",
        "reservation": "network",
    }
    remembered: Mapping[str, type] = {"project": str, "zone": str, "slices": int}

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        google.add_arguments(parser)
        capacity.add_arguments(parser)
        parser.add_argument(
            "--valid-until-duration", metavar="T", help="give up the request after this time, for example 6h"
        )
        parser.add_argument("--reserved", action="store_true", help="take the machines from any reservation")
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
        return machines.api_tpus()

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        place, options, name = request.place, request.options, request.name
        machines.check_slices(place)
        capacity.check(options, spot=request.spot)
        if options.flex_start and place.chip.name not in _FLEX_START:
            raise InputError(
                f"the Cloud TPU API has no {place.chip.name} by flex-start",
                where="--flex-start",
                fix=f"Take {' or '.join(_FLEX_START)}, or the target gke.",
                code="E-LAUNCH-TOPOLOGY",
            )
        control = self.control(name, Namespace(**{**vars(options), "slices": place.slices}))
        (remove,) = control.stop
        archive, upload = google.upload(request)
        startup = google.startup(request, remove.arguments)
        kind = machines.accelerator_type(place)
        several = place.slices > 1
        gone = "preemption"
        if request.spot:
            tier, asked = "spot", ["--spot"]
        elif options.flex_start:
            # gcloud takes the duration with its unit.
            tier, gone = f"flex-start, {options.max_run_duration or '7d'} at most", "the end of that time"
            asked = ["--provisioning-model=flex-start", f"--max-run-duration={capacity.run_seconds(options)}s"]
        elif options.reservation:
            # This cannot give a reservation of another project, nor one of calendar mode, for which Google asks for
            # --provisioning-model=reservation-bound (docs.cloud.google.com/tpu/docs/consume-reservation).
            tier, asked = f"reservation {options.reservation}", ["--reserved", f"--reservation={options.reservation}"]
        else:
            tier, asked = ("reserved", ["--reserved"]) if options.reserved else ("on demand", [])
        base = ("gcloud", "compute", "tpus", "queued-resources")
        # Only gcloud alpha takes these options.
        alpha = options.flex_start or options.reservation
        creating = ("gcloud", *(["alpha"] if alpha else []), *base[1:])
        create = Command(
            (
                *(*creating, "create", name, *google.here(options)),
                f"--accelerator-type={kind}",
                f"--runtime-version={options.runtime_version or machines.TPUS[place.chip.name].runtime}",
                *((f"--node-count={place.slices}", f"--node-prefix={name}") if several else (f"--node-id={name}",)),
                *asked,
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
            f"the disk of each machine; {gone}: repeat the same command; exit 1, 2 and 4 end the run",
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
