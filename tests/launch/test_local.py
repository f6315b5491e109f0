"""`jaxbert launch local` before anything starts: dry runs and refusals. tests/multiprocess has real runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from jaxbert.launch import local as module

from jaxbert.commands.main import main
from jaxbert.errors import InputError, line_of
from jaxbert.observe import accelerators as machine
from jaxbert.observe.accelerators import Accelerators


def test_a_dry_run_prints_and_starts_nothing(tmp_path: Path, capsys):
    arguments = ["launch", "local", "smoke", "--workdir", str(tmp_path / "run"), "--processes", "4", "--dry-run"]
    assert main([*arguments, "--set", "seed=5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and not (tmp_path / "run").exists()
    for number, line in enumerate(lines):
        assert f"JAXBERT_PROCESS_ID={number} " in line and "JAXBERT_PROCESSES=4 " in line
        assert "-m jaxbert pretrain" in line and "--set seed=5" in line and f"process-{number}.log" in line
    assert len({line.partition("JAXBERT_PROCESSES")[0] for line in lines}) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--processes", "0"], "--processes.*E-LAUNCH-NUMBER"),
        (["--processes", "2", "--devices", "0"], "--devices.*E-LAUNCH-NUMBER"),
        (["--processes", "2", "--grace", "-1"], "--grace.*E-LAUNCH-NUMBER"),
        (["--processes", "2", "--restarts", "-1"], "--restarts.*E-LAUNCH-NUMBER"),
        (["--processes", "2", "--set", "phases.0.steps=0"], "steps"),
    ],
)
def test_bad_input_is_found_before_anything_starts(tmp_path: Path, capsys, more: list[str], said: str):
    assert main(["launch", "local", "smoke", "--workdir", str(tmp_path / "run"), *more]) == 2
    assert re.search(said, capsys.readouterr().err) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("ends", "restarts", "code", "starts"),
    [
        ([(0, False)], 5, 0, 1),
        ([(3, False), (3, False), (0, False)], 5, 0, 3),
        ([(3, False), (3, False), (3, False)], 2, 3, 3),
        ([(3, False)], 0, 3, 1),
        # A signal to the launcher is meant for the run.
        ([(3, True)], 5, 3, 1),
        ([(3, False), (4, False)], 5, 4, 2),
        ([(1, False)], 5, 1, 1),
        ([(2, False)], 5, 2, 1),
    ],
)
def test_only_exit_3_is_restarted(ends, restarts: int, code: int, starts: int, monkeypatch, tmp_path: Path, capsys):
    from jaxbert.launch import local

    jobs = []

    def run(job, *, grace_s: float) -> tuple[int, bool]:
        jobs.append(job)
        return ends[len(jobs) - 1]

    monkeypatch.setattr(local, "run", run)
    arguments = ["launch", "local", "smoke", "--workdir", str(tmp_path / "run"), "--processes", "2"]
    if code:
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--restarts", str(restarts)])
        assert end.value.code == code
    else:
        assert main([*arguments, "--restarts", str(restarts)]) == 0
    assert len(jobs) == starts
    assert capsys.readouterr().err.count("restarting it") == starts - 1


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (["phases.0.batch_size=12"], "E-CONFIG-BATCH"),
        (["phases.0.batch_size=32", "phases.0.accumulation=8"], "E-CONFIG-BATCH"),
        (["evaluation.batch_size=12"], "E-CONFIG-BATCH"),
        (["mesh.data=3"], "E-CONFIG-MESH"),
        (["mesh.fsdp=16", "encoder.hidden_size=64"], "E-CONFIG-MESH"),
        (["data.policy=single_document", "phases.0.length=32"], "E-OBJECTIVE-ROWS"),
        (['logging.sinks=["trackio"]'], "E-SINK-PACKAGE"),
    ],
)
def test_what_pretrain_refuses_is_refused_before_anything_starts(
    settings: list[str], code: str, monkeypatch, tmp_path: Path, capsys
):
    import jax

    from jaxbert.config import all_sinks, find_config
    from jaxbert.observe.sinks import check_installed
    from jaxbert.run.resolve import resolve
    from jaxbert.run.wanted import wanted

    workdir = tmp_path / "run"
    words = ["launch", "local", "smoke", "--workdir", str(workdir), "--processes", "4", "--devices", "2"]
    assert main([*words, "--set", *settings]) == 2
    said = capsys.readouterr().err
    # These are the words of `jaxbert pretrain` in a process of eight devices.
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    with pytest.raises(InputError) as end:
        check_installed(all_sinks(resolve(wanted(find_config("smoke"), settings=settings), workdir).config.logging))
    assert line_of(end.value) in said and f"[{code}]" in said and list(tmp_path.iterdir()) == []


def test_rows_of_another_length_are_refused_before_anything_starts(small_rows: Path, tmp_path: Path, capsys):
    words = ["launch", "local", "smoke", "--workdir", str(tmp_path / "run"), "--processes", "2", "--data"]
    assert main([*words, str(small_rows), "--set", "encoder.vocab_size=120", "phases.0.length=48"]) == 2
    said = capsys.readouterr().err
    assert "--set phases.0.length=32" in said and "E-ROWS-LENGTH" in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("processes", "devices", "environment", "found"),
    [
        (3, 2, {}, 6),
        (3, None, {}, 3),
        (3, None, {"JAX_PLATFORMS": "cpu"}, 3),
        (3, None, {"JAX_PLATFORMS": "cuda"}, None),
        (3, None, {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}, None),
        (3, None, {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}, None),
    ],
)
def test_devices_are_counted_where_they_are_known(
    processes: int, devices: int | None, environment, found: int | None, monkeypatch
):
    from jaxbert.launch.local import devices_of

    monkeypatch.setattr(module, "accelerators", lambda environment: Accelerators())
    args = Namespace(processes=processes, devices=devices, topology=None, grace=1.0, restarts=0)
    assert devices_of(args, environment) == found


def test_many_devices_are_refused_at_once(tmp_path: Path, capsys):
    words = ["launch", "local", "smoke", "--workdir", str(tmp_path / "run"), "--processes", "4096", "--devices", "4096"]
    assert main([*words, "--set", "mesh.data=3"]) == 2
    assert "there are 16777216 devices" in capsys.readouterr().err


def test_the_launcher_takes_no_device(tmp_path: Path):
    """A launcher that holds the GPU's memory would leave none to the processes."""
    code = (
        "import jax._src.xla_bridge as bridge\n"
        "from jaxbert.commands.main import main\n"
        f"words = ['launch', 'local', 'smoke', '--workdir', {str(tmp_path / 'run')!r}, '--processes', '2']\n"
        "assert main([*words, '--dry-run']) == 0\n"
        "assert not bridge.backends_are_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, timeout=300)


GPUS = Accelerators(driver="580.65.06", cards=8, visible=8, plugins={"jax-cuda13-pjrt": "0.12.0"})


@pytest.mark.parametrize(
    ("here", "environment", "more", "platform", "devices"),
    [
        (Accelerators(), {}, [], "cpu", "1"),
        (Accelerators(), {}, ["--devices", "4"], "cpu", "4"),
        # Settings of jax that give the CPU another number of devices.
        (Accelerators(), {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}, [], "cpu", None),
        (Accelerators(), {"JAX_NUM_CPU_DEVICES": "8"}, [], "cpu", None),
        (GPUS, {"JAX_PLATFORMS": "cpu"}, [], "cpu", "1"),
        (GPUS, {}, [], "gpu", "4"),
        (GPUS, {}, ["--devices", "2"], "gpu", "2"),
        (GPUS, {"JAX_PLATFORMS": "cuda"}, [], "gpu", "4"),
        (Accelerators(plugins={"jax-rocm7-pjrt": "1"}), {}, [], "gpu", None),
        # A laptop: a card without the plugin, or the plugin without a card.
        (Accelerators(driver="580.65.06", cards=1, visible=1), {}, [], "cpu", "1"),
        (Accelerators(plugins={"jax-cuda13-pjrt": "0.12.0"}), {}, [], "cpu", "1"),
        (Accelerators(tpu=True, plugins={"libtpu": "1"}), {}, [], "tpu", None),
        (Accelerators(tpu=True), {}, [], "cpu", "1"),
        # jax may find what this command does not: it must not be told to use the CPU.
        (Accelerators(plugins={"libtpu": "1"}), {}, [], None, None),
        (Accelerators(plugins={"libtpu": "1"}), {}, ["--devices", "4"], None, "4"),
        (Accelerators(plugins={"libtpu": "1"}), {"JAX_PLATFORMS": "cpu"}, [], "cpu", "1"),
        (Accelerators(plugins={"jax-cuda13-pjrt": "0.12.0"}, sought=True), {}, [], None, None),
        (Accelerators(plugins={"jax-cuda13-pjrt": "0.12.0"}, sought=True, hidden="X="), {}, [], "cpu", "1"),
        (Accelerators(), {"JAX_PLATFORMS": "METAL"}, ["--devices", "2"], None, "2"),
    ],
)
def test_every_process_learns_its_devices(
    here: Accelerators,
    environment: dict[str, str],
    more: list[str],
    platform: str | None,
    devices: str | None,
    monkeypatch,
):
    monkeypatch.setattr(module, "accelerators", lambda: here)
    for name in ("JAX_PLATFORMS", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    each = int(more[1]) if more else None
    for command in module.local(2, ["smoke"], "run", devices=each, port=1).commands:
        assert command.environment.get("JAXBERT_PLATFORM") == platform
        assert command.environment.get("JAXBERT_DEVICES") == devices
        assert command.environment.get("XLA_CLIENT_MEM_FRACTION") == ("0.92" if platform == "gpu" else None)


def test_a_tpu_behind_vfio_is_not_given_up_for_the_cpu(tmp_path: Path, monkeypatch):
    """v5p, v6e and tpu7x have /dev/vfio/N and no /dev/accel*. Their machines say on the PCI bus what they have."""
    place = tmp_path / "pci" / "0000:00:04.0"
    place.mkdir(parents=True)
    (place / "vendor").write_text("0x1ae0\n")
    (place / "device").write_text("0x0062\n")
    (tmp_path / "dev" / "vfio").mkdir(parents=True)
    (tmp_path / "dev" / "vfio" / "0").touch()
    monkeypatch.setattr(machine, "_PCI", tmp_path / "pci")
    monkeypatch.setattr(machine, "_DEV", tmp_path / "dev")
    monkeypatch.setattr(machine, "_plugins", lambda: {"libtpu": "0.0.1"})
    for name in ("JAX_PLATFORMS", "TPU_NAME", "TPU_WORKER_ID"):
        monkeypatch.delenv(name, raising=False)
    (command,) = module.local(1, ["smoke"], "run", port=1).commands
    assert command.environment["JAXBERT_PLATFORM"] == "tpu"


@pytest.mark.parametrize("name", ["XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"])
def test_a_share_of_the_gpu_that_the_user_sets_stays(name: str, monkeypatch):
    monkeypatch.setattr(module, "accelerators", lambda: GPUS)
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setenv(name, "0.5")
    (command,) = module.local(1, ["smoke"], "run", port=1).commands
    assert not any("MEM_FRACTION" in variable for variable in command.environment)


@pytest.mark.parametrize("more", [["--processes", "3"], ["--processes", "2", "--devices", "5"], ["--processes", "9"]])
def test_more_gpus_than_there_are(more: list[str], tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(module, "accelerators", lambda environment=None: GPUS)
    monkeypatch.delenv("JAX_PLATFORMS")
    assert main(["launch", "local", "smoke", "--workdir", str(tmp_path / "run"), *more]) == 2
    assert "8 GPUs" in (err := capsys.readouterr().err) and "E-LAUNCH-DEVICES" in err
    assert not (tmp_path / "run").exists()


def test_a_run_on_the_cpu_of_a_machine_with_a_gpu_warns(tmp_path: Path, capsys, monkeypatch):
    here = Accelerators(driver="550.54.14", cards=1, visible=1)
    monkeypatch.setattr(module, "accelerators", lambda environment=None: here)
    arguments = ["launch", "local", "smoke", "--workdir", str(tmp_path / "run"), "--processes", "2", "--dry-run"]
    monkeypatch.delenv("JAX_PLATFORMS")
    assert main(arguments) == 0
    assert "jax[cuda12]" in capsys.readouterr().err
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert main(arguments) == 0
    assert "jax[cuda12]" not in capsys.readouterr().err
