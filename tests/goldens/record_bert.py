"""Records what transformers' BertForPreTraining computes, for tests that need no torch.

    pip install torch==2.13.0 transformers numpy safetensors
    python tests/goldens/record_bert.py

Writes tests/goldens/bert_pretraining/: a model directory exactly as `save_pretrained` writes it (random weights, odd
sizes), and expected.safetensors: inputs, and for both GELUs the float64 hidden states, logits, loss and gradients,
with the versions that computed them in its metadata.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

OUT = Path(__file__).parent / "bert_pretraining"


def main() -> None:
    torch.manual_seed(20)
    torch.set_num_threads(1)
    config = transformers.BertConfig(
        vocab_size=97,
        hidden_size=18,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=37,
        max_position_embeddings=17,
        type_vocab_size=3,
        layer_norm_eps=1e-5,
        hidden_act="gelu",
        attn_implementation="eager",
    )
    model = transformers.BertForPreTraining(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            centre = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            weight.copy_(centre + 0.25 * torch.randn_like(weight))

    rng = np.random.default_rng(21)
    lengths = np.array([11, 8, 5])
    mask = (np.arange(11)[None] < lengths[:, None]).astype(np.int32)
    inputs = {
        # No id 0 among the real tokens: torch's padding_idx would drop its gradient.
        "tokens": rng.integers(1, 97, (3, 11)).astype(np.int32) * mask,
        "types": rng.integers(0, 3, (3, 11)).astype(np.int32) * mask,
        "group": mask,
        # Label of each position to predict, -100 elsewhere; and of each pair.
        "labels": np.where((rng.random((3, 11)) < 0.4) & (mask == 1), rng.integers(0, 97, (3, 11)), -100).astype(
            np.int32
        ),
        "pair_label": np.array([0, 1, 1], np.int32),
    }
    expected: dict[str, np.ndarray] = dict(inputs)
    shutil.rmtree(OUT, ignore_errors=True)
    model.save_pretrained(OUT)
    for act in ("gelu", "gelu_new"):
        config.hidden_act = act
        peer = transformers.BertForPreTraining(config).eval().double()
        peer.load_state_dict({name: weight.double() for name, weight in model.state_dict().items()})
        out = peer(
            input_ids=torch.tensor(inputs["tokens"]).long(),
            token_type_ids=torch.tensor(inputs["types"]).long(),
            attention_mask=torch.tensor(mask).long(),
            labels=torch.tensor(inputs["labels"]).long(),
            next_sentence_label=torch.tensor(inputs["pair_label"]).long(),
            output_hidden_states=True,
        )
        out.loss.backward()
        expected[f"{act}/hidden"] = torch.stack(out.hidden_states).detach().numpy()
        expected[f"{act}/masked_lm"] = out.prediction_logits.detach().numpy()
        expected[f"{act}/next_sentence"] = out.seq_relationship_logits.detach().numpy()
        expected[f"{act}/loss"] = out.loss.detach().numpy()[None]
        if act == "gelu":
            for name, weight in peer.named_parameters():
                assert weight.grad is not None
                expected[f"gradient/{name}"] = weight.grad.numpy()
    save_file(
        {name: np.ascontiguousarray(array) for name, array in expected.items()},
        OUT / "expected.safetensors",
        metadata={"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__},
    )
    for file in OUT.iterdir():
        file.chmod(0o644)


if __name__ == "__main__":
    main()
