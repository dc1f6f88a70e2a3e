"""Decode the outputs of the `spacy_ner` graph to entities, in time linear in the number of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import InferenceError
from ...artifacts.families.spacy_ner import SpacyNer
from .tables import Tables

# The names of the graph outputs that `EntityDecoder.feed` reads, in the order of its argument `outputs`.
OUTPUTS = ("label", "begins", "current", "first", "previous")
# An entity: the index of its first token, the index after its last token, and the index of its label in `spacy.labels`
# of the manifest.
Span = tuple[int, int, int]


@dataclass(eq=False)
class _OpenEntity:
    """An entity whose last token is not known yet.

    `first` holds the values of the graph output `first` for the entity's first token.
    """

    start: int
    label: int
    first: NDArray[np.float32]


class EntityDecoder:
    """Decodes one document (FORMAT.md, "Decoding"), fed in consecutive slices; entities may cross slices.

    `spans` holds the entities decoded so far, in the order of their tokens.
    """

    def __init__(self, network: SpacyNer, tables: Tables) -> None:
        """Create a decoder for one document, which `feed` receives slice by slice."""
        self.spans: list[Span] = []
        self._tables = tables
        self._hidden = network.hidden
        self._tie_continues = network.tie == "in"
        self._done = 0
        self._open: _OpenEntity | None = None
        self._previous: NDArray[np.float32] = np.zeros(0, np.float32)

    def feed(self, outputs: Sequence[NDArray[Any]], is_last: NDArray[np.bool_]) -> None:
        """Decode the next slice of the document.

        :param outputs: the graph's `OUTPUTS` for the tokens of the slice, with the shapes of FORMAT.md.
        :param is_last: which tokens of the slice end a sentence or the document, bool `[tokens]`.
        :raises InferenceError: for a label index that the manifest does not have, or a score that is not finite.
        """
        label, begins, current, first, previous = outputs
        if (largest := label.max(initial=-1)) >= (labels := len(self._tables.ner_weight)):
            raise InferenceError(f"the graph returned the label {largest}, expected at most {labels - 1}")
        # For each token, the part of the hidden layer's input that does not depend on the open entity: the sum of the
        # bias, the features of the token and those of the token before it.
        states = current + self._tables.ner_bias
        states[1:] += previous[:-1]
        if len(self._previous):
            states[0] += self._previous
        index = self._continue(0, states, is_last) if self._open else 0
        for token in np.flatnonzero(label >= 0).tolist():
            if token < index:
                continue
            if begins[token]:
                self._open = _OpenEntity(self._done + token, int(label[token]), first[token])
                index = self._continue(token + 1, states, is_last)
            else:
                self.spans.append((self._done + token, self._done + token + 1, int(label[token])))
        self._done += len(label)
        self._previous = previous[-1].copy()

    def _continue(self, index: int, states: NDArray[np.float32], is_last: NDArray[np.bool_]) -> int:
        """Extend the open entity by the token `index` and the tokens after it, until it ends or the slice ends.

        :returns: the index after the last token that was added.
        """
        opened = self._open
        assert opened is not None
        weight, bias = self._tables.ner_weight[opened.label], self._tables.ner_output_bias[opened.label]
        while index < len(states):
            is_end = bool(is_last[index])
            if not is_end:
                pieces = (states[index] + opened.first).reshape(-1, self._hidden)
                within, last = weight @ pieces.max(axis=0) + bias
                if not (math.isfinite(within) and math.isfinite(last)):
                    raise InferenceError(f"the scores of I and L must be finite, got {within} and {last}")
                is_end = not (within > last or (within == last and self._tie_continues))
            index += 1
            if is_end:
                self.spans.append((opened.start, self._done + index, opened.label))
                self._open = None
                return index
        return index
