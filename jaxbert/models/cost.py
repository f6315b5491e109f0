"""The cost of a model's parts: matrix products, other arithmetic, bytes of memory, sums between devices.

Imports no jax.

An encoder's `Cost` and a head's products are the only places that know what a part computes. `jaxbert.models.flops`
takes the FLOPs of MFU from them, and `jaxbert.plan.work` takes everything that a plan is made of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from jaxbert.config import EncoderConfig, Remat

# Vector operations per element in the forward pass. The backward pass counts as the same again.
SOFTMAX, NORM, GELU = 10.0, 12.0, 15.0
# A 16-bit draw for dropout: threefry2x32 makes 64 bits in 20 rounds of an add, a rotation (3) and an exclusive or, and
# five key injections.
DRAW = (20 * 5 + 5 * 3) / 4


class _OnTPU:
    """Rates of compiled programs on TPUs, fitted to libtpu's estimates of cycles and to the bytes of its programs.

    XLA keeps most intermediate arrays of a layer in the core's memory, so they cost no bytes. But each pass over an
    array costs cycles wherever it is, about 18 of one core for 1,024 elements, which is far more than its arithmetic.
    docs/explanations/results.md has the remaining error.

    Attributes, in cycles of one core for 1,024 elements:
      DRAW: a 16-bit draw for dropout, with its comparison and its mask.
      NORM, NORM_BACK: an element of a norm with its residual sum; forward, and backward.
      SOFTMAX, SOFTMAX_BACK: a score, with the loads and stores of its products.
      GELU, GELU_BACK: an element of the feed-forward layer's inner activation.
      SAVE: a byte that the forward pass saves in the stack of layers, and that the backward pass takes from it.

    Others:
      SAVED: bytes of HBM for each saved byte: one write, and the reads.
      PASSES: bytes of HBM for each byte of a layer's input.
      SPILLED: bytes of HBM for each score that remat computes again, where a layer's scores are more than `CORE` bytes
        and the core's memory does not hold them.
      INNER: bytes of HBM for each byte of a feed-forward layer's inner activation that remat computes again, where it
        is more than `CORE` bytes: a write and a read in each of three passes, and the read for a weight's gradient.
    """

    DRAW = 25.0
    NORM, NORM_BACK = 44.0, 58.0
    SOFTMAX, SOFTMAX_BACK = 36.0, 62.0
    GELU, GELU_BACK = 10.0, 17.0
    SAVE = 6.7
    SAVED, PASSES = 3.5, 8.0
    SPILLED, INNER, CORE = 30.0, 7.0, 32e6


class _OnGPU:
    """Bytes of memory of a layer's program on GPUs, fitted to programs that XLA compiled for A100 and H100.

    Each array that goes from one kernel to the next is written and read. What stays in the second-level cache is
    counted too, because the compiler does not say. docs/explanations/results.md has the remaining error.

    Attributes, in bytes of memory of a training step of 16-bit activations:
      SAVED: for each byte that the forward pass saves for the backward pass. The stack of layers is cleared, updated
        and sliced by separate kernels.
      HIDDEN: for each element of a layer's input, by norms, residual sums, biases, dropout and its random bits.
      INNER: for each element of the feed-forward layer's inner activation, outside its products.
      SCORES, SCORES_AGAIN: for each score, outside its products: without remat, and where remat computes it again.
      STILL: share of `HIDDEN` and `SCORES` without dropout.
      FORWARD: share of `HIDDEN`, `INNER` and `SCORES` of a forward pass alone. It is assumed: no such program was
        compiled.
    """

    SAVED = 4.2
    HIDDEN, INNER = 165.0, 18.0
    SCORES, SCORES_AGAIN = 46.0, 35.0
    STILL = 0.93
    FORWARD = 0.25


# The name of the operation that a fused attention kernel does.
FUSED = "fused attention"


@dataclass(frozen=True)
class Op:
    """A piece of the step's work that runs by itself.

    Attributes:
      name: name of its kind.
      flops: FLOPs of its matrix products.
      vector: number of all other operations.
      cycles: cycles of a TPU's core in place of `vector`, by libtpu's estimates.
      bytes: bytes that it reads and writes in HBM.
      count: number of times that it runs in a step.
      gathers: whether it reads its bytes by index.
    """

    name: str
    flops: float = 0.0
    vector: float = 0.0
    cycles: float = 0.0
    bytes: float = 0.0
    count: float = 1.0
    gathers: bool = False

    def times(self, count: float) -> Op:
        """Returns the same work, done `count` times."""
        return replace(self, count=self.count * count)


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch as one device computes it.

    Attributes:
      rows: rows of the device.
      length: L.
      slots: M, prediction slots per row.
      width: bytes of an activation.
      split: the number of devices among which the layout splits heads, feed-forward and vocabulary.
      platform: "tpu", "gpu" or "cpu".
    """

    rows: float
    length: int
    slots: int
    width: int
    split: int
    platform: str

    @property
    def tokens(self) -> float:
        """Returns the number of tokens of the device, padding included."""
        return self.rows * self.length

    def vectors(self, over: Over) -> float:
        """Returns the number of vectors that a head reads."""
        return {"tokens": self.tokens, "slots": self.rows * self.slots, "rows": self.rows}[over]


