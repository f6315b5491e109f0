"""What holds for the rows of every policy: on boundaries, as rows, and on disk."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.commands.main import main
from jaxbert.data import shards
from jaxbert.data.draws import Draws
from jaxbert.data.pipeline import Rows
from jaxbert.data.policies import POLICIES
from jaxbert.data.policies.segments import Segments, TokenShard
from jaxbert.data.records import prepare_records, read_records
from jaxbert.data.rows import assemble, build_rows, check_arguments
from jaxbert.data.sources import open_source
from jaxbert.errors import InputError
from jaxbert.text.tokenizers import Tokenizer

sys.path.append(str(Path(__file__).parent))

from plain import laid_out

CLS, SEP, PAD = 2, 3, 5
LENGTHS = [8, 12, 33, 128, 600]
EVERY = [(name, length) for name, policy in POLICIES.items() for length in LENGTHS if length >= policy.shortest]


def make_shard(documents: list[list[int]]) -> TokenShard:
    """Documents as lists of sentence lengths; token t of the shard is 10 + t."""
    lengths = [length for document in documents for length in document]
    return TokenShard(
        tokens=10 + np.arange(sum(lengths)).astype("<u4"),
        sentences=np.cumsum([0, *lengths]).astype(np.int64),
        documents=np.cumsum([0, *(len(document) for document in documents)]).astype(np.int64),
        names=np.arange(len(documents), dtype=np.int64) + 7,
    )


def made_up() -> list[list[int]]:
    """60 documents of 1 to 40 sentences; every seventh sentence or so is longer than a short row."""
    draws = Draws("policies")
    sizes = (30, 30, 30, 30, 30, 30, 200)
    return [[1 + draws.below(sizes[draws.below(7)]) for _ in range(1 + draws.below(40))] for _ in range(60)]


CORPORA: dict[str, list[list[int]]] = {
    "no document": [],
    "one short document": [[5, 3]],
    "one long document": [[20, 7, 30, 11] * 40],
    "one sentence": [[9]],
    "one endless sentence": [[2000]],
    "documents of one sentence": [[1 + n % 40] for n in range(90)],
    "documents of one token": [[1]] * 100,
    "endless sentences between others": [[4, 700, 4], [700], [700, 700, 3], [3, 700], [6] * 9],
    "sentences that fill rows": [[n - 2, n - 3, n - 1] for n in LENGTHS],
    "made up": made_up(),
}


def cut_of(name: str, length: int, documents: list[list[int]]) -> tuple[TokenShard, Segments]:
    shard = make_shard(documents)
    return shard, POLICIES[name].cut(shard, length, 0.1, Draws("cut", name, length))


def test_configs_and_the_command_line_know_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(POLICIES) == 7
    with pytest.raises(SystemExit):
        main(["rows", "--help"])
    words = capsys.readouterr().out.replace(",", " ").split()
    assert set(POLICIES) <= set(words)


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize(("name", "length"), EVERY)
def test_every_token_is_in_one_row_or_counted(name: str, length: int, corpus: str) -> None:
    shard, cut = cut_of(name, length, CORPORA[corpus])
    used = np.zeros(len(shard.tokens), int)
    for starts, lengths, label in zip(cut.starts, cut.lengths, cut.labels, strict=True):
        # A second segment from elsewhere has its place in another row.
        for start, size in list(zip(starts, lengths, strict=True))[: 1 if label == 1 else None]:
            used[start : start + size] += 1
    assert used.max(initial=0) <= 1
    assert (used == 0).sum() == cut.truncated
    specials = 3 if POLICIES[name].arrangement == "pair" else 2
    assert cut.oversized == sum(size > length - specials for document in CORPORA[corpus] for size in document)
    if name in ("full_sentences", "doc_sentences", "packed"):
        assert cut.truncated == 0
        # Where a segment ends in front of a token of its own document, and not between two sentences.
        ends = np.unique((cut.starts + cut.lengths)[cut.lengths > 0])
        assert cut.cut == (~np.isin(ends, shard.sentences)).sum()
    if not CORPORA[corpus]:
        assert cut.labels.shape == (0,) and cut.starts.shape == (0, POLICIES[name].segments(length))


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize(("name", "length"), EVERY)
def test_a_row_is_its_origins_between_special_tokens(name: str, length: int, corpus: str) -> None:
    policy = POLICIES[name]
    shard, cut = cut_of(name, length, CORPORA[corpus])
    special: dict[str, Any] = {"cls_id": CLS, "sep_id": SEP, "pad_id": PAD}
    rows = assemble(shard, cut, length=length, vocab_size=70_000, arrangement=policy.arrangement, **special)
    bounds = shard.sentences[shard.documents].tolist()
    texts = {name: shard.tokens[bounds[d] : bounds[d + 1]].tolist() for d, name in enumerate(shard.names.tolist())}
    for row in rows:
        origins = row["origins"].tolist()
        present = [origin for origin in origins if origin[2]]
        assert origins == present + [(0, 0, 0)] * (policy.segments(length) - len(present))
        segments = [texts[document][offset : offset + size] for document, offset, size in present]
        assert [len(segment) for segment in segments] == [size for _, _, size in present]
        seen = (row["tokens"].tolist(), row["types"].tolist(), row["group"].tolist())
        assert seen == laid_out(segments, policy.arrangement, length, CLS, SEP, PAD), "no longer than L, for one thing"
        if policy.arrangement == "pair":
            assert (row["label"] == -1) == (len(present) == 1)
        else:
            assert row["label"] == -1
            assert present == sorted(present) and len({document for document, _, _ in present}) == len(present)
    if policy.arrangement == "isolated" and len(rows):
        assert rows["group"].max() == (cut.lengths > 0).sum(axis=1).max()


def test_labels_of_pairs() -> None:
    for corpus, documents in CORPORA.items():
        several = len(documents) > 1
        _, pure = cut_of("ordered_pair", 33, documents)
        assert set(pure.labels.tolist()) <= {0, -1}
        shard, mixed = cut_of("ordered_pair_mixed", 33, documents)
        if several:
            assert set(mixed.labels.tolist()) <= {0, 1}
        for cut, alone in ((pure, -1), (mixed, 1)):
            # What a row is made of: a sentence of A is the whole of what was gathered, or B goes on in its document.
            ends = cut.starts[:, 0] + cut.lengths[:, 0]
            first = np.searchsorted(shard.sentences, cut.starts[:, 0], side="right")
            one = np.searchsorted(shard.sentences, ends, side="left") == first
            assert one[cut.labels == alone].all(), corpus
            goes_on = cut.labels == 0
            assert (cut.documents[goes_on, 0] == cut.documents[goes_on, 1]).all()
            assert (cut.starts[goes_on, 1] >= ends[goes_on]).all()
    assert cut_of("ordered_pair", 33, [[9], [8], [7, 6]])[1].labels.tolist() == [-1, -1, 0]
    assert cut_of("ordered_pair_mixed", 33, [[9], [8], [7, 6]])[1].labels.tolist() == [1, 1, 0]


def test_random_choices_are_where_policies_say() -> None:
    shard = make_shard(CORPORA["made up"])
    for name, policy in POLICIES.items():
        one, two = (policy.cut(shard, 128, 0.1, Draws("choice", number)) for number in range(2))
        same = one.starts.shape == two.starts.shape and (one.starts == two.starts).all()
        assert same != policy.drawn, name


def test_full_sentences_by_example() -> None:
    def rows(name: str, documents: list[list[int]], length: int = 12) -> list[list[int]]:
        lengths = cut_of(name, length, documents)[1].lengths.tolist()
        return [[size for size in row if size] for row in lengths]

    # [CLS] 4 5 [SEP]; [CLS] 6 [SEP] 3 [SEP]: 12 tokens; [CLS] 8 [SEP], where a separator more would be one too many.
    assert rows("full_sentences", [[4, 5, 6], [3, 8]]) == [[9], [6, 3], [8]]
    assert rows("doc_sentences", [[4, 5, 6], [3, 8]]) == [[9], [6], [3], [8]]
    # 24 tokens: two rows full, and 4 which the next sentence joins.
    assert rows("full_sentences", [[2, 24, 5]]) == [[2], [10], [10], [9]]
    assert rows("single_document", [[2, 24, 10]]) == [[10]]
    assert rows("single_document", [[10, 24, 1, 10, 24]], 14) == [[10], [11]]
    assert rows("single_document", [[9], [10], [9, 1]], 14) == [[10], [10]], "a row of 11 tokens is dropped"
    assert rows("full_sentences", [[1], [1], [1], [1], [1]], 40) == [[1, 1], [1, 1], [1]], "K = 2"


def test_documents_that_fit_are_packed_whole_and_pieces_of_one_are_kept_apart() -> None:
    for documents in CORPORA.values():
        for length in (16, 128, 600):
            shard, cut = cut_of("packed", length, documents)
            sizes = np.diff(shard.sentences[shard.documents])
            for numbers, lengths in zip(cut.documents.tolist(), cut.lengths.tolist(), strict=True):
                inside = [number for number, size in zip(numbers, lengths, strict=True) if size]
                assert len(set(inside)) == len(inside)
                for number, size in zip(numbers, lengths, strict=True):
                    assert size in (0, sizes[number]) or sizes[number] > length - 2
            long = cut.documents[:, 0][(cut.lengths[:, 1] == 0) & (sizes[cut.documents[:, 0]] > length - 2)]
            full = (cut.lengths.sum(axis=1) + 2 >= length * 0.98) & (cut.lengths[:, 1] == 0)
            assert len(long) <= full.sum() + len(documents), "all pieces but the last of a document fill a row"


@pytest.mark.parametrize("length", [128, 512])
def test_packed_rows_are_98_percent_full(length: int) -> None:
    """Long documents, as in fiction, and passages of a paragraph."""
    draws = Draws("full")
    books = [[1 + draws.below(60) for _ in range(2000 + draws.below(2000))] for _ in range(8)]
    passages = [[5 + draws.below(50) for _ in range(1 + draws.below(6))] for _ in range(5000)]
    for documents in (books, passages):
        _, cut = cut_of("packed", length, documents)
        present = (cut.lengths > 0).sum()
        assert cut.lengths.sum() + 2 * present >= 0.98 * length * len(cut.labels)


# ----------------------------------------------------------------------------------------------------------------------
# On disk


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a line a sentence, and of a vocabulary that is written down: the same tokens whatever is installed."""
    directory = tmp_path_factory.mktemp("corpus")
    words = [first + second for first in "bdfglmnprstvz" for second in ("a", "e", "i", "o", "u", "ai", "ou")]
    (directory / "tokenizer").mkdir()
    pieces = ["[CLS]", "[SEP]", "[UNK]", "[MASK]", "[PAD]", *words]
    (directory / "tokenizer" / "vocab.txt").write_text("\n".join(pieces) + "\n")
    draws = Draws("lines")
    documents = []
    for number in range(60):
        sizes = [1 + draws.below(60 if draws.below(12) == 0 else 14) for _ in range(1 + draws.below(3 + number % 30))]
        documents.append("\n".join(" ".join(words[draws.below(len(words))] for _ in range(size)) for size in sizes))
    (directory / "lines.txt").write_text("\n\n".join(documents) + "\n")
    out = directory / "records"
    source = open_source(f"text:{directory}/lines.txt")
    tokenizer = Tokenizer.load(directory / "tokenizer")
    prepare_records(source, tokenizer, out, workers=1, shard_bytes=5_000, validation_fraction=0.15)
    splits = shards.read_manifest(out, "records")["splits"]
    assert len(splits["train"]) >= 3 and len(splits["validation"]) >= 1
    return out


