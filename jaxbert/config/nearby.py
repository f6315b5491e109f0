"""Finds the setting that an unknown word may mean: a key cut short, a letter wrong, or a name of another library.

Imports no jax.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator
from typing import Any

from jaxbert.config.schema import LabelledTaskConfig, RunConfig

# Short names of the settings that people often change when they fine-tune, for --set, --sweep and suites.
SHORT_KEYS = {
    "rate": "phases.0.schedule.peak",
    "epochs": "task.epochs",
    "batch": "phases.0.batch_size",
    "decay": "optimizer.weight_decay",
    "layer_decay": "optimizer.layer_decay",
    "warmup": "task.warmup",
    "dropout": "task.dropout",
}

# Names of the same things in transformers' TrainingArguments, in its example scripts and in its configs. Of several
# keys, the first that the run has is meant. A key with a value is a whole setting, and an option begins with --.
OTHER_NAMES = {
    "lr": ("phases.0.schedule.peak",),
    "learning_rate": ("phases.0.schedule.peak",),
    "lr_scheduler_type": ("phases.0.schedule.kind",),
    "epoch": ("task.epochs", "phases.0.steps"),
    "epochs": ("task.epochs", "phases.0.steps"),
    "num_epochs": ("task.epochs", "phases.0.steps"),
    "num_train_epochs": ("task.epochs", "phases.0.steps"),
    "max_steps": ("phases.0.steps",),
    "num_train_steps": ("phases.0.steps",),
    "train_batch_size": ("phases.0.batch_size",),
    "per_device_train_batch_size": ("phases.0.batch_size",),
    "eval_batch_size": ("evaluation.batch_size",),
    "per_device_eval_batch_size": ("evaluation.batch_size",),
    "gradient_accumulation_steps": ("phases.0.accumulation",),
    "warmup_ratio": ("task.warmup", "phases.0.schedule.warmup_steps"),
    "warmup_proportion": ("task.warmup", "phases.0.schedule.warmup_steps"),
    "max_length": ("phases.0.length",),
    "max_seq_len": ("phases.0.length",),
    "max_seq_length": ("phases.0.length",),
    "block_size": ("phases.0.length",),
    "max_grad_norm": ("optimizer.clip_norm",),
    "adam_beta1": ("optimizer.beta1",),
    "adam_beta2": ("optimizer.beta2",),
    "adam_epsilon": ("optimizer.epsilon",),
    "optim": ("optimizer.name",),
    "label_smoothing": ("task.smoothing",),
    "label_smoothing_factor": ("task.smoothing",),
    "metric_for_best_model": ("task.metric",),
    "eval_steps": ("evaluation.every_steps",),
    "save_steps": ("checkpoint.every_steps",),
    "save_total_limit": ("checkpoint.keep",),
    "logging_steps": ("logging.every_steps",),
    "report_to": ("logging.sinks",),
    "early_stopping_patience": ("evaluation.patience",),
    "gradient_checkpointing": ("encoder.remat",),
    "bf16": ("numerics.dtype=bfloat16",),
    "fp16": ("numerics.dtype=bfloat16",),
    "mlm_probability": ("objectives.masked_lm.rate",),
    "num_hidden_layers": ("encoder.num_layers",),
    "num_attention_heads": ("encoder.num_heads",),
    "max_position_embeddings": ("encoder.max_positions",),
    "hidden_dropout_prob": ("encoder.dropout",),
    "attention_probs_dropout_prob": ("encoder.attention_dropout",),
    "hidden_act": ("encoder.activation",),
    "layer_norm_eps": ("encoder.layer_norm_epsilon",),
    "output_dir": ("--workdir",),
    "model_name_or_path": ("--init",),
    "train_file": ("--train",),
    "validation_file": ("--validation",),
    "test_file": ("--test",),
    "overwrite_output_dir": ("--overwrite",),
}

_NEAR = 0.8  # Two names of settings share many letters: beta1 and beta2 are 0.8 alike, and differ.
_MOST = 4


def near_settings(config: RunConfig, word: str) -> list[str]:
    """Returns what an unknown key of `--set` may mean, the likeliest first; none where nothing is near.

    Each is a key as `--set` takes it, KEY=VALUE, or an option of the command. `steps` is not a key of a run, but
    `phases.0.steps` is, and `lr` is what others call `phases.0.schedule.peak`.

    Args:
      config: whose keys they are. A run with labels has the names of `SHORT_KEYS` too.
      word: the unknown key, or the name of an option with _ for -.
    """
    keys, short = list(_keys(config)), {}
    if isinstance(config.task, LabelledTaskConfig):
        keys = [key for key in keys if not key.startswith("objectives")]  # of pretraining
        short = {key: name for name, key in SHORT_KEYS.items() if key in keys}
    parent, _, name = word.lower().rpartition(".")
    if name in short.values():
        return [name]
    found = [key for key in keys if key.rpartition(".")[2] == name]
    if not found:
        meant = (key for key in OTHER_NAMES.get(name, ()) if key.startswith("--") or key.partition("=")[0] in keys)
        found = list(meant)[:1]
    if not found:
        every = [*short.values(), *keys]
        near = difflib.get_close_matches(name, [key.rpartition(".")[2] for key in every], n=1, cutoff=_NEAR)
        found = [key for key in every if key.rpartition(".")[2] in near]
        found = [key for key in found if key.rpartition(".")[0] == parent] or found
    return [short.get(key, key) for key in found[:_MOST]]


def _keys(part: Any, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(part):
        value, path = getattr(part, field.name), f"{prefix}{field.name}"
        yield path
        for index, item in enumerate(value) if isinstance(value, tuple) else [(None, value)]:
            if dataclasses.is_dataclass(item):
                yield from _keys(item, f"{path}." if index is None else f"{path}.{index}.")
