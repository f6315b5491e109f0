"""What a run would take where it is to be sent: `jaxbert plan` as a process of its own, remembered.

A process of its own, because the compiler of another chip must not share one with anything else, and because a launcher
imports no jax. Remembered by all that the answer depends on: the resolved config, the topology, the code, the versions.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from jaxbert.launch.archive import code_hash

from jaxbert.config import RunConfig, to_json
from jaxbert.errors import InputError, Interrupted, Stopped
from jaxbert.plan.topologies import Topology
from jaxbert.stores.storage import cache_directory


def plan(
    config: RunConfig,
    arguments: Sequence[str],
    place: Topology,
    *,
    analytic: bool,
    price: float | None = None,
    note: Callable[[str], None],
) -> tuple[Mapping[str, Any], bool]:
    """The figures of `jaxbert plan --json`, and whether they were remembered.

    Args:
      config: resolved.
      arguments: CONFIG and `--set` of `jaxbert plan`.
      place: the topology.
      analytic: by the model alone.
      price: of a chip-hour, in the place of the table's.
      note: prints a line.

    Raises:
      InputError: the run does not fit there, or cannot be planned; the line is plan's.
      Interrupted: plan was stopped.
    """
    known = {
        "config": to_json(config),
        "topology": [place.name, place.slices],
        "analytic": analytic,
        "price": price,
        "code": code_hash(),
        "versions": {name: _version(name) for name in ("jax", "libtpu")},
    }
    key = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
    kept = cache_directory() / "plans" / f"{key}.json"
    try:
        return json.loads(kept.read_text(encoding="utf-8")), True
    except (FileNotFoundError, ValueError):
        pass
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not analytic:
        note("planning (about a minute a phase; --analytic takes seconds) ...")
    made = kept.with_suffix(".tmp")
    command = [sys.executable, "-m", "jaxbert", "plan", *arguments, f"--topology={place.name}"]
    command += [f"--slices={place.slices}", f"--json={made}", *(["--analytic"] if analytic else [])]
    command += [f"--price={price}"] if price is not None else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _error(done.returncode, done.stderr, place)
    figures = json.loads(made.read_text(encoding="utf-8"))
    made.replace(kept)
    return figures, False


def _error(code: int, said: str, place: Topology) -> Exception:
    """What plan's last line says, as this command's end."""
    lines = [line for line in said.splitlines() if line.startswith("jaxbert: error: ")]
    what = lines[-1].removeprefix("jaxbert: error: ") if lines else f"plan ended with {code}: {said.strip()[-500:]}"
    kind = {2: InputError, 3: Interrupted, 4: Stopped}.get(code)
    if kind is None:
        return RuntimeError(what)
    return kind(f"nothing was sent: {what}", where=f"--topology {place.name}", fix="See `jaxbert plan`.")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def lines(figures: Mapping[str, Any], *, spot: bool) -> list[tuple[str, str]]:
    """(what, in words) of a plan, for the one screen."""
    bill, price, chips = figures["bill"], figures["price"], figures["chips"]
    used = max(sum(phase["memory_bytes"].values()) for phase in figures["phases"])
    hours = bill["hours"]
    cheaper = "; spot costs less" if spot else ""
    an_hour = f"{price['per_hour'] * chips:,.2f} {price['currency']} an hour"
    return [
        ("fits", f"{used / 2**30:.1f} GiB of {figures['hbm_bytes'] / 2**30:.1f} GiB a chip, by {figures['judged_by']}"),
        ("takes", f"{_time(hours)} if nothing interrupts it, {bill['chip_hours']:,.0f} chip-hours"),
        ("costs", f"{an_hour}, {bill['money']:,.0f} {bill['currency']} in all, at {price['per_hour']:.2f} a chip-hour"),
        ("", f"({price['source']}{cheaper})"),
    ]


def _time(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
