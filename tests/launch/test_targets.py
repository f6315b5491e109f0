"""The targets on bert_base: the screen, the commands, the files, what they refuse, and what they call."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from jaxbert.launch import TARGETS, machines, records

from jaxbert.core.chips import CHIPS
from jaxbert.data.sources import SOURCES, SourceKind, without_folders
from tests.launch.conftest import BUCKET, GOOGLE, ROWS, arguments, task_of
from tests.launch.document import beginnings

EACH = sorted(TARGETS)


def test_dry_run_shows_everything_and_does_nothing(launch, programs, tmp_path: Path):
    for target in EACH:
        code, said = launch(target, "--dry-run")
        assert code == 0, said
        for word in ("creates", "where", "workdir", "code", "fits", "takes", "costs", "resumes", "watch", "stop"):
            assert re.search(rf"^  {word} ", said, re.M), (target, word)
        assert "183 USD in all" in said and "Nothing was sent." in said and f"by {target}" in said
        assert "jaxbert launch stop --workdir" in said
    assert programs() == []
    assert not (tmp_path / "run").exists() and not (tmp_path / "state").exists()


@pytest.mark.parametrize("target", EACH)
def test_what_is_sent_is_what_was_shown(target: str, launch, programs, tmp_path: Path):
    _, shown = launch(target, "--dry-run", "--json", str(tmp_path / "shown.json"))
    code, said = launch(target, "--yes", "--json", str(tmp_path / "sent.json"))
    assert code == 0, said
    there, here = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("sent", "shown"))
    assert there["sent"] and not here["sent"]
    assert there["commands"] == here["commands"] and there["files"] == here["files"]
    calls = [" ".join(call) for call in programs()]
    import shlex

    for line in there["commands"]:
        words = shlex.split(line)
        cut = words.index("||") if "||" in words else len(words)
        ours = [words[:cut], words[cut + 1 :]]
        assert any(" ".join(one) in calls for one in ours if one), line
    for file in there["files"]:
        assert Path(file).is_file() and file in shown


@pytest.mark.parametrize("target", EACH)
def test_status_logs_and_stop_know_what_was_launched(target: str, launch, programs, tmp_path: Path):
    assert launch(target, "--yes")[0] == 0
    programs()
    workdir = arguments(target, tmp_path)[4]
    name = json.loads(next((tmp_path / "state").rglob("job.json")).read_text())["name"]
    for word in ("status", "logs", "stop"):
        base = ["launch", word, "--workdir", workdir]
        if target == "slurm" and word == "logs":
            (tmp_path / "run/logs").mkdir()
            (tmp_path / "run/logs/process-0.log").write_text("the log\n")
            code, said = launch(target, base=base)
            assert code == 0 and not programs()
            continue
        code, said = launch(target, base=base)
        assert code == 0, said
        calls = programs()
        assert calls, word
        if (target, word) not in (("skypilot", "status"),) and word != "logs":
            assert all(name in " ".join(call) for call in calls), calls
        assert not any("create" in call or "launch" in call for call in calls)


def test_the_second_machine_that_asks_reads_the_record_in_the_bucket(
    launch, programs, answer, tmp_path: Path, monkeypatch
):
    assert launch("queued-resource", "--yes")[0] == 0
    record = (next((tmp_path / "state").rglob("job.json"))).read_text()
    assert any(call[1:3] == ["storage", "cp"] and call[-1] == f"{BUCKET}/launch/job.json" for call in programs())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    answer("storage cat", said=record)
    code, said = launch("", base=["launch", "stop", "--workdir", BUCKET])
    assert code == 0, said
    assert programs()[-1][:5] == ["gcloud", "compute", "tpus", "queued-resources", "delete"]


def test_skypilot_reads_s3_and_googles_targets_do_not(launch, programs, monkeypatch, tmp_path: Path):
    objects: dict[str, bytes] = {}

    class Kept:
        def __init__(self, url: str):
            self.url = url

        def write(self, name: str, content: bytes) -> None:
            objects[f"{self.url}/{name}"] = content

        def read(self, name: str) -> bytes:
            if f"{self.url}/{name}" not in objects:
                raise FileNotFoundError(name)
            return objects[f"{self.url}/{name}"]

    monkeypatch.setattr(records, "Bucket", Kept)
    rows = ["seq128:s3://my-bucket/rows-128", "seq512:s3://my-bucket/rows-512"]
    run = ["bert_base", "--workdir", "s3://my-bucket/run", "--data", *rows, "--yes"]
    code, said = launch("", base=["launch", "skypilot", *run, "--topology", "h100:8"])
    assert code == 0 and "not copied" not in said and list(objects) == ["s3://my-bucket/run/launch/job.json"], said
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    programs()
    code, said = launch("", base=["launch", "stop", "--workdir", "s3://my-bucket/run"])
    assert code == 0 and programs()[-1][:3] == ["sky", "jobs", "cancel"], said
    code, said = launch("", base=["launch", "stop", "--workdir", "s3://my-bucket/other"])
    assert code == 2 and "E-LAUNCH-UNKNOWN" in said
    example = TARGETS["queued-resource"].example.split()
    code, said = launch("", base=["launch", "queued-resource", *run, *example])
    assert code == 2 and "do not read s3://" in said and "E-LAUNCH-BUCKET" in said and not programs()
    run[2] = BUCKET
    code, said = launch("", base=["launch", "queued-resource", *run, *example])
    assert code == 2 and "rows-128" in said and "E-LAUNCH-BUCKET" in said and not programs()


def test_a_record_cannot_say_what_runs(launch, programs, answer):
    """A person who can write to the bucket must not choose the commands of a person who asks for the status."""
    good = {"workdir": BUCKET, "target": "queued-resource", "name": "a-job"}
    where = {"project": "my-project", "zone": "us-east5-a", "slices": 1}
    for record in (
        {**good, "options": {**where, "zone": "us-east5-a; rm -rf /"}},
        {**good, "options": {**where, "project": "--impersonate-service-account=x"}},
        {**good, "options": where, "name": "--all"},
        {**good, "options": where, "target": "os"},
        {**good, "options": {}},
        {**good, "options": {**where, "slices": "many"}},
        {"target": "gke"},
        [],
    ):
        answer("storage cat", said=json.dumps(record))
        code, said = launch("", base=["launch", "stop", "--workdir", BUCKET])
        assert code == 2 and ("E-LAUNCH-RECORD" in said or "E-LAUNCH-NAME" in said), (record, said)
        assert all(call[1:3] == ["storage", "cat"] for call in programs())


def test_nothing_is_known_of_a_workdir_that_was_not_launched(launch, programs, tmp_path: Path):
    code, said = launch("", base=["launch", "status", "--workdir", str(tmp_path / "run")])
    assert code == 2 and "E-LAUNCH-UNKNOWN" in said


def test_nobody_is_asked_where_nobody_is(launch, programs, monkeypatch):
    code, said = launch("gke")
    assert code == 2 and "E-LAUNCH-NOT-CONFIRMED" in said and programs() == []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer in ("n", "", "yes please"):
        monkeypatch.setattr("builtins.input", lambda prompt, answer=answer: answer)
        assert launch("gke")[0] == 2 and programs() == []
    monkeypatch.setattr("builtins.input", lambda prompt: "y")
    assert launch("gke")[0] == 0 and programs()


def test_a_command_that_fails_stops_there_and_says_what_is_there(launch, programs, answer):
    answer("instance-templates describe", 1)
    answer("instance-templates create", 7)
    code, said = launch("gce-tpu", "--yes")
    assert code == 3 and "E-LAUNCH-COMMAND" in said and "exit code 7" in said and "copy the code" in said
    assert not any("managed" in call for call in programs())
    # `launch stop` removes what the failed launch has left.
    assert launch("", base=["launch", "stop", "--workdir", BUCKET])[0] == 0


def test_what_is_there_already_is_not_made_again(launch, programs):
    assert launch("gce-tpu", "--yes")[0] == 0
    assert not any(call[2:4] == ["instance-templates", "create"] for call in programs())


def test_a_program_that_is_not_there_is_named(launch, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, said = launch("gke", "--yes")
    assert code == 2 and "E-LAUNCH-PROGRAM" in said and "kubectl" in said and not (tmp_path / "state").exists()


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "more", "word"),
    [
        ("slurm", ["--topology", "v5e:4x4"], r"kind gpu.*--topology v5e:4x4.*E-LAUNCH-TOPOLOGY"),
        ("gce-tpu", ["--topology", "v5e:4x4"], r"v5e.*--topology v5e:4x4.*E-LAUNCH-TOPOLOGY"),
        ("gce-tpu", ["--slices", "2"], r"--slices.*E-LAUNCH-SLICES"),
        ("queued-resource", ["--topology", "h100:8"], r"kind tpu.*--topology h100:8.*E-LAUNCH-TOPOLOGY"),
        ("queued-resource", ["--spot", "--reserved"], r"--spot --reserved.*E-LAUNCH-OPTIONS"),
        ("gke", ["--topology", "v5e:2x2", "--slices", "2"], r"v5e:2x2 has one host.*--slices 2.*E-LAUNCH-SLICES"),
        ("gke", ["--topology", "v5p:2x2x1", "--slices", "4"], r"v5p:2x2x1 has one host.*E-LAUNCH-SLICES"),
        ("queued-resource", ["--topology", "v5e:2x4", "--slices", "2"], r"v5e:2x4 has one host.*E-LAUNCH-SLICES"),
        ("skypilot", ["--topology", "v5e:4x4", "--slices", "2"], r"--slices.*E-LAUNCH-SLICES"),
        ("slurm", ["--gres", "gpu:4"], r"for 8 GPUs.*for 4.*--gres gpu:4.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--gpus-per-node", "8"], r"--gpus-per-node.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--gpus-per-node", "none"], r"--gpus-per-node.*E-LAUNCH-NAME"),
        ("slurm", ["--seeds", "5"], r"only the seed 5.*--seeds 5.*E-LAUNCH-SEEDS"),
        ("slurm", ["--seeds", "9-7"], r"9-7 ends before it begins.*E-LAUNCH-SEEDS"),
        ("slurm", ["--seeds", "0-5000"], r"at most 1,001 jobs.*--seeds 0-5000.*E-LAUNCH-SEEDS"),
        ("slurm", ["--seeds", "0-999999999"], r"at most 1,001 jobs.*Give at most 1,001 seeds in each.*E-LAUNCH-SEEDS"),
        ("slurm", ["--seeds", "0-1000,2000"], r"at most 1,001 jobs.*E-LAUNCH-SEEDS"),
        ("slurm", ["--seeds", "1,2147483648"], r"a seed is at most 2147483647.*E-LAUNCH-SEEDS"),
        ("slurm", ["--seeds", "0-4", "--set", "seed=1"], r"--set seed.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--container-mounts", "/data"], r"--container-mounts.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--container-python", "/a/python"], r"--container-python.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--container-image", "/a/x.sif"], r"x\.sif.*--container-runtime apptainer.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--container-image", "x", "--workdir", "/a b"], r"/a b.*E-LAUNCH-PATH"),
        ("slurm", ["--env", "JAXBERT_DEVICES=2"], r"--env JAXBERT_DEVICES.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--env", "A=1", "--secret", "A"], r"secret.*--env A.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--env", "JAX_PLATFORMS=cpu"], r"from --env.*Remove JAX_PLATFORMS.*E-LAUNCH-DEVICES"),
        ("slurm", ["--env", "A=1", "A=2"], r"two values, '1' and '2'.*--env A.*E-LAUNCH-OPTIONS"),
        (
            "slurm",
            ["--env", "CUDA_VISIBLE_DEVICES="],
            r"hides the GPUs.*--env CUDA_VISIBLE_DEVICES=\).*E-LAUNCH-DEVICES",
        ),
        ("slurm", ["--env", "CUDA_VISIBLE_DEVICES=-1"], r"hides the GPUs.*E-LAUNCH-DEVICES"),
        ("slurm", ["--env", "CUDA_VISIBLE_DEVICES=NoDevFiles"], r"hides the GPUs.*E-LAUNCH-DEVICES"),
        ("slurm", ["--gres", "gpu:a100:8"], r"plan is for h100.*asks for a100.*--gres gpu:a100:8.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--gres", "gpu:NVIDIA_A100-SXM4-80GB:8"], r"the plan is for h100.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--gres", "gpu:3g.20gb:8"], r"MIG device is a part.*--chip FILE.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--gres", "gpu:a100_3g.20gb:8"], r"MIG device is a part.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--gres", "gpu:mig-1g.12gb:8"], r"MIG device is a part.*E-LAUNCH-OPTIONS"),
        ("skypilot", ["--env", "SKYPILOT_NODE_RANK=0"], r"--env SKYPILOT_NODE_RANK.*E-LAUNCH-OPTIONS"),
        ("skypilot", ["--env", "A"], r"'A'.*--env.*E-LAUNCH-NAME"),
        ("slurm", ["--nodes", "1"], r"--nodes.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--gres", "shard:8"], r"shard:8 is a part of a GPU.*--gres gpu:1.*E-LAUNCH-GRES"),
        ("slurm", ["--gres", "gpu:8,mps:100"], r"mps:100 is a part of a GPU.*E-LAUNCH-GRES"),
        ("slurm", ["--gres", "gres/gpu:4"], r"Write --gres gpu:4\..*E-LAUNCH-GRES"),
        ("slurm", ["--gres", "gres:gpu:4"], r"Write --gres gpu:4\..*E-LAUNCH-GRES"),
        ("slurm", ["--gres", "lustre:1,gpu=4"], r"Write --gres lustre:1,gpu:4\..*E-LAUNCH-GRES"),
        ("slurm", ["--gres", "gpu:h100=4"], r"Write --gres gpu:h100:4\..*E-LAUNCH-GRES"),
        ("slurm", ["--gres", "gpu:"], r"Write --gres gpu:h100:8\..*E-LAUNCH-GRES"),
        ("slurm", ["--time", "30", "--grace", "4000"], r"ends 1,800 seconds.*--grace below 1800.*E-LAUNCH-GRACE"),
        ("slurm", ["--time", "0-1", "--grace", "3600"], r"--time 0-1, --grace 3600.*E-LAUNCH-GRACE"),
        ("slurm", ["--time", "2"], r"--time 2, --grace 120.*E-LAUNCH-GRACE"),
        ("slurm", ["--grace", "65536"], r"--grace 65536.*E-LAUNCH-GRACE"),
        ("skypilot", ["--slices", "3"], r"data 24.*E-CONFIG-BATCH"),
        ("gke", ["--set", "mesh.fsdp=3"], r"16 devices.*fsdp 3.*E-CONFIG-MESH"),
        ("gke", ["--tokenizer", "hf:x"], r"not from the hub.*--tokenizer hf:x.*E-LAUNCH-LOCAL-INPUT"),
        ("slurm", ["--spot"], r"--spot.*E-LAUNCH-OPTIONS"),
        ("slurm", ["--workdir", BUCKET], r"--workdir.*E-LAUNCH-WORKDIR"),
        ("gke", ["--workdir", "runs/base"], r"--workdir.*E-LAUNCH-WORKDIR"),
        ("queued-resource", ["--workdir", "runs/base"], r"--workdir.*E-LAUNCH-WORKDIR"),
        ("skypilot", ["--workdir", "runs/base"], r"--workdir.*E-LAUNCH-WORKDIR"),
        ("slurm", ["--workdir", "runs:base"], r"runs:base.*E-LAUNCH-PATH"),
        ("slurm", ["--workdir", "runs\x07"], r"runs.*E-LAUNCH-TEXT"),
        ("slurm", ["--workdir", "runs\0base"], r"runs.*E-LAUNCH-TEXT"),
        ("slurm", ["--workdir", "runs\udcff"], r"runs.*E-LAUNCH-TEXT"),
        ("gke", ["--topology", "v5e:3x3"], r"3x3.*E-PLAN-SLICE\]"),
        ("gke", ["--slices", "0"], r"slices.*E-PLAN-SLICES"),
        ("gke", ["--set", "phases.0.steps=0"], r"steps.*E-CONFIG-RANGE"),
        ("gke", ["--restarts", "-1"], "E-LAUNCH-NUMBER"),
        ("gke", ["--init", "runs/other"], r"--init runs/other.*E-LAUNCH-LOCAL-INPUT"),
        ("gke", ["--set", "data.tokenizer=runs/other"], r"--tokenizer runs/other.*E-LAUNCH-LOCAL-INPUT"),
        ("gke", ["--data", "seq128:rows"], r"phase seq128: rows.*E-LAUNCH-LOCAL-INPUT"),
        ("kubernetes", ["--spot"], r"labels and taints.*--spot.*E-LAUNCH-OPTIONS"),
        ("kubernetes", ["--topology", "v5e:4x4"], r"kind gpu.*--topology v5e:4x4.*E-LAUNCH-TOPOLOGY"),
        ("kubernetes", ["--resource", "nvidia.com/gpu=4"], r"--resource nvidia.com/gpu.*E-LAUNCH-OPTIONS"),
        ("gke", ["--secret", "HF_TOKEN"], r"--secret.*E-LAUNCH-SECRET"),
        ("skypilot", ["--secret", "HF_TOKEN=a"], r"--secret.*E-LAUNCH-SECRET"),
        ("queued-resource", ["--secret", "HF_TOKEN"], r"--secret.*E-LAUNCH-SECRET"),
    ],
)
def test_what_a_target_cannot_do_is_refused(target, more, word, launch, programs):
    code, said = launch(target, *more, "--yes")
    assert code == 2 and re.search(word, said), said
    assert programs() == []


@pytest.mark.parametrize(
    ("option", "fix"),
    [
        ("--slices 4", "or give --nodes 4."),
        ("--price 3", "or remove it."),
        ("--chip chip.json", "or remove it."),
        ("--analytic", "or remove it."),
    ],
)
def test_an_option_of_a_plan_needs_a_topology(option: str, fix: str, launch, programs, tmp_path: Path):
    base = ["launch", "slurm", "bert_base", "--workdir", str(tmp_path / "run"), *ROWS, *option.split()]
    code, said = launch("", "--yes", base=base)
    assert code == 2 and f"Add --topology, for example --topology h100:8, {fix} [E-LAUNCH-OPTIONS]" in said, said
    assert f"({option}" in said and programs() == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--gpus-per-node 3", "data 3 .*E-CONFIG-BATCH"),
        ("--nodes 2 --tasks-per-node 3", "data 6 .*E-CONFIG-BATCH"),
        ("--gpus-per-node 4 --nodes 2 --set mesh.data=4", "8 devices.*E-CONFIG-MESH"),
        ("--init no", "no such model.*E-MODEL-MISSING"),
        ("--tokenizer no", "no such tokenizer.*E-TOKENIZER-MISSING"),
        ("--text no", "no such file.*E-SOURCE-FILE"),
        ("--text empty", "has no files.*E-SOURCE-FILE"),
        ("--data no", "no such directory of rows.*E-SHARD-MISSING"),
        ("--data empty", "no manifest.json.*E-SHARD-MANIFEST"),
        ('--set logging.sinks=["trackio"]', "trackio.*E-SINK-PACKAGE"),
    ],
)
def test_a_job_does_not_wait_for_an_error_that_is_known_here(
    more: str, said: str, launch, programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    base = ["launch", "slurm", "smoke", "--workdir", "run", *more.split()]
    code, shown = launch("", "--yes", base=base)
    assert code == 2 and re.search(said, shown), shown
    assert "sbatch" not in [call[0] for call in programs()] and not (tmp_path / "run").exists()
    # A container may have the file or the package.
    code, shown = launch("", "--yes", "--container-image", "i", base=base)
    assert code == (2 if "CONFIG" in said else 0), shown


def test_a_run_that_has_begun_needs_no_text_and_no_tokenizer(launch, programs, tmp_path: Path):
    base = ["launch", "slurm", "smoke", "--workdir", str(tmp_path / "run"), "--text", str(tmp_path / "no")]
    base += ["--tokenizer", str(tmp_path / "no"), "--yes"]
    assert launch("", base=base)[0] == 2
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("{}")
    assert launch("", base=base)[0] == 0
    assert launch("", "--overwrite", base=base)[0] == 2


def test_a_plan_is_of_the_sizes_of_the_run_or_there_is_none(
    launch, planned, programs, tmp_path: Path, small_rows: Path, monkeypatch: pytest.MonkeyPatch
):
    from jaxbert.launch import planning

    asked: list[tuple[int, list[str]]] = []
    ready = planning.plan

    def plan(config, arguments, place, **more):
        asked.append((config.encoder.vocab_size, arguments))
        return ready(config, arguments, place, **more)

    monkeypatch.setattr(planning, "plan", plan)
    base = [
        "launch",
        "slurm",
        "adapt",
        "--workdir",
        str(tmp_path / "run"),
        "--init",
        "hf:a/b",
        "--text",
        "sample:aws-docs",
    ]
    code, said = launch("", "--topology", "h100:8", "--dry-run", base=base)
    said = " ".join(said.split())
    assert code == 0 and "the run takes its sizes from --init hf:a/b, which only the job opens" in said, said
    assert not asked and "takes 9.5" not in said and "USD" not in said
    # A tokenizer is opened here, and gives the size of the vocabulary. --set wins, as in the run.
    tokenizer = str(small_rows / "tokenizer")
    for more, size in ((), 120), (("--set", "encoder.vocab_size=128"), 128):
        code, said = launch("slurm", "--tokenizer", tokenizer, *more, "--dry-run")
        assert code == 0 and asked[-1][0] == size and "encoder.vocab_size=120" in asked[-1][1], said
    assert asked[-1][1][-1] == "encoder.vocab_size=128"


@pytest.mark.parametrize(("place", "slices", "nodes"), [("gb200:8", 1, 2), ("gb200:8", 2, 4), ("gb200:72", 1, 18)])
def test_a_rack_is_as_many_nodes_as_it_has_machines(place: str, slices: int, nodes: int, launch, programs):
    batches = [f"{field}.batch_size={288 * slices}" for field in ("phases.0", "phases.1", "evaluation")]
    more = ["--topology", place, "--slices", str(slices), "--set", *batches]
    code, said = launch("slurm", *more, "--yes")
    assert code == 0 and f"{nodes} nodes, {nodes} tasks" in said and "each task trains on 4 GPUs" in said, said
    call = next(call for call in programs() if call[0] == "sbatch")
    assert {f"--nodes={nodes}", "--ntasks-per-node=1", "--gpus-per-node=4"} <= set(call)


@pytest.mark.parametrize("target", ["gce-tpu", "queued-resource"])
def test_a_path_that_gcloud_would_split_is_refused(target: str, launch, programs, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a,b"))
    code, said = launch(target, "--yes")
    assert code == 2 and "E-LAUNCH-PATH" in said and "a,b" in said and programs() == []


def test_code_that_a_config_map_cannot_hold_is_refused(launch, programs, monkeypatch):
    monkeypatch.setattr("jaxbert.launch.jobset._MOST_BYTES", 100)
    code, said = launch("gke", "--yes")
    assert code == 2 and "E-LAUNCH-CODE-SIZE" in said and programs() == []


@pytest.mark.parametrize("teacher", ["runs/teacher", "config:bert_tiny"])
def test_a_teacher_on_this_machine_or_one_to_train_first_is_not_sent(teacher: str, launch, programs):
    base = ["launch", "gke", "distilbert_base", "--workdir", BUCKET, "--data", "gs://my-bucket/rows"]
    base += TARGETS["gke"].example.split()
    code, said = launch("", "--yes", "--set", f"objectives.distillation.teacher={teacher}", base=base)
    assert code == 2 and "objectives.distillation.teacher" in said and programs() == []
    assert ("trained first" in said) == teacher.startswith("config:")


def test_a_model_in_a_bucket_is_sent(launch, programs):
    """The machines can read it. A tokenizer is read from a directory."""
    code, said = launch("gke", "--init", "gs://my-bucket/model", "--yes", "--analytic")
    assert "E-LAUNCH-LOCAL-INPUT" not in said, said
    code, said = launch("gke", "--set", "data.tokenizer=gs://my-bucket/tokenizer", "--yes", "--analytic")
    assert code == 2 and re.search(r"from a bucket.*E-LAUNCH-LOCAL-INPUT", said), said


def test_a_source_that_only_this_machine_has_is_not_sent(launch, programs, monkeypatch, tmp_path):
    """Also a kind of source that somebody adds: unless its line says so, no other machine can open it."""
    monkeypatch.setitem(SOURCES, "mine", SourceKind(lambda rest: None, "NAME"))
    for source in (f"text:{tmp_path}/*.txt", "mine:thing", f"tfds:{tmp_path}"):
        base = ["launch", "gke", "bert_base", "--workdir", BUCKET, *TARGETS["gke"].example.split()]
        code, said = launch("", "--set", f"data.source={source}", "--yes", base=base)
        assert code == 2 and re.search(r"data\.source=.*E-LAUNCH-LOCAL-INPUT", said), said
    assert programs() == []
    assert without_folders("mine:a/b/c.txt") == "mine:c.txt" and without_folders("hf:a/b") == "hf:a/b"


def test_local_refuses_a_topology(launch, tmp_path: Path):
    base = ["launch", "local", "smoke", "--workdir", str(tmp_path / "run"), "--processes", "2"]
    code, said = launch("", "--topology", "v5e:4x4", base=base)
    assert code == 2 and "E-LAUNCH-TOPOLOGY" in said and not (tmp_path / "run").exists()


def test_a_run_that_does_not_fit_is_not_sent(tmp_path: Path, programs, capsys):
    from jaxbert.commands.main import main

    more = ["--set", "phases.0.batch_size=65536", "phases.0.accumulation=1", "--analytic", "--yes"]
    assert main(arguments("gke", tmp_path, *more)) == 2
    said = capsys.readouterr().err
    assert "E-LAUNCH-PLAN" in said and "GiB" in said and programs() == []


def test_the_plan_is_made_once(tmp_path: Path, programs, capsys):
    from jaxbert.commands.main import main

    for again in (False, True):
        assert main(arguments("gke", tmp_path, "--analytic", "--dry-run")) == 0
        assert ("planned before" in capsys.readouterr().out) == again
    assert main(arguments("gke", tmp_path, "--analytic", "--dry-run", "--set", "seed=7")) == 0
    assert "planned before" not in capsys.readouterr().out


# --- Contents of the files --------------------------------------------------------------------------------------------


def sent(launch, target: str, tmp_path: Path, *more: str) -> dict[str, bytes]:
    """Launches, and returns the files: name -> content."""
    code, said = launch(target, "--yes", "--json", str(tmp_path / "out.json"), *more)
    assert code == 0, said
    files = json.loads((tmp_path / "out.json").read_text())["files"]
    return {Path(file).name: Path(file).read_bytes() for file in files}


def pod(files: dict[str, bytes]) -> dict:
    spec = yaml.safe_load(files["jobset.yaml"])["spec"]
    return spec["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]


def test_exit_codes_say_what_is_repeated(launch, programs, tmp_path: Path):
    """The engine restarts after 3, and never after 1, 2 and 4."""
    spec = yaml.safe_load(sent(launch, "gke", tmp_path, "--restarts", "7")["jobset.yaml"])["spec"]
    assert spec["failurePolicy"]["maxRestarts"] == 7
    (rule,) = spec["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    job = spec["replicatedJobs"][0]["template"]["spec"]
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [1, 2, 4] and job["backoffLimit"] == 0
    task = yaml.safe_load(sent(launch, "skypilot", tmp_path)["task.yaml"])
    recovery = task["resources"]["job_recovery"]
    assert recovery["recover_on_exit_codes"] == [3] and recovery["max_restarts_on_errors"] == 0


def test_gke_has_a_job_a_slice_on_the_right_nodes(launch, programs, tmp_path: Path):
    files = sent(launch, "gke", tmp_path, "--topology", "v5p:4x4x4", "--slices", "2", "--spot")
    document = yaml.safe_load(files["jobset.yaml"])
    assert document["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "tpu"
    assert "alpha.jobset.sigs.k8s.io/exclusive-topology" in document["metadata"]["annotations"]
    (group,) = document["spec"]["replicatedJobs"]
    job = group["template"]["spec"]
    assert (group["replicas"], job["parallelism"], job["completions"]) == (2, 16, 16)
    one = pod(files)
    assert one["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
        "cloud.google.com/gke-tpu-topology": "4x4x4",
        "cloud.google.com/gke-spot": "true",
    }
    (container,) = one["containers"]
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    names = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert names["MEGASCALE_NUM_SLICES"] == "2" and "JAXBERT_COORDINATOR" not in names
    assert container["args"][-2:] == [f"--workdir={BUCKET}", "--distributed"]


def test_gke_gives_gpus_their_peers(launch, programs, tmp_path: Path):
    files = sent(launch, "gke", tmp_path, "--topology", "h200:8", "--slices", "4")
    (container,) = pod(files)["containers"]
    names = {variable["name"]: variable.get("value") for variable in container["env"]}
    job = yaml.safe_load(files["jobset.yaml"])["metadata"]["name"]
    assert names["JAXBERT_COORDINATOR"] == f"{job}-run-0-0.{job}:8476" and names["JAXBERT_PROCESSES"] == "4"
    assert "--distributed" not in container["args"]


def test_several_slices_are_one_queued_resource(launch, programs):
    assert launch("queued-resource", "--slices", "4", "--spot", "--yes")[0] == 0
    create = next(call for call in programs() if "create" in call)
    assert "--node-count=4" in create and "--spot" in create and "--accelerator-type=v5litepod-16" in create
    assert not any(word.startswith("--node-id") for word in create)


@pytest.mark.parametrize(
    ("topology", "kind", "machine", "chips"),
    [
        ("v5e:2x4", "v5litepod-8", "ct5lp-hightpu-8t", 8),
        ("v6e:2x4", "v6e-8", "ct6e-standard-8t", 8),
        ("v6e:2x2", "v6e-4", "ct6e-standard-4t", 4),
    ],
)
def test_eight_chips_are_one_machine(topology: str, kind: str, machine: str, chips: int, launch, programs, tmp_path):
    """As in Google's tables of v5e and v6e. The Cloud TPU API and GKE then give one VM of eight chips."""
    code, said = launch("queued-resource", "--topology", topology, "--dry-run")
    assert code == 0 and f"1 x {kind} (on demand), 1 machine in all" in said, said
    (container,) = pod(sent(launch, "gke", tmp_path, "--topology", topology))["containers"]
    assert container["resources"]["limits"] == {"google.com/tpu": chips}
    if topology.startswith("v6e"):
        code, said = launch("gce-tpu", "--topology", topology, "--dry-run")
        assert code == 0 and f"1 x {machine}" in said and "workload-policy" not in said, said


