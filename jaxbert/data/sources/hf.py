"""`hf:NAME[:CONFIG][#column]`: a dataset of the Hugging Face hub, streamed. Needs the extra: pip install 'jaxbert[hf]'.

One row, one document; its text is in `column` ("text" by default). Split `train` is train; `validation` (or else
`test`) is validation. Other splits are not read. NAME may be a local directory that the `datasets` library understands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import Document, Source, bounded, split_option
from jaxbert.errors import InputError


class HfSource(Source):
    """Documents of a dataset that the `datasets` library opens."""

    def __init__(self, spec: str, name: str, config: str | None, column: str):
        self.spec, self.name, self.config, self.column = spec, name, config, column
        datasets = _datasets(spec)
        try:
            self.builder = datasets.load_dataset_builder(name, config)
            self.streams = datasets.load_dataset(name, config, streaming=True)
        except Exception as error:  # Of many libraries below: network, permission, unknown name or config.
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(
                f"cannot open the dataset ({reason})",
                where=spec,
                fix="Check name, config (hf:NAME:CONFIG) and network.",
            ) from None
        splits = list(self.streams)
        if "train" not in splits:
            raise InputError("no split 'train'", where=spec, fix=f"Splits there: {', '.join(splits)}.")
        held_out = next((split for split in ("validation", "test") if split in splits), None)
        self.splits: dict[str, str | None] = {"train": "train", held_out: "validation"} if held_out else {"train": None}
        columns = list(next(iter(self.streams["train"]), {column: ""}))
        if column not in columns:
            fix = f"{did_you_mean(column, columns)}Columns there: {', '.join(columns)}; give hf:NAME#column."
            raise InputError(f"no column {column!r}", where=spec, fix=fix)

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
            for index, row in enumerate(self.streams[name]):
                text = row[self.column]
                if text is None:
                    continue
                if not isinstance(text, str):
                    what = f"column {self.column!r} holds {type(text).__name__}, not text"
                    raise InputError(what, where=f"{self.spec} {name}:{index}", fix="Give another column.")
                yield from bounded(f"{name}:{index}", text, split)


def _datasets(spec: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise InputError(
            "the `datasets` library is not installed", where=spec, fix="pip install 'jaxbert[hf]'."
        ) from None
    return datasets


def open_rest(rest: str) -> HfSource:
    """Opens what stands behind `hf:`."""
    name, column = split_option(rest)
    name, _, config = name.partition(":")
    return HfSource(f"hf:{rest}", name, config or None, column or "text")
