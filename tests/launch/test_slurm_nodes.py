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
UNEVEN = ("64|400000", "64|200000", "32|400000")
CLUSTER = "".join(
    [
        *(f"small*|s{number}{SMALL}" for number in range(4)),
        *(f"large|l{number}{LARGE}" for number in range(3)),
        f"mixed|m0{MIXED}",
        f"none|s0{SMALL.replace('1-infinite', '0-0')}",
        "one|o0|6|64000|gpu:2|infinite|1-infinite\n",
        *(f"uneven|u{number}|{had}|gpu:4|infinite|1-infinite\n" for number, had in enumerate(UNEVEN)),
    ]
)
# Batches that divide over three nodes.
THREE = "--set phases.0.batch_size=384 phases.1.batch_size=384 evaluation.batch_size=384"
HERE = ("launch", "slurm", "bert_base", "--data", "seq128:gs://b/rows", "seq512:gs://b/rows", "--yes")


def submitted(launch, programs, tmp_path: Path, *more: str) -> tuple[int, str, list[str]]:
    """Returns the exit code, what was said in one line, and the programs that ran."""
    code, said = launch("", *more, base=[*HERE, "--workdir", str(tmp_path / "run")])
    return code, " ".join(said.split()), [call[0] for call in programs()]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        # A job without GPUs takes whole nodes, and each of its tasks at least one core.
        ("--tasks-per-node 9", "it asks for 9 cores of a node, and none of the partition's 4 nodes has as many. The"),
        ("--tasks-per-node 9", "The most is 8 (--tasks-per-node). Give --tasks-per-node 8 or --partition large"),
        ("--cpus-per-task 64", "The most is 8 (--cpus-per-task). Give --cpus-per-task 8 or --partition large or"),
        ("--cpus-per-task 5 --tasks-per-node 2", "(--cpus-per-task). Give --cpus-per-task 4 or"),
        (
            "--cpus-per-task 65 --partition large",
            "Give --cpus-per-task 64. To submit it all the same, add --any-nodes.",
        ),
        ("--nodes 5", "it asks for 5 nodes, and the partition has 4 (--nodes). Give --nodes 4. To submit"),
        (
            "--nodes 3 --partition large",
            "and the partition lets a job take 2 (--nodes). Give --nodes 2 or --partition small",
        ),
        ("--time 1-00:01:00", "its time limit is 1-00:00:00 (--time). Give --time 1-00:00:00 or --partition large"),
        ("--memory 65G", "it asks for 66,560 MB of memory of a node, and none of the partition's 4 nodes has as much."),
        ("--memory 65G", "The most is 64,000 (--memory). Give --memory 64000M or --partition large or"),
        ("--gpus-per-node 1", "it asks for 1 GPU of a node, and none of the partition's 4 nodes has as many (--gpus"),
        ("--gpus-per-node 1", "(--gpus-per-node). Give --partition large or --partition mixed or"),
        ("--gres gpu:l4:3 --partition mixed", "it asks for 3 GPUs of the type l4 of a node, and the partition's only"),
        ("--gres gpu:l4:3,x:1 --partition mixed", "Give --gres gpu:a100:3,x:1 or --gres gpu:l4:2,x:1. To submit"),
        (
            "--gpus-per-node a100:1 --partition large",
            "The GPUs there are h100 (--gpus-per-node). Give --gpus-per-node h100:1 or --partition mixed.",
        ),
        ("--gpus-per-node 7 --partition mixed", "only node has 6 (--gpus-per-node). Give --gpus-per-node 6 or"),
        ("--gpus-per-node 8 --cpus-per-task 65 --partition small,large", "in the partition small: it asks for 8 GPUs"),
        ("--partition no", "sinfo shows no partition no with nodes (--partition no). Give --partition with one of"),
        ("--partition no", "mixed, none, one, small, uneven. To submit it all the same, add --any-nodes: a cluster"),
        (
            "--partition none",
            "in the partition none: it lets a job take no nodes (--partition). Give --partition large",
        ),
        ("--topology h100:8 --partition mixed", "(--topology). Give a --topology with at most 6 GPUs in a machine or"),
        ("--topology h100:8 --slices 4 --partition large", "Give a --topology or --slices of at most 2 machines. To"),
        (
            "--topology h100:8 --gres gpu:h100:8 --partition mixed",
            "there are a100, l4 (--gres). Give --partition large.",
        ),
        # The number of cores is the launcher's own, so no option of the user has it.
        (
            "--gpus-per-node 2 --partition one",
            "it asks for 8 cores of a node (4 with each GPU, because --cpus-per-task does not say it), and the "
            "partition's only node has 6 (--gpus-per-node). Give --cpus-per-task 6 or --partition large",
        ),
        # Enough of everything, but not in one node.
        (
            "--nodes 2 --gpus-per-node 4 --cpus-per-task 40 --memory 300G --partition uneven",
            "only 1 node of the partition has 4 GPUs, 40 cores and 307,200 MB of memory at once (--memory). Give "
            "--memory 200000M or --partition large. To submit",
        ),
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
        f"--gpus-per-node 6 --partition mixed --time 99-0 {THREE}",
        # A QOS may lift the limits of the partition.
        "--time 2-0 --qos long",
        f"--nodes 3 {THREE} --partition large --qos long",
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
        (0, CLUSTER.replace("*", ""), "sinfo shows no default partition"),
    ],
)
def test_another_answer_is_a_warning(code: int, text: str, why: str, launch, programs, answer, tmp_path: Path):
    answer("sinfo", code, text)
    ended, shown, ran = submitted(launch, programs, tmp_path, "--cpus-per-task", "4096")
    assert ended == 0 and f"{why}: the job was not compared with the nodes" in shown and ran[-1] == "sbatch", shown


