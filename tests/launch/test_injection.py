"""Dangerous strings in every option of every target: each is refused, or arrives as the same string."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from jaxbert.launch import TARGETS
from jaxbert.launch.manifest import documents
from jaxbert.launch.scripts import script

from tests.launch.conftest import arguments, task_of
from tests.launch.document import beginnings

EVIL = (
    "a b",
    "a'b",
    'a"b',
    "a; touch {mark}",
    "$(touch {mark})",
    "`touch {mark}`",
    "a\ntouch {mark}",
    "a\n- evil: true",
    "a: b # c",
    "--evil=1",
    "a && touch {mark} ||",
    "$HOME",
    "$(HOME)",
    "$$(HOME)",
    "${{HOME}}",
    "%j%u",
    "a,b=c",
    "*",
    "\\",
    "!!python/object/apply:os.system [touch {mark}]",
    "{{{{ evil }}}}",
    "ünïcode \u2028 line",
    "a\tb\rc",
)
# Options that take any text. Other tests follow that text to `jaxbert pretrain`.
TEXT = {"--workdir", "--data", "--set", "--init", "--tokenizer", "--json"}
# Values of these options may contain the signs of Slurm's lists, and remain one word of a command.
HARMLESS = {("--constraint", "a,b=c"), ("--partition", "a,b=c"), ("--gres", "a,b=c")}


def names() -> list[tuple[str, str]]:
    """Returns (option, target) for every option whose value an engine gets as a name."""
    from jaxbert.commands.main import parser

    launch = parser()[0]._subparsers._group_actions[0].choices["launch"]
    targets = launch._subparsers._group_actions[0].choices
    found = []
    for target in TARGETS:
        for action in targets[target]._actions:
            option = action.option_strings[-1] if action.option_strings else ""
            takes_words = action.nargs != 0 and action.type is None and action.choices is None
            if option and takes_words and option not in TEXT and not isinstance(action, argparse._HelpAction):
                found.append((option, target))
    return found


def test_the_options_are_found():
    found = names()
    assert len(found) > 30 and {"--zone", "--image", "--qos", "--infra", "--secret"} <= {option for option, _ in found}


@pytest.mark.parametrize(("option", "target"), names())
def test_no_such_string_is_a_name(option: str, target: str, launch, programs, tmp_path: Path):
    mark = tmp_path / "mark"
    for evil in EVIL:
        word = evil.format(mark=mark)
        if (option, word) in HARMLESS:
            continue
        for value in (f"{option}={word}", *([f"{option}=HF_TOKEN={word}"] if option == "--secret" else [])):
            code, said = launch(target, value, "--yes")
            assert code == 2, (value, said)
    assert programs() == [] and not mark.exists() and not (tmp_path / "state").exists()


def test_workdirs_in_buckets_are_urls(launch, programs, tmp_path: Path):
    for target in TARGETS:
        if target == "slurm":
            continue
        for evil in ("a\nb", "a#b", "a*", "a?b", "a[b]", "a\tb", "a/../../b\0", "gs://x", "a//b"):
            code, said = launch(target, f"--workdir=gs://my-bucket/{evil}", "--yes")
            assert code == 2, (evil, said)
        assert launch(target, "--workdir=gs://My_Bucket!/a", "--yes")[0] == 2
    assert programs() == []


def shell(code: str, *more: str, **environment: str) -> list[str]:
    """The arguments that reach `jaxbert pretrain` in a script whose Python only prints them."""
    done = subprocess.run(
        ["bash", "-c", code, *more], env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().split("\0")[:-1]


PRINT = "printf '%s\\0' \"${arguments[@]}\"\n"


def test_what_stays_text_arrives_as_it_was(launch, programs, tmp_path: Path):
    """Settings, rows, workdirs: through quoting, through YAML, through Kubernetes' own expansion."""
    mark = tmp_path / "mark"
    for evil in EVIL:
        word = evil.format(mark=mark)
        setting = f"name={word}"
        for target in TARGETS:
            base = arguments(target, tmp_path)
            if target == "slurm":
                if set(word) & set("\n\r\t\u2028*[]\\"):
                    assert launch("", f"--workdir={tmp_path}/{word}", "--yes", base=base)[0] == 2
                if not set(word) & set("\n\r\t\u2028"):
                    base[4] = str(tmp_path / re.sub(r"[/:*\[\]\\]", "_", word))
            code, said = launch("", "--yes", "--json", str(tmp_path / "out.json"), "--set", setting, base=base)
            assert code == 0, (target, word, said)
            files = {Path(file).name: Path(file) for file in json.loads((tmp_path / "out.json").read_text())["files"]}
            if target in ("gke", "kubernetes"):
                spec = yaml.safe_load(files["jobset.yaml"].read_text())["spec"]
                template = spec["replicatedJobs"][0]["template"]["spec"]["template"]
                found = [expanded(word) for word in template["spec"]["containers"][0]["args"]]
            elif target == "skypilot":
                run = yaml.safe_load(files["task.yaml"].read_text())["run"]
                found = shell(run.partition(beginnings()["sky_run.sh"])[0] + PRINT)
            elif target == "slurm":
                found = shell(task_of(files).read_bytes().decode().partition(beginnings()["slurm_task.sh"])[0] + PRINT)
                assert base[4] in found
            else:
                head = files["startup.sh"].read_bytes().decode().partition(beginnings()["bootstrap.sh"])[0]
                found = shell(head + PRINT)
            assert setting in found, (target, word, found)
    assert not mark.exists()
    # What was called, was called with whole words.
    assert all(call[0] in ("gcloud", "kubectl", "sbatch", "sinfo", "sky") for call in programs())


