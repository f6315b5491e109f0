"""`jaxbert.load(MODEL)`: a trained or published model as parameters, pure functions and a tokenizer.

    model = jaxbert.load("runs/quickstart")  # or a published directory of any format, or hf:NAME
    batch = model.batch(["The first text.", ("A pair's first", "and second part.")])
    hidden = jax.jit(model.encode)(model.params, **batch)

The functions take the parameters as their first argument, so they jit, vmap and differentiate in the user's own loop;
no mesh need be set, and where the arrays lie is the user's business.
"""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxbert.config import EncoderConfig, load_json
from jaxbert.convert import sentence_transformers
from jaxbert.convert.hf import Written, write_hf
from jaxbert.convert.names import TASKS
from jaxbert.convert.read import FORMATS, Labels, is_published, read_model
from jaxbert.core.parameters import Params
from jaxbert.errors import InputError
from jaxbert.models.model import HEADS, ON_POOLER, Model, head_sizes
from jaxbert.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from jaxbert.observe.provenance import Provenance

Text = str | tuple[str, str]
Note = Callable[[str], None]


class Batch(TypedDict):
    """Rows of texts, int32 (B, L), as the arguments of `Loaded.encode`.

    Attributes:
      tokens: ids.
      types: token types.
      group: attention groups, 0 for padding.
    """

    tokens: np.ndarray
    types: np.ndarray
    group: np.ndarray


