"""The gate: reads a written model back, and compares its outputs with those of the original.

Our own reader always reads it, and compares every head. Where transformers and torch are installed, they read it too,
and every output of their class is compared. (No class there has the span-boundary head.)
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import EncoderBase
from jaxbert.convert.gate_tokens import judge_tokens
from jaxbert.convert.read import read_model
from jaxbert.convert.tensors import np_dtype, read_json
from jaxbert.core.parameters import Params
from jaxbert.errors import Stopped
from jaxbert.models.model import Model, head_sizes
from jaxbert.text.tokenizers import Tokenizer

# The largest difference allowed, as a share of the norm of each output. Both sides compute in float32.
TOLERANCE = 1e-4
# First sentences of books of the nineteenth century: real text for a model of English.
SENTENCES = (
    "Call me Ishmael.",
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a "
    "wife.",
    "There was no possibility of taking a walk that day.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do.",
    "You don't know about me without you have read a book by the name of The Adventures of Tom Sawyer; but that ain't "
    "no matter.",
    "Marley was dead: to begin with.",
)
_LENGTH = 64

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Verdict:
    """The result of the gate.

    Attributes:
      through: the programs that read the written model.
      text: the kind of text that was compared: real sentences, or random ids where no tokenizer can encode them.
      rows: the number of rows.
      differences: for each reader and output, the norm of the difference divided by the output's norm, on real tokens.
      tolerance: the limit for these differences.
      rounding: the same quotient between the float32 model and the model rounded to the written type; 0 for float32.
      token_ids: what was said of the tokenizer's ids: see `gate_tokens.judge_tokens`; "" without a tokenizer.
    """

    through: str
    text: str
    rows: int
    differences: Mapping[str, Mapping[str, float]]
    tolerance: float
    rounding: float
    token_ids: str = ""

    @property
    def worst(self) -> float:
        """Returns the largest difference. It is infinite if an output is not finite."""
        return max(map(_worst, self.differences.values()))

    def line(self) -> str:
        """Returns the verdict as one line for people."""
        rounded = f"; rounding changes them by {self.rounding:.1e}" if self.rounding else ""
        equal = f"within {self.worst:.1e} of their norm" if self.worst else "to the last bit"
        return (
            f"outputs equal ours {equal} (limit {self.tolerance:.0e} of the norm), on {self.rows} {self.text}, read by "
            f"{self.through}{rounded}{'; ' if self.token_ids else ''}{self.token_ids}"
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the verdict as JSON for the receipt."""
        return {**asdict(self), "worst": self.worst}


def judge(
    directory: Path, config: EncoderBase, params: Params, tokenizer: Tokenizer | None, dtype: str = "float32"
) -> Verdict:
    """Compares the model that was written to `directory` with `params`.

    Args:
      directory: the complete directory, as other programs will open it.
      config: the encoder.
      params: the parameters that were written.
      tokenizer: the model's tokenizer; None where it has none.
      dtype: the type in which the model was written. `params` are rounded to it before the comparison.

    Raises:
      Stopped: an output differs by more than `TOLERANCE`, or the tokenizer gives other ids.
    """
    token_ids = "" if tokenizer is None else judge_tokens(directory, tokenizer)
    batch, text = _batch(config, tokenizer)
    exact = _computed(config, params, batch)
    ours, rounding = exact, 0.0
    if dtype != "float32":
        kind = np_dtype(dtype)
        rounded = jax.tree.map(lambda leaf: jnp.asarray(leaf, kind).astype(jnp.float32), params)
        ours = _computed(config, rounded, batch)
        del rounded
        rounding = max(_differences(ours, exact, batch).values())
    written = read_model(directory)
    differences = {"jaxbert": _differences(_computed(written.config, written.params, batch), ours, batch)}
    del written
    through = "our own reader"
    theirs = _through_transformers(directory, config, batch)
    if isinstance(theirs, dict):
        through = f"transformers {_version('transformers')} on torch {_version('torch')}, and {through}"
        differences["transformers"] = _differences(theirs, ours, batch)
    elif theirs:
        through += f" only ({theirs})"
    verdict = Verdict(through, text, len(batch["tokens"]), differences, TOLERANCE, rounding, token_ids)
    if not verdict.worst <= TOLERANCE:
        reader, outputs = max(differences.items(), key=lambda item: _worst(item[1]))
        name = max(outputs, key=lambda output: _sortable(outputs[output]))
        raise Stopped(
            f"the written model computes something else: its {name}, read by {reader}, differs by "
            f"{outputs[name]:.1e} of the norm (limit {TOLERANCE:.0e}), so nothing was written",
            where=str(directory),
            fix="Report it with both config.json files. No option skips this check.",
            code="E-GATE-DIFFERS",
        )
    return verdict


