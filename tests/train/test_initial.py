"""Runs that start from a model: what they inherit, how its tables are fitted, and that they resume without it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxbert
from jaxbert.commands import main as cli
from jaxbert.config import EncoderConfig, RunConfig, check, find_config, load_json, save_json
from jaxbert.config.overrides import apply_overrides
from jaxbert.core.shapes import shapes_of
from jaxbert.errors import InputError
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import Model
from jaxbert.run import inherit, initial
from jaxbert.run.teacher import fingerprint
from jaxbert.run.wanted import wanted
from jaxbert.stores import steps
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer
from jaxbert.text.transfer import transfer
from jaxbert.use.library import Loaded

POSITIONS = 20  # of tokens
BOUNDARY = {"max_targets": 7, "position_size": 6}
# Family -> heads that its models have.
HEADS = {
    "bert": ("pooler", "masked_lm", "next_sentence"),
    "roberta": ("masked_lm",),
    "albert": ("pooler", "masked_lm", "sentence_order"),
    "spanbert": ("masked_lm", "span_boundary"),
    "distilbert": ("masked_lm",),
}
SOURCE = "data.source=text:mine.txt"
# A run of a few small steps that costs little.
SHORT = [
    *("phases.0.batch_size=8", "phases.0.schedule.kind=constant", "phases.0.schedule.warmup_steps=0"),
    *("phases.0.steps=4", "evaluation.batch_size=8", "evaluation.batches=1", "logging.tensorboard=false"),
    "data.validation_fraction=0.0",
]


def encoder_of(family: str, vocab_size: int, **changes: Any) -> EncoderConfig:
    """A small one with what sets the family apart: offset, shared layers, narrow embeddings, no token types."""
    preset = FAMILIES[family].presets["tiny"]
    sizes = dict(hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, vocab_multiple=64)
    narrow = dict(embedding_size=8) if preset.embedding_size else {}
    own = dict(vocab_size=vocab_size, max_positions=POSITIONS + preset.position_offset, initializer_range=0.3)
    return dataclasses.replace(preset, **{**sizes, **narrow, **own, **changes})


def model_of(encoder: EncoderConfig, heads: tuple[str, ...], tokenizer: Tokenizer | None, name: str = "m") -> Loaded:
    model = Model(encoder, heads, sizes={"span_boundary": BOUNDARY})
    rng = np.random.default_rng(3)
    shapes = shapes_of(model.init)
    # Everywhere: biases start at 0, and rows of padding may hold anything.
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
    return Loaded(name, encoder, params, tokenizer)


@pytest.fixture(scope="module")
def tokenizer(tiny_rows: Path) -> Tokenizer:
    return Tokenizer.load(tiny_rows / "tokenizer")


@pytest.fixture(scope="module")
def another(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a cased vocabulary of the same text."""
    out = tmp_path_factory.mktemp("another")
    text = (tiny / "corpus.txt").read_text(encoding="utf-8")
    train_tokenizer("wordpiece", [text], vocab_size=200, lowercase=False).save(out)
    return out


Begin = Callable[..., tuple[RunConfig, dict[str, Any], list[str]]]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Begin:
    """(model, settings, tokenizer of the rows) -> the run's config, its first parameters, and what it said."""

    def run(
        model: Loaded, *settings: str, rows: Tokenizer | None = None, config: str = "adapt", **options: Any
    ) -> tuple[RunConfig, dict[str, Any], list[str]]:
        monkeypatch.setattr(initial, "load", lambda name: model)
        monkeypatch.setattr(inherit, "load", lambda name: model)
        caplog.set_level("INFO", logger="jaxbert")
        caplog.clear()
        asked = wanted(find_config(config), init="m", settings=[SOURCE, *settings], **options)
        caplog.clear()  # of what the scaling helpers say
        complete, found = inherit.inherit(asked, tmp_path)
        check(complete)
        found = initial.load_initial(complete, found)
        fitted = initial.fitted_parameters(found, complete, rows or model.tokenizer)
        return complete, fitted, list(caplog.messages)

    return run


# ----------------------------------------------------------------------------------------------------------------------
# What is inherited


