"""The processes that `gpu.py` starts. They read and write one JSON object a line. Do not run this file by hand.

    facts        the machine, the device, its memory and peak
    correctness  the checks of `CHECKS`, by name
    ours         jaxbert's step
    torch        the peer's step (`peer.py`)

Each side has a separate process, so that memory is counted separately and a crash ends nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from jaxbert.config import (  # noqa: E402
    DataConfig,
    EncoderConfig,
    NumericsConfig,
    OptimizerConfig,
    PhaseConfig,
    RunConfig,
    ScheduleConfig,
    from_json,
)
from jaxbert.models.families.bert import PRESETS  # noqa: E402

# Ids of google-research/bert's uncased vocabulary.
CLS, SEP, MASK, FIRST_WORD = 101, 102, 103, 999
WARM_STEPS = 3
# Batches that a side cycles through; all of them lie on the device before the clock starts.
BATCHES = 4
PEAK_LEARNING_RATE = 1e-4

Json = dict[str, Any]


# ----------------------------------------------------------------------------------------------------------------------
# What both sides train on


def special(vocab_size: int) -> Any:
    """Returns (V,) bool: true for [PAD] and the ids that stand for [CLS], [SEP] and [MASK] in small vocabularies."""
    import numpy as np

    table = np.zeros(vocab_size, bool)
    table[[0, *(token % vocab_size for token in (CLS, SEP, MASK))]] = True
    return table


def full_rows(vocab_size: int, rows: int, length: int, seed: int) -> dict[str, Any]:
    """Returns clean pairs without padding. Low ids are more frequent, so that there is something to learn."""
    import numpy as np

    draw = np.random.default_rng(seed)
    first = min(FIRST_WORD, vocab_size // 4)
    skewed = draw.random((rows, length)) ** 4
    tokens = (first + skewed * (vocab_size - first)).astype(np.int32)
    tokens[:, 0], tokens[:, length // 2], tokens[:, -1] = (token % vocab_size for token in (CLS, SEP, SEP))
    types = np.broadcast_to(np.arange(length) > length // 2, (rows, length)).astype(np.int32)
    return {
        "tokens": tokens,
        "types": types,
        "group": np.ones((rows, length), np.int32),
        "label": draw.integers(0, 2, rows).astype(np.int32),
    }


def run_config(
    encoder: EncoderConfig, *, rows: int, length: int, slots: int, dtype: str, rate: float = PEAK_LEARNING_RATE
) -> RunConfig:
    schedule = ScheduleConfig(kind="constant", peak=rate, warmup_steps=0)
    return RunConfig(
        name="gpu",
        encoder=encoder,
        # Bias-corrected: the same update as torch's AdamW.
        optimizer=OptimizerConfig(name="adamw"),
        phases=(PhaseConfig(length=length, batch_size=rows, slots=slots, steps=1000, schedule=schedule),),
        # A run names where its rows come from; nothing here reads them.
        data=DataConfig(source="none"),
        numerics=NumericsConfig(dtype=dtype),  # type: ignore[arg-type]
    )


class Training:
    """A built program on the first device, its frozen tables and its batches."""

    def __init__(self, config: RunConfig, batches: int = BATCHES):
        from jaxbert.core.sharding import global_batch, replicated, single_device_mesh
        from jaxbert.objectives.vocabulary import frozen_tables
        from jaxbert.tasks.base import batch_fields
        from jaxbert.training.step import build

        phase, vocab_size = config.phases[0], config.encoder.vocab_size
        self.config, self.mesh = config, single_device_mesh()
        self.program = build(config, self.mesh)
        self.frozen = replicated(self.mesh, frozen_tables(special(vocab_size), MASK % vocab_size))
        self.batches = []
        for seed in range(batches):
            host = full_rows(vocab_size, phase.batch_size, phase.length, seed)
            read = lambda lo, hi, host=host: {name: x[lo:hi] for name, x in host.items()}  # noqa: E731
            self.batches.append(global_batch(self.mesh, read, phase.batch_size, batch_fields(phase.length)))

    def set_mesh(self) -> Any:
        import jax

        return jax.set_mesh(self.mesh)

    def start(self) -> Any:
        with self.set_mesh():
            return self.program.init(self.config.seed)

    def compile(self) -> Any:
        """Returns the compiled step. Runs nothing on the device."""
        with self.set_mesh():
            return self.program.step.lower(self.program.state, self.program.frozen, self.program.batch).compile()

    def losses(self, steps: int) -> tuple[list[float], Any]:
        """Returns the losses of `steps` steps from the start, and the state after them."""
        state, losses = self.start(), []
        with self.set_mesh():
            for step in range(steps):
                state, metrics = self.program.step(state, self.frozen, self.batches[step % len(self.batches)])
                losses.append(metrics["loss"])
        return [float(loss) for loss in losses], state


# ----------------------------------------------------------------------------------------------------------------------
# Correctness. Each check gives {"passed": bool, ...what was found, and the tolerance it was held to}.

LOSS_TOLERANCE = 5e-3
PRECISION_TOLERANCES = {"highest": 1e-4, "default": 2e-2}
PACKED_TOLERANCE = 1e-5

# Dependencies of preparing data, logging and converting, which a machine for this benchmark need not have.
# What a training loop on a GPU needs of this package, and the libraries that it must not need.
TRAINING = [
    "jaxbert.training.step",
    "jaxbert.training.optim",
    "jaxbert.models.model",
    "jaxbert.objectives",
    "jaxbert.core.sharding",
    "jaxbert.observe.flops",
]
NOT_NEEDED = [
    "array_record",
    "botocore",
    "matplotlib",
    "psutil",
    "pyarrow",
    "safetensors",
    "sentencex",
    "tensorboardX",
    "tensorflow",
    "tensorflow_datasets",
    "tokenizers",
    "torch",
    "transformers",
    "zstandard",
]

# sha256 of what `masks` corrupts, computed on a CPU with two versions of Python and jax; no transcendental function
# stands between the random bits and a mask, so every device must give it.
MASKS_SHA256 = "f814f3e0c56dad710d77ee278727c5585ed2936f1e80c2bb7a816be030c18443"


def small_encoder(smoke: bool, **changes: Any) -> EncoderConfig:
    encoder = PRESETS["mini"]
    if smoke:
        encoder = dataclasses.replace(
            encoder, vocab_size=512, hidden_size=32, num_heads=2, num_layers=2, intermediate_size=64
        )
    return dataclasses.replace(encoder, **changes)


def small_config(smoke: bool, dtype: str, **changes: Any) -> RunConfig:
    rows, length, slots = (8, 32, 5) if smoke else (32, 128, 20)
    return run_config(small_encoder(smoke, **changes), rows=rows, length=length, slots=slots, dtype=dtype, rate=1e-3)


def check_imports(smoke: bool) -> Json:
    """Checks that the step, the models, objectives and optimizers import without what only data and logging need."""
    program = f"import sys; sys.modules.update(dict.fromkeys({NOT_NEEDED!r})); import {', '.join(TRAINING)}"
    # The import alone, so the second process takes no device.
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    return {"passed": done.returncode == 0, "blocked": NOT_NEEDED, "error": done.stderr.strip()[-500:]}


def check_losses(smoke: bool) -> Json:
    """Compares 20 steps in bfloat16 and in float32 (highest matmul precision).

    Start, batches, masks and dropout are the same.
    """
    import jax

    steps = 20
    with jax.default_matmul_precision("highest"):
        wide, _ = Training(small_config(smoke, "float32")).losses(steps)
    narrow, _ = Training(small_config(smoke, "bfloat16")).losses(steps)
    apart = [abs(b - a) / abs(a) for a, b in zip(wide, narrow, strict=True)]
    return {
        # A NaN is not at most the tolerance; losses that do not fall would hide a gradient that is wrong in both.
        "passed": all(x <= LOSS_TOLERANCE for x in apart) and wide[-1] < wide[0] and narrow[-1] < narrow[0],
        "largest": max(apart),
        "tolerance": LOSS_TOLERANCE,
        "relative": apart,
        "float32": wide,
        "bfloat16": narrow,
    }


def check_masks(smoke: bool) -> Json:
    """Checks that the hash of masked rows equals the recorded one, so that every device masks with the same bits."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxbert.objectives import make_objectives, prepare
    from jaxbert.objectives.vocabulary import frozen_tables

    # Arithmetic, not a random generator, whose stream may change with its version. Rows of all lengths, 0 too.
    config = run_config(PRESETS["mini"], rows=16, length=128, slots=20, dtype="float32")
    row, column = np.arange(16)[:, None], np.arange(128)[None]
    group = (column < row * 128 // 15).astype(np.int32)
    tokens = (FIRST_WORD + (row * 1031 + column * 2953 + row * column * 17) % 29000).astype(np.int32) * group
    batch = {"tokens": tokens, "types": 0 * group, "group": group, "label": np.zeros(16, np.int32)}
    objectives = make_objectives(config.objectives, config.encoder, length=128, slots=20)
    frozen = frozen_tables(special(config.encoder.vocab_size), MASK)

    @jax.jit
    def masked(batch: Any, step: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), step)
        return prepare(objectives, {}, jax.tree.map(jnp.asarray, frozen), batch, key)

    digest, slots = hashlib.sha256(), 0
    for step in range(3):
        out = masked(batch, step)
        slots += int(out["slot_weight"].sum())
        for name in ("tokens", "slots", "labels", "slot_weight"):
            digest.update(np.asarray(out[name]).astype("<i4").tobytes())
    return {"passed": digest.hexdigest() == MASKS_SHA256, "sha256": digest.hexdigest(), "slots": slots}


