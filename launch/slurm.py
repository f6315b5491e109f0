"""One batch job of Slurm with a task for each node or GPU, or an array of such jobs. A job requeues itself."""

from __future__ import annotations

import getpass
import hashlib
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from types import UnionType

from jaxbert.errors import InputError
from jaxbert.observe.accelerators import HIDES, HIDES_ALL
from jaxbert.run.devices import JAX_PLATFORMS, contradicts

from . import slurm_container, slurm_nodes, slurm_seeds
from .devices import OF_PROCESS, add_env, of_user, variables
from .job import Command, Control, File, Request, Submission, Target
from .scripts import Value, script
from .slurm_shares import Shares, check_gres, shares

# Option -> (kind of name, the option of sbatch that gets its value).
_PASSED = {
    "partition": ("list", "--partition"),
    "account": ("word", "--account"),
    "qos": ("word", "--qos"),
    "constraint": ("list", "--constraint"),
    "time": ("time", "--time"),
    "memory": ("word", "--mem"),
    "gres": ("gres", "--gres"),
    "reservation": ("word", "--reservation"),
}


# The variables that the job gets from this shell: places of programs and libraries, addresses of buckets, hubs and
# proxies, settings of jax, NCCL and jaxbert. None holds a key: those come from files, or by --secret.
_NAMES = ("PATH", "HOME", "USER", "LANG", "XDG_CACHE_HOME")
_ADDRESSES = (
    *("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ROLE_ARN"),
    *("GOOGLE_CLOUD_PROJECT", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"),
    *(name for one in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (one, one.lower())),
)
_PATHS = (
    *("LD_LIBRARY_PATH", "CUDA_HOME", "TMPDIR", "HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_TOKEN_PATH"),
    *("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CA_BUNDLE"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("CURL_CA_BUNDLE", "TFDS_DATA_DIR"),
)
_PREFIXES = ("JAX_", "JAXBERT_", "XLA_", "NCCL_", "CUDA_VISIBLE_")
# The longest time before the limit at which sbatch sends a signal (slurm.schedmd.com/sbatch.html, --signal), seconds.
_LONGEST_S = 65535


def _exported(*, container: bool) -> list[str]:
    named = [
        name
        for name in os.environ
        if name.startswith(_PREFIXES) and name.replace("_", "").isalnum() and name not in OF_PROCESS
    ]
    # A container has its own libraries and certificates, and may lack the other paths.
    own = (*_NAMES, *_ADDRESSES) if container else (*_NAMES, *_PATHS, *_ADDRESSES)
    return [*(name for name in own if name in os.environ), *sorted(named)]


class Slurm(Target):
    """See `jaxbert.launch.job.Target`."""

    name = "slurm"
    summary = "a batch job on a cluster whose nodes share a disk"
    kinds = ("gpu", None)
    example = "--topology h100:8"
    shares_disk = True
    programs: Mapping[str, str] = dict.fromkeys(("sbatch", "squeue", "scancel"), "Use a machine of the cluster.")
    names: Mapping[str, str] = {
        **{option: kind for option, (kind, _) in _PASSED.items()},
        **slurm_container.NAMES,
        "gpus_per_node": "gpus",
        "env": "setting",
        "seeds": "seeds",
    }
    # The value of --seeds, or in the record of one run of an array its seed. See `slurm_seeds.control` for the others.
    remembered: Mapping[str, type | UnionType] = {
        "seeds": str | None,
        "jobs_tell_seeds": bool | None,
        "array_number": int | None,
    }

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `Target`."""
        parser.add_argument("--nodes", type=int, metavar="N", help="number of nodes, without --topology (default: 1)")
        parser.add_argument(
            "--tasks-per-node", type=int, metavar="N", help="tasks of each node, without --topology (default: 1)"
        )
        parser.add_argument(
            "--gpus-per-node",
            metavar="[TYPE:]N",
            help="GPUs of each node, without --topology; also read from --gres gpu:N (default: none, train on the CPU)",
        )
        parser.add_argument(
            "--task-per",
            choices=["node", "gpu"],
            default="node",
            help="one task for each node or each GPU (default: node)",
        )
        parser.add_argument(
            "--cpus-per-task", type=int, metavar="N", help="cores of each task (default: the screen says it)"
        )
        parser.add_argument("--exclusive", action="store_true", help="take whole nodes, with all of their cores")
        parser.add_argument(
            "--any-nodes", action="store_true", help="submit the job even if sinfo shows no nodes that are large enough"
        )
        parser.add_argument(
            "--seeds",
            metavar="LIST",
            help="a job array: one run for each seed, for example 0-4 or 1,3,7-9; %%2 at the end: two at a time",
        )
        parser.add_argument(
            "--grace",
            type=int,
            default=120,
            metavar="S",
            help="seconds between SIGTERM and the time limit (default: %(default)s)",
        )
        parser.set_defaults(jobs_tell_seeds=True, array_number=None)
        for option, (_, passed) in _PASSED.items():
            parser.add_argument(f"--{option}", metavar="X", help=f"the value of sbatch's {passed}")
        add_env(parser)
        slurm_container.add_arguments(parser)

    def check(self, options: Namespace) -> None:
        """See `Target`."""
        super().check(options)
        for option in ("nodes", "tasks_per_node", "cpus_per_task", "grace"):
            value = getattr(options, option, None)
            if value is not None and value < 1:
                raise InputError(
                    f"the value is {value}",
                    where=f"--{option.replace('_', '-')}",
                    fix="Give 1 or more.",
                    code="E-LAUNCH-NUMBER",
                )
        if getattr(options, "gres", None):
            check_gres(options.gres)
        if getattr(options, "grace", 0) > _LONGEST_S:
            raise InputError(
                f"Slurm sends a signal at most {_LONGEST_S:,} seconds before the time limit",
                where=f"--grace {options.grace}",
                fix=f"Give at most {_LONGEST_S}.",
                code="E-LAUNCH-GRACE",
            )
        # The options of a record have no time.
        if getattr(options, "time", None) is None:
            return
        limit_s = 60 * (slurm_nodes.minutes_of(options.time) or 0)
        if 0 < limit_s <= options.grace:
            raise InputError(
                f"the job ends {limit_s:,.0f} seconds after its start, so SIGTERM, {options.grace:,} seconds before "
                "that, would come at the start",
                where=f"--time {options.time}, --grace {options.grace}",
                fix=f"Give a longer --time, or a --grace below {limit_s:.0f}.",
                code="E-LAUNCH-GRACE",
            )

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        options = request.options
        if ":" in request.workdir:
            # The workdir becomes a part of PYTHONPATH, where a colon separates directories.
            raise InputError(
                "the path contains a colon",
                where=f"--workdir {request.workdir}",
                fix="Give another directory.",
                code="E-LAUNCH-PATH",
            )
        if request.spot:
            raise InputError(
                "under Slurm the partition decides whether a job may be preempted",
                where="--spot",
                fix="Give --partition instead.",
                code="E-LAUNCH-OPTIONS",
            )
        if any(reference for reference in request.secrets.values()):
            raise InputError(
                "Slurm takes a secret from this machine's environment, by its name only",
                where="--secret",
                fix="Write --secret NAME.",
                code="E-LAUNCH-SECRET",
            )
        slurm_container.check(options, request.workdir)
        seeds = slurm_seeds.seeds(options)
        share = shares(options, request.topology)
        platform = "gpu" if share.gpus else "cpu"
        env = of_user(request)
        inherited = {**os.environ, **env}
        by, undo = ("--env", "Remove") if JAX_PLATFORMS in env else ("this shell", "Unset")
        if contradicts(platform, inherited):
            raise InputError(
                f"the job gets this setting from {by}, and its tasks train on the {platform.upper()}",
                where=f"{JAX_PLATFORMS}={inherited[JAX_PLATFORMS]}",
                fix=f"{undo} {JAX_PLATFORMS}, or ask for {'no' if share.gpus else 'a number of'} GPUs.",
                code="E-LAUNCH-DEVICES",
            )
        if share.gpus and env.get(HIDES) in HIDES_ALL:
            raise InputError(
                "this setting hides the GPUs from the tasks, which train on them",
                where=f"--env {HIDES}={env[HIDES]}",
                fix="Remove it, or ask for no GPUs.",
                code="E-LAUNCH-DEVICES",
            )
        folder = Path(request.workdir) / "launch"
        code = f"{folder}/code-{request.archive.sha256}"
        arguments = list(request.arguments)
        if request.archive.config:
            arguments[0] = f"{code}/{request.archive.config}"
        python = options.container_python if options.container_image else sys.executable
        task = script(
            "slurm_task.sh",
            {
                "python": python,
                "workdir": request.workdir,
                "code": code,
                "settings": [f"{name}={value}" for name, value in {**env, **_settings(share, inherited)}.items()],
                "container": slurm_container.of_task(options, request.workdir, code, gpu=share.gpus > 0),
                # In a job array, the task itself knows its seed and its workdir.
                "seeds": slurm_seeds.listed(seeds),
                "arguments": arguments if seeds else [*arguments, "--workdir", request.workdir],
            },
        )
        # The file's name holds its hash, so that a later launch does not change the file of a waiting or requeued job.
        task_file = folder / f"task-{hashlib.sha256(task.encode()).hexdigest()[:12]}.sh"
        batch = folder / "batch.sh"
        values: dict[str, Value] = {
            "workdir": request.workdir,
            "folder": str(folder),
            "code": code,
            "task": str(task_file),
            "sha256": request.archive.sha256,
            "archive": request.archive.name,
            "restarts": request.restarts,
            "tasks": share.tasks,
            "seeds": slurm_seeds.listed(seeds),
            "image": options.container_image or "",
            "container": slurm_container.of_srun(options, request.workdir),
        }
        values_passed = {**{option: getattr(options, option) for option in _PASSED}, "gres": share.gres}
        passed = [f"{_PASSED[option][1]}={value}" for option, value in values_passed.items() if value is not None]
        # A secret may have the name of a variable that the job gets anyway.
        exported = list(dict.fromkeys([*_exported(container=options.container_image is not None), *request.secrets]))
        sbatch = (
            *("sbatch", "--parsable", f"--job-name={request.name}", *share.asked, *passed),
            *([f"--array={slurm_seeds.array(options.seeds, seeds)}"] if seeds else []),
            # --dependency=singleton: a second job of this name waits for the first, and then continues its run. The
            # jobs of one array do not wait for each other.
            *("--requeue", "--open-mode=append", f"--signal=TERM@{options.grace}", "--dependency=singleton"),
            # --output: Slurm would read the name of an output file as a pattern. The batch script writes the log.
            *(f"--export={','.join(exported)}", "--output=/dev/null", str(batch)),
            *([slurm_seeds.argument(seeds)] if seeds else []),
        )
        array = (f"an array of {len(seeds)} such jobs, for the seeds {options.seeds}: seed K in the workdir's seed-K",)
        image = (f"the tasks run in {options.container_image}, by {options.container_runtime}",)
        return Submission(
            creates=(
                *share.lines(request.name),
                *(array if seeds else ()),
                *(image if options.container_image else ()),
                f"files in {folder}",
            ),
            where=f"partition {options.partition or '(default)'} of the cluster that sbatch reaches",
            resumes=f"exit 3, preemption, the time limit or a lost node: requeued, {request.restarts} times at most, "
            "counted by Slurm with the job; exit 1, 2 and 4 end the run",
            ends="the job ends with the run",
            files=(
                File(folder / request.archive.name, request.archive.content),
                File(task_file, task.encode(), executable=True),
                File(batch, script("slurm_batch.sh", values).encode(), executable=True),
            ),
            commands=(Command(sbatch, does="submit the job"),),
            devices=_devices(share, inherited),
            apart=options.container_image is not None,
            environment="the image's" if options.container_image else "this machine's",
            at_once=int((options.seeds or "").partition("%")[2] or 0),
            question=None
            if options.any_nodes
            else slurm_nodes.question(slurm_nodes.wanted(share, vars(options), os.environ), os.environ),
            runs={slurm_seeds.workdir_of(request.workdir, seed): {"seeds": str(seed)} for seed in seeds},
        )

    def control(self, name: str, options: Namespace, *, follow: bool = False) -> Control:
        """See `Target`."""
        user, more = getpass.getuser(), ("-F",) if follow else ()
        if options.seeds is not None:
            return slurm_seeds.control(user, name, options, more)
        mine = f"--user={user}"
        log = Path(options.workdir) / "logs" / "process-0.log"
        return Control(
            status=(Command(("squeue", mine, f"--name={name}", f"--format={slurm_seeds.STATE}")),),
            logs=(Command(("tail", "-n", "+1", *more, os.fspath(log))),),
            stop=(Command(("scancel", mine, f"--name={name}")),),
        )


def _devices(share: Shares, inherited: Mapping[str, str]) -> int | None:
    """Returns the number of devices of all tasks; None if the user's settings of jax say it.

    Args:
      share: the nodes, GPUs and tasks of the job.
      inherited: the variables of this shell and of --env.
    """
    several = "JAX_NUM_CPU_DEVICES" in inherited or "device_count" in inherited.get("XLA_FLAGS", "")
    return None if several and not share.gpus else share.nodes * share.tasks * share.devices


def _settings(share: Shares, inherited: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that each task gets."""
    if share.gpus:
        return variables("gpu", share.devices, inherited)
    # A task on the CPU must not find the GPUs of its node.
    found = variables("cpu", None if _devices(share, inherited) is None else share.devices, inherited)
    return found if inherited.get(JAX_PLATFORMS) else {**found, JAX_PLATFORMS: "cpu"}
