"""The model card: a README.md in the form that model hubs read."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from jaxbert.config import EncoderBase
from jaxbert.convert.gate import Verdict
from jaxbert.core.parameters import Params
from jaxbert.models.model import count_parameters
from jaxbert.observe.provenance import Provenance, markdown
from jaxbert.text.tokenizers import Tokenizer

_USE = {
    "masked_lm": """from transformers import pipeline

fill_mask = pipeline("fill-mask", model={name})
fill_mask({text})""",
    "": """from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({name})
model = AutoModel.from_pretrained({name})
hidden = model(**tokenizer("A text.", return_tensors="pt")).last_hidden_state""",
    "sequence_classification": """from transformers import pipeline

classify = pipeline("text-classification", model={name})
classify("A text.")""",
    "token_classification": """from transformers import pipeline

label = pipeline("token-classification", model={name}, aggregation_strategy="first")
label("A text.")""",
    "question_answering": """from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({name})
model = AutoModelForQuestionAnswering.from_pretrained({name})
scores = model(**tokenizer("A question?", "A text.", return_tensors="pt"))""",
    "multiple_choice": """from transformers import AutoModelForMultipleChoice, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({name})
model = AutoModelForMultipleChoice.from_pretrained({name})
rows = tokenizer(["A text."] * 2, ["goes on.", "ends."], return_tensors="pt", padding=True)
scores = model(**{{key: value[None] for key, value in rows.items()}}).logits""",
    "sentence-transformers": """from sentence_transformers import SentenceTransformer

SentenceTransformer({name}).encode(["A text."])""",
}
# Names as papers write them. Other families and heads keep the names that they have here.
_WORDS = {"bert": "BERT", "roberta": "RoBERTa", "albert": "ALBERT", "spanbert": "SpanBERT", "distilbert": "DistilBERT"}
_WORDS |= {"masked_lm": "masked LM"}
# The names of transformers' pipelines, by head.
_PIPELINES = {
    "masked_lm": "fill-mask",
    "sequence_classification": "text-classification",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
}


def render(
    name: str,
    config: EncoderBase,
    params: Params,
    tokenizer: Tokenizer | None,
    origin: Provenance,
    verdict: Verdict,
    receipt: Mapping[str, Any],
    *,
    licence: str = "",
    layout: bool = False,
) -> str:
    """Returns the text of the card.

    Args:
      name: the name of the directory, as people will type it.
      config: the encoder.
      params: the parameters that were written.
      tokenizer: the model's tokenizer; None where it has none.
      origin: the source of the model.
      verdict: the gate's verdict.
      receipt: the content of receipt.json.
      licence: the model's licence as hubs name it ("apache-2.0"); "" states none.
      layout: whether the directory has the files of sentence-transformers.
    """
    # Imported here because it is slow to import, and nothing else needs it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    heads = [part for part in params if part != "encoder"]
    mask = None if tokenizer is None else tokenizer.token(tokenizer.mask_id)
    tasks = [head for head in heads if head in _USE and head != "masked_lm"]
    use = _USE["masked_lm" if "masked_lm" in heads and mask else tasks[0] if tasks else ""]
    use = _USE["sentence-transformers"] if layout else use
    environment = Environment(
        loader=PackageLoader("jaxbert.convert", "."), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["plain"] = markdown
    template = environment.get_template("card.md.jinja")
    text: str = template.render(
        front=_front(heads, licence, layout),
        title=origin.title,
        name=_literal(name),
        shell_name=shlex.quote(name),
        shell_text=shlex.quote(f"A text with a {mask} in it."),
        family=_WORDS.get(config.family, config.family),
        heads=[_WORDS.get(head, head.replace("_", " ")) for head in heads],
        head_names=heads,
        parameters=f"{count_parameters(params):,}",
        layers=config.num_layers,
        hidden=config.hidden_size,
        attention_heads=config.num_heads,
        vocabulary=f"{config.vocab_size:,}",
        longest=config.longest_row,
        made=origin.made,
        mask=mask,
        predicts=bool(tasks),
        use=use.format(name=_literal(name), text=_literal(f"A text with a {mask} in it.")),
        origin=origin,
        receipt=_lines(receipt, verdict),
    )
    return text.rstrip() + "\n"


def _literal(text: str) -> str:
    """Returns a text as a literal of Python, in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _front(heads: Sequence[str], licence: str, layout: bool) -> str:
    """Returns the block at the top, which hubs read."""
    lines = [f"license: {json.dumps(licence)}"] if licence else []
    library = "sentence-transformers" if layout else "transformers"
    pipeline = next((_PIPELINES[head] for head in _PIPELINES if head in heads), "feature-extraction")
    pipeline = "sentence-similarity" if layout else pipeline
    lines += [f"library_name: {library}", f"pipeline_tag: {pipeline}", "tags:", "- jaxbert"]
    return "\n".join(lines)


def _lines(receipt: Mapping[str, Any], verdict: Verdict) -> list[str]:
    lines = [f"Checked before it was written: {verdict.line()}."]
    for key in ("config_sha256", "model_sha256", "tokenizer_hash"):
        if receipt.get(key):
            lines.append(f"{key.replace('_', ' ')}: {receipt[key]}")
    for key in ("seed", "step"):
        if key in receipt:
            lines.append(f"{key}: {receipt[key]}")
    if receipt.get("versions"):
        lines.append("versions: " + ", ".join(f"{name} {number}" for name, number in receipt["versions"].items()))
    return [*lines, "receipt.json has all of this, and the hashes of the rows"]
