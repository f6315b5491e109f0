"""Runs a real Slurm on this machine for tests: one controller and two nodes, all on loopback.

    from slurm_cluster import cluster

    @pytest.fixture(scope="session")
    def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
        with cluster(tmp_path_factory.mktemp("slurm")) as env:
            yield env

    def test_hostname(slurm: dict[str, str]) -> None:
        subprocess.run(["srun", "--nodes=2", "hostname"], env=slurm, check=True)

Debian's slurm-wlm is enough (`apt-get install slurm-wlm`): no systemd, no cgroups, no /etc/slurm, no accounting. The
nodes are named 127.0.0.1 and 127.0.0.2, so the node names that Slurm hands to a job, compressed to `127.0.0.[1-2]`, are
addresses that anything on the machine can connect to, jax.distributed.initialize() included.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

NODES = ("127.0.0.1", "127.0.0.2")

_DAEMONS = ("munged", "slurmctld", "slurmd")
_CLIENTS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
# On Debian the daemons are in /usr/sbin, which is not on the PATH of an ordinary user.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
# If the test runs on a cluster, these variables describe that cluster and must not reach this one.
_FOREIGN = ("SLURM_", "SLURMD_", "SLURMCTLD_", "SBATCH_", "SRUN_", "SALLOC_", "SCANCEL_", "SQUEUE_", "SINFO_")
# The path of a Unix socket has at most 107 bytes. The longest one below `root` is that of a job's step:
# spool/127.0.0.1/127.0.0.1_<job>.<step>, where the batch script's step is number 4294967291.
_LONGEST_ROOT = 107 - len("/spool/127.0.0.1/127.0.0.1_999999.4294967291")

_SLURM_CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
# jax.distributed.initialize() derives its port from the job's number. So two clusters must not share a number.
FirstJobId={controller_port}
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits for cred_expire seconds (two minutes unless told otherwise) before it may start again.
AuthInfo=socket={root}/munge.sock,cred_expire={requeue_delay}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldDebug=verbose
SlurmdDebug=verbose

AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SwitchType=switch/none
MpiDefault=none
PropagateResourceLimits=NONE
MailProg=/bin/true

ReturnToService=2
CompleteWait=0
KillWait={kill_wait}
SlurmdTimeout=300
JobRequeue=1

SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
# Nodes are shared: a job gets the cores and GPUs that it asks for, and its tasks are bound to them. So a job that asks
# for too little is seen here, and not on a cluster first.
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE

SlurmdParameters=config_overrides
{nodes}
PartitionName=low Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace_time}
PartitionName=high Nodes=ALL MaxTime=60 PriorityTier=10 PreemptMode=OFF
"""


@contextlib.contextmanager
def cluster(
    root: Path, *, grace_time: int = 30, kill_wait: int = 30, requeue_delay: int = 5, cpus: int = 2, gpus: int = 8
) -> Iterator[dict[str, str]]:
    """Runs a Slurm cluster of two nodes below `root`; yields the environment for sbatch, srun, scontrol and the others.

    Partition `low` is the default one; a job in partition `high` preempts those in `low`, which go back into the queue.
    The logs (munged.log, slurmctld.log, slurmd-127.0.0.1.log, slurmd-127.0.0.2.log) and slurm.conf stay in `root`.

    Args:
        root: An empty directory, of a short path since sockets go below it: tmp_path_factory.mktemp("slurm") will do.
        grace_time: Seconds between the SIGTERM that announces a preemption and the next one, which may be 30 s late.
        kill_wait: Seconds between a job's last SIGTERM and its SIGKILL.
        requeue_delay: Seconds until a requeued job may start again; 5 is the least that Slurm takes.
        cpus: CPUs that each node claims to have. Tasks are bound to them, so the machine must have as many.
        gpus: GPUs that each node claims to have. They are links to /dev/null: Slurm hands them out by number.
    """
    _require_programs()
    root = root.resolve()
    if len(os.fsencode(root)) > _LONGEST_ROOT:
        raise ValueError(f"Slurm's sockets need a directory whose path has at most {_LONGEST_ROOT} bytes, not {root}")
    _write_configuration(root, grace_time, kill_wait, requeue_delay, cpus, gpus)
    env = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    env |= {"SLURM_CONF": str(root / "slurm.conf"), "PATH": _PATH}
    with contextlib.ExitStack() as stack:
        # fmt: off
        munged = stack.enter_context(_daemon(root, env, "munged", [
            "munged", "--foreground", "--force", f"--socket={root}/munge.sock", f"--key-file={root}/munge.key",
            f"--pid-file={root}/munged.pid", f"--seed-file={root}/munged.seed", f"--log-file={root}/munged.log",
        ]))
        # fmt: on
        _wait_until(lambda: (root / "munge.sock").is_socket(), root, {"munged": munged})
        # When the daemons have ended, which could start more jobs, the remaining jobs are killed.
        stack.callback(_kill_leftovers, root)
        daemons = {"munged": munged}
        daemons["slurmctld"] = stack.enter_context(_daemon(root, env, "slurmctld", ["slurmctld", "-D"]))
        for node in NODES:
            name = f"slurmd-{node}"
            daemons[name] = stack.enter_context(_daemon(root, env, name, ["slurmd", "-D", "-N", node]))
        _wait_until(functools.partial(_idle, env), root, daemons)
        yield env