def check_gradients(smoke: bool) -> Json:
    """Compares float32 hidden states, loss and gradients with those of the same program on this machine's CPU.

    The error of each tensor is relative to its norm. The key's bias has no gradient in exact arithmetic (a shift of
    all scores leaves softmax as it is), so its rounding error is relative to the norm of the query's bias.
    """
    import jax
    import numpy as np

    from jaxbert.objectives.vocabulary import frozen_tables
    from jaxbert.tasks.pretraining import Pretraining
    from jaxbert.training.step import gradients

    config = small_config(smoke, "float32")
    phase, vocab_size = config.phases[0], config.encoder.vocab_size
    task = Pretraining(config, phase)
    host, device = jax.devices("cpu")[0], jax.devices()[0]
    with jax.default_device(host):
        params = jax.jit(task.parts.init)(jax.random.key(0, impl="threefry2x32"))
        clean = full_rows(vocab_size, phase.batch_size, phase.length, 0)
        frozen = frozen_tables(special(vocab_size), MASK % vocab_size)
        key = jax.random.key(1, impl="threefry2x32")
        batch = jax.jit(lambda b: task.prepare({}, jax.tree.map(jax.numpy.asarray, frozen), b, key))(clean)
        denominators = task.denominators(batch)

    def run(params: Any, batch: Any, denominators: Any) -> Any:
        grads, terms = gradients(
            task, params, {}, batch, denominators, dropout_key=None, dtype=np.float32, accumulation=1
        )
        losses = {name: term.sum / denominators[name] for name, term in terms.items()}
        return {"hidden": task.model.hidden(params, batch), "losses": losses, "gradients": grads}

    def on(where: Any, precision: str) -> dict[str, np.ndarray]:
        with jax.default_matmul_precision(precision):
            out = jax.jit(lambda *inputs: run(*inputs))(*jax.device_put((params, batch, denominators), where))
        leaves = jax.tree_util.tree_flatten_with_path(jax.device_get(out))[0]
        return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}

    expected = on(host, "highest")
    found: Json = {"passed": True, "device": device.device_kind, "tolerances": PRECISION_TOLERANCES}
    for precision, tolerance in PRECISION_TOLERANCES.items():
        errors = {}
        for name, value in on(device, precision).items():
            scale = expected[name.replace("layers/key/bias", "layers/query/bias")]
            errors[name] = float(np.linalg.norm(value - expected[name]) / np.linalg.norm(scale))
        worst = max(errors, key=lambda name: math.inf if math.isnan(errors[name]) else errors[name])
        losses = {name: error for name, error in errors.items() if not name.startswith("gradients")}
        found[precision] = {"worst": worst, "error": errors[worst], "outputs": losses}
        found["passed"] &= all(error <= tolerance for error in errors.values())
    return found


