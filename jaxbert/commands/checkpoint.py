"""Lists, verifies or prunes the checkpoints of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxbert.commands.figures import write_figures
from jaxbert.errors import InputError, Stopped
from jaxbert.stores.storage import is_remote
from jaxbert.stores.workdir import check_run

EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    parser.add_argument("action", choices=["list", "verify", "prune"])
    parser.add_argument("workdir", metavar="WORKDIR")
    parser.add_argument(
        "--keep", type=int, default=3, metavar="N", help="prune: number of the newest to keep (default: %(default)s)"
    )
    parser.add_argument("--drop-best", action="store_true", help="prune: do not keep the best one beside them")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Does the action and returns its figures."""
    from jaxbert.stores import steps as checkpoints
    from jaxbert.use.model_place import local_copy

    if is_remote(args.workdir) and args.action == "prune":
        raise InputError(
            "only checkpoints on a disk can be pruned",
            where="checkpoint prune",
            fix=f"Use: gcloud storage rm -r {args.workdir}/checkpoints/STEP",
            code="E-CHECKPOINT-REMOTE",
        )
    workdir = local_copy(args.workdir)
    if not Path(checkpoints.checkpoints_place(workdir)).is_dir():
        check_run(workdir)
    if not checkpoints.committed_steps(workdir):
        raise InputError(
            "the run has no checkpoint yet",
            where=str(workdir),
            fix="Let the run reach its first checkpoint.",
            code="E-CHECKPOINT-NONE",
        )
    if args.action == "prune":
        return _prune(workdir, args.keep, args.drop_best)
    return _list(workdir) if args.action == "list" else _verify(workdir, args.json)


def _list(workdir: Path) -> dict[str, Any]:
    """Prints step, size and loss of each checkpoint."""
    from jaxbert.stores.steps import best_step, committed_steps, read_manifest

    table: list[dict[str, Any]] = []
    for step in committed_steps(workdir):
        try:
            manifest = read_manifest(workdir, step)
        except ValueError:
            table.append({"step": step, "bytes": 0, "validation_loss": None, "best": False, "sane": False})
            continue
        size = sum(size for size, _ in manifest.files.values())
        loss = manifest.meta.get("validation_loss")
        best = step == best_step(workdir)
        table.append({"step": step, "bytes": size, "validation_loss": loss, "best": best, "sane": manifest.sane})
    for line in table:
        loss = "" if line["validation_loss"] is None else f"  validation loss {line['validation_loss']:.4f}"
        marks = ("  best" if line["best"] else "") + ("" if line["sane"] else "  not sane")
        print(f"step {line['step']:>9}  {line['bytes'] / 2**20:9.1f} MiB{loss}{marks}")
    return {"checkpoints": table}


def _verify(workdir: Path, file: str | None) -> dict[str, Any]:
    """Compares each checkpoint with its manifest.

    Raises:
      Stopped: a checkpoint is damaged.
    """
    from jaxbert.stores.steps import committed_steps, damage, sane_steps

    steps, sane = committed_steps(workdir), sane_steps(workdir)
    found = {step: damage(workdir, step) for step in steps}
    for step, wrong in found.items():
        print(f"step {step:>9}  {wrong or ('good' if step in sane else 'undamaged, but its loss is not sane')}")
    damaged = [step for step, wrong in found.items() if wrong]
    if damaged:
        write_figures(file, {"damage": {str(step): wrong for step, wrong in found.items()}})
        raise Stopped(
            f"damaged: {_listed(damaged)}",
            where=str(workdir),
            fix="A run continues from its newest good checkpoint. Remove the damaged ones, or restore them from a "
            "copy.",
            code="E-CHECKPOINT-DAMAGED",
        )
    return {"good": steps}


def _prune(workdir: Path, keep: int, drop_best: bool) -> dict[str, Any]:
    """Removes all checkpoints but the newest `keep` and the best.

    Raises:
      InputError: no good checkpoint would be left.
    """
    from jaxbert.stores import steps as checkpoints

    if keep < 1:
        raise InputError(f"--keep is {keep}", where="checkpoint prune", fix="Take 1 or more.", code="E-CHECKPOINT-KEEP")
    steps = checkpoints.committed_steps(workdir)
    stay = checkpoints.staying(workdir, keep=keep, keep_best=not drop_best)
    if len(stay) < len(steps) and all(checkpoints.damage(workdir, step) for step in reversed(stay)):
        raise InputError(
            f"every step that would stay is damaged: {_listed(stay)}",
            where=str(workdir),
            fix="Keep more steps. `jaxbert checkpoint verify` shows which are good.",
            code="E-CHECKPOINT-PRUNE",
        )
    removed = checkpoints.prune(workdir, keep=keep, keep_best=not drop_best)
    left = checkpoints.committed_steps(workdir)
    print(f"removed {_listed(removed)}; left {_listed(left)}")
    return {"removed": removed, "left": left}


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps)) or "none"