def _require_programs() -> None:
    """Fails the test if a program of Slurm or munge is missing."""
    missing = [program for program in (*_DAEMONS, *_CLIENTS) if shutil.which(program, path=_PATH) is None]
    if missing:
        pytest.fail(f"{', '.join(missing)}: not found; install Slurm: apt-get install slurm-wlm", pytrace=False)


def _write_configuration(root: Path, grace_time: int, kill_wait: int, requeue_delay: int, cpus: int, gpus: int) -> None:
    """Writes munge's key, slurm.conf and gres.conf, and makes the directories and devices that they name."""
    key = root / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    (root / "state").mkdir()
    for node in NODES:
        (root / "spool" / node).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    controller_port, *node_ports = _free_ports(1 + len(NODES))
    nodes = [
        f"NodeName={node} NodeHostname={host} NodeAddr={node} Port={port} CPUs={cpus} Gres=gpu:fake:{gpus}"
        for node, port in zip(NODES, node_ports, strict=True)
    ]
    text = _SLURM_CONF.format(
        host=host,
        user=pwd.getpwuid(os.geteuid()).pw_name,
        root=root,
        controller_port=controller_port,
        nodes="\n".join(nodes),
        grace_time=grace_time,
        kill_wait=kill_wait,
        requeue_delay=requeue_delay,
    )
    (root / "slurm.conf").write_text(text)
    devices = root / "devices"
    devices.mkdir()
    for number in range(gpus):
        # slurmd wants a character device. Slurm numbers the GPUs by the ends of their names.
        (devices / f"gpu{number}").symlink_to(os.devnull)
    (root / "gres.conf").write_text(f"Name=gpu Type=fake File={devices}/gpu[0-{gpus - 1}]\n")


def _free_ports(count: int) -> list[int]:
    """Returns ports that no process listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def _daemon(root: Path, env: Mapping[str, str], name: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a daemon in the foreground with its output in `root`/`name`.log, and stops it by its process id."""
    with open(root / f"{name}.log", "ab") as log:
        # In a new session a daemon does not get Ctrl-C. The test run gets it and stops the daemons in their order.
        process = subprocess.Popen(
            command, env=env, cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(
    ready: Callable[[], bool], root: Path, daemons: Mapping[str, subprocess.Popen[bytes]], timeout: float = 60
) -> None:
    """Waits for `ready()`; fails with the ends of the logs when a daemon exits or the time is over."""
    deadline = time.monotonic() + timeout
    while not ready():
        ended = [f"{name} ended with {code}" for name, each in daemons.items() if (code := each.poll()) is not None]
        if ended or time.monotonic() > deadline:
            why = ", ".join(ended) or f"not ready after {timeout:.0f} s"
            logs = {name: (root / f"{name}.log").read_text(errors="replace").splitlines()[-15:] for name in daemons}
            tails = "\n".join(f"--- {name}.log\n" + "\n".join(lines) for name, lines in logs.items())
            pytest.fail(f"Slurm did not start: {why}\n{tails}", pytrace=False)
        time.sleep(0.1)


def _client(env: Mapping[str, str], *command: str) -> str:
    """Returns the output of a client command; "" if it fails, or takes longer than on a cluster that is up."""
    try:
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _idle(env: Mapping[str, str]) -> bool:
    """Returns whether every node can take a job."""
    states = _client(env, "sinfo", "--noheader", "--Node", "--partition=low", "--format=%T").split()
    return states == ["idle"] * len(NODES)


def _kill_leftovers(root: Path, timeout: float = 10) -> None:
    """Kills the jobs' processes that outlived the daemons."""
    deadline = time.monotonic() + timeout
    while (leftovers := _leftovers(root)) and time.monotonic() < deadline:
        for pid in leftovers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _leftovers(root: Path) -> list[int]:
    """Returns the processes of this cluster's jobs, and Slurm's own processes that watch them."""
    configuration = f"SLURM_CONF={root}/slurm.conf".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            program = (process / "comm").read_text().strip()
            directory = (process / "cwd").readlink()
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or another user's
            continue
        # slurmstepd runs in slurmd's directory, and overwrites its environment with its title.
        steps = program == "slurmstepd" and directory == root
        if steps or (configuration in variables and any(each.startswith(b"SLURM_JOB_ID=") for each in variables)):
            found.append(int(process.name))
    return found
