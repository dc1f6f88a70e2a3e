"""Compare the vectors of texts that two models divide into equally many tokens, and list the other texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# The number of tokens of a text and its vector; an error in place of the number, if the text was refused
Reading = tuple[Any, Any]


def cosine(left: ArrayLike, right: ArrayLike) -> float:
    """Return the cosine of two vectors."""
    x, y = np.asarray(left, np.float64), np.asarray(right, np.float64)
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def assert_equal_vectors(readings: Iterable[tuple[str, Reading, Reading]]) -> None:
    """Assert a cosine of at least 0.999 for at least 90% of the texts, each with the readings of two models."""
    equal, others = [], []
    for text, (count, ours), (their_count, theirs) in readings:
        if their_count == count:
            equal.append((cosine(ours, theirs), text))
        else:
            others.append(f"{text[:60]!r}: {their_count}, here {count}")
    lowest, text = min(equal)
    print(f"\n{len(equal)} texts with equal tokens, the lowest cosine is {lowest:.7f}; {len(others)} with others")
    print("\n".join(others))
    assert len(equal) >= 0.9 * (len(equal) + len(others)) and lowest >= 0.999, text
