"""Chooses the tokens to predict and their replacements by random bits, comparisons and whole numbers.

No logarithm, exponential or other floating-point function takes part in a decision. So the masks are the same bits on
CPU, GPU and TPU and on every mesh (threefry only). A new scheme is a file here and a line in `SCHEMES`.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxbert.config import MaskingScheme
from jaxbert.objectives.masking.frequency import choose_by_frequency, frequency_tables, smoothed_weights
from jaxbert.objectives.masking.ngrams import choose_ngrams, choose_words
from jaxbert.objectives.masking.scheme import Candidates, Scheme
from jaxbert.objectives.masking.slots import budgets, cumulative, replace, to_slots
from jaxbert.objectives.masking.spans import choose_spans, runs, span_probabilities
from jaxbert.objectives.masking.tokens import choose_tokens

__all__ = [
    "SCHEMES",
    "Candidates",
    "Scheme",
    "budgets",
    "choose_tokens",
    "cumulative",
    "replace",
    "runs",
    "smoothed_weights",
    "span_probabilities",
    "to_slots",
]

SCHEMES: Mapping[MaskingScheme, Scheme] = {
    "token": Scheme(choose_tokens),
    "whole_word": Scheme(choose_words),
    "ngram": Scheme(choose_ngrams),
    "span": Scheme(choose_spans, replaces_spans=True),
    "frequency": Scheme(choose_by_frequency, tables=frequency_tables, counts=True),
}
