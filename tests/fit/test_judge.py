"""The judgement of a corpus: its figures, what it warns of and refuses, and that each fix is one that works."""

from __future__ import annotations

import copy
import dataclasses
import re
import shlex
from typing import Any

import numpy as np
import pytest

from jaxbert.config import RowsSource, RunConfig, check
from jaxbert.config.overrides import apply_overrides
from jaxbert.data.figures import Pieces, pack_pieces
from jaxbert.errors import InputError
from jaxbert.fit.judge import judge
from jaxbert.text.tokenizers import train_tokenizer
from tests.fit.manifests import RECORDS, phase_rows, records


def warned(config: RunConfig, **options: Any) -> str:
    found = judge(config, [phase_rows(**options)], 50_000)
    found.check(anyway=False)
    return "\n".join(map(str, found.warnings))


def test_the_figures(config: RunConfig) -> None:
    found = judge(config, [phase_rows()], 50_000)
    figures = found.to_json()
    assert figures["corpus"] == {
        "documents": 110,
        "sentences": 9_900,
        "tokens": 110_000,
        "words": 88_000,
        "chars": 440_000,
        "languages": {"en": 0.98, "others": 0.02},
        "language": ["en"],
        "vocabulary": {"pieces": 1000, "unused": 10, "rare": 50, "given": 200, "most_frequent": 200},
        "unknown": 0.0,
    }
    # 100 rows of 80 tokens, of which 15% are masked.
    assert figures["held_out"]["masked_tokens"] == 1_200 and figures["held_out"]["share"] == 10_000 / 110_000
    assert figures["passes"] == 10 and figures["phases"][0]["truncated"] == 0.2
    assert figures["tokens_a_parameter"] == 2 and figures["trained_tokens"] == 900_000
    assert figures["trained_tokens_a_parameter"] == 18 and figures["warnings"] == figures["refusals"] == []
    lines = found.lines()
    assert (
        figures["lines"] == lines
        and len(lines) == 3
        and "10 of 1,000 pieces never used" in lines[0]
        and "languages en 98%, others 2%" in lines[0]
    )
    assert "10,000 tokens (9.1%) in 11 documents" in lines[1] and "good to 2.9 points" in lines[1]
    assert "1,000 steps, 10 passes" in lines[2] and "20.0% of the tokens cut off" in lines[2]


def test_copies_are_passes_over_the_text_and_no_more_text(config: RunConfig) -> None:
    figures = judge(config, [phase_rows(rows=10_000, copies=10)], 50_000).figures
    assert figures["passes"] == 10 and figures["train_tokens"] == 100_000


def test_phases_over_the_same_records_and_over_others(config: RunConfig) -> None:
    second = dataclasses.replace(config.phases[0], name="second", steps=500)
    two = dataclasses.replace(config, phases=(*config.phases, second))
    same = judge(two, [phase_rows(), phase_rows(rows=500)], 50_000).figures
    assert same["train_tokens"] == 100_000 and same["passes"] == 10 + 10
    other = judge(two, [phase_rows(), phase_rows(rows=500, hash="b")], 50_000).figures
    assert other["train_tokens"] == 200_000 and other["corpus"]["vocabulary"] is None
    assert "(main 10, second 10)" in judge(two, [phase_rows(), phase_rows(rows=500)], 1).lines()[2]


def test_rows_of_an_earlier_version_have_fewer_figures(config: RunConfig) -> None:
    figures = judge(config, [phase_rows(copies=2, rows=2000, records=None)], 50_000).figures
    assert figures["corpus"]["documents"] == 110 and figures["corpus"]["tokens"] == 110_000
    assert figures["corpus"]["languages"] == {} and figures["corpus"]["vocabulary"] is None
    assert "words" not in figures["corpus"] and figures["held_out"]["lines_in_train"] is None
    # Their records may be of an earlier version too.
    old = copy.deepcopy(RECORDS) | {"corpus": {}}
    assert judge(config, [phase_rows(records=old)], 1).figures["corpus"]["documents"] == 110


def test_a_good_corpus_is_not_warned_of(config: RunConfig) -> None:
    assert warned(config) == ""


def settings_of(text: str) -> list[list[str]]:
    """Returns the settings of each `--set` in a text, as a shell would pass them on."""
    return [shlex.split(found) for found in re.findall(r"--set ([^.?]*(?:\.[^ .?][^.?]*)*)", text)]


