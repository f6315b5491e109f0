"""`jaxbert pretrain auto`: the recipe that is chosen for a text, a machine and a time, and the files that keep it."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import jax
import pytest

from jaxbert.commands.main import main
from jaxbert.config import RunConfig, check, find_config, load_json
from jaxbert.config.overrides import parse_settings
from jaxbert.core.chips import CHIPS
from jaxbert.data.sources.base import Document
from jaxbert.errors import InputError
from jaxbert.fit import auto, chosen
from jaxbert.fit.auto import choose
from jaxbert.fit.choice import Choice
from jaxbert.fit.corpus import Corpus, read_corpus
from jaxbert.fit.machine import Machine, fits, guessed, machine_here, measured
from jaxbert.fit.passes import MOST_PASSES
from jaxbert.fit.record import FILE, RECORD, files
from jaxbert.fit.shapes import LADDER, TOKENS_A_WEIGHT
from jaxbert.fit.vocabulary import vocabulary
from jaxbert.plan.topologies import Topology
from jaxbert.text.languages import advice
from jaxbert.text.tokenizers import train_tokenizer

ENGLISH = Corpus(
    documents=400,
    characters=6_000_000,
    words=1_000_000,
    alphabet=80,
    different=120,
    script="LATIN",
    script_share=1.0,
    spaceless=0.0,
    single=0.0,
    plain=0.999,
)


def english(characters: int) -> Corpus:
    return dataclasses.replace(
        ENGLISH, characters=characters, words=characters // 6, documents=max(2, characters // 15_000)
    )


def sizes_of(config: RunConfig) -> tuple[int, int]:
    return config.encoder.num_layers, config.encoder.hidden_size


def cpu(cores: int = 2, memory: float = 12e9) -> Machine:
    chip = dataclasses.replace(CHIPS["h100"], kind="cpu", hbm=memory)
    return Machine("cpu", "cpu", 1, cores, Topology(chip, (1,)), False)


def accelerator(name: str, *shape: int) -> Machine:
    topology = Topology(CHIPS[name], shape)
    return Machine(CHIPS[name].kind, name, topology.chips, 16, topology, True)


MACHINES = {
    "2 cores": cpu(),
    "h200": accelerator("h200", 1),
    "8 x h100": accelerator("h100", 8),
    "v5e:2x2": accelerator("v5e", 2, 2),
    "v5p:4x4x4": accelerator("v5p", 4, 4, 4),
}


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("characters", [500, 30_000, 6_000_000, 3_000_000_000])
def test_every_choice_is_a_run_that_fits(name: str, characters: int):
    machine, corpus = MACHINES[name], english(characters)
    sizes = []
    for minutes in (0.2, 10, 6000):
        try:
            choice = choose(corpus, machine, 60 * minutes, source="text:x")
        except InputError as error:
            assert error.code == "E-FIT-TIME" and characters > 20_000_000 and not sizes
            continue
        check(choice.config, machine.devices)
        assert fits(choice.config, machine)
        assert len(choice.lines) == 5 and all("\n" not in line for line in choice.lines)
        phases = choice.config.phases
        assert choice.tokens == sum(phase.steps * phase.batch_size * phase.length for phase in phases)
        batch = max(phase.batch_size * phase.length for phase in phases)
        enough = auto._LEAST_STEPS * batch
        most = MOST_PASSES * corpus.tokens(choice.config.encoder.vocab_size)
        assert choice.tokens <= 1.05 * most + len(phases) * batch
        # The time holds unless not even the fewest steps, or the preparation of a small text, fit into it.
        assert choice.seconds <= 1.05 * 60 * minutes or choice.tokens <= 1.05 * enough
        shape = next(shape for shape in LADDER if (shape.layers, shape.hidden) == sizes_of(choice.config))
        assert shape is LADDER[-1] or choice.tokens >= TOKENS_A_WEIGHT * shape.weights
        assert (choice.config.optimizer.name == "lamb_mlperf") == (batch >= 1 << 18)
        sizes.append(shape.weights)
    assert sizes == sorted(sizes), "more time has chosen a smaller model"


def test_larger_texts_and_longer_times_take_larger_models():
    def shape(characters: int, machine: str, minutes: float) -> int:
        found = choose(english(characters), MACHINES[machine], 60 * minutes, source="text:x")
        return found.config.encoder.hidden_size

    assert shape(6_000_000, "2 cores", 10) == 128
    assert shape(160_000_000, "2 cores", 600) == 256
    assert shape(3_000_000_000, "h200", 600) == 768
    assert shape(6_000_000, "h200", 600) == 128, "40 passes over a small text cannot fill a large model"


def test_measured_speed_decides_the_steps():
    guess = guessed(cpu())
    asked = []

    def slow(config: RunConfig, phase: int) -> float:
        asked.append((config.encoder.num_layers, phase))
        return 2 * guess(config, phase)

    fast = choose(ENGLISH, cpu(), 600, source="text:x", speed=guess)
    found = choose(ENGLISH, cpu(), 600, source="text:x", speed=slow)
    assert asked == [(2, 1)], "one step of the shape that was chosen is measured"
    assert fast.tokens / found.tokens == pytest.approx(2, rel=0.05)
    assert found.step_seconds[1] == pytest.approx(2 * fast.step_seconds[1], rel=0.01)
    assert found.seconds == pytest.approx(600, rel=0.01) and fast.seconds == pytest.approx(600, rel=0.01)


def test_a_slow_machine_takes_the_shape_that_it_can_fill():
    hours = 12 * 3600
    guess = guessed(cpu())
    measured_shapes = []

    def slow(config: RunConfig, phase: int) -> float:
        measured_shapes.append(config.encoder.hidden_size)
        return 10 * guess(config, phase)

    assert choose(english(160_000_000), cpu(), hours, source="text:x").config.encoder.hidden_size == 256
    found = choose(english(160_000_000), cpu(), hours, source="text:x", speed=slow)
    assert found.config.encoder.hidden_size == 128
    assert measured_shapes == [256, 128]


def test_lines_say_whether_counting_is_beaten_and_how_long_it_takes():
    short = choose(ENGLISH, cpu(), 120, source="text:x")
    assert not short.beats_counts and "NOT" in short.lines[4]
    assert short.seconds_to_beat is not None and short.seconds_to_beat > 120
    assert "give --minutes" in short.lines[4]
    # The curve is of a longer text, and of prose.
    digits = dataclasses.replace(english(6_000_000), script="UNKNOWN", script_share=0.0)
    for corpus, why in ((english(100), "too short"), (english(700_000), "too short"), (digits, "no letters")):
        unknown = choose(corpus, cpu(), 6000, source="text:x")
        assert unknown.beats_counts is None and unknown.seconds_to_beat is None
        assert "not known" in unknown.lines[4] and why in unknown.lines[4]
    assert "without letters" in choose(digits, cpu(), 60, source="text:x").lines[0]
    assert choose(english(1_500_000), cpu(), 6000, source="text:x").beats_counts
    enough = choose(ENGLISH, cpu(), 1.1 * short.seconds_to_beat, source="text:x")
    assert enough.beats_counts and "NOT" not in enough.lines[4]


def test_text_that_takes_longer_than_the_time_to_prepare_is_refused():
    with pytest.raises(InputError) as error:
        choose(english(3_000_000_000), cpu(), 600, source="text:x")
    assert error.value.code == "E-FIT-TIME"
    hours = float(error.value.fix.split("--hours ")[1].split()[0])
    choose(english(3_000_000_000), cpu(), 3600 * hours, source="text:x")


def test_a_machine_without_memory_is_refused():
    with pytest.raises(InputError) as error:
        choose(ENGLISH, cpu(memory=1e6), 600, source="text:x")
    assert error.value.code == "E-FIT-MEMORY"


def test_vocabulary_grows_with_the_text_and_holds_its_alphabet():
    sizes = [vocabulary(english(10**power), 768).pieces for power in range(3, 11)]
    assert sizes == sorted(sizes) and sizes[0] == 1024 and sizes[-1] == 30522
    assert vocabulary(english(10**9), 128).pieces == 8192
    chinese = dataclasses.replace(english(100_000), alphabet=5000, different=6000)
    assert vocabulary(chinese, 128).pieces >= 2 * 5000


def test_the_size_of_the_vocabulary_has_the_reason_that_decides():
    chinese = dataclasses.replace(english(100_000), alphabet=5000, different=6000)
    many = dataclasses.replace(english(100_000), alphabet=90, different=900)
    for corpus, hidden, pieces, why in (
        (ENGLISH, 128, 8192, "by the length of the text"),
        (english(10**9), 128, 8192, "64 for each of the model's 128 columns"),
        (english(10**9), 768, 30522, "as many as the original BERT has"),
        (chinese, 128, 11264, "as many as its 5,000 usual characters need"),
        (many, 128, 2048, "as many as its 900 different characters need"),
    ):
        found = vocabulary(corpus, hidden)
        assert (found.pieces, found.why) == (pieces, why)
    choice = choose(chinese, cpu(), 60, source="text:x")
    assert "11,264 pieces (wordpiece), as many as its 5,000 usual characters need; " in choice.lines[2]
    thai = dataclasses.replace(english(100_000), spaceless=0.97, script="THAI")
    assert (
        "(unigram, because 97% of the letters are of scripts without spaces"
        in (choose(thai, cpu(), 60, source="text:x").lines[2])
    )


def test_rare_characters_do_not_make_the_vocabulary_larger():
    """And wordpieces of that size can be learned: they take every character of a text with few different ones."""
    rare = "".join(chr(0x400 + number) for number in range(700))
    words = " ".join(f"w{'abcdefghij'[number % 10]}{number % 97}" for number in range(400_000))
    corpus = read_corpus([Document("x", words + " " + rare)])
    assert corpus.alphabet < 30 and corpus.different > 700
    plain = read_corpus([Document("x", words)])
    assert vocabulary(corpus, 768).pieces == vocabulary(plain, 768).pieces
    small = read_corpus([Document("x", words[:20_000] + " " + rare)])
    pieces = vocabulary(small, 768).pieces
    assert train_tokenizer("wordpiece", [words[:20_000] + " " + rare], vocab_size=pieces, lowercase=False, where="x")


def settled(*texts: str, corpus: Corpus = ENGLISH, minutes: float = 10) -> Choice:
    return choose(corpus, cpu(), 60 * minutes, source="text:x", settings=parse_settings(texts))


def test_the_recipe_goes_with_what_the_user_sets(tmp_path: Path):
    plain = settled()
    deep = settled("encoder.num_layers=6", "encoder.vocab_size=4096", "data.lowercase=false")
    assert deep.config.encoder.num_layers == 6 and "6 layers x 128 (tiny, as --set changes it)" in deep.lines[1]
    assert "4,096 pieces (wordpiece), as --set says; cased, as --set says" in deep.lines[2]
    assert deep.seconds == pytest.approx(600, rel=0.01) and deep.tokens < 0.7 * plain.tokens
    # A deeper model sees fewer tokens in this time.
    assert deep.seconds_to_beat is not None and plain.seconds_to_beat is not None
    assert deep.seconds_to_beat > 1.5 * plain.seconds_to_beat
    batch = settled("phases.*.batch_size=64")
    assert batch.seconds == pytest.approx(600, rel=0.01) and batch.config.phases[0].batch_size == 64
    steps = settled("phases.*.steps=100")
    assert [phase.steps for phase in steps.config.phases] == [100, 100] and steps.seconds < 200
    schedule = steps.config.phases[0].schedule
    assert schedule is not None and schedule.warmup_steps < 100
    half = settled("scale.steps=0.5")
    assert half.tokens == pytest.approx(plain.tokens / 2, rel=0.01)
    assert "as --set makes it" in settled("scale.steps=2").lines[3]
    for choice in (deep, batch, steps, half):
        check(choice.config)
        kept = files(choice, {"source": "text:x", "seconds": 600, "settings": []})
        (tmp_path / FILE).write_text(kept[FILE], encoding="utf-8")
        assert find_config(str(tmp_path / FILE)) == choice.config


def test_a_setting_that_does_not_fit_is_refused_before_the_text_is_read(tmp_path: Path):
    for text, code in (
        ("encoder.num_leyers=4", "E-CONFIG-KEY"),
        ("encoder.num_heads=3", "E-CONFIG-"),
        ("phases.5.steps=4", "E-"),
        ('phases=[{"name": "a", "length": 32, "batch_size": 4, "steps": 9}]', "E-FIT-PHASES"),
    ):
        with pytest.raises(InputError) as error:
            chosen.chosen("text:no such file", str(tmp_path), seconds=60.0, settings=[text])
        assert error.value.code.startswith(code) and error.value.code != "E-SOURCE-FILE", text


def test_a_schedule_that_the_user_sets_goes_with_the_steps_that_are_chosen():
    """It is checked by the steps of the run, and not by those of a phase before they are chosen."""
    for texts in (
        ["phases.0.schedule.warmup_steps=100"],
        ["phases.0.schedule.kind=wsd", "phases.0.schedule.decay_steps=90", "phases.0.schedule.warmup_steps=100"],
        ["phases.0.schedule.kind=wsd"],
        ["phases.0.schedule.kind=inverse_sqrt"],
        ["phases.0.schedule.kind=wsd", "phases.0.schedule.total_steps=900"],
    ):
        auto.check_settings(parse_settings(texts), cpu(), 60, "text:x")
        choice = settled(*texts, minutes=2)
        check(choice.config)
        schedule = choice.config.phases[0].schedule
        assert schedule is not None and (len(texts) == 1 or schedule.kind == "wsd")
        assert schedule.warmup_steps == 100 or "warmup" not in "".join(texts)
        assert schedule.decay_steps > 0 or schedule.kind != "wsd"
    # One that does not fit is refused, and what the error advises works.
    for text in (
        "phases.0.schedule.warmup_steps=900000",
        "phases.0.schedule.kind=wsd phases.0.schedule.decay_steps=90000",
    ):
        auto.check_settings(parse_settings(text.split()), cpu(), 60, "text:x")
        with pytest.raises(InputError, match=r"auto chooses .* for this text and time") as error:
            settled(*text.split(), minutes=2)
        assert error.value.code == "E-CONFIG-SCHEDULE" and "larger --minutes" in error.value.fix
        if "--set " in error.value.fix:
            advised = re.findall(r"phases\.\S+=\d+", error.value.fix)
        else:
            (most,) = re.findall(r"between 1 and (\d+)", error.value.fix)
            advised = [f"phases.0.schedule.decay_steps={most}"]
        check(settled(*text.split(), *advised, minutes=2).config)

    # The measurement decides the steps, so it comes before the schedule is checked.
    def fast(config: RunConfig, phase: int) -> float:
        check(config)
        return guessed(cpu())(config, phase) / 20

    long = parse_settings(["phases.0.schedule.warmup_steps=3000"])
    with pytest.raises(InputError, match="E-CONFIG-SCHEDULE"):
        choose(ENGLISH, cpu(), 90, source="text:x", settings=long)
    check(choose(ENGLISH, cpu(), 90, source="text:x", settings=long, speed=fast).config)
    # Steps that the user sets are known before the text is read.
    with pytest.raises(InputError, match="warm-up of 100 steps is not shorter than the schedule of 20 steps"):
        few = parse_settings(["phases.*.steps=10", "phases.0.schedule.warmup_steps=100"])
        auto.check_settings(few, cpu(), 60, "text:x")


def test_only_settings_that_do_not_fit_a_shape_make_the_model_smaller():
    hours = 10 * 3600

    def broken(config: RunConfig, phase: int) -> float:
        raise InputError("the step cannot be built", where="step", fix="Mend it.", code="E-CONFIG-MESH")

    with pytest.raises(InputError, match="cannot be built"):
        auto._largest(auto.Given(english(160_000_000), cpu(), "text:x"), hours, 0.0, broken)
    # No shape can have 5 heads of one width.
    with pytest.raises(InputError, match="E-CONFIG-ENCODER"):
        choose(english(160_000_000), cpu(), hours, source="text:x", settings=parse_settings(["encoder.num_heads=5"]))


def test_no_position_is_beyond_the_longest_row():
    for minutes, machine in ((10, "2 cores"), (600, "2 cores"), (60, "h200")):
        config = choose(english(160_000_000), MACHINES[machine], 60 * minutes, source="text:x").config
        assert config.encoder.max_positions == max(phase.length for phase in config.phases)
    assert settled("phases.1.length=96").config.encoder.max_positions == 96
    assert settled("encoder.max_positions=256").config.encoder.max_positions == 256


@pytest.mark.parametrize(
    ("text", "script", "lowercase"),
    [
        ("The cat sat on the mat and looked at the moon.", "LATIN", True),
        ("Die Bäume müssen größer werden, sagte er über Köln.", "LATIN", False),
        ("Кот сидел на коврике и смотрел на луну.", "CYRILLIC", False),
        ("हिन्दी में लिखा हुआ एक वाक्य।", "DEVANAGARI", False),
        ("猫坐在垫子上看月亮。", "CJK", False),
        ("แมวนั่งบนเสื่อและมองดวงจันทร์", "THAI", False),
    ],
)
def test_only_plain_letters_lose_their_case_and_accents(text: str, script: str, lowercase: bool):
    corpus = read_corpus(Document("x", text) for _ in range(3))
    assert (corpus.documents, corpus.characters, corpus.script) == (3, 3 * len(text), script)
    assert (corpus.spaceless > 0.9) == (script in ("CJK", "THAI"))
    assert (corpus.single > 0.9) == (script == "CJK")
    choice = choose(corpus, cpu(), 60, source="text:x")
    data = choice.config.data
    assert f"mostly {'Chinese characters' if script == 'CJK' else script.title()}: " in choice.lines[0]
    assert data.lowercase is lowercase
    # Wordpieces need words, and Thai does not show where they end. Chinese characters are words by themselves.
    assert data.tokenizer_kind == ("unigram" if script == "THAI" else "wordpiece")


def test_a_language_that_the_user_names_has_a_vocabulary_that_suits_it():
    """The text may have few of the letters that tell: Turkish written without its marks, Thai among English."""
    for language, kind, lowercase in (("tr", "wordpiece", False), ("th", "unigram", False), ("en", "wordpiece", True)):
        choice = choose(ENGLISH, cpu(), 60, source="text:x", settings=parse_settings([f"data.language={language}"]))
        data = choice.config.data
        assert (data.language, data.tokenizer_kind, data.lowercase) == (language, kind, lowercase)
        assert advice(language, kind, lowercase=lowercase) == []
        assert (f"suit the language {language!r} badly" in choice.lines[2]) == (language != "en")


def test_a_large_text_is_sampled(monkeypatch: pytest.MonkeyPatch):
    documents = [Document("x", "ab cd ef ") for _ in range(100)]
    whole = read_corpus(documents)
    monkeypatch.setattr("jaxbert.fit.corpus._SAMPLE_CHARS", 90)
    sampled = read_corpus(documents)
    assert sampled == whole and whole.words == 300 and whole.characters == 900


def test_the_step_is_measured_here():
    config = choose(english(30_000), machine_here(), 1, source="text:x").config
    assert 0 < measured(config, len(config.phases) - 1) < 60


@pytest.mark.parametrize("name", ["2 cores", "v5p:4x4x4"])
def test_the_kept_file_gives_the_same_config(tmp_path: Path, name: str):
    choice = choose(ENGLISH, MACHINES[name], 600, source='text:a "quoted" path')
    kept = files(choice, {"source": "text:x", "seconds": 600})
    (tmp_path / FILE).write_text(kept[FILE], encoding="utf-8")
    assert find_config(str(tmp_path / FILE)) == choice.config
    assert all(line in kept[FILE] for line in choice.lines)
    assert json.loads(kept[RECORD])["lines"] == list(choice.lines)


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A workdir with a record, as `pretrain auto` leaves it."""
    choice = choose(ENGLISH, cpu(), 600, source="text:x")
    for name, text in files(choice, {"source": "text:x", "seconds": 600.0}).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_recorded_recipe_is_taken_and_nothing_is_measured(workdir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chosen, "measured", None)
    monkeypatch.setattr(chosen, "open_source", None)
    for seconds in (None, 600.0):
        found = chosen.chosen("text:x", str(workdir), seconds=seconds)
        assert found.config == find_config(str(workdir / FILE))
        assert found.files == {name: (workdir / name).read_text(encoding="utf-8") for name in (RECORD, FILE)}