@pytest.mark.parametrize("family", FAMILIES)
def test_adapt_inherits_what_the_family_pretrains_with(begin, tokenizer, family):
    model = model_of(encoder_of(family, tokenizer.vocab_size), HEADS[family], tokenizer)
    config, fitted, said = begin(model)
    recipe = find_config(f"{family}_base")
    assert config.inherit == "nothing"
    assert config.encoder == dataclasses.replace(model.config, vocab_multiple=128)
    assert config.phases[0].length == POSITIONS and config.phases[0].schedule.peak == 1e-4
    assert config.data.policy == recipe.data.policy
    masked = dataclasses.replace(recipe.objectives.masked_lm, weight=1.0)
    assert config.objectives.masked_lm == masked and config.objectives.distillation is None
    for name in ("next_sentence", "sentence_order", "span_boundary"):
        assert (getattr(config.objectives, name) is None) == (name not in HEADS[family])
    if family == "spanbert":
        boundary = config.objectives.span_boundary
        assert (boundary.max_targets, boundary.position_size) == (7, 6)
    assert fitted.keys() == {"encoder", *HEADS[family]}
    assert len(said) == 1 and family in said[0]


def test_a_head_that_is_not_there_is_no_objective(begin, tokenizer):
    model = model_of(encoder_of("bert", tokenizer.vocab_size), ("pooler", "masked_lm"), tokenizer)
    config, _, said = begin(model)
    assert config.objectives.next_sentence is None and config.data.policy == "full_sentences"
    assert any("leaves out: pooler" in line for line in said)
    # SpanBERT's published files say that they are BERT's.
    files = model_of(encoder_of("bert", tokenizer.vocab_size), HEADS["spanbert"], tokenizer)
    config, _, _ = begin(files)
    assert config.encoder.family == "spanbert" and config.objectives.masked_lm.scheme == "span"


def test_rows_that_are_there_decide(begin, tokenizer, tiny_rows):
    named = f'phases.0.rows=[{{"path": "{tiny_rows}"}}]'
    long = {"max_positions": 64}
    bert = model_of(encoder_of("bert", tokenizer.vocab_size, **long), HEADS["bert"], tokenizer)
    config, _, _ = begin(bert, named)
    assert config.phases[0].length == 32 and config.objectives.next_sentence is not None
    # Pairs that are labelled otherwise teach masked tokens alone.
    albert = model_of(encoder_of("albert", tokenizer.vocab_size, **long), HEADS["albert"], tokenizer)
    config, _, said = begin(albert, named)
    assert config.objectives.sentence_order is None and config.objectives.next_sentence is None
    assert any("leaves out: pooler, sentence_order" in line for line in said)


def test_settings_come_after_what_is_inherited(begin, tokenizer):
    model = model_of(encoder_of("bert", tokenizer.vocab_size), HEADS["bert"], tokenizer)
    changes = ["encoder.dropout=0.25", "objectives.next_sentence=none", "phases.0.length=16", "scale.steps=0.1"]
    config, _, _ = begin(model, *changes)
    assert config.encoder.dropout == 0.25 and config.objectives.next_sentence is None
    assert config.phases[0].length == 16 and config.phases[0].steps == 1250
    # The encoder alone: another config's own objectives stay.
    config, _, _ = begin(model, "inherit=encoder", "phases.0.length=16", config="spanbert_tiny")
    assert config.encoder.num_layers == 2 and config.encoder.hidden_size == 16
    assert config.objectives == find_config("spanbert_tiny").objectives


# ----------------------------------------------------------------------------------------------------------------------
# How tables are fitted


def padded(rows: np.ndarray, count: int) -> np.ndarray:
    return np.pad(rows, [(0, count - len(rows)), *[(0, 0)] * (rows.ndim - 1)])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_vocabulary_in_every_family(begin, tokenizer, another, family):
    old = encoder_of(family, tokenizer.vocab_size)
    model = model_of(old, HEADS[family], tokenizer)
    new = Tokenizer.load(another)
    config, fitted, said = begin(model, rows=new, tokenizer=str(another))
    assert config.encoder.vocab_size == new.vocab_size == 200 and config.init_vocabulary == "new"
    assert config.data.tokenizer == str(another)
    sources = transfer(tokenizer, new)
    assert any(sources.line() == line for line in said) and sources.taken > 50 and sources.averaged > 5

    def expected(table: Any) -> np.ndarray:
        table = np.asarray(table)[: tokenizer.vocab_size]
        rows = [table[list(ids)].mean(0) if ids else table.mean(0) for ids in sources.sources]
        return padded(np.array(rows), 256)

    vocabulary = [("encoder", "embeddings", "word", "table"), ("masked_lm", "bias")]
    vocabulary += [("span_boundary", "bias")] if family == "spanbert" else []
    flat = lambda tree: dict(jax.tree_util.tree_flatten_with_path(tree)[0])  # noqa: E731
    before, after = flat(model.params), flat(fitted)
    assert before.keys() == after.keys()
    for path in before:
        names = tuple(key.key for key in path)
        if names in vocabulary:
            vocabulary.remove(names)
            np.testing.assert_allclose(after[path], expected(before[path]), rtol=1e-5, atol=1e-6, err_msg=str(names))
        else:
            np.testing.assert_array_equal(after[path], before[path], err_msg=str(names))
    assert not vocabulary