@pytest.mark.parametrize(
    ("says", "options", "settings", "fix"),
    [
        ("nothing is held out", {"held": 0}, ["data.validation_fraction=0"], "fraction=0.01"),
        (
            "1 row, fewer than a batch of 10",
            {"rows": 1},
            ["phases.0.steps=2", "phases.0.schedule.warmup_steps=0"],
            "scale.batch_size=1",
        ),
        (
            "9 rows, fewer than a batch of 10",
            {"rows": 9},
            ["phases.0.steps=2", "phases.0.schedule.warmup_steps=0"],
            "scale.batch_size=2",
        ),
        ("41 times over the text", {}, ["phases.0.steps=4100"], "max_passes=40"),
        (
            "300 of its 1,000 learned pieces never occur in train, and 50 fewer",
            {"records": records(vocabulary={"pieces": 1000, "unused": 300, "rare": 50, "given": 200})},
            [],
            "encoder.vocab_size=896",
        ),
        (
            "one document",
            {"records": records(documents=1)},
            ["objectives.next_sentence=default"],
            "objectives.next_sentence=none",
        ),
    ],
)
def test_a_warning_names_settings_that_help(
    config: RunConfig, says: str, options: dict[str, Any], settings: list[str], fix: str
) -> None:
    config = apply_overrides(config, ["objectives.next_sentence=none", "data.policy=full_sentences", *settings])
    (finding,) = judge(config, [phase_rows(**options)], 50_000).warnings
    assert says in finding.what and "--overwrite" in finding.fix and fix in finding.fix
    (named,) = settings_of(finding.fix)
    changed = apply_overrides(config, named)
    check(changed)
    assert changed != config


def test_a_run_from_nothing_on_little_text_is_warned_of(config: RunConfig) -> None:
    """Between what is refused and what is enough, adapting a model helps, and the warning says how."""
    known = records()

    def said(tokens: int, *settings: str) -> str:
        known["splits"]["train"]["tokens"] = tokens
        return warned(apply_overrides(config, settings), records=known)

    few = said(99_999)
    assert few.startswith("there are 99,999 tokens to train on, fewer than 100,000") and few == said(5_000).replace(
        " 5,000 ", " 99,999 "
    )
    assert "`jaxbert pretrain adapt --init MODEL --text PATH --workdir DIR`" in few
    # Enough, or learned from a model: nothing is said.
    assert said(100_000) == said(5_000, "init=MODEL") == ""
    assert said(5_000, "objectives.distillation=default", "objectives.distillation.teacher=MODEL") == ""


def test_few_documents_and_a_bad_split_are_said(config: RunConfig) -> None:
    plain = apply_overrides(config, ["objectives.next_sentence=none", "data.policy=full_sentences"])
    marked = copy.deepcopy(records(documents=1))
    found = phase_rows(records=marked)
    found.train[0][0].manifest["provenance"]["source"] = "text:a b.txt#file"
    (finding,) = judge(plain, [found], 1).warnings
    assert "data.source=text:a b.txt'" in finding.fix
    named = dataclasses.replace(plain, phases=(dataclasses.replace(plain.phases[0], rows=(RowsSource(path="r"),)),))
    assert "by blank lines" in warned(named, records=records(documents=1))
    assert "jaxbert tokenizer text:mine.txt --vocab-size 896" in warned(
        named, records=records(vocabulary={"pieces": 1000, "unused": 300, "rare": 50, "given": 200})
    )
    assert "27% of the documents held out have near copies in train" in warned(
        config, records=records(validation_near_train=3)
    )
    assert "30% of the lines held out are in train too" in warned(
        config, records=records(validation_lines_in_train=0.3)
    )
    german = warned(config, records=records(languages={"de": 0.9, "en": 0.1}))
    assert "90% of the text looks like de, but its sentences were split as en" in german
    assert warned(config, records=records(languages={"unclear": 1.0})) == ""


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_the_vocabulary_to_take_is_one_that_the_text_fills(config: RunConfig, kind: str) -> None:
    """Following the advice leads to a vocabulary that can be made, and to no further advice for long."""
    draw = np.random.default_rng(0)
    stems = ["".join(draw.choice(list("abcdefghijklmnoprstuvw"), 5)) for _ in range(300)]
    texts = [" ".join(draw.choice(stems, 40)) + "." for _ in range(40)] + ["Ünique wörds: " + " ".join(stems[:50])]
    size = 1200 if kind != "unigram" else 700
    sizes: list[int] = []
    while size:
        tokenizer = train_tokenizer(kind, texts, vocab_size=size, lowercase=kind != "bpe")
        ids = np.concatenate([tokenizer.encode(text) for text in texts[:25]])
        pieces = Pieces(tokenizer.vocab_size)
        pieces.add(pack_pieces(np.bincount(ids, minlength=tokenizer.vocab_size)))
        known = pieces.figures(tokenizer)
        assert known is not None and known["given"] + known["pieces"] == tokenizer.vocab_size
        assert kind != "bpe" or known["given"] >= 256 + 5
        sizes.append(size)
        found = re.search(r"encoder\.vocab_size=(\d+)", warned(config, records=records(vocabulary=known)))
        size = int(found[1]) if found else 0
    assert sizes == sorted(set(sizes), reverse=True) and 2 <= len(sizes) <= 4


