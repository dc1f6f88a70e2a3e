"""ROUGE-1, ROUGE-2 and ROUGE-L (Lin, 2004) as F1 scores, without stemming."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Runs of letters and digits of any script
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Rouge:
    """F1 scores from 0 to 1 of unigrams, bigrams and the longest common subsequence."""

    rouge_1: float
    rouge_2: float
    rouge_l: float


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return _WORD.findall(text.lower())


def rouge(summary: str, reference: str) -> Rouge:
    """Compare two texts; texts with the same words have the scores 1, even if they have no words or bigrams."""
    actual, expected = words(summary), words(reference)
    if actual == expected:
        return Rouge(1.0, 1.0, 1.0)
    pairs = [list(pairwise(each)) for each in (actual, expected)]
    return Rouge(
        _overlap_f1(actual, expected),
        _overlap_f1(*pairs),
        _f1(common_length(actual, expected), len(actual), len(expected)),
    )


def mean_rouge(summaries: Iterable[str], references: Iterable[str]) -> Rouge:
    """Return the mean scores over pairs of texts; there must be at least one pair."""
    scores = [rouge(*pair) for pair in zip(summaries, references, strict=True)]
    return Rouge(
        *(
            sum(values) / len(scores)
            for values in zip(*((score.rouge_1, score.rouge_2, score.rouge_l) for score in scores), strict=True)
        )
    )


def common_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        before = row[:]
        for index, other in enumerate(b):
            row[index + 1] = before[index] + 1 if word == other else max(before[index + 1], row[index])
    return row[-1]


def _overlap_f1(actual: Sequence[object], expected: Sequence[object]) -> float:
    common = (Counter(actual) & Counter(expected)).total()
    return _f1(common, len(actual), len(expected))


def _f1(common: int, actual: int, expected: int) -> float:
    return 2 * common / (actual + expected) if actual + expected else 0.0
