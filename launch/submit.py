"""`jaxbert launch TARGET`: checks the request, plans it, shows it, asks the user, and sends it."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxbert.config import TRAINED_FIRST, RunConfig
from jaxbert.data.sources import reached_anywhere
from jaxbert.errors import CommandError, InputError
from jaxbert.inputs.files import read_bytes
from jaxbert.plan.own import own_chip
from jaxbert.plan.topologies import Topology, topology
from jaxbert.run.before import check_before
from jaxbert.run.wanted import Wanted
from jaxbert.stores.files import write_whole
from jaxbert.stores.schemes import examples, known, scheme_of
from jaxbert.stores.storage import is_remote
from jaxbert.stores.workdir import check_place
from jaxbert.text.tokenizers import Tokenizer

from . import names, planning, records, screen
from .archive import Archive, archive
from .devices import ENGINES, OWN
from .environments import locks
from .execute import ask, execute, need
from .job import Request, Submission, Target

_log = logging.getLogger(__name__)


def submit(target: Target, args: Namespace, asked: Wanted, arguments: Sequence[str]) -> dict[str, Any]:
    """Sends a run to a target.

    Args:
      target: the engine.
      args: the parsed arguments of `jaxbert launch TARGET`.
      asked: the run, with its config checked as far as it is known.
      arguments: the arguments of `jaxbert pretrain`, without --workdir.

    Returns:
      What was sent, and the figures of the plan.

    Raises:
      InputError: the target cannot do what is asked, or the run does not fit. Nothing has been sent.
      Interrupted: a command of the engine failed. The message names it, and the steps before it.
    """
    target.check(args)
    request = _request(target, args, asked.config, arguments)
    submission = target.submission(request)
    if submission.question is not None and not args.dry_run:
        ask(submission.question)
    check_before(
        asked,
        devices=submission.devices if request.topology is None else request.topology.devices,
        workdir=args.workdir,
        overwrite=args.overwrite,
        here=target.shares_disk and not submission.apart,
    )
    config, settings, sizes_from = _sized(asked)
    figures: Mapping[str, Any] | None = None
    remembered = False
    if request.topology is not None and not sizes_from:
        settings = [*settings, *args.set]
        wanted = [args.config, *(["--set", *settings] if settings else [])]
        figures, remembered = planning.plan(
            config,
            wanted,
            request.topology,
            analytic=args.analytic,
            price=args.price,
            provider=target.seller(args),
            chip=args.chip,
        )
    for line in screen.lines(request, submission, target, figures, remembered, sizes_from=sizes_from):
        print(line)
    if args.dry_run:
        print("\n".join(screen.everything(submission)))
    else:
        _confirm(args)
        _send(submission, request, target)
    return {
        "target": target.name,
        "name": request.name,
        "sent": not args.dry_run,
        "code_sha256": request.archive.sha256,
        "creates": submission.creates,
        "commands": [command.line() for command in submission.commands],
        "files": [str(file.path) for file in submission.files],
        # The figures of the plan are those of one run.
        "plan": figures,
        "runs": len(submission.runs) or 1,
    }


def _request(target: Target, args: Namespace, config: RunConfig, arguments: Sequence[str]) -> Request:
    """Returns the request, with every value checked."""
    place = _place(target, args)
    args.workdir = names.workdir(args.workdir)
    mounts = target.mounts(args)
    _check_workdir(target, args.workdir, mounts)
    if not target.shares_disk:
        _check_inputs_can_be_reached(target, args, config, mounts)
    # The engines keep these numbers in 32 bits.
    if not 0 <= args.restarts < 1 << 31:
        raise InputError(
            f"the value is {args.restarts}",
            where="--restarts",
            fix=f"Give a number from 0 to {(1 << 31) - 1:,}.",
            code="E-LAUNCH-NUMBER",
        )
    if args.price is not None and not 0 <= args.price <= 1e9:  # nor is NaN
        raise InputError(
            f"the value is {args.price}",
            where="--price",
            fix="Give the price of a chip-hour, 0 or more.",
            code="E-LAUNCH-NUMBER",
        )
    return Request(
        arguments=tuple(names.plain(word, "jaxbert launch") for word in arguments),
        workdir=args.workdir,
        name=names.checked(args.name, "job", "--name") if args.name else names.job_name(config.name, args.workdir),
        config=config.name,
        topology=place,
        archive=_archive(target, place, args),
        folder=records.folder(args.workdir),
        spot=args.spot,
        restarts=args.restarts,
        secrets=_secrets(args.secret),
        options=args,
    )


def _sized(asked: Wanted) -> tuple[RunConfig, list[str], str]:
    """Returns the config to plan, the settings by which the run's own config becomes it, and what names its sizes.

    The last one is "" where they are known. Nothing here opens a model, so the sizes of a model are not known.
    """
    config = asked.config
    if config.inherit != "nothing":
        return config, [], f"--init {config.init}"
    if not asked.tokenizer:
        return config, [], ""
    if not Tokenizer.present(config.data.tokenizer):
        return config, [], f"--tokenizer {config.data.tokenizer}"
    size = Tokenizer.load(config.data.tokenizer).vocab_size
    base = replace(asked.base, encoder=replace(asked.base.encoder, vocab_size=size))
    return asked.finished(base), [f"encoder.vocab_size={size}"], ""


def _place(target: Target, args: Namespace) -> Topology | None:
    if args.topology is None:
        for option, given in (
            (f"--slices {args.slices}", args.slices != 1),
            (f"--price {args.price}", args.price is not None),
            (f"--chip {args.chip}", args.chip is not None),
            ("--analytic", args.analytic),
        ):
            if given:
                instead = f"give --nodes {args.slices}" if args.slices != 1 and hasattr(args, "nodes") else "remove it"
                raise InputError(
                    "this option needs --topology, without which nothing is planned",
                    where=option,
                    fix=f"Add --topology, for example {target.example}, or {instead}.",
                    code="E-LAUNCH-OPTIONS",
                )
        return None
    place = topology(args.topology, args.slices, None if args.chip is None else own_chip(args.chip))
    if place.chip.kind not in target.kinds:
        kinds = " and ".join(kind for kind in target.kinds if kind)
        raise InputError(
            f"{target.name} offers chips of kind {kinds}, and {place.chip.name} is a {place.chip.kind}",
            where=f"--topology {args.topology}",
            fix="Choose another TARGET or topology.",
            code="E-LAUNCH-TOPOLOGY",
        )
    offered = target.chips()
    if offered is not None and place.chip.name not in offered:
        raise InputError(
            f"{target.name} has no {place.chip.name}, as far as jaxbert knows",
            where=f"--topology {args.topology}",
            fix=f"Choose another TARGET, or one of {', '.join(sorted(offered))}.",
            code="E-LAUNCH-TOPOLOGY",
        )
    return place


def _mounted(path: str, mounts: Sequence[str]) -> bool:
    """Returns whether `path` is on a volume that the job's machines have at one of `mounts`."""
    return any(Path(path).is_relative_to(place) for place in mounts) and ".." not in Path(path).parts


