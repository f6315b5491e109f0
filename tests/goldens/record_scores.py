"""Records the scores of SQuAD's official programs, conlleval and seqeval.

    pip install seqeval==1.2.2
    git clone https://github.com/huggingface/evaluate DIRECTORY/evaluate
    git clone https://github.com/sighsmile/conlleval DIRECTORY/conlleval
    python tests/goldens/record_scores.py DIRECTORY

The first repository has the two official programs of SQuAD (metrics/squad/compute_score.py and
metrics/squad_v2/compute_score.py), the second one a port of conlleval. Writes tests/goldens/scores.json: made-up tags
and answers, and the values of each program.
"""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from seqeval.metrics import classification_report
from seqeval.metrics.sequence_labeling import get_entities

GOLDEN = Path(__file__).parent / "scores.json"
TYPES = ("PER", "LOC", "ORG")

# Texts of right and predicted tags, by name.
TAGS: dict[str, tuple[list[str], list[str]]] = {
    "entities that touch": (["B-PER B-PER I-PER O B-LOC"], ["B-PER B-PER I-PER O B-LOC"]),
    "entities that touch are joined": (["B-PER B-PER I-PER O"], ["B-PER I-PER I-PER O"]),
    "types that touch": (["B-PER I-PER B-LOC I-LOC O"], ["B-PER I-PER B-LOC O O"]),
    "IOB1": (["I-PER I-PER B-PER O I-LOC", "I-ORG I-LOC"], ["I-PER I-PER I-PER O I-LOC", "I-ORG I-LOC"]),
    "begins with I": (["O B-PER I-PER O"], ["O I-PER I-PER O"]),
    "another type goes on": (["B-PER I-PER O"], ["B-PER I-LOC O"]),
    "a type that is never predicted": (["B-PER O B-LOC", "B-ORG I-ORG"], ["B-PER O O", "B-PER I-PER"]),
    "a type that is only predicted": (["B-PER O O", "O"], ["B-PER O B-LOC", "B-ORG"]),
    "wrong end": (["B-ORG I-ORG I-ORG O"], ["B-ORG I-ORG O O"]),
    "wrong type": (["B-ORG I-ORG O"], ["B-PER I-PER O"]),
    "nothing is predicted": (["B-PER O", "O O"], ["O O", "O O"]),
    "nothing is right": (["O O", "O"], ["B-PER O", "O"]),
    "an entity ends with its text": (["O B-PER", "I-PER O"], ["O B-PER", "O O"]),
}

# Accepted answers and the predicted one, for SQuAD 1.1.
FIRST: list[tuple[list[str], str]] = [
    (["Denver Broncos", "The Denver Broncos", "Broncos"], "the  Denver Broncos."),
    (["Denver Broncos"], "Carolina Panthers"),
    (["in the 1990s", "1990s"], "the late 1990s"),
    (["a.m."], "am"),
    (["U.S.A."], "The USA"),
    (["the"], "a"),
    (["the", "theatre"], "theatre"),
    (["Beyoncé Knowles"], "beyonce knowles"),
    (["$1,000"], "1000"),
    (["to be or not to be"], "to be to be"),
    (["“quoted”"], "quoted"),
    (["well-known"], "well known"),
    (["An apple a day"], "apple day\t"),
    (["…"], "..."),
    (["x"], ""),
    (["10 October\n1066"], "October 10 1066"),
]
# The same for SQuAD 2.0, with the probability that there is no answer.
SECOND: list[tuple[list[str], str, float]] = [
    *((answers, text, 0.03 * number) for number, (answers, text) in enumerate(FIRST)),
    ([], "", 0.9),
    ([], "a guess", 0.8),
    ([], "another guess", 0.3),
    ([], "the", 0.55),
    ([], "guess", 0.12),
    (["the"], "", 0.2),
    (["the"], "dog", 0.4),
    (["cat"], "", 0.95),
    (["cat"], "a cat", 0.85),
]