LENGTH = 40


def build(records: Path, out: Path, name: str, **change: Any) -> Any:
    arguments: dict[str, Any] = {"policy": name, "length": LENGTH, "seed": 3, "workers": 1}
    return build_rows(records, out, **(arguments | change))


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def rows_of(out: Path, split: str) -> np.ndarray:
    rows = Rows(out, split, verify=True)
    return rows.read(np.arange(len(rows)))


@pytest.mark.parametrize("name", POLICIES)
def test_on_disk(records: Path, tmp_path: Path, name: str) -> None:
    """Rows are those of the records, the same bytes for any number of workers, and pinned."""
    policy = POLICIES[name]
    summary = build(records, tmp_path / "one", name)
    assert build(records, tmp_path / "three", name, workers=3) == summary
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    manifest = shards.read_manifest(tmp_path / "one", "rows")
    assert (manifest["policy"], manifest["origins"]) == (name, policy.segments(LENGTH))
    tokenizer = Tokenizer.load(tmp_path / "one" / "tokenizer")
    digest = hashlib.sha256()
    for split, statistics in summary.statistics.items():
        entries = shards.read_manifest(records, "records")["splits"][split]
        texts = {
            int(record.document): record.tokens.tolist()
            for shard in range(len(entries))
            for record in read_records(records, split, shard)
        }
        rows = rows_of(tmp_path / "one", split)
        covered = 0
        for row in rows:
            present = [origin for origin in row["origins"].tolist() if origin[2]]
            segments = [texts[document][offset : offset + size] for document, offset, size in present]
            seen = (row["tokens"].tolist(), row["types"].tolist(), row["group"].tolist())
            special = (tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id)
            assert seen == laid_out(segments, policy.arrangement, LENGTH, *special)
            covered += sum(map(len, segments[: 1 if row["label"] == 1 else None]))
        assert statistics["rows"] == len(rows) == summary.rows[split] > 0
        assert covered + statistics["truncated"] == statistics["tokens"] == sum(map(len, texts.values()))
        assert statistics["positions"] == (rows["group"] > 0).sum()
        assert statistics["filled"] == pytest.approx((rows["group"] > 0).mean())
        labels = [statistics[key] for key in ("next", "random", "unpaired")]
        assert labels == [(rows["label"] == label).sum() for label in (0, 1, -1)]
        if policy.arrangement != "pair":
            assert statistics["segments"] == (rows["origins"]["length"] > 0).sum()
        digest.update(rows.tobytes())
    assert digest.hexdigest()[:16] == GOLDEN[name]


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_printed_is_of_the_policy(records: Path, tmp_path: Path, name: str) -> None:
    summary = build(records, tmp_path / "rows", name)
    printed = "\n".join(summary.lines())
    assert f"rows of {LENGTH} tokens ({name})" in printed
    pair = POLICIES[name].arrangement == "pair"
    assert ("random next" in printed) == ("rows without a pair" in printed) == pair
    assert ("cuts inside a sentence" in printed) == (not pair)
    assert ("groups a row" in printed) == (name == "packed")
    assert ("documents a row" in printed) == (name == "full_sentences")
    assert set(summary.statistics["train"]).isdisjoint({"segments", "cut"}) == pair


