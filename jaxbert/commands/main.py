"""The command line. Each command calls one function of its room; exit codes are those of `jaxbert.errors`.

Nothing heavy is imported at the top: every command imports what it needs inside its own function, so that `--help` and
mistakes answer at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jaxbert.errors import CommandError, InputError, Interrupted, Stopped
from jaxbert.stores.storage import is_remote

if TYPE_CHECKING:
    from jaxbert.config import RunConfig

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MISPLACED = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
_SOURCE = "SOURCE: text:GLOB, jsonl:GLOB#field, parquet:GLOB#column, tfds:NAME/CONFIG, hf:NAME#column, sample:aws-docs"
_MODEL = (
    "MODEL: a run's workdir, WORKDIR/checkpoints/STEP, a Hugging Face directory, one of Google's originals, or hf:NAME"
)


# ----------------------------------------------------------------------------------------------------------------------
# Commands


def pretrain(args: argparse.Namespace) -> dict[str, Any]:
    """Trains a model from a config; the same command continues a run that was interrupted."""
    from jaxbert.config import check, find_config
    from jaxbert.config.overrides import apply_overrides

    given = with_rows(find_config(args.config), args.data)
    config = apply_overrides(given, args.set, note=print)
    if config.inherit == "nothing":
        check(config)
        given, settings = config, []
    else:
        # What is inherited comes first, then --set; the mistakes in it have been found.
        given, settings = dataclasses.replace(given, init=config.init), args.set
    if config.numerics.deterministic:
        ask_for_deterministic_kernels()
    from jaxbert.run.processes import initialise

    initialise(args.distributed)
    from jaxbert.run.pretrain import pretrain as run

    figures = run(
        given,
        args.workdir,
        init=args.init,
        tokenizer=args.tokenizer,
        settings=settings,
        overwrite=args.overwrite,
    )
    if figures.pop("leader", True):
        print("\n".join(_ended(figures, args.workdir)))
    return figures


def launch(args: argparse.Namespace) -> dict[str, Any]:
    """Starts a run: as processes here, or as a job of Slurm, GKE, Google's TPUs or SkyPilot; also shows and ends it."""
    from jaxbert.config import check, find_config
    from jaxbert.config.overrides import apply_overrides
    from jaxbert.launch import TARGETS, command

    if args.target in command.CONTROLS:
        return command.control(args.target, TARGETS, args)
    config = apply_overrides(with_rows(find_config(args.config), args.data), args.set, note=lambda line: None)
    if config.inherit == "nothing":
        # The mistakes of all processes, found once.
        check(config)
    if args.target != "local":
        return command.launch(TARGETS[args.target], args, config, pretrain_arguments(args, workdir=False), _note)
    code = command.launch_locally(args, pretrain_arguments(args))
    if code:
        _write_json(args.json, {"exit_code": code})
        sys.exit(code)
    return {"exit_code": code}


def pretrain_arguments(args: argparse.Namespace, *, workdir: bool = True) -> list[str]:
    """The arguments of `jaxbert pretrain` again, from what they were parsed to; a job's target adds the workdir."""
    words = [args.config, *(["--workdir", args.workdir] if workdir else [])]
    for name in ("data", "set"):
        if getattr(args, name):
            words += [f"--{name}", *getattr(args, name)]
    for name in ("init", "tokenizer"):
        if getattr(args, name) is not None:
            words += [f"--{name}", getattr(args, name)]
    return [*words, *(["--overwrite"] if args.overwrite else [])]


