"""The folder in which the commands of all pages run, one after the other, as a reader types them."""

from __future__ import annotations

import ast
import itertools
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jaxbert.data.sources import sample
from jaxbert.data.sources.sample import AwsDocsSource

# The folders and the file of text that pages name.
FOLDERS = ("folder", "texts", "corpus")
FILE = "mine.txt"
_TEXT = 500_000
_TRAIN, _VALIDATION = 16, 3
# Further services, which `sample:classify` tells apart.
_CLASSIFIED = ("iam", "s3")


def documentation(characters: int) -> list[tuple[str, str]]:
    """Returns names and documentation of modules of Python's standard library: some hundred kilobytes of prose."""
    found, size = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("[a-z]*.py")):
        tree = ast.parse(path.read_bytes())
        documented = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
        text = "\n".join(text for node in documented if (text := ast.get_docstring(node)))
        if text:
            found.append((path.stem, text))
            size += len(text)
        if size > characters:
            break
    return found


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, with the texts that pages name."""
    place = tmp_path_factory.mktemp("documents")
    modules = documentation(_TEXT)
    for folder in FOLDERS:
        (place / folder).mkdir()
        for name, text in modules:
            (place / folder / f"{name}.txt").write_text(text, encoding="utf-8")
    (place / FILE).write_text("\n\n".join(text for _, text in modules), encoding="utf-8")
    return place


@pytest.fixture(scope="session", autouse=True)
def a_small_sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Gives `sample:` a few of botocore's services, of both splits, so that reading them takes a second."""
    root = AwsDocsSource("sample:aws-docs").root
    few = tmp_path_factory.mktemp("botocore")
    services = sorted(path.name for path in root.iterdir() if path.is_dir())
    for split, count in (("train", _TRAIN), ("validation", _VALIDATION)):
        for service in itertools.islice((name for name in services if sample._split(name) == split), count):
            (few / service).symlink_to(root / service)
    for service in _CLASSIFIED:
        (few / service).symlink_to(root / service)
    whole = AwsDocsSource.__init__

    def smaller(self: AwsDocsSource, *arguments: Any, **options: Any) -> None:
        whole(self, *arguments, **options)
        self.root = few

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AwsDocsSource, "__init__", smaller)
        yield
