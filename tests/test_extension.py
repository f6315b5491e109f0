"""Rows of the table in docs/explanations/structure.md: each new thing is one file and one line of a registry."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.config import (
    DataConfig,
    EncoderConfig,
    EvaluationConfig,
    ExtraObjective,
    LoggingConfig,
    MaskedLMConfig,
    ObjectivesConfig,
    PhaseConfig,
    RowsSource,
    RunConfig,
    ScheduleConfig,
    SpanBoundaryConfig,
    TaskConfig,
    check,
    from_json,
    to_json,
)
from jaxbert.config.overrides import apply_overrides
from jaxbert.convert.hf import write_hf
from jaxbert.core.metrics import Metric, TermInfo
from jaxbert.core.sharding import replicated, single_device_mesh
from jaxbert.data.policies import POLICIES
from jaxbert.data.policies.segments import Policy
from jaxbert.data.rows import build_rows
from jaxbert.errors import InputError
from jaxbert.evaluate.evaluation import evaluate, lines
from jaxbert.models.families import FAMILIES, bert
from jaxbert.models.families.family import Name
from jaxbert.models.model import Model
from jaxbert.objectives import OBJECTIVES, Term, masking
from jaxbert.objectives.vocabulary import frozen_tables
from jaxbert.run.initial import fitted_parameters, load_initial
from jaxbert.run.pretrain import pretrain
from jaxbert.tasks import TASKS
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.training.optim import OPTIMIZERS
from jaxbert.training.step import build
from jaxbert.use.library import Loaded, load
from jaxbert.use.predict import fill_mask
from tests.convert.comparison import published_of
from tests.tasks import replaced_tokens, token_targets


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowLengthConfig(ExtraObjective):
    """Settings of the toy: a row is long from this share of L on."""

    share: float = 0.5


VOCAB, LENGTH, BATCH = 60, 16, 8
ENCODER = EncoderConfig(
    vocab_size=VOCAB, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, max_positions=LENGTH
)
CONFIG = RunConfig(
    name="toy",
    encoder=ENCODER,
    objectives=ObjectivesConfig(next_sentence=None, extra=(RowLengthConfig(name="row_length", weight=2.0),)),
    data=DataConfig(source="none"),
    evaluation=EvaluationConfig(batch_size=BATCH),
    phases=(PhaseConfig(length=LENGTH, batch_size=BATCH, steps=9, schedule=ScheduleConfig(peak=1e-2, warmup_steps=1)),),
)


class RowLength:
    """A toy: whether a row is long, from the pooled vector's first entry."""

    config = RowLengthConfig
    metrics = (Metric("row_length_accuracy", "row-length accuracy", "len"),)
    heads: Mapping[str, Mapping[str, int]] = {"pooler": {}}

    def __init__(self, config: RowLengthConfig, encoder: EncoderConfig, *, length: int, slots: int):
        self.terms = {"row_length": TermInfo(config.weight, "row length")}
        self.tokens = length * config.share

    @staticmethod
    def fits(policy: Policy) -> bool:
        return True

    def prepare(self, params: Any, frozen: Any, batch: Any, key: jax.Array) -> Any:
        return {**batch, "long": ((batch["group"] > 0).sum(1) > self.tokens).astype(jnp.float32)}

    def denominators(self, batch: Any) -> dict[str, jax.Array]:
        return {"row_length": jnp.ones_like(batch["long"]).sum()}

    def compute(self, model: Model, params: Any, frozen: Any, batch: Any, x_BLD: jax.Array) -> dict[str, Term]:
        guess_B = model.pooled(params, x_BLD)[:, 0]
        loss = ((guess_B - batch["long"]) ** 2).sum()
        right = ((guess_B > 0.5) == (batch["long"] > 0.5)).sum()
        return {"row_length": Term(loss, jnp.ones_like(guess_B).sum(), {"accuracy": right})}


