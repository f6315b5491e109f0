"""Finds MODEL, the word by which every command and `jaxbert.load` name a model.

MODEL is one of:
  a run's workdir, which stands for its best step by validation, else for its newest good step;
  the workdir of a fine-tuning with several runs, which stands for the best one;
  WORKDIR/checkpoints/STEP, one step of a run;
  a published directory, of Hugging Face or of Google's originals;
  hf:NAME or hf:NAME@REVISION, a model of the Hugging Face hub;
  a URL (gs://...) of a workdir, of one of its checkpoints, or of a published directory.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jaxbert.convert.read import FORMATS, is_published
from jaxbert.convert.sentence_transformers import transformer_of
from jaxbert.errors import InputError, Interrupted
from jaxbert.inputs.values import read_json
from jaxbert.stores.files import disk_full, disk_is_full
from jaxbert.stores.mirror import Mirror
from jaxbert.stores.steps import MANIFEST, best_step, committed_steps, sane_steps
from jaxbert.stores.storage import Bucket, is_remote
from jaxbert.stores.workdir import CHECKPOINTS, FINETUNE, REMOTE, names_checkpoint, split_checkpoint, workdir_of

HUB = "hf:"

# The files of a hub repository that describe a model, beside its weights.
_DESCRIPTIONS = (
    # sentence-transformers' older layout has all of the model in this directory.
    "0_Transformer/*.json",
    *("0_Transformer/*.txt", "0_Transformer/*.model"),
    *("config.json", "bert_config.json", "albert_config.json"),
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "*.model"),
    *("modules.json", "sentence_*_config.json", "config_sentence_transformers.json"),
    *("1_Pooling/config.json", "2_Normalize/config.json"),
)


@dataclass(frozen=True)
class ModelPlace:
    """A model that was found.

    Attributes:
      name: MODEL, as the user wrote it.
      path: a directory on this machine: the workdir of a run, or the published directory.
      run: whether jaxbert trained the model and `path` is the workdir.
      step: the step of a run that MODEL names; None where it names none.
    """

    name: str
    path: Path
    run: bool
    step: int | None = None


def find_model(model: str | Path) -> ModelPlace:
    """Returns where MODEL lies on this machine, after a download or a copy where it lies elsewhere.

    Raises:
      InputError: there is no such model, or it cannot be reached.
      Interrupted: the network failed; the same call continues.
    """
    name = str(model)
    path = _downloaded(name.removeprefix(HUB)) if name.startswith(HUB) else local_copy(model)
    if not path.is_dir():
        raise InputError(
            "no such model",
            where=name,
            fix=("This is a file. " if path.is_file() else "")
            + "Give the workdir of a run, a Hugging Face directory, or hf:NAME.",
            code="E-MODEL-MISSING",
        )
    path = _best_run(transformer_of(path))
    workdir, step = workdir_of(path)
    if step is not None and (workdir / "config.json").is_file():
        return ModelPlace(name, workdir, run=True, step=step)
    if names_checkpoint(str(path)) and (path.parent.parent / "config.json").is_file():
        raise InputError(
            "the last part of this path is not a step number",
            where=str(path),
            fix="Give WORKDIR/checkpoints/STEP.",
            code="E-MODEL-STEP",
        )
    if not is_published(path):
        raise InputError(
            "the directory has no config.json, so it holds no model",
            where=name,
            fix="Give a workdir, a Hugging Face directory, or one of Google's with bert_config.json.",
            code="E-MODEL-NONE",
        )
    return ModelPlace(name, path, run=_is_run(path / "config.json"))


def _best_run(path: Path) -> Path:
    """Returns the best run of a fine-tuning with several runs (`jaxbert finetune`); any other path as it is."""
    if not (path / FINETUNE).is_file() or (path / "config.json").exists():
        return path
    fix = "Repeat the command `jaxbert finetune`, or name one of the runs."
    found = read_json(
        path / FINETUNE, "the results cannot be read", fix=fix, code="E-MODEL-FINETUNE", shape={"best": str}
    )
    best = path / found["best"]
    if not (best / "config.json").is_file():
        raise InputError(
            f"the best run, {found['best']}, is gone", where=str(path / FINETUNE), fix=fix, code="E-MODEL-FINETUNE"
        )
    return best


def _is_run(config: Path) -> bool:
    """Returns whether a config.json is a run's, and not a published model's."""
    if not config.is_file():
        return False
    fix = "Copy the model again."
    try:
        value = read_json(config, "config.json cannot be read", fix=fix, code="E-CONFIG-FILE", shape=dict)
    except OSError as error:
        raise InputError(
            f"config.json cannot be read: {error}", where=str(config), fix=fix, code="E-CONFIG-FILE"
        ) from None
    return "encoder" in value and "phases" in value


def local_copy(place: str | Path) -> Path:
    """Returns the directory itself, or for a URL a copy on this machine that is only read.

    Of a run's checkpoints, the copy has the best, the newest and the newest sane one, or the one that the URL names. A
    published model is copied whole.

    Raises:
      InputError: the URL holds nothing, or the bucket cannot be read.
      Interrupted: the network failed; the same call continues.
    """
    if not is_remote(place):
        return Path(place)
    url, step = split_checkpoint(str(place).rstrip("/"))
    mirror = Mirror(url)
    path = mirror.path = mirror.path.with_name("read")
    mirror.fetch()
    # Without this file, the copy counts as a workdir on a disk.
    (path / REMOTE).unlink()
    if not any(path.iterdir()):
        for empty in (path, path.parent):
            with suppress(OSError):  # another process has made a copy beside it
                empty.rmdir()
        raise InputError(
            "there is nothing at this URL", where=str(place), fix="Give the URL of a run's workdir.", code="E-MODEL-URL"
        )
    bucket = Bucket(url)
    there = bucket.files(CHECKPOINTS)
    if there:
        _copy_checkpoints(bucket, there, path, step)
    return path if step is None else path / CHECKPOINTS / str(step)


def _copy_checkpoints(bucket: Bucket, there: dict[str, int], path: Path, step: int | None) -> None:
    """Copies the checkpoint `step`, or the best, the newest and the newest sane one, to the copy of a workdir.

    Args:
      bucket: the workdir's.
      there: size in bytes of each file below its checkpoints.
      path: the directory of the copy.
      step: None copies the best, the newest and the newest sane one.
    """
    manifests = [name for name in there if PurePosixPath(name).name == MANIFEST]
    for name in manifests:
        bucket.fetch(f"{CHECKPOINTS}/{name}", path / CHECKPOINTS / name)
    steps = committed_steps(path)
    wanted = {step} if step is not None else {best_step(path), *sane_steps(path)[-1:], *steps[-1:]}
    names = {str(one) for one in wanted}
    for name, size in there.items():
        place = path / CHECKPOINTS / name
        if name.split("/")[0] in names and not (place.is_file() and place.stat().st_size == size):
            bucket.fetch(f"{CHECKPOINTS}/{name}", place)
    for name in manifests:
        if name.split("/")[0] not in names:
            (path / CHECKPOINTS / name).unlink()


def _downloaded(name: str) -> Path:
    """Returns the local copy of a model of the Hugging Face hub.

    Raises:
      InputError: the hub refuses the name or the access, or downloads are switched off (HF_HUB_OFFLINE).
      Interrupted: the network failed, or the disk is full.
    """
    # Here, because sources need libraries that a model on this machine does not.
    from jaxbert.data.sources.hf import PASSING

    where = f"{HUB}{name}"
    try:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise InputError(
            "the package huggingface_hub is not installed",
            where=where,
            fix="Install it: pip install 'jaxbert[hf]'.",
            code="E-MODEL-EXTRA",
        ) from None
    repository, _, revision = name.partition("@")
    try:
        # Many repositories hold the same weights in several formats. The first format that is there is enough.
        for form in FORMATS:
            path = Path(
                snapshot_download(
                    repository,
                    revision=revision or None,
                    allow_patterns=[*_DESCRIPTIONS, *form.files, *(f"0_Transformer/{name}" for name in form.files)],
                )
            )
            if form.found(transformer_of(path)):
                break
        return path
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        if disk_is_full(error):
            raise disk_full(
                getattr(error, "filename", None) or where, "Make room. The same command continues."
            ) from error
        # Errors of the hub and of the network have no file. A failure of this machine's
        # disk does not mean that the name is wrong.
        if isinstance(error, OSError) and error.filename is not None and not isinstance(error, PermissionError):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        status = getattr(getattr(error, "response", None), "status_code", None)
        refused = isinstance(status, int) and 400 <= status < 500 and status not in PASSING
        if not (refused or isinstance(error, (HFValidationError, PermissionError)) or constants.HF_HUB_OFFLINE):
            raise Interrupted(
                f"the model cannot be downloaded now: {reason}",
                where=where,
                fix="Check the network and run the same command again.",
                code="E-MODEL-NETWORK",
            ) from error
        raise InputError(
            f"the model cannot be downloaded: {reason}",
            where=where,
            fix="Check the name and the network.",
            code="E-MODEL-DOWNLOAD",
        ) from None