def test_a_vocabulary_of_others_may_have_unused_pieces(config: RunConfig) -> None:
    many = records(vocabulary={"pieces": 30_000, "unused": 25_000, "rare": 50})
    for settings in (["init=MODEL"], ["data.tokenizer=DIR"]):
        assert warned(apply_overrides(config, settings), records=many) == ""


def test_batches_of_several_phases_fit_together(config: RunConfig) -> None:
    """The fix for too few rows is a number that `scale.batch_size` takes."""
    second = dataclasses.replace(config.phases[0], name="second", batch_size=4)
    two = dataclasses.replace(config, phases=(dataclasses.replace(config.phases[0], batch_size=64), second))
    (finding,) = judge(two, [phase_rows(rows=40, held=100), phase_rows(rows=1000)], 1).warnings[:1]
    (named,) = settings_of(finding.fix)
    assert [phase.batch_size for phase in apply_overrides(two, named).phases] == [16, 1]


@pytest.mark.parametrize(
    ("says", "options", "settings"),
    [
        ("4,999 tokens to train on", {"tokens": 4_999}, []),
        ("masks 96 tokens, fewer than 100", {"held": 8}, []),
        ("masks 60 tokens, fewer than 100", {}, ["evaluation.batches=1", "evaluation.batch_size=5"]),
        ("50% of the tokens to train on are the unknown token", {"unknown": 50_000}, []),
        ("96% of the tokens to train on are one and the same", {"most": 96_000}, []),
        ("55% of the documents held out stand in train too", {"near": 6}, []),
        ("50% of the lines held out stand in train too", {"lines": 0.5}, []),
    ],
)
def test_figures_that_would_mean_nothing_are_refused(
    config: RunConfig, says: str, options: dict[str, Any], settings: list[str]
) -> None:
    known = records(validation_near_train=options.pop("near", 0), validation_lines_in_train=options.pop("lines", None))
    known["splits"]["train"]["unknown"] = options.pop("unknown", 0)
    known["corpus"]["vocabulary"]["most_frequent"] = options.pop("most", 0)
    if "tokens" in options:
        known["splits"]["train"]["tokens"] = options.pop("tokens")
    found = judge(apply_overrides(config, settings), [phase_rows(records=known, **options)], 50_000)
    with pytest.raises(InputError, match=r"text:mine\.txt.*--anyway\. \[E-FIT-CORPUS\]$") as error:
        found.check(anyway=False)
    assert says in str(error.value) and error.value.exit_code == 2
    found.check(anyway=True)
    # One token more, or one copy fewer, and it is not refused; see `test_a_good_corpus_is_not_warned_of` for the rest.
    assert found.to_json()["refusals"] and any(says in line for line in found.lines())


@pytest.mark.parametrize(
    ("settings", "fix"),
    [
        ([], "--overwrite --set data.tokenizer_kind=bpe data.lowercase=false"),
        (["data.tokenizer=DIR"], "leave it out"),
        (["init=MODEL"], "knows this language"),
        (["rows"], "jaxbert tokenizer text:mine.txt --out DIR"),
    ],
)
def test_unknown_tokens_are_warned_of_whoever_brings_the_vocabulary(
    config: RunConfig, settings: list[str], fix: str
) -> None:
    if settings == ["rows"]:
        config = dataclasses.replace(
            config, phases=(dataclasses.replace(config.phases[0], rows=(RowsSource(path="r"),)),)
        )
    else:
        config = apply_overrides(config, settings)
    for count, warns, refuses in ((4_999, 0, 0), (5_000, 1, 0), (49_999, 1, 0), (50_000, 0, 1)):
        known = records()
        known["splits"]["train"]["unknown"] = count
        found = judge(config, [phase_rows(records=known)], 1)
        assert (len(found.warnings), len(found.refusals)) == (warns, refuses)
        assert all(fix in str(one) for one in found.warnings + found.refusals)
        assert f"{count / 1e5:.1%} of the tokens unknown" in found.lines()[0]


def test_just_enough_is_not_refused(config: RunConfig) -> None:
    known = records()
    known["splits"]["train"]["tokens"] = 5_000
    assert judge(config, [phase_rows(records=known, held=9)], 1).refusals == ()
    assert judge(config, [phase_rows(held=0)], 1).refusals == ()
