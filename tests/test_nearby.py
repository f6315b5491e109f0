"""What an unknown key of --set, or an unknown option, may mean."""

from __future__ import annotations

import re

import pytest

from jaxbert.commands import main as cli
from jaxbert.config import find_config
from jaxbert.config.nearby import OTHER_NAMES, near_settings

CLASSIFY, PRETRAIN = find_config("classify"), find_config("bert_tiny")


@pytest.mark.parametrize(
    ("word", "labelled", "pretraining"),
    [
        ("learning_rate", ["rate"], ["phases.0.schedule.peak"]),
        ("num_train_epochs", ["epochs"], ["phases.0.steps"]),
        ("max_seq_length", ["phases.0.length"], ["phases.0.length"]),
        ("batch_size", ["batch", "evaluation.batch_size"], ["phases.0.batch_size", "evaluation.batch_size"]),
        ("weight_decay", ["decay"], ["optimizer.weight_decay"]),
        ("warmpu", ["warmup"], []),
        ("bach_size", ["batch", "evaluation.batch_size"], ["phases.0.batch_size", "evaluation.batch_size"]),
        ("encoder.num_hidden_layers", ["encoder.num_layers"], ["encoder.num_layers"]),
        ("mlm_probability", [], ["objectives.masked_lm.rate"]),
        ("bf16", ["numerics.dtype=bfloat16"], ["numerics.dtype=bfloat16"]),
        ("output_dir", ["--workdir"], ["--workdir"]),
        ("colour", [], []),
    ],
)
def test_what_a_word_may_mean(word: str, labelled: list[str], pretraining: list[str]) -> None:
    assert near_settings(CLASSIFY, word) == labelled
    assert [key for key in near_settings(PRETRAIN, word) if not key.startswith("phases.1")] == pretraining


def test_every_name_of_another_library_means_something(capsys: pytest.CaptureFixture[str]) -> None:
    """Each name finds a key that a run has, or an option that `jaxbert finetune` has."""
    with pytest.raises(SystemExit):
        cli.main(["finetune", "--help"])
    options = re.findall(r"--[a-z-]+", capsys.readouterr().out)
    for name in OTHER_NAMES:
        found = [*near_settings(CLASSIFY, name), *near_settings(PRETRAIN, name)]
        assert found, name
        assert all(key in options for key in found if key.startswith("--")), name


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--learning-rate", "1e-4"], "Did you mean --set rate=VALUE?"),
        (["--num_train_epochs", "2"], "Did you mean --set epochs=VALUE?"),
        (["--bf16"], "Did you mean --set numerics.dtype=bfloat16?"),
        (["--output_dir", "x"], "Did you mean --workdir?"),
        (["--set", "lr=1e-4"], "Did you mean rate?"),
    ],
)
def test_the_hint_of_finetune(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["finetune", "classify", "--init", "x", "--workdir", "w", "--train", "x.csv", *words]) == 2
    assert hint in capsys.readouterr().err
