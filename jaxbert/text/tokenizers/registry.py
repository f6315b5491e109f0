"""The table of tokenizers. To add one: a file here that defines `KIND`, and a line in `REGISTRY`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxbert.core.tables import Table

if TYPE_CHECKING:
    from jaxbert.text.tokenizers.base import Kind

# By the name that `--kind` and `data.tokenizer_kind` give. A directory without a tokenizer.json is read as the first
# kind whose files it holds.
REGISTRY: Table[Kind] = Table(
    "KIND",
    {
        "wordpiece": "jaxbert.text.tokenizers.wordpiece",
        "bpe": "jaxbert.text.tokenizers.bpe",
        "unigram": "jaxbert.text.tokenizers.unigram",
    },
)
