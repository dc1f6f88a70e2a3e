"""The handle of sentence embedding models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import OnnxMlBridgeError
from ..answers import ONNX, Fallback, Usage, total_usage
from ..array_equality import ArrayEquality
from ..cancellation import CancelToken, Watch
from ..options import Task
from ..text_windows import TextWindow, reloaded
from .backend import BatchBackend
from .embedding_windows import EmbeddingWindow, EmbeddingWindows
from .handle import Handle, all_results, check_list, check_options, each_result
from .request import Request, counted_errors

# The number of windows of a long text that are embedded at once
_BLOCK_WINDOWS = 16


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """Options of one call.

    `prompt_name` is the name of the prompt to put before every text; None uses the model's default prompt, if it has
    one. `dimensions` asks for shorter vectors, of a size that the model's manifest lists; None returns whole vectors.
    `timeout` is the time limit in seconds; None uses the model's. `cancel` can stop the call from another thread.
    """

    prompt_name: str | None = None
    dimensions: int | None = None
    timeout: float | None = None
    cancel: CancelToken | None = None


@dataclass(frozen=True, eq=False)
class Embedding(ArrayEquality):
    """The embedding of one text.

    `vector` is float32 `[dim]`, or `[dimensions]` of the options. `token_count` includes special tokens and the prompt.
    `truncated` is true if the text was longer than the model's limit and its end was not read.

    `backend` is what gave the answer, `fallbacks` what failed before in a chain, `usage` the tokens that a server
    counted: a request of several texts is counted at its first text, and `token_count` of each is None.
    """

    vector: NDArray[np.float32]
    token_count: int | None
    truncated: bool
    backend: str = ONNX
    fallbacks: tuple[Fallback, ...] = ()
    usage: Usage | None = None


@dataclass(frozen=True, eq=False)
class Embeddings(ArrayEquality):
    """The embeddings of n texts, in their order.

    `vectors` is float32 `[n, dim]`, or `[n, dimensions]` of the options. `token_counts`, int64 `[n]`, includes special
    tokens and the prompt; it is None if a server did not count each text. `truncated`, bool `[n]`, tells which texts
    were truncated to the model's limit. `backends` and `fallbacks` are those of every text, `usage` the sum of what
    servers counted.
    """

    vectors: NDArray[np.float32]
    token_counts: NDArray[np.int64] | None
    truncated: NDArray[np.bool_]
    backends: tuple[str, ...] = ()
    fallbacks: tuple[tuple[Fallback, ...], ...] = ()
    usage: Usage | None = None

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.vectors)


class EmbedderBackend(BatchBackend[str, EmbedOptions, Embedding], Protocol):
    """A model that embeds texts; `dim` is the number of elements of a vector."""

    @property
    def dim(self) -> int:
        """The number of elements of a vector."""

    @property
    def max_tokens(self) -> int | None:
        """The number of tokens to which texts are truncated; None if it is unknown."""

    @property
    def normalized(self) -> bool:
        """Whether the vectors have the length 1."""

    def prepare(self, value: object, index: int | None, options: EmbedOptions) -> str:
        """Check one text; `index` is None for a call with a single text."""

    def split(self, text: str, options: EmbedOptions, stride: int) -> Iterator[TextWindow]:
        """Yield the windows of a text in their order."""

    def embed_windows(
        self, windows: Sequence[TextWindow], options: EmbedOptions, watch: Watch
    ) -> list[NDArray[np.float32]]:
        """Embed windows that `split` returned: float32 `[dim]`, or `[dimensions]` of the options, for each."""


class Embedder(Handle[EmbedderBackend]):
    """An open sentence embedding model. Thread-safe; the first call loads the graph."""

    task = Task.EMBEDDING

    def embed(self, texts: Sequence[str], options: EmbedOptions | None = None) -> Embeddings:
        """Embed texts; the result has their order.

        :raises InputError: with the index of the first invalid text, or for an unknown prompt; then no text was run.
        :raises ConfigError: for dimensions that the model does not list.
        :raises StoppedError: if the call was cancelled or exceeded its time limit.
        :raises OverloadedError: if too many calls wait for the model; nothing was run then.
        :raises InferenceError: if ONNX Runtime fails.
        """
        options = EmbedOptions() if options is None else options
        check_options(options, EmbedOptions)
        check_list(texts)
        answers = all_results(self._slot, texts, options, self._watch(options), _token_count)
        vectors = np.empty((len(answers), self._dim(options)), np.float32)
        for row, answer in zip(vectors, answers, strict=True):
            row[:] = answer.vector
        counts = [answer.token_count for answer in answers]
        return Embeddings(
            vectors,
            None if None in counts else np.array(counts, np.int64),
            np.array([answer.truncated for answer in answers], np.bool_),
            tuple(answer.backend for answer in answers),
            tuple(answer.fallbacks for answer in answers),
            total_usage(answer.usage for answer in answers),
        )

    def embed_each(
        self, texts: Sequence[str], options: EmbedOptions | None = None
    ) -> list[Embedding | OnnxMlBridgeError]:
        """Embed texts and return the embedding or the error of each: an invalid text does not lose the others.

        A call that is stopped keeps the embeddings that are ready.

        :raises OnnxMlBridgeError: for an error of all texts, such as an unknown prompt.
        """
        options = EmbedOptions() if options is None else options
        check_options(options, EmbedOptions)
        check_list(texts)
        return each_result(self._slot, texts, options, self._watch(options), _token_count)

    def embed_windows(self, text: str, options: EmbedOptions | None = None, *, stride: int = 0) -> EmbeddingWindows:
        """Embed a text of any length in windows of the model's `max_tokens`, which are computed while they are read.

        The text is tokenized when the first window is read, which needs up to 1,000 bytes of memory for a character, or
        for a token where a character has several; nothing else grows with the length of the text.

        :param options: `timeout` limits the time from the first window to the last one.
        :param stride: number of tokens that consecutive windows share.
        :returns: an iterator over the windows; its `pool` returns one vector for the whole text.
        :raises InputError: for an invalid text or an unknown prompt.
        :raises ConfigError: for dimensions that the model does not list; by the first window, if the stride does not
            fit into a window.
        :raises StoppedError: while windows are read, if the model is reloaded, or for the reasons of `embed`.
        """
        options = EmbedOptions() if options is None else options
        check_options(options, EmbedOptions)
        with counted_errors(self._slot.meter):
            self.backend.check(options)
            checked = self.backend.prepare(text, None, options)
        windows = self._counted_windows(checked, options, stride, self._watch(options))
        return EmbeddingWindows(windows, self._dim(options), self.backend.normalized)

    def _dim(self, options: EmbedOptions) -> int:
        """Return the number of elements of the vectors of a call."""
        return self.backend.dim if options.dimensions is None else options.dimensions

    def _counted_windows(
        self, text: str, options: EmbedOptions, stride: int, watch: Watch
    ) -> Iterator[tuple[EmbeddingWindow, int]]:
        """Yield the windows of a text as `_windows` does, and count the call when the last one was read."""
        tokens = 0
        with Request(self._slot.meter, 1, int) as request:
            for window, new_tokens in self._windows(text, options, stride, watch):
                tokens += window.token_count
                yield window, new_tokens
            request.outcomes[0] = tokens

    def _windows(
        self, text: str, options: EmbedOptions, stride: int, watch: Watch
    ) -> Iterator[tuple[EmbeddingWindow, int]]:
        """Yield the windows of a text, each with the number of tokens that no earlier window has.

        Every block of windows is a call of its own, because a reader that pauses must not keep a position in the queue,
        nor the model loaded.
        """
        backend = self.backend
        start, byte = 0, 0
        with watch:
            watch.check()
            windows = backend.split(text, options, stride)
            while block := list(islice(windows, _BLOCK_WINDOWS)):
                with self._slot.span(), self._slot.running(watch) as current:
                    if current is not backend:
                        raise reloaded()
                    vectors = backend.embed_windows(block, options, watch)
                for window, vector in zip(block, vectors, strict=True):
                    start, byte = window.start, byte + len(text[start : window.start].encode())
                    end_byte = byte + len(text[start : window.end].encode())
                    span = (start, window.end, byte, end_byte)
                    yield EmbeddingWindow(*span, len(window.ids), vector), window.new_tokens

    def self_test(self) -> None:
        """Embed a short text; any error is raised."""
        self.embed(["health check"])


def _token_count(answer: Embedding) -> int:
    """Return the tokens of an answer for metrics; a server counts those of a request at its first text."""
    if answer.token_count is not None:
        return answer.token_count
    return 0 if answer.usage is None else answer.usage.prompt_tokens