def _check_workdir(target: Target, workdir: str, mounts: Sequence[str]) -> None:
    if _mounted(workdir, mounts):
        # This machine need not have the directory.
        return
    if target.shares_disk == is_remote(workdir):
        volume = f", or a directory of a volume: {' or '.join(mounts)}" if mounts else ""
        if target.takes_volumes and not mounts:
            volume = ", or add --volume CLAIM:/PATH for a directory of a volume"
        raise InputError(
            "the workdir must be on the disk that the machines share"
            if target.shares_disk
            else "the machines share no disk with this one, so the workdir must be in a bucket"
            + (" or on a volume" if mounts else ""),
            where=f"--workdir {workdir}",
            fix="Give a directory." if target.shares_disk else f"Give {examples(target.buckets)}{volume}.",
            code="E-LAUNCH-WORKDIR",
        )
    if not target.shares_disk:
        _check_bucket(target, workdir, f"--workdir {workdir}")
    check_place(workdir, writes=True)
    if target.shares_disk:
        there = next(path for path in (Path(workdir), *Path(workdir).absolute().parents) if path.exists())
        if not there.is_dir():
            raise InputError(
                "a part of the workdir's path is a file, but a directory is needed",
                where=f"--workdir {workdir}",
                fix="Give another directory.",
                code="E-LAUNCH-WORKDIR",
            )


def _check_bucket(target: Target, url: str, where: str) -> None:
    """Raises InputError for a URL that the target's machines cannot read."""
    if scheme_of(url) not in target.buckets:
        raise InputError(
            f"the machines of {target.name} do not read {scheme_of(url)}://",
            where=where,
            fix=f"Give {examples(target.buckets)}, or choose another TARGET.",
            code="E-LAUNCH-BUCKET",
        )


