"""Sizes beyond all memory are refused in words before anything is made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jaxbert.config import find_config
from jaxbert.core.machine import memory_bytes
from jaxbert.errors import InputError
from jaxbert.plan.topologies import topology
from jaxbert.run.memory import check_memory
from jaxbert.text.tokenizers import train_tokenizer


def test_sizes_of_a_run(monkeypatch: pytest.MonkeyPatch):
    config = find_config("smoke")
    check_memory(config)
    large = [
        replace(config, encoder=replace(config.encoder, num_layers=10**9)),
        replace(config, encoder=replace(config.encoder, vocab_size=2 * 10**9)),
        replace(config, phases=(replace(config.phases[0], batch_size=10**12), *config.phases[1:])),
    ]
    for one in large:
        with pytest.raises(InputError, match=r"GiB.*E-RUN-MEMORY"):
            check_memory(one)
    monkeypatch.setattr("jaxbert.run.memory.memory_bytes", lambda: None)
    check_memory(large[0])


def test_the_memory_of_this_machine():
    found = memory_bytes()
    assert found is None or 2**28 < found < 2**50


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_sizes_of_a_vocabulary(kind: str):
    def texts():
        raise AssertionError("the texts are read before the size is refused")
        yield ""

    with pytest.raises(InputError, match=r"2,000,000,000.*E-TOKENIZER-LARGE"):
        train_tokenizer(kind, texts(), vocab_size=2 * 10**9, lowercase=kind != "bpe")


def test_sizes_of_a_topology():
    with pytest.raises(InputError, match="E-PLAN-SLICE"):
        topology(f"v5e:{'9' * 400}", 1)
    with pytest.raises(InputError, match="E-PLAN-SLICES"):
        topology("v5e:4x4", 10**12)