def check_determinism(smoke: bool) -> Json:
    """Checks that two runs of 10 steps give the same bits: losses, parameters and moments."""
    import jax
    import numpy as np

    def digest() -> str:
        losses, state = training.losses(10)
        whole = hashlib.sha256(np.asarray(losses).tobytes())
        for leaf in jax.tree.leaves(jax.device_get(state)):
            whole.update(np.asarray(leaf).tobytes())
        return whole.hexdigest()

    training = Training(small_config(smoke, "auto"))
    first, second = digest(), digest()
    return {"passed": first == second, "sha256": [first, second], "xla_flags": os.environ.get("XLA_FLAGS", "")}


# dtype, and whether with fused attention.
ISOLATED = ("float32", "bfloat16", "bfloat16 fused")


def check_isolation(smoke: bool) -> Json:
    """Checks that a text in a packed row does not change the other text's hidden states, not by one bit.

    Each text must also give the same hidden states in a separate row (float32, to rounding). The check runs the
    platform's fused attention too (bfloat16); the results name it.
    """
    import jax
    import numpy as np

    from jaxbert.models.attention import choose
    from jaxbert.models.model import Model

    encoder = small_encoder(smoke)
    rows, length = (4, 32) if smoke else (16, 128)
    cut, end = length * 3 // 8, length * 7 // 8
    model = Model(encoder, ())
    fused = Model(dataclasses.replace(encoder, attention="fused", attention_dropout=0.0), ())
    params = jax.jit(model.init)(jax.random.key(0, impl="threefry2x32"))
    base = full_rows(encoder.vocab_size, rows, length, 0)
    other = full_rows(encoder.vocab_size, rows, length, 1)["tokens"]
    parts = {"first": slice(0, cut), "second": slice(cut, end), "padding": slice(end, length)}
    base["group"][:, parts["second"]], base["group"][:, parts["padding"]] = 2, 0

    def ran(params: Any, batch: Any, kind: str) -> Any:
        dtype, _, attention = kind.partition(" ")
        return (fused if attention else model).hidden(params, batch, dtype=dtype)

    run = jax.jit(ran, static_argnums=2)

    def hidden(batch: Any, kind: str) -> np.ndarray:
        fields = {name: batch[name] for name in ("tokens", "types", "group")}
        return np.asarray(run(params, fields, kind)).astype(np.float32)

    found: Json = {"passed": True, "tolerance_alone": PACKED_TOLERANCE}
    found["fused attention"] = choose("fused", length, "bfloat16")
    for dtype in ISOLATED:
        before, leaks, moved = hidden(base, dtype), {}, {}
        for name, part in parts.items():
            tokens = base["tokens"].copy()
            tokens[:, part] = other[:, part]
            change = np.abs(hidden({**base, "tokens": tokens}, dtype) - before)
            moved[name] = float(change[:, part].max())
            leaks[name] = max(float(change[:, parts[seen]].max()) for seen in parts if seen != name)
        found[dtype] = {"leak": leaks, "moved": moved}
        # What was changed must move, or the check has checked nothing; NaN moves nothing and leaks nothing.
        found["passed"] &= all(x == 0 for x in leaks.values()) and all(x > 0 for x in moved.values())

    with jax.default_matmul_precision("highest"):
        packed = hidden(base, "float32")
        for name in ("first", "second"):
            alone = {field: base[field][:, parts[name]] for field in ("tokens", "types", "group")}
            apart = float(np.linalg.norm(hidden(alone, "float32") - packed[:, parts[name]]))
            found[f"alone_{name}"] = apart / float(np.linalg.norm(packed[:, parts[name]]))
            found["passed"] &= found[f"alone_{name}"] <= PACKED_TOLERANCE
    return found


