"""Run the graph of the word types and cache its outputs: `TypeCache`.

A *word type* is a lexeme (the text and norm of a token), with or without a trailing space; tokens of one type have the
same inputs. Every type has a key: `2 * lexeme`, plus 1 with a trailing space. The padding tokens between documents have
a type of their own, with the key `GAP`.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import InferenceError
from ...artifacts.families.spacy_ner import SpacyNetwork
from ..cancellation import Stop
from ..forking import call_after_fork
from ..session import GraphSession
from .lexicon import Lexicon, grown

# Maximum number of cached types; each takes 4 KB in a network of width 96. A full cache keeps the half that was used
# most recently.
MAX_TYPES = 8192
GAP = -1


class TypeCache:
    """The graph of the word types, with its outputs for recently used types. Thread-safe."""

    def __init__(self, session: GraphSession, network: SpacyNetwork) -> None:
        """Create an empty cache; the first call of `inputs` loads the session."""
        self.session = session
        self._network = network
        self._lock = threading.Lock()
        self._lexicon: Lexicon | None = None
        self._cached = _CachedOutputs()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock and what it protects in a child process."""
        self._lock = threading.Lock()
        self._lexicon, self._cached = None, _CachedOutputs()

    def inputs(self, lexicon: Lexicon, keys: NDArray[np.int64], stop: Stop) -> dict[str, NDArray[Any]]:
        """Return the inputs `embedded` and `preactivation` of the graph of the tokens, for the tokens of one run.

        :param lexicon: the lexicon that the keys refer to; the cache is emptied if it differs from the previous call's.
        :param keys: the key of each token's type, int64 `[tokens]`.
        :param stop: can stop the run.
        :raises InferenceError: if the graph's outputs have impossible shapes.
        """
        with self._lock:
            if lexicon is not self._lexicon:
                self._lexicon, self._cached = lexicon, _CachedOutputs()
            try:
                new = self._cached.begin_run(keys, 2 * len(lexicon))
                if len(new):
                    self._cached.add(new, *self._outputs(lexicon, new, stop))
            except BaseException:
                self._cached = _CachedOutputs()  # an interrupted update may have left outputs of wrong types
                raise
            return self._cached.inputs(keys)

    def _outputs(self, lexicon: Lexicon, keys: NDArray[np.int64], stop: Stop) -> tuple[NDArray[Any], NDArray[Any]]:
        """Run the graph of the word types; return `embedded` and `contributions` for the types with these keys.

        :raises InferenceError: if the shapes of the outputs are impossible.
        """
        embedded, contributions = self.session.run(["embedded", "contributions"], self._feeds(lexicon, keys), stop)
        sizes = _sizes(len(keys), embedded.shape, contributions.shape)
        if sizes is None or self._cached.sizes not in (None, sizes):
            shapes = f"{embedded.shape}, {contributions.shape}"
            expected = "[types, width] and [types, 2w + 1, n]"
            raise InferenceError(f"the outputs for {len(keys)} types have the shapes {shapes}, expected {expected}")
        return embedded, contributions

    def _feeds(self, lexicon: Lexicon, keys: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the graph's inputs for word types; all values for the type of padding tokens (`GAP`) are -1."""
        words, are_words = keys[keys != GAP], keys != GAP
        rows = np.full((len(keys), 4 * len(self._network.columns)), GAP, np.int32)
        rows[are_words] = lexicon.rows(words // 2, words % 2 == 1, self._network)
        feeds: dict[str, NDArray[Any]] = {"rows": rows}
        if self._network.vectors:
            feeds["vectors"] = np.full(len(keys), GAP, np.int32)
            feeds["vectors"][are_words] = lexicon.vectors(words // 2)
        return feeds


class _CachedOutputs:
    """The outputs of the graph of the word types, by the key of the type.

    `sizes` holds the sizes of one type's outputs: the width of its embedding, the number of window positions, and the
    number of values for each position; None as long as nothing is cached.
    """

    def __init__(self) -> None:
        self.sizes: tuple[int, int, int] | None = None
        self._run = 0
        self._count = 0
        # At the index `key + 1`, the row of the type with this key in the arrays below; -1 if the type is not cached.
        self._index_of: NDArray[np.int64] = np.empty(0, np.int64)
        self._keys: NDArray[np.int64] = np.empty(0, np.int64)
        # For each cached type: the number of the last run that used it.
        self._last_run: NDArray[np.int64] = np.empty(0, np.int64)
        self._embedded: NDArray[np.float32] = np.empty((0, 0), np.float32)
        # A list with one array for each window position, so that the contributions of a type are contiguous in memory.
        self._contributions: list[NDArray[np.float32]] = []

    def begin_run(self, keys: NDArray[np.int64], max_key: int) -> NDArray[np.int64]:
        """Begin a run and mark the types with these keys as used by it; return the distinct keys that are not cached.

        :param max_key: an upper limit of the keys that types of the lexicon can have.
        """
        if len(self._index_of) < max_key + 2:
            size = len(self._index_of)
            self._index_of = grown(self._index_of, 2 * max_key + 2)
            self._index_of[size:] = -1
        self._run += 1
        indices = self._index_of[keys + 1]
        is_new = indices < 0
        self._last_run[indices[~is_new]] = self._run
        return np.unique(keys[is_new])

    def add(self, keys: NDArray[np.int64], embedded: NDArray[Any], contributions: NDArray[Any]) -> None:
        """Cache the outputs for types that are not cached yet."""
        if self._count + len(keys) > MAX_TYPES:
            self._drop_oldest()
        self.sizes = embedded.shape[1], contributions.shape[1], contributions.shape[2]
        self._reserve(self._count + len(keys), *self.sizes)
        added = slice(self._count, self._count + len(keys))
        self._index_of[keys + 1] = np.arange(added.start, added.stop)
        self._keys[added], self._last_run[added], self._embedded[added] = keys, self._run, embedded
        for position, rows in enumerate(self._contributions):
            rows[added] = contributions[:, position]
        self._count = added.stop

    def inputs(self, keys: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return `embedded` and `preactivation` of tokens, given the keys of their types, all of which must be cached.

        The preactivation of a token is the sum of the contributions of the types at all positions of its window.
        """
        indices = self._index_of[keys + 1]
        window, tokens = len(self._contributions) // 2, len(keys)
        sums = np.empty((tokens, self._contributions[0].shape[1]), np.float32)
        sums[:window] = 0
        np.take(self._contributions[0], indices[: max(0, tokens - window)], axis=0, out=sums[window:], mode="clip")
        for shift, rows in enumerate(self._contributions[1:], 1 - window):
            neighbors = slice(max(0, shift), max(0, tokens + shift))
            sums[max(0, -shift) : max(0, tokens - shift)] += np.take(rows, indices[neighbors], axis=0)
        return {"embedded": np.take(self._embedded, indices, axis=0), "preactivation": sums}

    def _drop_oldest(self) -> None:
        """Keep the most recently used types: half of `MAX_TYPES`, or all types of the current run if those are more."""
        last_run = self._last_run[: self._count]
        size = max(MAX_TYPES // 2, int(np.count_nonzero(last_run == self._run)))
        kept = np.sort(np.argsort(-last_run, kind="stable")[:size])
        self._count = len(kept)
        arrays: list[NDArray[Any]] = [self._keys, self._last_run, self._embedded, *self._contributions]
        for array in arrays:
            array[: len(kept)] = array[kept]
        self._index_of[:] = -1
        self._index_of[self._keys[: len(kept)] + 1] = np.arange(len(kept))

    def _reserve(self, size: int, width: int, positions: int, values: int) -> None:
        """Enlarge the arrays so that they can hold `size` types; the other parameters are the elements of `sizes`."""
        if not self._contributions:
            self._embedded = np.empty((0, width), np.float32)
            self._contributions = [np.empty((0, values), np.float32)] * positions
        if size <= len(self._keys):
            return
        capacity = max(size, min(2 * size, MAX_TYPES))
        self._keys, self._last_run = grown(self._keys, capacity), grown(self._last_run, capacity)
        self._embedded = grown(self._embedded, capacity)
        self._contributions = [grown(rows, capacity) for rows in self._contributions]


def _sizes(types: int, embedded: tuple[int, ...], contributions: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return `_CachedOutputs.sizes` for the shapes of outputs; None if the shapes are impossible for `types` types."""
    if (len(embedded), len(contributions)) != (2, 3) or {embedded[0], contributions[0]} != {types}:
        return None
    sizes = embedded[1], contributions[1], contributions[2]
    return sizes if 0 not in sizes and sizes[1] % 2 == 1 else None
