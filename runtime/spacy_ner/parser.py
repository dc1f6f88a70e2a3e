"""Find sentence starts with spaCy's dependency parser (FORMAT.md, "The parser")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import InferenceError
from ...artifacts.families.spacy_ner import SpacyParser
from ..cancellation import Stop
from .network_runner import DocumentSlice, NetworkRunner, slices_of
from .tables import StateLayer
from .tokenizer import Document
from .transitions import KINDS, NONE, State
from .tree import Tree


class SentenceParser:
    """Finds the sentence starts of documents."""

    def __init__(self, runner: NetworkRunner, network: SpacyParser, layer: StateLayer) -> None:
        """Wrap the runner of the parser's graphs, and the weights of the layer that scores transitions."""
        self._runner = runner
        self._scorer = _Scorer(network, layer)
        self._padding = layer.padding

    def load(self) -> None:
        """Load the graphs now instead of in the first call."""
        self._runner.load()

    def unload(self) -> None:
        """Free the graphs; the next call loads them again."""
        self._runner.unload()

    def sentence_starts(self, documents: Sequence[Document], stop: Stop) -> list[list[int]]:
        """Return, for each document, the ascending indices of the tokens that start a sentence.

        :param stop: can stop the run.
        """
        states = [State(len(document)) for document in documents]
        self._parse(states, self._features(documents, stop), stop)
        return [
            Tree(state.heads, state.labels, document.is_space()).sentence_starts()
            for state, document in zip(states, documents, strict=True)
        ]

    def _features(self, documents: Sequence[Document], stop: Stop) -> _Features:
        slices = [part for document in documents for part in slices_of(document)]
        if len(documents) == 1 and len(slices) > 1:
            return _LazyFeatures(slices, lambda part: self._runner.run([part], stop)[0][0], self._padding)
        features = [outputs[0] for outputs in self._runner.run(slices, stop)] if slices else []
        return _AllFeatures(features, [len(document) for document in documents], self._padding)

    def _parse(self, states: Sequence[State], features: _Features, stop: Stop) -> None:
        """Apply transitions until every state is final or has no valid transition.

        Each step applies one transition to every unfinished state: scoring many states together costs little more than
        scoring one.
        """
        unfinished = [index for index, state in enumerate(states) if not state.is_final()]
        while unfinished:
            stop.check()
            moves = self._scorer.best([states[index] for index in unfinished], unfinished, features)
            remaining = []
            for index, move in zip(unfinished, moves, strict=True):
                state = states[index]
                if move is None:
                    continue
                state.apply(self._scorer.kinds[move], self._scorer.labels[move])
                if not state.is_final():
                    remaining.append(index)
                if not state.stack and not state.returned:
                    features.forget_before(state.next)
            unfinished = remaining


class _Features(Protocol):
    """The graph output `features` of documents: for every token, one row for each of the eight roles in a state."""

    def rows(self, documents: Sequence[int], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return features of the context tokens of several states, float32 `[states, 8, pieces * hidden]`.

        :param documents: the index of each state's document.
        :param tokens: the eight context tokens of each state, int64 `[states, 8]`, `NONE` for a missing token.
        """

    def forget_before(self, token: int) -> None:
        """Free the memory of the features of all tokens before `token`; they are hardly ever needed again."""


class _AllFeatures:
    """The features of several short documents, all of which are computed before the first transition."""

    def __init__(self, features: Sequence[NDArray[Any]], sizes: Sequence[int], padding: NDArray[np.float32]) -> None:
        """Concatenate the features of all documents that have tokens; `sizes` are the lengths of all documents."""
        # The padding precedes each document's features: relative to their start, the index NONE, which is -1, selects
        # it.
        arrays: list[NDArray[np.float32]] = []
        rest = iter(features)
        for size in sizes:
            arrays += [padding[None], next(rest)] if size else [padding[None]]
        self._rows = np.concatenate(arrays)
        self._starts = np.cumsum([1, *(size + 1 for size in sizes[:-1])])[:, None]
        self._slots = np.arange(len(padding))

    def rows(self, documents: Sequence[int], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = self._rows[tokens + self._starts[documents], self._slots]
        return rows

    def forget_before(self, token: int) -> None:
        pass


class _LazyFeatures:
    """The features of one long document, computed slice by slice when a state first needs them.

    A slice whose features were freed is computed again if a state needs it. The longest sentence bounds the memory.
    """

    def __init__(
        self,
        slices: Sequence[DocumentSlice],
        run: Callable[[DocumentSlice], NDArray[Any]],
        padding: NDArray[np.float32],
    ) -> None:
        self._slices, self._run, self._padding = slices, run, padding
        self._size = slices[0].end
        self._computed: dict[int, NDArray[np.float32]] = {}

    def rows(self, documents: Sequence[int], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.stack([[self._row(token, slot) for slot, token in enumerate(state)] for state in tokens.tolist()])

    def forget_before(self, token: int) -> None:
        for number in [number for number in self._computed if (number + 1) * self._size <= token]:
            del self._computed[number]

    def _row(self, token: int, slot: int) -> NDArray[np.float32]:
        if token == NONE:
            padding: NDArray[np.float32] = self._padding[slot]
            return padding
        number, index = divmod(token, self._size)
        if number not in self._computed:
            self._computed[number] = self._run(self._slices[number])
        row: NDArray[np.float32] = self._computed[number][index, slot]
        return row


class _Scorer:
    """Scores the transitions of states; `kinds` and `labels` describe the transitions in the manifest's order."""

    def __init__(self, network: SpacyParser, layer: StateLayer) -> None:
        self.kinds = [KINDS[move[0]] for move in network.moves]
        self.labels = [move[2:] for move in network.moves]
        self._kind_array = np.array(self.kinds)
        self._layer, self._hidden = layer, network.hidden

    def best(self, states: Sequence[State], documents: Sequence[int], features: _Features) -> list[int | None]:
        """Return, for each state, the index of the valid transition with the highest score; None if none is valid.

        Of transitions with equal scores, the first is chosen.
        """
        valid = np.array([state.valid() for state in states])[:, self._kind_array]
        rows = features.rows(documents, np.array([state.context() for state in states]))
        total = rows.sum(axis=1) + self._layer.bias
        hidden = total.reshape(len(states), -1, self._hidden).max(axis=1)
        scores = hidden @ self._layer.weight.T + self._layer.output_bias
        if not np.isfinite(scores).all():
            raise InferenceError("the parser's scores must be finite, got infinity or NaN")
        best: list[int] = np.argmax(np.where(valid, scores, -np.inf), axis=1).tolist()
        return [move if valid[index, move] else None for index, move in enumerate(best)]