class Loaded:
    """A model in memory.

    Attributes:
      source: the MODEL it was loaded from.
      config: the encoder's.
      params: {"encoder": ..., and one entry a head}: nested dict of float32 arrays on the default device.
      tokenizer: None where the model has none.
      labels: names of a classifier's classes, where the files have them.
      dtype: of the files' weights ("float32", "bfloat16", "float16"); in memory they are float32.
      format: what its files are ("safetensors"); "" of a run.
      path: the directory it was read from.
      step: of a run, the step.
      model: the functions over `params` that `jaxbert.run.pretrain` uses.
    """

    def __init__(
        self,
        source: str,
        config: EncoderConfig,
        params: Params,
        tokenizer: Tokenizer | None,
        *,
        labels: Labels | None = None,
        dtype: str = "float32",
        format: str = "",
        path: Path | None = None,
        step: int | None = None,
    ):
        self.source, self.config, self.params, self.tokenizer = source, config, params, tokenizer
        self.labels, self.dtype, self.format = labels, dtype, format
        self.path, self.step = path, step
        self.model = Model(config, [part for part in params if part != "encoder"], sizes=head_sizes(params))

    @functools.cached_property
    def layout(self) -> sentence_transformers.SentenceLayout | None:
        """Pooling, normalisation and longest text of a sentence-transformers directory; None of any other.

        InputError where it has what `jaxbert embed` does not do.
        """
        return None if self.path is None or self.step is not None else sentence_transformers.read_layout(self.path)

    def encode(
        self,
        params: Params,
        tokens: ArrayLike,
        types: ArrayLike | None = None,
        group: ArrayLike | None = None,
        *,
        dropout_key: jax.Array | None = None,
        all_layers: bool = False,
        dtype: Any = jnp.float32,
    ) -> jax.Array:
        """Hidden states (B, L, D) of the last layer.

        Args:
          params: shaped like `self.params`.
          tokens: int (B, L).
          types: token types (B, L); 0 by default.
          group: attention groups (B, L), 0 for padding, as an attention mask has it; by default 1 everywhere, which
            means no padding. Tokens of different groups do not see each other, and positions restart in each.
          dropout_key: for training, with the rates of `config`; without it there is no dropout.
          all_layers: give (N + 1, B, L, D): the embeddings and every layer.
          dtype: of the computation; LayerNorm and softmax stay float32 at the least.
        """
        ids = jnp.asarray(tokens)
        batch = {
            "tokens": ids,
            "types": jnp.zeros_like(ids) if types is None else jnp.asarray(types),
            "group": jnp.ones_like(ids) if group is None else jnp.asarray(group),
        }
        return self.model.hidden(params, batch, dropout_key=dropout_key, dtype=dtype, all_layers=all_layers)

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

    def span_boundary(self, params: Params, left: jax.Array, right: jax.Array, place: ArrayLike) -> jax.Array:
        """Logits (B, M, V) of tokens from the hidden states (B, M, D) to the left and right of their spans.

        `place`, int (B, M), is the token's place in its span, from 0. InputError without such a head.
        """
        self.require("span_boundary")
        return self.model.span_boundary(params, left, right, jnp.asarray(place))[..., : self.config.vocab_size]

    def sequence_classification(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Logits (B, C) of hidden states (B, L, D), C as `labels` has it. InputError without such a head."""
        self.require("sequence_classification")
        return self.model.sequence_classification(params, hidden)

    def token_classification(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Logits (B, L, C) of hidden states (B, L, D). InputError without such a head."""
        self.require("token_classification")
        return self.model.token_classification(params, hidden)

    def question_answering(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Logits (B, L, 2) of hidden states (B, L, D): start and end of the answer. InputError without such a head."""
        self.require("question_answering")
        return self.model.question_answering(params, hidden)

    def multiple_choice(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Logits (B, 1) of hidden states (B, L, D), a row for each choice. InputError without such a head."""
        self.require("multiple_choice")
        return self.model.multiple_choice(params, hidden)

    def require(self, head: str) -> None:
        """InputError unless the model has `head`: none is made up unless `load` was asked for it."""
        if head not in self.params:
            has = ", ".join(part for part in self.params if part != "encoder") or "none"
            raise InputError(
                f"the model has no {head} head (heads: {has})",
                where=self.source,
                fix=f'Load a model that has it, or a new one: jaxbert.load(MODEL, heads=["{head}"]).',
            )

    def batch(self, texts: Sequence[Text], length: int | None = None) -> Batch:
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

    def save(
        self,
        directory: str | Path,
        overwrite: bool = False,
        *,
        dtype: str = "",
        layout: sentence_transformers.SentenceLayout | None = None,
        licence: str = "",
        data_licence: str = "",
    ) -> Written:
        """Writes a directory that transformers opens, with its tokenizer, a card, and a receipt of where it comes from.

        Args:
          directory: its place.
          overwrite: replace a model that is there.
          dtype: "float32", "bfloat16" or "float16"; by default the type of the files that were read, of a run float32.
          layout: also write what SentenceTransformer opens, with this pooling.
          licence: of the model, for the card.
          data_licence: of the data, for the card, where the run does not know it.

        Returns:
          What the gate found: the written model computes what this one does, or nothing is there.

        Raises:
          InputError, Interrupted, Stopped: see `jaxbert.convert.hf.write_hf`.
        """
        from jaxbert.convert.package import finisher

        finish = finisher(
            self._origin(),
            self.config,
            self.params,
            self.tokenizer,
            layout,
            name=Path(directory).absolute().name,
            licence=licence,
            data_licence=data_licence,
        )
        return write_hf(
            directory,
            self.config,
            self.params,
            self.tokenizer,
            overwrite,
            labels=self.labels,
            dtype=dtype or self.dtype,
            finish=finish,
        )

    def _origin(self) -> Provenance:
        from jaxbert.observe.provenance import of_files, of_run

        if self.path is not None and self.step is not None:
            return of_run(self.path, self.step)
        name = self.source.removeprefix("hf:") if self.source.startswith("hf:") else Path(self.source).absolute().name
        return of_files(name, self.format or "in memory")


def load(
    model: str | Path,
    *,
    heads: Iterable[str] | Mapping[str, int] = (),
    seed: int = 0,
    drop: Sequence[str] = (),
    note: Note | None = None,
) -> Loaded:
    """Loads MODEL.

    Args:
      model: a run's workdir (its best step by validation loss, else the latest good one), WORKDIR/checkpoints/STEP; a
        published directory: of Hugging Face (safetensors, flax_model.msgpack, or with torch pytorch_model.bin), or of
        Google's originals (bert_config.json or albert_config.json with a TF1 checkpoint); `hf:NAME` or
        `hf:NAME@REVISION` (the hub; needs the extra `jaxbert[hf]`).
      heads: heads that it must have: names, or for classifiers a mapping from the name to the number of classes. Those
        that it lacks start at random, and that is said.
      seed: of the heads that start at random.
      drop: shell patterns of published tensor names that are to be left out, where files have more than a model.
      note: takes a line about what was left out or made up; by default it is a warning.

    Raises:
      InputError: there is no such model, or it cannot be used.
    """
    name, note = str(model), _warn if note is None else note
    path = _download(name.removeprefix("hf:")) if name.startswith("hf:") else Path(model)
    if not path.is_dir():
        raise InputError("no such model", where=name, fix="Give a workdir, a published directory, or hf:NAME.")
    if path.parent.name == "checkpoints" and (path.parent.parent / "config.json").is_file():
        loaded = _load_run(name, path.parent.parent, _step(path))
    elif not is_published(path):
        raise InputError(
            "has no config.json, so it is no model",
            where=name,
            fix="Give a workdir, a Hugging Face directory, or one of Google's with bert_config.json.",
        )
    elif _is_run(path / "config.json"):
        loaded = _load_run(name, path, None)
    else:
        loaded = _load_published(name, path, drop, note)
    if loaded.step is not None and drop:
        raise InputError("a run's tensors are all its own", where=name, fix="Leave out --drop.")
    return _with_heads(loaded, heads, seed, note)


def _load_published(name: str, path: Path, drop: Sequence[str], note: Note) -> Loaded:
    found = read_model(path, drop=drop)
    tokenizer = Tokenizer.load(path) if Tokenizer.present(path) else None
    if tokenizer is not None and tokenizer.vocab_size > found.config.vocab_size:
        raise InputError(
            f"the tokenizer has {tokenizer.vocab_size} pieces, the model {found.config.vocab_size}",
            where=name,
            fix="Give the tokenizer that belongs to the model.",
        )
    return Loaded(
        name,
        found.config,
        _on_device(found.params),
        tokenizer,
        labels=found.labels,
        dtype=found.dtype,
        format=found.format,
        path=path,
    )


def _on_device(params: Params) -> Params:
    """`params` on the default device; each leaf leaves the host's memory as it comes there."""
    moved: Params = {}
    for name in list(params):
        value = params.pop(name)
        # Not jnp.asarray, which copies twice; and waited for, or many leaves would be on their way at once.
        moved[name] = (
            _on_device(value) if isinstance(value, dict) else jax.block_until_ready(jax.device_put(np.asarray(value)))
        )
        del value
    return moved


def _with_heads(loaded: Loaded, heads: Iterable[str] | Mapping[str, int], seed: int, note: Note) -> Loaded:
    """`loaded` with those of `heads` that it lacks, at random."""
    names = [heads] if isinstance(heads, str) else heads
    asked = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, 0)
    for head, classes in asked.items():
        if head not in HEADS or head == "projection":
            known = ", ".join(name for name in HEADS if name != "projection")
            raise InputError(f"no head is called {head!r}", where=loaded.source, fix=f"Known: {known}.")
        has = head_sizes(loaded.params).get(head, {}).get("labels")
        if classes and (head not in TASKS or has not in (None, classes)):
            what = f"has {has} classes" if head in TASKS else "has no classes of its own to choose"
            raise InputError(f"the head {head} {what}", where=loaded.source, fix="Leave the number out.")
    missing = [head for head in asked if head not in loaded.params]
    if "pooler" not in loaded.params and "pooler" not in missing and set(missing) & set(ON_POOLER):
        missing.append("pooler")
    if not missing:
        return loaded
    usual = {"multiple_choice": 1}
    sizes = {head: {"labels": asked.get(head) or usual.get(head, 2)} for head in missing if head in TASKS}
    # In the order of HEADS, as files give them.
    fresh = jax.jit(Model(loaded.config, [head for head in HEADS if head in missing], sizes=sizes).init)(
        jax.random.key(seed)
    )
    note(f"not in {loaded.source}, so it starts at random (seed {seed}): {', '.join(missing)}")
    params = {**loaded.params, **{head: fresh[head] for head in missing}}
    params = {part: params[part] for part in ("encoder", *HEADS) if part in params}
    return Loaded(
        loaded.source,
        loaded.config,
        params,
        loaded.tokenizer,
        labels=loaded.labels,
        dtype=loaded.dtype,
        format=loaded.format,
        path=loaded.path,
        step=loaded.step,
    )


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def _is_run(config: Path) -> bool:
    """Whether a config.json is a run's, and not a published one."""
    if not config.is_file():
        return False
    try:
        value = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"unreadable: {error}", where=str(config), fix="Copy the model again.", code="E-MODEL-CONFIG"
        ) from None
    return isinstance(value, dict) and "encoder" in value and "phases" in value