@pytest.mark.parametrize("name", POLICIES)
def test_copies_are_of_policies_with_random_choices(records: Path, tmp_path: Path, name: str) -> None:
    if not POLICIES[name].drawn:
        with pytest.raises(InputError, match="E-ROWS-COPIES"):
            build(records, tmp_path / "rows", name, copies=2)
        assert not (tmp_path / "rows").exists()
        return
    build(records, tmp_path / "rows", name, copies=2)
    build(records, tmp_path / "once", name)
    two, one = rows_of(tmp_path / "rows", "train"), rows_of(tmp_path / "once", "train")
    assert (two[: len(one)] == one).all()
    once = {row.tobytes() for row in one}
    assert sum(row.tobytes() in once for row in two[len(one) :]) < 0.5 * len(one)


def test_short_rows_are_of_pairs_only(records: Path, tmp_path: Path) -> None:
    made = build(records, tmp_path / "packed", "packed", short_rows=0.5)
    assert build(records, tmp_path / "packed", "packed", short_rows=0.1) == made
    build(records, tmp_path / "pairs", "ordered_pair", short_rows=0.5)
    with pytest.raises(InputError, match=r"short_rows.*E-SHARD-ARGUMENTS"):
        build(records, tmp_path / "pairs", "ordered_pair", short_rows=0.1)


@pytest.mark.parametrize("name", POLICIES)
def test_lengths_that_are_too_short_are_refused(name: str) -> None:
    shortest = POLICIES[name].shortest
    check_arguments(name, shortest, 1, 0.1, 0)
    with pytest.raises(InputError, match=rf"length is {shortest - 1}.*from {shortest} to.*E-ROWS-ARGUMENT"):
        check_arguments(name, shortest - 1, 1, 0.1, 0)


# Rows on disk, both splits; a change here makes everybody's rows others.
GOLDEN = {
    "segment_pair": "549fdc4489e446a7",
    "ordered_pair": "36ca08af6b981745",
    "ordered_pair_mixed": "0f3b1bcab668f7cd",
    "full_sentences": "c77fcd6a75306307",
    "doc_sentences": "8238874853622021",
    "single_document": "57b6b93042642832",
    "packed": "ed52165fd781b0aa",
}
