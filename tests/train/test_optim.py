"""Optimizers against numpy written from their published formulas, in float64; what each decays and scales."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.config import OptimizerConfig, OptimizerName, find_config
from jaxbert.core.parameters import check_names, kind_of
from jaxbert.core.sharding import single_device_mesh
from jaxbert.training.optim import OPTIMIZERS, make_optimizer
from jaxbert.training.step import build
from tests.goldens.record_parameters import GOLDEN as PARAMETERS
from tests.goldens.record_parameters import tables

RATE, STEPS, BETA1, BETA2, EPSILON, DECAY = 0.02, 20, 0.9, 0.999, 1e-6, 0.1
Array = np.ndarray
Variables = dict[str, Array]


def _params() -> dict:
    rng = np.random.default_rng(1)
    return {
        "encoder": {
            "embeddings": {"word": {"table": rng.normal(size=(7, 4))}, "norm": {"scale": np.ones(4)}},
            "layers": {
                "query": {"kernel": rng.normal(size=(3, 4, 2, 2)), "bias": rng.normal(size=(3, 2, 2))},
                "output_norm": {"scale": 1 + rng.normal(size=(3, 4)), "bias": np.zeros((3, 4))},
            },
        },
        "masked_lm": {"bias": np.zeros(7), "dense": {"kernel": rng.normal(size=(4, 4)) * 3}},
        # A weight that starts at 0: no norm, no ratio.
        "pooler": {"dense": {"kernel": np.zeros((4, 4))}},
    }


def _gradients(step: int, tree: dict | None = None) -> dict:
    rng = np.random.default_rng(100 + step)
    return jax.tree.map(lambda w: rng.normal(size=w.shape) * (10 if step % 3 else 0.01), tree or _params())


def unstacked(tree: dict) -> dict:
    """The same parameters with one subtree a layer, as the published programs hold them."""
    layers = tree["encoder"]["layers"]
    encoder = {"embeddings": tree["encoder"]["embeddings"]}
    encoder |= {f"layer_{n}": jax.tree.map(lambda w, n=n: w[n], layers) for n in range(3)}
    return {**tree, "encoder": encoder}


# ----------------------------------------------------------------------------------------------------------------------
# The references: one variable w with gradient g at step t, counted from 1. Each is its publication's own formula, with
# nothing shared but the moments; `plain` says that the variable is neither a bias nor LayerNorm's.


def moments(m: Array, v: Array, g: Array) -> tuple[Array, Array]:
    return BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g * g


def adamw(w: Array, m: Array, v: Array, t: int, plain: bool) -> Array:
    """Loshchilov and Hutter 2019, algorithm 2; decay on weights only."""
    w_decayed = w * (1 - RATE * DECAY) if plain else w
    return w_decayed - RATE * (m / (1 - BETA1**t)) / (np.sqrt(v / (1 - BETA2**t)) + EPSILON)


def bert_adamw(w: Array, m: Array, v: Array, t: int, plain: bool) -> Array:
    """google-research/bert: no correction, and the decay inside the update."""
    update = m / (np.sqrt(v) + EPSILON)
    if plain:
        update = update + DECAY * w
    return w - RATE * update


def fairseq_adamw(w: Array, m: Array, v: Array, t: int, plain: bool) -> Array:
    """fairseq's Adam: every variable decayed before the step, the correction in the step's size."""
    w = w - RATE * DECAY * w
    step = RATE * np.sqrt(1 - BETA2**t) / (1 - BETA1**t)
    # Its epsilon stands beside the uncorrected root: that of the textbook is this much smaller.
    return w - step * m / (np.sqrt(v) + EPSILON * np.sqrt(1 - BETA2**t))


def lamb_paper(w: Array, m: Array, v: Array, t: int, plain: bool) -> Array:
    """You et al. 2020, algorithm 2, phi the identity, every variable a layer."""
    r = (m / (1 - BETA1**t)) / (np.sqrt(v / (1 - BETA2**t)) + EPSILON)
    direction = r + DECAY * w
    phi = np.linalg.norm(w)
    return w - RATE * (phi / np.linalg.norm(direction) if phi > 0 else 1.0) * direction


def lamb_albert(w: Array, m: Array, v: Array, t: int, plain: bool) -> Array:
    """google-research/albert: raw moments; the exclusion list holds for decay and ratio."""
    update = m / (np.sqrt(v) + EPSILON)
    if not plain:
        return w - RATE * update
    update = update + DECAY * w
    ratio = np.linalg.norm(w) / np.linalg.norm(update) if np.linalg.norm(w) > 0 else 1.0
    return w - ratio * RATE * update


def lamb_mlperf(w: Array, m: Array, v: Array, t: int, plain: bool) -> Array:
    """MLPerf's and TensorFlow Addons': corrected moments; the exclusion list holds for decay and ratio."""
    m_hat, v_hat = m / (1 - BETA1**t), v / (1 - BETA2**t)
    update = m_hat / (np.sqrt(v_hat) + EPSILON)
    if not plain:
        return w - RATE * update
    update = update + DECAY * w
    ratio = np.linalg.norm(w) / np.linalg.norm(update) if np.linalg.norm(w) > 0 else 1.0
    return w - ratio * RATE * update


def lamb_nvidia(w: Array, m: Array, v: Array, t: int, plain: bool, decay: float = DECAY) -> Array:
    """FusedLAMB, use_nvlamb=False: the ratio goes with the variable's own decay, not with a list."""
    own_decay = decay if plain else 0.0
    update = (m / (1 - BETA1**t)) / (np.sqrt(v / (1 - BETA2**t)) + EPSILON) + own_decay * w
    ratio = RATE
    if own_decay != 0 and np.linalg.norm(w) != 0 and np.linalg.norm(update) != 0:
        ratio = RATE * np.linalg.norm(w) / np.linalg.norm(update)
    return w - ratio * update