CHECKS: dict[str, Callable[[bool], Json]] = {
    "imports": check_imports,
    "masks": check_masks,
    "isolation": check_isolation,
    "gradients": check_gradients,
    "losses": check_losses,
    "determinism": check_determinism,
}


# ----------------------------------------------------------------------------------------------------------------------
# The two sides of a step: `prepare` builds and compiles, `run` makes steps and waits for the last one's loss.


class Ours:
    """Runs jaxbert's program, like `jaxbert pretrain`."""

    def prepare(self, case: Json) -> Json:
        encoder = from_json(EncoderConfig, case["encoder"], "case")
        self._training = Training(
            run_config(encoder, rows=case["rows"], length=case["length"], slots=case["slots"], dtype="auto")
        )
        began = time.perf_counter()
        self._step = self._training.compile()
        seconds = time.perf_counter() - began
        self._state, self._count = self._training.start(), 0
        return {"compile_s": seconds}

    def run(self, steps: int) -> float:
        with self._training.set_mesh():
            for _ in range(steps):
                batch = self._training.batches[self._count % BATCHES]
                self._state, metrics = self._step(self._state, self._training.frozen, batch)
                self._count += 1
        return float(metrics["loss"])

    def peak_bytes(self) -> int | None:
        import jax

        return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


class Torch:
    """Runs transformers' BertForPreTraining: sdpa, fused AdamW, bfloat16 autocast; torch.compile if the case asks."""

    def prepare(self, case: Json) -> Json:
        import peer
        import torch

        from jaxbert.training.optim import clip_norm

        torch.manual_seed(0)
        torch.set_float32_matmul_precision("high")
        encoder = from_json(EncoderConfig, case["encoder"], "case")
        config = run_config(encoder, rows=case["rows"], length=case["length"], slots=case["slots"], dtype="auto")
        self._device = "cpu" if case["platform"] == "cpu" else "cuda"
        if self._device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("this torch sees no GPU")
        model = peer.make_peer(encoder, attention="sdpa")
        if case["gather"]:
            model = gathering(model)
        model = model.to(self._device)
        optimizer = peer.make_optimizer(model, config.optimizer, PEAK_LEARNING_RATE)
        self._inputs, self._count = [], 0
        for corrupted in corrupted_batches(config):
            inputs = peer.peer_batch(corrupted, self._device)
            # The rows are full: without a mask sdpa is free to take its fastest kernel.
            del inputs["attention_mask"]
            if case["gather"]:
                labels = inputs["labels"].flatten()
                inputs["picked"] = labels.ge(0).nonzero()[:, 0]
                inputs["labels"] = labels[inputs["picked"]]
            self._inputs.append(inputs)
        called = torch.compile(model) if case["compile"] else model
        bound = clip_norm(config.optimizer)

        def step(inputs: Json) -> Any:
            return peer.train_step(called, optimizer, inputs, clip_norm=bound, bfloat16=self._device == "cuda")

        self._step = step
        began = time.perf_counter()
        self.run(1)
        return {"compile_s": time.perf_counter() - began}

    def run(self, steps: int) -> float:
        for _ in range(steps):
            loss = self._step(self._inputs[self._count % BATCHES])
            self._count += 1
        return float(loss)

    def peak_bytes(self) -> int | None:
        import torch

        return torch.cuda.max_memory_allocated() if self._device == "cuda" else None