# The vectors that a head reads: those of every token, those at the prediction slots, or one per row.
Over = Literal["tokens", "slots", "rows"]


class Product(NamedTuple):
    """A matrix product of a head: a dense layer from `into` to `out` on some vectors.

    Attributes:
      over: the vectors that it reads.
      into: columns of a vector.
      out: columns of the result.
      decodes: whether it is the product with the word table. Then `out` is V, and a device computes the padding too.
      apart: number of columns of `into` that MFU's formula does not count.
      counted: whether MFU's formula counts the product.
      planned: whether a plan counts the product. One of two classes per row is too small to matter.
    """

    over: Over
    into: int
    out: int
    decodes: bool = False
    apart: int = 0
    counted: bool = True
    planned: bool = True

    def madds(self, vectors: int) -> int:
        """Returns the multiply-adds that MFU counts, forward."""
        return vectors * (self.into - self.apart) * self.out if self.counted else 0


def dense_op(name: str, vectors: float, into: float, out: float, width: int, *, train: bool = True) -> Op:
    """Returns the work of a dense layer on some vectors: forward, and in training both backward products."""
    passes = 3 if train else 1
    return Op(
        name,
        flops=2 * vectors * into * out * passes,
        bytes=(into * out + vectors * (into + out)) * width * passes,
    )


class Cost(Protocol):
    """The cost of one architecture; an encoder's class names it as its `cost`.

    Attributes:
      sums: (forward, backward) numbers of sums of a layer's activations over the devices that split it.
    """

    sums: tuple[int, int]

    def with_kernels_of(self, other: Cost) -> Cost:
        """Returns this cost with the attention kernel of another encoder, where both can have it; else itself."""
        ...

    def forward(self, length: int, asked: int | None = None) -> int:
        """Returns the multiply-adds of the forward pass over one row of L tokens, the heads left out.

        `asked` is the number of positions whose vectors the heads read; None: all.
        """
        ...

    def layer(self, batch: MicroBatch, *, train: bool = True) -> Iterator[Op]:
        """Yields the work of one layer on one micro-batch: forward, backward and recomputation."""
        ...

    def embeddings(self, batch: MicroBatch) -> Iterator[Op]:
        """Yields the work before the first layer on one micro-batch, forward and backward."""
        ...

    def saved(self, batch: MicroBatch, remat: Remat) -> float:
        """Returns the bytes that the forward pass of one layer leaves for the backward pass."""
        ...


class _Dense(NamedTuple):
    """A dense layer of a block. `split` is the side that a layout splits; `copies` is the number of such layers."""

    name: str
    into: int
    out: int
    split: Literal["into", "out"]
    copies: int = 1


