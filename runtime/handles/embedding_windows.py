"""The vectors of the windows of a long text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import OnnxMlBridgeError
from ..array_equality import ArrayEquality


@dataclass(frozen=True, eq=False)
class EmbeddingWindow(ArrayEquality):
    """The embedding of one window of a text.

    `start` and `end` are offsets of the window in characters, `start_byte` and `end_byte` in bytes of UTF-8; both ends
    are exclusive. `token_count` includes special tokens and the prompt. `vector` is float32 `[dim]`, or
    `[dimensions]` of the options.
    """

    start: int
    end: int
    start_byte: int
    end_byte: int
    token_count: int
    vector: NDArray[np.float32]


class EmbeddingWindows(Iterator[EmbeddingWindow]):
    """Computes the windows of one text while it is iterated, in their order. Not thread-safe."""

    def __init__(self, windows: Iterator[tuple[EmbeddingWindow, int]], dim: int, normalized: bool) -> None:
        """Wrap an iterator over windows.

        :param windows: each window with the number of its tokens that no earlier window has, at least 1.
        :param dim: the number of elements of a vector.
        :param normalized: whether the model's vectors have the length 1.
        """
        self._windows = windows
        self._normalized = normalized
        self._sum = np.zeros(dim, np.float64)
        self._tokens = 0
        self._count = 0
        self._last: EmbeddingWindow | None = None
        self._failure: OnnxMlBridgeError | None = None

    def __next__(self) -> EmbeddingWindow:
        """Compute the next window.

        :raises StoppedError: if the call was cancelled or exceeded its time limit.
        :raises InferenceError: if ONNX Runtime fails.
        """
        try:
            window, new_tokens = next(self._windows)
        except OnnxMlBridgeError as error:
            self._failure = error
            raise
        self._sum += new_tokens * window.vector.astype(np.float64)
        self._tokens += new_tokens
        self._count += 1
        self._last = window
        return window

    def pool(self) -> NDArray[np.float32]:
        """Compute the windows that are left and return one vector for the whole text: float32 `[dim]`.

        It is the mean of all windows, weighted by the number of tokens that no earlier window has, and has the length 1
        if the model's vectors have it. The vector of a text with one window is that of the window.

        :raises OnnxMlBridgeError: the error of a window, also of one that was read before.
        """
        for _ in self:
            pass
        if self._failure is not None:
            raise self._failure
        if self._count == 1 and self._last is not None:
            return self._last.vector
        mean = self._sum / max(self._tokens, 1)
        length = float(np.linalg.norm(mean)) if self._normalized else 1.0
        return (mean / length if length else mean).astype(np.float32)
