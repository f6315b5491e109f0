"""Tiny models of all families, and a run whose page holds one of them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxbert.config import DataConfig, EncoderConfig, PhaseConfig, RunConfig, save_json
from jaxbert.models.model import Model, as_dicts
from jaxbert.stores.checkpoint import Checkpoints
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer
from jaxbert.use.library import Loaded
from tests.report_browser.prompts import prompts

STEPS = 120
# The kind of tokenizer, whether it is uncased, and what the family's published models have beside the usual.
FAMILIES_HERE: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "bert": ("wordpiece", True, {"activation": "gelu_tanh"}),
    "roberta": ("bpe", False, {"activation": "gelu_erf", "position_offset": 2, "type_vocab_size": 1}),
    "albert": ("unigram", True, {"embedding_size": 16, "layer_groups": 1, "num_layers": 3}),
    "spanbert": ("wordpiece", False, {"activation": "gelu_erf"}),
    "distilbert": ("wordpiece", True, {"activation": "gelu_erf", "type_vocab_size": 0}),
}


@functools.cache
def tokenizer_of(kind: str, lowercase: bool) -> Tokenizer:
    return train_tokenizer(kind, prompts("x") * 3, vocab_size=600, lowercase=lowercase)


def config_of(family: str, **changes: Any) -> EncoderConfig:
    kind, lowercase, own = FAMILIES_HERE[family]
    size = tokenizer_of(kind, lowercase).vocab_size
    sizes = dict(hidden_size=32, num_layers=2, num_heads=2, intermediate_size=48, max_positions=250, vocab_size=size)
    return EncoderConfig(**{**sizes, "family": family, "initializer_range": 0.1, **own, **changes})


@functools.cache
def model_of(family: str) -> Loaded:
    """A tiny model that has learned the prompts by heart for a moment, so that its words are no matter of rounding."""
    kind, lowercase, _ = FAMILIES_HERE[family]
    config, tokenizer = config_of(family), tokenizer_of(kind, lowercase)
    model = Model(config, ("masked_lm",))
    params = as_dicts(jax.jit(model.init)(jax.random.key(3)))
    batch = Loaded("here", config, params, tokenizer).batch(prompts("bucket"), 16)
    optimizer = optax.adam(0.01)

    @jax.jit
    def step(params: Any, state: Any, batch: Any, key: jax.Array) -> Any:
        chosen = (jax.random.uniform(key, batch["tokens"].shape) < 0.2) & (batch["group"] > 0)
        masked = {**batch, "tokens": jnp.where(chosen, tokenizer.mask_id, batch["tokens"])}

        def loss(params: Any) -> jax.Array:
            logits = model.masked_lm(params, model.hidden(params, masked))
            terms = optax.softmax_cross_entropy_with_integer_labels(logits, batch["tokens"])
            return (terms * chosen).sum() / chosen.sum()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for number, key in enumerate(jax.random.split(jax.random.key(5), STEPS)):
        params, state = step(params, state, {name: rows[number % 4 :: 4] for name, rows in batch.items()}, key)
    return Loaded("here", config, as_dicts(jax.tree.map(np.asarray, params)), tokenizer)


def make_run(workdir: Path, config: EncoderConfig, params: dict[str, Any], tokenizer: Tokenizer) -> Path:
    """A workdir with a checkpoint and a tokenizer."""
    phase = PhaseConfig(length=16, steps=2)
    workdir.mkdir(exist_ok=True)
    save_json(
        RunConfig(name="tiny", encoder=config, data=DataConfig(source="text:x.txt"), phases=(phase,)),
        workdir / "config.json",
    )
    tokenizer.save(workdir / "tokenizer")
    zero = jnp.zeros((), jnp.int32)
    state = {"params": params, "opt_state": {"count": zero}, "step": zero, "skipped": zero}
    checkpoints = Checkpoints(workdir, keep=1, keep_best=False)
    checkpoints.save(2, jax.tree.map(jnp.asarray, state), {"phase": 0})
    checkpoints.wait()
    return workdir