@pytest.mark.parametrize(
    ("old", "new", "more", "said"),
    [
        ("|8|", "|8+|", "--cpus-per-task 9", "The most is 8"),
        ("|64000|", "|64000+|", "--memory 65G", "The most is 64,000"),
        ("|1-2\n", "|1-2K\n", "--nodes 4 --partition large", "and the partition has 3"),
        ("|1-2\n", "|1-2K\n", f"--nodes 3 {THREE} --partition large", ""),
        ("a100:4", "a100:no_consume:4", "--gpus-per-node a100:5 --partition mixed", "The GPUs there are a100, l4"),
        ("a100:4", "a100:no_consume:4", "--gpus-per-node a100:4 --partition mixed", ""),
        # A field, or a line, that cannot be read says nothing about the others.
        ("1-00:00:00", "soon", "--cpus-per-task 9", "does not compare: 'soon' of s0 in small*, and 4 more"),
        ("1-00:00:00", "soon", "--time 99-0", "does not compare: 'soon' of s0 in small*"),
        ("|8|", "|?|", "--cpus-per-task 999", "does not compare: '?' of s0 in small*"),
        ("|64000|", "|?|", "--memory 999G", "does not compare: '?' of s0 in small*"),
        ("small*|s0", "a warning\nsmall*|s0", "--cpus-per-task 9", "does not compare: a warning"),
    ],
)
def test_what_can_be_read_is_compared(
    old: str, new: str, more: str, said: str, launch, programs, answer, tmp_path: Path
):
    answer("sinfo", said=CLUSTER.replace(old, new))
    code, shown, _ = submitted(launch, programs, tmp_path, *more.split())
    fits = not said or " 99" in more
    assert code == (0 if fits else 2) and said in shown and ("compare" in shown) == ("compare" in said), shown


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
    three = ("--nodes", "3", *THREE.split(), "--time", "99-0")
    assert submitted(launch, programs, tmp_path, *three)[0] == 2
    monkeypatch.setenv("SBATCH_QOS", "long")
    assert submitted(launch, programs, tmp_path, *three)[0] == 0
    monkeypatch.setenv("SBATCH_PARTITION", "mixed")
    code, shown, _ = submitted(launch, programs, tmp_path, "--cpus-per-task", "64")
    assert code == 2 and "in the partition mixed (of SBATCH_PARTITION)" in shown
    monkeypatch.setenv("SBATCH_PARTITION", "no")
    code, shown, _ = submitted(launch, programs, tmp_path)
    assert code == 2 and "no partition no with nodes (SBATCH_PARTITION no)" in shown, shown
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
