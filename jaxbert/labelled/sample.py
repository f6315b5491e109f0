"""`sample:NAME`: labelled examples of every kind of task, made from the botocore wheel, without a download.

botocore (Apache-2.0, pinned in requirements.txt) describes each service of AWS in a JSON file: its operations, the
parameters of each operation, and their documentation in HTML. People wrote both the documentation and the facts beside
it, and the answers here are such facts:

- classify: the documentation of an operation, and the service that has the operation, one of `SERVICES`. The names of
  these services would give the answer away, so `AWS` replaces each of them.
- pairs: the name of a parameter in words, its documentation, and the type of the parameter.
- several_labels: the documentation of an operation, and the kinds of errors that the operation declares (`_ERRORS`).
- number: the documentation of a text parameter, and the most characters that the parameter takes, as a logarithm to
  the base 10.
- label_words: a line of documentation. The answers are what its authors marked up: code, links, and titles of guides.
- answer: the documentation of a parameter, and questions that the shapes of its sentences answer: "The default is 10"
  answers "What is the default value?", and "ACTIVE: The key can be used." answers "What does ACTIVE mean?". A third of
  the questions has no answer in the text.
- choose: the name of a parameter in words, and the documentation of four parameters of one service.
- vectors: the name of an operation in words, and the first sentence of its documentation. The pairs have no scores.

Texts that differ only in case, digits, spaces, and marks count as the same text: the first one stays. The hash of a
text decides its split, so no text is in two splits, and the splits are the same on every machine: 80% train, 10%
validation, 10% test. A second hash orders the examples; each task takes the first `_MOST` of them.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from jaxbert.config import did_you_mean
from jaxbert.data.sources.sample import AwsDocsSource, read_service, strip_html
from jaxbert.errors import InputError
from jaxbert.labelled.examples import ChoiceExample, Example, Question, TextExample, WordsExample
from jaxbert.labelled.words import with_entities

SPLITS = ("train", "validation", "test")
_VALIDATION, _TEST = 0.1, 0.1
_MOST = 6000

# The services of `classify`, and the names that `AWS` replaces in its texts. "Connect" and "Glue" are also common
# words, so they count only with a capital.
SERVICES: Mapping[str, str] = {
    "apigateway": "API Gateway",
    "cloudformation": "CloudFormation",
    "cloudfront": "CloudFront",
    "cognito-idp": "Cognito(?: Identity Provider)?|user pools? API",
    "connect": "(?-i:Connect)",
    "dynamodb": "DynamoDB",
    "ec2": "EC2|Elastic Compute Cloud",
    "ecs": "ECS|Elastic Container Service|EC2 Container Service",
    "glue": "(?-i:Glue)",
    "iam": "IAM|Identity and Access Management",
    "iot": "IoT",
    "lambda": "Lambda",
    "logs": "CloudWatch Logs",
    "quicksight": "Quick ?Sight|Quick Suite|Amazon (?-i:Quick)",
    "rds": "RDS|Relational Database Service",
    "redshift": "Redshift",
    "route53": "Route ?53",
    "s3": "S3|Simple Storage Service",
    "sagemaker": "SageMaker(?: AI)?",
    "ssm": "SSM|(?:Amazon )?(?:Simple )?Systems Manager",
}
_NAMES = re.compile(
    rf"\b(?:(?:Amazon Web Services|Amazon|AWS) )?(?:{'|'.join(SERVICES.values())})(?![a-z0-9])", re.IGNORECASE
)

# The kinds of errors of `several_labels`, and what the names of such errors have in them.
_ERRORS: Mapping[str, str] = {
    "conflict": "Conflict|Concurrent|InUse|Busy|OperationAborted|ResourceNotReady|InvalidState|IncorrectState",
    "denied": "AccessDenied|Unauthorized|NotAuthorized|Forbidden|Permission",
    "exists": "Exists|Duplicate",
    "limit": "Quota|LimitExceeded|Limits?Exceeded|TooMany(?!Requests)",
    "missing": "NotFound|NoSuch|DoesNotExist|Unknown(?!Operation)",
    "throttled": "Throttl|TooManyRequests|RequestLimit",
}

# The types of `pairs`. botocore distinguishes more types of numbers than a text does.
_TYPES = {"long": "integer", "double": "number", "float": "number", "blob": ""}

# The tags that `label_words` learns. A pair of private characters of Unicode marks each while other tags are removed.
_TAGS: Mapping[str, re.Pattern[str]] = {
    "CODE": re.compile(r"<code>(.*?)</code>", re.DOTALL),
    "GUIDE": re.compile(r"<i>([^<]*(?:Guide|Reference)[^<]*)</i>"),
    "LINK": re.compile(r"<a\b[^>]*>(.*?)</a>", re.DOTALL),
}
_MARKS = {name: (chr(0xE000 + 2 * number), chr(0xE001 + 2 * number)) for number, name in enumerate(_TAGS)}
_MARK = re.compile(f"[{''.join(begin + end for begin, end in _MARKS.values())}]")
_WORD = re.compile(r"[A-Z]+\d+|[A-Z]+s(?![a-z])|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_SENTENCE = re.compile(r"(?<=[a-z0-9)\]\"'][.!?]) +(?=[A-Z\"'(])")


class Line(NamedTuple):
    """A text that was marked up, and its marks.

    Attributes:
      text: the text.
      spans: (first character, the one behind the last, type) of each mark, in order.
    """

    text: str
    spans: list[tuple[int, int, str]]


class Item(NamedTuple):
    """An example before it has a split.

    Attributes:
      key: the text that decides the split, see `bare`.
      example: the example.
    """

    key: str
    example: Example


class Described(NamedTuple):
    """An operation or a parameter with documentation.

    Attributes:
      at: its name in the file, "s3.PutObject" or "s3.PutObjectRequest.Bucket".
      documentation: its documentation, in HTML.
      facts: what the file says of the operation, or of the parameter's type.
    """

    at: str
    documentation: str
    facts: Mapping[str, Any]

    @property
    def service(self) -> str:
        """Returns the name of the service, "s3"."""
        return self.at.partition(".")[0]

    @property
    def words(self) -> str:
        """Returns its name in words."""
        return in_words(self.at.rpartition(".")[2])


def operations_of(service: str, content: Mapping[str, Any]) -> Iterator[Described]:
    """Yields the operations of a service that have documentation."""
    for name, operation in content.get("operations", {}).items():
        if documentation := operation.get("documentation"):
            yield Described(f"{service}.{name}", documentation, operation)


def parameters_of(service: str, content: Mapping[str, Any]) -> Iterator[Described]:
    """Yields the parameters of all structures of a service that have documentation."""
    shapes = content.get("shapes", {})
    for structure, shape in shapes.items():
        for name, member in shape.get("members", {}).items():
            if documentation := member.get("documentation"):
                yield Described(f"{service}.{structure}.{name}", documentation, shapes.get(member["shape"], {}))


# ----------------------------------------------------------------------------------------------------------------------
# Texts


def one_line(documentation: str) -> str:
    """Returns documentation without HTML, on one line."""
    return strip_html(documentation).replace("\n", " ")


def first_sentence(documentation: str) -> str:
    """Returns the first sentence of documentation without HTML."""
    first, _, _ = strip_html(documentation.partition("</p>")[0]).partition("\n")
    return _SENTENCE.split(first, maxsplit=1)[0]


def in_words(name: str) -> str:
    """Returns a name of an operation or a parameter in words: "AttachRolePolicy" is "attach role policy"."""
    return " ".join(_WORD.findall(name)).lower()


def bare(text: str) -> str:
    """Returns the letters of a text in lower case. Texts with the same letters count as the same text."""
    return re.sub(r"[\W\d_]+", "", text).lower()


def marked_lines(documentation: str, tags: Sequence[str] = tuple(_TAGS)) -> list[str]:
    """Returns the lines of documentation without HTML, with the private characters of some tags in their places.

    Where a tag is inside another one, the first of them in `tags` counts. White space at the edge of a tag is outside.
    """
    for name in tags:

        def marked(match: re.Match[str], marks: tuple[str, str] = _MARKS[name]) -> str:
            inside = match[1].strip()
            if not re.search(r"\w", inside) or _MARK.search(inside):
                return match[1]
            before, after = match[1].split(inside, maxsplit=1)
            return f"{before}{marks[0]}{inside}{marks[1]}{after}"

        documentation = _TAGS[name].sub(marked, documentation)
    return strip_html(documentation).split("\n")


def unmarked(line: str) -> Line:
    """Returns a line without its marks, and their places."""
    text, end, spans = "", 0, []
    first, begun = 0, ""
    for mark in _MARK.finditer(line):
        text += line[end : mark.start()]
        end = mark.end()
        opened = next((name for name, (begin, _) in _MARKS.items() if begin == mark[0]), "")
        if opened:
            first, begun = len(text), opened
        elif begun:  # A mark that goes over lines has its end on another line.
            spans.append((first, len(text), begun))
            begun = ""
    return Line(text + line[end:], spans)


# ----------------------------------------------------------------------------------------------------------------------
# Tasks


def _classify(operations: Sequence[Described]) -> Iterator[Item]:
    for one in operations:
        text = _NAMES.sub("AWS", one_line(one.documentation))
        yield Item(bare(text), TextExample(id=one.at, text=text, target=one.service))


def _pairs(parameters: Sequence[Described]) -> Iterator[Item]:
    for one in parameters:
        kind = one.facts.get("type", "")
        if kind := _TYPES.get(kind, kind):
            text = one_line(one.documentation)
            yield Item(bare(text), TextExample(id=one.at, text=one.words, pair=text, target=kind))


def _several_labels(operations: Sequence[Described]) -> Iterator[Item]:
    for one in operations:
        if errors := [error["shape"] for error in one.facts.get("errors", [])]:  # Some services declare none.
            kinds = [kind for kind, parts in _ERRORS.items() if any(re.search(parts, error) for error in errors)]
            text = one_line(one.documentation)
            yield Item(bare(text), TextExample(id=one.at, text=text, target=tuple(kinds)))


def _number(parameters: Sequence[Described]) -> Iterator[Item]:
    for one in parameters:
        if one.facts.get("type") == "string" and one.facts.get("max", 0) > 1:
            text, target = one_line(one.documentation), round(math.log10(one.facts["max"]), 3)
            yield Item(bare(text), TextExample(id=one.at, text=text, target=target))


_FEWEST_WORDS, _MOST_WORDS = 5, 60
_UNMARKED = 1 / 3


def _label_words(parameters: Sequence[Described]) -> Iterator[Item]:
    seen: set[str] = set()
    for one in parameters:
        for number, line in enumerate(marked_lines(one.documentation)):
            text, spans = unmarked(line)
            # Lines that differ only in what is marked count as the same text. Authors also mark one line differently.
            key, whole = bare(_without(text, spans)), bare(text)
            if whole in seen or not _FEWEST_WORDS <= len(text.split()) <= _MOST_WORDS:
                continue
            seen.add(whole)
            if spans or _share("unmarked", key) < _UNMARKED:
                words, tags, _ = with_entities(text, spans, one.at)
                yield Item(key, WordsExample(id=f"{one.at}.{number}", text=text, words=words, tags=tags))


def _without(text: str, spans: Sequence[tuple[int, int, str]]) -> str:
    parts, end = [], 0
    for first, last, _ in spans:
        parts.append(text[end:first])
        end = last
    return " ".join([*parts, text[end:]])


# The values of answers: code, a number with its unit, or a truth value.
_CODE = f"{_MARKS['CODE'][0]}(?P<code>[^{_MARKS['CODE'][1]}]{{1,60}}){_MARKS['CODE'][1]}"
_UNIT = "(?: ?%| (?:percent|seconds?|minutes?|hours?|days?|weeks?|months?|years?|bytes?|[KMGT]i?B|characters?|items?))?"
_AMOUNT = rf"\d(?:[\d,.]*\d)?{_UNIT}(?!\w)"
_VALUE = rf"(?:the )?(?:{_CODE}|(?P<plain>{_AMOUNT}|(?:true|false)\b))"


@dataclass(frozen=True)
class Shape:
    """A shape of a sentence that answers a question.

    Attributes:
      question: the question.
      pattern: the sentence. Its group "code" or "plain" is the answer.
      hint: a part of each text, in lower case, that may answer the question in whatever shape.
    """

    question: str
    pattern: re.Pattern[str]
    hint: str


def _shape(question: str, pattern: str, hint: str) -> Shape:
    return Shape(question, re.compile(pattern, re.IGNORECASE), hint)


_SHAPES = (
    _shape("What is the default value?", rf"\bdefaults?(?: value| setting)?(?: is| to|:) {_VALUE}", "default"),
    _shape("What is the maximum?", rf"\bmaximum (?:\w+ ){{0,3}}?(?:is|of):? (?P<plain>{_AMOUNT})", "max"),
    _shape("What is the minimum?", rf"\bminimum (?:\w+ ){{0,3}}?(?:is|of):? (?P<plain>{_AMOUNT})", "min"),
    _shape("Which range is allowed?", r"\b(?P<plain>between \d[\d,.]* and \d(?:[\d,.]*\d)?)", "between"),
    _shape("What is an example?", rf"\b(?:for example,?|example:) {_CODE}", "example"),
)
_ASKED = re.compile("default|maximum|minimum|between|example|<li>", re.IGNORECASE)
_MEANING = re.compile(rf"{_CODE} ?[-:\u2013\u2014] ?(?P<plain>[A-Z].*)")
_ANSWER_WORDS, _MOST_CHARACTERS = 20, 400
# The share of the texts that get a question without an answer too.
_UNANSWERED = 0.5


def _answer(parameters: Sequence[Described]) -> Iterator[Item]:
    meanings: list[str] = []
    for one in parameters:
        if not _ASKED.search(one.documentation):
            continue
        lines = marked_lines(one.documentation, ("CODE",))
        text = " ".join(unmarked(line).text for line in lines)
        asked = _asked(lines) if len(text) <= _MOST_CHARACTERS else {}
        if not asked:
            continue
        key = bare(text)
        for number, question in enumerate(sorted(asked, key=lambda question: _share("asked", key + question))[:2]):
            at = f"{one.at}.{number}"
            yield Item(key, Question(id=at, question=question, context=text, answers=(asked[question],)))
        if _share("unanswered", key) < _UNANSWERED:
            other = [shape.question for shape in _SHAPES if shape.hint not in text.lower()]
            # Only texts before this one: they are the same whatever number of examples is made.
            other += meanings[-1:]
            question = min(other, key=lambda question: _share("other", key + question), default="")
            if question and question not in asked:
                yield Item(key, Question(id=f"{one.at}.none", question=question, context=text, answers=()))
        meanings += [question for question in asked if question.startswith("What does")]


def _asked(lines: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Returns the questions that a text answers, each with its answer and the first character of the answer."""
    found: dict[str, tuple[str, int]] = {}
    whole = " ".join(lines)
    for shape in _SHAPES:
        matches = list(shape.pattern.finditer(whole))
        if len(matches) == 1:  # Of two answers, each may be the right one.
            found[shape.question] = _place(whole, *_answered(matches[0]))
    at = 0
    for line in lines:
        if match := _MEANING.match(line):
            first, last = match.span("plain")
            last = first + len(_SENTENCE.split(line[first:last], maxsplit=1)[0])
            answer = _place(whole, at + first, at + last)
            question = f"What does {match['code']} mean?"
            if len(answer[0].split()) <= _ANSWER_WORDS and question not in found:
                found[question] = answer
        at += len(line) + 1
    return found