class PostLNCost:
    """The cost of the post-LN encoder; see `Cost`."""

    # The outputs of attention and feed-forward; in the backward pass the gradients of four inputs.
    sums = (2, 4)

    def __init__(self, config: EncoderConfig):
        self.config = config

    def with_kernels_of(self, other: Cost) -> Cost:
        """See `Cost`."""
        if not isinstance(other, PostLNCost):
            return self
        return PostLNCost(replace(self.config, attention=other.config.attention))

    def _products(self) -> tuple[_Dense, ...]:
        size, inner = self.config.hidden_size, self.config.intermediate_size
        return (
            _Dense("projections", size, size, "out", 3),
            _Dense("projections", size, size, "into"),
            _Dense("feed-forward", size, inner, "out"),
            _Dense("feed-forward", inner, size, "into"),
        )

    def _fused(self, batch: MicroBatch) -> bool:
        """Returns whether `jaxbert.models.attention.choose` takes a fused kernel."""
        if self.config.attention != "fused":
            return False
        return (batch.platform == "tpu" and batch.length % 128 == 0) or (batch.platform == "gpu" and batch.width == 2)

    def forward(self, length: int, asked: int | None = None) -> int:
        """Returns N x (4 L D^2 + 2 L D F + 2 L^2 D) multiply-adds, and L E D where embeddings are projected.

        With M positions asked for, the last layer has keys and values of all tokens, and all else of M:
        2 L D^2 + 2 M D^2 + 2 M D F + 2 M L D.
        """
        config = self.config
        size = config.hidden_size
        dense = sum(product.into * product.out * product.copies for product in self._products())
        attention = 2 * length * length * size  # Scores and the weighted sum.
        projection = length * config.embedding_size * size
        total = config.num_layers * (length * dense + attention) + projection
        if asked is not None:
            total -= (length - asked) * (dense - 2 * size * size) + 2 * (length - asked) * length * size
        return total

    def layer(self, batch: MicroBatch, *, train: bool = True) -> Iterator[Op]:
        """See `Cost`."""
        config, split = self.config, batch.split
        tokens, length, width = batch.tokens, batch.length, batch.width
        size, inner = config.hidden_size, config.intermediate_size
        again = train and config.remat == "full"
        attended_again = train and config.remat != "none"
        runs = 3 + again if train else 1
        for product in self._products():
            into = product.into / split if product.split == "into" else product.into
            out = product.out / split if product.split == "out" else product.out
            moved = into * out * width
            if batch.platform != "tpu":
                moved += tokens * (into + out) * width
            yield Op(product.name, 2 * tokens * into * out * runs, bytes=moved * runs, count=product.copies)

        if batch.platform == "tpu":
            yield from self._on_tpu(batch, train=train)
            return
        scores = tokens * length * (config.num_heads / split)
        pair = 2 * tokens * length * size / split
        moved = 4 * tokens * size / split * width
        dropped = train and config.attention_dropout > 0
        passes = (1 + train + attended_again) if train else 1
        vector = scores * (SOFTMAX * passes + DRAW * dropped * (1 + attended_again))
        if self._fused(batch):
            # The backward pass computes scores again. Splash makes dq in one pass and dk, dv in another; each does so.
            times = (2 + 7 + 2 * attended_again) if train else 2
            yield Op(FUSED, flops=pair * times, vector=vector, bytes=moved * 3)
        else:
            times = (2 * 3 + 2 * attended_again) if train else 2
            # HBM holds scores and probabilities (float32 and rounded), and a mask if some are dropped.
            held = scores * (2 * width + 4 + (width + 1) * dropped) * (2 * passes)
            if batch.platform == "gpu":
                held = scores * self._of_scores(batch, train=train)
            yield Op("attention products", flops=pair * times, bytes=moved * 3 + scores * width * times)
            yield Op("softmax", vector=vector, bytes=held)

        elements, hidden = tokens * size * 2, tokens * inner / split
        draws = DRAW * (config.dropout > 0) * train
        of_norms, of_gelu, saved = elements * width * 5 * passes, hidden * width * 3 * passes, 0.0
        if batch.platform == "gpu":
            share = (width / 2) * (1.0 if train else _OnGPU.FORWARD)
            of_norms = tokens * size * _OnGPU.HIDDEN * share * (1.0 if draws else _OnGPU.STILL)
            of_gelu = hidden * _OnGPU.INNER * share
            saved = self.saved(batch, config.remat) * _OnGPU.SAVED * train
        yield Op("norms", vector=elements * (NORM * passes + draws * (1 + again)), bytes=of_norms)
        yield Op("gelu", vector=hidden * GELU * (passes + train), bytes=of_gelu)
        if saved:
            yield Op("saved for the backward pass", bytes=saved)

    def _of_scores(self, batch: MicroBatch, *, train: bool) -> float:
        """Returns the bytes of memory of a score on a GPU, outside the products."""
        whole = _OnGPU.SCORES if self.config.remat == "none" else _OnGPU.SCORES_AGAIN
        if not train:
            whole *= _OnGPU.FORWARD
        return whole * batch.width / 2 * (1.0 if train and self.config.attention_dropout > 0 else _OnGPU.STILL)

    def _on_tpu(self, batch: MicroBatch, *, train: bool) -> Iterator[Op]:
        """Yields the work of one layer outside its dense products, as XLA compiles it for a TPU."""
        config, split, rates = self.config, batch.split, _OnTPU
        tokens, length, width = batch.tokens, batch.length, batch.width
        size, inner = config.hidden_size, config.intermediate_size
        scores = tokens * length * (config.num_heads / split)
        # Forward passes: the first one, and the recomputation. Backward passes.
        forward = 1 + (train and config.remat == "full")
        attended = 1 + (train and config.remat != "none")
        backward = int(train)
        dropped = train and config.attention_dropout > 0
        pair = 2 * tokens * length * size / split
        draws = scores / 1024 * rates.DRAW * dropped * attended
        if self._fused(batch):
            # The backward pass computes scores again. Splash makes dq in one pass and dk, dv in another; each does so.
            times = (2 + 7 + 2 * (attended - 1)) if train else 2
            vector = scores * SOFTMAX * (attended + backward)
            moved = 4 * tokens * size / split * width
            yield Op(FUSED, flops=pair * times, vector=vector, cycles=draws, bytes=moved * 3)
        else:
            cycles = scores / 1024 * (rates.SOFTMAX * attended + rates.SOFTMAX_BACK * backward) + draws
            yield Op("attention products", flops=pair * (2 * attended + 4 * backward))
            spilled = attended > 1 and scores * width > rates.CORE
            yield Op("softmax", cycles=cycles, bytes=scores * rates.SPILLED * spilled)
        elements = 2 * tokens * size
        cycles = (
            rates.NORM * attended + rates.NORM_BACK * backward + rates.DRAW * (config.dropout > 0) * train * forward
        )
        moved = tokens * size * width * (rates.PASSES if train else 2)
        yield Op("norms", cycles=elements / 1024 * cycles, bytes=moved)
        hidden = tokens * inner / split
        # Remat keeps no results of GELU, and without remat the backward pass computes it again too. Other remat saves
        # the inner activation. Where nothing saves it, the products write and read it if it is too large for the core.
        inside = config.remat != "full" or not train or hidden * width <= rates.CORE
        yield Op(
            "gelu",
            cycles=hidden / 1024 * (rates.GELU * (1 + backward) + rates.GELU_BACK * backward),
            bytes=0.0 if inside else hidden * width * rates.INNER,
        )
        if train:
            saved = self.saved(batch, config.remat)
            yield Op("saved for the backward pass", cycles=saved / 1024 * rates.SAVE, bytes=saved * rates.SAVED)

    def embeddings(self, batch: MicroBatch) -> Iterator[Op]:
        """See `Cost`."""
        config, tokens, width = self.config, batch.tokens, batch.width
        vectors = tokens * config.embedding_width
        table = config.padded_vocab_size / batch.split * config.embedding_width
        yield Op("embeddings", vector=vectors * 3 * NORM, bytes=vectors * width * 8)
        yield Op("lookups", bytes=vectors * (width + 4) * 3 + table * 4, gathers=True)
        if config.embedding_size:
            yield dense_op("projection", tokens, config.embedding_size, config.hidden_size, width)

    def saved(self, batch: MicroBatch, remat: Remat) -> float:
        """See `Cost`. The terms were fitted to programs that libtpu compiled."""
        config, tokens, width = self.config, batch.tokens, batch.width
        size, inner = config.hidden_size, config.intermediate_size / batch.split
        split_size = size / batch.split
        if remat == "full":
            return tokens * size * width
        products = tokens * (3 * split_size + 3 * size + inner) * width
        if remat == "dots":
            return products + 1.5 * tokens * size * width
        scores = tokens * batch.length * config.num_heads / batch.split
        dropped = config.attention_dropout > 0
        if self._fused(batch):
            # Queries, keys, values and outputs again as the kernel takes them, heads padded to a TPU's 128 lanes.
            padded = max(1.0, 128 / config.head_dim) if batch.platform == "tpu" else 1.0
            held = tokens * split_size * width * (4 * padded + 4)
        else:
            held = scores * (4 + width + (width + 1) * dropped)
        masks = 2 * tokens * size * (config.dropout > 0)
        norms = 2 * tokens * size * 4 + 2 * tokens * size * width
        return products + held + masks + norms + tokens * split_size * width
