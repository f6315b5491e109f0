"""A student beside its teacher, as a run: where it starts, what it learns from, how it continues."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxbert
from jaxbert.config import (
    DistillationConfig,
    MaskedLMConfig,
    ObjectivesConfig,
    RunConfig,
    ScheduleConfig,
    find_config,
    save_json,
)
from jaxbert.convert.hf import write_hf
from jaxbert.errors import InputError
from jaxbert.evaluate.evaluation import evaluate
from jaxbert.models.model import Model
from jaxbert.run.pretrain import pretrain
from jaxbert.text.tokenizers import Tokenizer


def config_of(tiny_config: Path, teacher: Path, **settings: object) -> RunConfig:
    """The small run as a DistilBERT of 8 steps."""
    base = find_config(str(tiny_config))
    distillation = DistillationConfig(teacher=str(teacher), **settings)  # type: ignore[arg-type]
    phase = dataclasses.replace(
        base.phases[1], steps=8, schedule=ScheduleConfig(peak=1e-3, warmup_steps=2, total_steps=8)
    )
    return dataclasses.replace(
        base,
        name="student",
        encoder=dataclasses.replace(base.encoder, family="distilbert", type_vocab_size=0, num_layers=1),
        objectives=ObjectivesConfig(
            masked_lm=MaskedLMConfig(scheme="frequency", weight=2.0), next_sentence=None, distillation=distillation
        ),
        optimizer=dataclasses.replace(base.optimizer, name="adamw"),
        phases=(phase,),
        checkpoint=dataclasses.replace(base.checkpoint, every_steps=100),
    )


@pytest.fixture(scope="module")
def teacher(tiny_config: Path, tiny_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with the rows' vocabulary."""
    path = tmp_path_factory.mktemp("teacher") / "bert"
    encoder = dataclasses.replace(find_config(str(tiny_config)).encoder, initializer_range=0.3)
    params = Model(encoder, ["masked_lm"]).init(jax.random.key(5))
    write_hf(path, encoder, params, Tokenizer.load(tiny_rows / "tokenizer"))
    return path