def gathering(model: Any) -> Any:
    """Returns the peer with logits of only the picked positions, like ours; transformers computes those of all."""
    import types

    import torch

    class Gathering(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, picked: Any, labels: Any, next_sentence_label: Any, **inputs: Any) -> Any:
            out = self.model.bert(**inputs)
            logits = self.model.cls.predictions(out.last_hidden_state.flatten(0, 1)[picked])
            pairs = self.model.cls.seq_relationship(out.pooler_output)
            cross_entropy = torch.nn.functional.cross_entropy
            loss = cross_entropy(logits.float(), labels) + cross_entropy(pairs.float(), next_sentence_label)
            return types.SimpleNamespace(loss=loss)

    return Gathering()


def corrupted_batches(config: RunConfig) -> Iterator[dict[str, Any]]:
    """Yields the batches that ours trains on, corrupted once. This process has jax on the CPU."""
    import jax
    import jax.numpy as jnp

    from jaxbert.objectives import make_objectives, prepare
    from jaxbert.objectives.vocabulary import frozen_tables

    phase, vocab_size = config.phases[0], config.encoder.vocab_size
    objectives = make_objectives(config.objectives, config.encoder, length=phase.length, slots=phase.slots)
    frozen = jax.tree.map(jnp.asarray, frozen_tables(special(vocab_size), MASK % vocab_size))
    masked = jax.jit(lambda batch, key: prepare(objectives, {}, frozen, batch, key))
    for seed in range(BATCHES):
        clean = full_rows(vocab_size, phase.batch_size, phase.length, seed)
        yield jax.device_get(masked(clean, jax.random.key(seed, impl="threefry2x32")))


