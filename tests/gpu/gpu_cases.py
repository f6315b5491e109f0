"""Steps that XLA's compiler for GPUs is given, on a machine without a GPU: run by tests/goldens/record_gpu_work.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxbert.config import RunConfig, find_config
from jaxbert.config.overrides import apply_overrides
from jaxbert.plan.planner import prepared
from jaxbert.plan.topologies import Topology, topology

# What the compiler asks of a GPU, in the text form of XLA's GpuTargetConfigProto. The limits of a block are those of
# every GPU of these generations. Source of all figures: NVIDIA's CUDA programming guide, table of technical
# specifications per compute capability, and the architecture papers of A100 and H100 (SXM).
_LIMITS = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "shared_memory_per_block": 48 * 1024,
    "threads_per_core_limit": 2048,
    "block_dim_limit_x": 2**31 - 1,
    "block_dim_limit_y": 65535,
    "block_dim_limit_z": 65535,
    "thread_dim_limit_x": 1024,
    "thread_dim_limit_y": 1024,
    "thread_dim_limit_z": 64,
    "registers_per_core_limit": 65536,
    "registers_per_block_limit": 65536,
}
_CHIPS = {
    "a100-80gb": _LIMITS
    | {
        "core_count": 108,
        "fpus_per_core": 64,
        "clock_rate_ghz": 1.41,
        "shared_memory_per_core": 164 * 1024,
        "shared_memory_per_block_optin": 163 * 1024,
        "l2_cache_size": 40 * 2**20,
        "device_memory_size": 80 * 2**30,
        "memory_bandwidth": 2_039_000_000_000,
        "cuda_compute_capability": "{ major: 8 }",
    },
    "h100": _LIMITS
    | {
        "core_count": 132,
        "fpus_per_core": 128,
        "clock_rate_ghz": 1.98,
        "shared_memory_per_core": 228 * 1024,
        "shared_memory_per_block_optin": 227 * 1024,
        "l2_cache_size": 50 * 2**20,
        "device_memory_size": 80 * 2**30,
        "memory_bandwidth": 3_352_000_000_000,
        "cuda_compute_capability": "{ major: 9 feature_extension: ACCELERATED_FEATURES }",
    },
}
# The versions of the CUDA runtime and of cuDNN that the program is compiled for.
_VERSIONS = 'runtime_version: "13.0.0" driver_version: "13.0.0" compile_time_toolkit_version: "13.0.0"'
_CUDNN = (9, 10, 0)


def target(chip: str) -> str:
    """Returns the description of a chip of `_CHIPS` that the compiler takes."""
    device = "\n".join(
        f"{name}{'' if str(value).startswith('{') else ':'} {value}" for name, value in _CHIPS[chip].items()
    )
    major, minor, patch = _CUDNN
    return f"""
gpu_device_info {{
{device}
{_VERSIONS} dnn_version: "{major}.{minor}.{patch}"
}}
platform_name: "CUDA"
dnn_version_info {{ major: {major} minor: {minor} patch: {patch} }}
device_description_str: "{chip}"
"""


def devices(place: Topology) -> list[Any]:
    """Returns the compiler's descriptions of the GPUs of one machine."""
    from jax.experimental import topologies

    shape = f"1x1x{place.devices}"
    found = topologies.get_topology_desc("gpus", "cuda", target_config=target(place.chip.name), topology=shape)
    return list(found.devices)


@dataclass(frozen=True)
class Case:
    """A step that is compiled.

    Attributes:
      config: name of the config.
      place: GPUs of one machine.
      phase: number of the phase.
      settings: settings of the config.
    """

    config: str
    place: str
    phase: int
    settings: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.config, self.place, f"phase {self.phase}", *self.settings))

    def made(self) -> tuple[RunConfig, Topology]:
        place = topology(self.place)
        return prepared(apply_overrides(find_config(self.config), list(self.settings)), place)[0], place

    def compile(self) -> Any:
        """Returns the compiled step."""
        import jax

        from jaxbert.core.sharding import make_mesh
        from jaxbert.training.step import build

        config, place = self.made()
        mesh = make_mesh(config.mesh, devices(place))
        program = build(config, mesh, self.phase)
        with jax.set_mesh(mesh):
            step: Any = program.step
            return step.lower(program.state, program.frozen, program.batch).compile()


def _rows(count: int, remat: str, *more: str) -> tuple[str, ...]:
    return (f"phases.*.batch_size={count}", "phases.*.accumulation=1", f"encoder.remat={remat}", *more)


# BERT at both lengths, with each remat, without stored scores, without dropout, in micro-batches, over eight GPUs, and
# with shared layers.
FUSED = ("encoder.attention=fused", "encoder.attention_dropout=0")
STILL = ("encoder.attention_dropout=0", "encoder.dropout=0")
FSDP = ("mesh.layout=fsdp", "mesh.fsdp=8", "evaluation.batch_size=256")
CASES = [
    Case("bert_large_nvidia", "a100-80gb:1", 1, _rows(32, "none")),
    Case("bert_large_nvidia", "a100-80gb:1", 1, _rows(32, "dots")),
    Case("bert_large_nvidia", "a100-80gb:1", 0, _rows(64, "none")),
    Case("bert_large_lamb", "h100:8", 1, _rows(192, "none", *FSDP)),
    Case("bert_large_nvidia", "a100-80gb:1", 1, _rows(32, "none", *FUSED)),
    Case("bert_base", "h100:1", 0, _rows(64, "none")),
    Case("bert_large_nvidia", "a100-80gb:1", 0, _rows(64, "none", *STILL)),
    Case("bert_large_nvidia", "a100-80gb:1", 1, _rows(32, "full")),
    Case("albert_base", "a100-80gb:1", 0, _rows(16, "none")),
]
