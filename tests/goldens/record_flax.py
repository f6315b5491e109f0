"""Records files of transformers' Flax classes and what those compute, for tests that need neither.

    pip install transformers==4.44.2 flax==0.8.5 jax==0.4.30 optax safetensors
    python tests/goldens/record_flax.py

Writes tests/goldens/flax/: a directory a class, as its `save_pretrained` writes it (random weights, odd sizes); that of
one class in shards and as safetensors; expected.safetensors, what each class gives on rows with padding; and
migration.safetensors, what the blocks that docs/tutorials/migration.md calls "before" leave in their variables.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"

import flax
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import transformers
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

HERE = Path(__file__).parent
OUT = HERE / "flax"
VERSIONS = {"transformers": transformers.__version__, "flax": flax.__version__, "jax": jax.__version__}

BLOCK = dict(
    vocab_size=31,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=11,
    max_position_embeddings=14,
    type_vocab_size=2,
)
CONFIGS: dict[str, transformers.PretrainedConfig] = {
    "Bert": transformers.BertConfig(**BLOCK),
    "Roberta": transformers.RobertaConfig(**BLOCK | {"type_vocab_size": 1}, layer_norm_eps=1e-5),
    "Albert": transformers.AlbertConfig(**BLOCK | {"num_hidden_layers": 4}, embedding_size=6, num_hidden_groups=2),
    "DistilBert": transformers.DistilBertConfig(
        vocab_size=31, dim=8, n_layers=2, n_heads=2, hidden_dim=11, max_position_embeddings=14
    ),
}
COMMON = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
CLASSES = {
    "Bert": ("Model", "ForPreTraining", "ForNextSentencePrediction", *COMMON, "ForMultipleChoice"),
    "Roberta": ("Model", *COMMON, "ForMultipleChoice"),
    "Albert": ("Model", "ForPreTraining", *COMMON, "ForMultipleChoice"),
    "DistilBert": ("Model", *COMMON, "ForMultipleChoice"),
}
# What the classes call their outputs, and what we call them.
OUTPUTS = {
    "last_hidden_state": "hidden",
    "pooler_output": "pooled",
    "prediction_logits": "masked_lm",
    "seq_relationship_logits": "next_sentence",
    "sop_logits": "sentence_order",
    "start_logits": "start",
    "end_logits": "end",
}
LOGITS = {
    "ForMaskedLM": "masked_lm",
    "ForNextSentencePrediction": "next_sentence",
    "ForSequenceClassification": "sequence_classification",
    "ForTokenClassification": "token_classification",
    "ForMultipleChoice": "multiple_choice",
}


def rows(config: transformers.PretrainedConfig) -> dict[str, np.ndarray]:
    """Four rows, three with padding."""
    rng, lengths, width = np.random.default_rng(31), np.array([9, 6, 3, 7]), 9
    mask = (np.arange(width)[None] < lengths[:, None]).astype(np.int32)
    tokens = np.where(mask == 1, rng.integers(2, config.vocab_size, mask.shape), config.pad_token_id)
    types = rng.integers(0, getattr(config, "type_vocab_size", 1), mask.shape) * mask
    return {"tokens": tokens.astype(np.int32), "types": types.astype(np.int32), "group": mask}


def random(kind: Any, config: transformers.PretrainedConfig) -> Any:
    """A model with weights that leave nothing at 0 or 1."""
    model, rng = kind(config), np.random.default_rng(30)
    flat = {
        path: ((path[-1] == "scale") + 0.25 * rng.standard_normal(leaf.shape)).astype(np.float32)
        for path, leaf in sorted(flatten_dict(model.params).items())
    }
    model.params = unflatten_dict(flat)
    return model


def record() -> None:
    # Two of the classes call a method that this jax has no longer.
    jaxlib.xla_extension.ArrayImpl.split = jnp.split
    expected: dict[str, np.ndarray] = {}
    for stem, config in CONFIGS.items():
        batch = rows(config)
        expected |= {f"{stem}/{key}": array for key, array in batch.items()}
        given = {"input_ids": batch["tokens"], "attention_mask": batch["group"]}
        if stem != "DistilBert":
            given["token_type_ids"] = batch["types"]
        for suffix in CLASSES[stem]:
            name = f"Flax{stem}{suffix}"
            own = copy.deepcopy(config)
            own.num_labels = 2 if suffix == "ForQuestionAnswering" else 3
            model = random(getattr(transformers, name), own)
            model.save_pretrained(OUT / name)
            choices = suffix == "ForMultipleChoice"  # (questions, choices, length): two questions of two choices
            found = model(**{key: x.reshape(2, 2, -1) if choices else x for key, x in given.items()})
            for key in found:
                array = np.asarray(found[key])
                expected[f"{name}/{OUTPUTS.get(key) or LOGITS[suffix]}"] = array.reshape(4, 1) if choices else array
            if name == "FlaxRobertaForMaskedLM":
                model.save_pretrained(OUT / f"{name}_in_shards", max_shard_size="2KB")
                model.save_pretrained(OUT / f"{name}_in_safetensors", safe_serialization=True)
    save(expected, "expected")


def migration() -> None:
    """Runs the page's blocks from before, one after the other, as its reader would."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("page", HERE.parent / "convert" / "page.py")
    assert spec is not None and spec.loader is not None
    page = module_from_spec(spec)
    spec.loader.exec_module(page)
    with tempfile.TemporaryDirectory() as folder:
        page.prepare(Path(folder), OUT)
        os.chdir(folder)
        save(page.run("before"), "migration")


def save(arrays: dict[str, np.ndarray], name: str) -> None:
    arrays = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    save_file(arrays, OUT / f"{name}.safetensors", metadata=VERSIONS)


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    record()
    migration()
    for file in OUT.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
