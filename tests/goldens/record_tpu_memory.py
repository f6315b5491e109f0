"""Records tpu_memory.json: what the TPU compiler says of the cases of tests/tpu; takes half an hour on two cores.

python tests/goldens/record_tpu_memory.py [--missing]      in the environment of `make test-tpu`
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from jaxbert.plan.compile import available, prepare

GOLDEN = Path(__file__).parent / "tpu_memory.json"
sys.path.append(str(Path(__file__).parents[1] / "tpu"))


def record(case: Any) -> tuple[str, dict[str, Any]]:
    """A case's figures; those of little effort too, where `make test-tpu` compiles it so."""
    prepare()
    from cases import little_effort

    figures = figures_of(case)
    if case.quicker:
        with little_effort():
            figures["little_effort"] = figures_of(case)
    return str(case), figures


def figures_of(case: Any) -> dict[str, Any]:
    """The figures of one compilation."""
    from jaxbert.core.chips import GIB

    work, compiled = case.compile()
    return {
        "total_gib": round(compiled.total / GIB, 3),
        "temporaries_gib": round(compiled.temporaries / GIB, 3),
        "over_gib": round(compiled.over / GIB, 3),
        "model_gib": round(work.memory.total / GIB, 3),
        "compile_s": round(compiled.seconds),
    }


def main() -> None:
    """Two at a time."""
    prepare()
    from cases import SIZES, TOO_LARGE

    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if "--missing" in sys.argv else {}
    todo = [case for case in (*SIZES, TOO_LARGE) if str(case) not in golden]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for name, figures in pool.map(record, todo):
            golden[name] = figures
            print(name, figures, flush=True)
            golden["compiler"] = f"libtpu {available()}"
            GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
