"""A managed job of SkyPilot, which moves the job between clouds and regions to where there is capacity."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from jaxbert.core.chips import GPU_POOL_FRACTION
from jaxbert.errors import InputError
from jaxbert.observe.accelerators import CUDA_DRIVERS, NEWEST_CUDA
from jaxbert.stores.schemes import WRITABLE
from jaxbert.stores.starts import DIRECTORY

from . import devices, google, machines
from .job import Command, Control, File, Request, Submission, Target
from .manifest import documents
from .scripts import script

# The clouds of --infra -> the names of their prices.
_SELLERS: Mapping[str, str] = {"gcp": "google", **{name: name for name in ("aws", "azure", "lambda", "runpod")}}


class SkyPilot(Target):
    """See `jaxbert.launch.job.Target`."""

    name = "skypilot"
    summary = "a managed job of SkyPilot, on GPUs or TPUs of any cloud"
    kinds = ("gpu", "tpu")
    example = "--topology h100:8"
    programs: Mapping[str, str] = {"sky": "Install SkyPilot in a separate environment: pipx install skypilot."}
    names: Mapping[str, str] = {"infra": "cloud", "env": "setting"}
    buckets = WRITABLE

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        parser.add_argument(
            "--infra", metavar="CLOUD", help="CLOUD[/REGION[/ZONE]] (default: the cheapest that has the chips)"
        )
        devices.add_env(parser)
        parser.add_argument("--disk-size", type=int, default=256, metavar="GB", help="disk of each node (default: 256)")

    def check(self, options: Namespace) -> None:
        """See `Target`."""
        super().check(options)
        if getattr(options, "disk_size", 1) < 1:
            raise InputError(
                f"the value is {options.disk_size}",
                where="--disk-size",
                fix="Give the number of GB, for example 256.",
                code="E-LAUNCH-NUMBER",
            )

    def chips(self) -> Mapping[str, str]:
        """See `Target`."""
        return {**machines.api_tpus(), **machines.SKYPILOT}

    def seller(self, options: Namespace) -> str:
        """See `Target`. SkyPilot chooses the cloud where --infra does not."""
        cloud = (options.infra or "").partition("/")[0].lower()
        return _SELLERS.get(cloud, "")

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        place = request.place
        if place.chip.kind == "tpu" and place.slices > 1:
            raise InputError(
                "SkyPilot gives one TPU slice to a job",
                where="--slices",
                fix="Use the target gke.",
                code="E-LAUNCH-SLICES",
            )
        if any(reference for reference in request.secrets.values()):
            raise InputError(
                "SkyPilot takes a secret from this machine's environment, by its name only",
                where="--secret",
                fix="Write --secret NAME.",
                code="E-LAUNCH-SECRET",
            )
        archive = File(request.folder / request.archive.name, request.archive.content)
        task = File(request.folder / "task.yaml", documents(self.task(request)))
        tpu = place.chip.kind == "tpu"
        what = (
            machines.accelerator_type(place)
            if tpu
            else f"{place.hosts} x {machines.chips_per_host(place)} {place.chip.name}"
        )
        secrets = [word for name in request.secrets for word in ("--secret", name)]
        return Submission(
            creates=(f"managed job {request.name}: {what}{' (spot)' if request.spot else ''}, and its controller",),
            where=f"{request.options.infra or 'the cheapest cloud that has the chips'}, "
            "with this machine's SkyPilot settings",
            resumes="exit 3, preemption or a lost node: SkyPilot moves the job to machines that have room, "
            f"{request.restarts} times at most, counted in {request.workdir}/{DIRECTORY}; exit 1, 2 and 4 end the run",
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
        """Returns the task, SkyPilot's description of a job."""
        place, options, archive = request.place, request.options, request.archive
        tpu = place.chip.kind == "tpu"
        if tpu:
            resources: dict[str, Any] = {
                "accelerators": f"tpu-{machines.accelerator_type(place)}",
                "accelerator_args": {"runtime_version": machines.TPUS[place.chip.name].runtime},
            }
        else:
            resources = {"accelerators": f"{machines.SKYPILOT[place.chip.name]}:{machines.chips_per_host(place)}"}
        resources |= {
            **({"infra": options.infra} if options.infra else {}),
            "use_spot": request.spot,
            "disk_size": options.disk_size,
            "job_recovery": {
                "strategy": "EAGER_NEXT_REGION",
                # SkyPilot does not count restarts after these codes. The script counts them.
                "max_restarts_on_errors": 0,
                "recover_on_exit_codes": [3],
            },
        }
        setup = script(
            "sky_setup.sh",
            {
                "sha256": archive.sha256,
                "python_version": google.PYTHON,
                "uv_version": google.UV,
                # A node with an older driver takes the lock file for it, if the archive has one.
                "newest_driver": CUDA_DRIVERS[NEWEST_CUDA][0],
            },
        )
        # On a TPU slice, jax learns the other hosts from the TPU.
        more = ["--distributed"] if tpu else []
        run = script(
            "sky_run.sh",
            {
                "sha256": archive.sha256,
                "config": archive.config,
                "explicit": "" if tpu else "1",
                "platform": place.chip.kind,
                "devices": devices.of_host(place),
                "pool": str(GPU_POOL_FRACTION),
                "workdir": request.workdir,
                "restarts": request.restarts,
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
            "num_nodes": 1 if tpu else place.hosts,
            "resources": resources,
            "envs": {"JAXBERT_JOB": request.name, **devices.of_user(request)},
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