def _answered(match: re.Match[str]) -> tuple[int, int]:
    groups = match.groupdict()
    return match.span("code" if groups.get("code") else "plain")


def _place(marked: str, first: int, last: int) -> tuple[str, int]:
    """Returns a part of a text without its marks, and its first character in the text without marks."""
    return _MARK.sub("", marked[first:last]), len(_MARK.sub("", marked[:first]))


_CHOICES = 4


def _choose(parameters: Sequence[Described]) -> Iterator[Item]:
    groups: dict[tuple[str, str], dict[str, tuple[str, Described]]] = {}
    seen: set[str] = set()
    for one in parameters:
        text = first_sentence(one.documentation)
        key = bare(text)
        if key in seen or len(text.split()) < _FEWEST_WORDS:
            continue
        seen.add(key)
        # All choices of an example are of one service and of one split.
        group = groups.setdefault((one.service, split_of(key)), {})
        if one.words in {other.words for _, other in group.values()}:
            continue  # Of two parameters with one name, either may be right.
        group[key] = (text, one)
        if len(group) == _CHOICES:
            right = int(_share("right", key) * _CHOICES)
            answer, choices = list(group)[right], tuple(text for text, _ in group.values())
            described = group[answer][1]
            group.clear()
            yield Item(answer, ChoiceExample(id=described.at, text=described.words, choices=choices, target=right))


