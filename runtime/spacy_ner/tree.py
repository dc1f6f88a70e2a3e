"""The tree a parser leaves behind: edges of subtrees, decorated labels, sentence starts (FORMAT.md, "Edges")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_MAX_PASSES = 12
_DECORATION = "||"
_ROOT = "ROOT"


class Tree:
    """Heads and labels of a document's tokens; a root is its own head."""

    def __init__(self, heads: Sequence[int], labels: Sequence[str], is_space: NDArray[np.bool_]) -> None:
        """Take what the transitions left; -1 is no head."""
        self._heads = [token if head < 0 else head for token, head in enumerate(heads)]
        self._labels = [_ROOT if head < 0 else label for head, label in zip(heads, labels, strict=True)]
        self._is_space = is_space
        self._left: list[int] = []
        self._right: list[int] = []

    def sentence_starts(self) -> list[int]:
        """The left edges of the roots, ascending, after decorated labels are resolved."""
        self._find_edges()
        decorated = [token for token, label in enumerate(self._labels) if _DECORATION in label]
        if decorated:
            for token in decorated:
                self._attach_anew(token)
            self._find_edges()
        return sorted(self._starts())

    def _starts(self) -> set[int]:
        return {self._left[token] for token, head in enumerate(self._heads) if token == head}

    def _find_edges(self) -> None:
        tokens = range(len(self._heads))
        self._left, self._right = list(tokens), list(tokens)
        for _ in range(_MAX_PASSES):
            for token in (*tokens, *reversed(tokens)):
                head = self._heads[token]
                self._left[head] = min(self._left[head], self._left[token])
                self._right[head] = max(self._right[head], self._right[token])
            if self._are_heads_within():
                return

    def _are_heads_within(self) -> bool:
        """Whether every stretch from one sentence start to the next holds the heads of its tokens but its last."""
        starts, begin, final = self._starts(), 0, len(self._heads) - 1
        for end in range(len(self._heads)):
            if (end > 0 and end in starts) or end == final:
                if any(not begin <= self._heads[token] <= end for token in range(begin, end)):
                    return False
                begin = end
        return True

    def _attach_anew(self, token: int) -> None:
        label, _, expected = self._labels[token].partition(_DECORATION)
        self._labels[token] = label
        found = next((child for child in self._descendants(token) if self._labels[child] == expected), None)
        if found is not None:
            self._heads[token] = found

    def _descendants(self, token: int) -> Iterator[int]:
        """Descendants of a token's head, breadth first, without the token itself and whitespace."""
        level = [self._heads[token]]
        while level:
            below = []
            for parent in level:
                for child in range(self._left[parent], self._right[parent] + 1):
                    if child in (parent, token) or self._heads[child] != parent or self._is_space[child]:
                        continue
                    yield child
                    below.append(child)
            level = below
