"""Compares distillation with torch's KLDivLoss and CosineEmbeddingLoss on transformers' models: values and gradients.

The terms are those of Hugging Face's examples/research_projects/distillation: batch means over the chosen tokens, with
T^2 before the first term.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional

from jaxbert.config import DistillationConfig, EncoderConfig
from jaxbert.convert.hf import write_hf
from jaxbert.convert.names import export_params
from jaxbert.core.parameters import Params
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import Model
from jaxbert.objectives.distillation import Distillation
from tests.convert.comparison import RULE, distance, judge_gradients
from tests.models.odd import random_params
from tests.peers.peer import opened

SHAPE = dict(vocab_size=61, vocab_multiple=16, num_heads=3, intermediate_size=25, max_positions=14)
STUDENT = dataclasses.replace(FAMILIES["distilbert"].presets["tiny"], hidden_size=12, num_layers=1, **SHAPE)
TEACHERS = {
    "same width": dataclasses.replace(FAMILIES["distilbert"].presets["tiny"], hidden_size=12, num_layers=2, **SHAPE),
    "another width": dataclasses.replace(FAMILIES["bert"].presets["tiny"], hidden_size=18, num_layers=2, **SHAPE),
}
# Of another multiple: the student's and the teacher's padding must not differ, so the objective takes the student's.
TEACHERS["another width"] = dataclasses.replace(TEACHERS["another width"], vocab_multiple=32)
KINDS = {"distilbert": "DistilBertForMaskedLM", "bert": "BertForMaskedLM"}
ROWS, LENGTH, SLOTS, TEMPERATURE = 3, 12, 4, 1.7
TERMS = ("soft_targets", "cosine")


def batch() -> dict[str, np.ndarray]:
    """Padded rows; every row's slots, the last of which one row leaves empty."""
    rng = np.random.default_rng(4)
    real = (np.arange(LENGTH)[None] < np.array([[12], [9], [6]])).astype(np.int32)
    weight = np.ones((ROWS, SLOTS), np.float32)
    weight[1, -1] = 0
    slots = np.stack([np.sort(rng.choice(6, SLOTS, replace=False)) for _ in range(ROWS)]).astype(np.int32)
    return {
        "tokens": rng.integers(1, 61, (ROWS, LENGTH)).astype(np.int32) * real,
        "types": rng.integers(0, 2, (ROWS, LENGTH)).astype(np.int32) * real,
        "group": real,
        "slots": slots,
        "slot_weight": weight,
    }


def objective_of(teacher: EncoderConfig, over: Any, chunk: int = 64) -> Distillation:
    config = DistillationConfig(
        teacher="x", encoder=teacher, soft=5.0, cosine=0.7, temperature=TEMPERATURE, over=over, chunk=chunk
    )
    return Distillation(config, STUDENT, length=LENGTH, slots=SLOTS)


@dataclasses.dataclass(frozen=True)
class Theirs:
    terms: dict[str, float]
    gradients: dict[str, np.ndarray]


def theirs_of(
    directory: Path, objective: Distillation, params: Params, teacher: EncoderConfig, teacher_params: Params
) -> Theirs:
    """Torch's losses over the tokens that count, and the gradients of their weighted sum."""
    write_hf(directory / "student", STUDENT, {part: params[part] for part in ("encoder", "masked_lm")})
    write_hf(directory / "teacher", teacher, teacher_params)
    student, report = opened(KINDS[STUDENT.family], directory / "student")
    guide, other = opened(KINDS[teacher.family], directory / "teacher")
    assert not any((*report.values(), *other.values()))
    student, guide = student.double().eval(), guide.double().eval()
    long = {name: torch.tensor(array).long() for name, array in batch().items()}
    given = {"input_ids": long["tokens"], "attention_mask": long["group"], "output_hidden_states": True}
    types = {"token_type_ids": long["types"]} if teacher.family == "bert" else {}
    with torch.no_grad():
        t = guide(**given, **types)
    s = student(**given)
    if objective.settings.over == "masked":
        row, slot = (long["slot_weight"] > 0).nonzero(as_tuple=True)
        chosen = (row, long["slots"][row, slot])
    else:
        chosen = (long["group"] > 0).nonzero(as_tuple=True)
    soft = torch.nn.KLDivLoss(reduction="batchmean")(
        functional.log_softmax(s.logits[chosen] / TEMPERATURE, -1),
        functional.softmax(t.logits[chosen] / TEMPERATURE, -1),
    ) * (TEMPERATURE**2)
    hidden, target = s.hidden_states[-1][chosen], t.hidden_states[-1][chosen]
    extra = {}
    if "projection" in params:
        kernel, bias = (torch.tensor(params["projection"]["dense"][k]).double() for k in ("kernel", "bias"))
        extra = {"projection/kernel": kernel.requires_grad_(), "projection/bias": bias.requires_grad_()}
        hidden = hidden @ kernel + bias
    near = torch.nn.CosineEmbeddingLoss(reduction="mean")(hidden, target, torch.ones(len(hidden)).double())
    (objective.terms["soft_targets"].weight * soft + objective.terms["cosine"].weight * near).backward()
    gradients = {name: weight.grad.numpy() for name, weight in (*student.named_parameters(), *extra.items())}
    return Theirs({"soft_targets": soft.item(), "cosine": near.item()}, gradients)


