"""Sentence starts from spaCy's dependency parser (FORMAT.md, "The parser"): all documents of a run, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import InferenceError
from ...artifacts.families.spacy_ner import SpacyParser
from .network_runner import NetworkRunner, Part, parts_of
from .tables import StateLayer
from .tokenizer import Document
from .transitions import KINDS, NONE, State
from .tree import Tree


class SentenceParser:
    """Finds the sentence starts of documents."""

    def __init__(self, runner: NetworkRunner, network: SpacyParser, layer: StateLayer) -> None:
        """Take the graphs' runner and the weights that score transitions."""
        self._runner = runner
        self._scorer = _Scorer(network, layer)
        self._padding = layer.padding

    def load(self) -> None:
        """Load the graphs now instead of at the first call."""
        self._runner.load()

    def sentence_starts(self, documents: Sequence[Document]) -> list[list[int]]:
        """For each document the tokens that start a sentence."""
        states = [State(len(document)) for document in documents]
        self._parse(states, self._features(documents))
        return [
            Tree(state.heads, state.labels, document.is_space()).sentence_starts()
            for state, document in zip(states, documents, strict=True)
        ]

    def _features(self, documents: Sequence[Document]) -> _Features:
        parts = [part for document in documents for part in parts_of(document)]
        if len(documents) == 1 and len(parts) > 1:
            return _FeaturesByPart(parts, lambda part: self._runner.run([part])[0][0], self._padding)
        found = [outputs[0] for outputs in self._runner.run(parts)] if parts else []
        return _AllFeatures(found, [len(document) for document in documents], self._padding)

    def _parse(self, states: Sequence[State], features: _Features) -> None:
        """Make the moves of all documents together, one of each at a time: scoring many states costs little more."""
        indices = [index for index, state in enumerate(states) if not state.is_final()]
        while indices:
            moves = self._scorer.best([states[index] for index in indices], indices, features)
            going_on = []
            for index, move in zip(indices, moves, strict=True):
                state = states[index]
                if move is None:
                    continue
                state.make(self._scorer.kinds[move], self._scorer.labels[move])
                if not state.is_final():
                    going_on.append(index)
                if not state.stack and not state.back:
                    features.forget_before(state.next)
            indices = going_on


class _Features(Protocol):
    """`features` of the documents' tokens at the places of a state."""

    def rows(self, documents: Sequence[int], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Float32 `[states, 8, pieces * hidden]` for the tokens of states, int64 `[states, 8]`, of these documents."""

    def forget_before(self, token: int) -> None:
        """Drop what a state hardly reaches any more; should one, it is computed again."""


class _AllFeatures:
    """Those of several documents, one array for each that has tokens, all there from the start."""

    def __init__(self, found: Sequence[NDArray[Any]], sizes: Sequence[int], padding: NDArray[np.float32]) -> None:
        # In front of each document stands the padding: there NONE, which is -1, finds it
        arrays: list[NDArray[np.float32]] = []
        rest = iter(found)
        for size in sizes:
            arrays += [padding[None], next(rest)] if size else [padding[None]]
        self._rows = np.concatenate(arrays)
        self._starts = np.cumsum([1, *(size + 1 for size in sizes[:-1])])[:, None]
        self._positions = np.arange(len(padding))

    def rows(self, documents: Sequence[int], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._rows[tokens + self._starts[documents], self._positions]
        return found

    def forget_before(self, token: int) -> None:
        pass


class _FeaturesByPart:
    """Those of one long document, computed part by part as the buffer reaches them.

    Memory is bounded by the longest sentence.
    """

    def __init__(
        self, parts: Sequence[Part], run: Callable[[Part], NDArray[Any]], padding: NDArray[np.float32]
    ) -> None:
        self._parts, self._run, self._padding = parts, run, padding
        self._size = parts[0].end
        self._known: dict[int, NDArray[np.float32]] = {}

    def rows(self, documents: Sequence[int], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.stack([[self._row(token, index) for index, token in enumerate(state)] for state in tokens.tolist()])

    def forget_before(self, token: int) -> None:
        for number in [number for number in self._known if (number + 1) * self._size <= token]:
            del self._known[number]

    def _row(self, token: int, index: int) -> NDArray[np.float32]:
        if token == NONE:
            padding: NDArray[np.float32] = self._padding[index]
            return padding
        number, within = divmod(token, self._size)
        if number not in self._known:
            self._known[number] = self._run(self._parts[number])
        row: NDArray[np.float32] = self._known[number][within, index]
        return row


class _Scorer:
    """Scores the transitions of states."""

    def __init__(self, network: SpacyParser, layer: StateLayer) -> None:
        self.kinds = [KINDS[move[0]] for move in network.moves]
        self.labels = [move[2:] for move in network.moves]
        self._kind_array = np.array(self.kinds)
        self._layer, self._hidden = layer, network.hidden

    def best(self, states: Sequence[State], documents: Sequence[int], features: _Features) -> list[int | None]:
        """For each state the first of its best valid transitions; None where none is valid."""
        valid = np.array([state.valid() for state in states])[:, self._kind_array]
        rows = features.rows(documents, np.array([state.context() for state in states]))
        total = rows.sum(axis=1) + self._layer.bias
        hidden = total.reshape(len(states), -1, self._hidden).max(axis=1)
        scores = hidden @ self._layer.weight.T + self._layer.output_bias
        if not np.isfinite(scores).all():
            raise InferenceError("a move of the parser got a score that is not finite")
        best: list[int] = np.argmax(np.where(valid, scores, -np.inf), axis=1).tolist()
        return [move if valid[index, move] else None for index, move in enumerate(best)]