def _step(path: Path) -> int:
    if not path.name.isdecimal():
        raise InputError("is no checkpoint", where=str(path), fix="Give WORKDIR/checkpoints/STEP.")
    return int(path.name)


def _load_run(name: str, workdir: Path, step: int | None) -> Loaded:
    # Deferred: they bring Orbax with them, which a published model does without.
    from jaxbert.core.sharding import single_device_mesh
    from jaxbert.objectives import heads_of, make_objectives
    from jaxbert.stores.checkpoint import default_step, load_params

    config = load_json(workdir / "config.json")
    heads = heads_of(make_objectives(config.objectives, config.encoder, length=config.phases[0].length, slots=1))
    mesh = single_device_mesh()
    step = default_step(workdir) if step is None else step
    with jax.set_mesh(mesh):
        params = load_params(workdir, step, Model(config.encoder, heads, sizes=heads), mesh)
    # Of use beside a teacher only.
    params.pop("projection", None)
    # By way of the host: the user's arrays must not remember our mesh.
    params = _on_device(params)
    return Loaded(name, config.encoder, params, Tokenizer.load(workdir / "tokenizer"), path=workdir, step=step)


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
    descriptions = [
        *("config.json", "bert_config.json", "albert_config.json"),
        *("tokenizer*.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt", "*.model"),
        *("modules.json", "sentence_*_config.json", "config_sentence_transformers.json"),
        *("1_Pooling/config.json", "2_Normalize/config.json"),
    ]
    try:
        # Many repositories hold the same weights several times: the first form that is there will do.
        for form in FORMATS:
            path = Path(
                snapshot_download(repository, revision=revision or None, allow_patterns=[*descriptions, *form.files])
            )
            if form.found(path):
                break
        return path
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"cannot be downloaded: {reason}", where=f"hf:{name}", fix="Check the name and the network."
        ) from None
