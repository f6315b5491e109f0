"""Runs the tasks of a Slurm job in a container: by pyxis, NVIDIA's plugin of srun, or by Apptainer.

Sources. pyxis: args.c of github.com/NVIDIA/pyxis, which has its options of srun. It keeps a variable of the image where
the job has one of the same name. Apptainer: environment_and_metadata.rst of github.com/apptainer/apptainer-userdocs. It
gives the program the job's variables, except PATH and LD_LIBRARY_PATH, and keeps a variable of the image unless --env
sets it. Its process passes signals on when it has no terminal.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence

from jaxbert.errors import InputError

RUNTIMES = ("pyxis", "apptainer")
# Option -> kind of name. Both programs split mounts at commas and colons.
NAMES: Mapping[str, str] = {
    "container_image": "container",
    "container_mounts": "mount",
    "container_python": "program",
}
_PYTHON = "python3"
# A path that both programs take as one place to mount.
_PATH = re.compile(r"/[-A-Za-z0-9_./+=@]*")


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the options of containers."""
    parser.add_argument("--container-image", metavar="IMAGE", help="run the tasks in a container of this image")
    parser.add_argument(
        "--container-runtime",
        choices=RUNTIMES,
        default="pyxis",
        help="the program that runs the container (default: pyxis)",
    )
    parser.add_argument(
        "--container-mounts",
        nargs="+",
        action="extend",
        default=[],
        metavar="SRC[:DST[:ro]]",
        help="directories that the container sees, such as that of the rows; it always sees the workdir",
    )
    parser.add_argument(
        "--container-python", default=_PYTHON, metavar="X", help="Python of the image (default: %(default)s)"
    )


def check(options: Namespace, workdir: str) -> None:
    """Raises InputError for options that the container could not use."""
    image = options.container_image
    if image is None:
        python = options.container_python != _PYTHON
        if options.container_mounts or options.container_runtime != RUNTIMES[0] or python:
            raise InputError(
                "these options need an image",
                where="--container-mounts, --container-runtime, --container-python",
                fix="Give --container-image IMAGE too.",
                code="E-LAUNCH-OPTIONS",
            )
        return
    if options.container_runtime == "pyxis" and (image.endswith(".sif") or "://" in image):
        raise InputError(
            "pyxis takes REGISTRY#IMAGE:TAG or the path of a .sqsh file",
            where=f"--container-image {image}",
            fix="Write it so, or add --container-runtime apptainer.",
            code="E-LAUNCH-OPTIONS",
        )
    if not _PATH.fullmatch(workdir):
        raise InputError(
            "a container cannot see this path, because it has other characters than letters, digits and - _ . / + = @",
            where=f"--workdir {workdir}",
            fix="Give another directory.",
            code="E-LAUNCH-PATH",
        )


def of_srun(options: Namespace, workdir: str) -> list[str]:
    """Returns the options of srun by which pyxis runs each task in a container."""
    if options.container_image is None or options.container_runtime != "pyxis":
        return []
    return [
        f"--container-image={options.container_image}",
        f"--container-mounts={','.join(_mounts(options, workdir))}",
        f"--container-workdir={workdir}",
    ]


def of_task(options: Namespace, workdir: str, code: str, *, gpu: bool) -> list[str]:
    """Returns the words before the command of a task by which Apptainer runs it in a container.

    Args:
      options: the options of `jaxbert launch slurm`.
      workdir: workdir of the run.
      code: the directory of the code that was submitted.
      gpu: whether the task has GPUs.
    """
    if options.container_image is None or options.container_runtime != "apptainer":
        return []
    mounts = [f"--bind={mount}" for mount in _mounts(options, workdir)]
    # --nv adds the driver's libraries of the node.
    nv = ["--nv"] if gpu else []
    return ["apptainer", "exec", *nv, *mounts, f"--env=PYTHONPATH={code}", options.container_image]


def _mounts(options: Namespace, workdir: str) -> Sequence[str]:
    # Early releases of pyxis need both sides.
    given = [mount if ":" in mount else f"{mount}:{mount}" for mount in options.container_mounts]
    return [f"{workdir}:{workdir}", *given]