def test_settings_of_a_recorded_recipe_are_kept_and_not_applied_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    text, run = tmp_path / "text.txt", tmp_path / "run"
    text.write_text("abcd " * 2000, encoding="utf-8")
    monkeypatch.setattr(chosen, "measured", guessed(machine_here()))
    settings = ["data.language=tr", "scale.steps=0.5"]
    first = chosen.chosen(f"text:{text}", str(run), seconds=60.0, settings=settings)
    assert first.settings == () and first.config.data.language == "tr"
    assert "language='tr'" in first.files[FILE], "the file that a user keeps has the language"
    run.mkdir()
    for name, kept in first.files.items():
        (run / name).write_text(kept, encoding="utf-8")
    for again, new in ((settings, ()), ([], ()), ([*settings, "seed=3"], ("seed=3",))):
        found = chosen.chosen(f"text:{text}", str(run), seconds=None, settings=again)
        assert found.config == first.config and found.settings == new
    # --overwrite chooses anew where something is new, with the time and the settings that nothing replaces.
    same = chosen.chosen(f"text:{text}", str(run), seconds=None, settings=settings, overwrite=True)
    assert same.files == first.files
    with caplog.at_level("INFO"):
        new = chosen.chosen(f"text:{text}", str(run), seconds=None, settings=["scale.steps=0.25"], overwrite=True)
    assert "chooses anew, for 1 minutes, and --set data.language=tr scale.steps=0.25" in caplog.text
    assert json.loads(new.files[RECORD])["asked"] == {
        "source": f"text:{text}",
        "seconds": 60.0,
        "settings": ["data.language=tr", "scale.steps=0.25"],
    }
    assert new.config.data.language == "tr" and new.settings == ()
    longer = chosen.chosen(f"text:{text}", str(run), seconds=120.0, overwrite=True)
    asked = json.loads(longer.files[RECORD])["asked"]
    assert (asked["seconds"], asked["settings"]) == (120.0, settings)


