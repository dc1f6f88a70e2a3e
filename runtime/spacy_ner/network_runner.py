"""Documents to runs of a graph: several short ones together, a long one in parts, memory bounded by the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts.families.spacy_ner import SpacyNetwork
from ..session import GraphSession
from .tokenizer import Document
from .word_types import GAP, TypeCache

# Tokens of one run: its activations then stay in the second level cache, and the gaps hardly count.
RUN_TOKENS = 2048


@dataclass(frozen=True)
class Part:
    """The tokens `start:end` of a document, which a run gives the outputs of."""

    document: Document
    start: int
    end: int


def parts_of(document: Document) -> Iterator[Part]:
    """A document in parts of at most `RUN_TOKENS`; none for a document without tokens."""
    for start in range(0, len(document), RUN_TOKENS):
        yield Part(document, start, min(len(document), start + RUN_TOKENS))


class NetworkRunner:
    """Runs the graphs of one network of a spaCy pipeline over parts of documents."""

    def __init__(
        self, types: GraphSession, tokens: GraphSession, network: SpacyNetwork, outputs: Sequence[str]
    ) -> None:
        """Wrap the sessions of both graphs; `outputs` are those that `run` gives, in this order."""
        self._types, self._tokens = TypeCache(types, network), tokens
        self._context = network.context
        self._outputs = list(outputs)
        self._sees_spaces = any(column.attribute == "SPACY" for column in network.columns)

    def load(self) -> None:
        """Load the graphs now instead of at the first run."""
        self._types.session.load()
        self._tokens.load()

    def run(
        self, parts: Sequence[Part], is_last: Sequence[NDArray[np.bool_]] | None = None
    ) -> list[list[NDArray[Any]]]:
        """The outputs for every part, each array with the part's own tokens alone.

        :param is_last: for the graph of `ner`: for each part's document which tokens end it or a sentence.
        """
        context = self._context
        spans = [(max(0, part.start - context), min(len(part.document), part.end + context)) for part in parts]
        offsets = np.cumsum([context, *(high - low + context for low, high in spans)])
        size = offsets[-1] + offsets[-1] % 2  # tokens go in pairs
        keys = np.full(size, GAP, np.int64)
        for part, (low, high), offset in zip(parts, spans, offsets, strict=False):
            keys[offset : offset + high - low] = self._keys(part.document, low, high)
        feeds = self._types.inputs(parts[0].document.lexicon, keys)
        if is_last is not None:
            feeds["is_space"] = np.ones(size, np.bool_)
            feeds["is_last"] = np.ones(size, np.bool_)
            for part, (low, high), offset, last in zip(parts, spans, offsets, is_last, strict=False):
                feeds["is_space"][offset : offset + high - low] = part.document.is_space()[low:high]
                feeds["is_last"][offset : offset + high - low] = last[low:high]
        found = self._tokens.run(self._outputs, feeds)
        indices = [offset + part.start - low for part, (low, _), offset in zip(parts, spans, offsets, strict=False)]
        return [
            [array[index : index + part.end - part.start] for array in found]
            for part, index in zip(parts, indices, strict=True)
        ]

    def _keys(self, document: Document, low: int, high: int) -> NDArray[np.int64]:
        keys = 2 * document.lexemes[low:high]
        return keys + document.spaces[low:high] if self._sees_spaces else keys
