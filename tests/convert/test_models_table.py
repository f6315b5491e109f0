"""Every cell of the table in docs/how-to/models.md is true, and empty cells are not supported."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxbert.config import EncoderConfig
from jaxbert.convert import google
from jaxbert.convert.hf import published_config
from jaxbert.convert.names import export_tensors, name_map
from jaxbert.convert.read import read_model
from jaxbert.convert.safetensors_files import write_tensors
from jaxbert.convert.tensors import of_array
from jaxbert.models.families import FAMILIES
from jaxbert.models.model import HEADS, Model, on_pooler
from tests.models.odd import ODD, random_params

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "goldens"
COLUMNS = {"BERT": "bert", "RoBERTa": "roberta", "ALBERT": "albert", "SpanBERT": "spanbert", "DistilBERT": "distilbert"}
# The student's own projection is of use beside its teacher alone, and no file has it.
PARTS = ["encoder", *(head for head in HEADS if head != "projection")]


@functools.cache
def table() -> dict[str, dict[str, str]]:
    """Cells by head ("encoder" too) and column."""
    section = (ROOT / "docs" / "how-to" / "models.md").read_text(encoding="utf-8")
    lines = section[section.index("| head |") :].split("\n\n", 1)[0].splitlines()
    columns, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].lower().replace(" ", "_"): dict(zip(columns[1:], row[1:], strict=True)) for row in rows}


def cells() -> Iterator[tuple[str, str, bool]]:
    for part in PARTS:
        for column, family in COLUMNS.items():
            yield part, family, table()[part][column] == "yes"


def test_it_has_all_heads_and_families() -> None:
    assert list(table()) == PARTS
    assert sorted(COLUMNS.values()) == sorted(FAMILIES)
    assert {cell for row in table().values() for column, cell in row.items() if column in COLUMNS} == {"yes", ""}
    assert all(row["Hugging Face in and out"].startswith("yes") for row in table().values())


@pytest.mark.parametrize(("part", "family", "there"), cells())
def test_hugging_face_in_and_out(tmp_path: Path, part: str, family: str, there: bool) -> None:
    """Ours, to files, to ours, to files: the files are the same to the byte, and so are the parameters."""
    # The padding of the vocabulary is ours alone: as a model that is read has it.
    config = dataclasses.replace(ODD[family], vocab_multiple=EncoderConfig.vocab_multiple)
    task = part if part in FAMILIES[family].tasks else None
    assert (part in {name.part for name in name_map(config, task)}) == there
    if not there:
        return
    heads = () if part == "encoder" else (part,)
    if part in HEADS and on_pooler(part) and any(name.part == "pooler" for name in name_map(config, task)):
        heads = ("pooler", part)
    sizes = {task: {"labels": {"multiple_choice": 1, "question_answering": 2}.get(task, 3)}} if task else {}
    params = random_params(Model(config, heads, sizes=sizes))

    def written(name: str, config: Any, params: Any) -> Path:
        place = tmp_path / name
        place.mkdir()
        (place / "config.json").write_text(json.dumps(published_config(config, params, None, None, "float32", {})))
        write_tensors(place / "model.safetensors", export_tensors(params, config))
        return place

    first = written("first", config, params)
    found = read_model(first)
    assert found.heads == heads
    embeddings = dict(found.params["encoder"]["embeddings"])
    if family == "roberta":  # whose files have a table of one token type, of zeros; it is no parameter of ours
        assert not embeddings.pop("type")["table"].any()
    back = {**found.params, "encoder": {**found.params["encoder"], "embeddings": embeddings}}
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    second = written("second", found.config, found.params)
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "distilbert"])
def test_flax_msgpack_in(family: str) -> None:
    """Each head of the table is in the files of some Flax class of transformers 4 (SpanBERT's are BERT's)."""
    column = next(name for name, key in COLUMNS.items() if key == family)
    wanted = {part for part in PARTS if table()[part][column] and table()[part]["flax_model.msgpack in"] == "yes"}
    # DistilBERT's classifiers have their layer before the classifier, which is a pooler to us.
    wanted |= {"pooler"} if family == "distilbert" else set()
    stem = {"bert": "FlaxBert", "roberta": "FlaxRoberta", "albert": "FlaxAlbert", "distilbert": "FlaxDistilBert"}
    found = {part for place in sorted((GOLDENS / "flax").glob(f"{stem[family]}*")) for part in read_model(place).params}
    assert found == wanted


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_google_tf1_in(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each head of the table: pretraining's in the golden, those of the scripts for tasks put in its place."""
    label = {"bert": "BERT", "albert": "ALBERT"}[family]
    wanted = {part for part in PARTS if label in table()[part]["Google TF1 in"].split(", ")}
    place = Path(shutil.copytree(GOLDENS / f"google_{family}", tmp_path / family))
    found = set(read_model(place).params)
    bundle = google.open_bundle
    for head, name in {"sequence_classification": "output", "question_answering": "cls/squad/output"}.items():
        with monkeypatch.context() as patch:
            weights = np.ones((2, 12), np.float32)
            patch.setattr(
                google,
                "open_bundle",
                lambda prefix, stack, name=name, weights=weights: {
                    **{key: tensor for key, tensor in bundle(prefix, stack).items() if key.startswith("bert/")},
                    f"{name}_weights": of_array(weights),
                    f"{name}_bias": of_array(weights[:, 0]),
                },
            )
            found |= set(read_model(place).params)
            assert head in found
    assert found == wanted
