"""Records what transformers' pretraining classes compute, for tests that need no torch.

    pip install torch==2.13.0 transformers==5.23.0 numpy safetensors
    python tests/goldens/record_families.py [NAME ...]

Writes tests/goldens/NAME/, a directory a shape: a model exactly as `save_pretrained` writes it (random weights, odd
sizes), and expected.safetensors: inputs, and for each GELU the float64 hidden states, logits, losses and gradients,
with the versions that computed them in its metadata.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

HERE = Path(__file__).parent
# What a class calls the logits of a pair, and what we call its head.
PAIRS = {"seq_relationship_logits": "next_sentence", "sop_logits": "sentence_order"}


def bert(
    layers: int, hidden: int, heads: int, inner: int, vocabulary: int, positions: int, types: int, epsilon: float
) -> dict[str, Any]:
    return dict(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
        hidden_act="gelu",
    )


BOTH, EXACT, TANH = ("gelu", "gelu_new"), ("gelu",), ("gelu_new",)
# Name: (class, its config, real tokens of each row, GELUs).
SHAPES: dict[str, tuple[str, dict[str, Any], tuple[int, ...], tuple[str, ...]]] = {
    "bert_pretraining": ("BertForPreTraining", bert(2, 18, 3, 37, 97, 17, 3, 1e-5), (11, 8, 5), BOTH),
    "bert_one_head": ("BertForPreTraining", bert(3, 10, 1, 7, 61, 13, 1, 1e-12), (13, 6), BOTH),
    "bert_wide": ("BertForPreTraining", bert(1, 16, 8, 45, 128, 9, 2, 1e-12), (9, 9, 2, 7, 4), BOTH),
    # Padding 1, as published: the first token has position 2.
    "roberta_masked_lm": (
        "RobertaForMaskedLM",
        bert(2, 10, 5, 13, 41, 14, 1, 1e-5) | {"pad_token_id": 1},
        (12, 7, 9),
        EXACT,
    ),
    # Four layers in two groups; embeddings narrower than the layers.
    "albert_pretraining": (
        "AlbertForPreTraining",
        bert(4, 10, 2, 13, 41, 11, 2, 1e-12)
        | {"embedding_size": 6, "num_hidden_groups": 2, "inner_group_num": 1, "hidden_act": "gelu_new"},
        (10, 6, 9),
        TANH,
    ),
    "distilbert_masked_lm": (
        "DistilBertForMaskedLM",
        dict(vocab_size=41, dim=10, n_layers=2, n_heads=5, hidden_dim=13, max_position_embeddings=12),
        (12, 7, 9),
        EXACT,
    ),
    "spanbert_masked_lm": ("BertForMaskedLM", bert(2, 10, 1, 13, 41, 12, 2, 1e-12), (12, 7, 9), EXACT),
}


def record(name: str) -> None:
    kind_name, fields, lengths, acts = SHAPES[name]
    kind = getattr(transformers, kind_name)
    torch.manual_seed(20)
    torch.set_num_threads(1)
    config = kind.config_class(**fields, attn_implementation="eager")
    model = kind(config).eval()
    with torch.no_grad():
        for parameter, weight in model.named_parameters():
            centre = 1.0 if weight.ndim == 1 and parameter.endswith("weight") else 0.0  # a LayerNorm's scale
            weight.copy_(centre + 0.25 * torch.randn_like(weight))

    rng = np.random.default_rng(21)
    vocabulary, padding, types = config.vocab_size, config.pad_token_id, getattr(config, "type_vocab_size", 0)
    padding = padding or 0
    shape = (len(lengths), max(lengths))
    mask = (np.arange(shape[1])[None] < np.array(lengths)[:, None]).astype(np.int32)
    # The padding id is not among the real tokens: torch's padding_idx would drop its gradient.
    words = (rng.integers(1, vocabulary, shape).astype(np.int32) + padding) % vocabulary
    inputs = {
        "tokens": np.where(mask == 1, words, padding).astype(np.int32),
        "types": rng.integers(0, types or 1, shape).astype(np.int32) * mask,
        "group": mask,
        # Label of each position to predict, -100 elsewhere; and of each pair.
        "labels": np.where((rng.random(shape) < 0.4) & (mask == 1), rng.integers(0, vocabulary, shape), -100).astype(
            np.int32
        ),
        "pair_label": (np.arange(shape[0]) > 0).astype(np.int32),
    }
    expected: dict[str, np.ndarray] = dict(inputs)
    out = HERE / name
    shutil.rmtree(out, ignore_errors=True)
    model.save_pretrained(out)
    for act in acts:
        setattr(config, "activation" if hasattr(config, "activation") else "hidden_act", act)
        peer = kind(config).eval().double()
        peer.load_state_dict({parameter: weight.double() for parameter, weight in model.state_dict().items()})
        long = {key: torch.tensor(array).long() for key, array in inputs.items()}
        given = {"input_ids": long["tokens"], "attention_mask": long["group"]}
        if types:
            given["token_type_ids"] = long["types"]
        found = peer(**given, output_hidden_states=True)
        words_logits = found["prediction_logits" if "prediction_logits" in found else "logits"]
        logits = {"masked_lm": (words_logits.flatten(0, 1), long["labels"].flatten())}
        logits |= {head: (found[key], long["pair_label"]) for key, head in PAIRS.items() if key in found}
        losses = {head: torch.nn.functional.cross_entropy(*pair) for head, pair in logits.items()}
        sum(losses.values()).backward()
        answers = {"labels": long["labels"]}
        if "next_sentence" in logits:
            answers["next_sentence_label"] = long["pair_label"]
        if "sentence_order" in logits:
            answers["sentence_order_label"] = long["pair_label"]
        whole = peer(**given, **answers).loss
        assert abs(whole - sum(losses.values())) < 1e-12, "the peer's loss is the sum of the heads'"
        expected[f"{act}/hidden"] = torch.stack(found.hidden_states).detach().numpy()
        expected[f"{act}/masked_lm"] = words_logits.detach().numpy()
        for key, head in PAIRS.items():
            if key in found:
                expected[f"{act}/{head}"] = found[key].detach().numpy()
        for head, value in losses.items():
            expected[f"{act}/{head}_loss"] = value.detach().numpy()[None]
        for parameter, weight in peer.named_parameters():
            assert weight.grad is not None
            expected[f"{act}/gradient/{parameter}"] = weight.grad.numpy()
    save_file(
        {key: np.ascontiguousarray(array) for key, array in expected.items()},
        out / "expected.safetensors",
        metadata={"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__},
    )
    for file in out.iterdir():
        file.chmod(0o644)


if __name__ == "__main__":
    for each in sys.argv[1:] or SHAPES:
        record(each)
