"""Documents to runs of a graph: several short ones together, a long one in parts, memory bounded by the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts.specs import SpacyNetwork
from ..session import GraphSession
from .tokenizer import Document

# Tokens of one run: its activations then stay in the second level cache, and the gaps hardly count.
RUN_TOKENS = 2048
_GAP = -1


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
    """Runs the graph of one network of a spaCy pipeline over parts of documents."""

    def __init__(self, session: GraphSession, network: SpacyNetwork, outputs: Sequence[str]) -> None:
        """Wrap a session; `outputs` are those that `run` gives, in this order."""
        self.session = session
        self._network = network
        self._outputs = list(outputs)
        self._sees_spaces = any(column.attribute == "SPACY" for column in network.columns)

    def run(
        self, parts: Sequence[Part], is_last: Sequence[NDArray[np.bool_]] | None = None
    ) -> list[list[NDArray[Any]]]:
        """The outputs for every part, each array with the part's own tokens alone.

        :param is_last: for the graph of `ner`: for each part's document which tokens end it or a sentence.
        """
        context = self._network.context
        spans = [(max(0, part.start - context), min(len(part.document), part.end + context)) for part in parts]
        offsets = np.cumsum([context, *(high - low + context for low, high in spans)])
        feeds = self._feeds(parts, spans, offsets)
        if is_last is not None:
            feeds["is_space"] = np.ones(offsets[-1], np.bool_)
            feeds["is_last"] = np.ones(offsets[-1], np.bool_)
            for part, (low, high), offset, last in zip(parts, spans, offsets, is_last, strict=False):
                feeds["is_space"][offset : offset + high - low] = part.document.is_space()[low:high]
                feeds["is_last"][offset : offset + high - low] = last[low:high]
        found = self.session.run(self._outputs, feeds)
        places = [offset + part.start - low for part, (low, _), offset in zip(parts, spans, offsets, strict=False)]
        return [[array[place : place + part.end - part.start] for array in found]
                for part, place in zip(parts, places, strict=True)]  # fmt: skip

    def _feeds(
        self, parts: Sequence[Part], spans: Sequence[tuple[int, int]], offsets: NDArray[np.int64]
    ) -> dict[str, NDArray[Any]]:
        lexicon = parts[0].document.lexicon
        lexemes = np.concatenate(
            [part.document.lexemes[low:high] for part, (low, high) in zip(parts, spans, strict=True)]
        )
        keys = 2 * lexemes
        if self._sees_spaces:
            keys += np.concatenate(
                [part.document.spaces[low:high] for part, (low, high) in zip(parts, spans, strict=True)]
            )
        types, places = np.unique(keys, return_inverse=True)
        token_types = np.full(offsets[-1], _GAP, np.int32)
        done = 0
        for (low, high), offset in zip(spans, offsets, strict=False):
            token_types[offset : offset + high - low] = places[done : done + high - low]
            done += high - low
        feeds: dict[str, NDArray[Any]] = {
            "rows": lexicon.rows(types // 2, types % 2 == 1, self._network),
            "token_types": token_types,
        }
        if self._network.vectors:
            feeds["vectors"] = lexicon.vectors(types // 2)
        return feeds