@pytest.mark.parametrize(
    ("source", "seconds", "code"),
    [("text:x", 1200.0, "E-FIT-OTHER-TIME"), ("text:y", None, "E-FIT-OTHER-RUN")],
)
def test_another_text_or_time_is_another_run(workdir: Path, source: str, seconds: float | None, code: str):
    with pytest.raises(InputError) as error:
        chosen.chosen(source, str(workdir), seconds=seconds)
    assert error.value.code == code
    record = chosen._recorded(str(workdir), source, seconds, overwrite=True)
    assert record is None if source == "text:y" else record is not None and not record.has(seconds, ())


def test_a_damaged_record_and_another_run_are_refused(workdir: Path):
    (workdir / RECORD).write_text('{"asked": {}}', encoding="utf-8")
    with pytest.raises(InputError) as error:
        chosen.chosen("text:x", str(workdir), seconds=None)
    assert error.value.code == "E-FIT-RECORD"
    (workdir / RECORD).unlink()
    (workdir / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError) as error:
        chosen.chosen("text:x", str(workdir), seconds=None)
    assert error.value.code == "E-FIT-OTHER-RUN"
    assert chosen._recorded(str(workdir), "text:x", None, overwrite=True) is None


def test_a_text_of_a_few_lines_is_refused_before_anything_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = tmp_path / "text.txt"
    run = str(tmp_path / "run")
    monkeypatch.setattr(chosen, "measured", guessed(machine_here()))
    for length in (4_000, 5_000):
        text.write_text("abc " * (length // 4 - 1) + "abcd", encoding="utf-8")
        if length < 5_000:
            with pytest.raises(InputError) as error:
                chosen.chosen(f"text:{text}", run, seconds=60.0)
            assert error.value.code == "E-FIT-CORPUS" and "4,000 characters" in str(error.value)
        found = chosen.chosen(f"text:{text}", run, seconds=60.0, anyway=length < 5_000)
        assert "not known" in json.loads(found.files[RECORD])["lines"][4]


def test_several_processes_cannot_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(InputError) as error:
        chosen.chosen("text:x", str(tmp_path), seconds=None)
    assert error.value.code == "E-FIT-PROCESSES"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["auto"], "E-ARGUMENT-AUTO"),
        (["auto", "--text", "x.txt", "--init", "model"], "E-ARGUMENT-AUTO"),
        (["auto", "--text", "x.txt", "--minutes", "0"], "E-ARGUMENT-TIME"),
        (["auto", "--text", "x.txt", "--hours", "nan"], "E-ARGUMENT-TIME"),
        (["quickstart", "--minutes", "5"], "E-ARGUMENT-TIME"),
    ],
)
def test_arguments_that_do_not_go_together(
    words: list[str], code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["pretrain", *words, "--workdir", str(tmp_path / "run")]) == 2
    assert code in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_auto_is_no_config_elsewhere(capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "auto", "--topology", "v5e:2x2", "--analytic"]) == 2
    assert "E-CONFIG-AUTO" in capsys.readouterr().err


