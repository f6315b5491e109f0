"""Compares the devices that jax found with those that the run asks for, before anything is made or trained.

jax trains on the CPU where it cannot use the accelerator of a machine, with a warning at most. On a rented machine that
is paid time which is lost. So a run that asks for a platform never trains on another one.

What a run asks for, by the first rule that applies:
  JAXBERT_PLATFORM (`tpu`, `gpu`, `cpu`), which every target of `jaxbert launch` sets
  JAX_PLATFORMS, the setting of jax: its first platform
  nothing is set, and the machine has a device file of an NVIDIA GPU and jax's CUDA plugin: `gpu`, because somebody
  installed the plugin to use the GPU. A machine that has only one of the two gets a warning and trains on the CPU: a
  laptop may have the plugin without a GPU, or a GPU that nobody wants to train on.
JAXBERT_DEVICES is the number of devices of this process.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Mapping
from importlib.metadata import version

from jaxbert.errors import InputError, counted
from jaxbert.observe.accelerators import SOUGHT, Accelerators, accelerators, install
from jaxbert.run.processes import DEVICES, PLATFORM, before_devices, devices_asked, initialise, is_loss

_log = logging.getLogger(__name__)

PLATFORMS = ("tpu", "gpu", "cpu")
# The setting of jax, and the platform that each of its names means.
JAX_PLATFORMS = "JAX_PLATFORMS"
_MEANS = {"cuda": "gpu", "rocm": "gpu", "gpu": "gpu", "tpu": "tpu", "cpu": "cpu"}
_CPU = "To train on the CPU, set JAX_PLATFORMS=cpu."


def begin(distributed: bool, environment: Mapping[str, str] | None = None) -> None:
    """Joins the other processes, and compares the devices of every one with those that the run asks for.

    Args:
      distributed: let jax ask its surroundings for the other processes where the environment does not say.
      environment: environment of this process.

    Raises:
      InputError: a variable of the environment is wrong, or a process has other devices than the run asks for. Every
        process ends then. Nothing has been touched.
      Interrupted: the other processes did not connect, or one has gone.
    """
    environment = os.environ if environment is None else environment
    here = accelerators(environment)
    platform = asked(environment, here)
    _tell_jax(platform, environment, here)
    initialise(distributed, environment)
    with before_devices():
        check(platform, environment, here)


def asked(environment: Mapping[str, str], here: Accelerators) -> str | None:
    """Returns the platform that a run asks for: "tpu", "gpu" or "cpu"; None if nothing says.

    Args:
      environment: environment of this process.
      here: the accelerators of this machine.

    Raises:
      InputError: JAXBERT_PLATFORM is not a platform.
    """
    if PLATFORM in environment:
        if environment[PLATFORM] not in PLATFORMS:
            raise InputError(
                f"the value is {environment[PLATFORM]!r}",
                where=PLATFORM,
                fix=f"Set it to one of {', '.join(PLATFORMS)}, or unset it.",
                code="E-DEVICE-NAME",
            )
        return environment[PLATFORM]
    first = _first(environment)
    if first is not None:
        return _MEANS.get(first)
    return "gpu" if here.gpu and here.cuda_plugins and not here.hidden else None


def contradicts(platform: str | None, environment: Mapping[str, str]) -> bool:
    """Returns whether the user's setting of jax asks for another platform.

    Args:
      platform: the platform that a run asks for; None if nothing says.
      environment: environment with the setting.
    """
    first = _first(environment)
    return platform is not None and first is not None and _MEANS.get(first, platform) != platform


def _first(environment: Mapping[str, str]) -> str | None:
    """Returns the first platform of the user's setting of jax; None without one."""
    return environment.get(JAX_PLATFORMS, "").split(",")[0].strip() or None


def _tell_jax(platform: str | None, environment: Mapping[str, str], here: Accelerators) -> None:
    """Lets jax fail where it cannot use the platform: by itself it goes on with the CPU, and warns at most."""
    if platform is None or environment.get(JAX_PLATFORMS):
        return
    import jax

    gpu = "rocm,cpu" if here.rocm and not here.cuda_plugins else "cuda,cpu"
    jax.config.update("jax_platforms", {"gpu": gpu, "tpu": "tpu,cpu", "cpu": "cpu"}[platform])


