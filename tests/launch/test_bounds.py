"""A run that always ends with 3 ends at the bound of --restarts on every target.

Each target's own script or manifest runs here. A small function plays the engine: it does what the engine's
documentation says about repetition, and counts how often the run starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jaxbert.launch import TARGETS

from jaxbert.errors import InputError, Interrupted, Stopped
from jaxbert.stores import starts
from jaxbert.stores.storage import Disk
from tests.launch.conftest import task_of
from tests.launch.test_targets import sent

MOST = 3
# Each program of a job writes a line to $STARTS and its environment to $STARTS.environment, and ends with $CODE.
RUN = '#!/bin/bash\necho start >>"$STARTS"\nenv >"$STARTS.environment"\nexit "$CODE"\n'


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Here:
    """Runs a script in a directory, with programs in place of the engine's. Counts the starts of the run."""

    def __init__(self, place: Path, code: int):
        self.place, self.code = place, code
        self.record = place / "starts"
        (place / "programs").mkdir(parents=True)

    def run(self, *command: str, **more: str) -> int:
        environment = {
            "PATH": f"{self.place}/programs:{os.environ['PATH']}",
            "HOME": str(self.place),
            "STARTS": str(self.record),
            "CODE": str(self.code),
            **more,
        }
        # A script that is killed leaves what it started. A machine that reboots would end it; so does this.
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            return process.wait(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def starts(self) -> int:
        return len(self.record.read_text().splitlines()) if self.record.exists() else 0


Engine = Callable[[dict[str, bytes], Here], None]


def slurm(files: dict[str, bytes], here: Here, *, preempted: bool = False) -> None:
    """Slurm keeps the number of restarts with the job. `scontrol requeue` ends the batch script and starts it again."""
    folder = here.place.parent / "run/launch"
    assert task_of(files)
    program(here.place / "programs/srun", f"{RUN.replace('exit', 'for last; do :; done; echo $CODE >$last/0; exit')}")
    if preempted:
        # Slurm tells the batch script and its tasks to end, and then requeues the job by itself.
        program(here.place / "programs/srun", '#!/bin/bash\necho start >>"$STARTS"\nkill -TERM $PPID\nexit 3\n')
    # SIGKILL: a batch script that goes on after its requeue would be seen as a second end.
    program(here.place / "programs/scontrol", '#!/bin/bash\ntouch "$STARTS.requeued"\nkill -KILL $PPID\n')
    for count in range(20):
        (here.place / "starts.requeued").unlink(missing_ok=True)
        code = here.run("bash", str(folder / "batch.sh"), SLURM_JOB_ID="7", SLURM_RESTART_COUNT=str(count))
        requeued = (here.place / "starts.requeued").exists()
        refused = count > MOST
        if not (requeued or (preempted and not refused)):
            assert code == here.code
            return
    raise AssertionError("no end")


def gke(files: dict[str, bytes], here: Here) -> None:
    """A Job fails with its first pod (backoffLimit 0). The JobSet counts restarts in its status, up to maxRestarts.

    Facts: "Pod failure policy" of kubernetes.io/docs/concepts/workloads/controllers/job, and "Failure Policy" of
    jobset.sigs.k8s.io/docs/concepts.
    """
    spec = yaml.safe_load(files["jobset.yaml"])["spec"]
    policy, restarts = spec["failurePolicy"], 0
    (group,) = spec["replicatedJobs"]
    job = group["template"]["spec"]
    assert job["backoffLimit"] == 0 and job["template"]["spec"]["restartPolicy"] == "Never"
    assert not any("IgnoreMaxRestarts" in rule["action"] for rule in policy["rules"])
    (container,) = job["template"]["spec"]["containers"]
    text = container["command"][2].replace("/tmp/jaxbert", f"{here.place}/code").replace("$$(", "$(")
    for path in ("/jaxbert/code.tar.gz", "/opt/jaxbert/requirements.lock"):
        text = text.replace(path, f"{here.place}/{Path(path).name}")
    program(here.place / "programs/python3", RUN)
    for name in ("sha256sum", "tar", "cmp"):
        program(
            here.place / f"programs/{name}", "#!/bin/sh\ncat >/dev/null\n" if name == "sha256sum" else "#!/bin/sh\n"
        )
    while True:
        code = here.run("/bin/sh", "-c", text, "jaxbert", JAXBERT_CODE_SHA256="0")
        (rule,) = job["podFailurePolicy"]["rules"]
        if code == 0 or code in rule["onExitCodes"]["values"] or restarts == policy["maxRestarts"]:
            return
        restarts += 1


def google(files: dict[str, bytes], here: Here, *, reboots: bool = False) -> None:
    """The machine runs the script once at each of its starts. Its disk stays the same."""
    text = files["startup.sh"].decode()
    found = re.search(r"^sha256=(\w+)$", text, re.M)
    assert found is not None
    home = here.place / "home"
    lock = home / f"code-{found[1]}/requirements.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("nothing")
    environment = home / f"env-{hashlib.sha256(b'nothing').hexdigest()[:16]}/bin"
    # A reboot kills the script in the middle of the run.
    program(environment / "python", RUN.replace('exit "$CODE"', "kill -KILL $PPID") if reboots else RUN)
    (environment / ".installed").touch()
    program(here.place / "programs/gcloud", '#!/bin/bash\necho "$*" >>"$STARTS.gcloud"\n')
    program(here.place / "programs/curl", "#!/bin/sh\n")
    script = program(here.place / "startup.sh", text)
    times = {f"JAXBERT_{name}_S": "0" for name in ("PATIENCE", "LINGER")} | {"JAXBERT_SHOW_S": "600"}
    places = {"JAXBERT_HOME": str(home), "JAXBERT_LOG": str(here.place / "log")}
    for _ in range(20):
        code = here.run("bash", str(script), **places, **times)
        if code != -signal.SIGKILL:
            assert code == (3 if reboots else here.code)
            calls = (here.place / "starts.gcloud").read_text().splitlines()
            assert "delete" in calls[-1]
            return
    raise AssertionError("no end")


def skypilot(files: dict[str, bytes], here: Here, *, another: Callable[[int], str] = "job-1".format) -> None:
    """SkyPilot starts the job again, on new machines, after the exit codes of `recover_on_exit_codes`, without a limit.

    Fact: `StrategyExecutor.should_restart_on_failure` of sky/jobs/recovery_strategy.py, version 0.14.1.
    """
    task = yaml.safe_load(files["task.yaml"])
    kept = here.place / "bucket"
    text = re.sub(r"^workdir=.*$", f"workdir={kept}", task["run"], flags=re.M)
    script = program(here.place / "run.sh", text)
    for number in range(20):
        home = here.place / f"machine-{number}"
        program(
            home / ".jaxbert/environment/bin/python",
            f'#!/bin/bash\ncase "$*" in *jaxbert.stores.starts*) exec "{sys.executable}" "$@";; esac\n'
            + RUN.removeprefix("#!/bin/bash\n"),
        )
        names = {"SKYPILOT_TASK_ID": another(number), "SKYPILOT_NODE_RANK": "0", "SKYPILOT_NUM_NODES": "1"}
        code = here.run("bash", str(script), **names, HOME=str(home))
        if code not in task["resources"]["job_recovery"]["recover_on_exit_codes"]:
            assert code == (4 if here.code == 3 else here.code)
            return
    raise AssertionError("no end")


ENGINES: dict[str, Engine] = {
    "slurm": slurm,
    "gke": gke,
    "kubernetes": gke,
    "queued-resource": google,
    "gce-tpu": google,
    "skypilot": skypilot,
}


def test_each_target_has_its_engine():
    assert set(ENGINES) == set(TARGETS)


def files_of(target: str, launch: Any, tmp_path: Path) -> dict[str, bytes]:
    more = ["--topology", "v6e:4x4"] if target == "gce-tpu" else []
    return sent(launch, target, tmp_path, "--restarts", str(MOST), *more)


@pytest.mark.parametrize("target", sorted(ENGINES))
@pytest.mark.parametrize(("code", "expected"), [(3, MOST + 1), (0, 1), (1, 1), (2, 1), (4, 1)])
def test_exit_3_is_repeated_up_to_the_bound(target: str, code: int, expected: int, launch, programs, tmp_path: Path):
    files = files_of(target, launch, tmp_path)
    here = Here(tmp_path / "engine", code)
    ENGINES[target](files, here)
    assert here.starts == expected


def test_the_screen_says_how_the_bound_is_kept(launch, programs):
    for target in TARGETS:
        _, said = launch(target, "--dry-run", "--restarts", str(MOST))
        resumes = " ".join(re.search(r"^  resumes (.*?)^  ends", said, re.M | re.S)[1].split())
        assert f"{MOST} times at most, counted " in resumes, target


def test_slurm_counts_what_it_requeues_by_itself(launch, programs, tmp_path: Path):
    files = files_of("slurm", launch, tmp_path)
    here = Here(tmp_path / "engine", 3)
    slurm(files, here, preempted=True)
    assert here.starts == MOST + 1


def test_slurm_requeues_a_job_whose_code_could_not_be_unpacked(launch, programs, tmp_path: Path):
    """The disk may be full. The screen says that such an end is repeated, and how often."""
    files = files_of("slurm", launch, tmp_path)
    here = Here(tmp_path / "engine", 3)
    program(here.place / "programs/tar", "#!/bin/bash\nexit 2\n")
    slurm(files, here)
    (log,) = (tmp_path / "run/logs").glob("slurm-*.log")
    said = log.read_text()
    assert here.starts == 0 and said.count("could not be unpacked") == MOST and "after 3 restarts" in said


def test_pyxis_is_found_in_a_long_help(launch, programs, tmp_path: Path):
    """A reader that ends at the first match would break the pipe of srun, and the script would see no pyxis."""
    sent(launch, "slurm", tmp_path, "--container-image", "registry#team/image:1")
    here = Here(tmp_path / "engine", 0)
    for number, option in enumerate(("--container-image=IMAGE", "--none")):
        lines = "for i in {1..2000}; do printf '%80s\\n' option || exit 141; done"
        help_text = f'[ "$1" = --help ] && {{ echo "{option}"; {lines}; exit; }}\n'
        program(here.place / "programs/srun", RUN.replace("bash\n", f"bash\n{help_text}", 1))
        code = here.run("bash", str(tmp_path / "run/launch/batch.sh"), SLURM_JOB_ID=str(number))
        assert (code, here.starts) == ((0, 1) if number == 0 else (2, 1))


def test_a_machine_that_reboots_again_and_again_comes_to_an_end(launch, programs, tmp_path: Path):
    here = Here(tmp_path / "engine", 3)
    google(files_of("queued-resource", launch, tmp_path), here, reboots=True)
    assert here.starts == MOST + 1 and "interrupted again after 3 restarts" in (here.place / "log").read_text()


def test_a_machine_whose_disk_takes_no_count_does_not_train(launch, programs, tmp_path: Path):
    files = files_of("queued-resource", launch, tmp_path)
    name = re.search(rb"^name=(\S+)$", files["startup.sh"], re.M)[1].decode()
    here = Here(tmp_path / "engine", 4)
    (here.place / "home" / f"starts-{name}.new").mkdir(parents=True)
    google(files, here)
    assert here.starts == 0 and "cannot be counted" in (here.place / "log").read_text()


def test_another_job_of_skypilot_begins_a_new_count(launch, programs, tmp_path: Path):
    files = files_of("skypilot", launch, tmp_path)
    here = Here(tmp_path / "engine", 3)
    skypilot(files, here)
    skypilot(files, here, another="job-2".format)
    assert here.starts == 2 * (MOST + 1)
    # The same job, once more: nothing starts.
    skypilot(files, here, another="job-2".format)
    assert here.starts == 2 * (MOST + 1)


def test_each_process_has_its_own_count(tmp_path: Path):
    place = str(tmp_path)
    assert [starts.count(place, "job", process, 1) for process in (0, 1, 10, 1, 0)] == [1, 1, 1, 2, 2]
    # Files that are not ours do not count.
    for name in ("0-x", "0-99999999999999999999", "0--3", "x-7"):
        (next((tmp_path / starts.DIRECTORY).iterdir()) / name).touch()
    with pytest.raises(Stopped, match=r"1 restart .*E-STARTS-BOUND"):
        starts.count(place, "job", 0, 1)
    assert starts.count(place, "job", 10, 1) == 2


@pytest.mark.parametrize("when", ["the bucket is opened", "the file is made"])
def test_a_start_that_cannot_be_counted_is_tried_again_and_then_ends_the_job(when: str, tmp_path: Path, monkeypatch):
    waits: list[float] = []
    until = 2

    def answers() -> None:
        if len(waits) < until:
            raise Interrupted("the bucket does not answer", where="gs://b", fix="Wait.", code="E-STORE-NETWORK")

    class Away(Disk):
        def create(self, name: str, content: bytes) -> bool:
            answers()
            return super().create(name, content)

    def opened(place: str) -> Disk:
        if when == "the bucket is opened":
            answers()
        return Away(Path(place))

    monkeypatch.setattr(starts, "storage", opened)
    place = str(tmp_path)
    assert starts.count(place, "job", 0, 5, sleep=waits.append) == 1 and waits == [5, 15]
    until = 100
    with pytest.raises(Stopped, match=r"cannot be counted.*E-STARTS-COUNT"):
        starts.count(place, "job", 0, 5, sleep=waits.append)
    # No answer of the script repeats without a limit: 3 would.
    monkeypatch.setattr(starts, "_WAITS_S", ())
    assert starts.main([place, "job", "0", "5"]) == Stopped.exit_code


@pytest.mark.parametrize(
    "words", [(), ("w", "j", "0"), ("w", "j", "x", "3"), ("w", "j", "0", "-1"), ("w", "j", "٣", "1")]
)
def test_wrong_arguments_are_refused(words: tuple[str, ...], capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert starts.main(words) == InputError.exit_code
    assert "E-STARTS-ARGUMENTS" in capsys.readouterr().err and not list(tmp_path.iterdir())
