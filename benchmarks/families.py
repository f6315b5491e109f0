"""Shows that every family learns: the same parameters and tokens for all, at three rates each.

    python benchmarks/families.py GLOB [GLOB ...] --out DIR          for example .../*.train.txt.xz

It also compares masking of whole words with masking of tokens (BERT), and DistilBERT's student with and without its
teacher. Every run is `jaxbert pretrain` in a separate process, with a separate folder under DIR. A finished run is not
repeated, and a stopped run continues. The program writes results/families.json and results/families.png, and prints a
table.

The corpus is a part of the files, with the same amount from each. Documents have at most 60 lines, and books are split,
so that the validation split has some of each. Losses of different vocabularies cannot be compared. So each is shown
with the loss of token frequencies on the same masked tokens, and the gains are compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import lzma
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, write
from learning import run as train

from jaxbert.config import (
    CheckpointConfig,
    DataConfig,
    DistillationConfig,
    EncoderConfig,
    EvaluationConfig,
    LoggingConfig,
    MaskedLMConfig,
    NextSentenceConfig,
    ObjectivesConfig,
    OptimizerConfig,
    PhaseConfig,
    RowsSource,
    RunConfig,
    ScheduleConfig,
    SentenceOrderConfig,
    SpanBoundaryConfig,
)
from jaxbert.data.pipeline import Rows, count_tokens
from jaxbert.data.records import prepare_records
from jaxbert.data.rows import build_rows
from jaxbert.data.sources import open_source
from jaxbert.data.split import drawn
from jaxbert.models.families import FAMILIES
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer

VOCABULARY, LENGTH, BATCH, VALIDATION = 2048, 64, 16, 0.02
LINES, CHARACTERS = 60, 8_000_000  # of a document; of each file
POINTS = 8  # evaluations on the way, the last one at the end
SMALL: dict[str, Any] = dict(
    vocab_size=VOCABULARY, dropout=0.0, attention_dropout=0.0, initializer_range=0.1, position_init="sinusoidal"
)
RATES = (7e-4, 2e-3, 6e-3)
# Tokenizer -> (kind, lower case).
TOKENIZERS = {
    "wordpiece": ("wordpiece", True),
    "wordpiece-cased": ("wordpiece", False),
    "bpe": ("bpe", False),
    "unigram": ("unigram", True),
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line of the comparison, with one run for each rate.

    Attributes:
      family: the family of the encoder.
      tokenizer, policy: the tokenizer and the policy of the rows.
      objectives, optimizer: those of the family.
      rates: three learning rates.
      shape: the fields in which the encoder differs from the family's tiny preset.
    """

    family: str
    tokenizer: str
    policy: str
    objectives: ObjectivesConfig
    optimizer: OptimizerConfig
    rates: tuple[float, ...] = RATES
    shape: dict[str, Any] = dataclasses.field(default_factory=dict)


def masked(**settings: Any) -> ObjectivesConfig:
    """Returns objectives with only masked LM at 30%."""
    return ObjectivesConfig(masked_lm=MaskedLMConfig(rate=0.3, **settings), next_sentence=None)


_ADAM = OptimizerConfig(name="adamw", beta2=0.98)
_FAIRSEQ = OptimizerConfig(name="fairseq_adamw", beta2=0.98, clip_norm=1.0)
_STUDENT: dict[str, Any] = dict(num_layers=2)


def entries(teacher: str) -> dict[str, Entry]:
    """Returns all lines. `teacher` is the MODEL of DistilBERT's teacher."""
    distilled = DistillationConfig(teacher=teacher, soft=5.0, cosine=1.0)
    pairs = dataclasses.replace(masked(), next_sentence=NextSentenceConfig())
    # With weight 1, the gradient of sixteen pairs in a step hides the gradient of the masked tokens.
    order = dataclasses.replace(masked(scheme="ngram"), sentence_order=SentenceOrderConfig(weight=0.1))
    spans = dataclasses.replace(masked(scheme="span", random_ids="corpus"), span_boundary=SpanBoundaryConfig())
    taught = dataclasses.replace(masked(scheme="frequency", weight=2.0), distillation=distilled)
    return {
        "BERT": Entry("bert", "wordpiece", "segment_pair", pairs, _ADAM),
        "RoBERTa": Entry("roberta", "bpe", "full_sentences", masked(random_ids="ordinary"), _FAIRSEQ),
        "ALBERT": Entry(
            "albert",
            "unigram",
            "ordered_pair",
            order,
            _ADAM,
            # One layer, used twice, has as many parameters as two layers of the others. It is wider, so its weights are
            # smaller. ALBERT's LAMB is for large batches: docs/explanations/results.md.
            shape=dict(hidden_size=208, num_heads=4, intermediate_size=832, embedding_size=64, initializer_range=0.08),
        ),
        "SpanBERT": Entry(
            "spanbert", "wordpiece-cased", "single_document", spans, dataclasses.replace(_FAIRSEQ, epsilon=1e-8)
        ),
        "DistilBERT": Entry("distilbert", "wordpiece", "single_document", taught, _ADAM, shape=_STUDENT),
        "the student alone": Entry(
            "distilbert", "wordpiece", "single_document", masked(scheme="frequency"), _ADAM, shape=_STUDENT
        ),
        "BERT, whole words": Entry(
            "bert",
            "wordpiece",
            "segment_pair",
            dataclasses.replace(masked(scheme="whole_word"), next_sentence=NextSentenceConfig()),
            _ADAM,
        ),
    }