def expanded(text: str) -> str:
    """As Kubernetes expands commands and arguments (its third_party/forked/golang/expansion); no variable is set."""
    made, index = "", 0
    while index < len(text):
        if text[index] != "$" or index + 1 == len(text):
            made, index = made + text[index], index + 1
        elif text[index + 1] == "$":
            made, index = made + "$", index + 2
        elif text[index + 1] == "(" and ")" in text[index:]:
            made, index = made + "EXPANDED", text.index(")", index) + 1
        else:
            made, index = made + text[index : index + 2], index + 2
    return made


def test_kubernetes_leaves_the_pods_script_alone(launch, programs, tmp_path: Path):
    launch("gke", "--yes", "--json", str(tmp_path / "out.json"))
    files = json.loads((tmp_path / "out.json").read_text())["files"]
    spec = yaml.safe_load(Path(files[1]).read_text())["spec"]["replicatedJobs"][0]["template"]["spec"]["template"][
        "spec"
    ]
    body = spec["containers"][0]["command"][2]
    assert expanded(body) == (Path(__file__).parents[2] / "launch/pod.sh").read_text()


@pytest.mark.parametrize(
    "text", [*EVIL, "", " ", "yes", "1", "null", "a\n", "\na", " a", "a \nb", "- a", "|", "é\nb", "\x07"]
)
def test_yaml_gives_back_what_it_was_given(text: str):
    assert yaml.safe_load(documents({"a": text, "b": [text], text: 1})) == {"a": text, "b": [text], text: 1}


@pytest.mark.parametrize("text", [*EVIL, "", "\n", "a\\'b"])
def test_shell_gives_back_what_it_was_given(text: str):
    made = script("slurm_task.sh", {"arguments": [text, text], "one": text}).partition(beginnings()["slurm_task.sh"])[0]
    assert shell(made + PRINT) == [text, text]
    assert shell(made + "printf '%s\\0' \"$one\"\n") == [text]
    assert shlex.split(f"one={shlex.quote(text)}") == [f"one={text}"]


def test_text_that_no_command_line_holds_is_refused(launch, programs):
    for setting in ("name=a\0b", "name=\udcff"):
        assert launch("gke", "--yes", "--set", setting)[0] == 2
    assert programs() == []
