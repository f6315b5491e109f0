"""SkyPilot: a managed job on any cloud that it reaches, which it moves where capacity is."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from jaxbert.launch import google, machines
from jaxbert.launch.job import Command, Control, File, Request, Submission
from jaxbert.launch.manifest import documents
from jaxbert.launch.names import checked
from jaxbert.launch.scripts import script

from jaxbert.errors import InputError
from jaxbert.stores.storage import is_remote


class SkyPilot:
    """See `jaxbert.launch.job.Target`."""

    name = "skypilot"
    summary = "a managed job of SkyPilot's, on any cloud's GPUs or TPUs"
    kinds = ("gpu", "tpu")
    remembered = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        parser.add_argument(
            "--infra", metavar="CLOUD", help="cloud[/region[/zone]] (default: the cheapest that has it)"
        )
        parser.add_argument("--disk-size", type=int, default=256, metavar="GB", help="of each node (default: 256)")

    def check(self, options: Namespace) -> None:
        """See `Target`."""
        if getattr(options, "infra", None) is not None:
            checked(options.infra, "cloud", "--infra")
        if getattr(options, "disk_size", 1) < 1:
            raise InputError(f"it is {options.disk_size}", where="--disk-size", fix="Take 100 or more.")

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        place = request.topology
        assert place is not None
        if not is_remote(request.workdir):
            raise InputError(
                "the nodes share no disk", where=f"--workdir {request.workdir}", fix="Give gs://BUCKET/PATH."
            )
        if place.chip.kind == "tpu" and place.slices > 1:
            raise InputError("SkyPilot has one slice a job", where="--slices", fix="Take gke for several.")
        if any(reference for reference in request.secrets.values()):
            raise InputError(
                "of SkyPilot only by its name", where="--secret", fix="Write --secret NAME; it is taken from here."
            )
        archive = File(request.folder / request.archive.name, request.archive.content)
        task = File(request.folder / "task.yaml", documents(self.task(request)))
        tpu = place.chip.kind == "tpu"
        what = machines.accelerator_type(place) if tpu else f"{place.slices} x {place.slice_chips} {place.chip.name}"
        secrets = [word for name in request.secrets for word in ("--secret", name)]
        return Submission(
            creates=(
                f"managed job {request.name}: {what}{' (spot)' if request.spot else ''}, and a controller for it",
            ),
            where=f"{request.options.infra or 'the cheapest cloud that has it'}, as SkyPilot is set up here",
            resumes="exit 3, a preemption or a lost node: moved to where there is capacity, as often as it happens "
            "(SkyPilot does not count them); 1, 2 and 4 end it",
            ends="SkyPilot removes the machines when the run ends; its controller stops by itself",
            files=(archive, task),
            commands=(
                Command(
                    ("sky", "jobs", "launch", "-n", request.name, *secrets, "-y", "-d", str(task.path)),
                    does="submit the job",
                ),
            ),
        )

    def task(self, request: Request) -> dict[str, Any]:
        """SkyPilot's description of the job."""
        place, options, archive = request.topology, request.options, request.archive
        assert place is not None
        tpu = place.chip.kind == "tpu"
        if tpu:
            resources: dict[str, Any] = {
                "accelerators": f"tpu-{machines.accelerator_type(place)}",
                "accelerator_args": {"runtime_version": machines.TPUS[place.chip.name].runtime},
            }
        else:
            resources = {"accelerators": f"{place.chip.name.upper()}:{place.slice_chips}"}
        resources |= {
            **({"infra": options.infra} if options.infra else {}),
            "use_spot": request.spot,
            "disk_size": options.disk_size,
            "job_recovery": {
                "strategy": "EAGER_NEXT_REGION",
                "max_restarts_on_errors": 0,
                "recover_on_exit_codes": [3],
            },
        }
        setup = script(
            "sky_setup.sh", {"sha256": archive.sha256, "python_version": google.PYTHON, "uv_version": google.UV}
        )
        # On a slice each host is told by the TPU who its peers are.
        more = ["--distributed"] if tpu else []
        run = script(
            "sky_run.sh",
            {
                "sha256": archive.sha256,
                "config": archive.config,
                "explicit": "" if tpu else "1",
                "arguments": [
                    archive.config or request.arguments[0],
                    *request.arguments[1:],
                    f"--workdir={request.workdir}",
                    *more,
                ],
            },
        )
        return {
            "name": request.name,
            "num_nodes": 1 if tpu else place.slices,
            "resources": resources,
            "envs": {"JAXBERT_JOB": request.name},
            **({"secrets": dict.fromkeys(request.secrets)} if request.secrets else {}),
            "file_mounts": {"~/jaxbert-code.tar.gz": str(request.folder / archive.name)},
            "setup": setup,
            "run": run,
        }

    def control(self, name: str, options: Namespace, *, follow: bool = False) -> Control:
        """See `Target`."""
        sky = ("sky", "jobs")
        return Control(
            status=(Command((*sky, "queue")),),
            logs=(Command((*sky, "logs", "-n", name, *([] if follow else ["--no-follow"]))),),
            stop=(Command((*sky, "cancel", "-n", name, "-y")),),
        )
