"""Records tpu_work.json: cycles, bytes and traffic of the programs of tests/tpu/cases.py; more than two hours.

python tests/goldens/record_tpu_work.py [--missing]      in the environment of `make test-tpu`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from jaxbert.plan.compile import Compiled, available, prepare

GOLDEN = Path(__file__).parent / "tpu_work.json"
sys.path.append(str(Path(__file__).parents[1] / "tpu"))


def figures_of(compiled: Compiled, little: bool) -> dict[str, Any]:
    """The figures of a program: sent are bytes by mesh axes, an all-reduce twice. Of little effort only these."""
    from jaxbert.core.chips import GIB
    from jaxbert.plan.report import traffic

    sent = {"+".join(axes): size for axes, size in sorted(traffic(compiled.collectives).items())}
    if little:
        return {"sent": sent}
    return {
        "cycles": compiled.cycles,
        "kernels": compiled.kernels,
        "hbm_bytes": compiled.hbm_bytes,
        "total_gib": round(compiled.total / GIB, 3),
        "sent": sent,
    }


def main() -> None:
    prepare()
    from cases import WORKS

    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if "--missing" in sys.argv else {}
    for case in WORKS:
        if str(case) not in golden:
            golden[str(case)] = figures_of(case.compile()[1], case.little)
            print(case, golden[str(case)], flush=True)
            golden["compiler"] = f"libtpu {available()}"
            GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
