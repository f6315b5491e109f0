"""Packed rows through the whole of training: every objective over single texts, of every family that has it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxbert.config import (
    DataConfig,
    DistillationConfig,
    MaskedLMConfig,
    ObjectivesConfig,
    RunConfig,
    ScheduleConfig,
    SpanBoundaryConfig,
    find_config,
)
from jaxbert.convert.hf import write_hf
from jaxbert.data.from_source import make_rows
from jaxbert.data.pipeline import Rows
from jaxbert.data.policies import POLICIES
from jaxbert.models.model import Model
from jaxbert.objectives import OBJECTIVES, policies_of
from jaxbert.run.pretrain import pretrain
from jaxbert.text.tokenizers import Tokenizer

SHORT = "the cat sees a dog. it runs over the old house."


@pytest.fixture(scope="module")
def packed(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed rows of 32 tokens of short documents, in the vocabulary of the other rows."""
    out = tmp_path_factory.mktemp("packed")
    lines = (tiny / "corpus.txt").read_text(encoding="utf-8").replace("\n\n", ". ").split(". ")
    (out / "short.txt").write_text("\n".join(f"{line.strip('. ')}." for line in lines if line.strip(". \n")), "utf-8")
    config = DataConfig(
        source=f"text:{out}/short.txt#line",
        tokenizer=str(tiny / "tokenizer"),
        policy="packed",
        short_rows=0.0,
        validation_fraction=0.1,
    )
    made = make_rows(
        config,
        vocab_size=find_vocabulary(tiny),
        lengths=[32],
        seed=0,
        out=out,
        workers=1,
        sentence_structure=False,
    )
    return made[32]


def find_vocabulary(tiny: Path) -> int:
    return Tokenizer.load(tiny / "tokenizer").vocab_size


def test_rows_hold_several_documents(packed: Path) -> None:
    rows = Rows(packed, "train").read(np.arange(20))
    assert (rows["group"].max(1) > 1).mean() > 0.8


def test_every_objective_over_single_texts_takes_them() -> None:
    over_pairs = {"next_sentence", "sentence_order"}
    singles = {name for name, policy in POLICIES.items() if not policy.pairs}
    assert "packed" in singles
    assert all(singles <= set(policies_of(kind)) for name, kind in OBJECTIVES.items() if name not in over_pairs)
    assert all(singles.isdisjoint(policies_of(OBJECTIVES[name])) for name in over_pairs)


@pytest.mark.parametrize("scheme", ["token", "whole_word", "ngram", "span", "frequency"])
def test_a_run_on_them(scheme: str, packed: Path, tiny_config: Path, tmp_path: Path) -> None:
    """Each scheme of masks. Spans come with their boundaries, frequencies with a teacher, as published."""
    base = find_config(str(tiny_config))
    encoder = dataclasses.replace(base.encoder, num_layers=1)
    spans, taught = scheme == "span", scheme == "frequency"
    if taught:
        tokenizer = Tokenizer.load(packed / "tokenizer")
        write_hf(tmp_path / "teacher", encoder, Model(encoder, ["masked_lm"]).init(jax.random.key(0)), tokenizer)
    objectives = ObjectivesConfig(
        masked_lm=MaskedLMConfig(scheme=scheme),  # type: ignore[arg-type]
        next_sentence=None,
        span_boundary=SpanBoundaryConfig(max_targets=5, position_size=8) if spans else None,
        distillation=DistillationConfig(teacher=str(tmp_path / "teacher")) if taught else None,
    )
    rows = dataclasses.replace(base.phases[0].rows[0], path=str(packed))
    schedule = ScheduleConfig(peak=1e-3, warmup_steps=1)
    phase = dataclasses.replace(base.phases[0], rows=(rows,), steps=3, schedule=schedule)
    optimizer = dataclasses.replace(base.optimizer, name="adamw")
    config: RunConfig = dataclasses.replace(
        base, encoder=encoder, objectives=objectives, optimizer=optimizer, phases=(phase,)
    )
    pretrain(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    terms = {"masked_lm"} | ({"span_boundary"} if spans else set()) | ({"soft_targets", "cosine"} if taught else set())
    for line in (line for line in lines if "loss" in line):
        assert {name.removesuffix("_loss") for name in line if name.endswith("_loss")} == terms
        assert all(np.isfinite(line[f"{term}_loss"]) and line[f"{term}_loss"] > 0 for term in terms)