def _vectors(operations: Sequence[Described]) -> Iterator[Item]:
    for one in operations:
        text = first_sentence(one.documentation)
        if len(text.split()) >= _FEWEST_WORDS:
            yield Item(bare(text), TextExample(id=one.at, text=one.words, pair=text))


@dataclass(frozen=True)
class SampleTask:
    """A task of the sample.

    Attributes:
      kind: a key of `jaxbert.labelled.examples.KINDS`.
      make: makes the examples of operations or parameters, as a stream.
      read: yields the operations or the parameters of a service.
      problem: for classification, the problem.
      services: the services that the examples are of; () means all.
    """

    kind: str
    make: Callable[[Sequence[Described]], Iterator[Item]]
    read: Callable[[str, Mapping[str, Any]], Iterator[Described]]
    problem: str = ""
    services: tuple[str, ...] = ()


TASKS: Mapping[str, SampleTask] = {
    "classify": SampleTask("classification", _classify, operations_of, "one_label", tuple(SERVICES)),
    "pairs": SampleTask("classification", _pairs, parameters_of, "one_label"),
    "several_labels": SampleTask("classification", _several_labels, operations_of, "several_labels"),
    "number": SampleTask("classification", _number, parameters_of, "number"),
    "label_words": SampleTask("token_labels", _label_words, parameters_of),
    "answer": SampleTask("question_answering", _answer, parameters_of),
    "choose": SampleTask("multiple_choice", _choose, parameters_of),
    "vectors": SampleTask("sentence_vectors", _vectors, operations_of),
}


