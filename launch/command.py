"""`jaxbert launch`: reads what is wanted, shows what would happen, asks, and lets it happen."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxbert.launch import planning, records, screen
from jaxbert.launch.archive import ENVIRONMENTS, Archive, archive
from jaxbert.launch.google import PYTHON
from jaxbert.launch.job import Command, Request, Submission, Target
from jaxbert.launch.local import local
from jaxbert.launch.names import checked, job_name, plain
from jaxbert.launch.running import run

from jaxbert.config import RunConfig
from jaxbert.errors import InputError, Interrupted
from jaxbert.plan.topologies import Topology, topology
from jaxbert.stores.storage import is_remote

CONTROLS = {
    "status": "how a job is",
    "logs": "what its first process says",
    "stop": "ends it; the same command continues",
}
_RESTARTS = 50
# Sources of text that are files of this machine.
_LOCAL_SOURCES = ("text:", "jsonl:", "parquet:")


def add_arguments(
    parser: ArgumentParser, targets: Mapping[str, Target], pretrain_arguments: Callable[[ArgumentParser], None]
) -> None:
    """Adds a parser for each target and for status, logs and stop."""
    words = parser.add_subparsers(dest="target", metavar="TARGET", required=True, parser_class=type(parser))
    one = words.add_parser("local", help="processes on this machine", description="Processes on this machine.")
    pretrain_arguments(one)
    one.add_argument("--processes", type=int, required=True, metavar="N", help="how many")
    one.add_argument("--devices", type=int, metavar="D", help="of each process: CPU devices, or GPUs of this machine")
    one.add_argument(
        "--grace", type=float, default=20.0, metavar="S", help="seconds that the others have to end once one has failed"
    )
    one.add_argument(
        "--restarts", type=int, default=0, metavar="N", help="after exit 3, so often (default: %(default)s)"
    )
    one.add_argument("--topology", metavar="CHIP:SLICE", help="for the other targets")
    one.add_argument("--dry-run", action="store_true", help="print what would be run")
    _json(one)
    for name, target in targets.items():
        one = words.add_parser(
            name, help=target.summary, description=f"{target.summary[0].upper()}{target.summary[1:]}."
        )
        pretrain_arguments(one)
        _common(one, needed=None not in target.kinds)
        target.add_arguments(one)
    for name, summary in CONTROLS.items():
        one = words.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        one.add_argument("--workdir", required=True, metavar="DIR", help="of the launch")
        one.add_argument("--dry-run", action="store_true", help="print the commands")
        if name == "logs":
            one.add_argument("--follow", action="store_true", help="go on showing what comes")
        _json(one)


def _json(one: ArgumentParser) -> None:
    one.add_argument("--json", metavar="FILE", default=SUPPRESS, help="also write the figures to FILE")


def _common(one: ArgumentParser, needed: bool) -> None:
    one.add_argument("--topology", required=needed, metavar="CHIP:SLICE", help="for example v5p:2x2x4, h100:8")
    one.add_argument("--slices", type=int, default=1, metavar="N", help="so many of them (machines, for GPUs)")
    one.add_argument("--spot", action="store_true", help="capacity that may be taken away, for less money")
    one.add_argument("--name", metavar="NAME", help="of the job (default: from CONFIG and the workdir)")
    one.add_argument(
        "--restarts", type=int, default=_RESTARTS, metavar="N", help="after an interruption (default: %(default)s)"
    )
    one.add_argument(
        "--secret",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME[=WHERE]",
        help="an environment variable of the run, by reference: its value is never written down",
    )
    one.add_argument("--analytic", action="store_true", help="plan by the model alone, in seconds")
    one.add_argument("--price", type=float, metavar="X", help="of a chip-hour, in place of the table's")
    one.add_argument("--yes", action="store_true", help="do not ask")
    one.add_argument("--dry-run", action="store_true", help="print every command and file, send nothing")
    _json(one)


def launch_locally(args: Namespace, arguments: Sequence[str]) -> int:
    """Runs processes on this machine to their end; returns the exit code."""
    if args.topology is not None:
        raise InputError(
            "this machine is none", where=f"--topology {args.topology}", fix="Leave it out, or name another TARGET."
        )
    if not 0 <= args.grace < math.inf:
        raise InputError(f"it is {args.grace}", where="--grace", fix="Give seconds, 0 or more.")
    if args.restarts < 0:
        raise InputError(f"it is {args.restarts}", where="--restarts", fix="Take 0 or more.")
    job = local(args.processes, arguments, args.workdir, devices=args.devices)
    if args.dry_run:
        print("\n".join(job.lines()))
        return 0
    told: list[int] = []
    code = run(job, grace_s=args.grace, told=told.append)
    for again in range(1, args.restarts + 1):
        # A signal to us was meant for the run: it is not started again.
        if code != Interrupted.exit_code or told:
            break
        print(f"jaxbert: interrupted: started again, {again} of {args.restarts}", file=sys.stderr, flush=True)
        # Processes find each other anew: the old port may still be on its way out.
        job = local(args.processes, arguments, args.workdir, devices=args.devices)
        code = run(job, grace_s=args.grace, told=told.append)
    return code


def launch(
    target: Target, args: Namespace, config: RunConfig, arguments: Sequence[str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Plans, shows, asks and submits.

    Args:
      target: the engine.
      args: its arguments.
      config: resolved and checked.
      arguments: of `jaxbert pretrain`, without --workdir.
      say: prints a line about the work.

    Raises:
      InputError: something cannot be honoured; nothing has been sent.
      Interrupted: a command of the engine failed; the line says which, and what is there by now.
    """
    target.check(args)
    place = _place(target, args)
    args.workdir = _workdir(args.workdir)
    if target.name != "slurm":
        _check_inputs_can_be_reached(args, config)
    if args.restarts < 0:
        raise InputError(f"it is {args.restarts}", where="--restarts", fix="Take 0 or more.")
    name = checked(args.name, "job", "--name") if args.name else job_name(config.name, args.workdir)
    request = Request(
        arguments=tuple(plain(word, "jaxbert launch") for word in arguments),
        workdir=args.workdir,
        name=name,
        config=config.name,
        topology=place,
        archive=_archive(target, place, args),
        folder=records.folder(args.workdir),
        spot=args.spot,
        restarts=args.restarts,
        secrets=_secrets(args.secret),
        options=args,
    )
    submission = target.submission(request)
    figures, remembered = None, False
    if place is not None:
        wanted = [args.config, *(["--set", *args.set] if args.set else [])]
        figures, remembered = planning.plan(config, wanted, place, analytic=args.analytic, price=args.price, note=say)
    for line in screen.lines(request, submission, target.name, figures, remembered):
        print(line)
    if args.dry_run:
        print("\n".join(screen.everything(submission)))
    else:
        _confirm(args)
        _submit(submission, request, target)
    return {
        "target": target.name,
        "name": name,
        "sent": not args.dry_run,
        "code_sha256": request.archive.sha256,
        "creates": submission.creates,
        "commands": [command.line() for command in submission.commands],
        "files": [str(file.path) for file in submission.files],
        "plan": figures,
    }


