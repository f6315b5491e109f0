"""The process of a sink: it takes the lines that `jaxbert.observe.sinks.apart` writes, until the pipe ends.

    python -m jaxbert.observe.sinks.process NAME WORKDIR

WORKDIR/sinks/NAME.json holds what the next process of the run needs: the number of the run in the sink's store, and the
last step that the sink has got.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from jaxbert.inputs.files import read_text
from jaxbert.inputs.values import parse
from jaxbert.observe.sinks import SINKS
from jaxbert.observe.sinks.base import DIRECTORY, RunFacts
from jaxbert.stores.files import write_whole

_LONGEST = 1 << 16


def run(name: str, workdir: Path, lines: IO[str]) -> None:
    """Opens a sink, gives it the figures of `lines`, and closes it."""
    about = parse(lines.readline(), strict=False)
    path = workdir / DIRECTORY / f"{name}.json"
    kept = _kept(path)
    state = dict(kept)

    def keep(values: Mapping[str, Any]) -> None:
        state.update(values)
        write_whole(path, json.dumps(state) + "\n")

    sink = SINKS[name].open(RunFacts(about["name"], about["config"], workdir, about["step"], kept, keep))
    ended_well = False
    for values in _whole(lines):
        if "ended_well" in values:
            ended_well = values["ended_well"]
        # A run computes the steps that a kill lost again, with the same figures, and the sink has got them before.
        elif values["step"] > kept.get("step", 0):
            sink.scalars(values["step"], values["values"])
            keep({"step": values["step"]})
    sink.close(ended_well)


def _kept(path: Path) -> dict[str, Any]:
    try:
        found = parse(read_text(path, most=_LONGEST))
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict) or type(found.get("step", 0)) is not int:
        raise ValueError(f"{path} is damaged: remove it, and the sink begins another run")
    return found


def _whole(lines: IO[str]) -> Iterator[Any]:
    """Yields the values of the lines. A run that was killed may leave a part of the last one."""
    return (parse(line, strict=False) for line in lines if line.endswith("\n"))


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), sys.stdin)
