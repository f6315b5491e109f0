"""The hook of `mkdocs build`: adds pages that are read from the code, notebooks, and files that pages link to.

Pages link to files of the repository outside `docs/` by relative paths, so that the links work in a checkout too. The
site gets a copy of each such file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.generate import commands, configs, notebooks, settings, tables

ROOT = Path(__file__).resolve().parents[2]
# The pages that are read from the code.
PAGES = {
    "reference/commands.md": commands.page,
    "reference/settings.md": settings.page,
    "reference/configs.md": configs.page,
    "reference/sources.md": tables.sources,
    "reference/rows.md": tables.rows,
    "reference/masking.md": tables.masking,
}
# A link to a notebook, which is a page of the site.
_NOTEBOOK = re.compile(r"(?<=\]\()([^):]+)\.ipynb")
_LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replaces `FOLDER/*.md` in the navigation by the pages of the folder that the navigation does not name."""
    named = set(_leaves(config.nav))
    config.nav = _expanded(config.nav, named)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, the notebooks as pages, and the files of the repository that pages link to."""
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            files.remove(file)
            page_uri = file.src_uri.removesuffix(".ipynb") + ".md"
            files.append(File.generated(config, page_uri, content=notebooks.page(Path(str(file.abs_src_path)))))
    for file in list(files.documentation_pages()):
        for target in sorted(set(_LINK.findall(file.content_string))):
            outside = _outside(file.src_uri, target)
            if outside is not None and files.get_file_from_path(_place(outside)) is None:
                if not (ROOT / outside).is_file():
                    raise PluginError(f"{file.src_uri} links to {target}, and there is no such file")
                files.append(File.generated(config, _place(outside), abs_src_path=str(ROOT / outside)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links to files of the repository to their copies on the site."""

    def replaced(found: re.Match[str]) -> str:
        outside = _outside(page.file.src_uri, found[1])
        return found[1] if outside is None else os.path.relpath(_place(outside), os.path.dirname(page.file.src_uri))

    return _NOTEBOOK.sub(r"\1.md", _LINK.sub(replaced, markdown))


def _outside(page: str, target: str) -> str | None:
    """Returns the path in the repository that a page links to; None where the target is below `docs/`."""
    path = os.path.normpath(os.path.join("docs", os.path.dirname(page), target))
    return None if path.startswith("docs/") else path


def _place(path: str) -> str:
    """Returns where the site has the copy of a file. Pages of Markdown elsewhere are shown as texts."""
    suffix = "" if path.endswith((".png", ".svg", ".html")) else ".txt"
    return f"repository/{path}{suffix}"


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from _leaves(item)


def _expanded(nav: Any, named: set[str]) -> Any:
    if isinstance(nav, dict):
        return {title: _expanded(below, named) for title, below in nav.items()}
    if not isinstance(nav, list):
        return nav
    found: list[Any] = []
    for item in nav:
        if isinstance(item, str) and item.endswith("*.md"):
            pages = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob(item))
            found += [page for page in pages if page not in named]
        else:
            found.append(_expanded(item, named))
    return found
