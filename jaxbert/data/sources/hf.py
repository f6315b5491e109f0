"""`hf:NAME[:CONFIG][#column]`: a dataset of the Hugging Face hub, streamed. It needs: pip install 'jaxbert[hf]'.

Each row is one document, with its text in `column` ("text" by default). A row whose text is null or only white space is
left out and counted. The split `train` is train, and `validation`
(or else `test`) is validation. Other splits are not read. NAME may be a local directory that the `datasets` library
understands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import Document, Source
from jaxbert.data.sources.finding import split_option
from jaxbert.errors import CommandError, InputError, Interrupted

# The packages that versions of the `datasets` library use to talk to the hub.
_NETWORK = frozenset({"requests", "urllib3", "httpx", "httpcore", "aiohttp", "http", "ssl", "fsspec"})
# The statuses 4xx that may pass: timeout, locked, too early, too many requests.
PASSING = frozenset({408, 423, 425, 429})


class HfSource(Source):
    """Documents of a dataset that the `datasets` library opens."""

    def __init__(self, spec: str, name: str, config: str | None, column: str):
        self.spec, self.name, self.config, self.column = spec, name, config, column
        self.builder, self.streams = open_dataset(spec, name, config)
        splits = list(self.streams)
        if "train" not in splits:
            raise InputError(
                "no split 'train'", where=spec, fix=f"Splits there: {', '.join(splits)}.", code="E-SOURCE-SPLIT"
            )
        held_out = next((split for split in ("validation", "test") if split in splits), None)
        self.splits: dict[str, str | None] = {"train": "train", held_out: "validation"} if held_out else {"train": None}
        columns = list(next(rows_of(self.streams["train"], f"{spec} train"), {column: ""}))
        if column not in columns:
            fix = f"{did_you_mean(column, columns)}Columns there: {', '.join(columns)}; give hf:NAME#column."
            raise InputError(f"no column {column!r}", where=spec, fix=fix, code="E-SOURCE-FIELD")

    @property
    def licence(self) -> str:  # type: ignore[override]
        """Returns the licence that the card of the dataset states."""
        return str(self.builder.info.license or "")

    def describe(self) -> dict[str, Any]:
        """See `Source`. The hash of the builder identifies the revision of the files."""
        info = self.builder.info
        return {
            "spec": self.spec,
            "config": info.config_name,
            "version": str(info.version),
            "revision": str(self.builder.hash),
        }

    def documents(self) -> Iterator[Document]:
        """See `Source`."""
        self.without_text = 0
        for name, split in self.splits.items():
            for index, row in enumerate(rows_of(self.streams[name], f"{self.spec} {name}")):
                where = f"{self.spec} {name}:{index}"
                yield from self.record(f"{name}:{index}", row[self.column], f"column {self.column!r}", where, split)


def open_dataset(spec: str, name: str, config: str | None) -> tuple[Any, Any]:
    """Opens a dataset.

    Args:
      spec: the place that an error names.
      name: NAME of the hub, or a local directory.
      config: the configuration of the dataset; None for the only one.

    Returns:
      The builder of the `datasets` library, and the streams of the splits by their names.

    Raises:
      InputError: the library is not installed, or there is no such dataset.
      Interrupted: the network failed.
    """
    datasets = _datasets(spec)
    try:
        return datasets.load_dataset_builder(name, config), datasets.load_dataset(name, config, streaming=True)
    except Exception as error:  # Many libraries raise here: network, permission, unknown name or config.
        raise _failure(error, "cannot open the dataset", spec) from error


def rows_of(stream: Any, where: str) -> Iterator[dict[str, Any]]:
    """Yields the rows of a stream, and turns errors of the libraries into ours."""
    rows, index = None, 0
    while True:
        try:
            rows = iter(stream) if rows is None else rows
            row = next(rows)
        except StopIteration:
            return
        except Exception as error:  # Many libraries raise here.
            raise _failure(error, "cannot read on", f"{where}:{index}") from error
        yield row
        index += 1


def _failure(error: Exception, what: str, where: str) -> CommandError:
    """Returns Interrupted if the network or the system failed, which may pass, else InputError. Raises a bug again."""
    if isinstance(error, (AssertionError, AttributeError, MemoryError, NameError)):
        raise error
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    status = getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "status", None)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in PASSING
    lasting = refused or isinstance(error, (FileNotFoundError, PermissionError))
    network = any(kind.__module__.partition(".")[0] in _NETWORK for kind in type(error).__mro__)
    # ConnectionError and TimeoutError are OSErrors.
    if not lasting and (network or isinstance(error, OSError)):
        fix = "Check the network and run the same command again: it keeps the finished shards."
        return Interrupted(f"{what} ({reason})", where=where, fix=fix, code="E-SOURCE-NETWORK")
    return InputError(
        f"{what} ({reason})",
        where=where,
        fix="Check name, config (hf:NAME:CONFIG) and access.",
        code="E-SOURCE-DATASET",
    )


def _datasets(spec: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise InputError(
            "the `datasets` library is not installed",
            where=spec,
            fix="pip install 'jaxbert[hf]'.",
            code="E-SOURCE-INSTALL",
        ) from None
    return datasets


def open_rest(rest: str) -> HfSource:
    """Opens the source `hf:REST`."""
    name, column = split_option(rest)
    name, _, config = name.partition(":")
    return HfSource(f"hf:{rest}", name, config or None, column or "text")
