"""Lists in the cells of a table: as JSON writes them, or as Python does ("['EU', 'rejects']", from pandas' to_csv).

numpy writes a list without commas ("['EU' 'rejects']"), and Python would read it as one string. It is an error.
"""

from __future__ import annotations

import ast
import io
import itertools
import tokenize
import warnings
from typing import Any

from jaxbert.errors import InputError
from jaxbert.inputs.values import parse, short
from jaxbert.labelled.columns import plain_text, wrong_value

_BRACKETS = {"[": "]", "{": "}"}
# A list of Python is a short text. Longer ones are read as JSON only, because Python's own parser is slow.
_MOST_CHARS = 1 << 20
_SPACES = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT)
_FIX = (
    'Write the list as JSON, such as ["a", "b"]; or give the data as JSON lines: DATASET.to_json(FILE) of datasets, '
    'DATAFRAME.to_json(FILE, orient="records", lines=True) of pandas.'
)


def looks_like_list(text: str, opening: str = "[") -> bool:
    """Returns whether a cell begins with one of the opening brackets, and ends with its closing one.

    A cell that begins with [ and a quote is like a list, too: its end may be cut off.
    """
    text = text.strip()
    if len(text) < 2 or text[0] not in opening:
        return False
    return _BRACKETS[text[0]] == text[-1] or text.startswith(("['", '["'))


def decoded(value: Any, what: str, place: str) -> Any:
    """Returns the list or the object that a cell of a table holds; None for an empty cell.

    Args:
      value: what the record holds. A value that is not a string stays as it is.
      what: the name of the value, for messages.
      place: the place of the record.

    Raises:
      InputError: the cell holds neither a list nor an object.
    """
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    found = structure(value)
    if found is None:
        raise no_list(value, what, place)
    return found


def no_list(value: str, what: str, place: str) -> InputError:
    """Returns the error for a cell that is not a list."""
    return wrong_value(f"{what} are {short(value)}, which is not a list of JSON or of Python", place, _FIX)


def structure(text: str) -> list[Any] | dict[Any, Any] | None:
    """Returns the list or the object that a text writes in JSON or in Python; None where it does not."""
    if not looks_like_list(text, "[{"):
        return None
    try:
        found = parse(text)
    except ValueError:
        found = _literal(text.strip())
    return found if isinstance(found, list | dict) else None


def _literal(text: str) -> Any:
    if len(text) > _MOST_CHARS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash in a string
            found = ast.literal_eval(text)
        kinds = [one.type for one in tokenize.generate_tokens(io.StringIO(text).readline) if one.type not in _SPACES]
        # Python joins two strings without a comma.
        return None if (tokenize.STRING, tokenize.STRING) in itertools.pairwise(kinds) else found
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, tokenize.TokenError):
        return None


def strings(value: Any, what: str, place: str, *, spaces: bool = False) -> list[str] | None:
    """Returns a list of strings; None for null. Whole numbers become strings.

    Args:
      value: a list, or a cell that holds one.
      what: the name of the values, for messages.
      place: the place of the record.
      spaces: whether a string that is not like a list holds the values with white space between two.

    Raises:
      InputError: it is not a list, or a value is not a string.
    """
    if isinstance(value, str) and spaces and not looks_like_list(value):
        return value.split()
    value = decoded(value, what, place)
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise wrong_value(f"{what} are {short(value)}, but a list is needed", place)
    found = []
    for one in value:
        text = str(one) if isinstance(one, int) and not isinstance(one, bool) else plain_text(one, what, place)
        if text is None:
            raise wrong_value(f"one of {what} is null", place)
        found.append(text)
    return found