# ----------------------------------------------------------------------------------------------------------------------
# Splits


def _share(what: str, key: str) -> float:
    """Returns a number from 0 to 1 that looks random. It is the same for the same arguments on every machine."""
    return int.from_bytes(hashlib.blake2b(f"{what}:{key}".encode(), digest_size=7).digest(), "big") / 2**56


def split_of(key: str) -> str:
    """Returns the split of a text, from the text that `bare` gives."""
    share = _share("split", key)
    return "train" if share < 1 - _VALIDATION - _TEST else "validation" if share < 1 - _TEST else "test"


@functools.lru_cache(maxsize=1)  # A run asks for each split.
def _made(name: str, root: str) -> Mapping[str, Sequence[Example]]:
    """Returns the examples of each split of a task, from the files in the directory `root`."""
    task, source = TASKS[name], AwsDocsSource(f"sample:{name}")
    assert str(source.root) == root
    described: dict[str, Described] = {}
    for service in source.services():
        wanted = not task.services or service in task.services
        if wanted and (file := source.newest(service)) is not None:
            for one in task.read(service, read_service(file)):
                described.setdefault(one.documentation, one)
    ordered = sorted(described.values(), key=lambda one: _share("order", one.documentation))
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    first: dict[str, str] = {}
    for item in task.make(ordered):
        # Some questions share a text.
        of = item.example.id.rpartition(".")[0] if name == "answer" else item.example.id
        if item.key and first.setdefault(item.key, of) == of:
            split = splits[split_of(item.key)]
            split.append(replace(item.example, place=f"sample:{name} {split_of(item.key)}, row {len(split) + 1}"))
            if sum(map(len, splits.values())) == _MOST:
                break
    return splits


