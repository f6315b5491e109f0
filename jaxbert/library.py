"""`jaxbert.load(MODEL)`: a trained or published model as parameters, pure functions and a tokenizer.

    model = jaxbert.load("runs/quickstart")
    batch = model.batch(["The first text.", ("A pair's first", "and second part.")])
    hidden = jax.jit(model.encode)(model.params, **batch)

The functions take the parameters as their first argument, so they jit, vmap and differentiate in the user's own loop;
no mesh need be set, and where the arrays lie is the user's business.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.config import EncoderConfig, load_json
from jaxbert.convert.hf import read_hf, write_hf
from jaxbert.errors import InputError
from jaxbert.models.layers import Params
from jaxbert.models.model import Model, head_sizes
from jaxbert.text.tokenizers import Tokenizer

Text = str | tuple[str, str]


class Loaded:
    """A model in memory.

    Attributes:
      source: the MODEL it was loaded from.
      config: the encoder's.
      params: {"encoder": ..., and one entry a head}: nested dict of float32 arrays on the default device.
      tokenizer: None where the model has none.
      model: the functions over `params` that `jaxbert.train` uses.
    """

    def __init__(self, source: str, config: EncoderConfig, params: Params, tokenizer: Tokenizer | None):
        self.source, self.config, self.params, self.tokenizer = source, config, params, tokenizer
        self.model = Model(config, [part for part in params if part != "encoder"], sizes=head_sizes(params))

    def encode(
        self,
        params: Params,
        tokens: jax.Array,
        types: jax.Array | None = None,
        group: jax.Array | None = None,
        all_layers: bool = False,
        dtype: Any = jnp.float32,
    ) -> jax.Array:
        """Hidden states (B, L, D) of the last layer, without dropout.

        Args:
          params: shaped like `self.params`.
          tokens: int (B, L).
          types: token types (B, L); 0 by default.
          group: attention groups (B, L), 0 for padding; by default 1 everywhere, which means no padding.
          all_layers: give (N + 1, B, L, D): the embeddings and every layer.
          dtype: of the computation; LayerNorm and softmax stay float32 at the least.
        """
        tokens = jnp.asarray(tokens)
        batch = {
            "tokens": tokens,
            "types": jnp.zeros_like(tokens) if types is None else jnp.asarray(types),
            "group": jnp.ones_like(tokens) if group is None else jnp.asarray(group),
        }
        return self.model.hidden(params, batch, dtype=dtype, all_layers=all_layers)

    def pooled(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Pooled vectors (B, D) of hidden states (B, L, D). InputError where the model has no pooler."""
        self.require("pooler")
        return self.model.pooled(params, hidden)

    def masked_lm(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Logits (B, M, V), V without padding, of hidden states (B, M, D). InputError without a masked-LM head."""
        self.require("masked_lm")
        return self.model.masked_lm(params, hidden)[..., : self.config.vocab_size]

    def next_sentence(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Logits (B, 2) of hidden states (B, L, D): 0 B follows A, 1 it does not. InputError without such a head."""
        self.require("next_sentence")
        return self.model.next_sentence(params, hidden)

    def sentence_order(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Logits (B, 2) of hidden states (B, L, D): 0 in order, 1 swapped. InputError without such a head."""
        self.require("sentence_order")
        return self.model.sentence_order(params, hidden)

    def require(self, head: str) -> None:
        """InputError unless the model has `head`: none is ever made up."""
        if head not in self.params:
            has = ", ".join(part for part in self.params if part != "encoder") or "none"
            raise InputError(
                f"the model has no {head} head (heads: {has})", where=self.source, fix="Load a model that has it."
            )

    def batch(self, texts: Sequence[Text], length: int | None = None) -> dict[str, np.ndarray]:
        """Rows [CLS] A [SEP] or [CLS] A [SEP] B [SEP] as the arguments of `encode`.

        Special tokens, the separators between A and B, and whether B has token type 1 are the tokenizer's: RoBERTa's
        rows are <s> A </s></s> B </s>, all of type 0.

        Args:
          texts: each a text or a pair; the tokenizer's mask in a text, such as "[MASK]" or "<mask>", is the mask token.
          length: L; by default the longest row's, at most the model's positions. Longer texts are cut at their end, of
            a pair the longer one first.

        Returns:
          {"tokens", "types", "group"}: int32 (B, L).
        """
        tokenizer = self._tokenizer()
        limit, least = self.config.longest_row if length is None else length, 4 + tokenizer.pair_separators
        if not least <= limit <= self.config.longest_row:
            raise InputError(
                f"length {limit} is outside {least} .. {self.config.longest_row}",
                where=self.source,
                fix="Choose another.",
            )
        if isinstance(texts, str):
            raise InputError("one text where a list of texts is due", where="batch", fix="Give [text].")
        if not texts:
            raise InputError("no texts", where="batch", fix="Give at least one.")
        rows = [self._row(text, limit) for text in texts]
        width = max(len(ids) for ids, _ in rows) if length is None else length
        tokens = np.full((len(rows), width), tokenizer.pad_id, np.int32)
        types, group = np.zeros_like(tokens), np.zeros_like(tokens)
        for index, (ids, first) in enumerate(rows):
            tokens[index, : len(ids)] = ids
            types[index, first : len(ids)] = tokenizer.pair_types
            group[index, : len(ids)] = 1
        return {"tokens": tokens, "types": types, "group": group}

    def _row(self, text: Text, limit: int) -> tuple[list[int], int]:
        """(ids with specials, index at which the second segment begins)."""
        tokenizer = self._tokenizer()
        given = (text,) if isinstance(text, str) else text
        if len(given) not in (1, 2):
            raise InputError(f"{len(given)} segments in a row", where="batch", fix="Give a text or a pair of texts.")
        parts = [self.ids(part) for part in given]
        between = [tokenizer.sep_id] * (tokenizer.pair_separators if len(parts) == 2 else 1)
        while sum(map(len, parts)) > limit - len(between) - len(parts):
            max(parts, key=len).pop()
        first = [tokenizer.cls_id, *parts[0], *between]
        second = [*parts[1], tokenizer.sep_id] if len(parts) == 2 else []
        return first + second, len(first)

    def ids(self, text: str) -> list[int]:
        """Token ids of `text`, none added around them; "[MASK]" and other special tokens in it count as such."""
        return self._tokenizer().encode(text, special_tokens=True)

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise InputError("the model has no tokenizer", where=self.source, fix="Copy its tokenizer files beside it.")
        return self.tokenizer

    def save(self, directory: str | Path, overwrite: bool = False) -> None:
        """Writes a directory that transformers opens; see `jaxbert.convert.hf.write_hf`."""
        write_hf(directory, self.config, self.params, self.tokenizer, overwrite)


def load(model: str | Path) -> Loaded:
    """Loads MODEL.

    Args:
      model: a run's workdir (its best step by validation loss, else the latest good one), WORKDIR/checkpoints/STEP, a
        Hugging Face directory, or `hf:NAME` or `hf:NAME@REVISION` (the hub; needs the extra `jaxbert[hf]`).

    Raises:
      InputError: there is no such model, or it cannot be used.
    """
    name = str(model)
    path = _download(name.removeprefix("hf:")) if name.startswith("hf:") else Path(model)
    if not path.is_dir():
        raise InputError("no such model", where=name, fix="Give a workdir, a Hugging Face directory, or hf:NAME.")
    if path.parent.name == "checkpoints" and (path.parent.parent / "config.json").is_file():
        return _load_run(name, path.parent.parent, _step(path))
    if not (path / "config.json").is_file():
        raise InputError(
            "has no config.json, so it is no model", where=name, fix="Give a workdir or a Hugging Face directory."
        )
    if _is_run(path / "config.json"):
        return _load_run(name, path, None)
    config, params, _ = read_hf(path)
    tokenizer = Tokenizer.load(path) if Tokenizer.present(path) else None
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise InputError(
            f"the tokenizer has {tokenizer.vocab_size} pieces, the model {config.vocab_size}",
            where=name,
            fix="Give the tokenizer that belongs to the model.",
        )
    return Loaded(name, config, jax.tree.map(jnp.asarray, params), tokenizer)


def _is_run(config: Path) -> bool:
    """Whether a config.json is a run's, and not a published one."""
    try:
        value = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"unreadable: {error}", where=str(config), fix="Copy the model again.") from None
    return isinstance(value, dict) and "encoder" in value and "phases" in value


def _step(path: Path) -> int:
    if not path.name.isdecimal():
        raise InputError("is no checkpoint", where=str(path), fix="Give WORKDIR/checkpoints/STEP.")
    return int(path.name)


def _load_run(name: str, workdir: Path, step: int | None) -> Loaded:
    # Deferred: they bring Orbax with them, which a published model does without.
    from jaxbert.checkpoint import load_params
    from jaxbert.objectives import heads_of, make_objectives
    from jaxbert.sharding import single_device_mesh

    config = load_json(workdir / "config.json")
    heads = heads_of(make_objectives(config.objectives, config.encoder, length=config.phases[0].length, slots=1))
    mesh = single_device_mesh()
    with jax.set_mesh(mesh):
        params = load_params(workdir, step, Model(config.encoder, heads, sizes=heads), mesh)
    # Of use beside a teacher only.
    params.pop("projection", None)
    # By way of the host: the user's arrays must not remember our mesh.
    params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(jax.device_get(leaf))), params)
    return Loaded(name, config.encoder, params, Tokenizer.load(workdir / "tokenizer"))


def _download(name: str) -> Path:
    """The local copy of a model of the Hugging Face hub."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise InputError(
            "needs the package huggingface_hub", where=f"hf:{name}", fix="Install it: pip install 'jaxbert[hf]'."
        ) from None
    repository, _, revision = name.partition("@")
    patterns = [
        "config.json",
        "*.safetensors",
        "*.safetensors.index.json",
        "tokenizer*.json",
        "special_tokens_map.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "spiece.model",
    ]
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"cannot be downloaded: {reason}", where=f"hf:{name}", fix="Check the name and the network."
        ) from None