def test_whose_tokenizer_makes_the_rows(begin, tokenizer, another, tmp_path):
    model = model_of(encoder_of("bert", tokenizer.vocab_size), HEADS["bert"], tokenizer)
    config, _, _ = begin(model)
    assert initial.tokenizer_for_rows(config, model) is tokenizer and config.data.tokenizer == ""
    # A new vocabulary that is not named is trained, of the model's kind and size, or another.
    made = train_tokenizer("wordpiece", ["the cat sees the dog. " * 9], vocab_size=60, lowercase=True)
    config, _, _ = begin(model, "init_vocabulary=new", "encoder.vocab_size=60", rows=made)
    assert initial.tokenizer_for_rows(config, model) is None and config.encoder.vocab_size == 60
    assert (config.data.tokenizer_kind, config.data.lowercase) == ("wordpiece", True)
    # A run's workdir has one in it; what is no tokenizer at all is named as it was given.
    assert Tokenizer.place(another) == another
    shutil.copytree(another, tmp_path / "run" / "tokenizer")
    for place in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "20"):
        assert Tokenizer.place(place) == tmp_path / "run" / "tokenizer"
    assert Tokenizer.place("none") == Path("none")


@pytest.mark.parametrize("family", ["roberta", "albert"])
def test_more_positions_are_tiled_or_interpolated_and_fewer_cut(begin, tokenizer, family):
    old = encoder_of(family, tokenizer.vocab_size)
    offset, table = old.position_offset, np.random.default_rng(0).normal(size=(20, old.embedding_width))
    model = model_of(old, HEADS[family], tokenizer)
    kept = np.full((offset, old.embedding_width), 9.0)
    model.params["encoder"]["embeddings"]["position"]["table"] = np.concatenate([kept, table]).astype(np.float32)

    def positions(count: int, *settings: str) -> tuple[np.ndarray, list[str]]:
        _, fitted, said = begin(model, f"encoder.max_positions={count + offset}", *settings)
        rows = fitted["encoder"]["embeddings"]["position"]["table"]
        np.testing.assert_array_equal(rows[:offset], kept)
        return rows[offset:], said

    tiled, said = positions(47, "init_positions=tile")
    np.testing.assert_allclose(tiled, np.concatenate([table, table, table[:7]]), rtol=1e-6)
    assert any(f"{20 + offset} tiled to {47 + offset}" in line for line in said)
    stretched, _ = positions(39, "init_positions=interpolate")
    np.testing.assert_allclose(stretched[::2], table, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stretched[1::2], (table[:-1] + table[1:]) / 2, rtol=1e-5, atol=1e-6)
    odd, _ = positions(33, "init_positions=interpolate")
    for column in range(3):
        wanted = np.interp(np.linspace(0, 19, 33), np.arange(20), table[:, column])
        np.testing.assert_allclose(odd[:, column], wanted, rtol=1e-5, atol=1e-5)
    cut, said = positions(16, "phases.0.length=16")
    np.testing.assert_allclose(cut, table[:16], rtol=1e-6)
    assert any(f"the first {16 + offset} of {20 + offset}" in line for line in said)
    with pytest.raises(InputError, match=r"max_positions.*E-RUN-INIT-POSITIONS") as wrong:
        positions(47)
    assert "init_positions=tile" in wrong.value.fix and "init_positions=interpolate" in wrong.value.fix


def test_tables_of_another_padding_fit(begin, tokenizer):
    """Cut or filled with zeros; and rows beyond the tokenizer's are left out."""
    size = tokenizer.vocab_size
    for vocab_size, multiple, setting, rows in ((size, 64, 512, 512), (size, 512, 8, 200), (size + 30, 64, 8, 200)):
        old = encoder_of("bert", vocab_size, vocab_multiple=multiple)
        model = model_of(old, HEADS["bert"], tokenizer)
        config, fitted, said = begin(model, f"encoder.vocab_multiple={setting}")
        assert config.encoder.vocab_size == size
        for new, before in (
            (fitted["encoder"]["embeddings"]["word"]["table"], model.params["encoder"]["embeddings"]["word"]["table"]),
            (fitted["masked_lm"]["bias"], model.params["masked_lm"]["bias"]),
        ):
            assert len(new) == rows
            np.testing.assert_array_equal(new, padded(before[:size], rows))
        assert any("has 230 rows; those after the tokenizer's 200 pieces are left out" in line for line in said) == (
            vocab_size > size
        )


