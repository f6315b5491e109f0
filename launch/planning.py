"""Runs `jaxbert plan` for a launch, and remembers its figures.

The plan runs in its own process, for two reasons. The compiler for another chip must not share a process with a jax
that already runs. And the launcher itself then needs no jax. The figures are remembered under everything that they
depend on: the resolved config, the topology, the code, the versions of jax and libtpu.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jaxbert.config import RunConfig, to_json
from jaxbert.errors import InputError, Interrupted
from jaxbert.inputs.files import read_bytes, read_text
from jaxbert.inputs.values import Each, Maybe, Whole, checked, parse
from jaxbert.plan.topologies import Topology
from jaxbert.stores.files import write_whole
from jaxbert.stores.storage import cache_directory

from .archive import code_hash

_log = logging.getLogger(__name__)


# The figures of a plan that a launch shows.
_FIGURES = {
    "bill": {"hours": float, "chip_hours": float, "money": Maybe(float), "currency": str},
    "price": Maybe({"per_hour": float, "currency": str, "source": str}),
    "chips": Whole(1),
    "devices": Whole(1),
    "hbm_bytes": float,
    "judged_by": str,
    "phases": [{"memory_bytes": Each(float)}],
}


def plan(
    config: RunConfig,
    arguments: Sequence[str],
    place: Topology,
    *,
    analytic: bool,
    price: float | None = None,
    provider: str = "",
    chip: str | None = None,
) -> tuple[Mapping[str, Any], bool]:
    """Returns the figures of `jaxbert plan --json`, and whether they were remembered.

    Args:
      config: the run's config, resolved.
      arguments: CONFIG and `--set` for `jaxbert plan`.
      place: the topology.
      analytic: whether to plan with the model alone, without the chip's compiler.
      price: the price of a chip-hour; None for the list price.
      provider: the seller whose list price counts, a name of `jaxbert.core.chips.PROVIDERS`; "" for no list price.
      chip: the file of --chip; None for a chip of the table.

    Raises:
      InputError: the run does not fit there, or it cannot be planned. The message is that of `jaxbert plan`.
      Interrupted: the plan was stopped.
    """
    kept = _kept(config, place, analytic, price, provider)
    try:
        return checked(read_bytes(kept), _FIGURES), True
    except FileNotFoundError:
        pass
    except ValueError as error:
        _log.warning("The remembered plan %s is damaged (%s): planning again.", kept, error)
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not analytic:
        _log.info("planning (about a minute for each phase; --analytic takes seconds) ...")
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / "plan.json"
        command = [sys.executable, "-m", "jaxbert", "plan", *arguments, f"--topology={place.name}"]
        command += [f"--slices={place.slices}", f"--json={made}", *(["--analytic"] if analytic else [])]
        command += [f"--price={price}"] if price is not None else [f"--provider={provider or 'none'}"]
        command += [f"--chip={chip}"] if chip is not None else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _error(done.returncode, done.stderr, place)
        text = read_text(made)
    write_whole(kept, text)
    return parse(text), False


def _kept(config: RunConfig, place: Topology, analytic: bool, price: float | None, provider: str = "") -> Path:
    """Returns the file of the remembered figures."""
    known = {
        "config": to_json(config),
        "topology": [place.name, place.slices, asdict(place.chip)],
        "analytic": analytic,
        "price": [price, provider],
        "code": code_hash(),
        "versions": {name: _version(name) for name in ("jax", "libtpu")},
    }
    key = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
    return cache_directory() / "plans" / f"{key}.json"


def _error(code: int, said: str, place: Topology) -> Exception:
    """Returns the error of this command for a plan that ended with `code` and printed `said` on stderr."""
    where, fix = f"--topology {place.name}", "`jaxbert plan` shows more."
    lines = [line for line in said.splitlines() if line.startswith("jaxbert: error: ")]
    what = f"nothing was sent: {lines[-1].removeprefix('jaxbert: error: ')}" if lines else ""
    if what and code == InputError.exit_code:
        return InputError(what, where=where, fix=fix, code="E-LAUNCH-PLAN")
    if what and code == Interrupted.exit_code:
        return Interrupted(what, where=where, fix=fix, code="E-LAUNCH-PLAN-INTERRUPTED")
    return RuntimeError(f"jaxbert plan failed with exit code {code}:\n{said}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
