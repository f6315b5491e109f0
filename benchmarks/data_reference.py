"""Compares rows and masks with BERT's data creation in plain Python (tests/data/original.py).

    python benchmarks/data_reference.py RECORDS_DIR [--shards 4] [--passes 10] [--length 128] [--slots 20]

Both sides treat every shard as a whole corpus, because ours draws the other document from the same shard. A figure is
the mean over shards in one pass. The last column is the difference of the two sides in standard errors over the passes.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from random import Random

import jax
import numpy as np

sys.path += [str(Path(__file__).parents[1] / "tests" / room) for room in ("data", "objectives")]

import masking_statistics
import original
import row_statistics

from jaxbert.config import EncoderConfig, MaskedLMConfig
from jaxbert.data.policies.segments import TokenShard
from jaxbert.data.records import read_records
from jaxbert.data.rows import assemble
from jaxbert.objectives import MaskedLM, prepare
from jaxbert.objectives.vocabulary import frozen_tables
from jaxbert.text.tokenizers import Tokenizer

FIGURES = (
    *("rows", "mean length of A", "mean length of B", "mean length of A + B", "full", "random next", "truncated"),
    *("short documents", "B begins where A ends, next rows", "B longer than A", "place of random B"),
    *(f"sentences of {segment} of {label} rows" for segment in "AB" for label in ("next", "random")),
    *(f"cut at the {side}, {segment} of next rows" for segment in "AB" for side in ("front", "back")),
)
REFERENCE_ROWS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--slots", type=int, default=20)
    parser.add_argument("--short-rows", type=float, default=0.1)
    given = parser.parse_args()
    tokenizer = Tokenizer.load(given.records / "tokenizer")
    mine: list[list[dict[str, float]]] = []
    theirs: list[list[dict[str, float]]] = []
    corpora = [read_shard(given.records, number) for number in range(given.shards)]
    for number, shard in enumerate(corpora):
        text = row_statistics.places(shard)
        print(
            f"shard {number}: {len(text)} documents, {len(shard.sentences) - 1:,} sentences, "
            f"{len(shard.tokens):,} tokens",
            flush=True,
        )
        figures = partial(row_statistics.figures, shard, given.length)
        arguments = (given.length, given.short_rows)
        mine.append([figures(row_statistics.ours(shard, *arguments, number, p)) for p in range(given.passes)])
        seeds = (Random(number * given.passes + p) for p in range(given.passes))
        theirs.append([figures(row_statistics.originals(text, *arguments, seed)) for seed in seeds])
    left, right = over_shards(mine), over_shards(theirs)
    deviations = row_statistics.deviations(left, right)
    print(f"\n{given.passes} passes of {given.shards} shards, rows of {given.length}\n")
    print("| figure | ours | reference | difference / its error |\n|---|---|---|---|")
    for name in (name for name in FIGURES if name in left[0]):
        pair = (np.mean([each[name] for each in passes]) for passes in (left, right))
        print(f"| {name} | {' | '.join(f'{x:.5g}' for x in pair)} | {deviations[name]:+.1f} |")
    print(f"\nall {len(deviations)} figures: the largest difference is {largest(deviations)}", flush=True)
    masks(corpora, tokenizer, given)


def read_shard(records: Path, number: int) -> TokenShard:
    parts, lengths, counts = [], [], []
    for record in read_records(records, "train", number):
        sentences = record.sentence_lengths[record.sentence_lengths > 0].astype(np.int64)
        if len(sentences):
            parts.append(record.tokens)
            lengths.append(sentences)
            counts.append(len(sentences))
    ends = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return TokenShard(np.concatenate(parts), ends, np.cumsum([0, *counts]), np.arange(len(counts)))


def over_shards(figures: list[list[dict[str, float]]]) -> list[dict[str, float]]:
    """Returns the mean over shards for each pass. Figures that some shards lack are left out."""
    first = figures[0][0]
    names = [name for name in first if "of documents" not in name and all(name in shard[0] for shard in figures)]
    passes = zip(*figures, strict=True)
    return [{name: float(np.mean([shard[name] for shard in each])) for name in names} for each in passes]


def largest(deviations: dict[str, float]) -> str:
    name = max(deviations, key=lambda name: abs(deviations[name]))
    return f"{deviations[name]:+.1f} standard errors ({name})"


def masks(corpora: list[TokenShard], tokenizer: Tokenizer, given: argparse.Namespace) -> None:
    """Compares masks with the closed form: ours over one pass of all shards, the reference's over some of the rows."""
    parts = []
    ids = {"cls_id": tokenizer.cls_id, "sep_id": tokenizer.sep_id, "pad_id": tokenizer.pad_id}
    for number, shard in enumerate(corpora):
        policy = row_statistics.POLICIES["segment_pair"].cut
        cut = policy(shard, given.length, given.short_rows, row_statistics.Draws("masks", number))
        parts.append(assemble(shard, cut, length=given.length, vocab_size=tokenizer.vocab_size, **ids))
    rows = np.concatenate(parts)
    # All batches have one size, so that one program serves all of them.
    size = min(10_000, len(rows))
    rows = rows[: len(rows) // size * size]
    tokens, real = rows["tokens"].astype(np.int32), rows["group"] > 0
    mine = ours(tokens, real, rows["types"], tokenizer, given, size)
    chosen_rows = np.random.default_rng(0).choice(len(rows), min(REFERENCE_ROWS, len(rows)), replace=False)
    theirs = reference(tokens[chosen_rows], real[chosen_rows], tokenizer, given)
    v = tokenizer.vocab_size
    table = [
        ("rows", lambda x: f"{len(x.clean):,}", ""),
        ("predicted tokens", lambda x: f"{x.chosen.sum():,}", ""),
        ("share of the row's tokens", lambda x: f"{x.chosen.sum() / x.real.sum():.4%}", expected_share(mine, given)),
        ("became [MASK]", lambda x: f"{(x.seen == tokenizer.mask_id)[x.chosen].mean():.3%}", f"{0.8 + 0.1 / v:.3%}"),
        ("stayed", lambda x: f"{(x.seen == x.clean)[x.chosen].mean():.3%}", f"{0.1 + 0.1 / v:.3%}"),
        ("special tokens chosen", lambda x: str(int(tokenizer.special[x.clean[x.chosen]].sum())), "0"),
        ("largest deviation", lambda x: deviation(x, tokenizer, given), ""),
    ]
    print("\n| figure | ours | reference | closed form |\n|---|---|---|---|")
    for name, show, expected in table:
        print(f"| {name} | {show(mine)} | {show(theirs)} | {expected} |")


def deviation(rows: masking_statistics.Masked, tokenizer: Tokenizer, given: argparse.Namespace) -> str:
    found = masking_statistics.deviations(rows, tokenizer.special, tokenizer.mask_id, given.slots)
    return f"{largest(found)} of {len(found)}"


def expected_share(rows: masking_statistics.Masked, given: argparse.Namespace) -> str:
    """Returns the share of our budgets, all of which can be met."""
    real = rows.real.sum(1)
    return f"{sum(min(given.slots, max(1, round(0.15 * int(n)))) for n in real) / real.sum():.4%}"


def ours(
    tokens: np.ndarray,
    real: np.ndarray,
    types: np.ndarray,
    tokenizer: Tokenizer,
    given: argparse.Namespace,
    size: int,
) -> masking_statistics.Masked:
    encoder = EncoderConfig(vocab_size=tokenizer.vocab_size)
    program = jax.jit(
        partial(prepare, [MaskedLM(MaskedLMConfig(), encoder, length=given.length, slots=given.slots)], {})
    )
    frozen = frozen_tables(tokenizer.special, tokenizer.mask_id)
    seen, chosen = tokens.copy(), np.zeros(tokens.shape, bool)
    for start in range(0, len(tokens), size):
        part = slice(start, start + size)
        batch = {"tokens": tokens[part], "types": types[part].astype(np.int32), "group": real[part].astype(np.int32)}
        found = jax.device_get(program(frozen, batch, jax.random.fold_in(jax.random.key(0), start)))
        filled = found["slot_weight"] > 0
        chosen[start + np.nonzero(filled)[0], found["slots"][filled]] = True
        seen[part] = found["tokens"]
    return masking_statistics.Masked(tokens, seen, real, chosen)


def reference(
    tokens: np.ndarray, real: np.ndarray, tokenizer: Tokenizer, given: argparse.Namespace
) -> masking_statistics.Masked:
    rng, special = Random(0), set(np.flatnonzero(tokenizer.special).tolist())
    seen, chosen = tokens.copy(), np.zeros(tokens.shape, bool)
    for row, size in enumerate(real.sum(1)):
        text = tokens[row, :size].tolist()
        seen[row, :size], positions = original.masked(
            text, special, tokenizer.mask_id, tokenizer.vocab_size, given.slots, 0.15, rng
        )
        chosen[row, positions] = True
    return masking_statistics.Masked(tokens, seen, real, chosen)


if __name__ == "__main__":
    main()
