"""Overrides, checks and the JSON form of the config."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from jaxbert.config import (
    DataConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
    check,
    find_config,
    horizon,
    load_json,
    mesh_shape,
    phase_at,
    resume_differences,
    save_json,
    slots,
    to_json,
    total_steps,
)
from jaxbert.config.overrides import apply_overrides
from jaxbert.errors import InputError

CONFIG = RunConfig(
    name="test",
    data=DataConfig(source="sample:aws-docs"),
    phases=(
        PhaseConfig(name="short", steps=90, schedule=ScheduleConfig(warmup_steps=10)),
        PhaseConfig(name="long", steps=10, length=512, batch_size=64, schedule=None),
    ),
)


def changed(*settings):
    return apply_overrides(CONFIG, list(settings))


def test_overrides_by_index_name_and_star():
    assert changed("phases.1.steps=7").phases[1].steps == 7
    assert changed("phases.short.steps=7").phases[0].steps == 7
    assert [phase.accumulation for phase in changed("phases.*.accumulation=4").phases] == [4, 4]
    assert CONFIG.phases[1].steps == 10


def test_overrides_take_each_type():
    assert changed("optimizer.clip_norm=2").optimizer.clip_norm == 2.0
    assert changed("optimizer.epsilon=1e-8").optimizer.epsilon == 1e-8
    assert changed("data.lowercase=no").data.lowercase is False
    assert changed("data.source=text:/a=b").data.source == "text:/a=b"
    for nothing in ("none", "null", "None"):
        assert changed(f"objectives.next_sentence={nothing}").objectives.next_sentence is None
    assert changed("encoder.remat=none").encoder.remat == "none" and changed("name=null").name == "null"
    again = apply_overrides(changed("objectives.next_sentence=none"), ["objectives.next_sentence.weight=0.5"])
    assert again.objectives.next_sentence.weight == 0.5
    rows = changed('phases.0.rows=[{"path": "a", "weight": 2}]').phases[0].rows
    assert [(source.path, source.weight) for source in rows] == [("a", 2.0)]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("encoder.hiden_size=3", "Did you mean encoder.hidden_size?"),
        ("encodr.hidden_size=3", "Did you mean encoder"),
        ("phases.shrt.steps=3", "Did you mean short"),
        # A name that is somewhere else in the config.
        ("steps=3", "(--set steps). Did you mean phases.0.steps or phases.1.steps? [E-CONFIG-KEY]"),
        ("optimizer.peak=3", "Did you mean phases.0.schedule.peak"),
        ("encoder=null", "this setting cannot be null (--set encoder). Set its fields one by one: family"),
        ("seed=null", "this setting cannot be null (--set seed). Give it a value"),
        ("phases.2.steps=3", "E-SET-KEY"),
        ("phases.0.steps=many", "E-CONFIG-TYPE"),
        ("phases.0.steps=1.5", "E-CONFIG-TYPE"),
        ("data.lowercase=maybe", "E-CONFIG-TYPE"),
        ("optimizer.clip_scope=row", "E-CONFIG-TYPE"),
        ("seed", "E-SET-FORM"),
        ("seed.more=1", "E-SET-KEY"),
        ('phases.0.rows=[{"pth": "a"}]', "Did you mean path"),
        ("phases.0.rows=[a", "E-CONFIG-TYPE"),
        ("phases.0.rows=[{}]", "E-CONFIG-KEY"),
    ],
)
def test_mistyped_overrides(setting, words):
    with pytest.raises(InputError) as caught:
        changed(setting)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "code", "named"),
    [
        (["encoder.num_heads=7"], "E-CONFIG-ENCODER", "num_heads"),
        (["phases.0.length=1024"], "E-CONFIG-PHASE", "max_positions"),
        (["phases.0.accumulation=3"], "E-CONFIG-PHASE", "accumulation"),
        (["phases.1.name=short"], "E-CONFIG-PHASE", "phases"),
        (["phases.0.schedule=none"], "E-CONFIG-PHASE", "phases.short.schedule"),
        (["phases.0.schedule.warmup_steps=100"], "E-CONFIG-SCHEDULE", "warmup_steps=10"),
        (["data.source="], "E-CONFIG-ROWS", "--text"),
        (["objectives.masked_lm.mask=0.95"], "E-CONFIG-OBJECTIVES", "objectives.masked_lm"),
        (["objectives.masked_lm=none"], "E-CONFIG-OBJECTIVES", "masked_lm"),
        (["checkpoint.keep=2"], "E-CONFIG-RANGE", "keep is 2 (checkpoint.keep)"),
        (["mesh.tensor=5"], "E-CONFIG-MESH", "tensor"),
        (["mesh.tensor=4"], "E-CONFIG-MESH", "128 x tensor"),
        (["optimizer.beta2=1"], "E-CONFIG-RANGE", "optimizer.beta2"),
        (["optimizer.epsilon=0"], "E-CONFIG-RANGE", "optimizer.epsilon"),
        (["optimizer.weight_decay=-1"], "E-CONFIG-RANGE", "optimizer.weight_decay"),
        (["optimizer.name=adam"], "E-CONFIG-NAME", "Did you mean adamw"),
    ],
)
def test_rules_of_a_config(settings, code, named):
    check(CONFIG)
    with pytest.raises(InputError, match=code) as caught:
        check(changed(*settings))
    assert named in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("settings", "devices", "words"),
    [
        (["mesh.data=3"], 8, r"8 devices.*E-CONFIG-MESH"),
        (["mesh.fsdp=3"], 8, r"fsdp.*E-CONFIG-MESH"),
        (["phases.0.batch_size=36"], 8, r"batch_size 36.*E-CONFIG-BATCH"),
        (["phases.*.batch_size=64", "phases.*.accumulation=16"], 8, r"accumulation 16.*E-CONFIG-BATCH"),
        (["evaluation.batch_size=12"], 8, r"evaluation.batch_size.*E-CONFIG-BATCH"),
    ],
)
def test_what_the_mesh_must_divide(settings, devices, words):
    check(CONFIG, devices)
    with pytest.raises(InputError, match=words):
        check(changed(*settings), devices)


def test_derived_quantities():
    assert total_steps(CONFIG) == 100 and horizon(CONFIG, 1) == 100
    assert phase_at(CONFIG, 89) == (0, 89) and phase_at(CONFIG, 90) == (1, 0) and phase_at(CONFIG, 100) == (2, 0)
    assert mesh_shape(changed("mesh.fsdp=4", "mesh.tensor=2").mesh, 16) == (2, 4, 2)
    assert slots(CONFIG, CONFIG.phases[0]) == 19 and slots(CONFIG, CONFIG.phases[1]) == 77
    assert changed("encoder.vocab_size=8000").encoder.padded_vocab_size == 8064


def test_json_there_and_back(tmp_path):
    path = tmp_path / "config.json"
    save_json(CONFIG, path)
    assert load_json(path) == CONFIG == find_config(str(path))
    other = changed("seed=1")
    save_json(other, path)
    assert load_json(path) == other != CONFIG


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "E-CONFIG-FILE"),
        ('{"name": "a", "sead": 1}', "Did you mean seed"),
        ('{"name": "a", "seed": "1"}', "E-CONFIG-TYPE"),
        ('{"name": "a", "seed": true}', "E-CONFIG-TYPE"),
        ('{"name": "a", "phases": 3}', "E-CONFIG-TYPE"),
        ("{}", "E-CONFIG-KEY"),
        ('{"name": "a", "seed": ' + "1" * 5000 + "}", "E-CONFIG-FILE"),
    ],
)
def test_unusable_json(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError) as caught:
        load_json(tmp_path / "config.json")
    assert words in str(caught.value)


def test_a_config_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from jaxbert.config import RunConfig\n\ndef get_config():\n    return RunConfig(name='mine')\n")
    assert find_config(str(path)).name == "mine"
    path.write_text("def get_config():\n    return 3\n")
    with pytest.raises(InputError, match="E-CONFIG-FILE"):
        find_config(str(path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = 'mine'\n", "E-CONFIG-FILE"),
        ("def get_config(:\n", "SyntaxError"),
        ("import no_such_module\n", "line 1). Mend"),
        ("\ndef get_config():\n    return 1 / 0\n", "ZeroDivisionError: division by zero (mine.py, line 3)"),
        ("def get_config():\n    return RunConfig(name='mine')\n", "NameError"),
        ("from jaxbert.config import find_config\n\ndef get_config():\n    return find_config('bert_bas')\n",
         "Did you mean bert_base"),
    ],
)  # fmt: skip
def test_a_config_file_that_does_not_work(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(InputError) as caught:
        find_config("mine.py")
    assert words in str(caught.value)


def test_what_a_resume_may_change():
    allowed = changed("phases.0.steps=200", "mesh.fsdp=2", "logging.every_steps=5", "checkpoint.keep=9")
    assert resume_differences(CONFIG, allowed) == []
    assert resume_differences(CONFIG, changed("seed=1", "phases.1.batch_size=32")) == [
        "phases.1.batch_size: 64 -> 32",
        "seed: 0 -> 1",
    ]
    fewer = dataclasses.replace(CONFIG, phases=CONFIG.phases[:1])
    assert any("phases.1.length" in line for line in resume_differences(CONFIG, fewer))


def test_every_field_is_reachable_by_set():
    from jaxbert.config import to_json
    from jaxbert.report.figures import texts

    for key, value in texts(to_json(CONFIG)).items():
        if value != "none" and not key.endswith(".rows"):
            assert apply_overrides(CONFIG, [f"{key}={value}"]) == CONFIG, key
    assert json.loads(json.dumps(to_json(CONFIG))) == to_json(CONFIG)


def floats(part, where=""):
    """The keys of all fields of a config that hold floats, and the config with each of them changed."""
    for field in dataclasses.fields(part):
        value, key = getattr(part, field.name), f"{where}{field.name}"
        if isinstance(value, float):
            yield key, lambda number, name=field.name: dataclasses.replace(part, **{name: number})
        for index, item in enumerate(value) if isinstance(value, tuple) else [("", value)]:
            if dataclasses.is_dataclass(item):
                place = f"{key}.{index}." if isinstance(value, tuple) else f"{key}."
                for inner, change in floats(item, place):

                    def outer(number, change=change, name=field.name, index=index, value=value):
                        made = change(number)
                        if isinstance(value, tuple):
                            made = (*value[:index], made, *value[index + 1 :])
                        return dataclasses.replace(part, **{name: made})

                    yield inner, outer


def test_no_float_of_a_config_may_be_other_than_finite(tmp_path):
    """Every field, set in Python, in JSON and by --set: NaN, infinite, beyond float32, or lost in float32."""
    everything = changed(
        *("objectives.sentence_order=none", "objectives.span_boundary=default", "objectives.distillation=default"),
        *("optimizer.clip_norm=1", "phases.1.schedule=default", 'phases.0.rows=[{"path": "a"}]'),
    )
    found = dict(floats(everything))
    assert {"encoder.layer_norm_epsilon", "phases.0.schedule.peak", "optimizer.clip_norm"} <= set(found)
    assert {
        "guard.hang_minutes",
        "phases.0.rows.0.weight",
        "objectives.distillation.temperature",
        "logging.price_per_hour",
    } <= set(found)
    assert len(found) > 30
    file = tmp_path / "config.json"
    for key, change in found.items():
        for number in (math.nan, math.inf, -math.inf, 1e39, 1e-60):
            with pytest.raises(InputError, match="E-CONFIG-NUMBER") as caught:
                check(change(number))
            assert key in str(caught.value)
        for text in ("nan", "inf", "1e400", "-1e400", "1e39"):
            with pytest.raises(InputError, match="E-CONFIG-NUMBER"):
                apply_overrides(everything, [f"{key}={text}"])
        for text in ("NaN", "Infinity", "1e400", "9" * 400):
            text = json.dumps(to_json(change(0.123456789))).replace("0.123456789", text)
            file.write_text(text)
            with pytest.raises(InputError, match=r"E-CONFIG-(NUMBER|FILE)"):
                load_json(file)


@pytest.mark.parametrize(
    "setting",
    [
        *("objectives.masked_lm.weight=-1", "data.short_rows=2", "data.validation_fraction=1", "guard.max_diverged=-1"),
        *("encoder.layer_norm_epsilon=0", "encoder.layer_norm_epsilon=-1", "logging.price_per_hour=-1"),
    ],
)
def test_bounds_of_numbers(setting):
    with pytest.raises(InputError, match=r"E-CONFIG-(RANGE|ENCODER)") as caught:
        check(changed(setting))
    assert setting.partition("=")[0] in str(caught.value)