def control(word: str, targets: Mapping[str, Target], args: Namespace) -> dict[str, Any]:
    """Runs the commands of `launch status`, `logs` or `stop`.

    Raises:
      InputError: nothing is known of a launch.
      Interrupted: a command failed.
    """
    args.workdir = _workdir(args.workdir)
    kind, name, options = records.read(args.workdir)
    target = targets.get(kind)
    if target is None:
        raise InputError(f"launched by {kind!r}", where=args.workdir, fix="Ask that engine itself.")
    # The record may have come from the workdir: nothing in it is taken on trust.
    checked(name, "job", args.workdir)
    try:
        target.check(options)
        commands = getattr(target.control(name, options, follow=getattr(args, "follow", False)), word)
    except (AttributeError, TypeError) as error:
        raise InputError(f"unreadable record of a launch: {error}", where=args.workdir, fix="Ask the engine.") from None
    if args.dry_run:
        print("\n".join(command.line() for command in commands))
    else:
        for command in commands:
            _run(command)
    return {"target": kind, "name": name, "commands": [command.line() for command in commands]}


def _place(target: Target, args: Namespace) -> Topology | None:
    kinds = ", ".join(kind for kind in target.kinds if kind)
    if args.topology is None:
        return None
    place = topology(args.topology, args.slices)
    if place.chip.kind not in target.kinds:
        raise InputError(
            f"{target.name} is for {kinds}, a {place.chip.name} is a {place.chip.kind}",
            where=f"--topology {args.topology}",
            fix="Take another TARGET or topology.",
        )
    return place


def _workdir(workdir: str) -> str:
    plain(workdir, "--workdir")
    if is_remote(workdir):
        return checked(workdir.rstrip("/"), "url", "--workdir")
    if any(not sign.isprintable() for sign in workdir):
        raise InputError(f"{workdir!r} does not print", where="--workdir", fix="Give another DIR.")
    return str(Path(workdir).absolute())


