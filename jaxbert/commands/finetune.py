"""Fine-tunes a model on your labels, over several seeds and settings, and keeps the best."""

from __future__ import annotations

import argparse
import logging
import os
from typing import Any

from jaxbert.commands.arguments import add_columns, add_overwrite, add_set

EPILOG = """\
CONFIG is a kind of task: classify, label_words, answer, choose or vectors; a task of GLUE, such as glue_cola; or a
config file. The labels are found in the train file. For example:

  jaxbert finetune classify --init MODEL --workdir runs/mine --train train.csv
  jaxbert predict runs/mine new.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    parser.add_argument(
        "config", metavar="CONFIG", help="classify, label_words, answer, choose, vectors, glue_NAME, or a file"
    )
    parser.add_argument(
        "--init", metavar="MODEL", help="the model to fine-tune: a run, a Hugging Face directory, hf:NAME"
    )
    parser.add_argument(
        "--workdir", metavar="DIR", help="the directory of the run (default: runs/ and the config's name)"
    )
    for split, what in (
        ("train", "examples with labels: .jsonl, .csv, .tsv, .parquet, .conll, SQuAD's .json"),
        ("validation", "examples that choose the best checkpoint (default: a tenth of the train examples)"),
        ("test", "examples on which the best checkpoint is judged at the end"),
    ):
        parser.add_argument(f"--{split}", default="", metavar="FILE", help=what)
    add_columns(parser, "columns of the files, such as text=review label=stars (default: the usual names)")
    parser.add_argument("--form", default="", metavar="FORM", help="format of the files (default: by their endings)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="train with N seeds (default: %(default)s)")
    parser.add_argument(
        "--sweep",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=A,B",
        help="train with every combination: rate=1e-5,3e-5 epochs=3,10",
    )
    parser.add_argument("--tokenizer", metavar="DIR", help="tokenizer of a model that starts at random, without --init")
    add_set(parser, "epochs=10 batch=16")
    add_overwrite(parser, "start anew where the workdir holds another run")
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of the run, which jax finds by itself (TPU slices, Slurm, MPI)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Trains the runs, prints the results and returns them."""
    from jaxbert.config import find_config
    from jaxbert.observe.console import show_log
    from jaxbert.run import devices, processes
    from jaxbert.run.deterministic import ask_for_deterministic_kernels
    from jaxbert.run.pool import ask_for_gpu_memory

    if not processes.first(os.environ):
        show_log(logging.WARNING)
    ask_for_gpu_memory()
    config = find_config(args.config, labelled=True)
    from jaxbert.finetune.settings import Files, runs_of

    files = Files(args.train, args.validation, args.test, tuple(args.columns), args.form)
    runs = runs_of(
        config,
        files,
        init=args.init,
        tokenizer=args.tokenizer,
        settings=args.set,
        seeds=args.seeds,
        sweep=args.sweep,
    )
    # The flag counts only before jax is imported.
    ask_for_deterministic_kernels(runs[0].asked.config)
    devices.begin(args.distributed)
    if args.distributed and not processes.is_first():
        show_log(logging.WARNING)
    from jaxbert.core.compiled import verify_kept_programs
    from jaxbert.finetune.runs import finetune

    verify_kept_programs()
    workdir = args.workdir or f"runs/{runs[0].asked.config.name}"
    return finetune(runs, workdir, overwrite=args.overwrite)
