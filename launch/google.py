"""The parts that the targets on Google Cloud's machines share: options, the upload of the code, the startup script."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from jaxbert.errors import InputError

from .devices import of_host
from .job import Command, File, Request
from .scripts import script

# The Python of the lock files, and the version of uv that installs it on the machines.
PYTHON, UV = "3.13", "0.13.9"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# Program -> how to install it.
GCLOUD = {"gcloud": "Install the Google Cloud CLI."}
# Option -> kind of name.
NAMES = {
    "project": "project",
    "zone": "zone",
    "network": "network",
    "subnetwork": "network",
    "service_account": "account",
    "labels": "label",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the options of Google Cloud."""
    parser.add_argument("--project", required=True, metavar="P", help="the project of Google Cloud")
    parser.add_argument("--zone", required=True, metavar="Z", help="for example us-east5-a")
    parser.add_argument("--network", metavar="N", help="the machines' network (default: the project's default network)")
    parser.add_argument("--subnetwork", metavar="N", help="the subnetwork of the network")
    parser.add_argument(
        "--service-account", metavar="EMAIL", help="the account of the machines; it must have access to the bucket"
    )
    parser.add_argument("--labels", nargs="+", default=[], metavar="K=V", help="labels of everything that is created")


def here(options: Namespace) -> tuple[str, ...]:
    """Returns gcloud's options for the project and the zone."""
    return (f"--project={options.project}", f"--zone={options.zone}")


def region(options: Namespace) -> str:
    """Returns the region of the zone."""
    return str(options.zone.rpartition("-")[0])


def network(options: Namespace, subnetwork: str) -> tuple[str, ...]:
    """Returns gcloud's options for the network. `subnetwork` is the name of that option, which differs between APIs."""
    found = [f"--network={options.network}"] if options.network else []
    return (*found, *([f"{subnetwork}={options.subnetwork}"] if options.subnetwork else []))


def labels(request: Request) -> str:
    """Returns the labels as gcloud's --labels takes them."""
    return ",".join([f"jaxbert-job={request.name}", *request.options.labels])


def upload(request: Request) -> tuple[File, Command]:
    """Returns the file of the code, and the command that copies it to the bucket unless it is there already."""
    file = File(request.folder / request.archive.name, request.archive.content)
    there = _archive(request)
    return file, Command(
        ("gcloud", "storage", "cp", "--no-clobber", f"--project={request.options.project}", str(file.path), there),
        does="copy the code",
    )


def startup(request: Request, remove: Sequence[str]) -> File:
    """Returns the script that every machine runs when it starts. `remove` is the command that removes the machines."""
    for name, reference in request.secrets.items():
        if not reference or "/" in reference:
            raise InputError(
                "on this target, a secret comes from Secret Manager",
                where=f"--secret {name}",
                fix=f"Write {name}=SECRET.",
                code="E-LAUNCH-SECRET",
            )
    config = request.archive.config
    arguments = list(request.arguments)
    if config:
        arguments[0] = f"/opt/jaxbert/code-{request.archive.sha256}/{config}"
    text = script(
        "bootstrap.sh",
        {
            "name": request.name,
            "project": request.options.project,
            "workdir": request.workdir,
            "archive": _archive(request),
            "sha256": request.archive.sha256,
            "python_version": PYTHON,
            "uv_version": UV,
            "restarts": request.restarts,
            "devices": of_host(request.place),
            "arguments": [*arguments, f"--workdir={request.workdir}", "--distributed"],
            "secrets": [f"{name}={reference}" for name, reference in request.secrets.items()],
            "remove": remove,
        },
    )
    path = request.folder / "startup.sh"
    if {",", "^", "="} & set(str(path)):
        # gcloud's option takes a list of KEY=FILE and would split this path.
        raise InputError(
            "gcloud cannot take a path with one of , ^ =",
            where=str(path),
            fix="Set XDG_STATE_HOME to a path without these characters.",
            code="E-LAUNCH-PATH",
        )
    return File(path, text.encode())


def logs(options: Namespace) -> Command:
    """Returns the command that shows the first machine's log, which is copied to the bucket each minute."""
    return Command(
        ("gcloud", "storage", "cat", f"--project={options.project}", f"{options.workdir}/logs/worker-0-0.log")
    )


def _archive(request: Request) -> str:
    return f"{request.workdir}/launch/{request.archive.name}"
