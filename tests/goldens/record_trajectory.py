"""Records how the losses of transformers' BertForPreTraining fall over the training of tests/trajectory.py.

    pip install torch==2.13.0 transformers==5.23.0
    PYTHONPATH=. python tests/goldens/record_trajectory.py

torch's AdamW, no decay on biases and LayerNorm, the gradient's global norm cut to 1; float64 and float32.
"""

from __future__ import annotations

import jax
import numpy as np
import torch
import transformers

from jaxbert.convert.names import export_params
from jaxbert.models.families import FAMILIES
from tests.trajectory import CONFIG, GOLDEN, OPTIMIZER, ours, peer_inputs


def theirs(start: dict, rates: list[float], dtype: str) -> list[float]:
    """The peer's loss at every step, from `start`, with `rates`."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    heads = ("pooler", "masked_lm", "next_sentence")
    published = FAMILIES["bert"].to_published(CONFIG.encoder, heads)
    peer = transformers.BertForPreTraining(transformers.BertConfig(**published, attn_implementation="eager")).train()
    # torch drops the gradient of its padding row, also where [PAD] was drawn as a random replacement.
    peer.bert.embeddings.word_embeddings.padding_idx = None
    exported = export_params(start, CONFIG.encoder)
    with torch.no_grad():
        for name, weight in peer.named_parameters():
            weight.copy_(torch.from_numpy(np.array(exported[name])))
    peer = peer.to(getattr(torch, dtype))
    plain = [w for name, w in peer.named_parameters() if name.endswith("bias") or "LayerNorm" in name]
    rest = [w for name, w in peer.named_parameters() if not (name.endswith("bias") or "LayerNorm" in name)]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "weight_decay": OPTIMIZER.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        betas=(OPTIMIZER.beta1, OPTIMIZER.beta2),
        eps=OPTIMIZER.epsilon,
    )
    losses = []
    for rate, inputs in zip(rates, peer_inputs(), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = peer(**{name: torch.tensor(array).long() for name, array in inputs.items()}).loss
        loss.backward()
        norm = torch.sqrt(sum((w.grad**2).sum() for w in peer.parameters()))
        if norm > 1:
            for w in peer.parameters():
                w.grad /= norm
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def main() -> None:
    columns = {}
    for dtype in ("float64", "float32"):
        start, _, rates = ours(dtype)
        columns[dtype] = theirs(start, rates, dtype)
    lines = [
        f"# transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, numpy {np.__version__}",
        "# step, loss in float64, loss in float32",
    ]
    lines += [f"{step} {a!r} {b!r}" for step, (a, b) in enumerate(zip(*columns.values(), strict=True))]
    GOLDEN.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
