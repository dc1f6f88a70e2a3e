"""The handle of reranking models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ...artifacts.errors import ConfigError
from ..cancellation import CancelToken, Watch
from ..meter import Meter
from ..options import Task
from .backend import Backend
from .handle import Handle, check_list, check_options
from .request import counted_errors


@dataclass(frozen=True, kw_only=True)
class RerankOptions:
    """Options of one call.

    `top_k` is the number of documents to return; None returns all. `timeout` is the time limit in seconds; None uses
    the model's. `cancel` can stop the call from another thread.
    """

    top_k: int | None = None
    timeout: float | None = None
    cancel: CancelToken | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document of a ranking: its index in the call, its score, and whether it or the query was truncated."""

    index: int
    score: float
    truncated: bool


@dataclass(frozen=True)
class Ranking:
    """All documents of a call by descending score, and the number of tokens of all pairs of query and document."""

    ranked: list[Ranked]
    tokens: int


class RerankerBackend(Backend, Protocol):
    """A model that ranks documents."""

    @property
    def max_tokens(self) -> int | None:
        """The number of tokens to which pairs of query and document are truncated; None if it is unknown."""

    def check_texts(self, query: object, documents: Sequence[object]) -> None:
        """Check the texts of a call.

        :raises InputError: if the model cannot read the query or a document.
        """

    def rank(self, query: str, documents: Sequence[str], watch: Watch) -> Ranking:
        """Return all documents by descending score; documents of equal scores keep their order.

        The texts are those that `check_texts` has accepted.
        """


class Reranker(Handle[RerankerBackend]):
    """An open reranking model. Thread-safe; the first call loads the graph."""

    task = Task.RERANK

    def rerank(self, query: str, documents: Sequence[str], options: RerankOptions | None = None) -> list[Ranked]:
        """Return the documents by descending score; documents of equal scores keep their order.

        :raises ConfigError: for a `top_k` below 1.
        :raises InputError: for an invalid query or document; nothing was run then.
        :raises StoppedError: if the call was cancelled or exceeded its time limit.
        :raises OverloadedError: if too many calls wait for the model; nothing was run then.
        :raises InferenceError: if ONNX Runtime fails.
        """
        options = RerankOptions() if options is None else options
        check_options(options, RerankOptions)
        check_list(documents)
        if options.top_k is not None and (type(options.top_k) is not int or options.top_k < 1):
            raise ConfigError("top_k", expected="an integer, at least 1", actual=repr(options.top_k))
        meter = self._slot.meter
        with self._slot.span(), counted_errors(meter):
            self.backend.check_texts(query, documents)
            with self._watch(options) as watch:
                return self._ranked(query, documents, watch, meter)[: options.top_k]

    def _ranked(self, query: str, documents: Sequence[str], watch: Watch, meter: Meter) -> list[Ranked]:
        """Return all documents. A call that is answered is counted here; an error concerns all documents."""
        watch.check()
        with self._slot.running(watch) as backend:
            started = time.perf_counter()
            ranking = backend.rank(query, documents, watch)
            meter.request(len(documents), ranking.tokens, time.perf_counter() - started)
            return ranking.ranked

    def self_test(self) -> None:
        """Rank a short document; any error is raised."""
        self.rerank("health check", ["health check"])
