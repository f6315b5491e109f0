"""Records what transformers' BertForPreTraining computes, for tests that need no torch.

    pip install torch==2.13.0 transformers==5.23.0 numpy safetensors
    python tests/goldens/record_bert.py

Writes tests/goldens/bert_*/, a directory a shape: a model exactly as `save_pretrained` writes it (random weights, odd
sizes), and expected.safetensors: inputs, and for both GELUs the float64 hidden states, logits, losses and gradients,
with the versions that computed them in its metadata.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

HERE = Path(__file__).parent
# Name: (N, D, H, F, V, positions, types, epsilon, real tokens of each row).
SHAPES = {
    "bert_pretraining": (2, 18, 3, 37, 97, 17, 3, 1e-5, (11, 8, 5)),
    "bert_one_head": (3, 10, 1, 7, 61, 13, 1, 1e-12, (13, 6)),
    "bert_wide": (1, 16, 8, 45, 128, 9, 2, 1e-12, (9, 9, 2, 7, 4)),
}


def record(name: str) -> None:
    layers, hidden, heads, inner, vocabulary, positions, types, epsilon, lengths = SHAPES[name]
    torch.manual_seed(20)
    torch.set_num_threads(1)
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
        hidden_act="gelu",
        attn_implementation="eager",
    )
    model = transformers.BertForPreTraining(config).eval()
    with torch.no_grad():
        for parameter, weight in model.named_parameters():
            centre = 1.0 if parameter.endswith("LayerNorm.weight") else 0.0
            weight.copy_(centre + 0.25 * torch.randn_like(weight))

    rng = np.random.default_rng(21)
    shape = (len(lengths), max(lengths))
    mask = (np.arange(shape[1])[None] < np.array(lengths)[:, None]).astype(np.int32)
    inputs = {
        # No id 0 among the real tokens: torch's padding_idx would drop its gradient.
        "tokens": rng.integers(1, vocabulary, shape).astype(np.int32) * mask,
        "types": rng.integers(0, types, shape).astype(np.int32) * mask,
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
    for act in ("gelu", "gelu_new"):
        config.hidden_act = act
        peer = transformers.BertForPreTraining(config).eval().double()
        peer.load_state_dict({parameter: weight.double() for parameter, weight in model.state_dict().items()})
        found = peer(
            input_ids=torch.tensor(inputs["tokens"]).long(),
            token_type_ids=torch.tensor(inputs["types"]).long(),
            attention_mask=torch.tensor(mask).long(),
            output_hidden_states=True,
        )
        words, pairs = found.prediction_logits, found.seq_relationship_logits
        losses = {
            "masked_lm_loss": torch.nn.functional.cross_entropy(
                words.flatten(0, 1), torch.tensor(inputs["labels"]).long().flatten()
            ),
            "next_sentence_loss": torch.nn.functional.cross_entropy(pairs, torch.tensor(inputs["pair_label"]).long()),
        }
        whole = peer(
            input_ids=torch.tensor(inputs["tokens"]).long(),
            token_type_ids=torch.tensor(inputs["types"]).long(),
            attention_mask=torch.tensor(mask).long(),
            labels=torch.tensor(inputs["labels"]).long(),
            next_sentence_label=torch.tensor(inputs["pair_label"]).long(),
        ).loss
        assert abs(whole - sum(losses.values())) < 1e-12, "the peer's loss is the sum of the two"
        whole.backward()
        expected[f"{act}/hidden"] = torch.stack(found.hidden_states).detach().numpy()
        expected[f"{act}/masked_lm"] = words.detach().numpy()
        expected[f"{act}/next_sentence"] = pairs.detach().numpy()
        for loss, value in losses.items():
            expected[f"{act}/{loss}"] = value.detach().numpy()[None]
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
    for each in SHAPES:
        record(each)
