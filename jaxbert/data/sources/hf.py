"""`hf:NAME[:CONFIG][#column]`: a dataset of the Hugging Face hub, streamed. Needs the extra: pip install 'jaxbert[hf]'.

One row, one document; its text is in `column` ("text" by default). Split `train` is train; `validation` (or else
`test`) is validation. Other splits are not read. NAME may be a local directory that the `datasets` library understands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import Document, Source, bounded, split_option
from jaxbert.errors import CommandError, InputError, Interrupted

# What the `datasets` library talks to the hub with, in one version or another.
_NETWORK = frozenset({"requests", "urllib3", "httpx", "httpcore", "aiohttp", "http", "ssl", "fsspec"})
# Of the statuses 4xx, those that pass: timeout, locked, too early, too many requests.
_PASSING = frozenset({408, 423, 425, 429})


class HfSource(Source):
    """Documents of a dataset that the `datasets` library opens."""

    def __init__(self, spec: str, name: str, config: str | None, column: str):
        self.spec, self.name, self.config, self.column = spec, name, config, column
        datasets = _datasets(spec)
        try:
            self.builder = datasets.load_dataset_builder(name, config)
            self.streams = datasets.load_dataset(name, config, streaming=True)
        except Exception as error:  # Of many libraries below: network, permission, unknown name or config.
            raise _failure(error, "cannot open the dataset", spec) from error
        splits = list(self.streams)
        if "train" not in splits:
            raise InputError(
                "no split 'train'", where=spec, fix=f"Splits there: {', '.join(splits)}.", code="E-SOURCE-SPLIT"
            )
        held_out = next((split for split in ("validation", "test") if split in splits), None)
        self.splits: dict[str, str | None] = {"train": "train", held_out: "validation"} if held_out else {"train": None}
        columns = list(next(_rows(self.streams["train"], f"{spec} train"), {column: ""}))
        if column not in columns:
            fix = f"{did_you_mean(column, columns)}Columns there: {', '.join(columns)}; give hf:NAME#column."
            raise InputError(f"no column {column!r}", where=spec, fix=fix, code="E-SOURCE-FIELD")

    @property
    def licence(self) -> str:  # type: ignore[override]
        """What the dataset's card states."""
        return str(self.builder.info.license or "")

    def describe(self) -> dict[str, Any]:
        """See `Source`: the builder's hash stands for the files' revision."""
        info = self.builder.info
        return {
            "spec": self.spec,
            "config": info.config_name,
            "version": str(info.version),
            "revision": str(self.builder.hash),
        }

    def documents(self) -> Iterator[Document]:
        """See `Source`."""
        for name, split in self.splits.items():
            for index, row in enumerate(_rows(self.streams[name], f"{self.spec} {name}")):
                text = row[self.column]
                if text is None:
                    continue
                if not isinstance(text, str):
                    what = f"column {self.column!r} holds {type(text).__name__}, not text"
                    raise InputError(
                        what, where=f"{self.spec} {name}:{index}", fix="Give another column.", code="E-SOURCE-FIELD"
                    )
                yield from bounded(f"{name}:{index}", text, split)


def _rows(stream: Any, where: str) -> Iterator[dict[str, Any]]:
    """The rows of a stream; what goes wrong below is told as one of ours."""
    rows, index = None, 0
    while True:
        try:
            rows = iter(stream) if rows is None else rows
            row = next(rows)
        except StopIteration:
            return
        except Exception as error:  # Of many libraries below.
            raise _failure(error, "cannot read on", f"{where}:{index}") from error
        yield row
        index += 1


def _failure(error: Exception, what: str, where: str) -> CommandError:
    """Interrupted where the network or the system failed, which passes; else InputError."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    status = getattr(getattr(error, "response", None), "status_code", None) or getattr(error, "status", None)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in _PASSING
    lasting = refused or isinstance(error, (FileNotFoundError, PermissionError))
    network = any(kind.__module__.partition(".")[0] in _NETWORK for kind in type(error).__mro__)
    # OSError: ConnectionError and TimeoutError are of it.
    if not lasting and (network or isinstance(error, OSError)):
        fix = "Check the network and run the same command again: what is finished is kept."
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
    """Opens what stands behind `hf:`."""
    name, column = split_option(rest)
    name, _, config = name.partition(":")
    return HfSource(f"hf:{rest}", name, config or None, column or "text")
