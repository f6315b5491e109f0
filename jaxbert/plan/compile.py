"""The real step, compiled by libtpu for a chip that this machine does not have: memory, collectives, cycles, bytes.

libtpu comes with `jax[tpu]` and compiles on a machine that has only a CPU. Its version must be the one that belongs to
this jax. `prepare` sets the environment for it before jax is imported. libtpu writes its estimate of the cycles of an
instruction into the compiled program, and `jaxbert.plan.hlo` adds them up. It has no estimate for Pallas kernels and
collectives. FLOPs are not taken from here.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import time
from dataclasses import dataclass
from typing import Any

from jaxbert.config import RunConfig
from jaxbert.core.chips import GIB
from jaxbert.errors import InputError
from jaxbert.plan.hlo import Collective, Module
from jaxbert.plan.topologies import Topology

INSTALL = "pip install \"jax[tpu]==$(python -c 'import jax; print(jax.__version__)')\""

# libtpu asks the machine for these values when it starts. Without them it prints two errors that do not matter here.
# The first value lets several processes compile at once.
_ENVIRONMENT = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


@dataclass(frozen=True)
class Compiled:
    """The compiler's answer for a step.

    Attributes:
      fits: whether it gave a program.
      seconds: seconds that the compilation took.
      arguments: bytes of HBM of the step's arguments: state, frozen tables, batch.
      temporaries: bytes of all intermediate arrays.
      code: bytes of the program.
      outputs: bytes of the outputs that do not replace an argument.
      limit: bytes that a program may have.
      over: bytes by which the program is too large.
      collectives: collectives of the program.
      cycles: cycles of a step by libtpu's estimates, without collectives and kernels; 0 if it gave no program.
      hbm_bytes: bytes that a step reads and writes in HBM.
      kernels: number of runs of Pallas kernels in a step, of which `cycles` has nothing.
    """

    fits: bool
    seconds: float
    arguments: float = 0.0
    temporaries: float = 0.0
    code: float = 0.0
    outputs: float = 0.0
    limit: float = 0.0
    over: float = 0.0
    collectives: tuple[Collective, ...] = ()
    cycles: float = 0.0
    hbm_bytes: float = 0.0
    kernels: int = 0

    @property
    def total(self) -> float:
        """Returns the sum of all bytes."""
        return self.arguments + self.temporaries + self.code + self.outputs


def available() -> str | None:
    """Returns the version of libtpu; None if it is not installed."""
    if importlib.util.find_spec("libtpu") is None:
        return None
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("libtpu")
    except PackageNotFoundError:
        return "unknown"


def prepare(environment: Any = None) -> None:
    """Sets the environment for libtpu and jax. Call it before jax is imported. jax itself stays on the CPU."""
    environment = os.environ if environment is None else environment
    environment.setdefault("JAX_PLATFORMS", "cpu")
    for name, value in _ENVIRONMENT.items():
        environment.setdefault(name, value)


def devices(topology: Topology) -> list[Any]:
    """Returns libtpu's descriptions of the chips of `topology`."""
    from jax.experimental import topologies

    options: dict[str, Any] = {}
    if topology.slices > 1:
        options["num_slices"] = topology.slices
    if topology.hosts == topology.slices:
        # libtpu puts at most four chips into a host unless it is told. The bounds have three sides at least.
        options["chips_per_host_bounds"] = (*topology.shape, *(1,) * (3 - len(topology.shape)))
    if topology.chip.libtpu:
        options["chip_config_name"] = topology.chip.libtpu
    return list(topologies.get_topology_desc(platform="tpu", topology_name=topology.name, **options).devices)


def compile_step(config: RunConfig, topology: Topology, phase: int) -> Compiled:
    """Compiles the step of phase number `phase` for `topology`, as `jaxbert.training.step.build` makes it.

    Raises:
      InputError: the topology cannot run the config.
    """
    import jax

    from jaxbert.core.sharding import make_mesh
    from jaxbert.training.step import build

    mesh = make_mesh(config.mesh, devices(topology))
    program = build(config, mesh, phase)
    began = time.perf_counter()
    with jax.set_mesh(mesh):
        lowered = program.step.lower(program.state, program.frozen, program.batch)  # type: ignore[attr-defined]
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            given = (program.state, program.frozen, program.batch)
            refused = _refused(str(error), time.perf_counter() - began, topology, _shard_bytes(given))
            if refused is None:
                raise
            return refused
    memory = compiled.memory_analysis()
    sizes = dict(zip(mesh.axis_names, mesh.devices.shape, strict=True))
    module = Module(compiled.as_text())
    return Compiled(
        fits=True,
        seconds=time.perf_counter() - began,
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        outputs=max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes),
        limit=topology.chip.hbm,
        collectives=tuple(module.collectives(sizes)),
        cycles=module.cycles(),
        hbm_bytes=module.bytes(),
        kernels=module.kernels(),
    )


def _shard_bytes(tree: Any) -> float:
    """Returns the bytes of abstract arrays that one device holds."""
    import jax

    return float(sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree)))


# The compiler refuses in two ways. "Used 24.44G of 15.75G hbm. Exceeded hbm capacity by 8.69G." counts everything. "the
# total memory required for HLO temporaries (120.50G) exceeds available HBM (31.25G)" is rough, without the arguments.
_USED = re.compile(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm")
_TEMPORARIES = re.compile(r"HLO temporaries \(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)")
_VERSIONS = re.compile(r"\bversions?\b|libtpu|deserializ|bytecode", re.I)
_UNIT = {"": 1, "K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}


def _refused(message: str, seconds: float, topology: Topology, arguments: float) -> Compiled | None:
    """Reads the memory figures in the compiler's refusal. Returns None for any other refusal, which is a bug.

    Raises:
      InputError: libtpu and jax do not fit together.
    """
    if whole := _USED.search(message):
        used, limit = _sizes(whole)
        return Compiled(False, seconds, arguments, used - arguments, limit=limit, over=used - limit)
    if rough := _TEMPORARIES.search(message):
        temporaries, limit = _sizes(rough)
        return Compiled(False, seconds, arguments, temporaries, limit=limit, over=arguments + temporaries - limit)
    first = message.strip().splitlines()[0][:300]
    if _VERSIONS.search(message):
        raise InputError(
            f"libtpu cannot compile the step: {first}",
            where=topology.name,
            fix=f"Install the libtpu that belongs to this jax: {INSTALL}.",
            code="E-PLAN-COMPILE",
        )
    return None


def _sizes(found: re.Match[str]) -> tuple[float, float]:
    one, its, other, others = found.groups()
    return float(one) * _UNIT[its], float(other) * _UNIT[others]
