"""Judges a corpus before a run trains on it: what it holds, how often the run reads it, and what the figures will mean.

The figures come from the manifests of the rows, so judging costs nothing. Rows of an earlier version have fewer of
them. docs/how-to/corpus.md says what each figure means and what to do about it, and docs/decisions/0029 why the limits
are where they are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxbert.config import RunConfig, total_steps
from jaxbert.core.shell import word
from jaxbert.data.languages import OTHERS, UNCLEAR
from jaxbert.data.pipeline import Rows
from jaxbert.errors import InputError, counted
from jaxbert.fit.passes import MOST_PASSES, PhaseRows, all_passes, copies_of, passes_of

# A model learns a text of fewer tokens by heart within seconds, whatever its size.
LEAST_TOKENS = 5_000
# From fewer, a model that starts from nothing learns its vocabulary and little else.
_FEW_TOKENS = 100_000
# Fewer masked tokens in an evaluation give an accuracy that is right to ten points at best (two standard errors).
LEAST_MASKED = 100
# Of validation, the share that also stands in train: from here on it is said, and from there on its figures are those
# of the training text.
_SHARED, _MOSTLY_SHARED = 0.05, 0.5
# Lines repeat naturally: headings, licences, standard phrases.
_SHARED_LINES = 0.2
# The share of the pieces that train never has.
_UNUSED = 0.1
# The share of the tokens that are the unknown token: from here on it is said, and from there on a model learns to guess
# one token, and its accuracy says nothing.
_UNKNOWN, _MOSTLY_UNKNOWN = 0.05, 0.5
# Where one token is so much of the text, always guessing it leaves nothing to learn.
_ONE_TOKEN = 0.95
# A text is in a language if it has this share of it.
_MAIN_LANGUAGE = 0.5


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something about the corpus that a user should know.

    Attributes:
      what: the finding, as a sentence without its full stop.
      fix: what helps, as sentences.
    """

    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}. {self.fix}"


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The worth of a corpus for a run.

    Attributes:
      figures: JSON values; docs/how-to/corpus.md describes them.
      warnings: what is less good than it could be.
      refusals: why the figures of the run would mean nothing.
    """

    figures: dict[str, Any]
    warnings: tuple[Finding, ...]
    refusals: tuple[Finding, ...]

    def lines(self) -> list[str]:
        """Returns lines for the terminal: the corpus, what is held out, the training, and what to look at.

        Of a corpus that is refused, only that is said: the advice of the warnings would not help it.
        """
        return [*_lines(self.figures), *(f"look at: {finding}" for finding in self.refusals or self.warnings)]

    def to_json(self) -> dict[str, Any]:
        """Returns everything as JSON values, as WORKDIR/corpus.json has it: `lines`, the figures, and the findings.

        `warnings` and `refusals` are lists of {"what", "fix"}.
        """
        named = {name: [dataclasses.asdict(one) for one in getattr(self, name)] for name in ("warnings", "refusals")}
        return {"lines": self.lines(), **self.figures, **named}

    def check(self, *, anyway: bool) -> None:
        """Raises InputError if the figures of the run would mean nothing, unless the user goes on `anyway`."""
        if self.refusals and not anyway:
            raise InputError(
                f"the figures of this run would mean nothing: {'; '.join(one.what for one in self.refusals)}",
                where=", ".join(self.figures["sources"]) or "rows",
                fix=f"{self.refusals[0].fix} Or train all the same: repeat the command with --anyway.",
                code="E-FIT-CORPUS",
            )


def judge(config: RunConfig, rows: Sequence[PhaseRows], parameters: int) -> Judgement:
    """Judges the corpus of a run.

    Args:
      config: the complete config, with the steps that the run will have.
      rows: the rows of each phase.
      parameters: the number of parameters of the model.
    """
    figures = _figures(config, rows, parameters)
    makes_rows = any(not phase.rows for phase in config.phases)
    return Judgement(
        figures,
        tuple(_warnings(config, figures, makes_rows=makes_rows)),
        tuple(_refusals(config, figures, makes_rows=makes_rows)),
    )


# ----------------------------------------------------------------------------------------------------------------------
# The figures


def _source(rows: Rows) -> str:
    """Returns the SOURCE of rows, or their directory where they do not say it."""
    return str((rows.manifest.get("provenance") or {}).get("source") or rows.directory)


def _figures(config: RunConfig, rows: Sequence[PhaseRows], parameters: int) -> dict[str, Any]:
    corpora = _corpora(rows)
    text = {split: _sum([_counts(one, split) for one in corpora]) for split in ("train", "validation")}
    extra = [_records(one).get("corpus", {}) for one in corpora]
    whole = [one["documents"] for one in extra if "documents" in one]
    documents = (
        sum(whole) if len(whole) == len(corpora) else text["train"]["documents"] + text["validation"]["documents"]
    )
    passes = passes_of(config, rows)
    trained = sum(
        phase.steps * phase.batch_size * _filled(of_phase.train[0][0], "train")
        for phase, of_phase in zip(config.phases, rows, strict=True)
    )
    tokens = text["train"]["tokens"]
    return {
        "sources": sorted({_source(one) for one in corpora}),
        "corpus": {
            "documents": documents,
            **{name: text["train"][name] + text["validation"][name] for name in ("sentences", "tokens")},
            **_optional(text, "words", "chars"),
            "languages": _languages(corpora, extra),
            "language": sorted({_records(one).get("language", "") for one in corpora} - {""}),
            "vocabulary": extra[0].get("vocabulary") if len(extra) == 1 else None,
            "unknown": text["train"]["unknown"] / max(1, tokens) if "unknown" in text["train"] else None,
        },
        "held_out": _held_out(config, rows, text, extra),
        "phases": [
            {
                "name": phase.name,
                "steps": phase.steps,
                "batch_size": phase.batch_size,
                "length": phase.length,
                "rows": sum(len(source) for source, _ in of_phase.train),
                "passes": max(of_sources),
                "passes_of_each_source": of_sources,
                "truncated": _truncated(of_phase),
            }
            for phase, of_phase, of_sources in zip(config.phases, rows, passes, strict=True)
        ],
        "steps": total_steps(config),
        "passes": all_passes(config, rows),
        "train_tokens": tokens,
        "parameters": parameters,
        "tokens_a_parameter": tokens / max(1, parameters),
        "trained_tokens": round(trained),
        "trained_tokens_a_parameter": trained / max(1, parameters),
    }


def _corpora(rows: Sequence[PhaseRows]) -> list[Rows]:
    """Returns the train rows of each different corpus once: phases have rows of other lengths of the same records."""
    found: dict[str, Rows] = {}
    for of_phase in rows:
        for source, _ in of_phase.train:
            found.setdefault(str(source.manifest["arguments"].get("records_hash", source.directory)), source)
    return list(found.values())


def _records(rows: Rows) -> Mapping[str, Any]:
    """Returns the figures of the records from which rows were made; rows of an earlier version have none."""
    found: Mapping[str, Any] = (rows.manifest.get("provenance") or {}).get("records") or {}
    return found


def _counts(rows: Rows, split: str) -> dict[str, int]:
    known = _records(rows).get("splits", {}).get(split)
    if known is not None:
        return dict(known)
    of_rows = rows.manifest["statistics"].get(split, {})
    copies = copies_of(rows) if split == "train" else 1
    return {name: round(of_rows.get(name, 0) / copies) for name in ("documents", "sentences", "tokens")}


def _sum(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    names = set.intersection(*(set(one) for one in counts)) if counts else set()
    return {name: sum(one[name] for one in counts) for name in sorted(names)}


def _optional(text: Mapping[str, Mapping[str, int]], *names: str) -> dict[str, int]:
    return {name: text["train"][name] + text["validation"][name] for name in names if name in text["train"]}


def _languages(corpora: Sequence[Rows], extra: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the share of each language in all corpora, weighted by their tokens; nothing if one does not tell."""
    weights = [_counts(one, "train")["tokens"] for one in corpora]
    if not all(one.get("languages") for one in extra) or not sum(weights):
        return {}
    shares: dict[str, float] = {}
    for weight, one in zip(weights, extra, strict=True):
        for name, share in one["languages"].items():
            shares[name] = shares.get(name, 0.0) + share * weight / sum(weights)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _held_out(
    config: RunConfig,
    rows: Sequence[PhaseRows],
    text: Mapping[str, Mapping[str, int]],
    extra: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    tokens = text["validation"]["tokens"]
    near, compared = (sum(one.get(f"validation_{name}", 0) for one in extra) for name in ("near_train", "compared"))
    lines = [one.get("validation_lines_in_train") for one in extra]
    return {
        "documents": text["validation"]["documents"],
        "tokens": tokens,
        "share": tokens / max(1, tokens + text["train"]["tokens"]),
        "blocks": sum(one.get("validation_blocks", 0) for one in extra),
        "masked_tokens": min((_masked(config, of_phase) for of_phase in rows), default=0),
        "near_copies_in_train": near / compared if compared else None,
        "lines_in_train": max((share for share in lines if share is not None), default=None),
    }


def _masked(config: RunConfig, of_phase: PhaseRows) -> int:
    """Returns how many tokens an evaluation of a phase masks: of all its splits, or of `evaluation.batches` batches."""
    most = config.evaluation.batches * config.evaluation.batch_size
    rows = [min(len(split), most) if most else len(split) for split in of_phase.validation]
    filled = [_filled(split, "validation") for split in of_phase.validation]
    return round(sum(count * tokens for count, tokens in zip(rows, filled, strict=True)) * config.evaluation.mask_rate)


def _filled(rows: Rows, split: str) -> float:
    """Returns the tokens of a row, without padding."""
    share = rows.manifest["statistics"].get(split, {}).get("filled", 1.0)
    return float(share) * rows.length


def _truncated(of_phase: PhaseRows) -> float:
    found = [source.manifest["statistics"].get("train", {}) for source, _ in of_phase.train]
    tokens = sum(one.get("tokens", 0) for one in found)
    return sum(one.get("truncated", 0) for one in found) / max(1, tokens)


def _lines(figures: Mapping[str, Any]) -> Iterator[str]:
    corpus, held = figures["corpus"], figures["held_out"]
    parts = [counted(corpus["documents"], "document"), counted(corpus["sentences"], "sentence")]
    parts.append(counted(corpus["tokens"], "token"))
    if corpus["languages"]:
        named = [f"{name} {share:.0%}" for name, share in corpus["languages"].items() if share >= 0.005]
        parts.append(f"languages {', '.join(named)}")
    if corpus["vocabulary"]:
        known = corpus["vocabulary"]
        parts.append(f"{known['unused']:,} of {known['pieces']:,} pieces never used, {known['rare']:,} hardly")
    if (corpus["unknown"] or 0) >= 0.001:
        parts.append(f"{corpus['unknown']:.1%} of the tokens unknown")
    yield f"corpus: {'; '.join(parts)}"
    if held["masked_tokens"]:
        parts = [f"{held['tokens']:,} tokens ({held['share']:.1%})"]
        if held["blocks"]:
            parts[0] += f" in {counted(held['blocks'], 'block')}"
        else:
            parts[0] += f" in {counted(held['documents'], 'document')}"
        points = 100 / math.sqrt(held["masked_tokens"])
        parts.append(f"an evaluation masks {held['masked_tokens']:,}, so its accuracy is good to {points:.1f} points")
        if held["near_copies_in_train"] is not None and not held["blocks"]:
            parts.append(f"{held['near_copies_in_train']:.0%} of the documents have a near copy in train")
        if held["lines_in_train"] is not None:
            parts.append(f"{held['lines_in_train']:.0%} of the lines are in train too")
        yield f"held out: {'; '.join(parts)}"
    else:
        yield "held out: nothing"
    phases = figures["phases"]
    passes = f"{_short(figures['passes'])} passes over the text"
    if len(phases) > 1:
        each = [f"{one['name']} {_short(one['passes'])}" for one in phases]
        passes += f" ({', '.join(each)})"
    cut = max(one["truncated"] for one in phases)
    yield (
        f"training: {counted(figures['steps'], 'step')}, {passes}; {cut:.1%} of the tokens cut off by the length of a "
        f"row; for each parameter {_short(figures['tokens_a_parameter'])} tokens of text, "
        f"{_short(figures['trained_tokens_a_parameter'])} in training"
    )


def _short(number: float) -> str:
    """Returns a number with about three digits: "0.0123", "45.6", "12,345"."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


# ----------------------------------------------------------------------------------------------------------------------
# What to look at


def _refusals(config: RunConfig, figures: Mapping[str, Any], *, makes_rows: bool) -> Iterator[Finding]:
    held, corpus = figures["held_out"], figures["corpus"]
    unknown = corpus["unknown"] or 0.0
    if unknown >= _MOSTLY_UNKNOWN:
        yield Finding(
            f"{unknown:.0%} of the tokens to train on are the unknown token, so the model learns to guess that one",
            _known_tokens(config, figures, makes_rows=makes_rows),
        )
    elif (one := _most_frequent(figures)) >= _ONE_TOKEN:
        yield Finding(
            f"{one:.0%} of the tokens to train on are one and the same, so always guessing it is right as often",
            "Look at the text, and give one that says more.",
        )
    if figures["train_tokens"] < LEAST_TOKENS:
        yield Finding(
            f"there are {counted(figures['train_tokens'], 'token')} to train on, fewer than {LEAST_TOKENS:,}, and a "
            "model learns them by heart",
            "Give more text: a megabyte is little, ten are better.",
        )
    if 0 < held["masked_tokens"] < LEAST_MASKED:
        yield Finding(
            f"an evaluation masks {counted(held['masked_tokens'], 'token')}, fewer than {LEAST_MASKED}, so its "
            "accuracy says nothing",
            "Hold out more: --set data.validation_fraction=0.1. Or evaluate all of it: --set evaluation.batches=0.",
        )
    shared = {"lines": held["lines_in_train"], "documents": held["near_copies_in_train"]}
    for name, share in shared.items():
        if share is not None and share >= _MOSTLY_SHARED:
            near = "near copies of them" if name == "documents" else "the same lines"
            yield Finding(
                f"{share:.0%} of the {name} held out stand in train too ({near}), so validation measures memory",
                "Remove the repeats from the text, or prepare it with `jaxbert prepare --remove-repeated-lines`.",
            )


def _warnings(config: RunConfig, figures: Mapping[str, Any], *, makes_rows: bool) -> Iterator[Finding]:
    held, corpus = figures["held_out"], figures["corpus"]
    if LEAST_TOKENS <= figures["train_tokens"] < _FEW_TOKENS and _from_nothing(config):
        yield Finding(
            f"there are {counted(figures['train_tokens'], 'token')} to train on, fewer than {_FEW_TOKENS:,}, and a "
            "model that starts from nothing learns little more than frequent words from them",
            "Adapt a model that knows the language: `jaxbert pretrain adapt --init MODEL --text PATH --workdir DIR`. "
            "Or give more text.",
        )
    if not held["masked_tokens"]:
        yield Finding(
            "nothing is held out, so no figure says whether the model learns more than this text", _more_held(config)
        )
    for index, phase in enumerate(figures["phases"]):
        if phase["rows"] < phase["batch_size"]:
            smaller = _again(f"scale.batch_size={_smaller_batch(config, index, phase['rows'])}")
            yield Finding(
                f"phase {phase['name']} has {counted(phase['rows'], 'row')}, fewer than a batch of "
                f"{phase['batch_size']:,}, so a step sees the same row twice",
                f"Take smaller batches: {smaller}.",
            )
            break
    if figures["passes"] > MOST_PASSES:
        yield Finding(
            f"the run passes {figures['passes']:,.0f} times over the text, and more than {MOST_PASSES} passes teach "
            "hardly anything",
            f"Train less: {_again(f'max_passes={MOST_PASSES}')}. Or give more text.",
        )
    yield from _vocabulary(config, figures, makes_rows=makes_rows)
    if _UNKNOWN <= (corpus["unknown"] or 0.0) < _MOSTLY_UNKNOWN:
        yield Finding(
            f"{corpus['unknown']:.0%} of the tokens are the unknown token, from which a model learns nothing",
            _known_tokens(config, figures, makes_rows=makes_rows),
        )
    if corpus["documents"] == 1:
        yield _one_document(config, figures, makes_rows=makes_rows)
    main = next(iter(corpus["languages"].items()), ("", 0.0))
    declared = {name.partition("-")[0] for name in corpus["language"]}
    if main[1] >= _MAIN_LANGUAGE and main[0] not in (UNCLEAR, OTHERS) and declared and main[0] not in declared:
        fix = (
            f"Say so: {_again(f'data.language={main[0]}')}."
            if hasattr(config.data, "language")
            else (f"Prepare it with `jaxbert prepare --language {main[0]}`.")
        )
        yield Finding(
            f"{main[1]:.0%} of the text looks like {main[0]}, but its sentences were split as "
            f"{', '.join(sorted(declared))}",
            fix,
        )
    for name, share, limit in (
        ("lines", held["lines_in_train"], _SHARED_LINES),
        ("documents", held["near_copies_in_train"], _SHARED),
    ):
        if share is not None and limit <= share < _MOSTLY_SHARED:
            near = " have near copies in train" if name == "documents" else " are in train too"
            yield Finding(
                f"{share:.0%} of the {name} held out{near}, which flatters the validation figures",
                "Remove the repeats from the text, or prepare it with `jaxbert prepare --remove-repeated-lines`.",
            )


def _from_nothing(config: RunConfig) -> bool:
    """Returns whether a run has no model to learn from, neither an initial one nor a teacher."""
    return not config.init and config.objectives.distillation is None


def _again(*settings: str) -> str:
    """Returns the arguments that begin the run again with other settings."""
    return f"--overwrite --set {' '.join(map(word, settings))}"


def _text_of(figures: Mapping[str, Any]) -> str:
    """Returns the text of a run as a word of a shell."""
    return " ".join(map(word, figures["sources"][:1]))


def _most_frequent(figures: Mapping[str, Any]) -> float:
    """Returns the share of train's most frequent token; 0 where it is not known."""
    known = figures["corpus"]["vocabulary"] or {}
    return float(known.get("most_frequent", 0) / max(1, figures["train_tokens"]))


def _known_tokens(config: RunConfig, figures: Mapping[str, Any], *, makes_rows: bool) -> str:
    """Returns what gives a text fewer unknown tokens."""
    if not makes_rows:
        return f"Make the rows with a vocabulary of this text: `jaxbert tokenizer {_text_of(figures)} --out DIR`."
    if config.data.tokenizer:
        return "The tokenizer is one of other text: leave it out (--tokenizer, data.tokenizer), and the run learns one."
    if config.init:
        return (
            "The initial model is one of other text: take one that knows this language, or give a tokenizer of this "
            "text with --tokenizer."
        )
    return f"A vocabulary of bytes knows all text: {_again('data.tokenizer_kind=bpe', 'data.lowercase=false')}."


def _more_held(config: RunConfig) -> str:
    if any(phase.rows for phase in config.phases):
        return "Make rows of records with a validation split: `jaxbert prepare --validation-fraction 0.01`."
    if config.data.validation_fraction < 0.01:
        return f"Hold some out: {_again('data.validation_fraction=0.01')}."
    return "Give more text, or more documents: a few are enough."


def _smaller_batch(config: RunConfig, index: int, rows: int) -> int:
    """Returns the first phase's batch with which phase `index` has at least four batches, where that can be."""
    sizes = [phase.batch_size for phase in config.phases]
    unit = sizes[0] // math.gcd(*sizes)  # `scale.batch_size` takes its multiples.
    wanted = max(1, rows // 4) * sizes[0] // sizes[index]
    power = 1 << max(0, wanted.bit_length() - 1)
    return max(unit, power // unit * unit)


def _vocabulary(config: RunConfig, figures: Mapping[str, Any], *, makes_rows: bool) -> Iterator[Finding]:
    known = figures["corpus"]["vocabulary"]
    # A vocabulary that the user or the initial model brings has words of other texts.
    if not known or config.data.tokenizer or config.init or known["unused"] < _UNUSED * known["pieces"]:
        return
    # The pieces that the text teaches well, and the characters and bytes that every vocabulary of this text has.
    used = known["pieces"] - known["unused"]
    size = known.get("given", 0) + max(used - known["rare"], used // 4)
    size = -(-size // 128) * 128
    if size >= known["pieces"] + known.get("given", 0):
        return
    fix = (
        f"Take a smaller vocabulary: {_again(f'encoder.vocab_size={size}')}."
        if makes_rows
        else f"Train a smaller vocabulary: `jaxbert tokenizer {_text_of(figures)} --vocab-size {size} "
        "--out DIR`, and make the rows with it."
    )
    yield Finding(
        f"the text cannot fill the vocabulary: {known['unused']:,} of its {known['pieces']:,} learned pieces never "
        f"occur in train, and {known['rare']:,} fewer than ten times",
        fix,
    )


def _one_document(config: RunConfig, figures: Mapping[str, Any], *, makes_rows: bool) -> Finding:
    source = figures["sources"][0] if figures["sources"] else ""
    if config.objectives.next_sentence is not None and makes_rows:
        return Finding(
            "the text is one document, so a random next sentence comes from the same one, and next-sentence prediction "
            "learns little",
            f"Leave it out: {_again('objectives.next_sentence=none', 'data.policy=full_sentences')}.",
        )
    pattern, mark, _ = source.partition("#")
    if makes_rows and mark and source.startswith("text:"):
        fix = f"If blank lines divide its articles or chapters: {_again(f'data.source={pattern}')}."
    else:
        fix = "Divide its articles or chapters by blank lines, or give each a file."
    return Finding("the text is one document, so the text held out is of the same document", fix)