def make_corpus(files: list[Path], path: Path, characters: int) -> None:
    """Writes the beginning of each of `files`, in whole documents or in documents of `LINES` lines."""
    if path.is_file():
        return
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as out:
        for file in files:
            taken, lines = 0, 0
            with lzma.open(file, "rt") if file.suffix == ".xz" else file.open() as text:
                for line in text:
                    out.write(line)
                    taken += len(line)
                    lines = lines + 1 if line.strip() else 0
                    if lines == LINES:
                        out.write("\n")
                        lines = 0
                    if taken > characters and lines == 0:
                        break
            out.write("\n")
    partial.rename(path)


def make_rows(corpus: Path, out: Path, tokenizer: str, policy: str) -> Path:
    """Makes rows of a policy with a tokenizer of the corpus. Existing rows stay."""
    kind, lowercase = TOKENIZERS[tokenizer]
    source, place = open_source(f"text:{corpus}"), out / tokenizer
    if not (place / "tokenizer" / "done").is_file():
        texts = (document.text for document in drawn(source.documents(), VALIDATION) if document.split == "train")
        train_tokenizer(kind, texts, vocab_size=VOCABULARY, lowercase=lowercase).save(place / "tokenizer")
        (place / "tokenizer" / "done").touch()
    prepare_records(
        source, Tokenizer.load(place / "tokenizer"), place / "records", workers=2, validation_fraction=VALIDATION
    )
    rows = place / f"{policy}-{LENGTH}"
    build_rows(place / "records", rows, policy=policy, length=LENGTH, workers=2, seed=0, short_rows=0.0)
    return rows


