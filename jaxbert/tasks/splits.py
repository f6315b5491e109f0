"""Reads the examples of a run of a task with labels, from the files that its config names, and divides them."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxbert.config import LabelledConfig
from jaxbert.data.draws import philox
from jaxbert.data.sources.base import is_blank
from jaxbert.data.sources.files import digest_of
from jaxbert.data.sources.finding import printable
from jaxbert.errors import CommandError, InputError, counted
from jaxbert.labelled.columns import columns_of
from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample
from jaxbert.labelled.glue import is_file as is_glue_file
from jaxbert.labelled.labels import answers_to_keep
from jaxbert.labelled.opening import local_files, open_examples


def places_of(data: LabelledConfig) -> dict[str, str]:
    """Returns the place of each split that `data` has: "train", "validation", "test"."""
    # The folder of a task of GLUE has all splits.
    glue = data.form if data.form.startswith("glue:") else ""
    places = {name: getattr(data, name) for name in ("train", "validation", "test")}
    if glue:
        places = {name: f"{glue}:{place}" if place else "" for name, place in places.items()}
    train = places["train"]
    # A file of GLUE's is one split only.
    if train.startswith("sample:") or (train.startswith("glue:") and not is_glue_file(train)):
        places["validation"] = places["validation"] or train
    if train.startswith("sample:"):  # GLUE's test splits have no answers.
        places["test"] = places["test"] or train
    return {name: place for name, place in places.items() if place}


def contents_of(data: LabelledConfig) -> tuple[str, ...]:
    """Returns "SPLIT NAME SHA256" of each file of `data` on this machine, in the order of the splits.

    Raises:
      InputError: a file is not there, or cannot be read.
    """
    return tuple(line for split, place in places_of(data).items() for line in _contents(split, place))


def _contents(split: str, place: str) -> list[str]:
    found = []
    for path in local_files(place, split):
        status = path.stat()
        found.append(f"{split} {printable(path.name)} {_sha256(path, status.st_size, status.st_mtime_ns)}")
    return found


@functools.lru_cache(maxsize=64)  # The runs of a sweep share their files.
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    del size, modified_ns
    digest: str = digest_of(path)["sha256"]
    return digest


def changed_files(data: LabelledConfig) -> list[str]:
    """Returns the names of the files of a run that has begun whose content is another one now.

    A file that is gone has not changed: the run has its examples. An earlier version of jaxbert noted no contents.
    """
    if not data.contents:
        return []
    now: list[str] = []
    for split, place in places_of(data).items():
        with contextlib.suppress(CommandError, OSError):
            now += _contents(split, place)
    return list(dict.fromkeys(line.split(" ", 1)[1].rsplit(" ", 1)[0] for line in now if line not in data.contents))


@functools.lru_cache(maxsize=1)  # A run asks twice: for its labels and steps, and for its rows.
def read_splits(kind: str, problem: str, data: LabelledConfig) -> dict[str, list[Example]]:
    """Returns the examples of the splits "train", "validation" and "test" that `data` names.

    Raises:
      InputError: a file cannot be read, or has no example.
    """
    columns = columns_of(data.columns)

    def read(place: str, split: str) -> list[Example]:
        form = "" if data.form.startswith("glue:") else data.form
        return list(open_examples(kind, place, problem=problem, columns=columns, form=form, split=split))

    if not data.train:
        raise InputError(
            "the task learns from labels, and the run has no file with them",
            where="task.data.train",
            fix="Give --train FILE.",
            code="E-LABELLED-TRAIN",
        )
    return {name: read(place, name) for name, place in places_of(data).items()}


def divided(splits: Mapping[str, list[Example]], data: LabelledConfig, seed: int) -> dict[str, list[Example]]:
    """Returns the splits, of which a share of the train examples is the validation split where there is none.

    `seed` decides which. It is that of the evaluation, so that runs of several seeds have the same validation examples.
    Every label of the train examples stays in the train split.

    Raises:
      InputError: there are too few examples.
    """
    splits = dict(splits)
    if "validation" not in splits and data.validation_fraction > 0:
        whole = splits["train"]
        held = max(1, round(data.validation_fraction * len(whole)))
        if len(whole) < 2:
            raise InputError(
                f"{counted(len(whole), 'example')} cannot be divided into train and validation",
                where=data.train,
                fix="Give more examples, or a validation file: --validation FILE.",
                code="E-LABELLED-EMPTY",
            )
        out = held_out(whole, held, seed)
        splits["validation"] = [one for one, is_out in zip(whole, out, strict=True) if is_out]
        splits["train"] = [one for one, is_out in zip(whole, out, strict=True) if not is_out]
        if all(out) or not any(out):
            same = len(set(map(_text_of, whole))) == 1
            raise InputError(
                "all examples have the same text, so none can be held out"
                if same
                else "no example can be held out, because the train split would lose the last text of a label",
                where=data.train,
                fix="Give each label two different texts or more, or a validation file: --validation FILE.",
                code="E-LABELLED-EMPTY",
            )
    return splits


def splits_of(kind: str, problem: str, data: LabelledConfig, seed: int) -> dict[str, list[Example]]:
    """Returns the splits of a run: those of `read_splits`, divided by `divided`."""
    return divided(read_splits(kind, problem, data), data, seed)


def held_out(examples: Sequence[Example], held: int, seed: int) -> list[bool]:
    """Returns for each example whether it is held out: some at random, and at least `held` if the labels allow it.

    Examples of the same text are held out together, so that no text is on both sides. A text stays where it has the
    last example of a label, because a model cannot learn a label that only the validation split has.
    """
    texts = [_text_of(one) for one in examples]
    groups: dict[Hashable, list[Example]] = {}
    for text, one in zip(texts, examples, strict=True):
        groups.setdefault(text, []).append(one)
    left = Counter(answer for one in examples for answer in answers_to_keep(one))
    order = np.argsort(philox("held out", seed).random_raw(len(groups)), kind="stable")
    different = list(groups)
    chosen, count = set(), 0
    for number in order.tolist():
        if count >= held:
            break
        group = groups[different[number]]
        mine = Counter(answer for one in group for answer in answers_to_keep(one))
        if any(left[answer] == times for answer, times in mine.items()):
            continue
        left -= mine
        chosen.add(different[number])
        count += len(group)
    return [text in chosen for text in texts]


_PLACES = 2  # places that a line names


def seen_lines(splits: Mapping[str, Sequence[Example]]) -> list[str]:
    """Returns a line for each split some of whose examples the train split has, too."""
    seen = {_input_of(one) for one in splits["train"]}
    found = []
    for name, examples in splits.items():
        again = [one for one in examples if _input_of(one) in seen] if name != "train" else []
        if again:
            places = "; ".join(dict.fromkeys(one.place for one in again[:_PLACES]))
            places += "; ..." if len(again) > _PLACES else ""
            found.append(
                f"{name}: examples that the train split has too: {len(again):,} of {len(examples):,} ({places}); its "
                "figures say less about new texts"
            )
    return found


def _input_of(example: Example) -> Hashable:
    """Returns all that a model gets of an example."""
    if isinstance(example, TextExample):
        return example.text, example.pair
    if isinstance(example, Question):
        return example.question, example.context
    if isinstance(example, ChoiceExample):
        return example.text, example.question, tuple(example.choices)
    return getattr(example, "text", None)


def _text_of(example: Example) -> Hashable:
    """Returns the texts that may not be on both sides of a split. Questions about one text stay together."""
    if isinstance(example, TextExample):
        return example.text, example.pair
    if isinstance(example, Question):
        return ("", example.question) if is_blank(example.context) else example.context
    if isinstance(example, ChoiceExample):
        # Without a text, the question may be the same one everywhere, such as "Which sentence is true?"
        alone = is_blank(example.text)
        return (example.question, tuple(sorted(example.choices))) if alone else example.text
    return getattr(example, "text", None)
