"""The handle of sentence embedding models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...artifacts.errors import OnnxMlBridgeError
from ..array_equality import ArrayEquality
from ..cancellation import CancelToken
from ..options import Task
from .handle import BatchBackend, Handle, all_results, check_list, check_options, each_result


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """Options of one call.

    `prompt_name` is the name of the prompt to put before every text; None uses the model's default prompt, if it has
    one. `timeout` is the time limit in seconds; None uses the model's. `cancel` can stop the call from another thread.
    """

    prompt_name: str | None = None
    timeout: float | None = None
    cancel: CancelToken | None = None


@dataclass(frozen=True, eq=False)
class Embedding(ArrayEquality):
    """The embedding of one text.

    `vector` is float32 `[dim]`. `token_count` includes special tokens and the prompt. `truncated` is true if the text
    was longer than the model's limit and its end was not read.
    """

    vector: NDArray[np.float32]
    token_count: int
    truncated: bool


@dataclass(frozen=True, eq=False)
class Embeddings(ArrayEquality):
    """The embeddings of n texts, in their order.

    `vectors` is float32 `[n, dim]`. `token_counts`, int64 `[n]`, includes special tokens and the prompt. `truncated`,
    bool `[n]`, tells which texts were truncated to the model's limit.
    """

    vectors: NDArray[np.float32]
    token_counts: NDArray[np.int64]
    truncated: NDArray[np.bool_]

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


class Embedder(Handle[EmbedderBackend]):
    """An open sentence embedding model. Thread-safe; the first call loads the graph."""

    task = Task.EMBEDDING

    def embed(self, texts: Sequence[str], options: EmbedOptions | None = None) -> Embeddings:
        """Embed texts; the result has their order.

        :raises InputError: with the index of the first invalid text, or for an unknown prompt; then no text was run.
        :raises StoppedError: if the call was cancelled or exceeded its time limit.
        :raises OverloadedError: if too many calls wait for the model; nothing was run then.
        :raises InferenceError: if ONNX Runtime fails.
        """
        options = EmbedOptions() if options is None else options
        check_options(options, EmbedOptions)
        check_list(texts)
        answers = all_results(self._slot, texts, options, self._watch(options))
        vectors = np.empty((len(answers), self.backend.dim), np.float32)
        for row, answer in zip(vectors, answers, strict=True):
            row[:] = answer.vector
        counts = np.array([answer.token_count for answer in answers], np.int64)
        return Embeddings(vectors, counts, np.array([answer.truncated for answer in answers], np.bool_))

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
        return each_result(self._slot, texts, options, self._watch(options))

    def self_test(self) -> None:
        """Embed a short text; any error is raised."""
        self.embed(["health check"])
