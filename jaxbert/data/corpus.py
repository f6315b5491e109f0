"""From a source to rows in one call, for runs whose phases name no rows: tokenizer, records, rows, as by the CLI.

Everything is resumable: what is finished is found again, what was interrupted goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from jaxbert.config import DataConfig
from jaxbert.data.records import prepare_records, split_of
from jaxbert.data.rows import build_rows, check_arguments, check_pairs
from jaxbert.data.sources import open_source
from jaxbert.errors import InputError
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer


def make_rows(
    config: DataConfig,
    *,
    vocab_size: int,
    lengths: Iterable[int],
    seed: int,
    out: Path,
    workers: int,
    sentence_structure: bool,
    note: Callable[[str], None],
) -> dict[int, Path]:
    """Rows of each length below `out`, made from `config.source`.

    Args:
      config: source, tokenizer, policy.
      vocab_size: V that the model expects.
      lengths: L of the rows to make.
      seed: of the pairings.
      out: directory; gets tokenizer/, records/ and rows-POLICY-LENGTH/.
      workers: processes.
      sentence_structure: whether the objectives need sentences (documents without any are then named).
      note: is told what is being done and found.

    Returns:
      The rows' directories by length.

    Raises:
      InputError: the source or the tokenizer cannot be used, the vocabulary is not of the size asked for, or rows are
        asked for that cannot be made.
    """
    lengths = list(dict.fromkeys(lengths))
    for length in lengths:
        check_arguments(config.policy, length, config.copies, config.short_rows)
    source = open_source(config.source)
    tokenizer_path = Path(config.tokenizer) if config.tokenizer else out / "tokenizer"
    if not config.tokenizer and not (tokenizer_path / "tokenizer.json").is_file():
        note(f"training a {config.tokenizer_kind} vocabulary of {vocab_size} pieces on {config.source}")
        texts = (
            document.text
            for document in source.documents()
            if split_of(document, config.validation_fraction) == "train"
        )
        tokenizer = train_tokenizer(config.tokenizer_kind, texts, vocab_size=vocab_size, lowercase=config.lowercase)
        tokenizer.save(tokenizer_path)
    tokenizer = Tokenizer.load(tokenizer_path)
    if tokenizer.vocab_size != vocab_size:
        raise InputError(
            f"the tokenizer has {tokenizer.vocab_size} pieces, encoder.vocab_size is {vocab_size}",
            where=str(tokenizer_path),
            fix=f"Set encoder.vocab_size={tokenizer.vocab_size}"
            + (", or give more text." if not config.tokenizer else ", or use another tokenizer."),
        )
    check_pairs(config.policy, tokenizer)
    records = out / "records"
    note(f"preparing records of {config.source} with {workers} processes")
    summary = prepare_records(
        source,
        tokenizer,
        records,
        workers=workers,
        validation_fraction=config.validation_fraction,
        sentence_structure=sentence_structure,
    )
    for line in summary.lines():
        note(line)
    made = {}
    for length in lengths:
        made[length] = out / f"rows-{config.policy}-{length}"
        rows = build_rows(
            records,
            made[length],
            policy=config.policy,
            length=length,
            workers=workers,
            seed=seed,
            short_rows=config.short_rows,
            copies=config.copies,
        )
        for line in rows.lines():
            note(line)
    return made
