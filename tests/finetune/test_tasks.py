"""What tasks with labels measure and refuse, on made-up outputs: no model is trained."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.config import RunConfig, check, find_config, resume_differences
from jaxbert.config.overrides import apply_overrides
from jaxbert.data.pipeline import Rows
from jaxbert.errors import InputError
from jaxbert.labelled.writing import read_examples
from jaxbert.tasks import TASKS, make_task
from jaxbert.tasks.labelled import LabelledTask
from jaxbert.text.tokenizers import Tokenizer
from tests.finetune.data import CASES, SETTINGS, SIZES, VOCABULARY, write_examples

Records = Sequence[Mapping[str, Any]]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory = tmp_path_factory.mktemp("vocabulary")
    (directory / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return Tokenizer.load(directory)


def asked(folder: Path, config: str, records: Records | str, settings: Sequence[str] = ()) -> RunConfig:
    """A run on records, or on the examples of a case, that are the train and the validation split."""
    file = folder / "examples.jsonl"
    if isinstance(records, str):
        write_examples(file, records, 24, 0)
    else:
        file.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    run = dataclasses.replace(find_config(config), encoder=SIZES)
    places = [f"task.data.train={file}", f"task.data.validation={file}"]
    return apply_overrides(run, [*SETTINGS, *places, *settings])


def complete(
    run: RunConfig, tokenizer: Tokenizer, begun: RunConfig | None = None, chosen: Sequence[str] = ()
) -> RunConfig:
    """The run with what its task finds when it begins."""
    maker = TASKS[run.task.name].complete
    assert maker is not None
    return maker(run, tokenizer, begun, chosen)


def opened(
    folder: Path, tokenizer: Tokenizer, config: str, records: Records | str, settings: Sequence[str] = ()
) -> tuple[LabelledTask, Rows]:
    """The task of a run, and its validation rows."""
    run = complete(asked(folder, config, records, settings), tokenizer)
    maker = TASKS[run.task.name].make_rows
    assert maker is not None
    maker(run, tokenizer, run.phases[0], folder / "rows")
    task = make_task(run, run.phases[0])
    assert isinstance(task, LabelledTask)
    return task, Rows(folder / "rows", "validation")


def outputs(task: LabelledTask, rows: Rows) -> dict[str, np.ndarray]:
    """Made-up outputs of all rows."""
    rng = np.random.default_rng(0)
    if task.kind == "sentence_vectors":
        vectors = rng.normal(size=(len(rows), 2, 8)).astype(np.float32)
        return {"vectors": vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)}
    constant = task.constant_outputs(rows)["logits"] if task.kind != "question_answering" else None
    shape = (len(rows), rows.length, 2) if constant is None else constant.shape
    return {"logits": rng.normal(size=shape).astype(np.float32)}


@pytest.mark.parametrize("case", CASES)
def test_what_is_scored_is_what_the_task_measures(tokenizer: Tokenizer, tmp_path: Path, case: str) -> None:
    """The judgement shows what is scored: nothing that means nothing, and first what chooses the checkpoint."""
    config, own, _ = CASES[case]
    task, rows = opened(tmp_path, tokenizer, config, case, own)
    found = task.scored(outputs(task, rows), rows)
    measured = [metric.name for metric in task.metrics_of(task.settings)]
    names = [metric.name for metric in found.metrics]
    assert names == [name for name in measured if name in names]
    assert set(names) == set(found.values) and names[0] == measured[0]


@pytest.mark.parametrize("case", CASES)
def test_a_judgement_has_intervals(tokenizer: Tokenizer, tmp_path: Path, case: str) -> None:
    """They hold the values, the same call gives the same ones, and an evaluation does not wait for them."""
    config, own, _ = CASES[case]
    task, rows = opened(tmp_path, tokenizer, config, case, own)
    made = outputs(task, rows)
    assert not task.scored(made, rows).intervals and "schemes" not in task.scored(made, rows).details
    found = task.scored(made, rows, final=True)
    assert found.intervals == task.scored(made, rows, final=True).intervals
    assert task.best is not None and task.best.name in found.intervals
    for name, (low, high) in found.intervals.items():
        assert low <= found.values[name] <= high, name
    assert ("schemes" in found.details) == (case == "token_labels")


TAGS = [{"tokens": ["rome", *["w1"] * 8, "oslo"], "tags": ["PLACE", *["O"] * 9]}] * 8


def test_words_outside_do_not_decide_about_labels_of_words(tokenizer: Tokenizer, tmp_path: Path) -> None:
    task, rows = opened(tmp_path, tokenizer, "label_words", TAGS)
    assert task.best is not None and task.best.name == "macro_f1"
    none = task.constant(rows)
    assert none["accuracy"] == 0.9 and none["macro_f1"] < 0.5
    assert task.scored(outputs(task, rows), rows).metrics[0].name == "macro_f1"


def test_marks_of_spans_in_small_letters_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    records = [{"tokens": ["rome", "w1"], "tags": ["b-loc", "O"]}] * 4
    with pytest.raises(InputError, match=r"b-loc.*as capitals: O, B-loc.*E-LABELLED-TAGS"):
        complete(asked(tmp_path, "label_words", records), tokenizer)


def test_a_question_about_a_text_without_a_token_is_answered_with_none(tokenizer: Tokenizer, tmp_path: Path) -> None:
    records = [
        {"question": "where ?", "context": "w1 rome", "answers": ["rome"], "answer_start": [3]},
        {"question": "where ?", "context": "   ", "answers": [], "answer_start": []},
    ] * 2
    task, rows = opened(tmp_path, tokenizer, "answer", records)
    found = task.judge(outputs(task, rows), rows)
    assert found["no_answer_accuracy"] == 1.0 and all(np.isfinite(value) for value in found.values())
    confident = np.zeros((len(rows), rows.length, 2), np.float32)
    confident[..., 0, :] = -9.0  # any answer rather than none
    assert task.judge({"logits": confident}, rows)["no_answer_accuracy"] == 1.0


def test_weighted_and_smoothed_labels_cost_what_torch_says(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """CrossEntropyLoss(weight=[0.1, 0.3], label_smoothing=0.2) of torch, by its documentation, in float64."""
    weights = np.array([0.1, 0.3])
    settings = [f"task.class_weights={weights.tolist()}", "task.smoothing=0.2"]
    task, rows = opened(tmp_path, tokenizer, "classify", "one_label", settings)
    batch = task.collate(rows.read(np.arange(2)))
    z = np.random.default_rng(0).normal(size=(2, 2)).astype(np.float32)
    log_p = z - np.log(np.exp(z.astype(np.float64)).sum(-1, keepdims=True))
    y = batch["target"]
    each = -0.8 * weights[y] * log_p[np.arange(2), y] - 0.2 / 2 * (weights * log_p).sum(-1)
    term = task.losses({"logits": z}, batch)
    np.testing.assert_allclose(term.sum / np.maximum(term.weight, 1), each.sum() / weights[y].sum(), rtol=1e-6)
    assert float(term.weight) == float(task.denominators(batch)["classification"])


PAIRS = [{"text": "rome", "pair": "w1"}, {"text": "rome", "pair": "w2"}, {"text": "oslo", "pair": "w3"}]


def test_the_partners_of_one_text_are_no_negatives_of_each_other(tokenizer: Tokenizer, tmp_path: Path) -> None:
    task, rows = opened(tmp_path, tokenizer, "vectors", PAIRS, ["task.loss=negatives"])
    batch = task.collate(rows.read(np.arange(3)))
    vectors = np.eye(8, dtype=np.float32)[[[0, 0], [0, 0], [1, 1]]]
    term = task.losses({"vectors": vectors}, batch)
    assert float(term.sum) / float(term.weight) < 1e-6, "two perfect pairs cost nothing"


def test_equal_texts_count_once_in_retrieval(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Perfect vectors are perfect, whatever texts occur twice."""
    records = [*PAIRS, {"text": "bad", "pair": "w3"}]
    task, rows = opened(tmp_path, tokenizer, "vectors", records, ["task.loss=negatives"])
    vectors = np.eye(8, dtype=np.float32)[[[0, 0], [0, 0], [1, 1], [1, 1]]]
    assert task.judge({"vectors": vectors}, rows)["recall_at_1"] == 1.0
    examples = list(read_examples(rows.directory, rows.split))
    assert task.errors({"vectors": vectors}, rows, examples, 9) == []
    vectors[2:, 1] = np.eye(8)[2]
    vectors[:2, 1] = np.eye(8)[1]
    worst = task.errors({"vectors": vectors}, rows, examples, 1)
    assert worst == [{"text": "oslo", "number": 2, "right": "w3", "predicted": "w1", "score": 3.0}]