def test_heads_that_the_model_lacks_start_at_random(begin, tokenizer, caplog):
    model = model_of(encoder_of("bert", tokenizer.vocab_size), ("masked_lm",), tokenizer)
    config, _, _ = begin(model, "objectives.next_sentence=default", "data.policy=segment_pair")
    fresh = model_of(config.encoder, HEADS["bert"], None)
    state = {"params": jax.tree.map(lambda leaf: jax.numpy.asarray(leaf) + 1, fresh.params), "step": 0}
    caplog.clear()
    started = initial.start_from(model, config, tokenizer, state)
    assert sorted(caplog.messages) == [
        f"--init has no {name}: it starts at random" for name in ("next_sentence", "pooler")
    ]
    assert started["step"] == 0 and started["params"].keys() == state["params"].keys()
    for part in started["params"]:
        given = model.params if part in model.params else state["params"]
        a, b = jax.tree.leaves(started["params"][part]), jax.tree.leaves(given[part])
        for x, y in zip(a, b, strict=True):
            assert isinstance(x, jax.Array)
            np.testing.assert_array_equal(np.asarray(x)[:200], np.asarray(y)[:200])


# ----------------------------------------------------------------------------------------------------------------------
# Runs


def arguments(workdir: Path, model: Path, source: Path, *settings: str) -> list[str]:
    start = ["pretrain", "adapt", "--workdir", str(workdir), "--init", str(model)]
    return [*start, "--set", f"data.source=text:{source}/corpus.txt", *SHORT, *settings]


def state_of(workdir: Path, name: str) -> dict[str, np.ndarray]:
    files = sorted((workdir / "checkpoints").glob("*"), key=lambda path: int(path.name))
    assert files, name
    return {jax.tree_util.keystr(k): np.asarray(v) for k, v in flat_params(jaxbert.load(files[-1]))}


def flat_params(model: Loaded) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(model.params)[0]


