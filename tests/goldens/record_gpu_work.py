"""Records gpu_work.json: bytes, memory and traffic of steps that XLA compiled for GPUs; half an hour on two cores.

python tests/goldens/record_gpu_work.py [--missing] [--keep DIR]     with requirements-lock-3.13-cuda.txt installed

No GPU is needed: the CUDA plugin of jax compiles for a described one. `--keep` writes the programs' text there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

# jax stays on the CPU, and the plugin does not look for a driver.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
GOLDEN = Path(__file__).parent / "gpu_work.json"
sys.path.append(str(Path(__file__).parents[1] / "gpu"))


def figures_of(case: Any, keep: Path | None) -> dict[str, Any]:
    """The figures of a program: sent are bytes by mesh axes, an all-reduce twice."""
    from jaxbert.config import mesh_shape
    from jaxbert.plan.hlo import Module
    from jaxbert.plan.report import traffic

    compiled = case.compile()
    text = compiled.as_text()
    if keep is not None:
        (keep / (str(case).replace(" ", "_").replace("*", "") + ".hlo")).write_text(text, encoding="utf-8")
    config, place = case.made()
    sizes = dict(zip(("data", "fsdp", "tensor"), mesh_shape(config.mesh, place.devices), strict=True))
    module, memory = Module(text), compiled.memory_analysis()
    return {
        "bytes": module.bytes(),
        "memory": memory.argument_size_in_bytes + memory.temp_size_in_bytes,
        "kernels": sum(count for _, one, count in module.executed() if one.op in ("fusion", "fusion-start")),
        "sent": {"+".join(axes): size for axes, size in sorted(traffic(tuple(module.collectives(sizes))).items())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    import jax
    from gpu_cases import CASES

    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if args.missing and GOLDEN.exists() else {}
    for case in CASES:
        if str(case) not in golden:
            golden[str(case)] = figures_of(case, args.keep)
            print(case, golden[str(case)], flush=True)
            golden["compiler"] = f"XLA of jax {jax.__version__}, CUDA 13"
            GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
