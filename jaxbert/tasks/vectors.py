"""Vectors of sentences: pairs with scores, whose cosine is fitted to the score, or pairs alone with in-batch negatives.

A vector is the mean of the hidden states of its tokens. Both losses are those of Reimers and Gurevych 2019 and of
their library: the squared error of the cosine, and the cross entropy of a pair among all second texts of the batch
(Henderson et al. 2017), with the cosines times `scale`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from jaxbert.config import LabelledTaskConfig, RunConfig
from jaxbert.core.metrics import Metric
from jaxbert.core.sharding import BATCH, Field, explicit_mesh, reshard
from jaxbert.data.pipeline import Rows
from jaxbert.errors import InputError, counted
from jaxbert.labelled.examples import Example, TextExample
from jaxbert.labelled.labels import is_unknown
from jaxbert.scores import intervals, numbers, retrieval
from jaxbert.scores.base import Scored
from jaxbert.tasks.base import Arrays, Term
from jaxbert.tasks.labelled import LabelledTask, Part, apart, merged
from jaxbert.tasks.labelled_runs import kind_of
from jaxbert.tasks.sequences import text_of


@dataclass(frozen=True, kw_only=True)
class SentenceVectorsConfig(LabelledTaskConfig):
    """Settings of vectors of sentences.

    Attributes:
      loss: `cosine`: pairs have scores; `negatives`: pairs have none, and the other second texts of the batch are
        negatives. Micro-batches have only their own negatives.
      low, high: the scores of a cosine of 0 and of 1; the run takes the lowest and the highest train score when it
        begins, where both are 0.
      scale: factor of the cosines, for `negatives` (20: the usual one of sentence-transformers).
    """

    name: str = "sentence_vectors"
    loss: Literal["cosine", "negatives"] = "cosine"
    low: float = 0.0
    high: float = 0.0
    scale: float = 20.0


class SentenceVectors(LabelledTask):
    """See `Task`. A row has two texts. Targets: float (B,), the score of the pair, NaN for none."""

    kind: ClassVar[str] = "sentence_vectors"
    title: ClassVar[str] = "vectors of sentences"

    settings: SentenceVectorsConfig

    @classmethod
    def heads_of(cls, config: RunConfig) -> Mapping[str, Mapping[str, int]]:
        """See `LabelledTask`."""
        del config
        return {}

    @classmethod
    def metrics_of(cls, settings: SentenceVectorsConfig) -> Sequence[Metric]:
        """See `LabelledTask`."""
        # A cosine is not on the scale of the scores, so the errors of numbers mean nothing.
        return numbers.CORRELATIONS if settings.loss == "cosine" else retrieval.METRICS

    @classmethod
    def texts_of(cls, settings: SentenceVectorsConfig) -> int:
        """See `LabelledTask`."""
        del settings
        return 2

    @classmethod
    def ranges(cls, settings: SentenceVectorsConfig) -> Iterator[tuple[str, bool, str]]:
        """See `LabelledTask`."""
        yield "scale", 0 < settings.scale < math.inf, "a number above 0"
        ordered = settings.low < settings.high or settings.low == settings.high == 0
        yield "low", ordered, f"less than task.high, which is {settings.high}; or set both to 0"

    @classmethod
    def idle(cls, settings: SentenceVectorsConfig) -> Mapping[str, str]:
        """See `LabelledTask`."""
        names, loss = (("scale",), "negatives") if settings.loss == "cosine" else (("low", "high"), "cosine")
        why = f"it is for loss={loss}, and the loss is {settings.loss}"
        return {**super().idle(settings), "dropout": "vectors have no head", **dict.fromkeys(names, why)}

    @classmethod
    def found(cls, settings: SentenceVectorsConfig, splits: Mapping[str, Sequence[Example]]) -> SentenceVectorsConfig:
        """See `LabelledTask`; the range of the scores."""
        if settings.loss == "negatives":
            return settings
        scores = []
        for one in splits["train"]:
            if not isinstance(one, TextExample) or not isinstance(one.target, (int, float)):
                raise InputError(
                    "the pair has no score, and the loss fits the cosine to scores",
                    where=one.place,
                    fix="Name the column of the scores, --columns label=NAME; or, for pairs without scores, "
                    "--set task.loss=negatives.",
                    code="E-LABELLED-LABEL",
                )
            scores.append(float(one.target))
        low, high = settings.low, settings.high
        if low == high:
            low, high = min(0.0, *scores), max(scores)
        if not low < high:
            raise InputError(
                f"all pairs have the score {low:g}",
                where=settings.data.train,
                fix="Give pairs with different scores.",
                code="E-LABELLED-LABEL",
            )
        return replace(settings, low=low, high=high)

    @classmethod
    def told(cls, settings: SentenceVectorsConfig, train: Sequence[Example]) -> str:
        """See `LabelledTask`."""
        if settings.loss != "cosine":
            scores = sum(not is_unknown(one) for one in train)
            if not scores:
                return ""
            return (
                f"every pair counts as a match: the loss negatives does not use the {counted(scores, 'score')} of the "
                "train file (to fit cosines to scores: --set task.loss=cosine)"
            )
        return (
            f"the score {settings.low:g} is a cosine of 0, and {settings.high:g} a cosine of 1 "
            "(others: --set task.low=LOW task.high=HIGH)"
        )

    @classmethod
    def needs_answers(cls, settings: SentenceVectorsConfig) -> bool:
        """See `LabelledTask`; a pair is its own answer where its loss has negatives."""
        return settings.loss == "cosine"

    def answers_at(self, length: int) -> Mapping[str, Field]:
        """See `LabelledTask`."""
        del length
        return {"target": Field((), "float32")}

    def denominators(self, batch: Arrays) -> dict[str, Any]:
        """See `Task`."""
        return {self.kind: self._weights(batch).sum()}

    def _weights(self, batch: Arrays) -> Any:
        real_B = (batch["group"][:, 0, 0] > 0).astype(jnp.float32)
        return real_B * jnp.isfinite(batch["target"]) if self.settings.loss == "cosine" else real_B

    def answer(self, params: Any, batch: Arrays, key: Any, dtype: Any) -> Arrays:
        """See `LabelledTask`; vectors of length 1, float32 (B, 2, D)."""
        x_NLD = self.hidden(params, batch, key, dtype)
        wide = jnp.promote_types(x_NLD.dtype, jnp.float32)
        real_NL = (merged(batch["group"]) > 0).astype(wide)
        sum_ND = jnp.einsum("nld,nl->nd", x_NLD.astype(wide), real_NL)
        mean_ND = sum_ND / jnp.maximum(real_NL.sum(-1, keepdims=True), 1.0)
        # A row that fills up a batch has the vector 0, and no direction.
        length_N1 = jnp.sqrt(jnp.maximum((mean_ND * mean_ND).sum(-1, keepdims=True), 1e-24))
        return {"vectors": apart(mean_ND / length_N1, 2)}

    def losses(self, outputs: Arrays, batch: Arrays) -> Term:
        """See `LabelledTask`."""
        v_B2D, weight_B = outputs["vectors"], self._weights(batch)
        if self.settings.loss == "cosine":
            cosine_B = (v_B2D[:, 0] * v_B2D[:, 1]).sum(-1)
            span = self.settings.high - self.settings.low
            target_B = (jnp.where(jnp.isfinite(batch["target"]), batch["target"], 0.0) - self.settings.low) / span
            error_B = cosine_B - target_B
            return Term((weight_B * error_B * error_B).sum(), weight_B.sum(), {})
        # Every device compares its first texts with all second texts.
        other_BD = reshard(v_B2D[:, 1], P(None, None))
        z_BB = self.settings.scale * jnp.einsum("bd,cd->bc", v_B2D[:, 0], other_BD, out_sharding=_rows(v_B2D))
        size = z_BB.shape[0]
        same_BB = jnp.arange(size)[:, None] == jnp.arange(size)[None]
        sign_B = _signature(batch["tokens"][:, 1], batch["group"][:, 1])
        alike_BB = sign_B[:, None] == reshard(sign_B, P(None))[None]
        first_B = _signature(batch["tokens"][:, 0], batch["group"][:, 0])
        alike_BB |= first_B[:, None] == reshard(first_B, P(None))[None]
        real_B = reshard(batch["group"][:, 1, 0] > 0, P(None))
        # A second text that stands twice in a batch is not its own negative. The second texts of one first text are
        # all right, so none is another one's negative. Padding is nobody's.
        counts_BB = same_BB | (~alike_BB & real_B[None])
        z_BB = jnp.where(counts_BB, z_BB, jnp.finfo(z_BB.dtype).min)
        log_p_BB = jax.nn.log_softmax(z_BB, axis=-1)
        loss_B = -jnp.where(same_BB, log_p_BB, 0.0).sum(-1)
        right_B = jnp.where(same_BB, z_BB, 0.0).sum(-1) >= z_BB.max(-1)
        return Term((weight_B * loss_B).sum(), weight_B.sum(), {"accuracy": (weight_B * right_B).sum()})

    def scored(self, outputs: Mapping[str, np.ndarray], rows: Rows | Part, *, final: bool = False) -> Scored:
        """See `LabelledTask`."""
        first, second = outputs["vectors"][:, 0], outputs["vectors"][:, 1]
        if self.settings.loss == "cosine":
            cosine, target = (first * second).sum(-1), rows.read(np.arange(len(rows)))["target"]
            found = self.measured(numbers.score(cosine, target))
            return replace(found, intervals=numbers.correlation_bounds(cosine, target)) if final else found
        texts = _texts(rows)
        found = retrieval.score(first, second, *texts)
        if not final:
            return found
        sums = intervals.of_means(retrieval.points_of(retrieval.ranks_of(first, second, *texts)))
        return replace(found, intervals=intervals.bounds_of_sums(sums))

    def constant_outputs(self, rows: Rows) -> dict[str, np.ndarray]:
        """See `LabelledTask`; one vector for every text."""
        vector = np.zeros((len(rows), 2, self.config.encoder.hidden_size), np.float32)
        vector[..., 0] = 1.0
        return {"vectors": vector}

    def errors(
        self, outputs: Mapping[str, np.ndarray], rows: Rows, examples: Sequence[Example], most: int
    ) -> list[dict[str, Any]]:
        """See `LabelledTask`.

        The score is the distance of the cosine from that of the pair's score; with negatives, the rank of the partner.
        """
        if self.settings.loss != "cosine":
            return self._worst_ranks(outputs, rows, examples, most)
        target = rows.read(np.arange(len(rows)))["target"]
        cosine = outputs["vectors"].astype(np.float64).prod(1).sum(-1)
        span = self.settings.high - self.settings.low
        far = np.where(np.isfinite(target), np.abs(cosine - (target - self.settings.low) / span), 0.0)
        return [
            {**text_of(examples[row]), "number": int(row), "right": float(target[row]),
             "predicted": round(float(cosine[row] * span + self.settings.low), 4), "score": round(float(far[row]), 4)}
            for row in np.argsort(-far, kind="stable")[:most]
        ]  # fmt: skip

    def _worst_ranks(
        self, outputs: Mapping[str, np.ndarray], rows: Rows, examples: Sequence[Example], most: int
    ) -> list[dict[str, Any]]:
        """Returns the pairs whose second text is farthest behind the nearest one, with that one."""
        first, second = outputs["vectors"][:, 0], outputs["vectors"][:, 1]
        first_texts, second_texts = _texts(rows)
        ranks = retrieval.ranks_of(first, second, first_texts, second_texts)
        found = []
        for row in np.argsort(-ranks, kind="stable")[:most].tolist():
            if ranks[row] <= 1:
                break
            right = np.isin(second_texts, second_texts[first_texts == first_texts[row]])
            nearest = int(np.where(right, -np.inf, second @ first[row]).argmax())
            shown = text_of(examples[row])
            found.append(
                {
                    "text": shown["text"],
                    "number": row,
                    "right": shown["pair"],
                    "predicted": text_of(examples[nearest])["pair"],
                    "score": round(float(ranks[row]), 1),
                }
            )
        return found


def _texts(rows: Rows | Part) -> tuple[np.ndarray, np.ndarray]:
    """Returns a number for each first and each second text of rows, int (N,): the same for texts of the same tokens."""
    stored = rows.read(np.arange(len(rows)))
    tokens = np.ascontiguousarray(np.where(stored["group"] > 0, stored["tokens"].astype(np.int64) + 1, 0))
    as_bytes = tokens.view(np.dtype((np.void, tokens.dtype.itemsize * tokens.shape[-1])))[..., 0]
    first, second = (np.unique(as_bytes[:, side], return_inverse=True)[1].reshape(-1) for side in (0, 1))
    return first, second


def _rows(x: jax.Array) -> Any:
    """Returns the spec of (B, C) with the rows where those of `x` are; None without a mesh."""
    return P(BATCH, None) if explicit_mesh() else None


def _signature(tokens_BL: jax.Array, group_BL: jax.Array) -> jax.Array:
    """Returns a number for each text, uint32 (B,): the same for equal texts, and another for almost all others."""
    weight_L = (np.arange(1, tokens_BL.shape[1] + 1, dtype=np.uint64) * 2654435761 % 2**32).astype(np.uint32) | 1
    seen = jnp.where(group_BL > 0, tokens_BL + 1, 0).astype(jnp.uint32)
    return (seen * seen * weight_L + seen * (weight_L ^ np.uint32(0x9E3779B9))).sum(-1, dtype=jnp.uint32)


KIND = kind_of(SentenceVectors, SentenceVectorsConfig)
