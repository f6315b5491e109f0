"""Means since the last line of metrics.jsonl: what they weigh, and the same bits after an end between two lines."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.config import find_config
from jaxbert.config.overrides import apply_overrides
from jaxbert.core.metrics import TermInfo
from jaxbert.errors import Interrupted
from jaxbert.observe.sinks import SINKS
from jaxbert.observe.sinks.base import SinkKind, numbers
from jaxbert.run.loop import Loop
from jaxbert.run.pretrain import pretrain
from jaxbert.run.window import Window
from jaxbert.stores import steps
from jaxbert.tasks.base import RowsTask, Term
from jaxbert.training import step as training_step


class Pairs(RowsTask):
    """Two terms with different numbers of items a step."""

    def __init__(self):
        self.terms = {"words": TermInfo(1.0, "words"), "pairs": TermInfo(0.5, "pairs")}


def step(words, pairs, *, loss=1.0, norm=1.0, skipped=0, tokens=10, number=1):
    """The metrics of a step. `words` and `pairs` are (sum of losses, items, right answers)."""
    term = lambda it, ones: Term(jnp.float32(it[0]), jnp.float32(it[1]), {"accuracy": jnp.float32(it[2])}, ones)  # noqa: E731
    return jax.device_get(
        {
            "loss": jnp.float32(loss),
            "rate": jnp.float32(number / 4),
            "grad_norm": jnp.float32(norm),
            "update_norm": jnp.float32(norm / 2),
            "real_tokens": jnp.int32(tokens),
            "skipped": jnp.int32(skipped),
            "skipped_in_a_row": jnp.int32(skipped),
            "terms": {"words": term(words, None), "pairs": term(pairs, jnp.float32(1))},
        }
    )


def test_each_item_counts_once_and_norms_once_a_step():
    window = Window()
    window.add(step((10.0, 5, 1), (4.0, 4, 2), norm=1.0, tokens=10))
    window.add(step((90.0, 15, 9), (0.0, 0, 0), norm=3.0, tokens=40, number=2))
    found = window.means(Pairs())
    assert found["words_loss"] == 100 / 20 and found["words_accuracy"] == 10 / 20
    # The second step has no pair, so the mean is that of the first. A mean of both batches' means would be half.
    assert found["pairs_loss"] == 1.0 and found["pairs_accuracy"] == 0.5
    assert found["loss"] == 5.0 + 0.5 * 1.0
    assert (found["grad_norm"], found["update_norm"], found["rate"]) == (2.0, 1.0, 0.5)
    assert (found["real_tokens"], found["tokens"]) == (25.0, 50)
    window.clear()
    window.add(step((3.0, 3, 3), (0.0, 0, 0), tokens=7))
    found = window.means(Pairs())
    assert found["loss"] == 1.0 and "pairs_loss" not in found and found["tokens"] == 57


def test_a_skipped_step_is_in_no_mean():
    window = Window()
    window.add(step((math.nan, 5, 0), (math.nan, 4, 0), loss=math.nan, norm=math.nan, skipped=1))
    assert math.isnan(window.means(Pairs())["loss"]) and math.isnan(window.means(Pairs())["grad_norm"])
    window.add(step((10.0, 5, 1), (4.0, 4, 2)))
    found = window.means(Pairs())
    assert found["words_loss"] == 2.0 and found["grad_norm"] == 1.0 and found["tokens"] == 20


def test_the_sums_go_through_json_with_every_bit():
    """Also sums that are not finite, and arrays: a figure of a task may be either."""
    rng = np.random.default_rng(0)
    parts = [step(rng.random(3) * 1e3, rng.random(3), norm=rng.random()) for _ in range(9)]
    parts[4]["terms"]["words"].figures["accuracy"] = np.float32(np.inf)
    for one in parts:
        one["terms"]["pairs"].figures["each"] = rng.random(2).astype(np.float32)

    class Raw(Pairs):
        def measure(self, sums):
            return {"words_accuracy": sums["words"].figures["accuracy"], "each": sums["pairs"].figures["each"][1]}

    whole, cut = Window(), Window()
    for one in parts:
        whole.add(one)
        cut.add(one)
        cut = Window(json.loads(json.dumps(cut.memory, allow_nan=False)), step=3)
    assert cut.memory == whole.memory
    # The latest rate is not a sum: it comes with the next step.
    for window in (whole, cut):
        window.add(parts[0])
    assert cut.means(Raw()) == whole.means(Raw()) and whole.means(Raw())["words_accuracy"] == math.inf


def test_a_run_of_an_older_version_does_not_count_tokens():
    window = Window(None, step=100)
    window.add(step((10.0, 5, 1), (4.0, 4, 2)))
    assert "tokens" not in window.means(Pairs()) and window.means(Pairs())["loss"] == 2.5
    window.clear()
    assert window.memory["tokens"] is None


@dataclasses.dataclass
class Compiled:
    """What jax has compiled while the run of `sparse` trained."""

    named: list[str] = dataclasses.field(default_factory=list)
    unnamed: list[str] = dataclasses.field(default_factory=list)
    by: str = ""
    over: bool = False

    def heard(self, event: str, seconds: float, fun_name: str = "", **more: object) -> None:
        """Takes an event of jax."""
        if not self.over and "backend_compile" in event and ("step" in fun_name or "evaluate" in fun_name):
            (self.named if self.by else self.unnamed).append(self.by)


@pytest.fixture(scope="module")
def sparse(tiny_config, tmp_path_factory):
    """(config, metrics of a whole run, what was compiled) with lines every seven steps.

    All runs of this file have the same programs, whatever they log.
    """
    base = find_config(str(tiny_config))
    config = apply_overrides(base, ["logging.every_steps=7"])
    # Not the programs of other files, so that they are compiled here.
    training_step._built.cache_clear()
    compiled, compile_named = Compiled(), Loop._compile

    def noted(self, what, *args):
        compiled.by = what
        compile_named(self, what, *args)
        compiled.by = ""

    workdir = tmp_path_factory.mktemp("sparse") / "run"
    with pytest.MonkeyPatch.context() as while_running:
        while_running.setattr(Loop, "_compile", noted)
        jax.monitoring.register_event_duration_secs_listener(compiled.heard)
        pretrain(config, workdir)
        # jax keeps its listener: what other tests compile is not for this one.
        compiled.over = True
    return config, (workdir / "metrics.jsonl").read_bytes(), compiled


def test_each_program_is_compiled_once_and_by_name(sparse):
    """The call after `lower(...).compile()` must find the program, or training would compile everything twice."""
    compiled = sparse[2]
    assert compiled.unnamed == []
    assert sorted(compiled.named) == [
        *("the evaluation of phase a", "the evaluation of phase b", "the step of phase a", "the step of phase b"),
    ]


def lines(metrics: bytes) -> list[dict]:
    return [json.loads(line) for line in metrics.splitlines()]


def test_lines_have_means_epochs_and_tokens(sparse, tiny_config, tmp_path):
    metrics = sparse[1]
    found = [line for line in lines(metrics) if "loss" in line]
    assert [line["step"] for line in found] == [7, 14, 21, 24]
    pretrain(find_config(str(tiny_config)), tmp_path / "run")
    every = [line for line in lines((tmp_path / "run" / "metrics.jsonl").read_bytes()) if "loss" in line]
    for line, (begin, end) in zip(found, [(0, 7), (7, 14), (14, 21), (21, 24)], strict=True):
        here = every[begin:end]
        assert line["grad_norm"] == sum(one["grad_norm"] for one in here) / len(here)
        assert line["rate"] == here[-1]["rate"] and line["tokens"] == here[-1]["tokens"]
        # Each batch of a phase has as many pairs as rows.
        mean = np.mean([one["next_sentence_loss"] for one in here])
        np.testing.assert_allclose(line["next_sentence_loss"], mean, rtol=1e-6)
        assert line["epoch"] == here[-1]["epoch"]
    assert every[0]["epoch"] * 14 == pytest.approx(every[13]["epoch"])
    # Phase b goes on where phase a ended, with batches of 16 rows after those of 8.
    assert every[14]["epoch"] == pytest.approx(every[13]["epoch"] + 2 * every[0]["epoch"])
    # At the end, these are the passes of which the judgement of the corpus has spoken.
    assert every[-1]["epoch"] == json.loads((tmp_path / "run" / "corpus.json").read_text())["passes"]
    validation = [line for line in lines(metrics) if "validation_loss" in line]
    assert [line["epoch"] for line in validation] == [every[line["step"] - 1]["epoch"] for line in validation]


def test_sinks_get_the_figures_of_the_lines_at_their_steps(sparse, tmp_path, monkeypatch):
    """A sink that breaks on its way is left out, and the run ends as if it had none."""
    given: dict[str, list] = {"good": [], "bad": []}

    class Kept:
        def __init__(self, name):
            self.name, self.closed = name, []

        def scalars(self, step, values):
            given[self.name].append((step, values))
            if self.name == "bad" and step > 7:
                raise ConnectionError("no network")

        def close(self, ended_well):
            given[f"{self.name} closed"] = [ended_well]

    for name in ("good", "bad"):
        kind = SinkKind(lambda facts, name=name: Kept(name), package="json", apart=False)
        monkeypatch.setitem(SINKS, name, kind)
    config, wanted, _ = sparse
    pretrain(apply_overrides(config, ["logging.tensorboard=none", "logging.sinks=good,bad"]), tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == wanted
    expected = [(line.pop("step"), dict(numbers(line))) for line in lines(wanted)]
    for (step, values), (at, figures) in zip(given["good"], expected, strict=True):
        assert step == at and figures.items() <= values.items()
        assert ("tokens_per_s" in values) == ("loss" in values)
    assert [step for step, _ in given["bad"]] == [7, 8]
    assert given["good closed"] == [True] and "bad closed" not in given


class Killed(BaseException):
    """Ends a run as a kill does: nothing is saved."""


@pytest.mark.parametrize("end", ["signal", "kill"])
def test_the_same_bytes_after_an_end_between_two_lines(sparse, tmp_path, monkeypatch, end):
    config, wanted, _ = sparse
    after_step = Loop._after_step

    def ends(self, *args, **named):
        after_step(self, *args, **named)
        if self.step in at:
            at.remove(self.step)
            if end == "kill":
                self.checkpoints.wait()
                raise Killed
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Loop, "_after_step", ends)
    # Step 5 has a checkpoint. A kill after step 13 goes back to 10; one after 24, where all is written, to 24.
    at = [5, 13, 17, 23]
    while at:
        with pytest.raises((Interrupted, Killed)):
            pretrain(config, tmp_path / "run")
    pretrain(config, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == wanted


def test_a_checkpoint_without_a_window_continues(sparse, tmp_path, monkeypatch):
    """Versions before this one saved none: the first line has the means of what is left of the window."""
    config, wanted, _ = sparse
    workdir = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Window, "memory", property(lambda self: None))
        after_step = Loop._after_step

        def ends(self, *args, **named):
            after_step(self, *args, **named)
            if self.step == 5:
                os.kill(os.getpid(), signal.SIGINT)

        patch.setattr(Loop, "_after_step", ends)
        with pytest.raises(Interrupted):
            pretrain(config, workdir)
    assert steps.read_manifest(workdir, 5).meta["window"] is None
    assert pretrain(config, workdir)["step"] == 24
    found, whole = lines((workdir / "metrics.jsonl").read_bytes()), lines(wanted)
    assert [line["step"] for line in found] == [line["step"] for line in whole]
    assert not any("tokens" in line for line in found)
    # From the second line on, only the count of tokens is not known.
    assert found[2:] == [{name: value for name, value in line.items() if name != "tokens"} for line in whole[2:]]
    assert found[0]["loss"] != whole[0]["loss"] and found[0]["rate"] == whole[0]["rate"]