@pytest.fixture(scope="module")
def adapted(tiny: Path, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(a published model without its next-sentence head, the workdir of a run that was adapted from it)."""
    at = tmp_path_factory.mktemp("adapted")
    # With a token that was added after training, which no pass over files may lose.
    tokenizer.save(at / "tokenizer")
    (at / "tokenizer" / "tokenizer.json").unlink()
    (at / "tokenizer" / "added_tokens.json").write_text(json.dumps({"[NEW]": tokenizer.vocab_size}))
    added = Tokenizer.load(at / "tokenizer")
    encoder = encoder_of("bert", added.vocab_size, max_positions=32)
    model_of(encoder, ("pooler", "masked_lm"), added).save(at / "model")
    assert cli.main(arguments(at / "run", at / "model", tiny)) == 0
    return at / "model", at / "run"


def test_one_command_adapts_a_model_and_resumes_without_it(adapted, tiny, tmp_path, capsys):
    model, reference = adapted
    config = load_json(reference / "config.json")
    assert config.inherit == "nothing" and config.init == str(model) and config.data.tokenizer == ""
    assert config.encoder.num_layers == 2 and config.phases[0].length == 32 and config.objectives.next_sentence is None
    assert Tokenizer.load(reference / "tokenizer").hash == Tokenizer.load(model).hash
    last = config.encoder.vocab_size - 1
    assert [jaxbert.load(place).ids("[NEW]") for place in (model, reference)] == [[last], [last]]
    rows = [jaxbert.load(place).params["encoder"]["embeddings"]["word"]["table"][last] for place in (model, reference)]
    np.testing.assert_allclose(*rows, atol=1e-3, err_msg="a few steps at a rate of 1e-4")
    # Stopped on the way, the model gone; by the same command and by the saved config.
    shutil.copytree(model, tmp_path / "model")
    command = arguments(tmp_path / "run", tmp_path / "model", tiny)
    assert cli.main([*command, "--set", "phases.0.steps=2"]) == 0
    assert steps.committed_steps(tmp_path / "run") == [2]
    shutil.rmtree(tmp_path / "model")
    assert cli.main([*command, "--set", "phases.0.steps=3"]) == 0
    saved = load_json(tmp_path / "run/config.json")
    save_json(apply_overrides(saved, ["phases.0.steps=4"]), tmp_path / "saved.json")
    assert cli.main(["pretrain", str(tmp_path / "saved.json"), "--workdir", str(tmp_path / "run")]) == 0
    wanted, found = state_of(reference, "reference"), state_of(tmp_path / "run", "run")
    assert wanted.keys() == found.keys()
    for path in wanted:
        np.testing.assert_array_equal(found[path], wanted[path], err_msg=path)
    metrics = [
        [line for line in (workdir / "metrics.jsonl").read_text().splitlines() if "validation" not in line]
        for workdir in (reference, tmp_path / "run")
    ]
    # A run that ends has a line at its end, and means begin anew there.
    for line, other in zip(*(map(json.loads, lines[-1:]) for lines in metrics), strict=True):
        assert line.keys() == other.keys()
        for name in ("step", "phase", "epoch", "tokens", "rate", "skipped", "skipped_in_a_row"):
            assert line[name] == other[name], name
    # What it was adapted from is in its card and receipt, by name and parameters, also after it was resumed without it.
    jaxbert.load(tmp_path / "run").save(tmp_path / "out")
    receipt = json.loads((tmp_path / "out" / "receipt.json").read_text())
    digest = fingerprint(jaxbert.load(model).params)
    assert receipt["init"] == {"model": str(tmp_path / "model"), "sha256": digest}
    assert jaxbert.load(tmp_path / "out").ids("[NEW]") == [last]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "BERT, with the head masked LM: " in card and "Pretrained further, from model, by jaxbert: run adapt" in card
    assert "First the data of model: see the original model." in card
    assert f"`--init` model (its parameters: {digest})" in card
    # Another change is refused as ever, and shown; beginning anew needs the model.
    assert cli.main([*command, "--set", "encoder.dropout=0.3"]) == 2
    assert "encoder.dropout" in capsys.readouterr().err
    assert cli.main([*command, "--overwrite"]) == 2
    assert "E-MODEL-MISSING" in capsys.readouterr().err


def test_a_new_vocabulary_from_a_run(adapted, tiny, another, tmp_path, capsys):
    """From a run's workdir, with a tokenizer of the domain; killed before the first checkpoint."""
    _, model = adapted
    command = [*arguments(tmp_path / "run", model, tiny, "phases.0.steps=1"), "--tokenizer", str(another)]
    assert cli.main(command) == 0
    new, old = jaxbert.load(tmp_path / "run"), jaxbert.load(model)
    assert new.tokenizer.hash == Tokenizer.load(another).hash and new.config.vocab_size == 200
    sources = transfer(old.tokenizer, new.tokenizer)
    assert sources.line() in capsys.readouterr().err
    word = lambda loaded: loaded.params["encoder"]["embeddings"]["word"]["table"]  # noqa: E731
    # After one step at a rate of 1e-4.
    np.testing.assert_allclose(word(new)[:200], sources.rows(word(old)[:200]), atol=2e-4)
    layers = [jax.tree.leaves(loaded.params["encoder"]["layers"]) for loaded in (new, old)]
    for x, y in zip(*layers, strict=True):
        np.testing.assert_allclose(x, y, atol=2e-4)
    # As a kill before the first checkpoint leaves it: the config, and rows.
    shutil.rmtree(tmp_path / "run/checkpoints")
    assert cli.main(command) == 0
    np.testing.assert_array_equal(word(jaxbert.load(tmp_path / "run")), word(new))


# ----------------------------------------------------------------------------------------------------------------------
# What is refused


Arguments = Callable[[Path, Path, Path, Path], list[str]]
# Name -> (options beside pretrain CONFIG --workdir, words of the error); from (rows, model, another tokenizer, text).
REFUSED: dict[str, tuple[str, Arguments, list[str]]] = {
    "nothing to inherit from": (
        "adapt",
        lambda rows, m, t, at: ["--data", f"{rows}"],
        ["inherit", "--init MODEL", "E-RUN-INHERIT"],
    ),
    "no such model": (
        "adapt",
        lambda rows, m, t, at: ["--init", f"{m}/none", "--data", f"{rows}"],
        ["none", "E-MODEL-MISSING"],
    ),
    "another encoder": (
        "bert_tiny",
        lambda rows, m, t, at: ["--init", f"{m}", "--data", f"{rows}"],
        ["E-RUN-INIT-ENCODER", "inherit=encoder", "encoder.intermediate_size=32"],
    ),
    "more positions": (
        "adapt",
        lambda rows, m, t, at: ["--init", f"{m}", "--data", f"{rows}", "--set", "encoder.max_positions=64"],
        ["E-RUN-INIT-POSITIONS", "init_positions=tile", "init_positions=interpolate"],
    ),
    "no way to have more positions": (
        "adapt",
        lambda rows, m, t, at: ["--init", f"{m}", "--data", f"{rows}", "--set", "init_positions=stretch"],
        ['"stretch"', "tile"],
    ),
    "rows of another tokenizer": (
        "adapt",
        lambda rows, m, t, at: ["--init", f"{at}/other-model", "--data", f"{rows}"],
        ["E-ROWS-TOKENIZER", "--tokenizer DIR"],
    ),
    "a tokenizer that is not the rows'": (
        "adapt",
        lambda rows, m, t, at: ["--init", f"{m}", "--data", f"{rows}", "--tokenizer", f"{at}/other-200"],
        ["--tokenizer", "other-200", "E-ROWS-TOKENIZER"],
    ),
    "a tokenizer that is not the rows', and no model": (
        "bert_tiny",
        lambda rows, m, t, at: ["--data", f"{rows}", "--tokenizer", f"{at}/other-200"],
        ["--tokenizer", "other-200", "E-ROWS-TOKENIZER"],
    ),
    "a source and another tokenizer": (
        "adapt",
        lambda rows, m, t, at: [
            *("--init", f"{m}", "--set", f"data.source=text:{at}/corpus.txt", f"data.tokenizer={at}/other-200")
        ],
        ["E-ROWS-TOKENIZER", "--tokenizer DIR"],
    ),
    "no such tokenizer": (
        "adapt",
        lambda rows, m, t, at: ["--init", f"{m}", "--data", f"{rows}", "--tokenizer", f"{at}/none"],
        ["no such tokenizer", "none"],
    ),
    "a new vocabulary from no tokenizer": (
        "adapt",
        lambda rows, m, t, at: ["--init", f"{at}/mute", "--data", f"{rows}", "--tokenizer", f"{rows}/tokenizer"],
        ["E-RUN-INIT-TOKENIZER", "mute"],
    ),
    "rows to make with no tokenizer": (
        "adapt",
        lambda rows, m, t, at: ["--init", f"{at}/mute", "--set", f"data.source=text:{at}/corpus.txt"],
        ["E-RUN-INIT-TOKENIZER", "mute"],
    ),
    "a new vocabulary of no model": (
        "bert_tiny",
        lambda rows, m, t, at: ["--data", f"{rows}", "--set", "init_vocabulary=new"],
        ["init_vocabulary", "--init MODEL", "E-RUN-INHERIT"],
    ),
    "no such rows": (
        "adapt",
        lambda rows, m, t, at: ["--init", f"{m}", "--data", f"{at}/none"],
        ["no such directory of rows"],
    ),
}


@pytest.fixture(scope="module")
def wrong(adapted: tuple[Path, Path], tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("wrong")
    text = (tiny / "corpus.txt").read_text(encoding="utf-8")
    (at / "corpus.txt").write_text(text[:3000], encoding="utf-8")
    other = train_tokenizer("wordpiece", [text], vocab_size=200, lowercase=False)
    other.save(at / "other-200")
    for name in ("other-model", "mute"):
        shutil.copytree(adapted[0], at / name)
        for file in (
            "tokenizer.json",
            "vocab.txt",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "added_tokens.json",
        ):
            (at / name / file).unlink(missing_ok=True)
    other.save(at / "other-model")
    return at


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_nothing_touched(adapted, another, tiny_rows, wrong, tmp_path, capsys, name):
    config, options, words = REFUSED[name]
    given = options(tiny_rows, adapted[0], another, wrong)
    code = cli.main(["pretrain", config, "--workdir", str(tmp_path / "new"), *given, "--set", *SHORT])
    errors = capsys.readouterr().err
    assert code == 2, errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("jaxbert: error: ") and all(word in last for word in words), last
    assert not any(tmp_path.iterdir())


def test_a_head_of_another_size_is_refused(begin, tokenizer):
    model = model_of(encoder_of("spanbert", tokenizer.vocab_size), HEADS["spanbert"], tokenizer)
    with pytest.raises(InputError, match=r"span_boundary/place/table is 9 x 6 in the run, but 7 x 6.*E-RUN-INIT-HEAD"):
        begin(model, "objectives.span_boundary.max_targets=9")
