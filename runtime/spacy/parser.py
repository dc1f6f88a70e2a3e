"""Sentence starts from spaCy's dependency parser: a greedy arc-eager transition system (FORMAT.md, "The parser")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts.specs import SpacyParser
from .runs import NetworkRunner, Part, parts_of
from .tables import StateLayer
from .tokenizer import Document
from .tree import Tree

_SHIFT, _REDUCE, _LEFT, _RIGHT, _BREAK = range(5)
_KINDS = {"S": _SHIFT, "D": _REDUCE, "L": _LEFT, "R": _RIGHT, "B": _BREAK}
_NONE = -1


class SentenceParser:
    """Finds the sentence starts of documents."""

    def __init__(self, runner: NetworkRunner, network: SpacyParser, layer: StateLayer) -> None:
        """Take the graph's runner and the weights that score transitions."""
        self._runner = runner
        self._scorer = _Scorer(network, layer)

    def load(self) -> None:
        """Load the graphs now instead of at the first call."""
        self._runner.load()

    def sentence_starts(self, documents: Sequence[Document]) -> list[list[int]]:
        """For each document the tokens that start a sentence."""
        if len(documents) == 1:
            features = _Features(documents[0], lambda part: self._runner.run([part])[0][0])
            return [self._parse(documents[0], features)]
        full = [document for document in documents if len(document)]
        found = iter(self._runner.run([Part(document, 0, len(document)) for document in full]) if full else [])
        results: list[list[int]] = []
        for document in documents:
            known = next(found)[0] if len(document) else None
            results.append(self._parse(document, _Features(document, lambda part, known=known: known)))  # type: ignore[misc]
        return results

    def _parse(self, document: Document, features: _Features) -> list[int]:
        state = _State(len(document))
        while not state.is_final():
            move = self._scorer.best(state, features)
            if move is None:
                break
            state.make(self._scorer.kinds[move], self._scorer.labels[move])
            if not state.stack and not state.back:
                features.forget_before(state.next)
        return Tree(state.heads, state.labels, document.is_space()).sentence_starts()


class _Features:
    """`features` of a document's tokens, computed part by part as the buffer reaches them."""

    def __init__(self, document: Document, run: Callable[[Part], Any]) -> None:
        self._parts = list(parts_of(document))
        self._run = run
        self._known: dict[int, NDArray[np.float32]] = {}
        self._size = self._parts[0].end if self._parts else 1

    def row(self, token: int, place: int) -> NDArray[np.float32]:
        """The feature of a token at a place of the state, float32 `[pieces * hidden]`."""
        number, within = divmod(token, self._size)
        if number not in self._known:
            self._known[number] = self._run(self._parts[number])
        row: NDArray[np.float32] = self._known[number][within, place]
        return row

    def forget_before(self, token: int) -> None:
        """Drop the parts that no state can reach any more: memory is bounded by the longest sentence."""
        for number in [number for number in self._known if (number + 1) * self._size <= token]:
            del self._known[number]


class _Scorer:
    """Scores the transitions of a state."""

    def __init__(self, network: SpacyParser, layer: StateLayer) -> None:
        self.kinds = [_KINDS[move[0]] for move in network.moves]
        self.labels = [move[2:] for move in network.moves]
        self._kind_array = np.array(self.kinds)
        self._layer, self._hidden = layer, network.hidden

    def best(self, state: _State, features: _Features) -> int | None:
        """The first of the best valid transitions; None where none is valid."""
        valid = np.array(state.valid())[self._kind_array]
        if not valid.any():
            return None
        total = self._layer.bias.copy()
        for place, token in enumerate(state.context()):
            total += self._layer.padding[place] if token == _NONE else features.row(token, place)
        hidden = total.reshape(-1, self._hidden).max(axis=0)
        scores = self._layer.weight @ hidden + self._layer.output_bias
        return int(np.argmax(np.where(valid, scores, -np.inf)))


class _State:
    """Stack, buffer and arcs. The buffer is `back`, whose last one is nearest, and then the tokens from `next` on."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.stack: list[int] = []
        self.back: list[int] = []
        self.next = 0
        self.heads = [_NONE] * tokens
        self.labels = [""] * tokens
        self._left: dict[int, list[int]] = {}
        self._right: dict[int, list[int]] = {}
        self._unshiftable = [False] * tokens
        self._starts = {0}

    def is_final(self) -> bool:
        return not self.stack and self._buffered() == 0

    def valid(self) -> tuple[bool, bool, bool, bool, bool]:
        """Which kinds of transitions are valid, by `_KINDS`."""
        first, second, buffered = self._buffer(0), self._buffer(1), self._buffered()
        starts = first in self._starts
        has_stack = bool(self.stack)
        attaches = has_stack and buffered > 0 and not starts
        shifts = not has_stack or (buffered >= 2 and not starts and not self._unshiftable[first])
        breaks = buffered >= 2 and second == first + 1 and second not in self._starts
        return shifts, has_stack, attaches, attaches, breaks

    def context(self) -> tuple[int, ...]:
        """The eight tokens that decide, `_NONE` for those that are not there."""
        top = [*self.stack[-1:-4:-1], _NONE, _NONE, _NONE][:3]
        first = self._buffer(0)
        last = self._last_child
        return (first, self._buffer(1), *top, last(self._left, first), last(self._left, top[0]),
                last(self._right, top[0]))  # fmt: skip

    def make(self, kind: int, label: str) -> None:
        """Make a valid transition."""
        first = self._buffer(0)
        if kind == _SHIFT:
            self._push()
        elif kind == _REDUCE:
            self._reduce()
        elif kind == _LEFT:
            self._attach(first, self.stack[-1], label)
            self._unshiftable[first] = False
            self.stack.pop()
        elif kind == _RIGHT:
            self._attach(self.stack[-1], first, label)
            self._push()
        else:
            self._starts.add(self._buffer(1))

    def _buffered(self) -> int:
        return self.tokens - self.next + len(self.back)

    def _buffer(self, place: int) -> int:
        if place < len(self.back):
            return self.back[-1 - place]
        token = self.next + place - len(self.back)
        return token if token < self.tokens else _NONE

    def _push(self) -> None:
        if self.back:
            self.stack.append(self.back.pop())
        else:
            self.stack.append(self.next)
            self.next += 1

    def _reduce(self) -> None:
        top = self.stack.pop()
        if self.heads[top] == _NONE and self.stack:
            self._unshiftable[top] = True
            self.back.append(top)

    def _attach(self, head: int, child: int, label: str) -> None:
        old = self.heads[child]
        if old != _NONE:
            siblings = (self._left if old > child else self._right).get(old)
            if siblings and siblings[-1] == child:
                siblings.pop()
        (self._left if head > child else self._right).setdefault(head, []).append(child)
        self.heads[child], self.labels[child] = head, label

    @staticmethod
    def _last_child(children: dict[int, list[int]], head: int) -> int:
        found = children.get(head)
        return found[-1] if found else _NONE