def open_sample(kind: str, place: str, *, problem: str, split: str) -> Iterator[Example]:
    """Opens `sample:NAME`.

    Args:
      kind: a key of `KINDS`.
      place: the place.
      problem: for classification, one of `jaxbert.labelled.reading.PROBLEMS`, or "".
      split: one of `SPLITS`.

    Raises:
      InputError: there is no such task or split, the task is of another kind, or botocore is not installed.
    """
    name = place.partition(":")[2]
    if name not in TASKS:
        raise InputError(
            f"no sample of labelled examples is called {name!r}",
            where=place,
            fix=f"{did_you_mean(name, list(TASKS))}Known: {', '.join(TASKS)}.",
            code="E-LABELLED-FORM",
        )
    task = TASKS[name]
    if kind != task.kind:
        fitting = ", ".join(f"sample:{other}" for other, entry in TASKS.items() if entry.kind == kind)
        raise InputError(
            f"the examples are of the kind {task.kind}, not {kind}",
            where=place,
            fix=f"The samples of this kind: {fitting}.",
            code="E-LABELLED-FORM",
        )
    if problem and problem != task.problem:
        raise InputError(
            f"the answers of this sample are of the type {task.problem}, but task.problem is {problem}",
            where=place,
            fix=f"Give --set task.problem={task.problem}.",
            code="E-LABELLED-FORM",
        )
    if split not in SPLITS:
        raise InputError(
            f"no split {split!r}", where=place, fix=f"Splits there: {', '.join(SPLITS)}.", code="E-SOURCE-SPLIT"
        )
    return iter(_made(name, str(AwsDocsSource(place).root))[split])
