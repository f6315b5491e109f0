"""A run never trains on other devices than it asks for: what jax found against what the environment says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest

from jaxbert.errors import InputError
from jaxbert.observe import accelerators as module
from jaxbert.observe.accelerators import Accelerators, accelerators, cuda_of
from jaxbert.run.devices import asked, check

PLUGIN = Path(__file__).parent / "fake_plugin"
CUDA13 = {"jax-cuda13-pjrt": "0.12.0"}
CUDA12 = {"jax-cuda12-pjrt": "0.12.0"}
WHOLE = Accelerators(driver="580.65.06", cards=8, plugins=CUDA13, library="/usr/lib/libcuda.so.1")


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [
        ("580.65.06", 13),
        ("580.00", 13),
        ("595.10", 13),
        ("579.99.99", 12),
        ("550.54.14", 12),
        ("525.60.13", 12),
        ("525.60.12", 0),
        ("470.57", 0),
        ("", 0),
        ("?", 0),
    ],
)
def test_the_cuda_of_a_driver(driver: str, cuda: int):
    assert cuda_of(driver) == cuda


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22\nGCC version: 12",
            "550.54.14",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build", "580.65.06"),
        ("NVRM version: NVIDIA UNIX aarch64 Kernel Module  595.10  Release Build", "595.10"),
        ("something else", "?"),
        (None, ""),
    ],
)
def test_the_driver_of_a_machine(text: str | None, driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "version"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(module, "_DRIVER", file)
    monkeypatch.setattr(module, "_DEV", tmp_path)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    here = accelerators({})
    # A sandbox such as gVisor may hide the file of the driver.
    assert here.driver == driver and here.cards == 2 and here.gpu and here.sought and not here.tpu


@pytest.mark.parametrize(
    ("files", "vendor", "device", "tpu"),
    [
        (["accel0"], "", "", True),
        # Newer machines with TPUs have no /dev/accel*, and other machines have /dev/vfio too.
        (["vfio/0"], "0x1ae0", "0x006f", True),
        (["vfio/0"], "0x1ae0", "0x0042", False),
        (["vfio/0"], "0x10de", "0x0062", False),
        ([], "", "", False),
    ],
)
def test_a_tpu_is_found_by_its_driver_or_on_the_pci_bus(
    files: list[str], vendor: str, device: str, tpu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in files:
        (tmp_path / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev" / name).touch()
    if vendor:
        for number, (one, other) in enumerate((("0x8086", "0x0062"), (vendor, device))):
            place = tmp_path / "pci" / f"0000:00:0{number}.0"
            place.mkdir(parents=True)
            (place / "vendor").write_text(f"{one}\n")
            (place / "device").write_text(f"{other}\n")
        # The bus may have an entry without these files.
        (tmp_path / "pci" / "0000:00:09.0").mkdir()
    monkeypatch.setattr(module, "_PCI", tmp_path / "pci")
    monkeypatch.setattr(module, "_DEV", tmp_path / "dev")
    assert accelerators({}).tpu == tpu


@pytest.mark.parametrize(
    ("file", "sought"), [("nvidia0", True), ("nvidiactl", True), ("dxg", True), ("nvidia1", False)]
)
def test_jax_looks_for_gpus_where_jax_itself_says(
    file: str, sought: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from jax._src import hardware_utils

    (tmp_path / file).touch()
    monkeypatch.setattr(module, "_DEV", tmp_path)
    assert accelerators({}).sought == sought
    assert [f"/dev/{name}" for name in module.SOUGHT] == hardware_utils._NVIDIA_GPU_DEVICES
    # Older releases of jax do not know all of them.
    assert set(module._TPUS) >= set(hardware_utils._TPU_PCI_DEVICE_IDS)
    assert hardware_utils._GOOGLE_PCI_VENDOR_ID == module._GOOGLE


@pytest.mark.parametrize(
    ("here", "says"),
    [
        (Accelerators(hidden="CUDA_VISIBLE_DEVICES="), "hides the GPUs"),
        (Accelerators(), "Install the NVIDIA driver"),
        (Accelerators(driver="470.57", cards=1), "Install a newer NVIDIA driver, 525.60.13"),
        (Accelerators(driver="580.65.06"), "docker run --gpus all"),
        (Accelerators(driver="580.65.06", cards=1), r"pip install 'jax\[cuda13\]==0.12.0'"),
        (Accelerators(driver="550.54.14", cards=1), r"pip install 'jax\[cuda12\]==0.12.0'"),
        (
            Accelerators(driver="550.54.14", cards=1, plugins=CUDA13),
            r"is too old for jax-cuda13-pjrt.*cuda12\]",
        ),
        # The plugin of CUDA 12 runs with a newer driver.
        (Accelerators(driver="580.65.06", cards=1, plugins=CUDA12), "LD_LIBRARY_PATH"),
        (Accelerators(windows=True, plugins=CUDA13), "LD_LIBRARY_PATH"),
        (replace(WHOLE, plugins={"jax-cuda13-pjrt": "0.10.2"}), "0.10.2, but jax is version 0.12.0.*pip install"),
        (WHOLE, "nvidia-smi"),
    ],
)
def test_the_advice_is_about_the_first_thing_that_is_missing(here: Accelerators, says: str):
    assert re.search(says, here.advice("0.12.0"))


def test_the_directory_that_gke_mounts_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "libcuda.so.1").touch()
    monkeypatch.setattr(module, "_MOUNTED", tmp_path)
    here = Accelerators(driver="580.65.06", cards=1, plugins=CUDA13)
    assert f"LD_LIBRARY_PATH={tmp_path}" in here.advice("0.12.0")


@pytest.mark.parametrize(
    ("environment", "here", "platform"),
    [
        ({"JAXBERT_PLATFORM": "gpu"}, Accelerators(), "gpu"),
        ({"JAXBERT_PLATFORM": "tpu", "JAX_PLATFORMS": "cpu"}, Accelerators(), "tpu"),
        ({"JAX_PLATFORMS": "cuda,cpu"}, Accelerators(), "gpu"),
        ({"JAX_PLATFORMS": "cpu"}, WHOLE, "cpu"),
        ({"JAX_PLATFORMS": "fake"}, WHOLE, None),
        ({}, WHOLE, "gpu"),
        # A laptop that has the plugin without a GPU, or a GPU without the plugin.
        ({}, Accelerators(plugins=CUDA13), None),
        ({}, Accelerators(driver="580.65.06", cards=1), None),
        # A sandbox that hides the file of the driver.
        ({}, Accelerators(cards=1, plugins=CUDA13), "gpu"),
        # A container without the GPUs of its host; a user, or Slurm, who hides them.
        ({}, Accelerators(driver="580.65.06", plugins=CUDA13), None),
        ({}, Accelerators(driver="580.65.06", cards=1, plugins=CUDA13, hidden="CUDA_VISIBLE_DEVICES=-1"), None),
    ],
)
def test_the_platform_that_a_run_asks_for(environment: dict[str, str], here: Accelerators, platform: str | None):
    assert asked(environment, here) == platform


def test_a_platform_that_is_not_one():
    with pytest.raises(InputError, match=r"JAXBERT_PLATFORM.*E-DEVICE-NAME"):
        asked({"JAXBERT_PLATFORM": "cuda"}, Accelerators())


class Device:
    device_kind = "a chip"


@pytest.mark.parametrize(
    ("environment", "here", "found", "said"),
    [
        ({"JAXBERT_PLATFORM": "gpu", "JAXBERT_DEVICES": "8"}, WHOLE, ("gpu", 8), ""),
        ({"JAXBERT_PLATFORM": "gpu", "JAXBERT_DEVICES": "8"}, WHOLE, ("gpu", 7), "jax found 7.*E-DEVICE-COUNT"),
        ({"JAXBERT_PLATFORM": "gpu", "JAXBERT_DEVICES": "4"}, WHOLE, ("gpu", 8), "CUDA_VISIBLE.*E-DEVICE-COUNT"),
        ({"JAXBERT_PLATFORM": "tpu", "JAXBERT_DEVICES": "4"}, Accelerators(tpu=True), ("tpu", 4), ""),
        ({"JAXBERT_PLATFORM": "tpu", "JAXBERT_DEVICES": "8"}, Accelerators(tpu=True), ("tpu", 4), "E-DEVICE-COUNT"),
        ({"JAXBERT_PLATFORM": "tpu"}, Accelerators(tpu=True), ("cpu", 1), r"jax\[tpu\]==.*E-DEVICE-PLATFORM"),
        ({"JAXBERT_PLATFORM": "gpu"}, WHOLE, ("cpu", 1), "driver 580.*jax-cuda13-pjrt.*libcuda.*E-DEVICE-PLATFORM"),
        ({"JAXBERT_PLATFORM": "cpu"}, WHOLE, ("gpu", 1), "the run asks for cpu.*E-DEVICE-PLATFORM"),
        ({"JAXBERT_PLATFORM": "gpu"}, Accelerators(plugins=CUDA13), ("cpu", 1), "jax found 1 cpu.*E-DEVICE-PLATFORM"),
        # The files of the machine do not overrule jax: a sandbox may hide the driver's, and the GPU may be nvidia3.
        ({"JAXBERT_PLATFORM": "gpu"}, Accelerators(plugins=CUDA13), ("gpu", 1), ""),
        ({"JAXBERT_PLATFORM": "gpu"}, Accelerators(plugins=CUDA13, cards=1), ("gpu", 1), ""),
        ({"JAXBERT_PLATFORM": "gpu", "JAX_PLATFORMS": "cpu"}, WHOLE, None, "Unset JAX_PLATFORMS.*E-DEVICE-PLATFORM"),
        # An AMD GPU has another plugin.
        ({"JAXBERT_PLATFORM": "gpu"}, Accelerators(plugins={"jax-rocm7-pjrt": "1"}), ("rocm", 1), ""),
        # Nobody asked for a platform, and everything for the GPU is there.
        ({}, WHOLE, ("cpu", 1), "JAX_PLATFORMS=cpu.*E-DEVICE-PLATFORM"),
        ({}, WHOLE, ("gpu", 8), ""),
        ({}, Accelerators(), ("cpu", 1), ""),
    ],
)
def test_what_jax_found_against_what_is_asked(
    environment: dict[str, str], here: Accelerators, found: tuple[str, int] | None, said: str, monkeypatch: Any
):
    def found_by_jax() -> tuple[str, int]:
        assert found is not None, "jax was asked for its devices"
        return found

    monkeypatch.setattr(jax, "default_backend", lambda: found_by_jax()[0])
    monkeypatch.setattr(jax, "local_devices", lambda: [Device()] * found_by_jax()[1])
    if not said:
        check(asked(environment, here), environment, here)
        return
    with pytest.raises(InputError, match=said) as raised:
        check(asked(environment, here), environment, here)
    assert socket.gethostname() in str(raised.value)


@pytest.mark.parametrize(
    ("sought", "said"), [(False, "looks for no GPU.*/dev/nvidiactl.*E-DEVICE-PLATFORM"), (True, "")]
)
def test_one_of_several_processes_does_not_wait_where_jax_passes_over_the_plugin(
    sought: bool, said: str, monkeypatch: pytest.MonkeyPatch
):
    asked_jax = []
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "default_backend", lambda: asked_jax.append(1) or "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    here = Accelerators(plugins=CUDA13, sought=sought)
    if said:
        with pytest.raises(InputError, match=said):
            check("gpu", {"JAXBERT_PLATFORM": "gpu"}, here)
    else:
        check("gpu", {"JAXBERT_PLATFORM": "gpu"}, here)
    assert bool(asked_jax) == sought


def test_a_process_that_is_lost_meanwhile_is_not_a_mistake(monkeypatch: pytest.MonkeyPatch):
    def fails() -> str:
        try:
            raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: Getting global topologies timed out")
        except jax.errors.JaxRuntimeError as error:
            raise RuntimeError(f"Unable to initialize backend 'cpu': {error}")  # noqa: B904 (as jax does it)

    monkeypatch.setattr(jax, "default_backend", fails)
    with pytest.raises(jax.errors.JaxRuntimeError, match="DEADLINE"):
        check("cpu", {}, Accelerators())


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (Accelerators(driver="550.54.14", cards=1), r"has an NVIDIA GPU.*jax\[cuda12\]"),
        (Accelerators(plugins=CUDA13), "plugin is installed: no driver is loaded"),
        (Accelerators(tpu=True), r"has a TPU.*jax\[tpu\]"),
        (Accelerators(), ""),
        (Accelerators(plugins=CUDA13, hidden="CUDA_VISIBLE_DEVICES="), ""),
    ],
)
def test_a_run_on_the_cpu_that_nobody_asked_for_warns(here: Accelerators, said: str, caplog: Any, monkeypatch: Any):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    check(asked({}, here), {}, here)
    if not said:
        assert not caplog.records
        return
    (record,) = caplog.records
    assert re.search(said, record.getMessage()) and "JAX_PLATFORMS=cpu" in record.getMessage()


def pretrain(workdir: Path, plain: bool = False, **environment: str) -> subprocess.Popen[str]:
    """Starts a real `jaxbert pretrain`. Only `environment` says for which devices it asks."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_PLATFORMS", "JAXBERT_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "jaxbert", "pretrain", "smoke", "--workdir", str(workdir)],
        env=own | ({} if plain else {"PYTHONPATH": str(PLUGIN)}) | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_that_asks_for_a_gpu_makes_nothing_on_a_machine_without_one(tmp_path: Path):
    if accelerators().gpu:
        pytest.skip("this machine has a GPU")
    out, err = (
        run := pretrain(tmp_path / "run", plain=True, JAXBERT_PLATFORM="gpu", JAXBERT_DEVICES="8")
    ).communicate()
    assert run.returncode == 2, err
    assert "E-DEVICE-PLATFORM" in err and "/proc/driver/nvidia" in err and "LD_LIBRARY_PATH" in err and "8 x gpu" in err
    assert not (tmp_path / "run").exists() and not out


