"""The peer: Hugging Face's PyTorch BERT for pretraining, in our shapes, on our batches, with our optimizer settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import transformers

from jaxbert.config import EncoderConfig, OptimizerConfig
from jaxbert.convert.names import export_params
from jaxbert.models.families import FAMILIES

HEADS = ("pooler", "masked_lm", "next_sentence")
IGNORED = -100  # torch's CrossEntropyLoss leaves such labels out of its mean


def make_peer(encoder: EncoderConfig, *, attention: str = "sdpa") -> transformers.BertForPreTraining:
    """Returns BertForPreTraining with `encoder`'s shape, activation, dropout, epsilon and random weights in train mode.

    Args:
      encoder: the shape. Its vocabulary is not padded here.
      attention: transformers' `attn_implementation`: "sdpa" or "eager".
    """
    published = FAMILIES[encoder.family].to_published(encoder, HEADS)
    config = transformers.BertConfig(**published, attn_implementation=attention)
    return transformers.BertForPreTraining(config).train()


def load_params(peer: transformers.BertForPreTraining, params: Any, encoder: EncoderConfig) -> None:
    """Gives `peer` the weights of our `params` (encoder and the three heads)."""
    exported = export_params(params, encoder)
    with torch.no_grad():
        for name, weight in peer.named_parameters():
            weight.copy_(torch.from_numpy(np.array(exported[name])))


def peer_batch(batch: Mapping[str, Any], device: str | torch.device = "cpu") -> dict[str, torch.Tensor]:
    """Turns our batch after corruption into keyword arguments of the peer's forward pass.

    Args:
      batch: `tokens` (corrupted), `types`, `group` (B, L); `slots`, `labels`, `slot_weight` (B, M); `label` (B,).
        Groups are 1 for tokens and 0 for padding, because the peer knows no others.
      device: where to put them.

    Returns:
      input_ids, token_type_ids, attention_mask, labels (B, L) and next_sentence_label (B,), int64. Labels are -100
      wherever no slot points; the losses are means over the rest, as ours are.
    """
    host = {name: np.asarray(values) for name, values in batch.items()}
    labels = np.full(host["tokens"].shape, IGNORED, np.int64)
    row, slot = np.nonzero(host["slot_weight"] > 0)
    labels[row, host["slots"][row, slot]] = host["labels"][row, slot]
    made = {
        "input_ids": host["tokens"],
        "token_type_ids": host["types"],
        "attention_mask": host["group"] > 0,
        "labels": labels,
        "next_sentence_label": np.where(host["label"] >= 0, host["label"], IGNORED),
    }
    return {name: torch.from_numpy(values.astype(np.int64)).to(device) for name, values in made.items()}


def make_optimizer(peer: torch.nn.Module, config: OptimizerConfig, rate: float) -> torch.optim.AdamW:
    """Returns torch's fused AdamW with our betas, epsilon and decay. LayerNorm and biases are not decayed.

    It corrects the bias of the moments, and `bert_adamw` does not. The numbers differ, but the work is the same.
    """
    plain = [w for name, w in peer.named_parameters() if _plain(name)]
    decayed = [w for name, w in peer.named_parameters() if not _plain(name)]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True)


def train_step(
    peer: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Mapping[str, torch.Tensor],
    *,
    clip_norm: float,
    bfloat16: bool = False,
) -> torch.Tensor:
    """Does one step: forward (bfloat16 autocast on request), backward, clip (unless 0), update. Returns the loss."""
    device = inputs["input_ids"].device.type
    with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
        loss = peer(**inputs).loss
    loss.backward()
    if clip_norm:
        torch.nn.utils.clip_grad_norm_(peer.parameters(), clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _plain(name: str) -> bool:
    return name.endswith("bias") or "LayerNorm" in name
