"""What a network makes of the types of tokens, computed once for each: `TypeCache`."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import InferenceError
from ...artifacts.families.spacy_ner import SpacyNetwork
from ..session import GraphSession
from .lexicon import Lexicon, grown

# Types whose outputs are kept, 4 KB each where vectors have 96 elements. When there are more, half as many stay, those
# used last: a word comes again soon, or never.
MAX_TYPES = 8192
# The key of the type that lies between documents; those of others are `2 * lexeme`, plus 1 with a trailing space.
GAP = -1


class TypeCache:
    """The graph of the types, and what it gave for those met last. Thread-safe."""

    def __init__(self, session: GraphSession, network: SpacyNetwork) -> None:
        """Wrap a session."""
        self.session = session
        self._network = network
        self._lock = threading.Lock()
        self._lexicon: Lexicon | None = None
        self._known = _Known()

    def inputs(self, lexicon: Lexicon, keys: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """`embedded` and `preactivation` of tokens in a row, given the keys of their types, int64 `[tokens]`."""
        with self._lock:
            if lexicon is not self._lexicon:
                self._lexicon, self._known = lexicon, _Known()
            try:
                new = self._known.begin(keys, 2 * len(lexicon))
                if len(new):
                    self._known.add(new, *self._outputs(lexicon, new))
            except BaseException:
                self._known = _Known()  # what was interrupted half-way would give one type the outputs of another
                raise
            return self._known.inputs(keys)

    def _outputs(self, lexicon: Lexicon, keys: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """`embedded` and `contributions` of types, or `InferenceError` where their shapes cannot be those."""
        embedded, contributions = self.session.run(["embedded", "contributions"], self._feeds(lexicon, keys))
        sizes = _sizes(len(keys), embedded.shape, contributions.shape)
        if sizes is None or self._known.sizes not in (None, sizes):
            shapes = f"{embedded.shape}, {contributions.shape}"
            raise InferenceError(f"the outputs for {len(keys)} types have the shapes {shapes}")
        return embedded, contributions

    def _feeds(self, lexicon: Lexicon, keys: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The graph's inputs for types; whatever stands for the gap is -1."""
        words, are_words = keys[keys != GAP], keys != GAP
        rows = np.full((len(keys), 4 * len(self._network.columns)), GAP, np.int32)
        rows[are_words] = lexicon.rows(words // 2, words % 2 == 1, self._network)
        feeds: dict[str, NDArray[Any]] = {"rows": rows}
        if self._network.vectors:
            feeds["vectors"] = np.full(len(keys), GAP, np.int32)
            feeds["vectors"][are_words] = lexicon.vectors(words // 2)
        return feeds


class _Known:
    """The outputs for types, by key."""

    def __init__(self) -> None:
        # Of one type's outputs: the width, the places of the window, the sums of a place
        self.sizes: tuple[int, int, int] | None = None
        self._run = 0
        self._count = 0
        # By key + 1: where a type is in the arrays below, -1 where it is not
        self._index_of: NDArray[np.int64] = np.empty(0, np.int64)
        self._keys: NDArray[np.int64] = np.empty(0, np.int64)
        self._used: NDArray[np.int64] = np.empty(0, np.int64)
        self._embedded: NDArray[np.float32] = np.empty((0, 0), np.float32)
        # One array for each place of the window: rows are then copied whole
        self._contributions: list[NDArray[np.float32]] = []

    def begin(self, keys: NDArray[np.int64], largest: int) -> NDArray[np.int64]:
        """Begin a run with tokens of these keys, none above `largest`; gives the keys that are not known, ascending."""
        if len(self._index_of) < largest + 2:
            known = len(self._index_of)
            self._index_of = grown(self._index_of, 2 * largest + 2)
            self._index_of[known:] = -1
        self._run += 1
        indices = self._index_of[keys + 1]
        is_new = indices < 0
        self._used[indices[~is_new]] = self._run
        return np.unique(keys[is_new])

    def add(self, keys: NDArray[np.int64], embedded: NDArray[Any], contributions: NDArray[Any]) -> None:
        """Keep the outputs for types that are not known."""
        if self._count + len(keys) > MAX_TYPES:
            self._drop_oldest()
        self.sizes = embedded.shape[1], contributions.shape[1], contributions.shape[2]
        self._reserve(self._count + len(keys), *self.sizes)
        added = slice(self._count, self._count + len(keys))
        self._index_of[keys + 1] = np.arange(added.start, added.stop)
        self._keys[added], self._used[added], self._embedded[added] = keys, self._run, embedded
        for index, kept in enumerate(self._contributions):
            kept[added] = contributions[:, index]
        self._count = added.stop

    def inputs(self, keys: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The inputs that the graph of the tokens has of their types; all of them have to be known."""
        indices = self._index_of[keys + 1]
        window, tokens = len(self._contributions) // 2, len(keys)
        sums = np.empty((tokens, self._contributions[0].shape[1]), np.float32)
        sums[:window] = 0
        np.take(self._contributions[0], indices[: max(0, tokens - window)], axis=0, out=sums[window:], mode="clip")
        for shift, kept in enumerate(self._contributions[1:], 1 - window):
            seen = slice(max(0, shift), max(0, tokens + shift))
            sums[max(0, -shift) : max(0, tokens - shift)] += np.take(kept, indices[seen], axis=0)
        return {"embedded": np.take(self._embedded, indices, axis=0), "preactivation": sums}

    def _drop_oldest(self) -> None:
        """Forget all types but those of the current run, or half of what is kept, of those used last."""
        used = self._used[: self._count]
        staying = max(MAX_TYPES // 2, int(np.count_nonzero(used == self._run)))
        kept = np.sort(np.argsort(-used, kind="stable")[:staying])
        self._count = len(kept)
        arrays: list[NDArray[Any]] = [self._keys, self._used, self._embedded, *self._contributions]
        for array in arrays:
            array[: len(kept)] = array[kept]
        self._index_of[:] = -1
        self._index_of[self._keys[: len(kept)] + 1] = np.arange(len(kept))

    def _reserve(self, size: int, width: int, indices: int, sums: int) -> None:
        if not self._contributions:
            self._embedded = np.empty((0, width), np.float32)
            self._contributions = [np.empty((0, sums), np.float32)] * indices
        if size <= len(self._keys):
            return
        capacity = max(size, min(2 * size, MAX_TYPES))
        self._keys, self._used = grown(self._keys, capacity), grown(self._used, capacity)
        self._embedded = grown(self._embedded, capacity)
        self._contributions = [grown(kept, capacity) for kept in self._contributions]


def _sizes(types: int, embedded: tuple[int, ...], contributions: tuple[int, ...]) -> tuple[int, int, int] | None:
    """The sizes that outputs of these shapes have; None where they cannot be those for so many types."""
    if (len(embedded), len(contributions)) != (2, 3) or {embedded[0], contributions[0]} != {types}:
        return None
    sizes = embedded[1], contributions[1], contributions[2]
    return sizes if 0 not in sizes and sizes[1] % 2 == 1 else None
