"""From the graph's outputs to entities, one document at a time, in time linear in its tokens."""

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

# The outputs that decoding reads, in the order in which it takes them.
OUTPUTS = ("label", "begins", "current", "first", "previous")
# First and last token, exclusive, and the number of the label.
Span = tuple[int, int, int]


@dataclass
class _Open:
    """An entity that has begun: its first token, its label, the state feature of its first token."""

    start: int
    label: int
    first: NDArray[np.float32]


class EntityDecoder:
    """Decodes one document, whose parts are fed in order; an entity may go on through any number of parts."""

    def __init__(self, network: SpacyNer, tables: Tables) -> None:
        """Start before the first token."""
        self.spans: list[Span] = []
        self._tables = tables
        self._hidden = network.hidden
        self._tie_goes_on = network.tie == "in"
        self._done = 0
        self._open: _Open | None = None
        self._before: NDArray[np.float32] = np.zeros(0, np.float32)

    def feed(self, outputs: Sequence[NDArray[Any]], is_last: NDArray[np.bool_]) -> None:
        """Take the next part: its `OUTPUTS`, and which of its tokens end the document or a sentence.

        :raises InferenceError: for a label that does not exist, or a score that is not finite.
        """
        label, begins, current, first, previous = outputs
        if (largest := label.max(initial=-1)) >= (labels := len(self._tables.ner_weight)):
            raise InferenceError(f"the graph gave the label {largest}, expected at most {labels - 1}")
        # What the state has beside the entity's first token: the same whatever entity is open
        states = current + self._tables.ner_bias
        states[1:] += previous[:-1]
        if len(self._before):
            states[0] += self._before
        index = self._go_on(0, states, is_last) if self._open else 0
        for token in np.flatnonzero(label >= 0).tolist():
            if token < index:
                continue
            if begins[token]:
                self._open = _Open(self._done + token, int(label[token]), first[token])
                index = self._go_on(token + 1, states, is_last)
            else:
                self.spans.append((self._done + token, self._done + token + 1, int(label[token])))
        self._done += len(label)
        self._before = previous[-1].copy()

    def _go_on(self, index: int, states: NDArray[np.float32], is_last: NDArray[np.bool_]) -> int:
        """Follow the open entity from `place` on; gives the first place behind it, or behind the part."""
        opened = self._open
        assert opened is not None
        weight, bias = self._tables.ner_weight[opened.label], self._tables.ner_output_bias[opened.label]
        while index < len(states):
            is_end = bool(is_last[index])
            if not is_end:
                pieces = (states[index] + opened.first).reshape(-1, self._hidden)
                within, last = weight @ pieces.max(axis=0) + bias
                if not (math.isfinite(within) and math.isfinite(last)):
                    raise InferenceError(f"an entity got the scores {within} and {last}")
                is_end = not (within > last or (within == last and self._tie_goes_on))
            index += 1
            if is_end:
                self.spans.append((opened.start, self._done + index, opened.label))
                self._open = None
                return index
        return index
