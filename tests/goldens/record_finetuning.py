"""Records the losses of transformers' models for tasks over the first steps of tests/finetuning.py, in float64.

    pip install torch==2.13.0 transformers==5.23.0
    PYTHONPATH=. python tests/goldens/record_finetuning.py

The losses are those of transformers' classes, or of torch where a class has none of the kind: smoothed and weighted
labels, and vectors of sentences, whose losses are written here from the definitions of Reimers and Gurevych 2019. For
answers, padding has no share of the probability; transformers gives it one.
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import numpy as np
import torch
import transformers

from jaxbert.convert.names import export_params
from jaxbert.models.families import FAMILIES
from tests.finetuning import CASES, GOLDEN, RECORDED, ours, rows

CLASSES = {
    "one_label": "BertForSequenceClassification",
    "several_labels": "BertForSequenceClassification",
    "number": "BertForSequenceClassification",
    "token_labels": "BertForTokenClassification",
    "question_answering": "BertForQuestionAnswering",
    "multiple_choice": "BertForMultipleChoice",
    "cosine": "BertModel",
    "negatives": "BertModel",
    "layer_decay": "BertForSequenceClassification",
    "frozen_layer": "BertForSequenceClassification",
    "frozen_encoder": "BertForSequenceClassification",
}


def theirs(name: str, start: Any, rates: list[float], dtype: str) -> list[float]:
    """The peer's loss at every step, from `start`, with `rates`."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    case = CASES[name]
    published = FAMILIES["bert"].to_published(case.config.encoder, tuple(part for part in start if part != "encoder"))
    labels = start.get("sequence_classification", start.get("token_classification"))
    more = {} if labels is None else {"num_labels": labels["dense"]["kernel"].shape[-1]}
    config = transformers.BertConfig(**published, **more, attn_implementation="eager")
    kind = getattr(transformers, CLASSES[name])
    pooled = {"add_pooling_layer": False} if kind is transformers.BertModel else {}
    peer = kind(config, **pooled).train()
    core = peer if kind is transformers.BertModel else peer.bert
    core.embeddings.word_embeddings.padding_idx = None
    exported = export_params(start, case.config.encoder)
    if kind is transformers.BertModel:
        exported = {key.removeprefix("bert."): value for key, value in exported.items()}
    with torch.no_grad():
        for key, weight in peer.named_parameters():
            weight.copy_(torch.from_numpy(np.array(exported[key])))
    peer = peer.to(getattr(torch, dtype))
    groups, trained = [], []
    for key, weight in peer.named_parameters():
        share = share_of(key, case)
        if share:
            plain = key.endswith("bias") or "LayerNorm" in key
            decay = 0.0 if plain else case.optimizer.weight_decay
            groups.append({"params": [weight], "weight_decay": decay, "share": share})
            trained.append(weight)
        else:
            weight.requires_grad_(False)
    optimizer = torch.optim.AdamW(
        groups, betas=(case.optimizer.beta1, case.optimizer.beta2), eps=case.optimizer.epsilon
    )
    losses = []
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        loss = loss_of(name, peer, rows(name, step), dtype)
        loss.backward()
        norm = torch.sqrt(sum((w.grad**2).sum() for w in trained if w.grad is not None))
        if norm > 1:
            for w in trained:
                if w.grad is not None:
                    w.grad /= norm
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def share_of(key: str, case: Any) -> float:
    """The share of the rate of a parameter, by its name in transformers."""
    layers, decay, frozen = case.config.encoder.num_layers, case.optimizer.layer_decay, case.optimizer.frozen_layers
    frozen = layers if frozen < 0 else frozen
    if "encoder.layer." in key:
        layer = int(key.split("encoder.layer.")[1].split(".")[0])
        return 0.0 if layer < frozen else decay ** (layers - layer)
    if "embeddings." in key:
        return 0.0 if frozen else decay ** (layers + 1)
    return 1.0


def loss_of(name: str, peer: Any, batch: dict[str, np.ndarray], dtype: str) -> Any:
    """The loss of a batch."""
    given = {
        "input_ids": torch.tensor(batch["tokens"]).long(),
        "token_type_ids": torch.tensor(batch["types"]).long(),
        "attention_mask": torch.tensor(batch["group"]).long(),
    }
    target = torch.tensor(batch["target"])
    real = getattr(torch, dtype)
    if name in ("cosine", "negatives"):
        flat = {key: value.flatten(0, 1) for key, value in given.items()}
        hidden, mask = peer(**flat).last_hidden_state, flat["attention_mask"][..., None].to(real)
        vectors = ((hidden * mask).sum(1) / mask.sum(1)).unflatten(0, (-1, 2))
        vectors = torch.nn.functional.normalize(vectors, dim=-1)
        if name == "cosine":
            known = ~target.isnan()
            cosine = (vectors[:, 0] * vectors[:, 1]).sum(-1)
            return torch.nn.functional.mse_loss(cosine[known], target[known].to(real) / 5)
        scores = 20 * vectors[:, 0] @ vectors[:, 1].T
        # A text that stands twice in the batch, on either side, makes no negative of its other partner.
        ids = given["input_ids"]
        same = (ids[:, None] == ids[None]).all(-1).any(-1)
        scores = scores.masked_fill(same & ~torch.eye(len(scores), dtype=bool), float("-inf"))
        return torch.nn.functional.cross_entropy(scores, torch.arange(len(scores)))
    out = peer(**given)
    if name == "number":
        known = ~target.isnan()
        return torch.nn.functional.mse_loss(out.logits[known, 0], target[known].to(real))
    if name == "several_labels":
        return torch.nn.functional.binary_cross_entropy_with_logits(out.logits, target.to(real))
    if name == "question_answering":
        padding = given["attention_mask"] == 0
        lowest = torch.finfo(real).min
        start, end = out.start_logits.masked_fill(padding, lowest), out.end_logits.masked_fill(padding, lowest)
        loss = torch.nn.CrossEntropyLoss(ignore_index=-1)
        return (loss(start, target[:, 0].long()) + loss(end, target[:, 1].long())) / 2
    if name == "multiple_choice":
        missing = given["attention_mask"][..., 0] == 0
        scores = out.logits.masked_fill(missing, float("-inf"))
        return torch.nn.functional.cross_entropy(scores, target.long(), ignore_index=-1)
    logits = out.logits
    settings: Any = CASES[name].task
    if name == "token_labels":
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten().long(), ignore_index=-1)
    weight = torch.tensor(settings.class_weights).to(real) if settings.class_weights else None
    return torch.nn.functional.cross_entropy(
        logits, target.long(), weight, ignore_index=-1, label_smoothing=settings.smoothing
    )


def main() -> None:
    columns = {}
    for name in CASES:
        start, found, rates = ours(name, "float64", RECORDED)
        columns[name] = theirs(name, start, rates, "float64")
        print(f"{name}: {np.abs(np.array(found) / columns[name] - 1).max():.1e}", file=sys.stderr, flush=True)
    lines = [
        f"# transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, numpy {np.__version__}",
        f"# step {' '.join(columns)}",
    ]
    lines += [f"{step} {' '.join(repr(column[step]) for column in columns.values())}" for step in range(RECORDED)]
    GOLDEN.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