def ask_for_deterministic_kernels() -> None:
    """Sets XLA's flag for them, unless the user did; only of use before jax is imported. Backends but GPU ignore it."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "--xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def _ended(figures: Mapping[str, Any], workdir: str) -> list[str]:
    """What to say at the end of a run: its figures, and where to look."""
    early = " (stopped early)" if figures.get("stopped_early") else ""
    lines = [f"done after step {figures['step']}{early}; everything is in {workdir}"]
    words = []
    for name, short, form in (
        ("validation_loss", "loss", "{:.4f}"),
        ("validation_masked_lm_accuracy", "masked-LM accuracy", "{:.1%}"),
        ("validation_next_sentence_accuracy", "next-sentence accuracy", "{:.1%}"),
        ("validation_sentence_order_accuracy", "sentence-order accuracy", "{:.1%}"),
        ("validation_span_boundary_accuracy", "span-boundary accuracy", "{:.1%}"),
    ):
        if isinstance(figures.get(name), (int, float)):
            words.append(f"{short} {form.format(figures[name])}")
    if words:
        lines.append(f"validation: {', '.join(words)}")
    best = figures.get("best")
    if best and best["step"] != figures["step"]:
        lines.append(f"best: loss {best['loss']:.4f} at step {best['step']}, which is what MODEL={workdir} gives")
    return lines


def with_rows(config: RunConfig, data: Sequence[str]) -> RunConfig:
    """`config` with the rows of each `--data [PHASE:]ROWS[=WEIGHT]`; without a phase they are for every phase.

    Raises:
      InputError: a weight that is no positive, finite number.
    """
    from jaxbert.config import RowsSource

    names = [phase.name for phase in config.phases]
    chosen: dict[str, list[RowsSource]] = {name: [] for name in names}
    for text in data:
        phase, separator, rest = text.partition(":")
        wanted, rows = ([phase], rest) if separator and phase in names else (names, text)
        path, separator, weight = rows.rpartition("=")
        if not separator or os.path.exists(rows):
            source = RowsSource(path=rows)
        else:
            try:
                source = RowsSource(path=path, weight=float(weight))
            except ValueError:
                raise InputError(
                    f"{weight!r} is not a weight", where=f"--data {text}", fix="Write ROWS=0.5, or ROWS alone."
                ) from None
            if not 0 < source.weight < math.inf:
                raise InputError(
                    "weights are positive and finite", where=f"--data {text}", fix="Write for example ROWS=0.5."
                )
        for name in wanted:
            chosen[name].append(source)
    phases = tuple(
        dataclasses.replace(phase, rows=tuple(chosen[phase.name])) if chosen[phase.name] else phase
        for phase in config.phases
    )
    return dataclasses.replace(config, phases=phases)


def tokenizer(args: argparse.Namespace) -> dict[str, Any]:
    """Trains a tokenizer on the train split of a source."""
    from jaxbert.data.records import split_of
    from jaxbert.data.sources import open_source
    from jaxbert.text.tokenizers import REGISTRY, Tokenizer, train_tokenizer

    fraction = args.validation_fraction
    if not 0 <= fraction < 1:
        raise InputError(f"it is {fraction}", where="--validation-fraction", fix="Take one in [0, 1).")
    out = Path(args.out)
    cased = args.cased or REGISTRY[args.kind].keeps_case
    source = open_source(args.source)
    made_from = {
        "source": args.source,
        "source_hash": source.hash,
        "kind": args.kind,
        "vocab_size": args.vocab_size,
        "lowercase": not cased,
        "validation_fraction": fraction,
    }
    record = out / "made_from.json"
    if out.exists() and not out.is_dir():
        raise InputError("a file where a directory is due", where=str(out), fix="Give another --out.")
    if out.is_dir() and any(out.iterdir()):
        if _read_json(record) == made_from:
            made = Tokenizer.load(out)
            print(f"{out} is there already, made from the same source with the same options.")
            return {"vocab_size": made.vocab_size, "hash": made.hash, "out": str(out)}
        if not args.overwrite:
            raise InputError(
                "holds something else already", where=str(out), fix="Give another --out, or --overwrite to replace it."
            )
        record.unlink(missing_ok=True)
    texts = (document.text for document in source.documents() if split_of(document, fraction) != "validation")
    made = train_tokenizer(args.kind, texts, vocab_size=args.vocab_size, lowercase=not cased)
    made.save(out)
    # Last: a directory without it is one that was not finished.
    record.write_text(json.dumps(made_from, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    words = f"{'cased' if cased else 'uncased'} {args.kind}" + (" (it always is)" if cased and not args.cased else "")
    print(f"{made.vocab_size} pieces, {words}: {out}")
    return {"vocab_size": made.vocab_size, "hash": made.hash, "out": str(out)}


def _read_json(path: Path) -> Any:
    """What a JSON file says; None where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None


