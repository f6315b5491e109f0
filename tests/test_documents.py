"""The documents: the README is short, no link leads nowhere, and the pages that the code names are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxbert.stores.replaced import OUTPUTS
from tests.test_style import lines_of_prose

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "tests/README.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# Pages that the build of the site reads from the code (docs/generate/hook.py). They are not in the repository.
GENERATED = {f"docs/reference/{name}.md" for name in ("commands", "settings", "configs", "sources", "rows", "masking")}
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)|!\[[^\]]*\]\((?P<picture>[^)\s]+)\)")
NAMED = re.compile(r"(?<!git-lfs )\bdocs/(?:[\w.-]+/)*[\w-]+\.(?:md|ipynb)\b")


def links(path: Path) -> Iterator[tuple[str, str]]:
    """(path, anchor) of every link and picture of a page that is a file."""
    text = path.read_text(encoding="utf-8")
    for found in LINK.finditer(re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)):
        target, _, anchor = (found["target"] or found["picture"]).partition("#")
        if not re.match(r"[a-z]+:", target):
            yield target, anchor


def anchors(path: Path) -> set[str]:
    """The ids that the headings of a page get, here and on code hosts."""
    found = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_leads_nowhere(page: Path):
    for target, anchor in links(page):
        place = (page.parent / target).resolve() if target else page
        name = place.relative_to(ROOT.resolve()).as_posix() if target else ""
        if name in GENERATED:
            continue
        assert place.exists(), f"{target} of {page.relative_to(ROOT)}"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), f"{target}#{anchor} of {page.relative_to(ROOT)}"


def test_the_readme_names_no_page_that_only_the_site_has():
    """Its readers may be on a code host."""
    assert not {target for target, _ in links(ROOT / "README.md")} & GENERATED


def test_pages_that_the_code_names_are_there():
    folders = ("jaxbert", "configs", "launch", "tests", "benchmarks", "docs", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".sh")]
    files += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", ".ci/run")]
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in NAMED.findall(path.read_text(encoding="utf-8"))
        if not (ROOT / name).is_file() and name not in GENERATED
    ]
    assert len(files) > 400 and not wrong, "\n".join(sorted(set(wrong)))


def test_every_output_of_a_run_is_in_the_page_about_workdirs():
    page = (ROOT / "docs/reference/workdir.md").read_text(encoding="utf-8")
    assert len(OUTPUTS) > 15 and [name for name in OUTPUTS if f"`{name}" not in page] == []


def test_there_is_prose():
    """Lest the search should find nothing."""
    assert sum(1 for page in PAGES for _ in lines_of_prose(page.read_text(encoding="utf-8"))) > 1000
    assert sum(1 for page in PAGES for _ in links(page)) > 150
