"""Code for all benchmarks: collects the facts of the machine, and writes them with the results."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from jaxbert.core.machine import cores
from jaxbert.stores.files import write_whole

# The environment of every side's process. `jaxbert pretrain` asks for huge pages itself. They help the peer as well.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
    *("torch", "transformers", "sentence-transformers", "accelerate"),
)


def machine() -> dict[str, Any]:
    """Returns processor, cores, memory, accelerators, system, Python, versions, and the measured revision."""
    import jax

    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "devices": [device.device_kind for device in jax.devices()],
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "revision": _revision(),
    }


def write(name: str, figures: dict[str, Any]) -> Path:
    """Writes `figures` and the facts of the machine to results/NAME.json. Returns its path."""
    path = RESULTS / f"{name}.json"
    write_whole(path, json.dumps({"machine": machine(), **figures}, indent=2) + "\n")
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    wanted = {key.strip(): value.strip() for key, value in fields.items()}
    flags = wanted.get("flags", "").split()
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{wanted.get('model name', platform.machine())} ({', '.join(wide)})"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision() -> str:
    """Returns the commit, with a + if the tree differs from it. Outside a checkout it is empty."""
    here = Path(__file__).parent
    try:
        head, changed = (
            subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")
