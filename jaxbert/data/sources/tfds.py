"""`tfds:NAME[/CONFIG][#feature]` or `tfds:DIRECTORY[#feature]`: a prepared TFDS dataset with random access.

Each example is one document, with its text in `feature` ("text" by default). The dataset must be in TFDS's data
directory (TFDS_DATA_DIR, ~/tensorflow_datasets), in a format that opens without TensorFlow (array_record, parquet). The
split `train` is train, and `validation` (or else `test`) is validation. Other splits are not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from jaxbert.config import did_you_mean
from jaxbert.data.sources.base import Document, Source
from jaxbert.data.sources.finding import split_option
from jaxbert.errors import InputError

_BATCH = 256


class TfdsSource(Source):
    """Documents of a TFDS dataset."""

    def __init__(self, spec: str, name: str, feature: str):
        self.spec, self.name, self.feature = spec, name, feature
        self.builder = open_builder(name, spec)
        features = list(self.builder.info.features or {})
        if feature not in features:
            fix = f"{did_you_mean(feature, features)}Features there: {', '.join(features)}; give tfds:NAME#feature."
            raise InputError(f"no feature {feature!r}", where=spec, fix=fix, code="E-SOURCE-FIELD")
        splits = self.builder.info.splits
        held_out = "validation" if "validation" in splits else "test" if "test" in splits else None
        # If the dataset has no second split, documents are held out as for any other source.
        self.splits = {"train": "train", held_out: "validation"} if held_out else {"train": None}
        if "train" not in splits:
            raise InputError(
                "no split 'train'", where=spec, fix=f"Splits there: {', '.join(splits)}.", code="E-SOURCE-SPLIT"
            )

    @property
    def licence(self) -> str:  # type: ignore[override]
        """Returns the licence that the catalogue states for redistribution."""
        stated = self.builder.info.redistribution_info
        return str(getattr(stated, "license", None) or "")

    def describe(self) -> dict[str, Any]:
        """See `Source`. It holds the full name of the dataset and the sizes of its shards."""
        info = self.builder.info
        splits = {
            name: {"shard_lengths": list(info.splits[name].shard_lengths), "bytes": info.splits[name].num_bytes}
            for name in self.splits
            if name is not None
        }
        return {"spec": self.spec, "dataset": info.full_name, "splits": splits}

    def documents(self) -> Iterator[Document]:
        """See `Source`."""
        self.without_text = 0
        for name, split in self.splits.items():
            for index, example in examples_of(self.builder, name):
                value, where = example[self.feature], f"{self.spec} {name}:{index}"
                yield from self.record(f"{name}:{index}", value, f"feature {self.feature!r}", where, split)


def examples_of(builder: Any, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (number from 0, features) of each example of a split."""
    data = builder.as_data_source(split=split)
    for start in range(0, len(data), _BATCH):
        indices = range(start, min(start + _BATCH, len(data)))
        yield from zip(indices, data.__getitems__(list(indices)), strict=True)


def open_builder(name: str, spec: str) -> Any:
    """Returns the builder of a dataset that is prepared on this machine.

    Args:
      name: NAME[/CONFIG], or a directory.
      spec: the place that an error names.

    Raises:
      InputError: there is no such dataset.
    """
    import tensorflow_datasets as tfds

    try:
        if os.path.isdir(os.path.expanduser(name)):
            builder = tfds.builder_from_directory(os.path.expanduser(name))
        else:
            builder = tfds.builder(name, try_gcs=False)
        if not builder.info.splits:
            raise FileNotFoundError("it is not prepared on this machine")
        builder.as_data_source(split=next(iter(builder.info.splits)))
    except (AssertionError, AttributeError, MemoryError, NameError):
        raise  # a bug
    except Exception as error:  # TFDS raises many kinds of errors. Several of their classes need TensorFlow.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"no prepared TFDS dataset ({reason})",
            where=spec,
            fix=f"Run `tfds build {name} --file_format=array_record` where TensorFlow is installed; set TFDS_DATA_DIR.",
            code="E-SOURCE-DATASET",
        ) from error
    return builder


def open_rest(rest: str) -> TfdsSource:
    """Opens the source `tfds:REST`."""
    name, feature = split_option(rest)
    return TfdsSource(f"tfds:{rest}", name, feature or "text")