def program(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn_tags(seed: int) -> tuple[list[str], list[str]]:
    """Tags at random, balanced or not, and predictions that often agree with them."""
    draw = random.Random(seed)
    all_tags = ["O", "O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in TYPES)]
    texts = [[draw.choice(all_tags) for _ in range(draw.randint(1, 12))] for _ in range(8)]
    found = [[tag if draw.random() < 0.75 else draw.choice(all_tags) for tag in text] for text in texts]
    return [" ".join(text) for text in texts], [" ".join(text) for text in found]


def drawn_answers(seed: int) -> list[tuple[list[str], str, float]]:
    draw = random.Random(seed)
    words = ["the", "a", "an", "Cat", "cat.", "dog", "-", "dog's", "1,000", "of", "", "é", "an-swer"]
    text = lambda most: " ".join(draw.choice(words) for _ in range(draw.randint(0, most)))  # noqa: E731
    return [([text(3) for _ in range(draw.randint(0, 3))], text(3), round(draw.random(), 2)) for _ in range(40)]


def entities(right: list[str], found: list[str], conlleval: ModuleType) -> dict[str, Any]:
    ours, theirs = [text.split() for text in found], [text.split() for text in right]
    report = classification_report(theirs, ours, output_dict=True, zero_division=0)
    flat = [[tag for text in texts for tag in [*text, "O"]] for texts in (theirs, ours)]
    precision, recall, f1 = (value / 100 for value in conlleval.evaluate(*flat, verbose=False))
    micro = report.pop("micro avg")
    assert max(abs(precision - micro["precision"]), abs(recall - micro["recall"]), abs(f1 - micro["f1-score"])) < 1e-12
    macro = report.pop("macro avg")
    report.pop("weighted avg")
    return {
        "tags": {"right": right, "predicted": found},
        "right": [get_entities(text) for text in theirs],
        "predicted": [get_entities(text) for text in ours],
        "precision": float(micro["precision"]),
        "recall": float(micro["recall"]),
        "f1": float(micro["f1-score"]),
        "macro_f1": float(macro["f1-score"]),
        "by_type": {
            kind: {
                "precision": float(values["precision"]),
                "recall": float(values["recall"]),
                "f1": float(values["f1-score"]),
                "support": int(values["support"]),
            }
            for kind, values in report.items()
        },
    }


def first(asked: list[tuple[list[str], str]], squad: ModuleType) -> dict[str, Any]:
    questions = [
        {"id": str(number), "answers": [{"text": answer} for answer in answers]}
        for number, (answers, _) in enumerate(asked)
    ]
    predictions = {str(number): text for number, (_, text) in enumerate(asked)}
    return {
        "questions": [[answers, text] for answers, text in asked],
        "official": squad.compute_score([{"paragraphs": [{"qas": questions}]}], predictions),
        "each": [
            [
                float(squad.metric_max_over_ground_truths(squad.exact_match_score, text, answers)),
                float(squad.metric_max_over_ground_truths(squad.f1_score, text, answers)),
            ]
            for answers, text in asked
        ],
    }


def second(asked: list[tuple[list[str], str, float]], squad: ModuleType, threshold: float) -> dict[str, Any]:
    """The values that the official program writes, in the order of its `main`."""
    questions = [{"id": str(number), "answers": {"text": answers}} for number, (answers, _, _) in enumerate(asked)]
    predictions = {str(number): text for number, (_, text, _) in enumerate(asked)}
    nulls = {str(number): null for number, (_, _, null) in enumerate(asked)}
    has = {str(number): bool(answers) for number, (answers, _, _) in enumerate(asked)}
    exact, f1 = squad.get_raw_scores([{"paragraphs": [{"qas": questions}]}], predictions)
    judged = [squad.apply_no_ans_threshold(points, nulls, has, threshold) for points in (exact, f1)]
    official = squad.make_eval_dict(*judged)
    for prefix, wanted in (("HasAns", True), ("NoAns", False)):
        if listed := [key for key, value in has.items() if value == wanted]:
            squad.merge_eval(official, squad.make_eval_dict(*judged, qid_list=listed), prefix)
    squad.find_all_best_thresh(official, predictions, exact, f1, nulls, has)
    return {
        "questions": [list(one) for one in asked],
        "threshold": threshold,
        "official": official,
        "each": [[float(exact[key]), float(f1[key])] for key in predictions],
    }


def record(directory: Path) -> dict[str, Any]:
    squad1 = program(directory / "evaluate" / "metrics" / "squad" / "compute_score.py")
    squad2 = program(directory / "evaluate" / "metrics" / "squad_v2" / "compute_score.py")
    conlleval = program(directory / "conlleval" / "conlleval.py")
    tags = {**TAGS, **{f"drawn {seed}": drawn_tags(seed) for seed in range(6)}}
    answered = [(answers, text) for answers, text, _ in drawn_answers(0) if answers]
    return {
        "entities": {name: entities(*texts, conlleval) for name, texts in tags.items()},
        "squad 1.1": [first(FIRST, squad1), first(answered, squad1)],
        "squad 2.0": [
            second(SECOND, squad2, 1.0),
            second(SECOND, squad2, 0.5),
            second(SECOND[-9:-4], squad2, 0.5),
            *(second(drawn_answers(seed), squad2, 0.6) for seed in range(1, 4)),
        ],
    }


if __name__ == "__main__":
    text = json.dumps(record(Path(sys.argv[1])), ensure_ascii=False)
    GOLDEN.write_text(text + "\n", encoding="utf-8")
