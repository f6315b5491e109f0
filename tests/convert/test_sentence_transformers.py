"""The layout of sentence-transformers: reads what we write and files of several versions, and refuses others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jaxbert.convert.sentence_transformers import SentenceLayout, read_layout, transformer_of, write_layout
from jaxbert.errors import InputError

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]
DENSE = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
OLDER = [{**MODULES[0], "path": "0_Transformer"}, MODULES[1]]
OUTSIDE = [MODULES[0], {**MODULES[1], "path": "../1_Pooling"}]


def write(directory: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return directory


@pytest.mark.parametrize(
    "layout",
    [
        SentenceLayout("mean"),
        SentenceLayout("cls", normalize=True, max_length=128),
        SentenceLayout("mean", True, None, True),
        SentenceLayout(
            "mean",
            dimension=32,
            prompts={"query": "query: ", "document": ""},
            default_prompt="query",
            pools_prompt=False,
            similarity="dot",
        ),
    ],
)
def test_reads_what_it_wrote(tmp_path: Path, layout: SentenceLayout) -> None:
    write_layout(tmp_path, layout, 48)
    assert read_layout(tmp_path) == layout
    assert json.loads((tmp_path / "1_Pooling" / "config.json").read_text())["word_embedding_dimension"] == 48


def test_a_directory_without_modules_has_none(tmp_path: Path) -> None:
    assert read_layout(tmp_path) is None


def test_version_6(tmp_path: Path) -> None:
    files = {
        "modules.json": MODULES,
        "1_Pooling/config.json": {"embedding_dimension": 48, "pooling_mode": "cls", "include_prompt": True},
        "sentence_bert_config.json": {"transformer_task": "feature-extraction"},
        "tokenizer_config.json": {"model_max_length": 256},
        "config_sentence_transformers.json": {"prompts": {"query": "", "document": ""}, "default_prompt_name": None},
    }
    prompts = {"query": "", "document": ""}
    assert read_layout(write(tmp_path, files)) == SentenceLayout("cls", max_length=256, prompts=prompts)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": int(1e30)}))
    assert read_layout(tmp_path) == SentenceLayout("cls", prompts=prompts)


def test_other_names_of_the_transformers_settings(tmp_path: Path) -> None:
    files = {
        "modules.json": MODULES,
        "1_Pooling/config.json": {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
        "sentence_roberta_config.json": {"max_seq_length": 100, "do_lower_case": True},
    }
    assert read_layout(write(tmp_path, files)) == SentenceLayout("mean", max_length=100, lowercase=True)


def test_the_older_layout_has_the_model_in_a_directory(tmp_path: Path) -> None:
    """As versions before 1 wrote it. The layout is found from both directories."""
    files = {
        "modules.json": OLDER,
        "1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        "0_Transformer/sentence_bert_config.json": {"max_seq_length": 77, "do_lower_case": True},
        "0_Transformer/config.json": {},
    }
    write(tmp_path, files)
    assert transformer_of(tmp_path) == tmp_path / "0_Transformer" == transformer_of(tmp_path / "0_Transformer")
    assert read_layout(tmp_path / "0_Transformer") == SentenceLayout("cls", max_length=77, lowercase=True)
    (tmp_path / "other").mkdir()
    assert read_layout(tmp_path / "other") is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"modules.json": [*MODULES, DENSE]}, "module Dense .*E-CONVERT-LAYOUT"),
        ({"modules.json": MODULES[:1]}, "order: Transformer .*E-CONVERT-LAYOUT"),
        ({"modules.json": []}, "order: none .*E-CONVERT-LAYOUT"),
        ({"modules.json": OUTSIDE}, "E-CONVERT-OUTSIDE"),
        ({"modules.json": [{"path": ""}]}, "no type or no path.*E-CONVERT-UNREADABLE"),
        ({"modules.json": {}}, "a list is needed.*E-CONVERT-UNREADABLE"),
        ({"modules.json": "no json"}, "the file cannot be used.*E-CONVERT-UNREADABLE"),
        ({"modules.json": MODULES}, "the file cannot be used.*E-CONVERT-UNREADABLE"),
        ({"1_Pooling/config.json": {"pooling_mode": "max"}}, "pooling max .*E-CONVERT-LAYOUT"),
        ({"1_Pooling/config.json": {"pooling_mode": 5}}, "pooling 5 .*E-CONVERT-LAYOUT"),
        (
            {"1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}},
            r"pooling mean \+ max .*E-CONVERT-LAYOUT",
        ),
        *(
            ({"config_sentence_transformers.json": settings}, "truncate_dim must be.*E-CONVERT-UNREADABLE")
            for settings in ({"prompts": {"q": 5}}, {"prompts": ["q"]}, {"default_prompt_name": 5}, {"truncate_dim": 0})
        ),
        ({"sentence_bert_config.json": {"max_seq_length": -1}}, "is -1 tokens.*E-CONVERT-LENGTH"),
        ({"sentence_bert_config.json": {"max_seq_length": True}}, "is True tokens.*E-CONVERT-LENGTH"),
    ],
)
def test_refuses(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    if "modules.json" not in files:
        write_layout(tmp_path, SentenceLayout("mean"), 48)
    with pytest.raises(InputError, match=message):
        read_layout(write(tmp_path, files))
