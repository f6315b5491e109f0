"""Optimizers against numpy written from their formulas, in float64; schedules against their definitions."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.config import OptimizerConfig, ScheduleConfig
from jaxbert.optim import OPTIMIZERS, decayed, make_optimizer, make_schedule

RATE, STEPS = 0.02, 20


def _params() -> dict:
    rng = np.random.default_rng(1)
    return {
        "encoder": {
            "embeddings": {"word": {"table": rng.normal(size=(7, 4))}, "norm": {"scale": np.ones(4)}},
            "layers": {
                "query": {"kernel": rng.normal(size=(3, 4, 2, 2)), "bias": np.zeros((3, 2, 2))},
                "output_norm": {"scale": np.ones((3, 4)), "bias": np.zeros((3, 4))},
            },
        },
        "masked_lm": {"bias": np.zeros(7), "dense": {"kernel": rng.normal(size=(4, 4)) * 3}},
    }


def _gradients(step: int) -> dict:
    rng = np.random.default_rng(100 + step)
    return jax.tree.map(lambda w: rng.normal(size=w.shape), _params())


def _numpy_steps(config: OptimizerConfig) -> dict:
    """STEPS updates, each leaf and each layer on its own, from the published formulas."""
    flat, tree = jax.tree.flatten(_params())
    mask = jax.tree.leaves(decayed(_params()))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(_params())[0]]
    m, v = [np.zeros_like(w) for w in flat], [np.zeros_like(w) for w in flat]
    for step in range(STEPS):
        grads = jax.tree.leaves(_gradients(step))
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        grads = [g * min(1.0, config.clip_norm / norm) for g in grads]
        for i, g in enumerate(grads):
            m[i] = config.beta1 * m[i] + (1 - config.beta1) * g
            v[i] = config.beta2 * v[i] + (1 - config.beta2) * g**2
            if config.name == "bert_adamw":
                u = m[i] / (np.sqrt(v[i]) + config.epsilon)
            else:
                m_hat, v_hat = m[i] / (1 - config.beta1 ** (step + 1)), v[i] / (1 - config.beta2 ** (step + 1))
                u = m_hat / (np.sqrt(v_hat) + config.epsilon)
            if mask[i]:
                u = u + config.weight_decay * flat[i]
            if config.name == "lamb_mlperf" and mask[i]:
                if "layers" in paths[i]:
                    u = np.stack([u[n] * np.linalg.norm(flat[i][n]) / np.linalg.norm(u[n]) for n in range(len(u))])
                else:
                    u = u * np.linalg.norm(flat[i]) / np.linalg.norm(u)
            flat[i] = flat[i] - RATE * u
    return jax.tree.unflatten(tree, flat)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_equals_its_formula(name):
    config = OptimizerConfig(name=name, weight_decay=0.1, clip_norm=2.0)
    with jax.enable_x64(True):
        optimizer = make_optimizer(config)
        params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float64), _params())
        state = optimizer.init(params)
        for step in range(STEPS):
            direction, state = optimizer.update(_gradients(step), state, params)
            params = jax.tree.map(lambda w, u: w - RATE * u, params, direction)
        for found, wanted in zip(jax.tree.leaves(params), jax.tree.leaves(_numpy_steps(config)), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_decay_goes_by_name():
    flat = {jax.tree_util.keystr(path): on for path, on in jax.tree_util.tree_flatten_with_path(decayed(_params()))[0]}
    assert {path for path, on in flat.items() if on} == {
        "['encoder']['embeddings']['word']['table']",
        "['encoder']['layers']['query']['kernel']",
        "['masked_lm']['dense']['kernel']",
    }


def test_schedule_of_bert_jumps_at_the_end_of_its_warmup():
    rate = make_schedule(ScheduleConfig(peak=1.0, warmup_steps=10, decay_from="zero"), 100)
    rates = [float(rate(step)) for step in (0, 5, 9, 10, 50, 100, 120)]
    np.testing.assert_allclose(rates, [0, 0.5, 0.9, 0.9, 0.5, 0, 0], atol=1e-6)


def test_schedule_from_warmup_is_continuous():
    rate = make_schedule(ScheduleConfig(peak=1.0, warmup_steps=10, end=0.1, decay_from="warmup"), 110)
    np.testing.assert_allclose([float(rate(s)) for s in (0, 10, 60, 110)], [0, 1.0, 0.55, 0.1], atol=1e-6)
    flat = make_schedule(dataclasses.replace(ScheduleConfig(), kind="constant", peak=0.5, warmup_steps=0), 10)
    assert float(flat(3)) == 0.5