def _check_inputs_can_be_reached(target: Target, args: Namespace, config: RunConfig, mounts: Sequence[str]) -> None:
    """Raises InputError for an input that is a file of this machine, which the job's machines cannot read."""
    volume = " Or put it on a volume (--volume)." if mounts else ""
    distillation = config.objectives.distillation
    for where, value in (
        ("--init", args.init or config.init),
        ("--tokenizer", args.tokenizer or config.data.tokenizer),
        ("objectives.distillation.teacher", distillation.teacher if distillation is not None else ""),
    ):
        if value.startswith(TRAINED_FIRST):
            raise InputError(
                "the teacher would be trained first, beside the workdir, which needs a disk that the machines share",
                where=f"{where} {value}",
                fix="Train the teacher first, and give the URL of its workdir in a bucket, or hf:NAME.",
                code="E-LAUNCH-LOCAL-INPUT",
            )
        # A tokenizer is read from a directory; a model may also come from a bucket.
        hub = value.startswith("hf:")
        if not value or (hub and where != "--tokenizer") or _mounted(value, mounts):
            continue
        if where == "--tokenizer" or not is_remote(value):
            raise InputError(
                f"a tokenizer is read from a directory, and not from {'the hub' if hub else 'a bucket'}"
                if hub or is_remote(value)
                else "the path is on this machine, and the job runs on another one",
                where=f"{where} {value}",
                fix=(
                    "Leave it out, because rows bring their tokenizer along"
                    if where == "--tokenizer"
                    else "Give hf:NAME or the URL of a model in a bucket"
                )
                + ", or choose a TARGET that shares this disk."
                + volume,
                code="E-LAUNCH-LOCAL-INPUT",
            )
        if is_remote(value):
            _check_bucket(target, value, f"{where} {value}")
    # Rows go where the workdir is, if that is a bucket.
    scheme = scheme_of(args.workdir) if is_remote(args.workdir) else target.buckets[0]
    bucket = f"{scheme}://BUCKET/ROWS"
    copy = known(bucket)
    assert copy is not None, bucket
    fix = f"Copy them ({copy.copy} ROWS {bucket}) and give --data {bucket}."
    for phase in config.phases:
        for source in phase.rows:
            if not is_remote(source.path) and not _mounted(source.path, mounts):
                raise InputError(
                    "these rows are on this machine, and the job runs on another one",
                    where=f"phase {phase.name}: {source.path}",
                    fix=fix + volume,
                    code="E-LAUNCH-LOCAL-INPUT",
                )
            if is_remote(source.path):
                _check_bucket(target, source.path, f"phase {phase.name}: {source.path}")
        if not phase.rows and config.data.source and not reached_anywhere(config.data.source):
            raise InputError(
                "this text is on this machine, and the job runs on another one",
                where=f"data.source={config.data.source}",
                fix=f"Make rows from it (jaxbert prepare). {fix}",
                code="E-LAUNCH-LOCAL-INPUT",
            )


def _archive(target: Target, place: Topology | None, args: Namespace) -> Archive:
    """Returns the code, with the lock file of an environment unless the job uses this machine's environment."""
    config = Path(args.config) if Path(args.config).suffix in (".py", ".json") else None
    if target.shares_disk or place is None:
        return archive(config=config)
    lock, older = locks(place.chip, getattr(args, "cuda", None), getattr(args, "gpu_resource", ""))
    return archive(lock=lock, older=older, config=config)


def _secrets(given: Sequence[str]) -> dict[str, str]:
    """Returns name -> reference, from words NAME=WHERE or NAME."""
    found = {}
    for text in given:
        name, _, where = text.partition("=")
        names.checked(name, "variable", "--secret")
        if name.startswith(("JAXBERT_", *ENGINES)) or name in OWN:
            raise InputError(
                "the launcher or the engine sets this variable",
                where=f"--secret {name}",
                fix="Give the secret another name.",
                code="E-LAUNCH-SECRET",
            )
        if not name.isupper():
            # The scripts of the job have variables in small letters.
            raise InputError(
                "the name of a secret has capital letters, digits and underscores",
                where=f"--secret {name}",
                fix=f"Write for example {name.upper()}.",
                code="E-LAUNCH-SECRET",
            )
        found[name] = names.checked(where, "secret", f"--secret {name}") if where else ""
    return found


def _confirm(args: Namespace) -> None:
    """Asks the user; raises InputError unless the answer is yes."""
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise InputError(
            "the command cannot ask, because its input is not a terminal",
            where="jaxbert launch",
            fix="Give --yes to submit, or --dry-run to look.",
            code="E-LAUNCH-NOT-CONFIRMED",
        )
    try:
        answer = input("Submit it? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise InputError(
            "nothing was submitted",
            where="jaxbert launch",
            fix="Answer y, or give --yes.",
            code="E-LAUNCH-NOT-CONFIRMED",
        )


def _send(submission: Submission, request: Request, target: Target) -> None:
    """Writes the files and the record, and runs the commands."""
    need([command.arguments[0] for command in submission.commands], target.programs)
    for file in submission.files:
        with records.permitted(file.path):
            file.path.parent.mkdir(parents=True, exist_ok=True)
            if not (file.path.is_file() and read_bytes(file.path) == file.content):
                write_whole(file.path, file.content)
            if file.executable:
                file.path.chmod(0o755)
    # The record is written before the first command, so that `launch stop` can remove what a failed command leaves.
    remembered = {name: getattr(request.options, name) for name in target.remembered}
    records.write(request.workdir, target.name, request.name, remembered, reached=target.shares_disk)
    for workdir, options in submission.runs.items():
        records.write(workdir, target.name, request.name, {**remembered, **options}, reached=target.shares_disk)
    done: list[str] = []
    for command in submission.commands:
        execute(command, target.programs, done)
        done.append(command.does)
    if is_remote(request.workdir):
        _copy_record(request.workdir)
    print(f"sent. Watch it: jaxbert launch status --workdir {request.workdir}")


def _copy_record(workdir: str) -> None:
    """Copies the record into the bucket for other machines; warns if that fails, because the job itself was sent."""
    try:
        records.send(workdir)
    except CommandError as error:
        _log.warning(
            "The record of this launch was not copied to %s, so only this machine can show and stop the job: %s",
            workdir,
            error.what,
        )
