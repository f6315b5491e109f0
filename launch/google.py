"""What the targets on Google Cloud's own machines share: options, where the code goes, the script that starts them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from jaxbert.launch.job import Command, File, Request
from jaxbert.launch.names import checked
from jaxbert.launch.scripts import script

from jaxbert.errors import InputError

# Of the environment on the machines: the Python of the lock file, and what installs it.
PYTHON, UV = "3.13", "0.13.9"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_NAMED = {
    "project": "project",
    "zone": "zone",
    "network": "network",
    "subnetwork": "network",
    "service_account": "account",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("--project", required=True, metavar="P", help="of Google Cloud")
    parser.add_argument("--zone", required=True, metavar="Z", help="for example us-east5-a")
    parser.add_argument("--network", metavar="N", help="default: the project's default network")
    parser.add_argument("--subnetwork", metavar="N", help="of it")
    parser.add_argument("--service-account", metavar="EMAIL", help="that the machines act as; it may use the bucket")
    parser.add_argument("--labels", nargs="+", default=[], metavar="K=V", help="of what is created, for the bill")


def check(options: Namespace) -> None:
    """Raises InputError where an option cannot be what it is."""
    for option, kind in _NAMED.items():
        if getattr(options, option, None) is not None:
            checked(getattr(options, option), kind, f"--{option.replace('_', '-')}")
    for label in getattr(options, "labels", []):
        checked(label, "label", "--labels")


def here(options: Namespace) -> tuple[str, ...]:
    """The options that say where."""
    return (f"--project={options.project}", f"--zone={options.zone}")


def region(options: Namespace) -> str:
    """Of the zone."""
    return str(options.zone.rpartition("-")[0])


def network(options: Namespace, subnetwork: str) -> tuple[str, ...]:
    """The options about the network; Compute Engine and the TPU API call a subnetwork differently."""
    found = [f"--network={options.network}"] if options.network else []
    return (*found, *([f"{subnetwork}={options.subnetwork}"] if options.subnetwork else []))


def labels(request: Request) -> str:
    """As --labels takes them."""
    return ",".join([f"jaxbert-job={request.name}", *request.options.labels])


def upload(request: Request) -> tuple[File, Command]:
    """The code, and the command that brings it to the bucket, once: its name is its hash."""
    _in_bucket(request)
    file = File(request.folder / request.archive.name, request.archive.content)
    there = _archive(request)
    return file, Command(
        ("gcloud", "storage", "cp", "--no-clobber", f"--project={request.options.project}", str(file.path), there),
        does="the code",
    )


def startup(request: Request, remove: Sequence[str]) -> File:
    """The script that every machine runs when it starts; `remove` is the command that ends the bill."""
    for name, reference in request.secrets.items():
        if not reference or "/" in reference:
            raise InputError("it is one of Secret Manager's", where=f"--secret {name}", fix=f"Write {name}=SECRET.")
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
            "arguments": [*arguments, f"--workdir={request.workdir}", "--distributed"],
            "secrets": [f"{name}={reference}" for name, reference in request.secrets.items()],
            "remove": remove,
        },
    )
    path = request.folder / "startup.sh"
    if {",", "^", "="} & set(str(path)):
        # gcloud takes a list of KEY=FILE.
        raise InputError(
            "gcloud cannot be given this path", where=str(path), fix="Set XDG_STATE_HOME to one without , ^ and =."
        )
    return File(path, text.encode())


def logs(options: Namespace) -> Command:
    """What the first machine has said: it copies its log to the bucket every minute, and at the end."""
    return Command(
        ("gcloud", "storage", "cat", f"--project={options.project}", f"{options.workdir}/logs/worker-0-0.log")
    )


def _archive(request: Request) -> str:
    return f"{request.workdir}/launch/{request.archive.name}"


def _in_bucket(request: Request) -> None:
    if not request.workdir.startswith("gs://"):
        raise InputError(
            "the machines share no disk", where=f"--workdir {request.workdir}", fix="Give gs://BUCKET/PATH."
        )