@pytest.mark.parametrize(("chips", "code"), [("2", "E-DEVICE-COUNT"), ("none", "E-DEVICE-PLATFORM")])
def test_a_run_with_fewer_devices_than_asked_makes_nothing(tmp_path: Path, chips: str, code: str):
    run = pretrain(
        tmp_path / "run", JAX_PLATFORMS="fake", FAKE_CHIPS=chips, JAXBERT_PLATFORM="cpu", JAXBERT_DEVICES="4"
    )
    out, err = run.communicate()
    assert run.returncode == 2 and code in err, err
    assert "jax found 2" in err or "the fake library does not load" in err
    # jax's own advice would lead to the CPU.
    assert "JAX_PLATFORMS=''" not in err
    assert not (tmp_path / "run").exists() and not out


def test_one_host_with_too_few_devices_ends_every_process(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = {"JAX_PLATFORMS": "fake", "JAXBERT_PLATFORM": "cpu", "JAXBERT_DEVICES": "2", "JAXBERT_PROCESSES": "2"}
    runs = [
        pretrain(
            tmp_path / "run",
            **common,
            JAXBERT_COORDINATOR=f"localhost:{port}",
            JAXBERT_PROCESS_ID=str(number),
            FAKE_CHIPS=str(chips),
        )
        for number, chips in enumerate((2, 1))
    ]
    ends = [(run.communicate()[1], run.returncode) for run in runs]
    for err, code in ends:
        assert code == 2 and "jax found 1" in err and f"host {socket.gethostname()}" in err, ends
    assert "process 1:" in ends[0][0] and not (tmp_path / "run").exists()
