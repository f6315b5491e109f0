"""The complete config of a run: what the command line asks for, in its order, and what is found without a model."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path

import pytest

from jaxbert.config import EncoderConfig, PhaseConfig, RunConfig, ScheduleConfig, find_config, save_json
from jaxbert.errors import InputError
from jaxbert.run.hold import Hold, begun, check_workdir
from jaxbert.run.initial import load_initial
from jaxbert.run.pretrain import _train_teacher
from jaxbert.run.processes import together
from jaxbert.run.resolve import resolve
from jaxbert.run.resume import check_steps, continued_memory
from jaxbert.run.wanted import wanted
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.library import Loaded

CONFIG = RunConfig(name="run", phases=(PhaseConfig(batch_size=64, schedule=ScheduleConfig(warmup_steps=10)),))


def test_the_command_line_changes_a_config_once_and_in_its_order(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", logger="jaxbert")
    settings = ["scale.batch_size=32", "phases.0.batch_size=48", "data.source=text:a"]
    asked = wanted(CONFIG, data=["rows=2"], init="m", settings=settings)
    assert asked.base.init == "m" and asked.base.phases[0].rows[0].weight == 2.0
    assert asked.base.phases[0].batch_size == 64 and asked.config.phases[0].batch_size == 48
    # The scaling helper speaks once, although the command line is read before it is known what the run inherits.
    assert sum("rates follow" in line for line in caplog.messages) == 1
    assert not asked.incomplete and asked.finished(asked.base) == asked.config


def test_settings_come_after_init_of_the_config_and_of_the_command_line():
    assert wanted(CONFIG, data=["r"], settings=["init=x"]).config.init == "x"
    assert wanted(CONFIG, data=["r"], init="m", settings=["init=x"]).config.init == "x"


def test_a_named_tokenizer_is_a_new_vocabulary_only_where_there_is_a_model(tmp_path: Path):
    alone = wanted(CONFIG, data=["r"], tokenizer=str(tmp_path))
    assert (alone.config.init_vocabulary, alone.config.data.tokenizer) == ("same", str(tmp_path))
    for given in ({"init": "m"}, {"settings": ["init=m"]}):
        assert wanted(CONFIG, data=["r"], tokenizer=str(tmp_path), **given).config.init_vocabulary == "new"
    own = wanted(CONFIG, data=["r"], init="m", tokenizer=str(tmp_path), settings=["init_vocabulary=same"])
    assert own.config.init_vocabulary == "same"


@pytest.mark.parametrize(
    ("config", "given", "code"),
    [
        (CONFIG, {}, "E-CONFIG-ROWS"),  # neither rows nor a source
        (CONFIG, {"data": ["r=none"]}, "E-ARGUMENT-WEIGHT"),
        (CONFIG, {"data": ["r"], "settings": ["seed"]}, "E-SET-FORM"),
        (CONFIG, {"data": ["r"], "settings": ["inherit=encoder"]}, "E-RUN-INHERIT"),
        (find_config("adapt"), {"data": ["r"]}, "E-RUN-INHERIT"),
    ],
)
def test_mistakes_are_found_before_a_model_is_opened(config, given, code):
    with pytest.raises(InputError, match=code):
        wanted(config, **given)


def test_a_plan_needs_neither_rows_nor_a_model():
    assert wanted(find_config("adapt"), settings=["seed=3"], whole=False).config.seed == 3


def test_a_resolved_config_is_complete(tiny_rows: Path, tmp_path: Path):
    """The vocabulary of the rows' tokenizer, and a layout in the place of `auto`, which follows the devices."""
    small = ["encoder.hidden_size=16", "encoder.num_heads=2", "encoder.num_layers=1", "encoder.intermediate_size=32"]
    fitting = ["phases.0.length=32", "phases.0.schedule.kind=constant", "mesh.layout=auto"]
    asked = wanted(CONFIG, data=[str(tiny_rows)], tokenizer=str(tiny_rows / "tokenizer"), settings=[*small, *fitting])
    assert asked.incomplete and asked.config.encoder.vocab_size == 30522 and asked.config.mesh.layout == "auto"
    found = resolve(asked, tmp_path)
    assert found.config.encoder.vocab_size == Tokenizer.load(tiny_rows / "tokenizer").vocab_size
    assert found.config.mesh.layout == "replicated" and found.config.encoder.hidden_size == 16
    assert found.config.inherit == "nothing" and found.initial is None and found.teacher is None


