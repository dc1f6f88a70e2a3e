"""The dependency tree that the parser's transitions build, and its sentence starts (FORMAT.md, "Edges")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_MAX_PASSES = 12
# The separator in a decorated label `X||Y`, where X is a token's label and Y the label of its true head. spaCy's
# training decorates labels to make trees projective.
_DECORATION = "||"
_ROOT = "ROOT"


class Tree:
    """Heads and labels of a document's tokens; a root is its own head."""

    def __init__(self, heads: Sequence[int], labels: Sequence[str], is_space: NDArray[np.bool_]) -> None:
        """Build the tree from the final state of the transitions.

        :param heads: the index of each token's head, -1 for a root.
        :param labels: the label of each token's arc.
        :param is_space: which tokens are whitespace, bool `[tokens]`.
        """
        self._heads = [token if head < 0 else head for token, head in enumerate(heads)]
        self._labels = [_ROOT if head < 0 else label for head, label in zip(heads, labels, strict=True)]
        self._is_space = is_space
        self._left: list[int] = []
        self._right: list[int] = []

    def sentence_starts(self) -> list[int]:
        """Return the left edges of the roots, ascending.

        Tokens with decorated labels are first attached to their true heads.
        The edges of a token are the first and last token of its subtree.
        """
        self._find_edges()
        decorated = [token for token, label in enumerate(self._labels) if _DECORATION in label]
        if decorated:
            for token in decorated:
                self._reattach(token)
            self._find_edges()
        return sorted(self._starts())

    def _starts(self) -> set[int]:
        return {self._left[token] for token, head in enumerate(self._heads) if token == head}

    def _find_edges(self) -> None:
        """Compute the edges of every token: extend the edges of each head to those of its children.

        This is repeated until every sentence contains the heads of all its tokens.
        """
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
        """Return whether every token's head is in the sentence of the token or is the first token of the next one."""
        starts, begin, final = self._starts(), 0, len(self._heads) - 1
        for end in range(len(self._heads)):
            if (end > 0 and end in starts) or end == final:
                if any(not begin <= self._heads[token] <= end for token in range(begin, end)):
                    return False
                begin = end
        return True

    def _reattach(self, token: int) -> None:
        """Resolve the decorated label `X||Y` of a token, where Y is the label of the token's true head.

        The token's label becomes X. Its head becomes the first descendant of the current head with the label Y; without
        such a descendant, the head does not change.
        """
        label, _, expected = self._labels[token].partition(_DECORATION)
        self._labels[token] = label
        head = next((child for child in self._descendants(token) if self._labels[child] == expected), None)
        if head is not None:
            self._heads[token] = head

    def _descendants(self, token: int) -> Iterator[int]:
        """Yield the descendants of a token's head, breadth first, without the token itself and without whitespace."""
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