def run_config(
    name: str, encoder: EncoderConfig, entry: Entry, rows: Path, *, rate: float, tokens: int, batches: int = 12
) -> RunConfig:
    """Returns the config of a run, with the quickstart's settings for small models on few tokens."""
    steps = tokens // (BATCH * LENGTH)
    return RunConfig(
        name=name,
        encoder=encoder,
        objectives=entry.objectives,
        optimizer=entry.optimizer,
        phases=(
            PhaseConfig(
                rows=(RowsSource(path=str(rows)),),
                length=LENGTH,
                batch_size=BATCH,
                steps=steps,
                schedule=ScheduleConfig(peak=rate, warmup_steps=steps // 5, decay_from="warmup"),
            ),
        ),
        data=DataConfig(source=""),
        checkpoint=CheckpointConfig(every_steps=steps, keep_best=False),
        # All runs are evaluated on the same masks of single tokens.
        evaluation=EvaluationConfig(every_steps=steps // POINTS, batch_size=64, batches=batches, masking="token"),
        logging=LoggingConfig(every_steps=max(1, steps // 20), tensorboard=False),
    )


def encoder_of(entry: Entry) -> EncoderConfig:
    """Returns the family's tiny preset with the settings for small models and the shape of the entry."""
    preset = FAMILIES[entry.family].presets["tiny"]
    own = {"max_positions": LENGTH + preset.position_offset, **entry.shape}
    return dataclasses.replace(preset, **{**SMALL, **own})


def frequencies(rows: Path) -> dict[str, float]:
    """Returns the loss (nats) and accuracy of the train split's token frequencies on tokens of the validation split."""
    tokenizer = Tokenizer.load(rows / "tokenizer")
    ordinary = ~tokenizer.special
    seen = count_tokens([Rows(rows, "train")], tokenizer.vocab_size)[ordinary] + 1.0
    wanted = count_tokens([Rows(rows, "validation")], tokenizer.vocab_size)[ordinary]
    return {
        "loss": float(-(wanted * np.log(seen / seen.sum())).sum() / wanted.sum()),
        "accuracy": float(wanted[seen.argmax()] / wanted.sum()),
    }


def parameters(config: RunConfig) -> int:
    """Counts the parameters of encoder and masked-LM head, without padding, pair heads and boundary head."""
    import jax

    from jaxbert.models.model import Model, count_parameters

    encoder = dataclasses.replace(config.encoder, vocab_multiple=1)
    return count_parameters(jax.eval_shape(Model(encoder, ["masked_lm"]).init, jax.random.key(0)))


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draws the gain over token frequencies and the accuracy over tokens, each line at its best rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(12, 4.8))
    for name, entry in figures.items():
        best = min(entry["runs"], key=lambda run: run["final"]["masked_lm_loss"])
        tokens = [point["tokens"] / 1e6 for point in best["curve"]]
        style = "--" if name in ("the student alone", "BERT, whole words") else "-"
        gain = [entry["frequencies"]["loss"] - point["masked_lm_loss"] for point in best["curve"]]
        right = [100 * point["masked_lm_accuracy"] for point in best["curve"]]
        for panel, values in zip(panels, (gain, right), strict=True):
            panel.plot(tokens, values, style, marker="o", markersize=3, label=f"{name}, rate {best['rate']:g}")
    for panel, title in zip(
        panels, ("masked-LM loss below that of token frequencies (nats)", "masked-LM accuracy (%)"), strict=True
    ):
        panel.set_title(title + ", validation", fontsize=10)
        panel.set_xlabel("training tokens (millions)")
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def table(figures: dict[str, Any]) -> str:
    """Returns a Markdown table with a line for each entry and rate. The best rate is bold."""
    lines = [
        "| | parameters | rate | masked-LM loss | below frequencies | accuracy | second task |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, entry in figures.items():
        best = min(run["final"]["masked_lm_loss"] for run in entry["runs"])
        for run in entry["runs"]:
            final = run["final"]
            loss = f"{final['masked_lm_loss']:.3f}"
            loss = f"**{loss}**" if final["masked_lm_loss"] == best else loss
            second = [
                f"{short} {final[key]:.1%}"
                for key, short in (
                    ("next_sentence_accuracy", "next sentence"),
                    ("sentence_order_accuracy", "order"),
                    ("span_boundary_accuracy", "boundary"),
                )
                if key in final
            ]
            lines.append(
                f"| {name} | {entry['parameters']:,} | {run['rate']:g} | {loss} | "
                f"{entry['frequencies']['loss'] - final['masked_lm_loss']:.3f} | {final['masked_lm_accuracy']:.1%} | "
                f"{', '.join(second)} |"
            )
    return "\n".join(lines)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="text, one paragraph a line; .xz or plain")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where corpus, rows and runs are kept")
    parser.add_argument("--tokens", type=int, default=2**20, help="tokens of each run (default: %(default)s)")
    parser.add_argument(
        "--teacher-tokens", type=int, default=3 * 2**20, help="tokens of the teacher's run (default: %(default)s)"
    )
    parser.add_argument(
        "--characters", type=int, default=CHARACTERS, help="most characters of each file (default: %(default)s)"
    )
    parser.add_argument(
        "--at-once", type=int, default=1, metavar="N", help="runs at the same time (default: %(default)s)"
    )
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    make_corpus(arguments.files, out / "corpus.txt", arguments.characters)
    teacher_dir = out / "teacher"
    wanted = entries(str(teacher_dir / "teacher"))
    rows = {name: make_rows(out / "corpus.txt", out, entry.tokenizer, entry.policy) for name, entry in wanted.items()}

    bert = wanted["BERT"]
    # The teacher is wider, so its weights are smaller by the square root of the ratio of the widths.
    shape = dict(hidden_size=256, num_heads=4, intermediate_size=1024)
    wide = dataclasses.replace(encoder_of(dataclasses.replace(bert, shape=shape)), initializer_range=0.07)
    teacher = run_config("teacher", wide, bert, rows["BERT"], rate=1.5e-3, tokens=arguments.teacher_tokens)
    configs = {
        (name, rate): run_config(
            f"{name.replace(', ', '-').replace(' ', '-').lower()}-{rate:g}",
            encoder_of(entry),
            entry,
            rows[name],
            rate=rate,
            tokens=arguments.tokens,
        )
        for name, entry in wanted.items()
        for rate in entry.rates
    }
    taught = {key: config for key, config in configs.items() if config.objectives.distillation is not None}
    others = {key: config for key, config in configs.items() if key not in taught}
    with ThreadPoolExecutor(arguments.at_once) as pool:
        # The teacher trains with the others. Its students come after all of them.
        teaching = pool.submit(train, teacher, teacher_dir)
        done = dict(zip(others, pool.map(lambda config: train(config, out / "runs"), others.values()), strict=True))
        taught_by = teaching.result()
        done |= dict(zip(taught, pool.map(lambda config: train(config, out / "runs"), taught.values()), strict=True))
    figures = {
        name: {
            "parameters": parameters(configs[name, entry.rates[0]]),
            "encoder": dataclasses.asdict(encoder_of(entry)),
            "tokenizer": entry.tokenizer,
            "policy": entry.policy,
            "rows": Rows(rows[name], "train").hash,
            "filled": Rows(rows[name], "train").manifest["statistics"]["train"]["filled"],
            "frequencies": frequencies(rows[name]),
            "runs": [done[name, rate] for rate in entry.rates],
        }
        for name, entry in wanted.items()
    }
    write(
        "families",
        {
            "tokens": arguments.tokens,
            "length": LENGTH,
            "batch_size": BATCH,
            "vocab_size": VOCABULARY,
            "runs_at_once": arguments.at_once,
            "teacher": {"parameters": parameters(teacher), **taught_by},
            "entries": figures,
        },
    )
    draw(figures, RESULTS / "families.png")
    print(table(figures))


if __name__ == "__main__":
    main()