def prepare(args: argparse.Namespace) -> dict[str, Any]:
    """Documents to token records, then to training rows."""
    from jaxbert.data.records import prepare_records
    from jaxbert.data.rows import check_arguments
    from jaxbert.data.sources import open_source
    from jaxbert.text.tokenizers import Tokenizer

    if not args.no_rows:
        # Before the records: they may take hours.
        check_arguments(args.policy, args.length, args.copies, args.short_rows)
    summary = prepare_records(
        open_source(args.source),
        Tokenizer.load(Tokenizer.place(args.tokenizer)),
        Path(args.out),
        workers=args.workers or cores(),
        runner=_runner(args),
        language=args.language,
        validation_fraction=args.validation_fraction,
        remove_duplicates=not args.keep_duplicates,
        remove_repeated_lines=args.remove_repeated_lines,
        overwrite=args.overwrite,
    )
    print("\n".join(summary.lines()))
    figures: dict[str, Any] = {"records": str(args.out), "summary": summary.to_json()}
    if not args.no_rows:
        target = Path(args.rows or f"{args.out.rstrip('/')}-rows-{args.length}")
        figures |= _build_rows(args, Path(args.out), target)
    return figures


def _runner(args: argparse.Namespace) -> Any:
    """What makes the shards in the place of processes here; None for these."""
    if not args.beam:
        if args.staging:
            raise InputError("only Beam's workers use it", where="--staging", fix="Give --beam OPTIONS too.")
        return None
    from jaxbert.data.beam import Beam

    return Beam.of(args.beam, args.staging)


def rows(args: argparse.Namespace) -> dict[str, Any]:
    """Token records to training rows, without tokenising again."""
    return _build_rows(args, Path(args.records), Path(args.out))