def test_slurm_has_a_task_a_node_or_a_gpu(launch, programs, tmp_path: Path):
    files = sent(launch, "slurm", tmp_path, "--topology", "h100:8", "--slices", "2", "--time", "1-00:00:00")
    call = next(call for call in programs() if call[0] == "sbatch")
    assert {"--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=8", "--time=1-00:00:00", "--requeue"} <= set(call)
    # A whole machine comes with all of its cores.
    assert "--exclusive" in call and not any(word.startswith("--cpus-per-task") for word in call)
    assert "settings=(JAXBERT_PLATFORM=gpu JAXBERT_DEVICES=8 XLA_CLIENT_MEM_FRACTION=0.92)" in task_of(files).decode()
    files = sent(launch, "slurm", tmp_path, "--topology", "h100:8", "--slices", "2", "--task-per", "gpu")
    call = next(call for call in programs() if call[0] == "sbatch")
    assert {"--nodes=2", "--ntasks-per-node=8"} <= set(call)
    assert "JAXBERT_DEVICES=1 " in task_of(files).decode()


@pytest.mark.parametrize(
    ("more", "words", "platform", "devices", "said"),
    [
        ("", "--exclusive --ntasks-per-node=1", "cpu", 1, "trains on the CPU, with all cores of its node"),
        ("--tasks-per-node 2", "--exclusive --ntasks-per-node=2", "cpu", 1, "an equal share of the cores"),
        ("--cpus-per-task 6", "--cpus-per-task=6", "cpu", 1, "with 6 cores"),
        ("--gpus-per-node 4", "--gpus-per-node=4 --cpus-per-task=16", "gpu", 4, "4 GPUs, with 16 cores"),
        ("--gpus-per-node a100:4", "--gpus-per-node=a100:4 --cpus-per-task=16", "gpu", 4, "4 GPUs, with 16 cores"),
        ("--gpus-per-node 4 --exclusive", "--gpus-per-node=4 --exclusive", "gpu", 4, "4 GPUs, with all cores"),
        ("--gres gpu:v100:8,lustre:1", "--gres=gpu:v100:8,lustre:1 --cpus-per-task=32", "gpu", 8, "8 GPUs"),
        ("--gres gpu", "--gres=gpu --cpus-per-task=4", "gpu", 1, "1 GPU, with 4 cores"),
        ("--gres gpu:8 --task-per gpu", "--ntasks-per-node=8 --cpus-per-task=4", "gpu", 1, "8 tasks"),
        ("--gres gpu:8 --gpus-per-node 8 --tasks-per-node 2", "--ntasks-per-node=2 --gres=gpu:8", "gpu", 4, "4 GPUs"),
        ("--gres lustre:4", "--gres=lustre:4 --exclusive", "cpu", 1, "trains on the CPU"),
        ("--topology h100:4 --gres gpu:h100:4", "--gres=gpu:h100:4 --cpus-per-task=16", "gpu", 4, "4 GPUs"),
        ("--topology h100:4 --gres gpu:big:4", "--gres=gpu:big:4 --cpus-per-task=16", "gpu", 4, "4 GPUs"),
        ("--topology h100:4 --gres gpu:H100_80GB_HBM3:4", "--gres=gpu:H100_80GB_HBM3:4", "gpu", 4, "4 GPUs"),
        ("--gpus-per-node a100:4 --gres gpu:4,x:1", "--gres=gpu:a100:4,x:1 --cpus-per-task=16", "gpu", 4, "4 GPUs"),
        ("--gpus-per-node a100:4 --gres gpu:A100:4", "--gres=gpu:A100:4 --cpus-per-task=16", "gpu", 4, "4 GPUs"),
        ("--gpus-per-node 4 --gres gpu:a100:4", "--gres=gpu:a100:4 --cpus-per-task=16", "gpu", 4, "4 GPUs"),
        ("--gpus-per-node a100:1 --gres gpu", "--gres=gpu:a100 --cpus-per-task=4", "gpu", 1, "1 GPU"),
    ],
)
def test_slurm_is_asked_for_gpus_and_cores(
    more, words, platform, devices, said, launch, programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    base = ["launch", "slurm", "bert_base", "--workdir", str(tmp_path / "run"), *ROWS, *more.split()]
    code, screen = launch("", "--yes", base=base)
    assert code == 0 and said in " ".join(screen.split()), screen
    call = next(call for call in programs() if call[0] == "sbatch")
    assert set(words.split()) <= set(call), call
    # The GPUs are asked for once, and the cores either by number or all of them.
    assert sum(word.startswith(("--gpus-per-node", "--gres=gpu")) for word in call) == (platform == "gpu")
    assert sum(word.startswith(("--exclusive", "--cpus-per-task")) for word in call) == 1
    task = next((tmp_path / "run/launch").glob("task-*.sh")).read_text()
    last = "XLA_CLIENT_MEM_FRACTION=0.92" if platform == "gpu" else "JAX_PLATFORMS=cpu"
    assert f"settings=(JAXBERT_PLATFORM={platform} JAXBERT_DEVICES={devices} {last})" in task


@pytest.mark.parametrize(
    "more",
    [
        "--gpus-per-node 8 --tasks-per-node 3",
        "--task-per gpu",
        "--gpus-per-node 4 --gres gpu:8",
        "--gpus-per-node a100:4 --gres gpu:h100:4",
        "--gpus-per-node a100:4 --gres gpu:a100:2,gpu:h100:2",
        "--gpus-per-node 4 --task-per gpu --tasks-per-node 2",
    ],
)
def test_gpus_that_tasks_cannot_share_are_refused(more: str, launch, programs, tmp_path: Path):
    base = ["launch", "slurm", "bert_base", "--workdir", str(tmp_path / "run"), *ROWS, *more.split()]
    code, said = launch("", "--yes", base=base)
    assert code == 2 and "E-LAUNCH-OPTIONS" in said and programs() == []


@pytest.mark.parametrize(
    ("setting", "more", "fits"),
    [
        ("cpu", "--gpus-per-node 8", False),
        ("cuda", "--nodes 2", False),
        ("cuda,cpu", "--gpus-per-node 8", True),
        ("cpu", "--nodes 2", True),
    ],
)
def test_a_setting_of_the_login_node_does_not_wait_in_the_queue_for_its_error(
    setting: str, more: str, fits: bool, launch, programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JAX_PLATFORMS", setting)
    base = ["launch", "slurm", "bert_base", "--workdir", str(tmp_path / "run"), *ROWS, *more.split()]
    code, said = launch("", "--yes", base=base)
    if fits:
        assert code == 0 and any("JAX_PLATFORMS" in word for call in programs() for word in call)
    else:
        assert code == 2 and re.search(rf"JAX_PLATFORMS={setting}.*Unset.*E-LAUNCH-DEVICES", said), said
        assert programs() == [] and not (tmp_path / "run").exists()


def test_a_job_of_slurm_reaches_the_bucket_that_this_shell_reaches(
    launch, programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    addresses = {"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"}
    addresses |= {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "HF_ENDPOINT"}
    paths = {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}
    paths |= {"GOOGLE_APPLICATION_CREDENTIALS", "HF_HOME", "TMPDIR"}
    settings = {"JAXBERT_LEASE_S", "JAX_DEBUG_NANS"}
    keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "WANDB_API_KEY"}
    # With these, each task would be the same process.
    own = {"JAXBERT_COORDINATOR", "JAXBERT_PROCESSES", "JAXBERT_PROCESS_ID", "JAXBERT_LOCAL_ID", "JAXBERT_PLATFORM"}
    own |= {"JAXBERT_DEVICES", "JAXBERT_SUPERVISED", "JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID"}
    every = addresses | paths | settings | keys | own
    for name in every:
        monkeypatch.setenv(name, "x")
    image = ["--container-image", "i"]
    for more, also in (
        ([], paths),
        (image, set()),
        (["--secret", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"], paths | {"AWS_SECRET_ACCESS_KEY"}),
    ):
        assert launch("slurm", *more, "--yes")[0] == 0
        call = next(call for call in programs() if call[0] == "sbatch")
        (export,) = (word for word in call if word.startswith("--export="))
        names = export.partition("=")[2].split(",")
        assert every.intersection(names) == addresses | settings | also
        assert len(names) == len(set(names))


def test_a_setting_of_this_shell_is_not_the_number_of_devices_of_a_task(
    launch, programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JAXBERT_DEVICES", "5")
    base = ["launch", "slurm", "bert_base", "--workdir", str(tmp_path / "run"), *ROWS, "--dry-run"]
    assert "settings=(JAXBERT_PLATFORM=cpu JAXBERT_DEVICES=1 JAX_PLATFORMS=cpu)" in launch("", base=base)[1]
    # jax's own setting is one of the run, not of a process.
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "4")
    assert "settings=(JAXBERT_PLATFORM=cpu JAX_PLATFORMS=cpu)" in launch("", base=base)[1]


def test_the_user_sets_variables_of_the_run(launch, programs, tmp_path: Path):
    given = ["--env", "NCCL_DEBUG=INFO", "NOTE=a, $(b) 'c'", "XLA_CLIENT_MEM_FRACTION=0.5"]
    files = sent(launch, "slurm", tmp_path, *given)
    head = task_of(files).decode().partition(beginnings()["slurm_task.sh"])[0]
    said = subprocess.run(
        ["bash", "-c", f'{head}\nexport "${{settings[@]}}"; env'], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {*given[1:], "JAXBERT_DEVICES=8"} <= set(said) and "XLA_CLIENT_MEM_FRACTION=0.92" not in said
    envs = yaml.safe_load(sent(launch, "skypilot", tmp_path, *given)["task.yaml"])["envs"]
    assert envs["NOTE"] == "a, $(b) 'c'" and envs["NCCL_DEBUG"] == "INFO" and envs["JAXBERT_JOB"]


def test_an_array_of_seeds_has_a_record_for_each_run(launch, programs, tmp_path: Path):
    code, said = launch("slurm", "--seeds", "7-9,3%2", "--yes")
    assert code == 0 and "an array of 4 such jobs" in said
    (call,) = (call for call in programs() if call[0] == "sbatch")
    assert "--array=7-9,3%2" in call
    run = str(tmp_path / "run")
    assert call[-1] == "seeds="
    each = ((f"{run}/seed-{seed}", str(seed)) for seed in (3, 7, 8, 9))
    for workdir, given in ((run, "7-9,3%2"), *each):
        options = {"seeds": given, "jobs_tell_seeds": True, "array_number": None}
        assert json.loads(Path(workdir, "launch/job.json").read_text())["options"] == options
    assert launch("", base=["launch", "stop", "--workdir", run])[0] == 0
    name = json.loads(Path(run, "launch/job.json").read_text())["name"]
    assert [call[0] for call in programs()] == ["scancel"]
    assert not Path(run, "seed-1").exists()
    code, said = launch("", "--dry-run", base=["launch", "logs", "--workdir", f"{run}/seed-8"])
    assert code == 0 and f"{run}/seed-8/logs/process-0.log" in said and name not in said


@pytest.mark.parametrize(
    ("seeds", "takes"),
    [
        ("0-3", "9.5 hours, 612 chip-hours for all 4 runs, if all run at once"),
        ("0-4%2", "28.5 hours, 765 chip-hours for all 5 runs, if 2 run at once"),
        ("0-1%7", "9.5 hours, 306 chip-hours for all 2 runs, if all run at once"),
    ],
)
def test_the_screen_shows_the_cost_of_one_run_and_of_all(seeds: str, takes: str, launch, programs, tmp_path: Path):
    out = tmp_path / "out.json"
    code, said = launch("slurm", "--seeds", seeds, "--dry-run", "--json", str(out))
    lines = [line.strip() for line in said.splitlines()]
    assert code == 0 and "takes     9.5 hours without interruptions, 153 chip-hours for one run" in lines, said
    assert takes in lines and "costs     19.20 USD an hour, 183 USD for one run, at 1.20 a chip-hour" in lines
    runs = json.loads(out.read_text())["runs"]
    assert f"{183 * runs} USD for all {runs} runs" in lines and "in all" not in said
    _, said = launch("slurm", "--dry-run", "--json", str(out))
    assert "183 USD in all" in said and "for all" not in said and json.loads(out.read_text())["runs"] == 1


def test_seeds_may_be_larger_than_the_numbers_of_an_array(launch, programs, answer, tmp_path: Path):
    run, large = str(tmp_path / "run"), 2**31 - 1
    code, said = launch("slurm", "--seeds", f"1234-1235,{large},7%2", "--yes")
    assert code == 0 and "an array of 4 such jobs" in said, said
    (call,) = (call for call in programs() if call[0] == "sbatch")
    # The jobs have the numbers 0 to 3, in the order of the seeds.
    assert "--array=0-3%2" in call
    files = {path.name: path.read_text() for path in Path(run, "launch").iterdir() if path.suffix == ".sh"}
    assert all(f"\nseeds=(7 1234 1235 {large})\n" in text for text in files.values()) and len(files) == 2
    assert call[-1] == f"seeds=7,1234,1235,{large}"
    # A second array for the same directory has the same name, and each of its seeds has another number.
    assert launch("slurm", "--seeds", f"{large},1235", "--yes")[0] == 0
    (call,) = (call for call in programs() if call[0] == "sbatch")
    assert call[-1] == f"seeds=1235,{large}"
    command = "a R|/a b|c/batch.sh"
    first, third, old = f"{command} seeds=7,1234,1235,{large}", f"{command} seeds=", command
    rows = [f"7_0 {first}", f"7_2 {first}", f"7_3 {first}", f"8_0 {command} seeds=1235,{large}", f"9_3 {third}"]
    rows += [f"5_0 {old}", f"4 {old} seeds=7"]
    answer("squeue", said="\n".join(["JOBID NAME STATE|COMMAND", *rows, ""]))

    def shown(word: str, workdir: str) -> list[str]:
        out = tmp_path / "shown.json"
        assert launch("", "--json", str(out), base=["launch", word, "--workdir", workdir])[0] == 0
        (line,) = json.loads(out.read_text())["commands"]
        programs()
        said = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout.splitlines()
        return [call[1] for call in programs() if call[0] == "scancel"] if word == "stop" else said

    def change(workdir: str, **options: object) -> None:
        for place in (Path(workdir, "launch/job.json"), records.folder(workdir) / "job.json"):
            content = json.loads(place.read_text())
            content["options"] = options
            place.write_text(json.dumps(content))

    seeds = ("7_0", 7), ("7_2", 1235), ("7_3", large), ("8_0", 1235), ("9_3", 3), ("5_0", "?")
    lines = [f"{job} a R seed-{seed}" for job, seed in seeds]
    assert shown("status", run) == ["JOBID NAME STATE SEED", *lines, "4 a R seed-?"]
    assert shown("status", f"{run}/seed-1235") == ["JOBID NAME STATE SEED", lines[1], lines[3]]
    assert shown("stop", f"{run}/seed-1235") == ["7_2", "8_0"] and shown("stop", f"{run}/seed-7") == ["7_0"]
    # A record of an earlier release has the number. Its jobs do not tell their seeds.
    change(f"{run}/seed-1234", seeds="1234", array_number=0)
    assert shown("stop", f"{run}/seed-1234") == ["5_0"]
    change(f"{run}/seed-1234", seeds="3")
    assert shown("stop", f"{run}/seed-1234") == ["9_3"]
    change(run, seeds="5,5000")
    assert "5_0 a R seed-5" in shown("status", run)


def test_a_later_launch_leaves_the_files_of_a_waiting_job_alone(launch, programs, tmp_path: Path):
    first = sent(launch, "slurm", tmp_path)
    paths = {
        path: path.read_bytes() for path in (tmp_path / "run/launch").iterdir() if path.name.startswith(("task", "jax"))
    }
    sent(launch, "slurm", tmp_path, "--set", "seed=7")
    assert len(paths) == 2 and all(path.read_bytes() == content for path, content in paths.items())
    # Slurm keeps a copy of the batch script from the submission on.
    assert any(name.encode() in first["batch.sh"] for name in first if name.startswith("task-"))


def test_secrets_go_by_reference(launch, programs, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "the-secret-itself")
    for target, reference in (
        ("slurm", "HF_TOKEN"),
        ("gke", "HF_TOKEN=hub/token"),
        ("kubernetes", "HF_TOKEN=hub/token"),
        ("queued-resource", "HF_TOKEN=hub-token"),
        ("gce-tpu", "HF_TOKEN=hub-token"),
        ("skypilot", "HF_TOKEN"),
    ):
        files = sent(launch, target, tmp_path, "--secret", reference)
        said = json.dumps(programs()) + "".join(content.decode("latin-1") for content in files.values())
        assert "the-secret-itself" not in said and "HF_TOKEN" in said, target
    assert "secretKeyRef" in json.dumps(pod(sent(launch, "gke", tmp_path, "--secret", "HF_TOKEN=hub/token")))


def test_a_config_file_goes_along(launch, programs, tmp_path: Path):
    import io
    import tarfile

    config = tmp_path / "my config; rm.py"
    config.write_text("from jaxbert.configs.bert_base import get_config\n")
    for target in EACH:
        base = arguments(target, tmp_path)
        base[2] = str(config)
        code, said = launch("", "--yes", "--json", str(tmp_path / "out.json"), base=base)
        assert code == 0, said
        files = [Path(file) for file in json.loads((tmp_path / "out.json").read_text())["files"]]
        if target in ("gke", "kubernetes"):
            packed = yaml.safe_load(next(file for file in files if file.name == "code.yaml").read_bytes())
            import base64

            content = base64.b64decode(packed["binaryData"]["code.tar.gz"])
        else:
            content = next(file for file in files if file.name.endswith(".tar.gz")).read_bytes()
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            member = tar.extractfile("config.py")
            assert member is not None and member.read() == config.read_bytes()
        scripts = "".join(file.read_text() for file in files if file.suffix in (".sh", ".yaml"))
        assert "my config" not in scripts and "config.py" in scripts


def test_the_help_says_what_there_is(capsys):
    from jaxbert.commands.main import main

    for target in (*EACH, "local", "status", "logs", "stop"):
        with pytest.raises(SystemExit) as end:
            main(["launch", target, "--help"])
        assert end.value.code == 0 and "--workdir" in capsys.readouterr().out


def test_names_of_jobs_are_those_of_their_workdirs():
    from jaxbert.launch.names import KINDS, job_name

    names = {
        job_name(config, workdir) for config in ("bert_base", "5", "x" * 90, "ä; rm", "") for workdir in ("a", "b")
    }
    assert len(names) == 10
    assert all(re.fullmatch(KINDS["job"][0], name) for name in names), names


def test_google_needs_a_project_and_a_zone(launch, programs):
    base = ["launch", "queued-resource", "bert_base", "--workdir", BUCKET, *ROWS, "--topology", "v5e:4x4"]
    assert launch("", *GOOGLE[:2], base=base)[0] == 2
    assert launch("", *GOOGLE, "--dry-run", base=base)[0] == 0


def test_the_recorder_records(programs):
    subprocess.run(["gcloud", "a b", "c"], check=True)
    assert programs() == [["gcloud", "a b", "c"]]


def test_the_engines_names_are_of_chips_that_the_plan_knows():
    known = {kind: {chip.name for chip in CHIPS.values() if chip.kind == kind} for kind in ("tpu", "gpu")}
    assert set(machines.TPUS) <= known["tpu"]
    assert set(machines.GPUS) <= known["gpu"] and set(machines.SKYPILOT) <= known["gpu"]


@pytest.mark.parametrize(("target", "place"), [("gke", "rtx4090:1"), ("skypilot", "mi300x:8"), ("gce-tpu", "v3:2x2")])
def test_a_chip_that_the_engine_has_no_name_for_is_refused(target: str, place: str, launch, programs):
    code, said = launch(target, "--topology", place, "--dry-run")
    assert code == 2 and "E-LAUNCH-TOPOLOGY" in said and place.partition(":")[0] in said, said


@pytest.mark.parametrize(
    ("infra", "seller"),
    [([], ""), (["--infra", "gcp"], "google"), (["--infra", "aws/us-east-1"], "aws"), (["--infra", "k8s"], "")],
)
def test_a_price_is_that_of_the_cloud_that_was_chosen(infra, seller: str, launch, programs, planned_for):
    assert launch("skypilot", *infra, "--dry-run")[0] == 0 and planned_for == [seller]


def test_google_s_targets_show_google_s_prices_and_a_cluster_shows_none(launch, programs, planned_for):
    for target in ("gke", "queued-resource", "gce-tpu", "slurm"):
        assert launch(target, "--dry-run")[0] == 0
    assert planned_for == ["google", "google", "google", ""]


@pytest.mark.parametrize(
    ("target", "said"),
    [("gke", "no on-demand price of Google Cloud is known"), ("slurm", "who sells these machines is not")],
)
def test_a_price_that_is_not_known_is_asked_for(target: str, said: str, launch, programs, figures):
    figures["price"], figures["bill"]["money"] = None, None
    code, shown = launch(target, "--dry-run")
    assert code == 0 and said in shown and "Give --price" in shown and "USD" not in shown


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ([], ""),
        (["--spot"], "spot costs less"),
        (["--flex-start"], "flex-start costs less"),
        (["--reservation", "mine"], "a reservation has its own price"),
    ],
)
def test_a_price_of_other_machines_is_marked(option: list[str], said: str, launch, programs):
    code, shown = launch("gke", *option, "--dry-run")
    words = " ".join(shown.split())
    assert code == 0 and f"(a list{'; ' if said else ''}{said})" in words, shown


@pytest.mark.parametrize("option", ["--spot", "--flex-start"])
def test_a_price_that_is_given_is_that_of_the_job(option: str, launch, programs, figures):
    figures["price"]["source"] = "given"
    code, shown = launch("gke", option, "--price", "0.4", "--dry-run")
    assert code == 0 and "(given)" in shown and "costs less" not in shown


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--price", "-3"], "the value is -3.0 (--price). Give the price of a chip-hour"),
        (["--price", "nan"], "the value is nan (--price)"),
        (["--restarts", "3000000000"], "Give a number from 0 to 2,147,483,647"),
    ],
)
def test_numbers_that_no_engine_takes(option: list[str], said: str, launch, programs):
    code, shown = launch("gke", *option, "--dry-run")
    assert code == 2 and said in shown and shown.count("[E-") == 1 and "E-LAUNCH-NUMBER" in shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gcs://my-bucket/x", "Write gs://my-bucket/x."),
        ("S3://my-bucket/x", "Write s3://my-bucket/x."),
        ("s3a://my-bucket/x", "Write s3://my-bucket/x."),
        ("r2://my-bucket/x", "Write s3://my-bucket/x, and set AWS_ENDPOINT_URL"),
        ("s3://", "no bucket can have the name ''"),
        ("az://my-bucket/x", "az:// is no kind of bucket that can hold a workdir"),
        ("gs://My-Bucket/x", "no bucket can have the name 'My-Bucket'"),
        ("gs://my-bucket/a/../x", "no . and no .. as names of directories"),
        ("gs://my-bucket/a//x", "no empty part"),
    ],
)
def test_a_url_that_is_no_workdir_says_why(url: str, said: str, launch, programs):
    code, shown = launch("gke", "--dry-run", "--workdir", url)
    assert code == 2 and said in shown and "E-LAUNCH-NAME" in shown


