"""The rows of the policies without random choices, in plain Python: what jaxbert's own are held against.

Written from the descriptions: RoBERTa's FULL-SENTENCES and DOC-SENTENCES (Liu et al. 2019, arXiv:1907.11692, section
4.2), SpanBERT's single sequences (Joshi et al. 2020, arXiv:1907.10529, section 3.3) and best-fit decreasing for whole
documents and the ends of long ones. Lists only: no numpy, nothing of jaxbert, nothing clever.

A row is a list of segments, a segment is (number of its document, its tokens).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Token = int
Document = Sequence[Sequence[Token]]
Segment = tuple[int, list[Token]]
Row = list[Segment]


def full_sentences(documents: Sequence[Document], length: int, most: int) -> list[Row]:
    """Sentence after sentence while [CLS], the text and a [SEP] behind each document fit and no row has over `most`."""
    rows: list[Row] = []
    row: Row = []
    for number, document in enumerate(documents):
        for sentence in document:
            for piece in pieces(sentence, length - 2):
                goes_on = bool(row) and row[-1][0] == number
                more = len(piece) if goes_on else len(piece) + 1
                if row and (joined_size(row) + more > length or (not goes_on and len(row) == most)):
                    rows.append(row)
                    row, goes_on = [], False
                if goes_on:
                    row[-1][1].extend(piece)
                else:
                    row.append((number, list(piece)))
    return [*rows, row] if row else rows


def doc_sentences(documents: Sequence[Document], length: int) -> list[Row]:
    """The same, document by document."""
    rows = []
    for number, document in enumerate(documents):
        rows += [[(number, tokens)] for [(_, tokens)] in full_sentences([document], length, 1)]
    return rows


def single_document(documents: Sequence[Document], length: int) -> tuple[list[Row], list[Token]]:
    """(rows, tokens in none): what is between sentences too long for a row is cut into rows by itself."""
    rows, lost = [], []
    for number, document in enumerate(documents):
        between: list[Sequence[Token]] = []
        stretches = [between]
        for sentence in document:
            if len(sentence) > length - 2:
                lost += sentence
                between = []
                stretches.append(between)
            else:
                between.append(sentence)
        for stretch in stretches:
            for [(_, tokens)] in full_sentences([stretch], length, 1):
                if len(tokens) + 2 <= 11:
                    lost += tokens
                else:
                    rows.append([(number, tokens)])
    return rows, lost


def packed(documents: Sequence[Document], length: int, most: int) -> tuple[list[Row], int]:
    """(rows, cuts inside a sentence)."""
    rows: list[Row] = []
    waiting: list[Segment] = []
    inside = 0
    for number, document in enumerate(documents):
        tokens = [token for sentence in document for token in sentence]
        ends = [0]
        for sentence in document:
            ends.append(ends[-1] + len(sentence))
        at = 0
        while len(tokens) - at > length - 2:
            end = at + length - 2
            # At most 2% of the row may stay empty for the sake of a whole sentence.
            whole = [place for place in ends if 0 <= (end - place) * 100 <= 2 * length]
            inside += not whole
            end = max(whole, default=end)
            rows.append([(number, tokens[at:end])])
            at = end
        waiting.append((number, tokens[at:]))
    return rows + best_fit(waiting, length, most), inside


def best_fit(segments: list[Segment], length: int, most: int) -> list[Row]:
    """Longest first, each into the fullest row that it fits in; of equally full ones the one that was last added to."""
    rows: list[Row] = []  # In the order in which they were last added to.
    for segment in sorted(segments, key=lambda segment: -len(segment[1])):
        fitting = [row for row in rows if isolated_size([*row, segment]) <= length and len(row) < most]
        fullest = max(map(isolated_size, fitting), default=0)
        row = next((row for row in reversed(fitting) if isolated_size(row) == fullest), [])
        rows = [other for other in rows if other is not row]
        rows.append(row)
        row.append(segment)
    return rows


def pieces(sentence: Sequence[Token], size: int) -> Iterator[Sequence[Token]]:
    for start in range(0, len(sentence), size):
        yield sentence[start : start + size]


def joined_size(row: Row) -> int:
    return 1 + sum(len(tokens) + 1 for _, tokens in row)


def isolated_size(row: Row) -> int:
    return sum(len(tokens) + 2 for _, tokens in row)


def laid_out(
    texts: list[list[Token]], layout: str, length: int, cls: int, sep: int, pad: int
) -> tuple[list, list, list]:
    """Tokens, token types and attention groups of a row with these segments, padding included."""
    tokens, types, groups = [], [], []
    for number, text in enumerate(texts):
        begin = [cls] if number == 0 or layout == "isolated" else []
        segment = [*begin, *text, sep]
        tokens += segment
        types += [number if layout == "pair" else 0] * len(segment)
        groups += [number + 1 if layout == "isolated" else 1] * len(segment)
    padding = length - len(tokens)
    return tokens + [pad] * padding, types + [0] * padding, groups + [0] * padding