def lamb_nvlamb(w: Array, m: Array, v: Array, t: int, plain: bool) -> Array:
    """NVIDIA's TensorFlow 2 BERT: the exclusion list holds for decay, nothing is excluded from the ratio."""
    update = (m / (1 - BETA1**t)) / (np.sqrt(v / (1 - BETA2**t)) + EPSILON) + (DECAY if plain else 0.0) * w
    norm_w, norm_u = np.linalg.norm(w), np.linalg.norm(update)
    return w - RATE * (norm_w / norm_u if norm_w > 0 and norm_u > 0 else 1.0) * update


# Each with the bound of the global norm of its gradient that it comes with; None: it does not clip.
REFERENCES: dict[OptimizerName, tuple[Callable[..., Array], float | None]] = {
    "adamw": (adamw, 1.0),
    "bert_adamw": (bert_adamw, 1.0),
    "fairseq_adamw": (fairseq_adamw, None),
    "lamb_paper": (lamb_paper, None),
    "lamb_albert": (lamb_albert, 1.0),
    "lamb_mlperf": (lamb_mlperf, 1.0),
    "lamb_nvidia": (lamb_nvidia, 1.0),
    "lamb_nvlamb": (lamb_nvlamb, None),
}


def named(tree: dict) -> Variables:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def reference(update: Callable[..., Array], clip: float | None, **rest: Any) -> Variables:
    """STEPS updates of every variable, layer by layer."""
    ws = named(unstacked(_params()))
    m, v = ({path: np.zeros_like(w) for path, w in ws.items()} for _ in "mv")
    for step in range(STEPS):
        gs = named(unstacked(_gradients(step)))
        norm = np.sqrt(sum((g**2).sum() for g in gs.values()))
        for path, g in gs.items():
            g = g if clip is None or norm <= clip else g * clip / norm
            m[path], v[path] = moments(m[path], v[path], g)
            plain = "bias" not in path and "norm" not in path
            ws[path] = update(ws[path], m[path], v[path], step + 1, plain, **rest)
    return ws


