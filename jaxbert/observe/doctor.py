"""`jaxbert doctor`: examines versions, devices, memory and disk, and says how to repair what does not work."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxbert.core.machine import cores
from jaxbert.inputs.values import parse
from jaxbert.observe.accelerators import Accelerators, accelerators

State = Literal["works", "absent", "broken"]

# Every package that jaxbert cannot do without: name of the module -> name of the distribution, which has the version.
NEEDED = {
    "jax": "jax",
    "jaxlib": "jaxlib",
    "flax": "flax",
    "optax": "optax",
    "orbax.checkpoint": "orbax-checkpoint",
    "array_record.python.array_record_module": "array-record",
    "tensorflow_datasets": "tensorflow-datasets",
    "etils": "etils",
    "fsspec": "fsspec",
    "tokenizers": "tokenizers",
    "sentencepiece": "sentencepiece",
    "tensorstore": "tensorstore",
    "safetensors": "safetensors",
    "msgpack": "msgpack",
    "ml_dtypes": "ml-dtypes",
    "google_crc32c": "google-crc32c",
    "sentencex": "sentencex",
    "py3langid": "py3langid",
    "rensa": "rensa",
    "resiliparse": "resiliparse",
    "markdown_it": "markdown-it-py",
    "numpy": "numpy",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "nervaluate": "nervaluate",
    "pyarrow": "pyarrow",
    "zstandard": "zstandard",
    "tensorboardX": "tensorboardX",
    "rich": "rich",
    "yaml": "pyyaml",
    "psutil": "psutil",
    "matplotlib": "matplotlib",
    "jinja2": "Jinja2",
    "botocore": "botocore",
}
_BACKEND_SECONDS = 120

# Runs in another process, because a backend may die, or hang on a TPU that another process holds.
_BACKEND = """
import json, jax, jax.numpy as jnp
x = jax.jit(lambda x: (x @ x).sum())(jnp.ones((64, 64)))
devices = jax.devices()
stats = devices[0].memory_stats() or {}
print(json.dumps({"backend": jax.default_backend(), "count": len(devices), "kind": devices[0].device_kind,
                  "right": float(x) == 64.0 ** 3, "limit": stats.get("bytes_limit")}))
"""

_WITHOUT_TENSORFLOW = """
import sys
import numpy as np
import tensorflow_datasets as tfds
tfds.builder_from_directory, tfds.features.Tensor(shape=(None,), dtype=np.uint16, encoding="bytes")
print("tensorflow" in sys.modules)
"""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Attributes:
      name: the thing that was examined.
      state: `works`; `absent` (this machine lacks something optional); `broken` (something needed does not work).
      says: the result.
      advice: advice to the user; empty if there is nothing to do.
    """

    name: str
    state: State
    says: str
    advice: str = ""


def examine() -> list[Finding]:
    """Examines everything, in the order in which it is shown."""
    steps: list[Callable[[], Iterable[Finding]]] = [
        _python,
        _packages,
        _devices,
        _tensorflow_datasets,
        _memory,
        _disk,
        _meters,
        _extras,
    ]
    return [finding for step in steps for finding in step()]


def lines(findings: list[Finding]) -> list[str]:
    """Returns the findings as lines of text: state, name and result, and below them the advice."""
    width = max(len(finding.name) for finding in findings)
    signs = {"works": "ok", "absent": "--", "broken": "!!"}
    text = []
    for finding in findings:
        text.append(f"{signs[finding.state]}  {finding.name:<{width}}  {finding.says}")
        if finding.advice:
            text.append(f"{'':{width + 6}}> {finding.advice}")
    broken = sum(finding.state == "broken" for finding in findings)
    text.append(
        "Something needed is broken." if broken else "Everything needed works. (--: optional, and not on this machine)"
    )
    return text


def _python() -> Iterable[Finding]:
    version = platform.python_version()
    says = f"{version} on {platform.system()} {platform.machine()}, {cores()} cores"
    good = sys.version_info >= (3, 11)
    yield Finding("python", "works" if good else "broken", says, "" if good else "Install Python 3.11 or later.")
    yield Finding("jaxbert", "works", f"{_version('jaxbert') or 'not installed'}, from {Path(__file__).parent.parent}")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> Iterable[Finding]:
    good, wrong = [], []
    for module, distribution in NEEDED.items():
        if module.partition(".")[0] in ("jax", "jaxlib", "flax", "optax", "orbax", "tensorflow_datasets"):
            # These are slow to import, and other processes try them below. Here it is enough that they are installed.
            problem = None if importlib.util.find_spec(module.partition(".")[0]) else "not installed"
        else:
            problem = _import_problem(module)
        if problem:
            wrong.append(Finding(distribution, "broken", problem, f"Run: pip install '{_requirement(distribution)}'"))
        else:
            good.append(f"{distribution} {_version(distribution) or '?'}")
    yield Finding("packages", "works" if not wrong else "broken", ", ".join(good))
    yield from wrong


