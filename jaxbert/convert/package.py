"""What makes a directory of weights a release: receipt, the run's config, the card, and on request another's layout."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

from jaxbert.config import EncoderBase
from jaxbert.convert.card import render
from jaxbert.convert.gate import Verdict
from jaxbert.convert.hf import RECEIPT
from jaxbert.convert.sentence_transformers import Layout, write_layout
from jaxbert.core.parameters import Params
from jaxbert.observe.provenance import Provenance, stated_licence, to_json
from jaxbert.text.tokenizers import Tokenizer

CARD, RUN = "README.md", "run.json"


def finisher(
    origin: Provenance,
    config: EncoderBase,
    params: Params,
    tokenizer: Tokenizer | None,
    layout: Layout | None,
    *,
    name: str,
    licence: str,
    data_licence: str,
) -> Callable[[Path, Verdict, str], None]:
    """`finish` of `jaxbert.convert.hf.write_hf`.

    Args:
      origin: where the model comes from.
      config: the encoder.
      params: what is written.
      tokenizer: None where there is none.
      layout: of sentence-transformers, where it is asked for.
      name: of the directory.
      licence: of the model; "" states none.
      data_licence: of the data, in the place of what the run knows.
    """
    origin = stated_licence(origin, data_licence)

    def finish(directory: Path, verdict: Verdict, digest: str) -> None:
        receipt = {
            **origin.receipt,
            "written_by": f"jaxbert {importlib.metadata.version('jaxbert')}",
            "model_sha256": digest,
            "tokenizer_hash": None if tokenizer is None else tokenizer.hash,
            "data_licence": origin.data_licence or None,
            "gate": verdict.to_json(),
        }
        (directory / RECEIPT).write_text(to_json(receipt), encoding="utf-8")
        if origin.run_config:
            (directory / RUN).write_bytes(origin.run_config)
        if layout is not None:
            write_layout(directory, layout, config.hidden_size)
        text = render(
            name, config, params, tokenizer, origin, verdict, receipt, licence=licence, layout=layout is not None
        )
        (directory / CARD).write_text(text, encoding="utf-8")

    return finish
