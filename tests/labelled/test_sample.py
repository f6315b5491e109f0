"""`sample:NAME`: real texts with labels of every kind, made of a few services of the installed botocore."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxbert.config import LabelledConfig
from jaxbert.data.sources.sample import AwsDocsSource
from jaxbert.errors import InputError
from jaxbert.labelled import sample
from jaxbert.labelled.encode import Encoding, encode
from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample, WordsExample, to_json
from jaxbert.labelled.labels import check_split, find_labels, shares_line
from jaxbert.labelled.opening import open_examples
from jaxbert.labelled.reading import PROBLEMS
from jaxbert.labelled.sample import SERVICES, SPLITS, TASKS, bare, first_sentence, in_words, marked_lines, unmarked
from jaxbert.tasks.splits import read_splits
from jaxbert.text.tokenizers import Tokenizer

_FEW = ("dynamodb", "iam", "kms", "lambda", "rds", "route53", "s3", "sns", "sqs")


@pytest.fixture(scope="module", autouse=True)
def few_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Gives the sample a few of its services, so that all of its tasks are made in seconds."""
    root, few = AwsDocsSource("sample:aws-docs").root, tmp_path_factory.mktemp("botocore")
    for service in _FEW:
        (few / service).symlink_to(root / service)
    whole = AwsDocsSource.__init__

    def smaller(self: AwsDocsSource, spec: str) -> None:
        whole(self, spec)
        self.root = few

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AwsDocsSource, "__init__", smaller)
        yield


@pytest.fixture(scope="module")
def made(few_services: None) -> dict[str, dict[str, list[Example]]]:
    """The examples of each task and split."""
    return {name: {split: opened(name, split) for split in SPLITS} for name in TASKS}


def opened(name: str, split: str = "train") -> list[Example]:
    return list(open_examples(TASKS[name].kind, f"sample:{name}", problem=TASKS[name].problem, split=split))


def texts(example: Example) -> list[str]:
    """Returns the texts of an example that people wrote."""
    match example:
        case TextExample(text=text, pair=pair):
            return [text if pair is None else pair]
        case WordsExample(text=text):
            return [text]
        case Question(context=context):
            return [context]
        case ChoiceExample(choices=choices):
            return list(choices)
    raise TypeError(type(example))


@pytest.mark.parametrize("name", TASKS)
def test_no_text_is_in_two_splits(made: dict[str, dict[str, list[Example]]], name: str) -> None:
    of = {split: {bare(text) for one in examples for text in texts(one)} for split, examples in made[name].items()}
    assert not of["train"] & of["validation"] and not of["train"] & of["test"] and not of["validation"] & of["test"]
    sizes = {split: len(examples) for split, examples in made[name].items()}
    assert sizes["train"] > 100 and min(sizes.values()) > 10
    assert 0.7 < sizes["train"] / sum(sizes.values()) < 0.9
    ids = [one.id for examples in made[name].values() for one in examples]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", TASKS)