def _build_rows(args: argparse.Namespace, records: Path, out: Path) -> dict[str, Any]:
    from jaxbert.data.rows import build_rows

    summary = build_rows(
        records,
        out,
        policy=args.policy,
        length=args.length,
        workers=args.workers or cores(),
        runner=_runner(args),
        seed=args.seed,
        short_rows=args.short_rows,
        copies=args.copies,
        overwrite=args.overwrite,
    )
    print("\n".join(summary.lines()))
    print(f"Train on them: jaxbert pretrain CONFIG --workdir WORKDIR --data {out}")
    return {"rows": str(out), "rows_summary": summary.to_json()}


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Loss and accuracies on validation rows, with fixed masks."""
    from jaxbert.evaluate.evaluation import evaluate as run
    from jaxbert.stores.workdir import readable

    return run(readable(args.model), args.data, baselines=args.baselines)


def fill_mask(args: argparse.Namespace) -> dict[str, Any]:
    """The likeliest words for each mask."""
    for text in args.text:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"{text!r} is not UTF-8", where="TEXT", fix="Give the text in UTF-8.") from None
    from jaxbert.use.texts import open_texts

    given = [("fill-mask", text) for text in args.text]
    if args.file:
        given += [(place, text) for place, text in open_texts(args.file) if text.strip()]
    if not given:
        raise InputError("no text", where="fill-mask", fix="Give a TEXT, or --file with a text a line.")
    from jaxbert.use.library import load
    from jaxbert.use.predict import fill_mask as run
    from jaxbert.use.predict import lines

    places, texts = zip(*given, strict=True)
    from jaxbert.stores.workdir import readable

    filled = run(
        load(readable(args.model), note=_note), texts, top=args.top, batch_tokens=args.batch_tokens, places=places
    )
    print("\n".join(lines(filled)))
    return {"masks": [dataclasses.asdict(one) for one in filled]}


def embed(args: argparse.Namespace) -> dict[str, Any]:
    """A vector for each line of a file."""
    from jaxbert.stores.workdir import readable
    from jaxbert.use.embed import embed_file

    return embed_file(
        readable(args.model),
        args.file,
        args.out,
        pooling=args.pooling,
        normalize=args.normalize,
        max_length=args.max_length,
        batch_tokens=args.batch_tokens,
        overwrite=args.overwrite,
    )


def report(args: argparse.Namespace) -> dict[str, Any]:
    """One self-contained HTML page about one or several runs, and a PNG of each loss curve."""
    from jaxbert.observe.report import write_report
    from jaxbert.stores.workdir import readable

    if any(is_remote(workdir) for workdir in args.workdir) and args.out is None:
        raise InputError("a page is not written to a bucket", where="report", fix="Give --out DIR.")
    written = write_report([Path(readable(workdir)) for workdir in args.workdir], Path(args.out) if args.out else None)
    print("\n".join(f"wrote {path}" for path in written))
    return {"files": [str(path) for path in written]}


def doctor(args: argparse.Namespace) -> dict[str, Any]:
    """Versions, devices, memory, disk; what works here, and what to do about the rest."""
    from jaxbert.observe.doctor import examine, lines

    findings = examine()
    print("\n".join(lines(findings)))
    broken = [finding.name for finding in findings if finding.state == "broken"]
    if broken:
        _write_json(args.json, {"findings": [dataclasses.asdict(finding) for finding in findings]})
        raise InputError(f"broken: {', '.join(broken)}", where="doctor", fix="Do what the lines above say.")
    return {"findings": [dataclasses.asdict(finding) for finding in findings]}


def plan(args: argparse.Namespace) -> dict[str, Any]:
    """What a run would take on a topology: memory, time, money, energy, before anything is spent."""
    from jaxbert.config import find_config
    from jaxbert.config.overrides import apply_overrides
    from jaxbert.plan.topologies import topology, with_price

    for name in ("price", "watts", "pue", "grid"):
        value = getattr(args, name)
        if value is not None and not 0 <= value < math.inf:
            raise InputError(f"it is {value}", where=f"--{name}", fix="Take a number of 0 or more.")
    place = with_price(topology(args.topology, args.slices), args.price, args.watts, args.pue)
    config = apply_overrides(find_config(args.config), args.set, note=_note)
    from jaxbert.plan.compile import prepare

    prepare()
    from jaxbert.plan.command import run

    figures, error = run(
        config,
        place,
        grid=args.grid,
        compiled=not args.analytic,
        layouts=args.layouts == "all",
        searching=args.search,
        table=args.table,
        settings=" ".join(args.set),
        note=_note,
    )
    if error is not None:
        _write_json(args.json, figures)
        raise error
    return figures


def convert(args: argparse.Namespace) -> dict[str, Any]:
    """Writes a model as another system's files, which are right or are not written: what they compute is compared."""
    from jaxbert.convert.hf import check_target

    # Before the model is read: it may be large.
    check_target(Path(args.target), args.overwrite)
    from jaxbert.convert.sentence_transformers import SentenceLayout
    from jaxbert.stores.workdir import readable
    from jaxbert.use.library import load

    layout = None
    model = load(readable(args.source), drop=args.drop, note=_note)
    if args.to == "sentence-transformers":
        there = model.layout or SentenceLayout("mean")
        changes = {"pooling": args.pooling, "normalize": args.normalize, "max_length": args.max_length}
        layout = dataclasses.replace(there, **{name: value for name, value in changes.items() if value is not None})
    else:
        for name in ("pooling", "normalize", "max_length"):
            if getattr(args, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise InputError(
                    "belongs to --to sentence-transformers", where=option, fix="Leave it out, or change --to."
                )
    written = model.save(
        args.target,
        overwrite=args.overwrite,
        dtype=args.dtype or "",
        layout=layout,
        licence=args.license,
        data_licence=args.data_license,
    )
    print(f"{written.verdict.line()}")
    opens = "SentenceTransformer(DIR)" if layout is not None else "transformers' from_pretrained"
    print(f"wrote {args.target}: open it with {opens}, or as a MODEL here")
    return {"out": str(args.target), "gate": written.verdict.to_json()}


def _note(line: str) -> None:
    print(line, file=sys.stderr)


def checkpoint(args: argparse.Namespace) -> dict[str, Any]:
    """Lists, verifies or prunes the checkpoints of a run."""
    from jaxbert.stores import checkpoint as checkpoints
    from jaxbert.stores.workdir import readable

    if is_remote(args.workdir) and args.action == "prune":
        raise InputError("only on a disk", where="checkpoint prune", fix=f"Use: gcloud storage rm -r {args.workdir}/…")
    workdir = Path(readable(args.workdir))
    if not checkpoints.checkpoints_of(workdir).is_dir():
        what = "the run has no checkpoints" if workdir.is_dir() else "no such workdir"
        raise InputError(what, where=str(workdir), fix="Give the --workdir of a `jaxbert pretrain`.")
    steps = checkpoints.committed_steps(workdir)
    if args.action == "prune":
        if args.keep < 1:
            raise InputError(f"--keep is {args.keep}", where="checkpoint prune", fix="Take 1 or more.")
        best = None if args.drop_best else checkpoints.best_step(workdir)
        stay = [step for step in steps if step in steps[-args.keep :] or step == best]
        if len(stay) < len(steps) and all(checkpoints.damage(workdir, step) for step in reversed(stay)):
            raise InputError(
                f"every step that would stay is damaged: {_listed(stay)}",
                where=str(workdir),
                fix="Keep more; `jaxbert checkpoint verify` says which are good.",
            )
        removed = checkpoints.prune(workdir, keep=args.keep, keep_best=not args.drop_best)
        left = checkpoints.committed_steps(workdir)
        print(f"removed {_listed(removed)}; left {_listed(left)}")
        return {"removed": removed, "left": left}
    if args.action == "list":
        table = [_checkpoint_line(checkpoints, workdir, step) for step in steps]
        for line in table:
            loss = "" if line["validation_loss"] is None else f"  validation loss {line['validation_loss']:.4f}"
            print(f"step {line['step']:>9}  {line['bytes'] / 2**20:9.1f} MiB{loss}{'  best' if line['best'] else ''}")
        if not steps:
            print("no committed checkpoint")
        return {"checkpoints": table}
    wrong = {step: checkpoints.damage(workdir, step) for step in steps}
    for step, damage in wrong.items():
        print(f"step {step:>9}  {damage or 'good'}")
    damaged = [step for step, damage in wrong.items() if damage]
    if damaged:
        _write_json(args.json, {"damage": {str(step): damage for step, damage in wrong.items()}})
        raise Stopped(
            f"damaged: {_listed(damaged)}",
            where=str(workdir),
            fix="A resume takes the newest good one; remove these, or restore them from a copy.",
        )
    return {"good": steps}


def _checkpoint_line(checkpoints: Any, workdir: Path, step: int) -> dict[str, Any]:
    try:
        manifest = checkpoints.read_manifest(workdir, step)
    except ValueError:
        return {"step": step, "bytes": 0, "validation_loss": None, "best": False}
    size = sum(size for size, _ in manifest.files.values())
    loss = manifest.meta.get("validation_loss")
    return {"step": step, "bytes": size, "validation_loss": loss, "best": step == checkpoints.best_step(workdir)}


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps)) or "none"


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ----------------------------------------------------------------------------------------------------------------------
# The parser