@pytest.mark.parametrize(("name", "code"), [("rows", "E-RUN-ROWS"), ("teacher", "E-RUN-TEACHER")])
def test_a_run_goes_on_with_what_it_began_with(tmp_path: Path, name: str, code: str):
    saved = {"rows": ["a"], "teacher": None, "best": 3}
    assert continued_memory(saved, {"rows": ["a"], "teacher": None, "best": None}, tmp_path)["best"] == 3
    with pytest.raises(InputError, match=rf"\[{code}\]"):
        continued_memory(saved, {"rows": ["a"], "teacher": None, name: ["b"]}, tmp_path)


@pytest.mark.parametrize(
    ("phase", "batch", "steps", "said"),
    [
        (0, 4, (3, 10), r"4 steps.*Take 4"),
        (1, 4, (9, 10), r"Leave it at 10"),
        (1, 4, (10, 3), r"4 steps.*Take 4"),
        (2, 0, (10, 9), r"10 steps.*Take 10"),
    ],
)
def test_steps_that_are_done_stay_done(phase: int, batch: int, steps: tuple[int, int], said: str):
    def of(*steps: int) -> RunConfig:
        phases = [PhaseConfig(name=f"p{index}", steps=count) for index, count in enumerate(steps)]
        return RunConfig(name="run", phases=tuple(phases))

    meta = {"phase": phase, "next_batch": batch}
    check_steps(of(10, 10), of(10, 10), meta, Path("run"))
    with pytest.raises(InputError, match=rf"{said}.*E-RUN-STEPS"):
        check_steps(of(10, 10), of(*steps), meta, Path("run"))


def test_an_initial_model_of_another_vocabulary():
    encoder = EncoderConfig(vocab_size=97)
    config = RunConfig(name="run", encoder=EncoderConfig(vocab_size=96), init="model")
    with pytest.raises(InputError, match=r"encoder\.vocab_size is 96, .* 97.*E-RUN-INIT-VOCABULARY"):
        load_initial(config, Loaded("model", encoder, {"encoder": {}}, None))


def test_a_task_that_needs_a_teacher(tiny_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    task = types.SimpleNamespace(teachers=("masked_lm",))
    monkeypatch.setattr("jaxbert.run.before.make_task", lambda *_: task)
    asked = wanted(CONFIG, data=[str(tiny_rows)], tokenizer=str(tiny_rows / "tokenizer"))
    with pytest.raises(InputError, match="E-TASK-TEACHER"):
        resolve(asked, tmp_path)


def test_a_teacher_that_is_trained_first_needs_a_disk():
    hold = types.SimpleNamespace(mirror=object(), name="gs://bucket/run")
    with pytest.raises(InputError, match=r"gs://bucket/run.*E-RUN-TEACHER-DISK"):
        _train_teacher(types.SimpleNamespace(), CONFIG, [], hold, types.SimpleNamespace())


def test_a_refusal_of_a_continued_run_leaves_its_lock_and_its_config(tmp_path: Path):
    """Also one that is found after the right to write was taken."""
    config = RunConfig(name="run", phases=(PhaseConfig(steps=3),))
    save_json(config, tmp_path / "config.json")
    (tmp_path / ".lock").write_text("process 7\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    longer = dataclasses.replace(config, phases=(PhaseConfig(steps=4),))
    with together() as watch, Hold(tmp_path, watch) as hold:
        hold.wait()
        with pytest.raises(InputError, match="E-RUN-ROWS"), begun(longer, tmp_path, True, True, hold, {}):
            assert (tmp_path / ".lock").read_bytes() != before[".lock"]
            continued_memory({"rows": ["a"]}, {"rows": ["b"]}, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_config_of_a_run_is_named(tmp_path: Path, content: str):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json.*E-WORKDIR-CONFIG"):
        check_workdir(CONFIG, tmp_path, overwrite=True)
    (tmp_path / "checkpoints").rmdir()  # a foreign directory may have a file of this name
    with pytest.raises(InputError, match="E-WORKDIR-FOREIGN"):
        check_workdir(CONFIG, tmp_path, overwrite=True)
