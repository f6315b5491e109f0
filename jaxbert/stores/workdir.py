"""The parts of a workdir, and where they are: on a disk, or at gs://. Imports no jax."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath

from jaxbert.errors import InputError
from jaxbert.stores.lease import DIRECTORY as LEASE
from jaxbert.stores.storage import Bucket, Storage, is_remote, storage

CHECKPOINTS, LAUNCH, LOGS = "checkpoints", "launch", "logs"
# The file that holds the URL of a workdir in a bucket, in the directory of this machine that belongs to it.
_REMOTE = REMOTE = ".remote"
# A workdir may hold these before a run begins: a launcher's files, and the lease of a run that could not begin.
BEFORE = frozenset({LEASE, LAUNCH, LOGS, REMOTE})


def storage_of(workdir: Path) -> Storage:
    """Returns the storage of the checkpoints and the lease of a run: its workdir, or the bucket that it belongs to."""
    url = _url(workdir)
    return storage(workdir if url is None else url)


def workdir_of(model: Path) -> tuple[Path, int | None]:
    """Splits the path of a checkpoint, WORKDIR/checkpoints/STEP, into (WORKDIR, STEP).

    Any other path is taken as a workdir: the result is (`model`, None). Nothing is read from the disk.
    """
    workdir, step = split_checkpoint(str(model))
    return (model, None) if step is None else (Path(workdir), step)


def split_checkpoint(model: str) -> tuple[str, int | None]:
    """Does what `workdir_of` does, for a path or a URL as a string; a URL keeps its two slashes."""
    parent, _, step = model.rstrip("/").rpartition("/")
    workdir, _, name = parent.rpartition("/")
    if name != CHECKPOINTS or not (step.isascii() and step.isdigit()):
        return model, None
    return workdir or ("/" if parent.startswith("/") else "."), int(step)


def _url(workdir: Path) -> str | None:
    with suppress(OSError):
        return (workdir / REMOTE).read_text(encoding="utf-8").strip()
    return None


def name_of(workdir: Path) -> str:
    """Returns the workdir as the user names it: its URL, or its path."""
    return _url(workdir) or str(workdir)


def readable(model: str) -> str:
    """`model` itself, or of a run (or one checkpoint of it) in a bucket a copy on this machine, to be read only.

    Of a run the best checkpoint and the newest are copied; of a published model at a URL everything.

    Raises:
      InputError: there is none, or the bucket cannot be read.
      Interrupted: the network failed.
    """
    if not is_remote(model):
        return model
    url, step = model.rstrip("/"), None
    parent, _, last = url.rpartition("/")
    if last.isdigit() and parent.endswith(f"/{CHECKPOINTS}"):
        url, step = parent.removesuffix(f"/{CHECKPOINTS}"), last
    from jaxbert.stores.mirror import Mirror

    mirror = Mirror(url)
    mirror.path = mirror.path.with_name("read")
    mirror.fetch()
    (mirror.path / _REMOTE).unlink()
    if not any(mirror.path.iterdir()):
        raise InputError("nothing there", where=model, fix="Give the URL of a run's workdir.")
    bucket = Bucket(url)
    there = bucket.files(CHECKPOINTS)
    if there:
        # Imported late: it brings jax with it, which `report` and the launchers do without.
        from jaxbert.stores.steps import MANIFEST, best_step, committed_steps

        manifests = [name for name in there if PurePosixPath(name).name == MANIFEST]
        for name in manifests:
            bucket.fetch(f"{CHECKPOINTS}/{name}", mirror.path / CHECKPOINTS / name)
        steps = committed_steps(mirror.path)
        wanted = {step} if step else {str(best_step(mirror.path)), str(steps[-1] if steps else None)}
        for name, size in there.items():
            place = mirror.path / CHECKPOINTS / name
            if name.split("/")[0] in wanted and not (place.is_file() and place.stat().st_size == size):
                bucket.fetch(f"{CHECKPOINTS}/{name}", place)
        for name in manifests:
            if name.split("/")[0] not in wanted:
                (mirror.path / CHECKPOINTS / name).unlink()
    return str(mirror.path / CHECKPOINTS / step) if step else str(mirror.path)
