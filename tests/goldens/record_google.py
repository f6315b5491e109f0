"""Records google_bert/ and google_albert/: TF1 checkpoints as Google left them, and as transformers reads them.

    python tests/goldens/record_google.py            with tensorflow-cpu 2.15.1, transformers 4.44.2 and torch 2.3.1

Random weights of odd shapes under the names of google-research/bert and google-research/albert, with the optimizer's
slots and the step, written by tf.compat.v1.train.Saver. Beside each: the tensors into which transformers' own loader of
TF1 checkpoints turns it (expected.safetensors), and its hidden states and logits on rows with padding in float64.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import torch
import transformers
from safetensors.numpy import save_file

HERE = Path(__file__).parent
V, L, D, H, F = 37, 11, 12, 3, 17
NOTES = {"torch": torch.__version__, "transformers": transformers.__version__, "tensorflow": tf.__version__}


def dense(name: str, into: int, out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel": (into, out), f"{name}/bias": (out,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}


def embeddings(width: int) -> dict[str, tuple[int, ...]]:
    names = {"word_embeddings": V, "token_type_embeddings": 2, "position_embeddings": L}
    shapes: dict[str, tuple[int, ...]] = {f"bert/embeddings/{name}": (rows, width) for name, rows in names.items()}
    return shapes | norm("bert/embeddings/LayerNorm", width)


def attention(name: str) -> dict[str, tuple[int, ...]]:
    parts = [dense(f"{name}/self/{part}", D, D) for part in ("query", "key", "value")]
    return {key: shape for part in parts for key, shape in part.items()} | dense(f"{name}/output/dense", D, D)


def heads(width: int) -> dict[str, tuple[int, ...]]:
    return (
        dense("bert/pooler/dense", D, D)
        | dense("cls/predictions/transform/dense", D, width)
        | norm("cls/predictions/transform/LayerNorm", width)
        | {"cls/predictions/output_bias": (V,), "cls/seq_relationship/output_weights": (2, D)}
        | {"cls/seq_relationship/output_bias": (2,)}
    )


def bert_shapes(layers: int = 2) -> dict[str, tuple[int, ...]]:
    shapes = embeddings(D)
    for layer in range(layers):
        name = f"bert/encoder/layer_{layer}"
        shapes |= attention(f"{name}/attention") | norm(f"{name}/attention/output/LayerNorm", D)
        shapes |= dense(f"{name}/intermediate/dense", D, F) | dense(f"{name}/output/dense", F, D)
        shapes |= norm(f"{name}/output/LayerNorm", D)
    return shapes | heads(D)


def albert_shapes(width: int = 7) -> dict[str, tuple[int, ...]]:
    name = "bert/encoder/transformer/group_0/inner_group_0"
    return (
        embeddings(width)
        | dense("bert/encoder/embedding_hidden_mapping_in", width, D)
        | attention(f"{name}/attention_1")
        | norm(f"{name}/LayerNorm", D)
        | dense(f"{name}/ffn_1/intermediate/dense", D, F)
        | dense(f"{name}/ffn_1/intermediate/output/dense", F, D)
        | norm(f"{name}/LayerNorm_1", D)
        | heads(width)
    )


def write(prefix: Path, shapes: dict[str, tuple[int, ...]], slots: tuple[str, ...]) -> None:
    draws = np.random.default_rng(5)
    graph = tf.Graph()
    with graph.as_default():
        for name, shape in shapes.items():
            value = (name.endswith("gamma") + 0.2 * draws.standard_normal(shape)).astype(np.float32)
            tf.compat.v1.get_variable(name, initializer=value)
        for name in list(shapes)[:3]:
            for slot in slots:
                tf.compat.v1.get_variable(f"{name}/{slot}", initializer=np.zeros(shapes[name], np.float32))
        tf.compat.v1.get_variable("global_step", initializer=np.int64(7))
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            tf.compat.v1.train.Saver().save(session, str(prefix), write_meta_graph=False, write_state=False)


def record(family: str, shapes: dict[str, tuple[int, ...]], config: dict[str, Any], prefix: str) -> None:
    out = HERE / f"google_{family}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    (out / f"{family}_config.json").write_text(json.dumps(config, indent=2) + "\n")
    write(out / prefix, shapes, ("adam_m", "adam_v"))
    published = {**config, "hidden_act": "gelu_new"}
    if family == "bert":
        from transformers.models.bert.modeling_bert import load_tf_weights_in_bert as load

        model: Any = transformers.BertForPreTraining(transformers.BertConfig(**published))
    else:
        from transformers.models.albert.modeling_albert import load_tf_weights_in_albert as load

        published["classifier_dropout_prob"] = 0.0
        model = transformers.AlbertForPreTraining(transformers.AlbertConfig(**published))
    load(model, model.config, str(out / prefix))
    model.tie_weights()
    tied = ("decoder.weight", "decoder.bias", "position_ids")
    state = {name: array.numpy() for name, array in model.state_dict().items() if not name.endswith(tied)}
    draws = np.random.default_rng(0)
    group = (np.arange(9)[None] < np.array([[9], [6], [4]])).astype(np.int64)
    batch = {
        "tokens": draws.integers(1, V, group.shape) * group,
        "types": draws.integers(0, 2, group.shape) * group,
        "group": group,
    }
    inputs = {"input_ids": batch["tokens"], "token_type_ids": batch["types"], "attention_mask": batch["group"]}
    with torch.no_grad():
        given = {name: torch.tensor(array) for name, array in inputs.items()}
        found = model.eval().double()(**given, output_hidden_states=True)
    pair = found.seq_relationship_logits if family == "bert" else found.sop_logits
    expected = {
        **{f"tensor/{name}": np.ascontiguousarray(array) for name, array in state.items()},
        **{f"batch/{name}": array.astype(np.int32) for name, array in batch.items()},
        "hidden": found.hidden_states[-1].numpy(),
        "masked_lm": found.prediction_logits.numpy(),
        "pair": pair.numpy(),
    }
    save_file(expected, out / "expected.safetensors", metadata=NOTES)


SHARED = {
    **{"vocab_size": V, "hidden_size": D, "num_attention_heads": H, "intermediate_size": F},
    **{"max_position_embeddings": L, "type_vocab_size": 2, "hidden_act": "gelu", "initializer_range": 0.02},
    **{"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
}

if __name__ == "__main__":
    record("bert", bert_shapes(), {**SHARED, "num_hidden_layers": 2}, "bert_model.ckpt")
    albert = {"num_hidden_layers": 3, "num_hidden_groups": 1, "inner_group_num": 1, "embedding_size": 7}
    plain = {"net_structure_type": 0, "gap_size": 0, "num_memory_blocks": 0, "down_scale_factor": 1}
    record("albert", albert_shapes(), {**SHARED, **albert, **plain}, "model.ckpt-best")