def batch(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = (np.arange(LENGTH) < rng.integers(4, LENGTH + 1, (BATCH, 1))).astype(np.int32)
    tokens = rng.integers(5, VOCAB, (BATCH, LENGTH)).astype(np.int32) * group
    return {"tokens": tokens, "types": group * 0, "group": group, "label": np.full(BATCH, -1, np.int32)}


def test_an_objective_needs_its_class_and_one_line(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "row_length", RowLength)
    assert from_json(RunConfig, to_json(CONFIG), "config") == CONFIG
    mesh = single_device_mesh()
    program = build(CONFIG, mesh)
    assert set(program.task.terms) == {"masked_lm", "row_length"}
    assert set(program.state["params"]) == {"encoder", "masked_lm", "pooler"}
    with jax.set_mesh(mesh):
        state = program.init(0)
        before = jax.device_get(state["params"])
        frozen = replicated(mesh, frozen_tables(np.arange(VOCAB) < 5, 4))
        for number in range(2):
            state, metrics = program.step(state, frozen, batch(number))
        total = metrics["masked_lm_loss"] + 2.0 * metrics["row_length_loss"]
        np.testing.assert_allclose(metrics["loss"], total, rtol=1e-6)
        judged = program.evaluate(state["params"], frozen, batch(99), np.int32(0))
        after = jax.device_get(state["params"])
    assert (after["pooler"]["dense"]["kernel"][:, 0] != before["pooler"]["dense"]["kernel"][:, 0]).all()
    assert set(judged) == {"masked_lm", "row_length"}


def test_an_objective_that_is_not_registered():
    with pytest.raises(InputError, match="E-CONFIG-NAME"):
        build(CONFIG, single_device_mesh())


def test_it_is_set_from_the_command_line(monkeypatch):
    """With its own settings, all at once and one by one."""
    monkeypatch.setitem(OBJECTIVES, "row_length", RowLength)
    plain = dataclasses.replace(CONFIG, objectives=ObjectivesConfig(next_sentence=None))
    config = apply_overrides(
        plain,
        ['objectives.extra=[{"name": "row_length", "weight": 2}]', "objectives.extra.row_length.share=0.25"],
    )
    assert config.objectives.extra == (RowLengthConfig(name="row_length", weight=2.0, share=0.25),)
    with pytest.raises(InputError, match=r"'shar'.*Did you mean share.*E-CONFIG-KEY"):
        apply_overrides(plain, ['objectives.extra=[{"name": "row_length", "shar": 2}]'])


def run_of(rows: Path, **changes: Any) -> RunConfig:
    """A run of three steps on real rows."""
    phase = PhaseConfig(
        rows=(RowsSource(path=str(rows)),), length=32, batch_size=8, steps=3,
        schedule=ScheduleConfig(peak=1e-2, warmup_steps=1),
    )  # fmt: skip
    encoder = dataclasses.replace(ENCODER, vocab_size=120, max_positions=32)
    logging = LoggingConfig(every_steps=1, tensorboard=False)
    run = dataclasses.replace(CONFIG, encoder=encoder, phases=(phase,), logging=logging)
    return dataclasses.replace(run, **{"objectives": ObjectivesConfig(next_sentence=None), **changes})


def test_an_objective_is_trained_and_evaluated(monkeypatch, small_rows, tmp_path):
    """By the commands' functions: `evaluate` judges an extra objective as the run itself does."""
    monkeypatch.setitem(OBJECTIVES, "row_length", RowLength)
    trained = pretrain(run_of(small_rows, objectives=CONFIG.objectives), tmp_path / "run")
    found = evaluate(str(tmp_path / "run"))
    for name in ("loss", "row_length_loss", "row_length_accuracy", "masked_lm_loss"):
        np.testing.assert_allclose(found[name], trained[f"validation_{name}"], rtol=1e-5)
    assert any(line.startswith("  row length   loss") and "accuracy" in line for line in lines(found))


def test_a_rows_policy_needs_its_file_and_one_line(monkeypatch, small_rows, tmp_path):
    """Objectives accept it by what it is: pairs, whose label says whether the second segment continues the first."""
    toy = dataclasses.replace(POLICIES["segment_pair"], cut=lambda *arguments: POLICIES["segment_pair"].cut(*arguments))
    monkeypatch.setitem(POLICIES, "toy_pair", toy)
    build_rows(small_rows.parent / "records", tmp_path / "rows", policy="toy_pair", length=32, workers=1, seed=0)
    config = run_of(tmp_path / "rows", objectives=ObjectivesConfig())
    check(dataclasses.replace(config, data=dataclasses.replace(config.data, policy="toy_pair")))
    trained = pretrain(config, tmp_path / "run")
    assert np.isfinite(trained["validation_next_sentence_loss"])
    assert evaluate(str(tmp_path / "run"))["next_sentence_loss"] > 0
    spans = ObjectivesConfig(
        masked_lm=MaskedLMConfig(scheme="span"),
        next_sentence=None,
        span_boundary=SpanBoundaryConfig(max_targets=4, position_size=8),
    )
    with pytest.raises(InputError, match=r"full_sentences or .*E-OBJECTIVE-ROWS"):
        pretrain(dataclasses.replace(config, objectives=spans), tmp_path / "other")
    assert {name for name, kind in OBJECTIVES.items() if kind.fits(toy)} == {
        "masked_lm",
        "next_sentence",
        "distillation",
    }


def test_a_masking_scheme_needs_its_file_and_one_line(monkeypatch, small_rows, tmp_path):
    """A toy: the first tokens of a row. It has a table that it makes from counts of the train rows."""
    seen = []

    def choose_first(candidates: masking.Candidates, config: MaskedLMConfig, key: jax.Array) -> jax.Array:
        assert candidates.tables["toy"].shape == (120,)
        order_BL = jnp.cumsum(candidates.maskable_BL, axis=1, dtype=jnp.int32)
        return candidates.maskable_BL & (order_BL <= candidates.budget_B1)

    def tables(config: MaskedLMConfig, counts: np.ndarray, longest: int) -> dict[str, np.ndarray]:
        seen.append(counts.sum())
        return {"toy": counts.astype(np.uint32)}

    monkeypatch.setitem(masking.SCHEMES, "first", masking.Scheme(choose_first, tables=tables, counts=True))
    config = apply_overrides(run_of(small_rows), ["objectives.masked_lm.scheme=first"])
    trained = pretrain(config, tmp_path / "run")
    assert max(seen) > 9000, "the scheme has been given the counts of the train rows"
    found = evaluate(str(tmp_path / "run"))
    np.testing.assert_allclose(found["masked_lm_loss"], trained["validation_masked_lm_loss"], rtol=1e-5)
    with pytest.raises(InputError, match="E-CONFIG-NAME"):
        check(apply_overrides(run_of(small_rows), ["objectives.masked_lm.scheme=last"]))


def test_an_optimizer_needs_one_line(monkeypatch, small_rows, tmp_path):
    """A toy: AdamW without decay of anything. The table asks for its formula in a test too."""
    toy = dataclasses.replace(OPTIMIZERS["adamw"], decayed=frozenset())
    monkeypatch.setitem(OPTIMIZERS, "toy", toy)
    pretrain(apply_overrides(run_of(small_rows), ["optimizer.name=toy"]), tmp_path / "toy")
    pretrain(apply_overrides(run_of(small_rows), ["optimizer.name=adamw"]), tmp_path / "adamw")
    one, other = ((tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("toy", "adamw"))
    # The rate of the first step is 0.
    first, second = json.loads(one[1]), json.loads(other[1])
    assert first["loss"] == second["loss"] and first["update_norm"] != second["update_norm"]


def test_a_task_needs_its_file_and_one_line(monkeypatch, small_rows, tmp_path):
    """`tests/tasks` trains three; here one is chosen from the command line, and a wrong setting is named."""
    monkeypatch.setitem(TASKS, "token_targets", token_targets.KIND)
    config = apply_overrides(run_of(small_rows), ["task.name=token_targets", "task.period=3"])
    assert from_json(RunConfig, to_json(config), "config") == config
    trained = pretrain(config, tmp_path / "run")
    np.testing.assert_allclose(
        evaluate(str(tmp_path / "run"))["correlation"], trained["validation_correlation"], rtol=1e-4
    )
    with pytest.raises(InputError, match="E-MODEL-TASK"):
        load(tmp_path / "run")
    with pytest.raises(InputError, match=r"'perod'.*Did you mean task\.period.*E-CONFIG-KEY"):
        apply_overrides(config, ["task.perod=3"])
    with pytest.raises(InputError, match=r"Did you mean token_targets.*E-CONFIG-NAME"):
        apply_overrides(config, ["task.name=token_target"])
    with pytest.raises(InputError, match="E-TASK-CONFIG"):
        build(dataclasses.replace(config, task=TaskConfig(name="token_targets")), single_device_mesh())


def test_a_task_starts_from_a_model(monkeypatch, small_rows, tmp_path):
    """Its encoder and the heads that both have. A task whose parts are no encoder with heads says so."""
    monkeypatch.setitem(TASKS, "token_targets", token_targets.KIND)
    monkeypatch.setitem(TASKS, "replaced_tokens", replaced_tokens.KIND)
    base, tokenizer = run_of(small_rows), Tokenizer.load(small_rows / "tokenizer")
    write_hf(tmp_path / "bert", base.encoder, Model(base.encoder, ["masked_lm"]).init(jax.random.key(3)), tokenizer)
    base = dataclasses.replace(base, init=str(tmp_path / "bert"))
    config = apply_overrides(base, ["task.name=token_targets", "task.period=5"])
    initial = load_initial(config)
    fitted = fitted_parameters(initial, config, tokenizer)
    assert set(fitted) == {"encoder"}
    jax.tree.map(np.testing.assert_array_equal, fitted["encoder"]["layers"], initial.params["encoder"]["layers"])
    with pytest.raises(InputError, match=r"generator.*E-RUN-INIT-PARTS"):
        load_initial(apply_overrides(base, ["task.name=replaced_tokens"]))


def test_a_family_needs_its_file_and_one_line(monkeypatch, tmp_path):
    """A toy: BERT's encoder without token types, under names of its own."""

    def from_published(published: Mapping[str, Any], where: str) -> EncoderConfig:
        return dataclasses.replace(
            bert.from_published({**published, "type_vocab_size": 1}, where), family="toy", type_vocab_size=0
        )

    toy = dataclasses.replace(
        bert.FAMILY,
        presets={"tiny": dataclasses.replace(ENCODER, family="toy", type_vocab_size=0)},
        model_type="toy",
        prefix="toy.",
        from_published=from_published,
        to_published=lambda config, heads: {**bert.to_published(config, heads), "model_type": "toy"},
        names=lambda config: tuple(
            Name(line.ours, line.theirs.replace("bert.", "toy."), line.form, line.vocabulary, line.also)
            for line in bert.NAMES
            if line.ours != "encoder/embeddings/type/table"
        ),
        only={"type_vocab_size": lambda size: size == 0},
    )
    monkeypatch.setitem(FAMILIES, "toy", toy)
    config = toy.presets["tiny"]
    run = dataclasses.replace(CONFIG, encoder=config, objectives=ObjectivesConfig(next_sentence=None))
    mesh = single_device_mesh()
    program = build(run, mesh)
    with jax.set_mesh(mesh):
        state, metrics = program.step(
            program.init(0), replicated(mesh, frozen_tables(np.arange(VOCAB) < 5, 4)), batch(0)
        )
    assert np.isfinite(metrics["loss"])
    params = jax.tree.map(np.asarray, jax.device_get(state["params"]))
    write_hf(tmp_path / "out", config, params)
    read, again, heads = published_of(tmp_path / "out")
    assert read.family == "toy" and heads == ("masked_lm",)
    jax.tree.map(np.testing.assert_array_equal, again, params)


def used(workdir: Path) -> Loaded:
    """The model of a run, after `evaluate` and `fill-mask`, which need no published file."""
    assert evaluate(str(workdir))["masked_lm_loss"] > 0
    model = load(workdir)
    (filled,) = fill_mask(model, ["sentence number [MASK] of the text"], top=2)
    assert len(filled.candidates) == 2
    return model


def test_an_encoder_that_its_familys_files_cannot_hold_trains(small_rows, tmp_path, caplog):
    """BERT's files have no projection of the embeddings. A rule of files stops the writing, and nothing before."""
    narrow = apply_overrides(run_of(small_rows, objectives=ObjectivesConfig()), ["encoder.embedding_size=8"])
    pretrain(narrow, tmp_path / "run")
    assert "encoder.embedding_size is 8" in caplog.text
    model = used(tmp_path / "run")
    with pytest.raises(InputError, match=r"encoder.embedding_size is 8.*checkpoints.*E-EXPORT-FIELD"):
        model.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_head_and_a_pooler_that_the_familys_files_cannot_hold_train(small_rows, tmp_path):
    """BERT's files have no sentence order, and their pooler has tanh."""
    build_rows(small_rows.parent / "records", tmp_path / "rows", policy="ordered_pair", length=32, workers=1, seed=0)
    config = apply_overrides(run_of(tmp_path / "rows"), ["objectives.sentence_order=default", "encoder.pooler=relu"])
    pretrain(config, tmp_path / "run")
    model = used(tmp_path / "run")
    assert {"pooler", "sentence_order", "masked_lm"} < set(model.params)
    params = model.params
    for left_out, code in ((("sentence_order",), "E-EXPORT-POOLER"), (("pooler",), "E-EXPORT-HEAD")):
        with pytest.raises(InputError, match=code):
            write_hf(tmp_path / "out", model.config, {part: params[part] for part in params if part not in left_out})
        assert not (tmp_path / "out").exists()
    write_hf(tmp_path / "out", model.config, {part: params[part] for part in ("encoder", "masked_lm")})


def test_a_distilbert_with_token_types_trains(small_rows, tmp_path):
    config = apply_overrides(run_of(small_rows), ["encoder.family=distilbert", "encoder.type_vocab_size=2"])
    build(config, single_device_mesh())
    with pytest.raises(InputError, match=r"encoder.type_vocab_size is 2.*distilbert.*E-EXPORT-FIELD"):
        write_hf(tmp_path / "out", config.encoder, Model(config.encoder, ["masked_lm"]).init(jax.random.key(0)))


def test_a_padding_that_published_code_would_shift_trains(small_rows, tmp_path, caplog):
    """RoBERTa's published code counts positions from the padding's id on; ours does not."""
    settings = ["encoder.family=roberta", "encoder.position_offset=2", "encoder.max_positions=34"]
    config = apply_overrides(
        run_of(small_rows), [*settings, "encoder.type_vocab_size=0", "encoder.activation=gelu_erf"]
    )
    pretrain(config, tmp_path / "run")
    assert "position_offset=1" in caplog.text
    with pytest.raises(InputError, match="E-MODEL-PADDING"):
        used(tmp_path / "run").save(tmp_path / "out")
