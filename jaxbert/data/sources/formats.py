"""The formats of files by their endings, and what to say about files of other kinds."""

from __future__ import annotations

from pathlib import Path

from jaxbert.data.sources.packed import inner_suffix

# The endings, and the kind of source that reads such files. Each ending may be followed by that of a packing (.gz).
ENDINGS = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}
# The kinds of files of records, each with the word for what holds the text.
HOLDERS = {"csv": "COLUMN", "jsonl": "FIELD", "json": "FIELD", "parquet": "COLUMN"}

_NO_TEXT = "no text in such files"
_HINTS = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".svg", ".ico"), "pictures"),
    **dict.fromkeys((".mp3", ".wav", ".ogg", ".flac", ".mp4", ".avi", ".mov", ".mkv", ".webm"), _NO_TEXT),
    ".pdf": "extract the text first, for example pdftotext FILE.pdf",
    **dict.fromkeys((".docx", ".doc", ".odt", ".rtf", ".epub"), "save as text first, for example pandoc -t plain"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save as CSV first"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), "unpack it first"),
}


def kind_of(path: Path) -> str:
    """Returns the kind of source that reads a file, by its ending; "" for other files."""
    return ENDINGS.get(inner_suffix(path), "")


def is_known(path: Path) -> bool:
    """Returns whether the ending of a file says what it holds, be it text for us or not."""
    return (ending := inner_suffix(path)) in ENDINGS or ending in _HINTS


def endings_of(*kinds: str) -> tuple[str, ...]:
    """Returns the endings of the files of some kinds."""
    return tuple(ending for ending, kind in ENDINGS.items() if kind in kinds)


def why_not(path: Path) -> str:
    """Returns why a file is not among those that a source takes by their endings."""
    ending = inner_suffix(path)
    if ending in ENDINGS:
        return f"read such files with {ENDINGS[ending]}:"
    return _HINTS.get(ending, "not a known kind of text")
