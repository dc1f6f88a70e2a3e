"""Run the graphs of one network: several short documents in one run, a long document in several slices.

The memory of a run does not depend on the length of the documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts.families.spacy_ner import SpacyNetwork
from ..cancellation import Stop
from ..session import GraphSession
from .tokenizer import Document
from .word_types import GAP, TypeCache

# Maximum number of tokens of one run. The activations of a run fit into the second level cache, and the padding tokens
# between documents add little work.
RUN_TOKENS = 2048


@dataclass(frozen=True)
class DocumentSlice:
    """The tokens `start:end` of a document, all of them read in one run."""

    document: Document
    start: int
    end: int


def slices_of(document: Document) -> Iterator[DocumentSlice]:
    """Split a document into slices of at most `RUN_TOKENS` tokens; an empty document has none."""
    for start in range(0, len(document), RUN_TOKENS):
        yield DocumentSlice(document, start, min(len(document), start + RUN_TOKENS))


@dataclass(frozen=True)
class _Segment:
    """The tokens that a run reads for one slice: the slice itself and its context on both sides.

    The segment is the tokens `low:high` of the document. In the run, it begins at the token with the index `offset`.
    """

    document_slice: DocumentSlice
    low: int
    high: int
    offset: int

    @property
    def in_run(self) -> slice:
        """The indices of the run's tokens that belong to the slice or its context."""
        return slice(self.offset, self.offset + self.high - self.low)

    @property
    def without_context(self) -> slice:
        """The indices of the run's tokens that belong to the slice itself."""
        start = self.offset + self.document_slice.start - self.low
        return slice(start, start + self.document_slice.end - self.document_slice.start)


class NetworkRunner:
    """Runs both graphs of one network of a spaCy pipeline: the graph of the word types and the graph of the tokens."""

    def __init__(
        self, types: GraphSession, tokens: GraphSession, network: SpacyNetwork, outputs: Sequence[str]
    ) -> None:
        """Wrap the sessions of both graphs; `outputs` names the outputs that `run` returns, in this order."""
        self._types, self._tokens = TypeCache(types, network), tokens
        self._context = network.context
        self._outputs = list(outputs)
        self._uses_spaces = any(column.attribute == "SPACY" for column in network.columns)

    def load(self) -> None:
        """Load both graphs now instead of in the first run."""
        self._types.session.load()
        self._tokens.load()

    def unload(self) -> None:
        """Free both graphs; the next run loads them again."""
        self._types.session.unload()
        self._tokens.unload()

    def run(
        self, slices: Sequence[DocumentSlice], stop: Stop, is_last: Sequence[NDArray[np.bool_]] | None = None
    ) -> list[list[NDArray[Any]]]:
        """Run several slices together; return, for each slice, the graph outputs for its tokens.

        :param stop: can stop the run.
        :param is_last: for the document of each slice, which tokens end a sentence or the document, bool `[tokens]`;
            only the graph `spacy_ner` has this input.
        """
        segments, size = self._layout(slices)
        keys = np.full(size, GAP, np.int64)
        for segment in segments:
            keys[segment.in_run] = self._keys(segment)
        feeds = self._types.inputs(slices[0].document.lexicon, keys, stop)
        if is_last is not None:
            feeds |= _ner_inputs(segments, size, is_last)
        outputs = self._tokens.run(self._outputs, feeds, stop)
        return [[array[segment.without_context] for array in outputs] for segment in segments]

    def _layout(self, slices: Sequence[DocumentSlice]) -> tuple[list[_Segment], int]:
        """Return the segment of each slice and the size of the run in tokens; padding tokens separate the segments."""
        context = self._context
        segments: list[_Segment] = []
        offset = context
        for part in slices:
            low, high = max(0, part.start - context), min(len(part.document), part.end + context)
            segments.append(_Segment(part, low, high, offset))
            offset += high - low + context
        return segments, offset + offset % 2  # the graph requires an even number of tokens

    def _keys(self, segment: _Segment) -> NDArray[np.int64]:
        """Return the key of each token's word type, int64 `[tokens]`; see `TypeCache.inputs`."""
        document, low, high = segment.document_slice.document, segment.low, segment.high
        keys = 2 * document.lexemes[low:high]
        return keys + document.spaces[low:high] if self._uses_spaces else keys


def _ner_inputs(
    segments: Sequence[_Segment], size: int, is_last: Sequence[NDArray[np.bool_]]
) -> dict[str, NDArray[np.bool_]]:
    """Return the inputs `is_space` and `is_last` of `spacy_ner`, bool `[tokens]`; both are true for padding tokens."""
    feeds = {name: np.ones(size, np.bool_) for name in ("is_space", "is_last")}
    for segment, last in zip(segments, is_last, strict=True):
        feeds["is_space"][segment.in_run] = segment.document_slice.document.is_space()[segment.low : segment.high]
        feeds["is_last"][segment.in_run] = last[segment.low : segment.high]
    return feeds
