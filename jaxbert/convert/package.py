"""Adds the files that make a directory of weights a release: a receipt, the run's config and a model card.

On request it also adds the files of sentence-transformers.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from jaxbert.config import EncoderBase
from jaxbert.convert.card import render
from jaxbert.convert.gate import Verdict
from jaxbert.convert.hf import Finish
from jaxbert.convert.safetensors_files import WEIGHTS
from jaxbert.convert.sentence_transformers import SentenceLayout, layout_files, write_layout
from jaxbert.convert.target import CARD, RECEIPT, RUN
from jaxbert.core.parameters import Params
from jaxbert.observe.provenance import Provenance, stated_licence, to_json
from jaxbert.stores.others import digest, files_below
from jaxbert.text.tokenizers import Tokenizer


def finisher(
    origin: Provenance,
    config: EncoderBase,
    params: Params,
    tokenizer: Tokenizer | None,
    layout: SentenceLayout | None,
    *,
    name: str,
    licence: str,
    data_licence: str,
) -> Finish:
    """Returns what to pass as `finish` to `jaxbert.convert.hf.write_hf`.

    Args:
      origin: the source of the model.
      config: the encoder.
      params: the parameters that are written.
      tokenizer: the model's tokenizer; None where it has none.
      layout: the layout of sentence-transformers to write; None writes none.
      name: the name of the directory.
      licence: the model's licence; "" states none.
      data_licence: the licence of the data; it replaces the one that the run recorded.
    """
    origin = stated_licence(origin, data_licence)

    def write(directory: Path, verdict: Verdict, weights: str) -> None:
        receipt = {
            **origin.receipt,
            "written_by": f"jaxbert {importlib.metadata.version('jaxbert')}",
            "model_sha256": weights,
            "tokenizer_hash": None if tokenizer is None else tokenizer.hash,
            "data_licence": origin.data_licence or None,
            "gate": verdict.to_json(),
        }
        if origin.run_config:
            (directory / RUN).write_bytes(origin.run_config)
        if layout is not None:
            write_layout(directory, layout, config.hidden_size)
        text = render(
            name, config, params, tokenizer, origin, verdict, receipt, licence=licence, layout=layout is not None
        )
        (directory / CARD).write_bytes(text.encode("utf-8", "replace"))
        # A later --overwrite may delete these files, and only where nobody has changed them.
        receipt["files"] = {name: weights if name == WEIGHTS else digest(path) for name, path in files_below(directory)}
        (directory / RECEIPT).write_text(to_json(receipt), encoding="utf-8")

    names = {CARD, RECEIPT, *([RUN] if origin.run_config else [])}
    if layout is not None:
        names |= layout_files(layout, config.hidden_size).keys()
    return Finish(frozenset(names), write)
