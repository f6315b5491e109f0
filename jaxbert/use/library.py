"""`jaxbert.load(MODEL)`: a trained or published model as parameters, pure functions and a tokenizer.

    model = jaxbert.load("runs/quickstart")  # or a published directory of any format, or hf:NAME
    batch = model.batch(["The first text.", ("A pair's first", "and second part.")])
    hidden = jax.jit(model.encode)(model.params, **batch)

The functions take the parameters as their first argument, so they jit, vmap and differentiate in the user's own loop.
They need no mesh, and the user decides on which devices the arrays lie.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxbert.config import EncoderBase, load_json
from jaxbert.convert import sentence_transformers
from jaxbert.convert.hf import Written, write_hf
from jaxbert.convert.names import TASKS
from jaxbert.convert.read import Labels, read_model
from jaxbert.core.parameters import Params
from jaxbert.core.sharding import automatic
from jaxbert.errors import InputError
from jaxbert.models.model import HEADS, Model, as_dicts, head_sizes, on_pooler
from jaxbert.text.text_rows import Text, text_rows
from jaxbert.text.tokenizers import Tokenizer
from jaxbert.use.arguments import (
    check_hidden,
    check_key,
    check_number,
    check_parts,
    check_places,
    check_rows,
    check_segments,
    check_text,
    check_texts,
)
from jaxbert.use.model_place import ModelPlace, find_model

if TYPE_CHECKING:
    from jaxbert.observe.provenance import Provenance
    from jaxbert.use.tasks import Answered, Chosen, Classified, Tagged

_log = logging.getLogger(__name__)


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
    """A model in memory. It can be pickled.

    Attributes:
      source: the MODEL it was loaded from.
      config: the encoder's.
      params: {"encoder": ..., and one entry a head}: nested dict of float32 arrays on the default device.
      tokenizer: None where the model has none.
      labels: names of a classifier's classes, where the files have them.
      dtype: dtype of the files' weights ("float32", "bfloat16", "float16"); in memory they are float32.
      format: the format of the files ("safetensors"); "" for a run.
      path: the directory that the model was read from; for a run its workdir.
      step: step of a run; None for any other model.
      kept: further values of config.json, which `save` writes again.
      model: the functions over `params` that `jaxbert.run.pretrain` uses.
    """

    def __init__(
        self,
        source: str,
        config: EncoderBase,
        params: Params,
        tokenizer: Tokenizer | None,
        *,
        labels: Labels | None = None,
        dtype: str = "float32",
        format: str = "",
        path: Path | None = None,
        step: int | None = None,
        kept: Mapping[str, float | None] | None = None,
    ):
        self.source, self.config, self.params, self.tokenizer = source, config, params, tokenizer
        self.labels, self.dtype, self.format = labels, dtype, format
        self.path, self.step, self.kept = path, step, kept or {}
        self.model = Model(config, [part for part in params if part != "encoder"], sizes=head_sizes(params))

    def with_parts(self, params: Params, labels: Labels | None) -> Loaded:
        """Returns this model with other parts: further heads, or fewer.

        Args:
          params: as the attribute.
          labels: of its classifier.
        """
        return Loaded(
            self.source,
            self.config,
            params,
            self.tokenizer,
            labels=labels,
            dtype=self.dtype,
            format=self.format,
            path=self.path,
            step=self.step,
            kept=self.kept,
        )

    @functools.cached_property
    def layout(self) -> sentence_transformers.SentenceLayout | None:
        """Returns pooling, normalisation and longest text of a sentence-transformers directory, or else None.

        Raises InputError where the directory asks for something that `jaxbert embed` does not do.
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
        """Returns the hidden states (B, L, D) of the last layer.

        Args:
          params: shaped like `self.params`: nested mappings of arrays of jax or numpy.
          tokens: int (B, L). An id outside the vocabulary makes its row NaN; in an array of numpy it is an error.
          types: token types (B, L); 0 by default.
          group: attention groups (B, L), 0 for padding, as an attention mask has it; by default 1 everywhere, which
            means no padding. Tokens of different groups do not see each other. Positions count from the begin of the
            row, and again where another group begins. A 0 does not restart them.
          dropout_key: key of the dropout of training, with the rates of `config`. Without it there is no dropout.
          all_layers: give (N + 1, B, L, D): the embeddings and every layer.
          dtype: dtype of the computation. LayerNorm and softmax stay in float32 or wider.

        Raises:
          InputError: the arrays are not as described.
        """
        params = check_parts(params, "encoder")
        check_key(dropout_key)
        batch = check_rows(self.config, tokens, types, group)

        def hidden(params: Params, batch: dict[str, jax.Array], key: jax.Array | None) -> jax.Array:
            found = self.model.hidden(params, batch, dropout_key=key, dtype=dtype, all_layers=all_layers)
            # `automatic` keeps the places of the first dimensions, so the layers come behind them.
            return jnp.moveaxis(found, 0, 2) if all_layers else found

        found = automatic(hidden, params, batch, dropout_key, rows=batch["tokens"], kept=2)
        return jnp.moveaxis(found, 2, 0) if all_layers else found

    def _head(self, name: str, params: Params, *hidden: jax.Array, places: ArrayLike | None = None) -> jax.Array:
        """Returns what the head `name` computes from hidden states, and from places in spans where it takes them."""
        self.require(name)
        kind = HEADS[name]
        needed = [name, *(["pooler"] if on_pooler(name) else []), *(["encoder"] if kind.decodes else [])]
        params = check_parts(params, *needed)
        given = [check_hidden(one, self.config) for one in hidden]
        given += [] if places is None else [check_places(places)]

        def apply(params: Params, *given: jax.Array) -> jax.Array:
            found = self.model.apply_head(name, params, *given)
            return found[..., : self.config.vocab_size] if kind.decodes else found

        of_rows = on_pooler(name) or name == "pooler"
        return automatic(apply, params, *given, rows=given[0], kept=1 if of_rows else 2)

    def pooled(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Returns pooled vectors (B, D) of hidden states (B, L, D). Raises InputError without a pooler."""
        return self._head("pooler", params, hidden)

    def masked_lm(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Returns logits (B, M, V), V without padding, of hidden states (B, M, D).

        Raises:
          InputError: the model lacks the head.
        """
        return self._head("masked_lm", params, hidden)

    def next_sentence(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Returns logits (B, 2) of hidden states (B, L, D): 0 if B follows A, else 1.

        Raises:
          InputError: the model lacks the head.
        """
        return self._head("next_sentence", params, hidden)

    def sentence_order(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Returns logits (B, 2) of hidden states (B, L, D): 0 in order, 1 swapped.

        Raises:
          InputError: the model lacks the head.
        """
        return self._head("sentence_order", params, hidden)

    def span_boundary(self, params: Params, left: jax.Array, right: jax.Array, place: ArrayLike) -> jax.Array:
        """Returns logits (B, M, V) of tokens from the hidden states (B, M, D) to the left and right of their spans.

        `place`, int (B, M), is the token's place in its span, from 0.

        Raises:
          InputError: the model lacks the head.
        """
        return self._head("span_boundary", params, left, right, places=place)

    def sequence_classification(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Returns logits (B, C) of hidden states (B, L, D), C as `labels` has it.

        Raises:
          InputError: the model lacks the head.
        """
        return self._head("sequence_classification", params, hidden)

    def token_classification(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Returns logits (B, L, C) of hidden states (B, L, D).

        Raises:
          InputError: the model lacks the head.
        """
        return self._head("token_classification", params, hidden)

    def question_answering(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Returns logits (B, L, 2) of hidden states (B, L, D): answer start and end.

        Raises:
          InputError: the model lacks the head.
        """
        return self._head("question_answering", params, hidden)

    def multiple_choice(self, params: Params, hidden: jax.Array) -> jax.Array:
        """Returns logits (B, 1) of hidden states (B, L, D), a row for each choice.

        Raises:
          InputError: the model lacks the head.
        """
        return self._head("multiple_choice", params, hidden)

    def classify(self, texts: Iterable[Text], **options: Any) -> list[Classified]:
        """Returns the labels of texts or of pairs, with their probabilities, or a number for each.

        Args:
          texts: any number of texts, or of pairs.
          options: `max_length` and `batch_tokens`; see `jaxbert.use.tasks.classify`.

        Raises:
          InputError: the model lacks the head sequence_classification, or an argument is wrong.
        """
        from jaxbert.use import tasks

        return tasks.classify(self, texts, **options)

    def tag(self, texts: Iterable[str | Sequence[str]], **options: Any) -> list[Tagged]:
        """Returns the entities of texts by their characters, or the labels of their words.

        Args:
          texts: any number of texts; a text may be a list of its words.
          options: `max_length` and `batch_tokens`; see `jaxbert.use.tasks.tag`.

        Raises:
          InputError: the model lacks the head token_classification, or an argument is wrong.
        """
        from jaxbert.use import tasks

        return tasks.tag(self, texts, **options)

    def answer(self, questions: Iterable[tuple[str, str]], **options: Any) -> list[Answered]:
        """Returns the answers to questions, each a part of its text, with scores.

        Args:
          questions: any number of (question, text).
          options: `candidates`, `null_threshold`, `max_length` and `batch_tokens`; see `jaxbert.use.tasks.answer`.

        Raises:
          InputError: the model lacks the head question_answering, or an argument is wrong.
        """
        from jaxbert.use import tasks

        return tasks.answer(self, questions, **options)

    def choose(
        self, questions: Iterable[tuple[str, Sequence[str]] | tuple[str, str, Sequence[str]]], **options: Any
    ) -> list[Chosen]:
        """Returns which of several texts follows a text.

        Args:
          questions: any number of (text, choices), or of (text, question, choices).
          options: `max_length` and `batch_tokens`; see `jaxbert.use.tasks.choose`.

        Raises:
          InputError: the model lacks the head multiple_choice, or an argument is wrong.
        """
        from jaxbert.use import tasks

        return tasks.choose(self, questions, **options)

    def require(self, head: str, *, for_what: str = "") -> None:
        """Raises InputError unless the model has `head`. Only `load(..., heads=)` adds a head.

        `for_what` says in the error what needs the head.
        """
        if head not in self.params:
            has = ", ".join(part for part in self.params if part != "encoder") or "none"
            raise InputError(
                f"{for_what} needs the head {head}, and the model does not have it (heads: {has})"
                if for_what
                else f"the model has no {head} head (heads: {has})",
                where=self.source,
                fix=f"Give {_maker(head)}. In Python, "
                f'jaxbert.load(MODEL, heads=["{head}"]) adds a new head with random weights.',
                code="E-MODEL-HEAD",
            )

    def batch(self, texts: Sequence[Text], length: int | None = None) -> Batch:
        """Returns rows [CLS] A [SEP] or [CLS] A [SEP] B [SEP] as the arguments of `encode`.

        The tokenizer decides on the special tokens, the separators between A and B, and the token type of B: RoBERTa's
        rows are <s> A </s></s> B </s>, all of type 0.

        Args:
          texts: each a text or a pair; the tokenizer's mask in a text, such as "[MASK]" or "<mask>", is the mask token.
          length: L; by default that of the longest row, at most the model's positions. Longer texts are cut at their
            end; of a pair, the longer text is cut first (`jaxbert.text.text_rows.longest_first`).

        Returns:
          {"tokens", "types", "group"}: int32 (B, L).

        Raises:
          InputError: there is no text, one of them is not a text or a pair, or `length` is out of range.
        """
        tokenizer = self.require_tokenizer()
        length = None if length is None else check_number(length, "length")
        limit, least = self.config.longest_row if length is None else length, 4 + tokenizer.pair_separators
        if not least <= limit <= self.config.longest_row:
            raise InputError(
                f"length {limit} is outside {least} .. {self.config.longest_row}",
                where=self.source,
                fix="Choose another length.",
                code="E-MODEL-LENGTH",
            )
        given = list(check_texts(texts, "batch", check_segments))
        if not given:
            raise InputError("no texts", where="batch", fix="Give at least one.", code="E-MODEL-TEXTS")
        rows = text_rows(tokenizer, given, limit)
        width = max(len(row.ids) for row in rows) if length is None else length
        tokens = np.full((len(rows), width), tokenizer.pad_id, np.int32)
        types, group = np.zeros_like(tokens), np.zeros_like(tokens)
        for index, row in enumerate(rows):
            tokens[index, : len(row.ids)] = row.ids
            types[index, row.first : len(row.ids)] = 1
            group[index, : len(row.ids)] = 1
        return {"tokens": tokens, "types": types, "group": group}

    def ids(self, text: str) -> list[int]:
        """Returns the token ids of `text`, with none added. "[MASK]" and other special tokens in it count as such."""
        tokenizer = self.require_tokenizer()
        return tokenizer.encode(check_text(text, "ids"), special_tokens=True)

    def require_tokenizer(self) -> Tokenizer:
        """Returns the tokenizer. Raises InputError where the model has none."""
        if self.tokenizer is None:
            raise InputError(
                "the model has no tokenizer",
                where=self.source,
                fix="Copy its tokenizer files beside it.",
                code="E-MODEL-NO-TOKENIZER",
            )
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
        """Writes a directory that transformers opens, with its tokenizer, a card, and a receipt that names its origin.

        Args:
          directory: the directory to write.
          overwrite: replace a model that is there. It is an error where anything else would be lost, for example the
            .git of a clone or a README.md that jaxbert did not write.
          dtype: "float32", "bfloat16" or "float16"; by default the type of the files that were read, for a run float32.
          layout: also write what SentenceTransformer opens, with this pooling.
          licence: the model's, for the card.
          data_licence: the data's, for the card, where the run does not know it.

        Returns:
          The verdict of the gate, which compares what both models compute. A model that differs is not written.

        Raises:
          InputError, Interrupted, Stopped: see `jaxbert.convert.hf.write_hf`.
        """
        from jaxbert.convert.package import finisher

        if layout is not None and layout.max_length is not None:
            sentence_transformers.check_length(layout.max_length, "layout.max_length")
        params = as_dicts(self.params)
        finish = finisher(
            self._origin(),
            self.config,
            params,
            self.tokenizer,
            layout,
            name=Path(directory).absolute().name,
            licence=licence,
            data_licence=data_licence,
        )
        return write_hf(
            directory,
            self.config,
            params,
            self.tokenizer,
            overwrite,
            labels=self.labels,
            dtype=dtype or self.dtype,
            kept=self.kept,
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
) -> Loaded:
    """Loads MODEL, and logs a warning for each head that starts at random.

    Args:
      model: a run's workdir (its best step by validation loss, else the newest good one), WORKDIR/checkpoints/STEP; a
        published directory of Hugging Face (safetensors, flax_model.msgpack, or with torch pytorch_model.bin) or of
        Google's originals (bert_config.json or albert_config.json with a TF1 checkpoint); `hf:NAME` or
        `hf:NAME@REVISION` (the hub; needs the extra `jaxbert[hf]`); or a gs:// URL of a workdir, of a checkpoint or of
        a published directory (needs the extra `jaxbert[gcs]`).
      heads: heads that the model must have: names, or for classifiers a mapping from the name to the number of
        classes. A head that the model lacks starts at random.
      seed: seed of the heads that start at random.
      drop: shell patterns of published tensor names to leave out, where files have more than a model.

    Raises:
      InputError: there is no such model, or it cannot be used.
      Interrupted: the network failed; the same call continues.
    """
    drop = [drop] if isinstance(drop, str) else drop
    place = find_model(model)
    loaded = _load_run(place) if place.run else _load_published(place, drop)
    if place.run and drop:
        _drop_heads(loaded, drop)
    return _with_heads(loaded, heads, seed)


def _load_published(place: ModelPlace, drop: Sequence[str]) -> Loaded:
    path = place.path
    found = read_model(path, drop=drop)
    tokenizer = Tokenizer.load(path) if Tokenizer.present(path) else None
    if tokenizer is not None and tokenizer.vocab_size > found.config.vocab_size:
        raise InputError(
            f"the tokenizer has {tokenizer.vocab_size} pieces, the model {found.config.vocab_size}",
            where=place.name,
            fix="Give the tokenizer that belongs to the model.",
            code="E-MODEL-TOKENIZER",
        )
    return Loaded(
        place.name,
        found.config,
        _on_device(found.params),
        tokenizer,
        labels=found.labels,
        dtype=found.dtype,
        format=found.format,
        path=path,
        kept=found.kept,
    )


def _on_device(params: Params) -> Params:
    """Returns `params` on the default device. Each leaf leaves the host's memory once it is on the device."""
    moved: Params = {}
    for name in list(params):
        value = params.pop(name)
        # jnp.asarray would copy twice. Without the wait, many leaves would be on their way at once.
        moved[name] = (
            _on_device(value) if isinstance(value, dict) else jax.block_until_ready(jax.device_put(np.asarray(value)))
        )
        del value
    return moved


def _with_heads(loaded: Loaded, heads: Iterable[str] | Mapping[str, int], seed: int) -> Loaded:
    """Returns `loaded` with the `heads` that it lacks, which start at random."""
    names = [heads] if isinstance(heads, str) else heads
    asked = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, 0)
    for head, classes in asked.items():
        if head not in HEADS or not HEADS[head].published:
            known = ", ".join(name for name in HEADS if HEADS[name].published)
            raise InputError(
                f"no head is called {head!r}", where=loaded.source, fix=f"Known: {known}.", code="E-MODEL-HEAD"
            )
        has = head_sizes(loaded.params).get(head, {}).get("labels")
        if classes and (head not in TASKS or has not in (None, classes)):
            what = f"has {has} classes" if head in TASKS else "has a fixed number of outputs"
            raise InputError(
                f"the head {head} {what}", where=loaded.source, fix="Leave the number out.", code="E-MODEL-CLASSES"
            )
    missing = [head for head in asked if head not in loaded.params]
    if "pooler" not in loaded.params and "pooler" not in missing and any(map(on_pooler, missing)):
        missing.append("pooler")
    if not missing:
        return loaded
    sizes = {head: {"labels": asked.get(head) or HEADS[head].classes} for head in missing if head in TASKS}
    # In the order of HEADS, like the heads of files.
    fresh = jax.jit(Model(loaded.config, [head for head in HEADS if head in missing], sizes=sizes).init)(
        jax.random.key(seed)
    )
    _log.warning(f"not in {loaded.source}, so it starts at random (seed {seed}): {', '.join(missing)}")
    params = {**loaded.params, **{head: fresh[head] for head in missing}}
    params = {part: params[part] for part in ("encoder", *HEADS) if part in params}
    return loaded.with_parts(params, loaded.labels)


def _drop_heads(loaded: Loaded, drop: Sequence[str]) -> None:
    """Removes heads of a run that a file may have no place for. `drop`: shell patterns of their names."""
    heads = loaded.model.heads
    for pattern in drop:
        if not any(fnmatchcase(head, pattern) for head in heads):
            raise InputError(
                f"the run has no head {pattern!r}",
                where=loaded.source,
                fix=f"Leave out --drop (drop=), or name one of its heads: {', '.join(heads)}.",
                code="E-MODEL-DROP",
            )
    left = [head for head in heads if not any(fnmatchcase(head, pattern) for pattern in drop)]
    loaded.params = {part: loaded.params[part] for part in ("encoder", *left)}
    loaded.model = Model(loaded.config, left, sizes=head_sizes(loaded.params))


def _load_run(place: ModelPlace) -> Loaded:
    # These imports bring Orbax, which a published model does without.
    from jaxbert.core.sharding import single_device_mesh
    from jaxbert.stores.checkpoint import load_params
    from jaxbert.stores.steps import default_step
    from jaxbert.tasks import kind_of_task

    workdir = place.path
    config = load_json(workdir / "config.json")
    kind = kind_of_task(config)
    if kind.heads is None:
        raise InputError(
            f"the run learned the task {config.task.name}, whose parameters are not an encoder with heads",
            where=place.name,
            fix="Give a run of another task; `jaxbert evaluate` and `jaxbert report` take runs of any task.",
            code="E-MODEL-TASK",
        )
    heads = kind.heads(config)
    mesh = single_device_mesh()
    step = default_step(workdir) if place.step is None else place.step
    with jax.set_mesh(mesh):
        params = load_params(workdir, step, Model(config.encoder, heads, sizes=heads), mesh)
    # The projection is used only beside a teacher.
    params.pop("projection", None)
    # Copy through the host, so that the user's arrays do not keep this function's mesh.
    params = _on_device(params)
    tokenizer = Tokenizer.load(workdir / "tokenizer")
    labels = None if kind.labels is None else kind.labels(config)
    names = None if labels is None else Labels(*labels)
    return Loaded(place.name, config.encoder, params, tokenizer, labels=names, path=workdir, step=step)


def _maker(head: str) -> str:
    """Returns what makes a model with a head, in words."""
    if head == "masked_lm":
        return "a model that was pretrained with masked tokens, such as a run of `jaxbert pretrain`"
    if head in ("sequence_classification", "token_classification", "question_answering", "multiple_choice"):
        return "a model that was fine-tuned for this, such as a run of `jaxbert finetune`"
    return "a model that has it"