def ours_of(objective: Distillation, params: Params, teacher_params: Params) -> Theirs:
    dtype = jnp.float64
    with jax.enable_x64(True):
        model = Model(STUDENT, objective.heads, sizes=objective.heads)
        wide = jax.tree.map(lambda w: jnp.asarray(w, dtype), (params, teacher_params))
        rows = {name: jnp.asarray(array) for name, array in batch().items()}
        weight = objective.denominators(rows)

        def loss(params: Params, teacher: Params) -> tuple[jax.Array, Any]:
            hidden = model.hidden(params, rows, dtype=dtype)
            terms = objective.compute(model, params, {"teacher": teacher}, rows, hidden)
            assert terms.keys() == set(TERMS)
            means = {name: term.sum / weight[name] for name, term in terms.items()}
            counted = [term.weight - weight[name] for name, term in terms.items()]
            return sum(objective.terms[name].weight * means[name] for name in TERMS), (means, counted)

        step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
        (_, (means, counted)), (gradients, of_teacher) = step(*wide)
        assert not any(float(difference) for difference in counted)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_teacher))
        projection = gradients.pop("projection", {}).get("dense", {})
        named = {f"projection/{name}": np.asarray(array) for name, array in projection.items()}
        named |= export_params(gradients, STUDENT, np.float64)
        return Theirs({name: float(mean) for name, mean in means.items()}, named)


@pytest.mark.parametrize("over", ["all", "masked"])
@pytest.mark.parametrize("width", TEACHERS)
def test_terms_and_gradients(tmp_path: Path, width: str, over: str) -> None:
    teacher = TEACHERS[width]
    # Padding as the student's: the parameters that a run holds are those of the objective's own teacher.
    teacher_params = random_params(objective_of(teacher, over).teacher, seed=1)
    padded = dataclasses.replace(teacher, vocab_multiple=STUDENT.vocab_multiple)
    heads = objective_of(teacher, over).heads
    assert ("projection" in heads) == (width == "another width")
    params = random_params(Model(STUDENT, heads, sizes=heads))
    expected = theirs_of(tmp_path, objective_of(teacher, over), params, padded, teacher_params)
    worst = [0.0, 0.0]
    for chunk in (1, 4, 5, 100) if (width, over) == ("same width", "all") else (4,):
        found = ours_of(objective_of(teacher, over, chunk), params, teacher_params)
        for name in TERMS:
            error = abs(found.terms[name] - expected.terms[name]) / abs(expected.terms[name])
            assert error <= RULE["float64"][0], (chunk, name)
            worst[0] = max(worst[0], error)
        worst[1] = max(worst[1], judge_gradients(found.gradients, expected.gradients, "float64"))
    print(f"worst share: {worst[0]:.1e} terms, {worst[1]:.1e} gradients")


def test_stretches_are_whole() -> None:
    """A position at a time, a divisor of the length, one that is none (its last stretch is filled up), all of it."""
    found = {chunk: objective_of(TEACHERS["same width"], "all", chunk).chunk for chunk in (1, 4, 5, 100)}
    assert found == {1: 1, 4: 4, 5: 5, 100: LENGTH}


def test_a_float32_run_is_near(tmp_path: Path) -> None:
    """The float32 rule, on values; a teacher in bfloat16 is another teacher, whose distance this does not ask."""
    teacher = TEACHERS["same width"]
    objective = objective_of(teacher, "all", 4)
    params = random_params(Model(STUDENT, objective.heads, sizes=objective.heads))
    teacher_params = random_params(objective.teacher, seed=1)
    expected = theirs_of(tmp_path, objective, params, teacher, teacher_params)
    model = Model(STUDENT, objective.heads, sizes=objective.heads)
    rows = {name: jnp.asarray(array) for name, array in batch().items()}

    def terms(params: Params, frozen: Params) -> Any:
        hidden = model.hidden(params, rows)
        return objective.compute(model, params, frozen, rows, hidden)

    found = jax.jit(terms)(params, {"teacher": teacher_params})
    for name, value in expected.terms.items():
        mean = found[name].sum / found[name].weight
        assert mean.dtype == jnp.float32
        assert distance(mean, value) <= RULE["float32"][0] * abs(value), name
