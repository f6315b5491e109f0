"""A job of Slurm is compared with the nodes that sinfo shows. A real Slurm answers in tests/engines/test_slurm.py."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from jaxbert.launch import slurm_nodes

# Two kinds of nodes. The default partition has the small ones. sinfo shows a node once for each of its partitions.
SMALL = "|8|64000|(null)|1-00:00:00|1-infinite\n"
LARGE = "|64|1000000|gpu:h100:8(S:0-1),nvme:1|7-00:00:00|1-2\n"
MIXED = "|48|500000|gpu:a100:4(S:0),gpu:l4:2(S:1)|infinite|1-infinite\n"
CLUSTER = "".join(
    [
        *(f"small*|s{number}{SMALL}" for number in range(4)),
        *(f"large|l{number}{LARGE}" for number in range(3)),
        f"mixed|m0{MIXED}",
    ]
)
HERE = ("launch", "slurm", "bert_base", "--data", "seq128:gs://b/rows", "seq512:gs://b/rows", "--yes")


def submitted(launch, programs, tmp_path: Path, *more: str) -> tuple[int, str, list[str]]:
    """Returns the exit code, what was said in one line, and the programs that ran."""
    code, said = launch("", *more, base=[*HERE, "--workdir", str(tmp_path / "run")])
    return code, " ".join(said.split()), [call[0] for call in programs()]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        # A job without GPUs takes whole nodes, and each of its tasks at least one core.
        ("--tasks-per-node 9", "it asks for 9 cores of a node, and 0 of the partition's 4 nodes"),
        ("--cpus-per-task 64", "The most is 8 (--cpus-per-task). Give at most 8 cores of each node or"),
        ("--cpus-per-task 64", "or --partition large. To submit it all the same, add --any-nodes. [E-LAUNCH-CLUSTER]"),
        ("--cpus-per-task 65 --partition large", "Give at most 64 cores of each node. To submit"),
        ("--nodes 5", "it asks for 5 nodes, and the partition has 4 (--nodes). Give at most 4 nodes."),
        ("--nodes 3 --partition large", "it asks for 3 nodes, and the partition lets a job take 2 ("),
        ("--time 1-00:01:00", "its time limit is 1-00:00:00 (--time). Give at most --time 1-00:00:00 or"),
        ("--memory 65G", "it asks for 66,560 MB of memory of a node, and 0 of the partition's 4 nodes"),
        ("--gpus-per-node 1", "it asks for 1 GPU of a node, and 0 of the partition's 4 nodes have as many"),
        ("--gpus-per-node 1", "(--gpus-per-node). Give --partition large or --partition mixed. To submit"),
        ("--gres gpu:l4:3 --partition mixed", "it asks for 3 GPUs of the type l4 of a node"),
        (
            "--gpus-per-node a100:1 --partition large",
            "and its types are h100 (--gpus-per-node). Give --partition mixed.",
        ),
        ("--gpus-per-node 7 --partition mixed", "The most is 6 (--gpus-per-node). Give at most 6 GPUs"),
        ("--gpus-per-node 8 --cpus-per-task 65 --partition small,large", "in the partition small: it asks for 8 GPUs"),
        ("--partition no", "the cluster has no partition no with nodes (--partition no). Give one of large,"),
    ],
)
def test_a_job_that_no_node_can_run_is_not_sent(more: str, said: str, launch, programs, answer, tmp_path: Path):
    answer("sinfo", said=CLUSTER)
    code, shown, ran = submitted(launch, programs, tmp_path, *more.split())
    assert code == 2 and said in shown and "E-LAUNCH-CLUSTER" in shown and ran == ["sinfo"], shown
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "more",
    [
        "",
        "--nodes 4 --tasks-per-node 8 --memory 64000 --time 1440",
        "--cpus-per-task 64 --partition large --nodes 2 --gpus-per-node h100:8 --memory 0 --time 0",
        # One of the partitions is enough. Types of GPUs are compared without their case.
        "--gpus-per-node H100:8 --partition small,large",
        "--gpus-per-node 6 --partition mixed --time 99-0 --set phases.0.batch_size=384 phases.1.batch_size=384 "
        "evaluation.batch_size=384",
        # A QOS may lift the limit of the partition.
        "--time 2-0 --qos long",
        "--cpus-per-task 64 --any-nodes",
    ],
)
def test_a_job_that_fits_is_sent_without_a_word(more: str, launch, programs, answer, tmp_path: Path):
    answer("sinfo", said=CLUSTER)
    code, shown, ran = submitted(launch, programs, tmp_path, *more.split())
    assert code == 0 and ran == (["sbatch"] if "--any-nodes" in more else ["sinfo", "sbatch"]), shown
    assert "compared" not in shown


@pytest.mark.parametrize(
    ("code", "text", "why"),
    [
        (1, "", "sinfo failed with exit code 1"),
        (0, "", "sinfo shows no nodes"),
        (0, "PARTITION NODELIST\n", "sinfo shows lines of another form"),
        (0, "CLUSTER: other\n" + CLUSTER, "sinfo shows lines of another form"),
        (0, CLUSTER.replace("|8|", "|8+|"), "sinfo shows lines of another form"),
        (0, CLUSTER.replace("1-00:00:00", "soon"), "sinfo shows lines of another form"),
        (0, CLUSTER.replace("*", ""), "sinfo shows no default partition"),
    ],
)
def test_another_answer_is_a_warning(code: int, text: str, why: str, launch, programs, answer, tmp_path: Path):
    answer("sinfo", code, text)
    ended, shown, ran = submitted(launch, programs, tmp_path, "--cpus-per-task", "4096")
    assert ended == 0 and f"{why}: the job was not compared with the nodes" in shown and ran[-1] == "sbatch", shown


def test_without_an_answer_the_job_is_sent(launch, programs, tmp_path: Path, monkeypatch):
    def late(command, **more):
        if command[0] == "sinfo":
            raise subprocess.TimeoutExpired(command, more["timeout"])
        return run(command, **more)

    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", late)
    code, shown, ran = submitted(launch, programs, tmp_path)
    assert code == 0 and "sinfo did not answer in 30 s: the job was not compared" in shown and ran == ["sbatch"]
    monkeypatch.setattr(subprocess, "run", run)
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "sinfo" else which(name))
    code, shown, ran = submitted(launch, programs, tmp_path)
    assert code == 0 and "sinfo is not on PATH: the job was not compared" in shown and ran == ["sbatch"], shown


def test_the_partition_and_the_cluster_of_this_shell_count(launch, programs, answer, tmp_path: Path, monkeypatch):
    answer("sinfo", said=CLUSTER)
    monkeypatch.setenv("SBATCH_PARTITION", "large")
    assert submitted(launch, programs, tmp_path, "--cpus-per-task", "64")[0] == 0
    monkeypatch.setenv("SBATCH_PARTITION", "mixed")
    assert submitted(launch, programs, tmp_path, "--cpus-per-task", "64")[0] == 2
    # sinfo would show another cluster.
    monkeypatch.setenv("SBATCH_CLUSTERS", "other")
    code, _, ran = submitted(launch, programs, tmp_path, "--cpus-per-task", "64")
    assert code == 0 and ran == ["sbatch"]


def test_a_dry_run_shows_the_question_and_asks_nobody(launch, programs, tmp_path: Path):
    code, said = launch("", "--dry-run", base=[*HERE, "--workdir", str(tmp_path / "run")])
    assert code == 0 and "\nsinfo --all --noheader --Node '--format=%P|%N|%c|%m|%G|%l|%s'\n" in said
    assert programs() == []


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        *(("30", 30), ("1:30", 1.5), ("2:00:00", 120), ("1-0", 1440), ("1-2:3", 1563), ("1-00:00:30", 1440.5)),
        *(("infinite", float("inf")), ("0", 0), ("", None), ("x", None), ("1-", None), ("-1", None)),
    ],
)
def test_time_limits_are_read_as_slurm_reads_them(text: str, minutes: float | None):
    assert slurm_nodes.minutes_of(text) == minutes