def _check_inputs_can_be_reached(args: Namespace, config: RunConfig) -> None:
    """Machines elsewhere have none of this one's files."""
    distillation = config.objectives.distillation
    for where, value in (
        ("--init", args.init or config.init),
        ("--tokenizer", args.tokenizer or config.data.tokenizer),
        ("objectives.distillation.teacher", distillation.teacher if distillation is not None else ""),
    ):
        if value and not value.startswith("hf:"):
            raise InputError(
                "lies on this machine, or would have to",
                where=f"{where} {value}",
                fix="Give hf:NAME, or launch where a disk is shared.",
            )
    for phase in config.phases:
        for source in phase.rows:
            if not is_remote(source.path):
                raise InputError(
                    "these rows lie on this machine",
                    where=f"phase {phase.name}: {source.path}",
                    fix="Copy them (gcloud storage cp -r ROWS gs://BUCKET/...) and give --data gs://BUCKET/...",
                )
        if not phase.rows and config.data.source.startswith(_LOCAL_SOURCES):
            raise InputError(
                "this text lies on this machine",
                where=f"data.source={config.data.source}",
                fix="Make rows of it (jaxbert prepare), copy them to a bucket, and give --data gs://BUCKET/...",
            )


def _archive(target: Target, place: Topology | None, args: Namespace) -> Archive:
    """The code; with the environment's lock file, where the target makes one."""
    path = Path(args.config) if Path(args.config).suffix in (".py", ".json") else None
    if target.name == "slurm":
        return archive(config=path)
    assert place is not None
    return archive(lock=f"requirements-lock-{PYTHON}{ENVIRONMENTS[place.chip.kind]}.txt", config=path)


def _secrets(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, _, where = text.partition("=")
        checked(name, "variable", "--secret")
        found[name] = checked(where, "secret", f"--secret {name}") if where else ""
    return found


def _confirm(args: Namespace) -> None:
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nobody is here to be asked", where="jaxbert launch", fix="Give --yes, or --dry-run to look.")
    try:
        answer = input("Submit it? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise InputError("not submitted", where="jaxbert launch", fix="Answer y, or give --yes.")


def _submit(submission: Submission, request: Request, target: Target) -> None:
    _need([command.arguments[0] for command in submission.commands])
    for file in submission.files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        if not (file.path.is_file() and file.path.read_bytes() == file.content):
            file.path.write_bytes(file.content)
        if file.executable:
            file.path.chmod(0o755)
    remembered = {name: getattr(request.options, name) for name in target.remembered}
    # Before the first command: what a failing one leaves behind can be asked for, and stopped.
    records.write(request.workdir, target.name, request.name, remembered)
    done: list[str] = []
    for command in submission.commands:
        _run(command, done)
        done.append(command.does)
    if is_remote(request.workdir) and shutil.which("gcloud"):
        subprocess.run(records.sent(request.workdir), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    print(f"sent. Watch: jaxbert launch status --workdir {request.workdir}")


def _run(command: Command, done: Sequence[str] = ()) -> None:
    _need([command.arguments[0]])
    if command.unless:
        asked = subprocess.run(command.unless, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if asked.returncode == 0:
            return
    print(f"+ {command.line()}", file=sys.stderr, flush=True)
    quiet = subprocess.DEVNULL if command.optional else None
    try:
        code = subprocess.run(command.arguments, stdin=subprocess.DEVNULL, stderr=quiet, check=False).returncode
    except KeyboardInterrupt:
        raise Interrupted("interrupted", where=command.line(), fix="Look with `jaxbert launch status`.") from None
    if code and not command.optional:
        before = f" What is there by now: {', '.join(done)}." if done else ""
        raise Interrupted(
            f"{command.arguments[0]} ended with {code}",
            where=command.line(),
            fix=f"Mend what it says, and repeat the same command.{before}",
        )


def _need(programs: Sequence[str]) -> None:
    for program in programs:
        if shutil.which(program) is None:
            fix = {
                "gcloud": "Install the Google Cloud CLI.",
                "kubectl": "Install kubectl.",
                "sky": "Install SkyPilot, in an environment of its own: pipx install skypilot.",
            }
            raise InputError(
                f"there is no {program} on PATH", where="jaxbert launch", fix=fix.get(program, "Launch where it is.")
            )