def _import_problem(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except Exception as error:
        # An import can raise any exception, and the doctor must show it.
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _requirement(distribution: str) -> str:
    """Returns the version range that jaxbert requires; the bare name where jaxbert is not installed as a package."""
    try:
        for requirement in importlib.metadata.requires("jaxbert") or []:
            name = requirement.partition(";")[0].strip()
            if name.lower().replace("_", "-").startswith(distribution.lower()) and ";" not in requirement:
                return name
    except importlib.metadata.PackageNotFoundError:
        pass
    return distribution


def _run(program: str) -> tuple[str, str]:
    """Runs a Python program. Returns (the last line of its stdout, ""), or ("", the reason why it failed)."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=_BACKEND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer in {_BACKEND_SECONDS} s"
    output, errors = done.stdout.strip().splitlines(), done.stderr.strip().splitlines()
    if done.returncode != 0 or not output:
        return "", errors[-1] if errors else f"ended with {done.returncode}"
    return output[-1], ""


def _devices() -> Iterable[Finding]:
    answer, problem = _run(_BACKEND)
    jax_version = _version("jax")
    if problem:
        advice = "Unset JAX_PLATFORMS, or set JAX_PLATFORMS=cpu to leave accelerators out."
        if "no answer" in problem or "in use" in problem.lower():
            advice = "Another process may be using the device: end it. " + advice
        yield Finding("devices", "broken", problem, advice)
        yield from _accelerators("", jax_version or "", accelerators())
        return
    found = parse(answer)
    limit = f", {found['limit'] / 2**30:.1f} GiB each" if found["limit"] else ""
    says = f"{found['count']} x {found['kind']} ({found['backend']}{limit}), jax {jax_version}"
    if not found["right"]:
        yield Finding("devices", "broken", f"{says}: a product of ones is wrong", "Repair the device or its driver.")
        return
    yield Finding("devices", "works", says)
    yield from _accelerators(found["backend"], jax_version or "", accelerators())


def _accelerators(backend: str, jax_version: str, here: Accelerators) -> Iterable[Finding]:
    """Finds accelerators on this machine that jax does not use, and says how to change that."""
    libtpu = here.plugins.get("libtpu")
    if here.tpu or libtpu:
        fits = "" if backend == "tpu" else f"Run: pip install 'jax[tpu]=={jax_version}' (libtpu must match jax)."
        says = f"libtpu {libtpu or 'not installed'}" + ("" if here.tpu else ", no TPU here")
        yield Finding("tpu", "works" if backend == "tpu" else "absent", says, fits if here.tpu else "")
    else:
        advice = f"To plan with the TPU's compiler (jaxbert plan): pip install 'jax[tpu]=={jax_version}'"
        yield Finding("tpu", "absent", "no TPU here, and libtpu is not installed", advice)
    if here.driver or here.windows or here.cuda_plugins:
        advice = "" if backend == "gpu" else here.advice(jax_version)
        yield Finding("gpu", "works" if backend == "gpu" else "absent", f"NVIDIA: {here.facts()}", advice)
    else:
        yield Finding("gpu", "absent", "no NVIDIA driver here")


def _tensorflow_datasets() -> Iterable[Finding]:
    answer, problem = _run(_WITHOUT_TENSORFLOW)
    if problem:
        yield Finding("tfds", "broken", problem, f"Run: pip install '{_requirement('tensorflow-datasets')}'")
    elif answer == "True":
        yield Finding("tfds", "works", "loads TensorFlow, which is installed here but not needed")
    else:
        yield Finding("tfds", "works", "opens datasets without TensorFlow")


def _memory() -> Iterable[Finding]:
    try:
        import psutil
    except ImportError:
        return
    memory = psutil.virtual_memory()
    says = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    low = memory.available < 2 * 2**30
    yield Finding(
        "memory", "works", says, "Less than 2 GiB is free: use few --workers and small batches." if low else ""
    )


def _disk() -> Iterable[Finding]:
    for name, path in (("disk, here", Path.cwd()), ("disk, temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(path).free
        try:
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            advice = (
                "Change to a directory where you may write."
                if name == "disk, here"
                else "Set TMPDIR to a directory where you may write."
            )
            yield Finding(name, "absent", f"{path} cannot be written: {error.strerror}", advice)
            continue
        advice = "Less than 5 GiB is free: checkpoints of a large model need more." if free < 5 * 2**30 else ""
        yield Finding(name, "works", f"{free / 2**30:.1f} GiB free in {path}", advice)


def _meters() -> Iterable[Finding]:
    from jaxbert.observe.energy import Nvml, Rapl

    estimate = "Set logging.watts for an estimate."
    try:
        Rapl()
        yield Finding("energy, CPU", "works", "RAPL counters are readable")
    except PermissionError:
        yield Finding(
            "energy, CPU",
            "absent",
            "RAPL counters exist, but only root may read them",
            f"Run: sudo chmod -R a+r /sys/class/powercap/*/energy_uj (until the machine restarts). Or: {estimate}",
        )
    except (OSError, ValueError):
        yield Finding("energy, CPU", "absent", "no RAPL counters (usual in virtual machines)", estimate)
    try:
        Nvml()
        yield Finding("energy, GPU", "works", "NVML counters are readable")
    except (OSError, AttributeError):
        yield Finding("energy, GPU", "absent", "no NVML counters")


def _extras() -> Iterable[Finding]:
    for name, module, what in (
        ("extra hf", "datasets", "the source hf:NAME#column"),
        ("extra hf, models", "huggingface_hub", "models by name, hf:NAME"),
        ("extra gcs", "gcsfs", "rows and workdirs in a bucket, gs://BUCKET/..."),
        ("extra s3", "boto3", "rows and workdirs in a bucket, s3://BUCKET/..."),
        *((f"extra {name}", name, f"the sink {name} of logging.sinks") for name in ("wandb", "mlflow", "trackio")),
        ("extra beam", "apache_beam", "prepare and rows on many machines, --beam; in a separate environment"),
    ):
        extra = name.split(",")[0].split()[1]
        if importlib.util.find_spec(module) is None:
            advice = (
                f"Needed only for {what}: pip install 'jaxbert[{extra}]' (in a checkout: pip install -e '.[{extra}]')"
            )
            yield Finding(name, "absent", f"{module} is not installed", advice)
        else:
            yield Finding(name, "works", f"{module} {_version(module.replace('_', '-'))}")