def test_a_list_price_of_another_machine_is_marked(launch, programs):
    code, shown = launch("gke", "--topology", "h100:8", "--machine-type", "a3-megagpu-8g", "--dry-run")
    assert code == 0 and "a price of a3-megagpu-8g is not known" in " ".join(shown.split())


def test_a_user_of_s3_is_told_of_s3_and_of_volumes(launch, programs, tmp_path: Path):
    base = ["launch", "kubernetes", "bert_base", "--topology", "h100:1", "--image", "i", "--dry-run"]
    code, shown = launch("", "--workdir", "s3://my-bucket/x", "--data", str(tmp_path), base=base)
    assert code == 2 and "aws s3 cp --recursive ROWS s3://BUCKET/ROWS" in shown
    code, shown = launch("", "--workdir", "/data/base", "--data", "/data/rows", base=base)
    assert code == 2 and "add --volume CLAIM:/PATH" in shown


def test_the_memory_of_half_a_chip_is_a_device_s(launch, programs, figures):
    figures["devices"] = 2 * figures["chips"]
    assert "GiB a device, by" in launch("gke", "--dry-run")[1]


def test_a_chip_of_the_user_goes_along_to_the_plan(launch, programs, tmp_path: Path, monkeypatch):
    from jaxbert.launch import planning

    asked: list[str | None] = []
    ready = planning.plan
    monkeypatch.setattr(planning, "plan", lambda *given, **more: asked.append(more["chip"]) or ready(*given, **more))
    file = tmp_path / "chip.json"
    file.write_text('{"name": "a6000", "tflops": 154.8, "memory_gib": 47.5, "memory_gb_per_s": 768}')
    own = ("--chip", str(file), "--topology", "a6000:4")
    code, said = launch("slurm", *own, "--dry-run")
    assert code == 0 and "a6000:4" in said and asked == [str(file)], said
    # The user describes a part of a GPU, or a GPU under another name.
    for gres in ("gpu:a100_3g.20gb:4", "gpu:a100:4"):
        code, said = launch("slurm", *own, "--gres", gres, "--dry-run")
        assert code == 0 and f"--gres={gres}" in said, said
    # An engine that names chips has no name for it.
    code, said = launch("gke", *own, "--dry-run")
    assert code == 2 and "E-LAUNCH-TOPOLOGY" in said
    file.write_text("{}")
    code, said = launch("slurm", *own, "--dry-run")
    assert code == 2 and "E-PLAN-CHIP-FILE" in said
