"""ROUGE-1, ROUGE-2 and ROUGE-L of a summary against a reference (Lin, 2004), as F1 and without stemming."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Runs of letters and digits; of ASCII these are a to z and 0 to 9, since everything is in lower case.
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Rouge:
    """F1, 0 to 1, of words (`rouge_1`), of pairs of words in a row (`rouge_2`), of the longest common subsequence."""

    rouge_1: float
    rouge_2: float
    rouge_l: float


def words(text: str) -> list[str]:
    """The words that summaries are compared by."""
    return _WORD.findall(text.lower())


def rouge(summary: str, reference: str) -> Rouge:
    """Compare two texts; where neither has a word, or a pair of words, they are alike if they are the same."""
    found, expected = words(summary), words(reference)
    if found == expected:
        return Rouge(1.0, 1.0, 1.0)
    pairs = [list(pairwise(each)) for each in (found, expected)]
    return Rouge(
        _overlap_f1(found, expected),
        _overlap_f1(*pairs),
        _f1(common_length(found, expected), len(found), len(expected)),
    )


def mean_rouge(summaries: Iterable[str], references: Iterable[str]) -> Rouge:
    """The mean over pairs of texts, of which there must be at least one."""
    scores = [rouge(*pair) for pair in zip(summaries, references, strict=True)]
    return Rouge(
        *(
            sum(values) / len(scores)
            for values in zip(*((score.rouge_1, score.rouge_2, score.rouge_l) for score in scores), strict=True)
        )
    )


def common_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        before = row[:]
        for index, other in enumerate(b):
            row[index + 1] = before[index] + 1 if word == other else max(before[index + 1], row[index])
    return row[-1]


def _overlap_f1(found: Sequence[object], expected: Sequence[object]) -> float:
    common = (Counter(found) & Counter(expected)).total()
    return _f1(common, len(found), len(expected))


def _f1(common: int, found: int, expected: int) -> float:
    return 2 * common / (found + expected) if found + expected else 0.0