def _worst(outputs: Mapping[str, float]) -> float:
    return max(map(_sortable, outputs.values()))


def _sortable(value: float) -> float:
    """Turns NaN into infinity, because `max` may pass over NaN."""
    return value if np.isfinite(value) else np.inf


def _batch(config: EncoderBase, tokenizer: Tokenizer | None) -> tuple[dict[str, np.ndarray], str]:
    """Returns the rows to compare on, and the words for them in the verdict."""
    limit = min(_LENGTH, config.longest_row)
    rows, text = [], "real sentences"
    if tokenizer is not None:
        cls, sep = tokenizer.cls_id, tokenizer.sep_id
        rows = [[cls, *ids[: limit - 2], sep] for ids in tokenizer.encode_batch(SENTENCES)]
        unknown = sum(token == tokenizer.unk_id for row in rows for token in row)
        if 2 * unknown > sum(map(len, rows)):
            rows = []
    pad = 0 if tokenizer is None else tokenizer.pad_id
    if not rows:
        # Without a tokenizer, or with one for another language, take random ids. Published code may mask padding ids.
        text = "rows of random ids"
        draws = np.random.default_rng(0)
        usable = np.array([index for index in range(config.vocab_size) if index != pad])
        pad = max(config.position_offset - 1, pad)
        usable = usable[usable != pad] if len(usable) > 1 else usable
        rows = [draws.choice(usable, size).tolist() for size in (limit, max(limit // 2, 1), max(limit // 3, 1))]
    width = max(map(len, rows))
    tokens = np.full((len(rows), width), pad, np.int32)
    group = np.zeros_like(tokens)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
        group[index, : len(row)] = 1
    return {"tokens": tokens, "types": np.zeros_like(tokens), "group": group}, text


def _computed(config: EncoderBase, params: Params, batch: Mapping[str, np.ndarray]) -> Outputs:
    """Returns every output of a model, as numpy arrays."""
    heads = tuple(sorted(part for part in params if part != "encoder"))
    sizes = tuple((head, tuple(sorted(of_head.items()))) for head, of_head in sorted(head_sizes(params).items()))
    return {name: np.asarray(array) for name, array in _outputs(config, heads, sizes, params, batch).items()}


@partial(jax.jit, static_argnums=(0, 1, 2))
def _outputs(
    config: EncoderBase,
    heads: tuple[str, ...],
    sizes: tuple[tuple[str, tuple[tuple[str, int], ...]], ...],
    params: Params,
    batch: Mapping[str, jax.Array],
) -> dict[str, jax.Array]:
    model = Model(config, heads, sizes={head: dict(of_head) for head, of_head in sizes})
    hidden = model.hidden(params, batch)
    out = {"hidden": hidden}
    for head in model.heads:
        if head == "pooler":
            out["pooled"] = model.pooled(params, hidden)
        elif head == "masked_lm":
            out[head] = model.masked_lm(params, hidden)[..., : model.config.vocab_size]
        elif head == "span_boundary":
            place = jnp.zeros(batch["tokens"].shape, jnp.int32)
            left, right = jnp.roll(hidden, 1, axis=1), jnp.roll(hidden, -1, axis=1)
            out[head] = model.span_boundary(params, left, right, place)[..., : model.config.vocab_size]
        else:
            out[head] = model.apply_head(head, params, hidden)
    return out


def _differences(theirs: Outputs, ours: Outputs, batch: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns |theirs - ours| / |ours| for each output that both have. Padding is left out."""
    real = batch["group"] > 0
    # The span-boundary head reads the neighbours of a token. At padding, transformers computes other hidden states.
    inner = real & np.roll(real, 1, axis=1) & np.roll(real, -1, axis=1)
    found = {}
    for name, theirs_of in theirs.items():
        if name not in ours:  # a head that the file lacks, and that the class has drawn at random
            continue
        chosen = inner if name == "span_boundary" else real
        a, b = (x[chosen] if x.ndim == 3 else x for x in (theirs_of, ours[name]))
        if a.size:
            found[name] = _distance(a, b)
    return found


def _distance(theirs: np.ndarray, ours: np.ndarray) -> float:
    difference, norm = theirs.astype(np.float64) - ours, float(np.linalg.norm(ours.astype(np.float64)))
    return float(np.linalg.norm(difference)) / max(norm, 1e-30)


# ----------------------------------------------------------------------------------------------------------------------
# transformers


def _through_transformers(directory: Path, config: EncoderBase, batch: Mapping[str, np.ndarray]) -> Outputs | str:
    """Returns the outputs of the class that config.json names, or the reason why transformers cannot be asked.

    The reason is "" where transformers or torch is not installed. Beside a torch that is too old for it, transformers
    has classes that raise ImportError where they are used.
    """
    (architecture,) = read_json(directory / "config.json")["architectures"]
    try:
        import torch
        import transformers

        open_model = getattr(transformers, architecture).from_pretrained
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name in ("torch", "transformers"):
            return ""
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return (
            f"transformers {_version('transformers')} cannot be used beside torch {_version('torch')}: {reason[:200]}"
        )
    with _quiet(transformers), torch.no_grad():
        model: Any = open_model(directory, local_files_only=True)
        model = model.float().eval()
        inputs = {
            "input_ids": torch.tensor(batch["tokens"], dtype=torch.long),
            "attention_mask": torch.tensor(batch["group"], dtype=torch.long),
        }
        if config.type_vocab_size > 1:
            inputs["token_type_ids"] = torch.tensor(batch["types"], dtype=torch.long)
        if architecture.endswith("ForMultipleChoice"):
            inputs = {name: array[:, None] for name, array in inputs.items()}
        out = model(**inputs, output_hidden_states=True)
        found = {"hidden": out.hidden_states[-1]}
        kind = architecture.partition("For")[2]
        # The names that transformers' classes give to their outputs.
        for name, where in {
            "masked_lm": {"PreTraining": "prediction_logits", "MaskedLM": "logits"},
            "next_sentence": {"PreTraining": "seq_relationship_logits", "NextSentencePrediction": "logits"},
            "sentence_order": {"PreTraining": "sop_logits"},
            "sequence_classification": {"SequenceClassification": "logits"},
            "token_classification": {"TokenClassification": "logits"},
            "multiple_choice": {"MultipleChoice": "logits"},
            "pooled": {"": "pooler_output"},
        }.items():
            if kind in where and getattr(out, where[kind], None) is not None:
                found[name] = getattr(out, where[kind])
        if kind == "QuestionAnswering":
            found["question_answering"] = torch.stack([out.start_logits, out.end_logits], dim=-1)
        arrays = {name: np.asarray(array.numpy()) for name, array in found.items()}
    if "multiple_choice" in arrays:
        arrays["multiple_choice"] = arrays["multiple_choice"].reshape(-1, 1)
    return arrays


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "without a version"


@contextmanager
def _quiet(transformers: Any) -> Any:
    """Switches off the progress bars and the advice of transformers."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        with suppress(AttributeError):
            if bars:
                logging.enable_progress_bar()
