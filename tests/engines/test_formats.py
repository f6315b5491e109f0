"""Checks the targets' commands and files with gcloud's parser, kubectl, JobSet's schema, SkyPilot and shellcheck."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jaxbert.launch import TARGETS, records

from tests.engines import gcloud_check, kubectl_check
from tests.launch.conftest import BUCKET

HERE = Path(__file__).parent
LAUNCH = HERE.parents[1] / "launch"
# Settings with which bert_base fits one chip.
SMALL = ("--set", "phases.0.batch_size=16", "phases.1.batch_size=16")
GOOGLE = {
    "queued-resource": [
        [],
        ["--spot", "--slices", "2", "--topology", "v6e:4x4"],
        ["--reserved", "--topology", "v5p:2x2x4", "--service-account", "a@my-project.iam.gserviceaccount.com"],
        [
            "--network",
            "n",
            "--subnetwork",
            "s",
            "--internal-ips",
            "--valid-until-duration",
            "6h",
            "--labels",
            "a=b",
            "c=d",
        ],
        ["--flex-start", "--max-run-duration", "2d", "--internal-ips", "--network", "n", "--slices", "2"],
        ["--flex-start", "--topology", "v6e:2x4", *SMALL],
        ["--reservation", "r", "--topology", "v5p:2x2x2"],
        ["--spot", "--topology", "v4:2x2x4"],
        ["--topology", "v3:4x4"],
    ],
    "gce-tpu": [
        [],
        ["--spot", "--topology", "v5p:2x2x2", "--labels", "a=b", "c=d"],
        ["--reservation", "r", "--topology", "v6e:2x2", "--network", "n", "--subnetwork", "s", *SMALL],
        ["--service-account", "a@my-project.iam.gserviceaccount.com", "--topology", "v6e:1x1", *SMALL],
        ["--flex-start", "--max-run-duration", "2d", "--topology", "v5p:2x2x2"],
        ["--flex-start", "--topology", "tpu7x:2x2x1", *SMALL],
    ],
}


def commands_of(target: str, sent: dict[str, Any]) -> list[list[str]]:
    """Returns every gcloud command of a launch: those that submit, show and stop it."""
    found = []
    for line in sent["commands"]:
        words, one = shlex.split(line), []
        for word in [*words, "||"]:
            if word == "||":
                found.append(one)
                one = []
            else:
                one.append(word)
    record = records.read(BUCKET)
    assert record.target == target
    name, options = record.name, record.checked_options(TARGETS[target].remembered)
    for follow in (False, True) if target == "queued-resource" else (False,):
        control = TARGETS[target].control(name, options, follow=follow)
        found += [list(command.arguments) for command in (*control.status, *control.logs, *control.stop)]
    found.append(list(records.sent(BUCKET)))
    return [command for command in found if command != ["true"]]


def test_gcloud_takes_every_command(tool: Callable[[str], str], rendered: Callable[..., dict[str, Any]]):
    tool("gcloud")
    commands: list[list[str]] = []
    for target, cases in GOOGLE.items():
        for more in cases:
            commands += commands_of(target, rendered(target, *more))
    # The scripts run these commands on the machines.
    secret = ["gcloud", "secrets", "versions", "access", "latest", "--secret=a", "--project=my-project"]
    commands += [secret, ["gcloud", "storage", "cp", "gs://b/a.tar.gz", "/opt/a.tar.gz"]]
    assert len(commands) > 50 and all(command[0] == "gcloud" for command in commands)
    answers = gcloud_check.check_all(commands)
    assert not [(command, answer) for command, answer in zip(commands, answers, strict=True) if answer]


def test_the_parser_refuses_what_is_wrong(tool: Callable[[str], str]):
    tool("gcloud")
    base = ["compute", "tpus", "queued-resources", "create", "a", "--zone=us-east5-a", "--node-id=a"]
    full = [*base, "--accelerator-type=v6e-16", "--runtime-version=r"]
    answers = gcloud_check.check_all([full, [*full, "--spott"], base, full[:-1], [*full, "--labels=A B"]])
    assert answers[0] is None and all(answers[1:])


def test_a_real_gcloud_stops_at_the_missing_account_only(
    tool: Callable[[str], str], rendered: Callable[..., dict[str, Any]]
):
    tool("gcloud")
    sent = rendered("queued-resource", "--spot")
    create = shlex.split(sent["commands"][-1])
    assert gcloud_check.execute(create) is None
    complaint = gcloud_check.execute([*create, "--no-such-flag"])
    assert complaint is not None and "unrecognized arguments" in complaint


GKE = [
    [],
    ["--topology", "v5p:4x4x4", "--slices", "2", "--spot", "--service-account", "trainer", "--priority-class", "high"],
    ["--topology", "h200:8", "--slices", "4", "--secret", "HF_TOKEN=hub/token", "--namespace", "team"],
    ["--topology", "h100:8", "--slices", "2", "--reservation", "r", "--env", "NCCL_DEBUG=$(a) b"],
    [
        "--topology",
        "h100:8",
        "--slices",
        "2",
        "--machine-type",
        "a3-megagpu-8g",
        "--gpudirect",
        "tcpxo",
        "--flex-start",
    ],
    ["--topology", "h100:8", "--slices", "2", "--gpudirect", "tcpx"],
    ["--topology", "v5e:2x4", "--slices", "2", "--machine-type", "ct5lp-hightpu-4t", "--privileged"],
    ["--topology", "v4:2x2x2", "--slices", "2", "--spot"],
    ["--topology", "v3:4x4"],
    ["--topology", "v6e:1x1", *SMALL, "name=a\"b'c: $(d) # e\n- f", "--restarts", "0"],
]


KUBERNETES = [
    ["--slices", "2", "--volume", "runs:/data", "rows:/rows", "--node-selector", "gpu=h100", "--host-network"],
    [
        *(
            "--topology",
            "h200:8",
            "--slices",
            "4",
            "--queue",
            "q",
            "--priority-class",
            "high",
            "--env",
            "NCCL_DEBUG=INFO",
        ),
        *("--toleration", "dedicated=training:NoSchedule", "spot", "--resource", "vpc.amazonaws.com/efa=32"),
        *("hugepages-2Mi=5120Mi", "--secret", "AWS_SECRET_ACCESS_KEY=s3/key"),
    ],
]


@pytest.mark.parametrize(
    ("target", "more"), [*(("gke", more) for more in GKE), *(("kubernetes", more) for more in KUBERNETES)]
)
def test_kubectl_and_the_published_schema_take_the_manifests(
    target: str, more: list[str], tool: Callable[[str], str], engines: Path, rendered: Callable[..., dict[str, Any]]
):
    tool("kubectl")
    files = [Path(file) for file in rendered(target, *more)["files"]]
    (code,) = kubectl_check.parse(files[0].read_text())
    assert code["kind"] == "ConfigMap" and code["immutable"] is True
    (jobset,) = kubectl_check.parse(files[1].read_text())
    assert jobset["kind"] == "JobSet"
    assert problems(engines, jobset) == ""


def problems(engines: Path, jobset: dict[str, Any]) -> str:
    command = [engines, HERE / "jobset_check.py"]
    done = subprocess.run(command, input=json.dumps(jobset), capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert bool(done.stderr.strip()) == bool(done.returncode)
    return done.stderr.strip()


def test_the_schema_refuses_what_is_wrong(engines: Path, rendered: Callable[..., dict[str, Any]]):
    import yaml

    text = Path(rendered("gke")["files"][1]).read_text()
    for old, new in (
        ("backoffLimit", "backofLimit"),
        ("FailJobSet", "Fail"),
        ("repeatingDoesNotHelp", "repeating-does-not-help"),
        ("replicas: 1", "replicas: one"),
        ("restartPolicy: Never", "restartPolicy: OnFailure"),
        ("name: bert-base", "name: 5-bert-base"),
    ):
        assert old in text
        assert problems(engines, yaml.safe_load(text.replace(old, new))), new


SKY = [
    [],
    ["--topology", "h200:8", "--slices", "4", "--spot", "--infra", "gcp/us-central1"],
    ["--topology", "v5e:4x4", "--spot"],
    ["--topology", "v4:2x2x2"],
    ["--topology", "v3:2x2", *SMALL],
    ["--topology", "v6e:2x2", "--secret", "HF_TOKEN", *SMALL],
    ["--topology", "v5p:2x2x1", "--set", "name=a\"b'c: $(d) # e\n- f"],
]


def test_skypilot_takes_the_tasks_and_refuses_what_is_wrong(
    engines: Path, rendered: Callable[..., dict[str, Any]], tmp_path: Path
):
    paths = []
    for number, more in enumerate(SKY):
        text = Path(rendered("skypilot", *more)["files"][-1]).read_text()
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(text)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(paths[0].read_text().replace("recover_on_exit_codes", "recover_on_exit_kodes"))
    done = sky(engines, [*paths, wrong], tmp_path)
    complaints = done.stderr.strip().splitlines()
    assert done.returncode == 1 and complaints and all(line.startswith(str(wrong)) for line in complaints), done.stderr


def sky(engines: Path, files: list[Path], home: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_TOKEN": "x"}
    command = [engines, HERE / "sky_check.py", *files]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_skypilot_knows_its_commands(engines: Path, rendered: Callable[..., dict[str, Any]], tmp_path: Path):
    """SkyPilot's own parser accepts the commands that submit, show and end a job."""
    sent = rendered("skypilot", "--secret", "HF_TOKEN")
    record = records.read(BUCKET)
    name, options = record.name, record.checked_options(TARGETS["skypilot"].remembered)
    commands = [shlex.split(line) for line in sent["commands"]]
    for follow in (False, True):
        control = TARGETS["skypilot"].control(name, options, follow=follow)
        commands += [list(one.arguments) for one in (*control.status, *control.logs, *control.stop)]
    program = (
        "import json, sys; from sky.client.cli.command import cli\n"
        "for words in json.load(sys.stdin):\n"
        "    group = cli\n"
        "    rest = words\n"
        "    while hasattr(group, 'commands'):\n"
        "        group, rest = group.get_command(None, rest[0]), rest[1:]\n"
        "    group.make_context(' '.join(words), list(rest), resilient_parsing=False)\n"
    )
    done = subprocess.run(
        [engines, "-c", program],
        input=json.dumps([command[1:] for command in commands]),
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "HF_TOKEN": "x",
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_shellcheck_finds_nothing(tool: Callable[[str], str], rendered: Callable[..., dict[str, Any]], tmp_path: Path):
    import yaml

    check = tool("shellcheck")
    scripts = {path.name: path.read_text() for path in LAUNCH.glob("*.sh")}
    assert len(scripts) == 6
    evil = ["--set", 'name=a\'b; $(c) "d"']
    for target in ("slurm", "queued-resource", "gce-tpu"):
        for file in rendered(target, *evil)["files"]:
            if file.endswith(".sh"):
                scripts[f"{target}-{Path(file).name}"] = Path(file).read_text()
    task = yaml.safe_load(Path(rendered("skypilot", *evil)["files"][-1]).read_text())
    scripts |= {"setup.sh": task["setup"], "run.sh": task["run"]}
    for name, text in scripts.items():
        path = tmp_path / name
        path.write_text(text)
        done = subprocess.run([check, "--norc", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_image_is_made_from_files_that_exist():
    """The test builds no image. It checks the files that the recipe copies and the names that scripts expect."""
    text = (LAUNCH / "Containerfile").read_text()
    for lock in (
        "requirements-lock-3.13-tpu.txt",
        "requirements-lock-3.13-cuda.txt",
        "requirements-lock-3.13-cuda12.txt",
    ):
        assert lock in text and (LAUNCH.parent / lock).is_file()
    assert (
        "/opt/jaxbert/requirements.lock" in text and "/opt/jaxbert/requirements.lock" in (LAUNCH / "pod.sh").read_text()
    )
    from jaxbert.launch.google import PYTHON, UV

    assert f"ARG UV={UV}" in text and f"python:{PYTHON}-" in text