def test_only_settings_that_were_found_are_kept(
    tokenizer: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that has begun never takes its own value in the place of one that its user sets, or has set before."""
    run = asked(tmp_path, "vectors", "cosine")
    begun = complete(run, tokenizer)
    assert "the score 0 is a cosine of 0, and 5 a cosine of 1" in caplog.text
    assert begun.task.found == ("data", "high")  # type: ignore[attr-defined]
    assert complete(run, tokenizer, begun) == begun

    def differs(config: str, records: str, begun: RunConfig, *settings: str) -> list[str]:
        again = asked(tmp_path, config, records, settings)
        lines = resume_differences(
            begun, complete(again, tokenizer, begun, [one.partition("=")[0] for one in settings])
        )
        return [line.partition(":")[0] for line in lines]

    assert differs("vectors", "cosine", begun, "task.high=4", "task.low=2") == ["task.high", "task.low"]
    assert differs("vectors", "cosine", begun, "task.high=5") == []
    wide = complete(asked(tmp_path, "vectors", "cosine", ["task.low=-1", "task.high=6"]), tokenizer)
    assert differs("vectors", "cosine", wide) == ["task.high", "task.low"], "the user no longer sets them"
    begun = complete(asked(tmp_path, "classify", "one_label"), tokenizer)
    assert differs("classify", "one_label", begun, "task.class_weights=[1,9]")
    assert differs("classify", "one_label", begun, 'task.labels=["yes","no"]')
    weighted = complete(asked(tmp_path, "classify", "one_label", ["task.class_weights=[1,9]"]), tokenizer)
    assert differs("classify", "one_label", weighted)
    with pytest.raises(InputError, match=r"task.choices is set to 5, but the files make it 2.*E-TASK-SETTING"):
        complete(asked(tmp_path, "choose", "multiple_choice", ["task.choices=5"]), tokenizer, None, ["task.choices"])


@pytest.mark.parametrize(
    ("config", "settings", "code"),
    [
        ("classify", ["task.smoothing=5"], "E-CONFIG-RANGE"),
        ("classify", ["task.smoothing=-1"], "E-CONFIG-RANGE"),
        ("label_words", ["task.smoothing=1"], "E-CONFIG-RANGE"),
        ("classify", ["task.data.validation_fraction=1.5"], "E-CONFIG-RANGE"),
        ("classify", ["task.data.validation_fraction=-1"], "E-CONFIG-RANGE"),
        ("classify", ["task.warmup=2"], "E-CONFIG-RANGE"),
        ("classify", ["task.class_weights=[1,-1]"], "E-CONFIG-RANGE"),
        ("classify", ["task.class_weights=[0,0]"], "E-CONFIG-RANGE"),
        ("classify", ["task.class_weights=[1,2,3]", 'task.labels=["a","b"]'], "E-CONFIG-RANGE"),
        ("answer", ["task.longest_answer=0"], "E-CONFIG-RANGE"),
        ("answer", ["task.stride=-5"], "E-CONFIG-RANGE"),
        ("vectors", ["task.loss=negatives", "task.scale=-1"], "E-CONFIG-RANGE"),
        ("vectors", ["task.low=5", "task.high=1"], "E-CONFIG-RANGE"),
        ("classify", ["task.problem=several_labels", "task.weighting=balanced"], "E-TASK-SETTING"),
        ("classify", ["task.problem=number", "task.smoothing=0.1"], "E-TASK-SETTING"),
        ("vectors", ["task.scale=30"], "E-TASK-SETTING"),
        ("vectors", ["task.loss=negatives", "task.high=5"], "E-TASK-SETTING"),
        ("answer", ["task.dropout=0.2"], "E-TASK-SETTING"),
        ("choose", ['task.labels=["a"]'], "E-TASK-SETTING"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(config: str, settings: list[str], code: str) -> None:
    name = settings[0].partition("=")[0] if len(settings) == 1 else "task."
    with pytest.raises(InputError, match=rf"{name}.*{code}"):
        check(apply_overrides(find_config(config), settings))


def test_weights_that_do_not_fit_the_labels_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The labels are known only when the run begins."""
    with pytest.raises(InputError, match=r"2 weights, one for each label: no, yes.*E-CONFIG-RANGE"):
        complete(asked(tmp_path, "classify", "one_label", ["task.class_weights=[1,2,3]"]), tokenizer)


def test_what_a_run_says_of_its_answers(tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    """Scores that the loss does not use, questions without an answer, and how many examples are held out."""
    caplog.set_level("INFO")
    pairs = [{"text": f"w{n}", "pair": f"w{n + 1}", "score": n % 5} for n in range(8)]
    complete(asked(tmp_path, "vectors", pairs, ["task.loss=negatives"]), tokenizer)
    assert "does not use the 8 scores of the train file" in caplog.text
    caplog.clear()
    complete(asked(tmp_path, "vectors", [{"text": f"w{n}", "pair": f"w{n + 1}"} for n in range(8)],
                   ["task.loss=negatives"]), tokenizer)  # fmt: skip
    assert "does not use" not in caplog.text
    record = {"question": "w1", "context": "w2 w3"}
    answers = [{"answers": ["w2"], "answer_start": [0]}, {"answers": [], "answer_start": []}]
    complete(asked(tmp_path, "answer", [{**record, **answers[n == 3]} for n in range(4)]), tokenizer)
    assert "1 of 4 train questions has no answer, so the model learns to give none" in caplog.text
    caplog.clear()
    texts = [{"text": f"w{n}", "label": "ab"[n % 2]} for n in range(20)]
    places = ["task.data.validation=", f"task.data.test={tmp_path / 'examples.jsonl'}"]
    complete(asked(tmp_path, "classify", texts, places), tokenizer)
    assert "2 of the 20 examples of " in caplog.text
