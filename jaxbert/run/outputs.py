"""The files in a workdir that a run writes, and the files of others among them. Imports no jax."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from jaxbert.convert.target import others_in
from jaxbert.data.directory import foreign_files, foreign_tokenizer_files
from jaxbert.errors import InputError
from jaxbert.stores.files import is_partial
from jaxbert.stores.others import files_below, listed
from jaxbert.stores.replaced import OUTPUTS
from jaxbert.stores.steps import MANIFEST, read_manifest
from jaxbert.stores.workdir import CHECKPOINTS, EXPORT, PREPARED

# The names of what a run writes in a folder of its workdir: paths below the folder.
_WRITTEN = {
    # The writer of TensorBoard's files, and the profiler of jax (with a folder for each of several processes).
    "tensorboard": re.compile(r"events\.out\.tfevents\.[^/]+"),
    "sinks": re.compile(r"[a-z]+\.(json|log)"),
    "profile": re.compile(r"(process-\d+/)?plugins/profile/[^/]+/[^/]+"),
    # The files of a step; while Orbax writes it, its folder has a longer name.
    CHECKPOINTS: re.compile(r"\d+(\.[^/]*)?/.+"),
    # Files of `jaxbert.data.from_source.make_rows` are looked at below.
    "data": re.compile(rf"text\.json|{re.escape(PREPARED)}|(tokenizer|records|rows-[^/]+-\d+)/.+"),
}


def check_others(workdir: Path) -> None:
    """Raises InputError where `--overwrite` would delete files in a workdir that no run writes.

    Args:
      workdir: the workdir of a run that another run replaces.
    """
    others = sorted(set(_others(workdir)))
    if others:
        raise InputError(
            f"--overwrite would delete files that no run writes: {listed(others)}",
            where=str(workdir),
            fix="Move them out of the folders of the run, or give another --workdir.",
            code="E-WORKDIR-OTHERS",
        )


def holds_prepared(workdir: Path) -> bool:
    """Returns whether the folder `data` of a workdir without a run is what a run has prepared, and nothing else."""
    return (workdir / "data" / PREPARED).is_file() and next(_others(workdir), None) is None


def _others(workdir: Path) -> Iterator[str]:
    """Yields each file in the folders of a run that no run writes: its path below the workdir."""
    for folder in OUTPUTS:
        known = _WRITTEN.get(folder)
        for name, path in files_below(workdir / folder):
            if known is not None and not known.fullmatch(name) and not is_partial(path.name):
                yield f"{folder}/{name}"
    yield from (f"{EXPORT}/{name}" for name in others_in(workdir / EXPORT) if not is_partial(Path(name).name))
    found = list(_others_of_steps(workdir / CHECKPOINTS))
    for tokenizer in (workdir / "tokenizer", workdir / "data" / "tokenizer"):
        found += foreign_tokenizer_files(tokenizer) if tokenizer.is_dir() else ()
    for made in (workdir / "data").glob("*/"):
        kind = made.name.partition("-")[0]
        if kind in ("records", "rows"):
            found += foreign_files(made, kind)
    yield from (path.relative_to(workdir).as_posix() for path in found)


def _others_of_steps(checkpoints: Path) -> Iterator[Path]:
    """Yields each file in a committed step that its manifest does not list."""
    for manifest in checkpoints.glob(f"*/{MANIFEST}"):
        step = manifest.parent
        try:
            files = read_manifest(checkpoints.parent, int(step.name)).files
        except (InputError, ValueError):
            continue  # Nobody can tell whose they are, and the step is damaged.
        yield from (path for name, path in files_below(step) if name not in files and name != MANIFEST)