def check(platform: str | None, environment: Mapping[str, str], here: Accelerators) -> None:
    """Compares the devices of this process with those that the run asks for.

    Args:
      platform: the platform that the run asks for; None if nothing says.
      environment: environment of this process.
      here: the accelerators of this machine.

    Raises:
      InputError: the devices are others, or jax cannot use them.
    """
    import jax

    count = devices_asked(environment)
    first = _first(environment)
    if contradicts(platform, environment):
        raise _wrong(f"jax may use only {environment[JAX_PLATFORMS]}", platform, count, environment, here)
    amd = here.rocm and not here.cuda_plugins
    several = jax.distributed.is_initialized()
    if several and platform == "gpu" and _MEANS.get(first or platform) == platform and not here.sought and not amd:
        # jax would pass over its CUDA plugin without a word, and then wait for other processes that have GPUs.
        files = ", ".join(f"/dev/{name}" for name in SOUGHT)
        raise _wrong(f"jax looks for no GPU here, because none of {files} exists", platform, count, environment, here)
    try:
        backend, devices = jax.default_backend(), jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        # jax wraps the error of its runtime, and asserts that there is any platform.
        cause = error.__context__
        if is_loss(error) or (cause is not None and is_loss(cause)):
            raise cause if cause is not None and is_loss(cause) else error from None
        # jax adds the advice to let it choose, which would be the CPU.
        said = re.sub(r" \(set JAX_PLATFORMS=.*", "", " ".join(str(error).split()))[:300].rstrip(".")
        if not said or "is not in the list of known backends" in said:
            said = "none of its plugins that are installed is for this platform, or none could be loaded"
        raise _wrong(f"jax cannot use the devices: {said}", platform, count, environment, here) from None
    found = _MEANS.get(backend, backend)
    has = f"jax found {counted(len(devices), f'{found} device')} ({devices[0].device_kind})"
    if platform is not None and found != platform:
        raise _wrong(has, platform, count, environment, here)
    if count is not None and len(devices) != count:
        raise InputError(
            f"{has}, but the run asks for {count} in each process",
            where=f"host {socket.gethostname()}, {_settings(environment)}",
            fix=_other_number(found, len(devices), count, here),
            code="E-DEVICE-COUNT",
        )
    if platform is None and found == "cpu":
        warn_of_cpu(here)


def _wrong(
    what: str, platform: str | None, count: int | None, environment: Mapping[str, str], here: Accelerators
) -> InputError:
    """Returns the error of a process that has another platform than the run asks for."""
    wanted = "" if platform is None else f", but the run asks for {f'{count} x ' if count else ''}{platform}"
    return InputError(
        f"{what}{wanted}{_facts(platform, here)}",
        where=f"host {socket.gethostname()}, {_settings(environment)}",
        fix=_fix(platform, environment, here),
        code="E-DEVICE-PLATFORM",
    )


def _settings(environment: Mapping[str, str]) -> str:
    """Returns the settings by which the run asks for its devices."""
    names = (PLATFORM, DEVICES, JAX_PLATFORMS)
    return " ".join(f"{name}={environment[name]}" for name in names if name in environment) or "nothing sets a platform"


def _facts(platform: str | None, here: Accelerators) -> str:
    if platform == "gpu":
        return f". NVIDIA: {here.facts()}"
    if platform == "tpu":
        libtpu = here.plugins.get("libtpu", "not installed")
        return f". TPU: {'found' if here.tpu else 'none on the PCI bus, no /dev/accel*, no TPU_NAME'}; libtpu: {libtpu}"
    return ""


def _fix(platform: str | None, environment: Mapping[str, str], here: Accelerators) -> str:
    if contradicts(platform, environment):
        return f"Unset {JAX_PLATFORMS}, or ask for another platform."
    by_hand = PLATFORM not in environment
    if platform == "gpu":
        return here.advice(version("jax")).rstrip(".") + (f". {_CPU}" if by_hand else ".")
    if platform == "tpu":
        advice = (
            f"Run: pip install 'jax[tpu]=={version('jax')}' (libtpu must match jax)."
            if "libtpu" not in here.plugins
            else "End the process that holds the TPU, or choose a machine that has one."
        )
        return advice + (f" {_CPU}" if by_hand else "")
    return f"Unset {JAX_PLATFORMS}, or type `jaxbert doctor`."


def _other_number(platform: str, found: int, count: int, here: Accelerators) -> str:
    if platform == "cpu":
        return f"Set {DEVICES}={found}, or remove the setting that gives the CPU another number of devices (XLA_FLAGS)."
    if found > count:
        hides = "CUDA_VISIBLE_DEVICES" if platform == "gpu" else "TPU_VISIBLE_CHIPS"
        return f"Ask for {found} ({DEVICES}={found}), or hide the others from this process with {hides}."
    if platform == "gpu":
        return (
            f"Choose a machine with {counted(count, 'GPU')}, or ask for {found}. `nvidia-smi` lists the GPUs of this "
            f"host ({here.cards} device files). A GPU that it does not list is broken, or the job does not have it."
        )
    return f"Choose a machine with {counted(count, 'device')}, or ask for {found}."


def warn_of_cpu(here: Accelerators) -> None:
    """Warns where a run on the CPU is probably not what the user wants: the machine has more.

    Args:
      here: the accelerators of this machine.
    """
    if here.hidden:
        return
    if here.cards and not here.cuda_plugins:
        _log.warning(
            "this run uses the CPU, although this machine has an NVIDIA GPU: jax's CUDA plugin is not installed. "
            "To use the GPU, run: %s. To keep the CPU and silence this line, set JAX_PLATFORMS=cpu.",
            install(version("jax"), here.cuda),
        )
    elif here.cuda_plugins:
        _log.warning(
            "this run uses the CPU, although jax's CUDA plugin is installed: %s. %s To keep the CPU and silence this "
            "line, set JAX_PLATFORMS=cpu.",
            here.facts(),
            here.advice(version("jax")),
        )
    elif here.tpu:
        _log.warning(
            "this run uses the CPU, although this machine has a TPU: libtpu is %s. To use the TPU, run: "
            "pip install 'jax[tpu]==%s'. To keep the CPU and silence this line, set JAX_PLATFORMS=cpu.",
            here.plugins.get("libtpu", "not installed"),
            version("jax"),
        )
