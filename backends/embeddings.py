"""Embeddings of a server: requests of many texts, and answers whose order and values are checked."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ConfigError, InputError, OnnxMlBridgeError
from ..runtime.answers import Usage
from ..runtime.cancellation import Watch
from ..runtime.chunks import is_whitespace
from ..runtime.handles.embedder import Embedding, EmbedOptions
from ..runtime.handles.handle import with_index
from ..runtime.options import ModelInfo
from ..runtime.text_windows import TextWindow
from ..runtime.tokenizer import check_text
from .loop import run_all
from .remote import Host, RemoteModel, outcome_of, usage_of

# The limits of one request of OpenAI's API; a token has at least one byte.
MAX_TEXTS = 2048
MAX_BYTES = 300_000
_Outcomes = list[tuple[int, Embedding | OnnxMlBridgeError]]


class RemoteEmbedder(RemoteModel):
    """An embedding model of a server, an `EmbedderBackend`."""

    max_tokens = None
    normalized = False

    def __init__(
        self,
        host: Host,
        info: ModelInfo,
        *,
        context: int,
        text_limit: int,
        dimensions: int | None,
        sends_dimensions: bool = False,
    ) -> None:
        """Wrap a host.

        :param context: the number of tokens that the model reads.
        :param text_limit: maximum size of a text in bytes of UTF-8.
        :param dimensions: the number of elements of a vector; None accepts the first answer's.
        :param sends_dimensions: whether requests ask for the number; then calls may ask for fewer.
        """
        super().__init__(host, info)
        self._context = context
        self._text_limit = text_limit
        self._dimensions = dimensions
        self._sends_dimensions = sends_dimensions

    @property
    def dim(self) -> int:
        """The number of elements of a vector; 0 before the first answer if it was not declared."""
        return self._dimensions or 0

    def check(self, options: EmbedOptions) -> None:
        """Raise an error for options that the model does not have.

        :raises InputError: with the code `prompt_not_found` for any prompt.
        :raises ConfigError: for a number of dimensions that requests cannot ask for.
        """
        if options.prompt_name is not None:
            what = f"the prompt {options.prompt_name!r} does not exist"
            raise InputError("prompt_not_found", what, expected="none, because the model has no prompts")
        value = options.dimensions
        if value is None or value == self._dimensions:
            return
        if not self._sends_dimensions:
            raise ConfigError("dimensions", expected=self._dimensions or "None", actual=repr(value))
        if type(value) is not int or not 1 <= value <= self.dim:
            raise ConfigError("dimensions", expected=f"an integer from 1 to {self.dim}", actual=repr(value))

    def prepare(self, value: object, index: int | None, options: EmbedOptions) -> str:
        """Check one text: servers refuse one of whitespace alone."""
        text = check_text(value, index, self._text_limit)
        if is_whitespace(text):
            raise InputError("empty_input", "nothing to embed", index=index, expected="not only whitespace")
        return text

    def results(
        self, inputs: Sequence[str], options: EmbedOptions, watch: Watch
    ) -> Iterator[tuple[int, Embedding | OnnxMlBridgeError]]:
        """Yield the index and the embedding or the error of every text, request by request."""
        batches = list(plan_requests([len(text.encode()) for text in inputs], self._context))
        jobs = [partial(self._request, inputs, batch, options, watch.ends) for batch in batches]
        for _, outcomes in run_all(jobs, watch):
            yield from outcomes

    def split(self, text: str, options: EmbedOptions, stride: int) -> Iterator[TextWindow]:
        """Raise `ConfigError`: servers do not tell the tokens of a text."""
        raise ConfigError("embed_windows", expected="a model of an ONNX artifact", actual=self.info.engine)

    def embed_windows(
        self, windows: Sequence[TextWindow], options: EmbedOptions, watch: Watch
    ) -> list[NDArray[np.float32]]:
        """Raise `ConfigError`; see `split`."""
        raise ConfigError("embed_windows", expected="a model of an ONNX artifact", actual=self.info.engine)

    async def _request(
        self,
        inputs: Sequence[str],
        batch: Sequence[int],
        options: EmbedOptions,
        ends: float | None,
        emit: Callable[[Any], None],
    ) -> _Outcomes:
        """Return the outcomes of the texts of one request."""
        dimensions = options.dimensions or self._dimensions
        body: dict[str, Any] = {"model": self.info.variant, "input": [inputs[index] for index in batch]}
        body["encoding_format"] = "base64"
        if self._sends_dimensions:
            body["dimensions"] = dimensions
        read = partial(read_embeddings, texts=len(batch), dimensions=dimensions)
        answer = await outcome_of(self.wire.post("/embeddings", body, read, meter=self.meter, ends=ends))
        if isinstance(answer, OnnxMlBridgeError):
            return [(index, with_index(answer, index)) for index in batch]
        vectors, usage = answer
        self._dimensions = self._dimensions or vectors.shape[1]
        return [(index, self._embedding(vectors, usage, row)) for row, index in enumerate(batch)]

    def _embedding(self, vectors: NDArray[np.float32], usage: Usage | None, row: int) -> Embedding:
        """Return the embedding of a text; the tokens of a request are those of its first text."""
        tokens = usage.prompt_tokens if usage is not None and len(vectors) == 1 else None
        own = usage if usage is None or row == 0 else Usage(0, 0)
        return Embedding(vectors[row].copy(), tokens, False, self.info.backend, usage=own)


def plan_requests(sizes: Sequence[int], context: int) -> Iterator[list[int]]:
    """Yield the indices of the texts of each request, in the order of the call.

    A text that may have more tokens than the model reads goes alone, so that its error is not that of others.

    :param sizes: the sizes of the texts in bytes of UTF-8.
    """
    batch: list[int] = []
    total = 0
    for index, size in enumerate(sizes):
        if size > context:
            yield [index]
            continue
        if batch and (len(batch) == MAX_TEXTS or total + size > MAX_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(index)
        total += size
    if batch:
        yield batch


def read_embeddings(answer: Any, *, texts: int, dimensions: int | None) -> tuple[NDArray[np.float32], Usage | None]:
    """Return the vectors of an answer, float32 `[texts, dimensions]` in the order of the texts, and its usage.

    :raises ValueError: or KeyError, TypeError for an answer off its schema.
    """
    vectors: list[NDArray[np.float32] | None] = [None] * texts
    for entry in answer["data"]:
        index = entry["index"]
        if type(index) is not int or not 0 <= index < texts or vectors[index] is not None:
            raise ValueError("indices")
        vectors[index] = _vector(entry["embedding"], dimensions)
    rows = np.stack([vector for vector in vectors if vector is not None])  # raises for different lengths
    if len(rows) != texts:
        raise ValueError("missing vectors")
    return rows, usage_of(answer)


def _vector(value: object, dimensions: int | None) -> NDArray[np.float32]:
    """Return a vector that is a list of numbers, or base64 of float32 in little-endian order."""
    if isinstance(value, str):
        vector = np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
    else:
        if not isinstance(value, list) or any(type(each) not in (int, float) for each in value):
            raise ValueError("not a list of numbers")
        with np.errstate(over="ignore"):  # a value out of range becomes infinite, which is refused
            vector = np.array(value, np.float64).astype(np.float32)
    if not len(vector) or (dimensions is not None and len(vector) != dimensions) or not np.isfinite(vector).all():
        raise ValueError("dimensions or values")
    return vector