def ours(config: OptimizerConfig, restack: Callable[[dict], dict] = lambda tree: tree) -> dict:
    """STEPS updates of the parameters, in the form that `restack` gives them."""
    with jax.enable_x64(True):
        optimizer = make_optimizer(config)
        params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float64), restack(_params()))
        state = optimizer.init(params)
        for step in range(STEPS):
            state = optimizer.moments(restack(_gradients(step)), state, params)
            direction = optimizer.direction(state, params)
            params = jax.tree.map(lambda w, u: w - RATE * u, params, direction)
        return jax.device_get(params)


def config_of(name: OptimizerName, **changes: Any) -> OptimizerConfig:
    return OptimizerConfig(
        name=name, **{"beta1": BETA1, "beta2": BETA2, "epsilon": EPSILON, "weight_decay": DECAY, **changes}
    )


def assert_equal(found: Variables, wanted: Variables) -> None:
    assert found.keys() == wanted.keys()
    for path, w in wanted.items():
        np.testing.assert_allclose(found[path], w, rtol=1e-9, atol=1e-12, err_msg=path)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_equals_its_formula(name: OptimizerName) -> None:
    update, clip = REFERENCES[name]
    assert_equal(named(unstacked(ours(config_of(name)))), reference(update, clip))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_clip_norm_in_the_config_is_the_one_used(name: OptimizerName) -> None:
    update, _ = REFERENCES[name]
    assert_equal(named(unstacked(ours(config_of(name, clip_norm=2.0)))), reference(update, 2.0))
    assert_equal(named(unstacked(ours(config_of(name, clip_norm=0.0)))), reference(update, None))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_stacked_layers_are_updated_as_layers_of_their_own(name: OptimizerName) -> None:
    """But for the order in which norms are summed, the last bits."""
    together, apart = unstacked(ours(config_of(name))), ours(config_of(name), unstacked)
    for path, w in named(apart).items():
        np.testing.assert_allclose(named(together)[path], w, rtol=1e-13, atol=1e-15, err_msg=path)


def test_no_two_optimizers_are_alike() -> None:
    """Else the references would prove less than they seem to; nvidia parts from mlperf where nothing is decayed."""
    results = {name: ours(config_of(name)) for name in OPTIMIZERS}
    results["lamb_nvidia"] = ours(config_of("lamb_nvidia", weight_decay=0.0))
    assert_equal(named(unstacked(results["lamb_nvidia"])), reference(lamb_nvidia, 1.0, decay=0.0))
    results["lamb_mlperf without decay"] = ours(config_of("lamb_mlperf", weight_decay=0.0))
    names = list(results)
    for i, one in enumerate(names):
        for other in names[:i]:
            pairs = zip(jax.tree.leaves(results[one]), jax.tree.leaves(results[other]), strict=True)
            assert max(abs(a - b).max() for a, b in pairs) > 1e-6, (one, other)


# ----------------------------------------------------------------------------------------------------------------------
# Which parameter is which


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("encoder/embeddings/word/table", "weight"),
        ("encoder/layers/query/kernel", "weight"),
        ("encoder/layers/query/bias", "bias"),
        ("masked_lm/bias", "bias"),
        ("encoder/layers/attention_norm/bias", "norm"),
        ("encoder/embeddings/norm/scale", "norm"),
        ("norm/bias", "norm"),
        ("bias", "bias"),
    ],
)
def test_kinds_go_by_name(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def test_a_name_without_a_rule_stops_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    check_names(["a/kernel", "a/bias"])
    with pytest.raises(ValueError, match=r"'a/gate' matches no rule .*'b/scale' matches no rule"):
        check_names(["a/kernel", "a/gate", "b/scale"])
    monkeypatch.setattr(
        "jaxbert.core.parameters.RULES", {"weight": r".*kernel", "bias": r".*bias", "norm": r".*norm/.*"}
    )
    with pytest.raises(ValueError, match=r"_norm/bias' matches 2 rules \(bias, norm\).*must match exactly one"):
        build(find_config("smoke"), single_device_mesh())


def test_parameter_table_of_every_optimizer() -> None:
    """Path, shape, spec, decay and trust ratio of every parameter of BERT-base: a diff here shows a change's reach."""
    assert tables() == PARAMETERS.read_text(encoding="utf-8"), (
        f"record again: python {Path(tables.__code__.co_filename)}"
    )
