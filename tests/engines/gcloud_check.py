"""Checks gcloud command lines with gcloud's own argument parser, without credentials and without the network.

`check(argv)` checks one command. `check_all(argvs)` checks many in one process of gcloud's bundled Python, which takes
a second to start and a tenth of a second for each command. `execute(argv)` runs the real gcloud without credentials,
which takes a second for each command: exit code 2 means that the parser refused the command, and exit code 1 with
"active account" means that it accepted it.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

# This program runs in gcloud's Python. It parses each argument list as calliope's CLI.Execute does, and stops before
# the command runs.
_DRIVER = r"""
import contextlib, io, json, sys
root = sys.argv[1]
import gcloud
gcloud._fix_google_module()
from googlecloudsdk import gcloud_main
from googlecloudsdk.calliope import cli as calliope_cli
from googlecloudsdk.core import log, properties
from googlecloudsdk.core.configurations import named_configs
import socket
def refuse(*args, **kwargs):
    raise OSError("the network is closed to this check")
socket.getaddrinfo = socket.create_connection = refuse
socket.socket.connect = refuse
gcloud_cli = gcloud_main.CreateCLI([])
parser = gcloud_cli._CLI__parser
answers = []
for argv in json.load(sys.stdin):
    said = io.StringIO()
    answer = None
    named_configs.FLAG_OVERRIDE_STACK.PushFromArgs(argv)
    properties.VALUES.PushInvocationValues()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            log.Reset(said, said)
            args = parser.parse_args(calliope_cli._ApplyFlagsFile(argv))
            if args.CONCEPT_ARGS is not None:
                args.CONCEPT_ARGS.ParseConcepts()
            if args.CONCEPTS is not None:  # Such as the zone of a TPU, which the command itself would look for.
                args.CONCEPTS.Reset()
                for concept in args.CONCEPTS._all_concepts:
                    getattr(args.CONCEPTS, concept["name"]).Parse()
    except SystemExit as stop:
        if stop.code:
            answer = said.getvalue().strip() or "exit code %s" % stop.code
    except Exception as error:
        answer = "%s: %s" % (type(error).__name__, error)
    finally:
        properties.VALUES.PopInvocationValues()
        named_configs.FLAG_OVERRIDE_STACK.Pop()
    answers.append(answer)
json.dump(answers, sys.stdout)
"""


def environment(config: pathlib.Path) -> dict[str, str]:
    """Returns an environment for gcloud with a temporary configuration, without prompts, reports or look-ups."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CLOUDSDK_") and name not in ("GOOGLE_APPLICATION_CREDENTIALS", "PYTHONPATH")
    }
    return ours | {
        "CLOUDSDK_CONFIG": str(config),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "1",
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "0",
        "CLOUDSDK_CORE_PROJECT": "a-project",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "CLOUDSDK_PYTHON_SITEPACKAGES": "",
        "NO_GCE_CHECK": "true",
    }


def sdk_root() -> pathlib.Path:
    """Returns the directory of the Cloud SDK."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise FileNotFoundError("gcloud is not on PATH")
    return pathlib.Path(gcloud).resolve().parent.parent


def sdk_python(root: pathlib.Path) -> str:
    """Returns the Python of gcloud: the bundled one if it exists."""
    bundled = root / "platform" / "bundledpythonunix" / "bin" / "python3"
    return str(bundled) if bundled.exists() else sys.executable


def check_all(argvs: list[list[str]], timeout: float = 120) -> list[str | None]:
    """Returns for each command (with or without "gcloud") None if gcloud's parser accepts it, else its complaint."""
    root = sdk_root()
    bare = [argv[1:] if argv[:1] == ["gcloud"] else argv for argv in argvs]
    with tempfile.TemporaryDirectory(prefix="gcloud-check-") as config:
        env = environment(pathlib.Path(config)) | {"PYTHONPATH": str(root / "lib")}
        command = [sdk_python(root), "-S", "-c", _DRIVER, str(root)]
        run = subprocess.run(command, input=json.dumps(bare), env=env, capture_output=True, text=True, timeout=timeout)
    if run.returncode:
        raise RuntimeError(f"gcloud's parser did not run: {run.stderr[-2000:]}")
    answers: list[str | None] = json.loads(run.stdout)
    return answers


def check(argv: list[str]) -> str | None:
    """Returns None if gcloud's parser accepts the command, else its complaint."""
    return check_all([argv])[0]


def execute(argv: list[str], timeout: float = 60) -> str | None:
    """Runs gcloud without credentials. Returns None if it stopped at the missing account, else its complaint."""
    bare = argv[1:] if argv[:1] == ["gcloud"] else argv
    with tempfile.TemporaryDirectory(prefix="gcloud-check-") as config:
        env = environment(pathlib.Path(config))
        run = subprocess.run(
            ["gcloud", *bare], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
    unauthenticated = "do not currently have an active account" in run.stderr
    return None if run.returncode == 0 or unauthenticated else run.stderr.strip() or f"exit code {run.returncode}"


if __name__ == "__main__":
    complaint = check(sys.argv[1:])
    if complaint is not None:
        sys.exit(complaint)
