"""The accelerators of this machine, and the software that jax needs for them: driver, plugin, library. Imports no jax.

`jaxbert doctor` shows this, and `jaxbert pretrain` names it where jax found other devices than the run asks for.

Minimal drivers: NVIDIA's CUDA Toolkit release notes, table of minor version compatibility
(docs.nvidia.com/cuda/cuda-toolkit-release-notes): CUDA 12 needs 525.60.13 on Linux, and CUDA 13 needs a driver of
branch 580.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

# CUDA -> the oldest driver for Linux that runs its programs, newest CUDA first.
CUDA_DRIVERS: Mapping[int, tuple[int, ...]] = {13: (580,), 12: (525, 60, 13)}
# The CUDA that a machine gets where nobody knows its driver.
NEWEST_CUDA = max(CUDA_DRIVERS)
# The variable by which a user, or Slurm, hides GPUs from a process, and the values that hide all of them.
HIDES = "CUDA_VISIBLE_DEVICES"
HIDES_ALL = ("", "-1", "NoDevFiles")
# The directory in which GKE's device plugin puts the driver's libraries: github.com/GoogleCloudPlatform/
# container-engine-accelerators, cmd/nvidia_gpu.
_MOUNTED = Path("/usr/local/nvidia/lib64")
_DRIVER = Path("/proc/driver/nvidia/version")
_DEV = Path("/dev")
_LIBRARY = "libcuda.so.1"
# jax passes over its CUDA plugin where none of these files of /dev exists, and finds TPUs by their identifiers on the
# PCI bus: jax/_src/hardware_utils.py of jax 0.10.2 and 0.12.0.1.
SOUGHT = ("nvidia0", "nvidiactl", "dxg")
_PCI = Path("/sys/bus/pci/devices")
_GOOGLE = "0x1ae0"
# The identifiers of TPU v2 and v3, of one without a public name, and of v4, v5p, v5e, v6e, tpu7x, tpu8i and tpu8t.
_TPUS = ("0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076", "0x0083", "0x007c")


@dataclass(frozen=True)
class Accelerators:
    """The accelerators of this machine.

    Attributes:
      driver: the version of the NVIDIA driver; "" where none is loaded, "?" where it does not say.
      cards: the number of NVIDIA GPUs that this process may open, by their device files.
      windows: whether Windows gives its GPU to this Linux (WSL2). It has neither of the above.
      tpu: whether there is a TPU.
      sought: whether there is a device file by which jax looks for an NVIDIA GPU.
      plugins: name -> version of the packages that let jax use an accelerator, also libtpu.
      library: the path of NVIDIA's libcuda.so.1; "" where the dynamic linker does not find it.
      library_path: the value of LD_LIBRARY_PATH.
      visible: the number of those GPUs that CUDA_VISIBLE_DEVICES lets this process use.
      hidden: a setting such as "CUDA_VISIBLE_DEVICES=" by which this process sees no GPU; "" where there is none.
    """

    driver: str = ""
    cards: int = 0
    windows: bool = False
    tpu: bool = False
    plugins: Mapping[str, str] = field(default_factory=dict)
    library: str = ""
    library_path: str = ""
    visible: int = 0
    hidden: str = ""
    sought: bool = False

    @property
    def gpu(self) -> bool:
        """Returns whether this process may open an NVIDIA GPU, as far as the device files say.

        A driver need not be seen. A container may hide the file that has its version.
        """
        return self.cards > 0 or self.windows

    @property
    def cuda(self) -> int:
        """Returns the newest CUDA that the driver runs; the newest of all where there is no driver to ask."""
        return cuda_of(self.driver) or NEWEST_CUDA

    @property
    def cuda_plugins(self) -> dict[str, str]:
        """Returns the plugins for NVIDIA GPUs."""
        return {name: version for name, version in self.plugins.items() if "cuda" in name}

    @property
    def rocm(self) -> bool:
        """Returns whether jax has a plugin for AMD GPUs."""
        return any("rocm" in name for name in self.plugins)

    def facts(self) -> str:
        """Returns driver, devices, plugin and library path in one sentence, for NVIDIA GPUs."""
        driver = f"driver {self.driver}" if self.driver else f"no driver is loaded ({_DRIVER} does not exist)"
        plugins = ", ".join(f"{name} {version}" for name, version in self.cuda_plugins.items())
        found = f"{_LIBRARY} is {self.library}" if self.library else f"{_LIBRARY} is not found"
        return (
            f"{driver}; {self.cards} device file{'' if self.cards == 1 else 's'} /dev/nvidia*; "
            f"jax's plugin: {plugins or 'not installed'}; "
            f"{found} (LD_LIBRARY_PATH is {self.library_path or 'not set'})"
        )

    def advice(self, jax_version: str) -> str:
        """Returns what to do so that jax uses the NVIDIA GPUs, as a sentence, for the first thing that is missing.

        Args:
          jax_version: the version of jax that is installed.
        """
        plugins = self.cuda_plugins
        if self.hidden:
            return f"The setting {self.hidden} hides the GPUs: unset it, or ask the cluster for GPUs."
        if self.driver and cuda_of(self.driver) == 0:
            oldest = ".".join(map(str, min(CUDA_DRIVERS.values())))
            return f"Install a newer NVIDIA driver, {oldest} or later: jax needs CUDA {min(CUDA_DRIVERS)}."
        if not self.driver and not self.windows:
            return (
                "Install the NVIDIA driver, or choose a machine that has it: `nvidia-smi` must list the GPUs. "
                "On a cluster, ask for the GPUs: the job may be on a machine without any."
            )
        if not self.cards and not self.windows:
            return (
                "The driver gives no GPU to this process. Start the container with GPUs (docker run --gpus all), or "
                "ask the cluster for them."
            )
        wanted = f"cuda{self.cuda}"
        if not any(wanted in name for name in plugins):
            older = ", ".join(plugins)
            why = f"Driver {self.driver} is too old for {older}. " if older else ""
            # A plugin for an older CUDA runs with a newer driver.
            if not older or self.cuda < min(int(n) for name in plugins for n in re.findall(r"cuda(\d+)", name)):
                return f"{why}Run: {install(jax_version, self.cuda)}"
        other = [name for name, version in plugins.items() if version != jax_version]
        if other:
            return (
                f"{other[0]} is version {plugins[other[0]]}, but jax is version {jax_version}, and they must be equal. "
                f"Run: {install(jax_version, self.cuda)}"
            )
        if not self.library:
            if (_MOUNTED / _LIBRARY).exists():
                return f"Set LD_LIBRARY_PATH={_MOUNTED}: the driver's libraries are in it."
            return f"Add the directory that has {_LIBRARY} to LD_LIBRARY_PATH. The driver installs this file."
        return (
            "End other processes that hold the GPU (`nvidia-smi` lists them), and set TF_CPP_MIN_LOG_LEVEL=0 to see "
            f"what CUDA says. If its libraries are missing, run: {install(jax_version, self.cuda)}"
        )


def install(jax_version: str, cuda: int) -> str:
    """Returns the command that installs jax's plugin and CUDA's libraries."""
    return f"pip install 'jax[cuda{cuda}]=={jax_version}'"


def cuda_of(driver: str) -> int:
    """Returns the newest CUDA that an NVIDIA driver runs; 0 for none, or for a version that is not numbers.

    Args:
      driver: version of the driver, for example "550.54.14".
    """
    parts = driver.split(".")
    if not all(part.isdecimal() and part.isascii() for part in parts):
        return 0
    version = tuple(map(int, parts))
    return next((cuda for cuda, oldest in CUDA_DRIVERS.items() if version >= oldest), 0)


def accelerators(environment: Mapping[str, str] | None = None) -> Accelerators:
    """Looks at this machine.

    Args:
      environment: the environment of this process.
    """
    environment = os.environ if environment is None else environment
    hidden, cards = environment.get(HIDES), _count("nvidia[0-9]*")
    visible = cards if hidden is None else 0 if hidden in HIDES_ALL else min(cards, len(hidden.split(",")))
    return Accelerators(
        driver=driver(),
        cards=cards,
        windows=(_DEV / "dxg").exists(),
        tpu=_tpu() or bool(environment.get("TPU_NAME") or environment.get("TPU_WORKER_ID")),
        plugins=_plugins(),
        library=_library(),
        library_path=environment.get("LD_LIBRARY_PATH", ""),
        visible=visible,
        hidden=f"{HIDES}={hidden}" if hidden in HIDES_ALL else "",
        sought=any((_DEV / name).exists() for name in SOUGHT),
    )


def driver() -> str:
    """Returns the version of the NVIDIA driver; "" where none is loaded, "?" where it does not say."""
    try:
        text = _DRIVER.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", text)
    return found[0] if found else "?"


def _count(pattern: str) -> int:
    try:
        return sum(1 for _ in _DEV.glob(pattern))
    except OSError:
        return 0


def _tpu() -> bool:
    """Returns whether a TPU is attached to this machine: by its driver's files, or on the PCI bus (/dev/vfio)."""
    if _count("accel[0-9]*"):
        return True
    for place in _PCI.glob("*") if _PCI.is_dir() else ():
        with suppress(OSError):
            if _word(place / "vendor") == _GOOGLE and _word(place / "device") in _TPUS:
                return True
    return False


def _word(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def _plugins() -> dict[str, str]:
    """Returns name -> version of the packages that register themselves with jax, and of libtpu."""
    found = {}
    for entry in importlib.metadata.entry_points(group="jax_plugins"):
        if entry.dist is not None:
            found[entry.dist.name] = entry.dist.version
    with suppress(importlib.metadata.PackageNotFoundError):
        found["libtpu"] = importlib.metadata.version("libtpu")
    return found


def _library() -> str:
    """Returns the path of the driver's library; "" where the dynamic linker does not find it."""
    if sys.platform != "linux":
        return ""
    try:
        ctypes.CDLL(_LIBRARY)
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return next((line.split(maxsplit=5)[5] for line in maps.splitlines() if "/libcuda.so" in line), _LIBRARY)
