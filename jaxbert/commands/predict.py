"""Answers of a fine-tuned model for the texts of a file: labels, entities, answers or choices, as JSON lines."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

from jaxbert.commands.arguments import MODEL, add_batch_tokens, add_columns, add_overwrite

EPILOG = f"""{MODEL}. It has a head for a task: `jaxbert finetune` trains one. For example:

  jaxbert predict runs/mine new.csv --columns text=review --out new.jsonl
"""

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "file",
        metavar="FILE",
        help="the texts: .jsonl, .json, .csv, .tsv, .parquet, .conll, SQuAD's .json, glue:TASK:FOLDER, hf:NAME, "
        "tfds:NAME; or single texts, one a line: .txt, - for standard input",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="file for the results, a JSON object a line (default: they are printed)"
    )
    parser.add_argument(
        "--task",
        default="",
        help="classification, token_labels, question_answering, multiple_choice or sentence_vectors (default: that of "
        "the model)",
    )
    add_columns(
        parser,
        "columns of the file, such as text=review (default: those that were named when the run was trained, else the "
        "usual names)",
    )
    parser.add_argument(
        "--form", default="", metavar="FORM", help="format of the file, or lines (default: by its ending)"
    )
    parser.add_argument("--split", default="", help="split of a dataset or of GLUE (default: test)")
    parser.add_argument(
        "--top",
        type=int,
        default=5,
        metavar="N",
        help="likeliest labels with their probabilities, or candidates of an answer (default: %(default)s)",
    )
    parser.add_argument(
        "--null-threshold",
        type=float,
        metavar="T",
        help="a question has no answer where the null score leads by more than T (default: 0 for a run that learned "
        "from such questions; else every question is answered)",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="L",
        help="tokens of a text, or of a window of a long one (default: the length of the run, else the model's longest "
        "row)",
    )
    add_batch_tokens(parser)
    add_overwrite(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Prints or writes the results."""
    from jaxbert.labelled.columns import columns_of

    columns = columns_of(args.columns)
    from jaxbert.core.compiled import verify_kept_programs
    from jaxbert.use.task_files import predict_file, predicted_lines

    verify_kept_programs()
    figures = predict_file(
        args.model,
        args.file,
        write=_write,
        out=args.out,
        task=args.task,
        columns=columns,
        form=args.form,
        split=args.split,
        top=args.top,
        null_threshold=args.null_threshold,
        max_length=args.max_length,
        batch_tokens=args.batch_tokens,
        overwrite=args.overwrite,
    )
    size, notes = predicted_lines(figures)
    if args.out:
        print("\n".join([size, *notes, f"wrote {args.out}"]))
    else:
        # Only the results are on stdout.
        for note in notes:
            _log.warning(note)
    return figures


def _write(lines: str) -> None:
    sys.stdout.write(lines)
    sys.stdout.flush()
