"""Makes rows from a source in one call, for runs whose phases name no rows: tokenizer, records, rows.

It does what the commands `tokenizer`, `prepare` and `rows` do. A repeated call continues an interrupted one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from jaxbert.config import DataConfig
from jaxbert.core.progress import Progress
from jaxbert.data.records import prepare_records
from jaxbert.data.rows import build_rows, check_arguments, check_pairs
from jaxbert.data.same_text import note_text
from jaxbert.data.sources import Source, open_source
from jaxbert.data.split import train_texts
from jaxbert.errors import InputError
from jaxbert.text.languages import advice
from jaxbert.text.sentences import check_language
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer

_log = logging.getLogger(__name__)


def learn_vocabulary(
    source: Source, kind: str, *, vocab_size: int, lowercase: bool, validation_fraction: float
) -> Tokenizer:
    """Trains a tokenizer on the train split of a source, and shows the documents and the seconds that it takes.

    Args:
      source: gives the documents.
      kind: a key of `jaxbert.text.tokenizers.REGISTRY`.
      vocab_size: V.
      lowercase: the uncased normalisation of the kind.
      validation_fraction: the share of the documents to leave out; see `jaxbert.data.split`.

    Raises:
      InputError: as `train_tokenizer`, or the source cannot be used.
    """
    with Progress(None, label="vocabulary", unit="document") as progress, ExitStack() as learning:

        def texts() -> Iterator[str]:
            chars = 0
            for text in train_texts(source, validation_fraction):
                yield text
                chars += len(text)
                progress.advance(f"{chars / 1e6:.1f}M characters")
            # The trainer has counted the words, and now searches pieces.
            learning.enter_context(progress.doing("learning pieces"))

        return train_tokenizer(kind, texts(), vocab_size=vocab_size, lowercase=lowercase, where=source.spec)


def make_rows(
    config: DataConfig,
    *,
    vocab_size: int,
    lengths: Iterable[int],
    seed: int,
    out: Path,
    workers: int,
    sentence_structure: bool,
    source: Source | None = None,
) -> dict[int, Path]:
    """Makes rows of each length below `out`, from `config.source`, and logs what it does and finds.

    Args:
      config: names the source, the tokenizer and the policy.
      vocab_size: V that the model expects.
      lengths: L of the rows to make.
      seed: the seed of the pairings.
      out: the directory that gets tokenizer/, records/, rows-POLICY-LENGTH/, and text.json: which text it was.
      workers: the number of processes.
      sentence_structure: whether the objectives need sentences. If so, documents without any are reported.
      source: `config.source`, if it is open already.

    Returns:
      The directories of the rows, by length.

    Raises:
      InputError: the source or the tokenizer cannot be used, the vocabulary has another size than `vocab_size`, or the
        rows cannot be made.
    """
    lengths = list(dict.fromkeys(lengths))
    for length in lengths:
        check_arguments(config.policy, length, config.copies, config.short_rows, seed)
    check_language(config.language)
    source = open_source(config.source) if source is None else source
    tokenizer_path = Path(config.tokenizer) if config.tokenizer else out / "tokenizer"
    if not config.tokenizer and not (tokenizer_path / "tokenizer.json").is_file():
        note_text(source, out)
        _log.info("training a %s vocabulary of %d pieces on %s", config.tokenizer_kind, vocab_size, config.source)
        tokenizer = learn_vocabulary(
            source,
            config.tokenizer_kind,
            vocab_size=vocab_size,
            lowercase=config.lowercase,
            validation_fraction=config.validation_fraction,
        )
        tokenizer.save(tokenizer_path)
        for line in advice(config.language, config.tokenizer_kind, lowercase=config.lowercase):
            _log.warning("%s", line)
        if tokenizer.learned is not None:
            for finding in tokenizer.learned.findings():
                _log.info("look at: %s", finding)
    tokenizer = Tokenizer.load(tokenizer_path)
    if tokenizer.vocab_size != vocab_size:
        raise InputError(
            f"the tokenizer has {tokenizer.vocab_size} pieces, but encoder.vocab_size is {vocab_size}",
            where=str(tokenizer_path),
            fix=f"Set encoder.vocab_size={tokenizer.vocab_size}"
            + (", or give more text." if not config.tokenizer else ", or use another tokenizer."),
            code="E-TOKENIZER-SIZE",
        )
    check_pairs(config.policy, tokenizer)
    note_text(source, out)
    records = out / "records"
    _log.info("preparing records of %s with %d processes", config.source, workers)
    summary = prepare_records(
        source,
        tokenizer,
        records,
        workers=workers,
        language=config.language,
        validation_fraction=config.validation_fraction,
        sentence_structure=sentence_structure,
    )
    for line in summary.lines():
        _log.info("%s", line)
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
            _log.info("%s", line)
    return made