class _Parser(argparse.ArgumentParser):
    """Raises InputError with the nearest known word, where argparse would print its usage and leave."""

    def __init__(self, **kwargs: Any):
        super().__init__(**{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        from jaxbert.config import did_you_mean

        near = ""
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
            near = did_you_mean(word, list(self._option_string_actions))
        raise InputError(message, where=self.prog, fix=f"{near}See `{self.prog} --help`.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but leaves nothing unknown behind."""
        # A command's parser sees its own leftovers: only here are its options known, to name the nearest.
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest


def parser() -> tuple[argparse.ArgumentParser, dict[str, Callable[[argparse.Namespace], dict[str, Any]]]]:
    """The parser of the whole command line, and the function of each command."""
    from jaxbert.launch import TARGETS
    from jaxbert.launch import command as launching
    from jaxbert.text.tokenizers import REGISTRY

    top = _Parser(
        prog="jaxbert",
        description="Pretrains BERT encoders in JAX: raw text in, a trained, resumable, usable BERT out.",
        epilog="Exit codes: 0 done; 1 a bug; 2 the input is wrong; 3 interrupted: the same command continues; "
        "4 stopped on purpose: repeating does not help, and the line says what does.",
    )
    top.add_argument("--version", action="store_true", help="print the version and leave")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    functions: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {}

    def command(
        name: str, function: Callable[[argparse.Namespace], dict[str, Any]], epilog: str = ""
    ) -> argparse.ArgumentParser:
        summary = (function.__doc__ or "").splitlines()[0]
        functions[name] = function
        added = commands.add_parser(name, help=summary, description=summary, epilog=epilog)
        added.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
        return added

    one = command("pretrain", pretrain, "CONFIG: a bare name (see configs/), a Python file, or a run's config.json")
    _pretrain_arguments(one)
    one.add_argument(
        "--distributed",
        action="store_true",
        help="as one process of several, which jax finds by itself (TPU slices, Slurm, MPI)",
    )

    one = command(
        "launch", launch, "Before anything is sent you see what it takes and costs, and are asked. See docs/launch.md."
    )
    launching.add_arguments(one, TARGETS, _pretrain_arguments)

    one = command("tokenizer", tokenizer, _SOURCE)
    one.add_argument("source", metavar="SOURCE")
    one.add_argument("--kind", default="wordpiece", choices=list(REGISTRY))
    one.add_argument("--vocab-size", type=int, required=True, metavar="N", help="pieces, special tokens counted")
    one.add_argument("--out", required=True, metavar="DIR")
    one.add_argument("--cased", action="store_true", help="keep upper case and accents, as bpe always does")
    _validation_fraction(one, "leave out")
    _overwrite(one)

    one = command("prepare", prepare, _SOURCE)
    one.add_argument("source", metavar="SOURCE")
    one.add_argument("--tokenizer", required=True, metavar="DIR", help="of a tokenizer, or of a run that has one")
    one.add_argument("--out", required=True, metavar="RECORDS")
    one.add_argument("--rows", metavar="ROWS", help="where the rows go (default: RECORDS-rows-LENGTH)")
    one.add_argument("--no-rows", action="store_true", help="make the records only")
    _validation_fraction(one, "hold out")
    one.add_argument("--keep-duplicates", action="store_true", help="keep documents that are there already")
    one.add_argument("--remove-repeated-lines", action="store_true", help="drop lines that many documents share")
    one.add_argument("--language", default="en", help="of the sentence splitter (default: %(default)s)")
    _row_options(one)
    _overwrite(one)

    one = command("rows", rows)
    one.add_argument("records", metavar="RECORDS")
    one.add_argument("--out", required=True, metavar="ROWS")
    _row_options(one)
    _overwrite(one)

    one = command("evaluate", evaluate, _MODEL)
    one.add_argument("model", metavar="MODEL")
    one.add_argument("--data", metavar="ROWS", help="validation split of these rows (default: the run's own)")
    one.add_argument(
        "--baselines", action="store_true", help="print what counting reaches beside it: constant, bigram, two-sided"
    )

    one = command("fill-mask", fill_mask, _MODEL)
    one.add_argument("model", metavar="MODEL")
    # "*" would be matched by nothing where an option stands between MODEL and the texts, which are then left over.
    one.add_argument(
        "text",
        nargs="+",
        metavar="TEXT",
        default=[],
        help='a text with one or more masks, for example "a [MASK] day" (RoBERTa\'s tokenizer: "a <mask> day")',
    ).required = False
    one.add_argument("--file", metavar="FILE", help="texts, one a line (.gz, .xz, .zst, .bz2, .jsonl#FIELD, or -)")
    one.add_argument("--top", type=int, default=5, metavar="N", help="candidates a mask (default: %(default)s)")
    _batch_tokens(one)

    one = command("embed", embed, _MODEL)
    one.add_argument("model", metavar="MODEL")
    one.add_argument(
        "file", metavar="FILE", help="texts, one a line, or .jsonl#FIELD; may be .gz, .xz, .zst, .bz2; - is stdin"
    )
    one.add_argument("--out", required=True, metavar="OUT", help="OUT.npy, float32 (N, D), or OUT.jsonl")
    one.add_argument(
        "--pooling",
        choices=["mean", "cls"],
        help="mean of the last hidden states, or the one of the first token (default: as the model's "
        "sentence-transformers files say, else mean)",
    )
    one.add_argument(
        "--normalize", action=argparse.BooleanOptionalAction, help="vectors of length 1 (default: as those files say)"
    )
    one.add_argument(
        "--max-length", type=int, metavar="L", help="cut texts to L tokens (default: as those files say, or the model)"
    )
    _batch_tokens(one)
    _overwrite(one)

    one = command("report", report)
    one.add_argument("workdir", nargs="+", metavar="WORKDIR")
    one.add_argument("--out", metavar="DIR", help="where the page goes (default: the first WORKDIR)")

    command("doctor", doctor)

    _plan_arguments(command("plan", plan, "CONFIG: a bare name (see configs/), a Python file, or a run's config.json"))

    one = command("convert", convert, _MODEL)
    one.add_argument("source", metavar="SRC", help="a MODEL")
    one.add_argument("target", metavar="DST", help="the directory to write")
    one.add_argument(
        "--to",
        required=True,
        choices=["hf", "sentence-transformers"],
        help="hf: Hugging Face's class of its family; sentence-transformers: what SentenceTransformer opens, too",
    )
    one.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16"],
        help="of the weights (default: as in SRC; a run's float32)",
    )
    one.add_argument(
        "--drop",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATTERN",
        help="tensors of SRC to leave out, where it has more than a model",
    )
    one.add_argument("--license", default="", metavar="NAME", help="of the model, for its card (apache-2.0)")
    one.add_argument("--data-license", default="", metavar="NAME", help="of the data, where the run does not know it")
    one.add_argument("--pooling", choices=["mean", "cls"], help="sentence-transformers: of the vectors (default: mean)")
    one.add_argument(
        "--normalize", action=argparse.BooleanOptionalAction, help="sentence-transformers: vectors of length 1"
    )
    one.add_argument("--max-length", type=int, metavar="L", help="sentence-transformers: longest text, in tokens")
    _overwrite(one)

    one = command("checkpoint", checkpoint)
    one.add_argument("action", choices=["list", "verify", "prune"])
    one.add_argument("workdir", metavar="WORKDIR")
    one.add_argument("--keep", type=int, default=3, metavar="N", help="prune: newest to keep (default: %(default)s)")
    one.add_argument("--drop-best", action="store_true", help="prune: do not keep the best one beside them")
    return top, functions


def _validation_fraction(one: argparse.ArgumentParser, verb: str) -> None:
    one.add_argument(
        "--validation-fraction",
        type=float,
        default=0.01,
        metavar="F",
        help=f"{verb} this share of the documents for validation (default: %(default)s; a source with splits of its "
        "own keeps them)",
    )


def _row_options(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--policy",
        default="segment_pair",
        help="rows policy: segment_pair, ordered_pair, ordered_pair_mixed, full_sentences, doc_sentences, "
        "single_document, packed (default: %(default)s)",
    )
    one.add_argument("--length", type=int, default=128, metavar="L", help="tokens a row (default: %(default)s)")
    one.add_argument(
        "--short-rows",
        type=float,
        default=0.1,
        metavar="P",
        help="of pairs: share of documents with a shorter target length (default: %(default)s)",
    )
    one.add_argument(
        "--copies",
        type=int,
        default=1,
        metavar="N",
        help="of pairs: passes with other pairings (default: %(default)s; other policies have one)",
    )
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one a core)")
    one.add_argument(
        "--beam",
        metavar="OPTIONS",
        help='make the shards by Apache Beam (extra "beam") instead: options of its pipeline, for example '
        '"runner=DataflowRunner project=P region=R temp_location=gs://B/t sdk_container_image=IMAGE"',
    )
    one.add_argument("--staging", metavar="DIR", help="of --beam: a directory that all its workers reach (gs://...)")


def _pretrain_arguments(one: argparse.ArgumentParser) -> None:
    one.add_argument("config", metavar="CONFIG")
    one.add_argument("--workdir", required=True, metavar="DIR", help="where everything of the run lies")
    one.add_argument(
        "--data",
        nargs="+",
        action="extend",
        default=[],
        metavar="ROWS",
        help="rows to train on: [PHASE:]DIR[=WEIGHT]; several are mixed by weight",
    )
    one.add_argument(
        "--init", metavar="MODEL", help="start from these parameters; CONFIG adapt takes the model's sizes too"
    )
    one.add_argument(
        "--tokenizer",
        metavar="DIR",
        help="the rows' vocabulary; with --init a new one, whose embeddings start from the model's",
    )
    _set(one)
    _overwrite(one, "start anew where the workdir holds another run")


def _plan_arguments(one: argparse.ArgumentParser) -> None:
    from jaxbert.plan.topologies import WORLD_GRID

    one.add_argument("config", metavar="CONFIG")
    one.add_argument("--topology", required=True, metavar="CHIP:SLICE", help="for example v5e:4x4, v5p:8x8x16, h200:8")
    one.add_argument("--slices", type=int, default=1, metavar="N", help="so many of them, joined by the network")
    _set(one)
    one.add_argument("--layouts", choices=("all",), help="a line for each layout")
    one.add_argument("--search", action="store_true", help="rank layouts, micro-batches and remat; compile the best")
    one.add_argument("--analytic", action="store_true", help="by the model alone: seconds instead of a minute a phase")
    one.add_argument("--price", type=float, metavar="X", help="of a chip-hour, in place of the table's")
    one.add_argument("--watts", type=float, metavar="X", help="of a chip with its share of the host")
    one.add_argument("--pue", type=float, metavar="X", help="of the data centre")
    one.add_argument("--grid", type=float, default=WORLD_GRID, metavar="X", help="grams of CO2e a kWh (%(default)g)")
    one.add_argument("--table", action="store_true", help="one row in Markdown instead of everything")


def _set(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change the config, for example phases.0.steps=100",
    )


def _batch_tokens(one: argparse.ArgumentParser) -> None:
    one.add_argument("--batch-tokens", type=int, metavar="N", help="tokens a batch (default: what suits the device)")


def _overwrite(one: argparse.ArgumentParser, text: str = "replace what is there") -> None:
    one.add_argument("--overwrite", action="store_true", help=text)


# ----------------------------------------------------------------------------------------------------------------------
# Running


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; every wrong end is one line on stderr."""
    try:
        return _run(sys.argv[1:] if argv is None else list(argv))
    except CommandError as error:
        return _failed(error)
    except KeyboardInterrupt:
        return _failed(Interrupted("interrupted", where="signal", fix="The same command continues."))
    except BrokenPipeError:
        # The reader of our output has gone (`jaxbert doctor | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        known = _known(error)
        if known is None:
            raise
        return _failed(known)


def _run(argv: list[str]) -> int:
    top, functions = parser()
    word = argv[0] if argv else "--help"
    if not word.startswith("-") and word not in functions:
        from jaxbert.config import did_you_mean

        raise InputError(
            f"no command {word!r}",
            where="jaxbert",
            fix=f"{did_you_mean(word, list(functions))}Known: {', '.join(functions)}.",
        )
    args = top.parse_args(argv or ["--help"])
    if args.version:
        from importlib.metadata import version

        print(f"jaxbert {version('jaxbert')}")
        return 0
    if args.command is None:
        top.print_help()
        return 0
    if args.json and not Path(args.json).absolute().parent.is_dir():
        raise InputError("no such directory", where=f"--json {args.json}", fix="Make it first, or give another FILE.")
    if args.json and Path(args.json).is_dir():
        raise InputError("a directory where a file is due", where=f"--json {args.json}", fix="Give a FILE.")
    figures = functions[args.command](args)
    _write_json(args.json, figures)
    return 0


def _write_json(file: str | None, figures: Mapping[str, Any]) -> None:
    if file:
        Path(file).write_text(json.dumps(figures, indent=1, default=_plain) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """What JSON does not know: arrays and their numbers, paths."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _known(error: OSError) -> CommandError | None:
    """The end an operating-system error stands for; None for one that would be a bug."""
    where = str(error.filename or "disk")
    if error.errno in _FULL:
        return Interrupted("the disk is full", where=where, fix="Make room; the same command continues.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return InputError("no permission", where=where, fix="Change its mode or owner, or choose another place.")
    if error.filename is not None and error.errno in _MISPLACED:
        return InputError(f"{error.strerror}".lower(), where=where, fix="Check the path.")
    return None


def _failed(error: CommandError) -> int:
    sys.stdout.flush()
    print(f"jaxbert: error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return error.exit_code


def _terminated(number: int, frame: Any) -> NoReturn:
    raise Interrupted(f"got {signal.Signals(number).name}", where="signal", fix="The same command continues.")


def _prepare_process(command: str | None) -> None:
    """What must be decided before a process starts to compute, for the commands that do.

    Compiled programs are kept, so that the next command and a resumed run begin at once. And on Linux XLA's buffers get
    huge pages: they are mapped anew at each step, and a fifth of a small model's step on a CPU went into page faults.
    glibc reads that setting only when a process begins, so the process begins again, once, with the same number.
    """
    if command not in ("pretrain", "evaluate", "fill-mask", "embed", "convert"):
        return
    # Without HOME and an entry in passwd (containers) there is no place to keep them.
    with suppress(RuntimeError):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "jaxbert" / "compiled"))
        if command in ("fill-mask", "embed"):
            # By default programs that compile within a second are not kept: these do, and are the whole wait.
            os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if "GLIBC_TUNABLES" not in os.environ and pages.is_file() and "[madvise]" in pages.read_text(encoding="utf-8"):
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, sys.orig_argv)


def entry() -> NoReturn:
    """What the `jaxbert` script runs. Training takes the signals over while it runs."""
    command = sys.argv[1] if len(sys.argv) > 1 else None
    _prepare_process(command)
    if command == "pretrain":
        from jaxbert.run import processes

        if processes.wanted(os.environ, "--distributed" in sys.argv) and processes.SUPERVISED not in os.environ:
            sys.exit(processes.supervise([sys.executable, *sys.orig_argv[1:]], os.environ))
        if processes.SUPERVISED in os.environ:
            processes.as_child()
    signal.signal(signal.SIGTERM, _terminated)
    code = main()
    if command == "pretrain":
        processes.leave(code)
    sys.exit(code)
