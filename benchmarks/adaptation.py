"""Compares domain adaptation with training from scratch: one model size, the same rows, steps and rates.

    python benchmarks/adaptation.py GENERAL DOMAIN VALIDATION --out DIR

GENERAL and DOMAIN are training texts, and VALIDATION is held-out text of the domain, with one paragraph on a line, .xz
or plain. One model is pretrained on GENERAL. Then these runs train on DOMAIN, each at two rates:

    scratch                      from a random start, with the vocabulary of GENERAL
    scratch, own vocabulary      from a random start, with a vocabulary of DOMAIN
    adapted                      from the model (--init), with its vocabulary
    adapted, own vocabulary      from the model, with the vocabulary of DOMAIN (--init, --tokenizer)

With --model, the config `adapt` also adapts MODEL, a published encoder, for fewer tokens. Every run is `jaxbert
pretrain` in a separate process, with a separate folder under DIR. A finished run is not repeated, and a stopped run
continues. The program writes results/adaptation.json and results/adaptation.png, and prints a table.

Losses per token of different vocabularies cannot be compared. So the same whole words are hidden from every model, with
all their pieces, in the same windows of VALIDATION. The scores are the bits that a model needs for these words, divided
by their characters, and the share of words of which all pieces are right. The pieces of a word are predicted
independently, so a vocabulary that cuts words finer has a disadvantage, as it has in use. All vocabularies are uncased
WordPiece, so that they agree about words. --smoke tries the program, and measures nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import lzma
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np
import tokenizers as rust
from common import RESULTS, write
from learning import run as train

import jaxbert
from jaxbert.config import (
    CheckpointConfig,
    DataConfig,
    EncoderConfig,
    EvaluationConfig,
    LoggingConfig,
    MaskedLMConfig,
    ObjectivesConfig,
    OptimizerConfig,
    PhaseConfig,
    RowsSource,
    RunConfig,
    ScheduleConfig,
)
from jaxbert.data.records import prepare_records
from jaxbert.data.rows import build_rows
from jaxbert.data.sources import open_source
from jaxbert.data.split import drawn
from jaxbert.models.families.bert import PRESETS
from jaxbert.models.model import Model
from jaxbert.run.inherit import inherit
from jaxbert.run.initial import fitted_parameters, load_initial
from jaxbert.run.wanted import wanted
from jaxbert.text.tokenizers import Tokenizer, train_tokenizer
from jaxbert.text.tokenizers.wordpiece import WordPiece
from jaxbert.use.library import Loaded

VOCABULARY, LENGTH, BATCH, HELD_OUT = 4096, 64, 16, 0.02
DOCUMENT = 10_000  # characters of a document, about
RATES = (7e-4, 2e-3)
POINTS = 6  # checkpoints that are scored, the last one at the end
SLOTS, HIDDEN = 24, 0.15  # of a window: most pieces that are predicted, share of its words
MODEL_RATE = 3e-4
RUNS = ("scratch", "scratch, own vocabulary", "adapted", "adapted, own vocabulary")


def opened(file: Path) -> IO[str]:
    """Opens a text file, .xz or plain."""
    return lzma.open(file, "rt", encoding="utf-8") if file.suffix == ".xz" else file.open(encoding="utf-8")


def make_corpus(file: Path, path: Path, characters: int) -> None:
    """Writes the beginning of `file`. Books are cut into documents, so that some of each book can be held out."""
    if path.is_file():
        return
    partial, taken, size = path.with_suffix(".partial"), 0, 0
    with partial.open("w", encoding="utf-8") as out, opened(file) as text:
        for line in text:
            out.write(line)
            taken, size = taken + len(line), size + len(line) if line.strip() else 0
            if size > DOCUMENT:
                out.write("\n")
                size = 0
            if taken > characters:
                break
    partial.rename(path)


def make_rows(corpus: Path, out: Path, tokenizer: Path) -> Path:
    """Makes rows of whole sentences with an existing tokenizer. Existing rows stay."""
    records, rows = out / "records", out / f"rows-{LENGTH}"
    source = open_source(f"text:{corpus}")
    prepare_records(source, Tokenizer.load(tokenizer), records, workers=2, validation_fraction=HELD_OUT)
    build_rows(records, rows, policy="full_sentences", length=LENGTH, workers=2, seed=0)
    return rows


def make_tokenizer(corpus: Path, out: Path) -> Path:
    """Trains an uncased WordPiece vocabulary on the corpus."""
    if not (out / "done").is_file():
        documents = open_source(f"text:{corpus}").documents()
        texts = (document.text for document in drawn(documents, HELD_OUT) if document.split == "train")
        train_tokenizer("wordpiece", texts, vocab_size=VOCABULARY, lowercase=True).save(out)
        (out / "done").touch()
    return out


def run_config(name: str, rows: Path, *, rate: float, tokens: int, points: int, **start: Any) -> RunConfig:
    """Returns the config of a run, with the quickstart's settings for small models. `start` has the init settings."""
    steps = tokens // (BATCH * LENGTH) // points * points
    encoder = dataclasses.replace(
        PRESETS["tiny"],
        vocab_size=VOCABULARY,
        max_positions=LENGTH,
        dropout=0.0,
        attention_dropout=0.0,
        initializer_range=0.1,
        position_init="sinusoidal",
    )
    return RunConfig(
        name=name,
        encoder=encoder,
        objectives=ObjectivesConfig(masked_lm=MaskedLMConfig(rate=0.3), next_sentence=None),
        optimizer=OptimizerConfig(name="adamw", beta2=0.98, clip_norm=1.0),
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
        checkpoint=CheckpointConfig(every_steps=steps // points, keep=max(3, points), keep_best=False),
        evaluation=EvaluationConfig(every_steps=0, batch_size=64, batches=4),
        logging=LoggingConfig(every_steps=max(1, steps // 20), tensorboard=False),
        **start,
    )


# ----------------------------------------------------------------------------------------------------------------------
# Scores that can be compared across vocabularies


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of words and the hidden words in them. They are the same for every vocabulary.

    Attributes:
      words: the words of each window.
      hidden: the indices of the hidden words.
    """

    words: list[list[str]]
    hidden: list[list[int]]

    @property
    def characters(self) -> int:
        """The number of characters of all hidden words."""
        return sum(len(words[index]) for words, hidden in zip(self.words, self.hidden, strict=True) for index in hidden)

    @property
    def count(self) -> int:
        """The number of hidden words."""
        return sum(map(len, self.hidden))


def make_windows(file: Path, tokenizers: list[WordPiece], most: int) -> Windows:
    """Takes windows from the whole file that fit a row with every tokenizer, and draws their hidden words once."""
    normalizer, pre_tokenizer = tokenizers[0].normalisation.build(), rust.pre_tokenizers.BertPreTokenizer()
    windows: list[list[str]] = []
    with opened(file) as text:
        for line in text:
            words = [word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(line))]
            costs = [max(len(tokenizer.encode(word)) for tokenizer in tokenizers) for word in words]
            window, used = [], 0
            for word, cost in zip(words, costs, strict=True):
                if used + cost > LENGTH - 2:
                    windows.append(window)
                    window, used = [], 0
                if cost <= LENGTH - 2:
                    window.append(word)
                    used += cost
    chosen = [windows[index] for index in np.linspace(0, len(windows) - 1, min(most, len(windows))).astype(int)]
    rng, hidden = np.random.default_rng(0), []
    for window in chosen:
        # Leaves out words that one of the vocabularies cannot write, such as symbols.
        able = [
            index
            for index, word in enumerate(window)
            if word.isalpha() and not any(tokenizer.unk_id in tokenizer.encode(word) for tokenizer in tokenizers)
        ]
        rng.shuffle(able)
        taken, used = [], 0
        for index in able[: max(1, round(HIDDEN * len(window)))]:
            used += max(len(tokenizer.encode(window[index])) for tokenizer in tokenizers)
            if used <= SLOTS:
                taken.append(index)
        hidden.append(sorted(taken))
    return Windows(chosen, hidden)


def arrays(windows: Windows, tokenizer: WordPiece) -> dict[str, np.ndarray]:
    """Returns windows as rows: tokens, group (N, L); place, target, word (N, M). Unused slots have word -1."""
    shape = (len(windows.words), LENGTH)
    tokens, group = np.full(shape, tokenizer.pad_id, np.int32), np.zeros(shape, np.int32)
    slots = {name: np.zeros((len(tokens), SLOTS), np.int32) for name in ("place", "target")}
    word_of = np.full((len(tokens), SLOTS), -1, np.int32)
    number = 0
    for row, (words, hidden) in enumerate(zip(windows.words, windows.hidden, strict=True)):
        ids, slot = [tokenizer.cls_id], 0
        for index, word in enumerate(words):
            pieces = tokenizer.encode(word)
            if index in hidden:
                for piece in pieces:
                    slots["place"][row, slot], slots["target"][row, slot] = len(ids), piece
                    word_of[row, slot] = number
                    ids.append(tokenizer.mask_id)
                    slot += 1
                number += 1
            else:
                ids += pieces
        ids.append(tokenizer.sep_id)
        tokens[row, : len(ids)], group[row, : len(ids)] = ids, 1
    return {"tokens": tokens, "group": group, **slots, "word": word_of}


@functools.cache
def scorer(encoder: EncoderConfig) -> Any:
    """Returns (parameters, tokens, group, place, target) -> nats and hits (B, M), compiled for one shape of model."""
    model = Model(encoder, ["masked_lm"])

    @jax.jit
    def run(params: Any, tokens: Any, group: Any, place: Any, target: Any) -> tuple[jax.Array, jax.Array]:
        hidden = model.hidden(params, {"tokens": tokens, "types": jnp.zeros_like(tokens), "group": group})
        logits = model.masked_lm(params, jnp.take_along_axis(hidden, place[..., None], axis=1))
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), target[..., None], axis=-1)[..., 0]
        return -chosen, logits.argmax(-1) == target

    return run


def score(model: Loaded, windows: Windows, rows: dict[str, np.ndarray], batch: int = 50) -> dict[str, float]:
    """Returns the bits a character of the hidden words, and the share of them that are completely right."""
    run, params = scorer(model.config), {name: model.params[name] for name in ("encoder", "masked_lm")}
    loss, right = np.zeros(windows.count), np.ones(windows.count, bool)
    for start in range(0, len(rows["tokens"]), batch):
        part = {name: array[start : start + batch] for name, array in rows.items()}
        short = batch - len(part["tokens"])
        full = {name: np.pad(array, [(0, short), (0, 0)]) for name, array in part.items() if name != "word"}
        nats, hits = (np.asarray(found)[: batch - short] for found in run(params, **full))
        used = part["word"] >= 0
        np.add.at(loss, part["word"][used], nats[used])
        np.logical_and.at(right, part["word"][used], hits[used])
    return {
        "bits_per_character": float(loss.sum() / np.log(2) / windows.characters),
        "words_right": float(right.mean()),
    }


def curve(workdir: Path, windows: Windows, tokenizer: WordPiece) -> list[dict[str, float]]:
    """Returns the scores of a run's checkpoints, with the tokens that each had seen."""
    rows, points = arrays(windows, tokenizer), []
    for directory in sorted((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name)):
        model = jaxbert.load(directory)
        points.append({"tokens": int(directory.name) * BATCH * LENGTH, **score(model, windows, rows)})
    return points


def at_start(config: RunConfig, windows: Windows, tokenizer: WordPiece) -> dict[str, float]:
    """Returns the score of the parameters from which an adapted run starts."""
    initial = load_initial(config)
    params = fitted_parameters(initial, config, tokenizer, lambda line: print(line))
    model = Loaded(config.name, config.encoder, jax.tree.map(jnp.asarray, params), tokenizer)
    return {"tokens": 0, **score(model, windows, arrays(windows, tokenizer))}


# ----------------------------------------------------------------------------------------------------------------------
# Tables and figures


def best_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the run with the lowest bits at its end."""
    return min(runs, key=lambda run: run["curve"][-1]["bits_per_character"])


def table(figures: dict[str, Any]) -> str:
    """Returns a Markdown table with a line for each run and rate. The best rate is bold."""
    lines = [
        "| | rate | tokens a word | bits a character: at the start | half-way | at the end | words right |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, entry in figures.items():
        best = best_of(entry["runs"])
        for run in entry["runs"]:
            points = run["curve"]
            start = f"{points[0]['bits_per_character']:.3f}" if points[0]["tokens"] == 0 else ""
            after = [point for point in points if point["tokens"]]
            end = f"{after[-1]['bits_per_character']:.3f}"
            lines.append(
                f"| {name} | {run['rate']:g} | {entry['tokens_a_word']:.2f} | {start} | "
                f"{after[(len(after) - 1) // 2]['bits_per_character']:.3f} | {f'**{end}**' if run is best else end} | "
                f"{after[-1]['words_right']:.1%} |"
            )
    return "\n".join(lines)


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draws bits a character and correct words over the tokens of the domain, each line at its best rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(12, 4.8))
    for index, (name, entry) in enumerate(figures.items()):
        best = best_of(entry["runs"])
        tokens = [point["tokens"] / 1e6 for point in best["curve"]]
        bits = [point["bits_per_character"] for point in best["curve"]]
        right = [100 * point["words_right"] for point in best["curve"]]
        style = "--" if "scratch" in name else "-"
        for panel, values in zip(panels, (bits, right), strict=True):
            panel.plot(
                *(tokens, values, style),
                color=f"C{index}",
                marker="o",
                markersize=3,
                label=f"{name}, rate {best['rate']:g}",
            )
    for panel, title in zip(panels, ("bits a character of hidden words", "hidden words right (%)"), strict=True):
        panel.set_title(f"{title}, held-out text of the domain", fontsize=10)
        panel.set_xlabel("training tokens of the domain (millions)")
        panel.grid(alpha=0.3)
    # The legend is in the middle, between the curves of adapted runs above and of runs from scratch below.
    panels[1].legend(fontsize=8, loc="center right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("general", "domain", "validation"):
        parser.add_argument(name, type=Path, metavar=name.upper(), help="text, one paragraph a line; .xz or plain")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where texts, rows and runs are kept")
    parser.add_argument(
        "--general-tokens", type=int, default=8 * 2**20, help="tokens of the first model (default: %(default)s)"
    )
    parser.add_argument("--tokens", type=int, default=2**19, help="tokens of each run on DOMAIN (default: %(default)s)")
    parser.add_argument(
        "--characters", type=int, default=40_000_000, help="most characters of each text (default: %(default)s)"
    )
    parser.add_argument("--windows", type=int, default=1000, help="windows of VALIDATION (default: %(default)s)")
    parser.add_argument("--model", metavar="MODEL", help="a published model of an uncased WordPiece vocabulary")
    parser.add_argument("--model-tokens", type=int, default=2**17, help="tokens of its run (default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="try the program on very little; writes no results")
    arguments = parser.parse_args()
    rates = RATES
    if arguments.smoke:
        arguments.general_tokens = arguments.tokens = arguments.model_tokens = 12 * BATCH * LENGTH
        arguments.characters, arguments.windows, rates = 400_000, 100, RATES[:1]
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    for name in ("general", "domain"):
        make_corpus(getattr(arguments, name), out / f"{name}.txt", arguments.characters)
    general = make_tokenizer(out / "general.txt", out / "general-vocabulary")
    domain = make_tokenizer(out / "domain.txt", out / "domain-vocabulary")
    general_rows = make_rows(out / "general.txt", out / "general", general)
    rows = {
        vocabulary: make_rows(out / "domain.txt", out / f"domain-in-{vocabulary.name}", vocabulary)
        for vocabulary in (general, domain)
    }

    first = run_config("general", general_rows, rate=2e-3, tokens=arguments.general_tokens, points=3)
    first_done = train(first, out / "first")
    model = str(out / "first/general")
    starts: dict[str, tuple[Path, dict[str, Any]]] = {
        "scratch": (general, {}),
        "scratch, own vocabulary": (domain, {}),
        "adapted": (general, {"init": model}),
        "adapted, own vocabulary": (domain, {"init": model, "init_vocabulary": "new"}),
    }
    configs = {
        name: [
            run_config(
                f"{name.replace(', ', '-').replace(' ', '-')}-{rate:g}",
                rows[vocabulary],
                rate=rate,
                tokens=arguments.tokens,
                points=POINTS,
                **start,
            )
            for rate in rates
        ]
        for name, (vocabulary, start) in starts.items()
    }
    vocabularies = {name: starts[name][0] for name in starts}
    if arguments.model:
        published = jaxbert.load(arguments.model)
        assert published.tokenizer is not None, f"{arguments.model} has no tokenizer"
        published.tokenizer.save(out / "model-vocabulary")
        name = f"{Path(arguments.model).name}, adapted"
        vocabularies[name] = out / "model-vocabulary"
        rows[vocabularies[name]] = make_rows(out / "domain.txt", out / "domain-in-model", vocabularies[name])
        like = run_config(
            *("model", rows[vocabularies[name]]), rate=MODEL_RATE, tokens=arguments.model_tokens, points=2
        )
        like = dataclasses.replace(like, init=str(Path(arguments.model).absolute()), inherit="encoder")
        configs[name] = [inherit(wanted(like), out / "runs/model")[0]]

    tokenizers: dict[str, Any] = {name: Tokenizer.load(place) for name, place in vocabularies.items()}
    assert all(tokenizer.kind == "wordpiece" and tokenizer.lowercase for tokenizer in tokenizers.values())
    windows = make_windows(arguments.validation, list(tokenizers.values()), arguments.windows)
    whole = sum(len(words) for words in windows.words)
    print(
        f"{len(windows.words)} windows, {whole:,} words, {windows.count:,} hidden ({windows.characters:,} characters)"
    )
    figures = {}
    for name, planned in configs.items():
        tokenizer, runs = tokenizers[name], []
        for config in planned:
            done = train(config, out / "runs")
            points = curve(out / "runs" / config.name, windows, tokenizer)
            if config.init and not (arguments.model and name not in RUNS):
                points = [at_start(config, windows, tokenizer), *points]
            runs.append({**done, "curve": points, "final": points[-1]})
        used = sum(len(tokenizer.encode(word)) for words in windows.words for word in words)
        figures[name] = {"vocabulary": vocabularies[name].name, "tokens_a_word": used / whole, "runs": runs}
    settings = {
        "tokens": arguments.tokens,
        "general_tokens": arguments.general_tokens,
        "length": LENGTH,
        "batch_size": BATCH,
        "vocab_size": VOCABULARY,
        "windows": len(windows.words),
        "words": whole,
        "hidden_words": windows.count,
        "hidden_characters": windows.characters,
        "first": first_done,
        "entries": figures,
    }
    if arguments.smoke:
        draw(figures, out / "adaptation.png")
    else:
        write("adaptation", settings)
        draw(figures, RESULTS / "adaptation.png")
    print(table(figures))


if __name__ == "__main__":
    main()