def test_from_a_text_to_a_run_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = [f"{first}{last}" for first in ("ba", "do", "ki", "lu") for last in ("n", "t", "s", "ra")]
    text = tmp_path / "text.txt"
    text.write_text(
        "\n\n".join(
            " ".join(words[(7 * line + 3 * word * word) % len(words)] for word in range(40)) + "."
            for line in range(120)
        ),
        encoding="utf-8",
    )
    run = tmp_path / "run"
    command = ["pretrain", "auto", "--text", str(text), "--workdir", str(run), "--no-finish", "--anyway"]
    assert main([*command, "--minutes", "0.2"]) == 0
    first = capsys.readouterr()
    assert "expected: " in first.err + first.out
    config = load_json(run / "config.json")
    assert find_config(str(run / FILE)) == dataclasses.replace(config, mesh=find_config(str(run / FILE)).mesh)
    before = (run / "metrics.jsonl").read_bytes()
    # The same command, with and without its time, is the same run, which has ended.
    for again in (command, [*command, "--minutes", "0.2"]):
        assert main(again) == 0
        assert (run / "metrics.jsonl").read_bytes() == before
    assert main([*command, "--minutes", "5"]) == 2
    error = capsys.readouterr().err
    assert "E-FIT-OTHER-TIME" in error and "rises again" in error
    # What the error says trains longer, with a few steps here.
    (setting, steps) = re.findall(r"--set (phases\.\d\.steps)=(\d+)\. ", error)[0]
    done = load_json(run / "config.json").phases[-1].steps
    assert int(steps) > done
    more = ["--set", f"{setting}={done + 2}"]
    assert main([*command, *more]) == 0
    longer = load_json(run / "config.json")
    assert longer.phases[-1].steps == done + 2 and "the learning rate follows" in capsys.readouterr().err
    # The kept file is a CONFIG.
    assert main(["pretrain", str(run / FILE), "--workdir", str(run), "--no-finish", *more]) == 0