def test_a_run_can_learn_it(
    made: dict[str, dict[str, list[Example]]], name: str, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    task, splits = TASKS[name], made[name]
    labels = find_labels(task.kind, task.problem, splits["train"])
    for split, examples in splits.items():
        check_split(split, labels, examples, needs_answers=task.kind != "sentence_vectors")
    encoding = Encoding(
        kind=task.kind,
        problem=task.problem,
        labels=labels,
        tokenizer=tokenizer,
        length=128,
        texts={"multiple_choice": 4, "sentence_vectors": 2}.get(task.kind, 1),
    )
    counts = encode(encoding, splits["test"]).counts
    assert counts.examples == len(splits["test"]) and not counts.lost_answers


# The first examples of each train split. They change with botocore, which requirements.txt pins, and with the rules of
# the sample, and then figures of documents change too.
DIGESTS = {
    "classify": "cfa5bdd682e99509",
    "pairs": "a7dadc77b1dffc24",
    "several_labels": "3e2671956fe087b7",
    "number": "20d9b815036078a6",
    "label_words": "e8e73263f6d8b0ec",
    "answer": "372448a53532f7f2",
    "choose": "0a2a61563151dfc1",
    "vectors": "4d15c577122c4198",
}


@pytest.mark.parametrize("name", TASKS)
def test_it_is_the_same_on_every_machine(made: dict[str, dict[str, list[Example]]], name: str) -> None:
    sample._made.cache_clear()
    examples = opened(name)
    assert examples == made[name]["train"]
    text = json.dumps([to_json(one) for one in examples[:50]])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == DIGESTS[name]


def test_texts_do_not_name_their_service(made: dict[str, dict[str, list[Example]]]) -> None:
    examples = [one for split in made["classify"].values() for one in split]
    assert {one.target for one in examples if isinstance(one, TextExample)} == set(_FEW) & set(SERVICES)
    names = re.compile(r"\b(S3|DynamoDB|Lambda|IAM|RDS|Route ?53)\b", re.IGNORECASE)
    assert [found for one in examples for text in texts(one) if (found := names.search(text))] == []


def test_answers_come_from_botocore(made: dict[str, dict[str, list[Example]]]) -> None:
    """Each answer is looked up in botocore's file again, by the name of the example."""
    every = {name: [one for split in splits.values() for one in split] for name, splits in made.items()}
    source = AwsDocsSource("sample:aws-docs")
    files = {service: sample.read_service(source.newest(service)) for service in _FEW}  # type: ignore[arg-type]

    def shape(at: str) -> dict[str, object]:
        service, structure, member = at.split(".")
        shapes = files[service]["shapes"]
        return dict(shapes[shapes[structure]["members"][member]["shape"]])

    for one in every["pairs"][:200]:
        assert isinstance(one, TextExample)
        kind = shape(one.id)["type"]
        assert one.target == {"long": "integer", "double": "number", "float": "number"}.get(str(kind), kind)
        assert one.text == in_words(one.id.split(".")[2])
    for one in every["number"][:200]:
        assert isinstance(one, TextExample) and isinstance(one.target, float)
        assert abs(10**one.target / float(str(shape(one.id)["max"])) - 1) < 0.01
    for one in every["several_labels"][:200]:
        assert isinstance(one, TextExample) and isinstance(one.target, tuple)
        service, operation = one.id.split(".")
        errors = str(files[service]["operations"][operation]["errors"])
        assert ("exists" in one.target) == ("Exists" in errors or "Duplicate" in errors)
        assert ("throttled" in one.target) == any(part in errors for part in ("Throttl", "TooManyRequests"))
    for one in every["choose"]:
        assert isinstance(one, ChoiceExample) and one.target is not None
        service, structure, member = one.id.split(".")
        documentation = files[service]["shapes"][structure]["members"][member]["documentation"]
        assert one.choices[one.target] == first_sentence(documentation)
        assert len(set(one.choices)) == 4
    rights = [one.target for one in every["choose"] if isinstance(one, ChoiceExample)]
    assert all(rights.count(place) > len(rights) / 8 for place in range(4))


def test_questions(made: dict[str, dict[str, list[Example]]]) -> None:
    found = [one for split in made["answer"].values() for one in split if isinstance(one, Question)]
    unanswered = [one for one in found if not one.answers]
    assert 0.15 < len(unanswered) / len(found) < 0.45
    for one in found:
        for text, start in one.answers or ():
            assert one.context[start : start + len(text)] == text == text.strip()
        if not one.answers and "default" in one.question:
            assert "default" not in one.context.lower()
    assert {one.question for one in unanswered} & {one.question for one in found if one.answers}


def test_the_shapes_of_sentences() -> None:
    def asked(documentation: str) -> dict[str, str]:
        lines = marked_lines(documentation, ("CODE",))
        text = " ".join(unmarked(line).text for line in lines)
        found = sample._asked(lines)
        assert all(text[start : start + len(answer)] == answer for answer, start in found.values())
        return {question: answer for question, (answer, _) in found.items()}

    assert asked("<p>How long it waits. The default value is 30 seconds. The maximum value is 900.</p>") == {
        "What is the default value?": "30 seconds",
        "What is the maximum?": "900",
    }
    assert asked("<p>A mode, for example <code>fast</code>. Defaults to <code>slow</code>.</p>") == {
        "What is the default value?": "slow",
        "What is an example?": "fast",
    }
    state = (
        "<p>The state:</p><ul><li><p> <code>ACTIVE</code> - It can be used. It costs.</p></li>"
        "<li><p><code>OLD</code>: Nobody uses it.</p></li></ul>"
    )
    assert asked(state) == {
        "What does ACTIVE mean?": "It can be used.",
        "What does OLD mean?": "Nobody uses it.",
    }
    assert asked("<p>It must be between 1 and 64.</p>") == {"Which range is allowed?": "between 1 and 64"}
    assert asked("<p>The default is 3. For lists, the default is 5.</p>") == {}, "two answers are no answer"


def test_marks_become_spans() -> None:
    html = (
        '<p>Use <code> GetItem </code> (see <a href="x">Reading &amp; <code>B</code></a>) of the <i>User Guide</i>, '
        "<i>now</i>, <code>-</code>.</p><p>A <b>bold</b> line.</p>"
    )
    first, second = (unmarked(line) for line in marked_lines(html))
    assert first.text == "Use GetItem (see Reading & B) of the User Guide, now, -."
    assert [(first.text[start:end], kind) for start, end, kind in first.spans] == [
        ("GetItem", "CODE"),
        ("B", "CODE"),
        ("User Guide", "GUIDE"),
    ]
    assert second == ("A bold line.", [])
    assert unmarked(marked_lines("<a>One</a> <a>two</a>")[0]).spans == [(0, 3, "LINK"), (4, 7, "LINK")]


def test_names_in_words_and_first_sentences() -> None:
    assert in_words("AttachRolePolicy") == "attach role policy"
    assert in_words("DBClusterARNs") == "db cluster arns"
    assert in_words("maxItems") == "max items"
    assert in_words("S3Bucket2") == "s3 bucket 2"
    assert first_sentence("<p>Deletes it. You cannot undo this.</p><p>More.</p>") == "Deletes it."
    assert first_sentence("<p>The version, e.g. 1.2 of it</p>") == "The version, e.g. 1.2 of it"


def test_a_run_takes_all_splits(made: dict[str, dict[str, list[Example]]]) -> None:
    found = read_splits("classification", "one_label", LabelledConfig(train="sample:classify"))
    assert found == made["classify"]


def test_what_does_not_exist() -> None:
    def message(kind: str, place: str, problem: str = "", split: str = "train", **more: str) -> str:
        with pytest.raises(InputError) as caught:
            list(open_examples(kind, place, problem=problem, split=split, **more))  # type: ignore[arg-type]
        return str(caught.value)

    found = message("classification", "sample:nothing")
    assert "E-LABELLED-FORM" in found and all(name in found for name in TASKS)
    assert "Did you mean classify?" in message("classification", "sample:clasify")
    found = message("classification", "sample:answer")
    assert "question_answering" in found and "sample:classify, sample:pairs" in found
    assert "--set task.problem=number" in message("classification", "sample:number", "one_label")
    assert "E-SOURCE-SPLIT" in message("classification", "sample:classify", split="dev")
    for name, task in TASKS.items():
        for problem in PROBLEMS:
            if task.problem and problem != task.problem:
                message("classification", f"sample:{name}", problem)


def test_the_order_of_names() -> None:
    """The services of classify are in the order in which a run has its labels."""
    assert list(SERVICES) == sorted(SERVICES)
    assert Path(AwsDocsSource("sample:aws-docs").root).is_dir()


def test_a_line_says_the_shares_of_labels(made: dict[str, dict[str, list[Example]]]) -> None:
    texts = [TextExample(text="a", target=label) for label in ("bad", "good", "good", "good")]
    assert shares_line(("bad", "good"), texts) == "2 labels: good 75.0%, bad 25.0%"
    several = [TextExample(text="a", target=labels) for labels in (("x", "y"), ("x",), (), ())]
    assert shares_line(("x", "y"), several) == "2 labels: x 50.0%, y 25.0%"
    words = [WordsExample(text="a b", words=((0, 1), (2, 3)), tags=("O", "B-A"))]
    assert shares_line(("O", "B-A", "I-A"), words) == "3 labels: O 50.0%, B-A 50.0%, I-A 0.0%"
    labels = find_labels("classification", "one_label", made["classify"]["train"])
    assert shares_line(labels, made["classify"]["train"]).startswith(f"{len(labels)} labels: iam ")
    many = [TextExample(text="a", target=str(number)) for number in range(20)]
    assert shares_line([str(number) for number in range(20)], many).endswith("11 5.0%, ...")