class Step:
    """Runs a side, and measures its time and its energy."""

    def __init__(self, side: Ours | Torch):
        from jaxbert.observe.energy import Nvml

        self._side = side
        self._meter = None
        # The GPU's own counter and no other: the same meter for both sides, whatever else the machine can read.
        with contextlib.suppress(OSError, AttributeError):
            self._meter = Nvml()

    def __call__(self, message: Json) -> Json:
        if message["do"] == "prepare":
            return self._side.prepare(message["case"])
        if message["do"] == "warm":
            self._side.run(WARM_STEPS)
            return {"step_s": self._timed(WARM_STEPS)["seconds"] / WARM_STEPS}
        return self._timed(message["steps"])

    def _timed(self, steps: int) -> Json:
        joules = self._meter.joules() if self._meter else None
        began = time.perf_counter()
        loss = self._side.run(steps)
        seconds = time.perf_counter() - began
        if self._meter:
            joules = self._meter.joules() - joules
        return {"seconds": seconds, "joules": joules, "loss": loss, "peak_bytes": self._side.peak_bytes()}


# ----------------------------------------------------------------------------------------------------------------------


def facts(message: Json) -> Json:
    """Returns the facts about the machine and its device that a reader of the results needs."""
    import common
    import jax

    from jaxbert.core.sharding import compute_dtype
    from jaxbert.observe.peaks import mesh_peak

    device, dtype = jax.devices()[0], compute_dtype("auto").name
    peak = mesh_peak([device], dtype)
    return {
        "machine": common.machine(),
        "platform": device.platform,
        "device": device.device_kind,
        "device_bytes": (device.memory_stats() or {}).get("bytes_limit"),
        "dtype": dtype,
        "peak_flops": peak.flops if peak else None,
        "peak_source": peak.source if peak else "none published for this device: no MFU",
    }


def correctness(message: Json) -> Json:
    return CHECKS[message["check"]](message["smoke"])


def guarded(answer: Callable[[Json], Json], message: Json) -> Json:
    """Returns the answer, or the error in few words: a failure is a result too, and the process goes on."""
    try:
        return answer(message)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        plain = text.lower().replace("_", " ")
        memory = any(words in plain for words in ("resource exhausted", "out of memory", "alloc failed"))
        return {"error": text[:1500], "out_of_memory": memory}


def main() -> None:
    # Answers go out on the real stdout; what libraries print there goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    kind = sys.argv[1]
    answer: Callable[[Json], Json]
    if kind in ("ours", "torch"):
        answer = Step(Ours() if kind == "ours" else Torch())
    else:
        answer = {"facts": facts, "correctness": correctness}[kind]
    for line in sys.stdin:
        print(json.dumps(guarded(answer, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