@pytest.fixture(scope="module")
def straight(tiny_config: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "straight"
    pretrain(config_of(tiny_config, teacher, layers=(1,)), workdir)
    return workdir


def lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_from_all_three(straight: Path) -> None:
    train = [line for line in lines(straight) if "loss" in line]
    last = train[-1]
    parts = 2.0 * last["masked_lm_loss"] + 5.0 * last["soft_targets_loss"] + 1.0 * last["cosine_loss"]
    np.testing.assert_allclose(last["loss"], parts, rtol=1e-5)
    assert train[-1]["soft_targets_loss"] < train[0]["soft_targets_loss"]
    judged = [line for line in lines(straight) if "validation_loss" in line][-1]
    assert {"validation_masked_lm_loss", "validation_soft_targets_loss", "validation_cosine_loss"} <= judged.keys()


def test_it_starts_from_the_teachers_layer(tiny_config: Path, teacher: Path, tmp_path: Path) -> None:
    """After a step of rate 0 it is as it began."""
    config = config_of(tiny_config, teacher, layers=(1,), transform=True)
    schedule = ScheduleConfig(peak=1e-3, warmup_steps=2, total_steps=8)
    phase = dataclasses.replace(config.phases[0], steps=1, schedule=schedule)
    pretrain(dataclasses.replace(config, phases=(phase,)), tmp_path / "run")
    theirs, ours = jaxbert.load(teacher).params, jaxbert.load(tmp_path / "run").params
    for mine, yours in zip(
        jax.tree.leaves(ours["encoder"]["layers"]), jax.tree.leaves(theirs["encoder"]["layers"]), strict=True
    ):
        np.testing.assert_array_equal(mine[0], yours[1])
    for name in ("word", "position", "norm"):
        jax.tree.map(
            np.testing.assert_array_equal,
            ours["encoder"]["embeddings"][name],
            theirs["encoder"]["embeddings"][name],
        )
    jax.tree.map(np.testing.assert_array_equal, ours["masked_lm"], theirs["masked_lm"])


def test_it_continues_to_the_same_bits(tiny_config: Path, teacher: Path, straight: Path, tmp_path: Path) -> None:
    config = config_of(tiny_config, teacher, layers=(1,))
    half = dataclasses.replace(config.phases[0], steps=4)
    pretrain(dataclasses.replace(config, phases=(half,)), tmp_path / "run")
    pretrain(config, tmp_path / "run")
    trained = [line for line in lines(tmp_path / "run") if "loss" in line]
    assert trained == [line for line in lines(straight) if "loss" in line]
    jax.tree.map(np.testing.assert_array_equal, jaxbert.load(tmp_path / "run").params, jaxbert.load(straight).params)


def test_another_teacher_under_the_same_name_is_seen(tiny_config: Path, teacher: Path, tmp_path: Path) -> None:
    moved = tmp_path / "teacher"
    loaded = jaxbert.load(teacher)
    loaded.save(moved)
    config = config_of(tiny_config, moved, layers=(1,))
    pretrain(dataclasses.replace(config, phases=(dataclasses.replace(config.phases[0], steps=2),)), tmp_path / "run")
    loaded.params["masked_lm"]["bias"] = loaded.params["masked_lm"]["bias"] + 1
    loaded.save(moved, overwrite=True)
    with pytest.raises(InputError, match=r"E-RUN-TEACHER\]"):
        pretrain(config, tmp_path / "run")


def test_a_teacher_is_not_replaced_by_its_student(tiny_config: Path, straight: Path) -> None:
    before = (straight / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match="E-WORKDIR-INPUT"):
        pretrain(config_of(tiny_config, straight, layers=(0,)), straight, overwrite=True)
    assert (straight / "metrics.jsonl").read_bytes() == before


def test_a_teacher_whose_run_differs_is_named(tiny_config: Path, tiny: Path, tmp_path: Path) -> None:
    base = find_config(str(tiny_config))
    save_json(dataclasses.replace(base, name="first", seed=3), tmp_path / "first.json")
    (tmp_path / "student-teacher").mkdir()
    save_json(dataclasses.replace(base, name="first"), tmp_path / "student-teacher/config.json")
    config = config_of(tiny_config, Path(f"config:{tmp_path}/first.json"), layers=(0,))
    phase = dataclasses.replace(config.phases[0], rows=())
    data = dataclasses.replace(config.data, source=f"text:{tiny}/corpus.txt")
    with pytest.raises(InputError, match="E-RUN-TEACHER-WORKDIR"):
        pretrain(dataclasses.replace(config, phases=(phase,), data=data), tmp_path / "student")


def test_a_narrower_student_is_projected(tiny_config: Path, teacher: Path, tmp_path: Path) -> None:
    config = config_of(tiny_config, teacher, over="masked")
    narrow = dataclasses.replace(config.encoder, hidden_size=16, intermediate_size=24)
    pretrain(dataclasses.replace(config, encoder=narrow), tmp_path / "run")
    table = [line.split() for line in (tmp_path / "run/parameters.txt").read_text().splitlines()]
    assert ["projection/dense/kernel", "16", "x", "32"] in [words[:4] for words in table]
    student = jaxbert.load(tmp_path / "run")
    assert set(student.params) == {"encoder", "masked_lm"}, "the projection is of use beside the teacher only"
    student.save(tmp_path / "out")
    assert evaluate(str(tmp_path / "run"))["masked_lm_loss"] > 0


def test_a_teacher_that_is_trained_first(tiny_config: Path, tiny: Path, tmp_path: Path) -> None:
    """`config:NAME`: trained in WORKDIR-teacher, once; the student takes its vocabulary."""
    base = find_config(str(tiny_config))
    data = dataclasses.replace(base.data, source=f"text:{tiny}/corpus.txt", validation_fraction=0.1)
    first = dataclasses.replace(base.phases[0], steps=2, rows=(), schedule=ScheduleConfig(peak=1e-3, warmup_steps=1))
    save_json(dataclasses.replace(base, name="first", phases=(first,), data=data), tmp_path / "first.json")
    config = config_of(tiny_config, Path(f"config:{tmp_path}/first.json"), layers=(0,))
    phase = dataclasses.replace(config.phases[0], steps=3, rows=())
    data = dataclasses.replace(data, policy="single_document", short_rows=0.0)
    config = dataclasses.replace(config, phases=(phase,), data=data)
    pretrain(config, tmp_path / "student")
    made = (tmp_path / "student-teacher/metrics.jsonl").read_bytes()
    assert pretrain(config, tmp_path / "student")["step"] == 3
    assert (tmp_path / "student-teacher/metrics.jsonl").read_bytes() == made
