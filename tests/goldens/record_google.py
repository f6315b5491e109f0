"""Records TF1 checkpoints that TensorFlow wrote, and as what transformers reads them, for tests that need neither.

    pip install tensorflow-cpu==2.15.1 transformers==4.44.2 torch==2.3.1 safetensors
    python tests/goldens/record_google.py

Writes google_bert/ and google_albert/: random weights of odd shapes under the names of google-research/bert and
google-research/albert, with an optimizer's slots and the step; beside each in transformers.safetensors the tensors
into which transformers' own loader of TF1 checkpoints turns it, and its hidden states and logits on rows with padding
in float64. And tf1/: small checkpoints of the format's corners, whose numbers count up from 0.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf
import torch
import transformers
from safetensors.numpy import save_file

tf1 = tf.compat.v1

HERE = Path(__file__).parent
V, L, D, H, F = 37, 11, 12, 3, 17
NOTES = {"torch": torch.__version__, "transformers": transformers.__version__, "tensorflow": tf.__version__}
Shapes = dict[str, tuple[int, ...]]


def dense(name: str, into: int, out: int) -> Shapes:
    return {f"{name}/kernel": (into, out), f"{name}/bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}


def embeddings(width: int) -> Shapes:
    names = {"word_embeddings": V, "token_type_embeddings": 2, "position_embeddings": L}
    shapes: Shapes = {f"bert/embeddings/{name}": (rows, width) for name, rows in names.items()}
    return shapes | norm("bert/embeddings/LayerNorm", width)


def attention(name: str) -> Shapes:
    parts = [dense(f"{name}/self/{part}", D, D) for part in ("query", "key", "value")]
    return {key: shape for part in parts for key, shape in part.items()} | dense(f"{name}/output/dense", D, D)


def heads(width: int) -> Shapes:
    return (
        dense("bert/pooler/dense", D, D)
        | dense("cls/predictions/transform/dense", D, width)
        | norm("cls/predictions/transform/LayerNorm", width)
        | {"cls/predictions/output_bias": (V,), "cls/seq_relationship/output_weights": (2, D)}
        | {"cls/seq_relationship/output_bias": (2,)}
    )


def bert_shapes(layers: int) -> Shapes:
    shapes = embeddings(D)
    for layer in range(layers):
        name = f"bert/encoder/layer_{layer}"
        shapes |= attention(f"{name}/attention") | norm(f"{name}/attention/output/LayerNorm", D)
        shapes |= dense(f"{name}/intermediate/dense", D, F) | dense(f"{name}/output/dense", F, D)
        shapes |= norm(f"{name}/output/LayerNorm", D)
    return shapes | heads(D)


def albert_shapes(width: int, groups: int) -> Shapes:
    shapes = embeddings(width) | dense("bert/encoder/embedding_hidden_mapping_in", width, D)
    for group in range(groups):
        name = f"bert/encoder/transformer/group_{group}/inner_group_0"
        shapes |= attention(f"{name}/attention_1") | norm(f"{name}/LayerNorm", D)
        shapes |= dense(f"{name}/ffn_1/intermediate/dense", D, F)
        shapes |= dense(f"{name}/ffn_1/intermediate/output/dense", F, D) | norm(f"{name}/LayerNorm_1", D)
    return shapes | heads(width)


def write(prefix: Path, shapes: Shapes) -> None:
    draws = np.random.default_rng(5)
    with tf.Graph().as_default():
        for name, shape in shapes.items():
            value = (name.endswith("gamma") + 0.2 * draws.standard_normal(shape)).astype(np.float32)
            tf1.get_variable(name, initializer=value)
        for name in list(shapes)[1:5]:  # of a few, for the files' size
            for slot in ("adam_m", "adam_v"):
                tf1.get_variable(f"{name}/{slot}", initializer=draws.standard_normal(shapes[name]).astype(np.float32))
        tf1.get_variable("global_step", initializer=np.int64(7))
        save(prefix)


def save(prefix: Path, config: Any = None, **settings: Any) -> None:
    with tf1.Session(config=config) as session:
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver(**settings).save(session, str(prefix), write_meta_graph=False, write_state=False)


def record(family: str, shapes: Shapes, config: dict[str, Any], prefix: str) -> None:
    out = HERE / f"google_{family}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    (out / f"{family}_config.json").write_text(json.dumps(config, indent=2) + "\n")
    write(out / prefix, shapes)
    published = {**config, "hidden_act": "gelu_new"}
    if family == "bert":
        from transformers.models.bert.modeling_bert import load_tf_weights_in_bert as load

        model: Any = transformers.BertForPreTraining(transformers.BertConfig(**published))
    else:
        from transformers.models.albert.modeling_albert import load_tf_weights_in_albert as load

        model = transformers.AlbertForPreTraining(transformers.AlbertConfig(**published, classifier_dropout_prob=0.0))
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
    given = {name: torch.tensor(array) for name, array in inputs.items()}
    with torch.no_grad():
        found = model.eval().double()(**given, output_hidden_states=True)
    pair = found.seq_relationship_logits if family == "bert" else found.sop_logits
    expected = {
        **{f"tensor/{name}": np.ascontiguousarray(array) for name, array in state.items()},
        **{f"batch/{name}": array.astype(np.int32) for name, array in batch.items()},
        "hidden": found.hidden_states[-1].numpy(),
        "masked_lm": found.prediction_logits.numpy(),
        "pair": pair.numpy(),
    }
    save_file(expected, out / "transformers.safetensors", metadata=NOTES)
    (out / "transformers.safetensors").chmod(0o644)


def corners() -> None:
    out = HERE / "tf1"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    kinds = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
    shapes: dict[str, list[int]] = {kind: [2, 3] for kind in (*kinds, "uint16", "uint32", "uint64")}
    with tf.Graph().as_default():
        for kind, shape in shapes.items():
            tf1.get_variable(f"of/{kind}", initializer=tf.cast(tf.reshape(tf.range(6), shape), kind))
        tf1.get_variable("scalar", initializer=np.float32(7))
        tf1.get_variable("empty", initializer=np.zeros((0, 3), np.float32))
        save(out / "types")
    with tf.Graph().as_default():
        for device in (0, 1):
            with tf.device(f"/cpu:{device}"):
                tf1.get_variable(f"part_{device}", initializer=np.arange(5, dtype=np.float32) + device)
        save(out / "shards", config=tf1.ConfigProto(device_count={"CPU": 2}), sharded=True)
    with tf.Graph().as_default():
        partitioner = tf1.fixed_size_partitioner(2)
        tf1.get_variable("table", [4, 3], partitioner=partitioner, initializer=tf1.zeros_initializer())
        save(out / "slices")
    with tf.Graph().as_default():
        tf1.get_variable("text", initializer="a string")
        save(out / "strings")
    with tf.Graph().as_default():
        tf1.get_variable("weight", initializer=np.arange(5, dtype=np.float32))
        save(out / "old.ckpt", write_version=tf1.train.SaverDef.V1)
    tf.train.Checkpoint(weight=tf.Variable([0.0, 1.0])).write(str(out / "objects"))


SHARED = {
    **{"vocab_size": V, "hidden_size": D, "num_attention_heads": H, "intermediate_size": F},
    **{"max_position_embeddings": L, "type_vocab_size": 2, "hidden_act": "gelu", "initializer_range": 0.02},
    **{"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
}

if __name__ == "__main__":
    # The keys of Google's own files, of its multilingual ones too.
    pooler = {"pooler_type": "first_token_transform", "pooler_fc_size": 768, "pooler_num_fc_layers": 3}
    record(
        "bert",
        bert_shapes(2),
        {**SHARED, "num_hidden_layers": 2, "directionality": "bidi", **pooler},
        "bert_model.ckpt",
    )
    albert = {"num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 1, "embedding_size": 7}
    plain = {"net_structure_type": 0, "gap_size": 0, "num_memory_blocks": 0, "down_scale_factor": 1}
    record("albert", albert_shapes(7, 2), {**SHARED, **albert, **plain}, "model.ckpt-best")
    corners()
