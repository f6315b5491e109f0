"""The site: it loads nothing from other machines, and its reference has every command, option and setting."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from docs.generate.settings import parts
from jaxbert.commands import main
from jaxbert.config import schema

ROOT = Path(__file__).parents[2]
# What a browser fetches by itself when it shows a page.
_FETCHED = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=["']?(?P<url>(?:https?:)?//[^"'\s>]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return place


def text(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_it_loads_nothing_from_elsewhere(site: Path):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    found = {url["url"] for page in pages for url in _FETCHED.finditer(page.read_text(encoding="utf-8"))}
    assert not found
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert styles and not any(re.search(r"url\(['\"]?(?:https?:)?//", style) for style in styles)


def test_the_reference_has_every_option(site: Path):
    said = text(site / "reference" / "commands.html")
    options = [
        option
        for parser in main.parser()[0]._subparsers._group_actions[0].choices.values()  # type: ignore[union-attr]
        for action in parser._actions
        for option in action.option_strings
    ]
    assert len(options) > 60
    assert not [option for option in options if option not in said and option not in ("-h", "--help")]


def test_the_reference_has_every_setting(site: Path):
    said = text(site / "reference" / "settings.html")
    fields = [
        f"{part.path}.{field.name}".lstrip(".")
        for part in parts(schema.RunConfig)
        for field in dataclasses.fields(part.kind)
    ]
    assert len(fields) > 90 and {"phases.0.schedule.peak", "encoder.hidden_size", "data.source"} <= set(fields)
    assert not [field for field in fields if field not in said]


def test_every_field_of_a_config_has_words(site: Path):
    page = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in re.findall(r"<tr>(.*?)</tr>", page, re.S)]
    empty = [row[0] for row in rows if len(row) == 4 and not row[3].strip()]
    assert not empty
