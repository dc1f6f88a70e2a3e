"""`OnnxMlBridge`: one object for sentence embeddings, named entities and summaries."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ConfigError, InputError, OnnxMlBridgeError, TaskNotLoadedError
from .entities import Entities, Entity, NerOptions, Recognizer
from .loading import AUTO, open_model
from .ner import open_recognizer

if TYPE_CHECKING:  # at run time, a family's modules are imported when its first model is opened
    from .rerank import Ranked, Reranker
    from .sentence_embedding import EmbeddingResult, SentenceEmbedder
    from .summarization.summarize_options import SummarizeOptions
    from .summarization.summarizer import Summarizer, Summary

logger = logging.getLogger(__name__)

# The name of the task for each argument of `open` that takes a model.
_TASKS = {"embedding": "sentence-embedding", "ner": "ner", "summarization": "summarization", "rerank": "rerank"}


class OnnxMlBridge:
    """The opened models of all tasks. Thread-safe. The Rust crate has a type of the same name with the same calls."""

    def __init__(
        self,
        embedder: SentenceEmbedder | None,
        recognizers: Mapping[str, Recognizer] | None = None,
        summarizer: Summarizer | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        """Wrap models that are already open. Applications call `open` instead."""
        self._embedder = embedder
        self._recognizers = dict(recognizers or {})
        self._summarizer = summarizer
        self._reranker = reranker

    @classmethod
    def open(
        cls,
        *,
        embedding: str | Path | None = None,
        ner: str | Path | Mapping[str, str | Path] | None = None,
        summarization: str | Path | None = None,
        rerank: str | Path | None = None,
        variant: str | Mapping[str, str] = AUTO,
        threads: int | None = None,
    ) -> OnnxMlBridge:
        """Check artifacts and create their models; graphs are loaded by the first call or by `warm_up`.

        :param embedding: the folder of a sentence embedding artifact.
        :param ner: the folder of a named entity artifact, or several folders by the names that calls select them with.
        :param summarization: the folder of a summarization artifact.
        :param rerank: the folder of a reranking artifact.
        :param variant: `auto`, or the name of a variant such as `fp32` or `int8`; or one for each task, as in
            `{"embedding": "int8"}`.
        :param threads: threads of one call; None uses all CPUs this process may use.
        :raises ArtifactError: if an artifact is invalid or has no such variant.
        :raises ConfigError: if `variant` names an unknown task.
        """
        chosen = _variants(variant)
        embedder: SentenceEmbedder | None = None
        if embedding is not None:
            embedder = open_model(embedding, chosen["embedding"], task=_TASKS["embedding"], threads=threads)
        summarizer: Summarizer | None = None
        if summarization is not None:
            variant = chosen["summarization"]
            summarizer = open_model(summarization, variant, task=_TASKS["summarization"], threads=threads)
        reranker: Reranker | None = None
        if rerank is not None:
            reranker = open_model(rerank, chosen["rerank"], task=_TASKS["rerank"], threads=threads)
        for model in (embedder, summarizer, reranker):
            if model is not None:
                logger.info("%s %s: variant %s", model.model.name, model.model.version, model.model.variant)
        return cls(embedder, _open_recognizers(ner, chosen["ner"], threads), summarizer, reranker)

    @property
    def embedder(self) -> SentenceEmbedder:
        """The sentence embedding model; raises `TaskNotLoadedError` if none is open."""
        if self._embedder is None:
            raise TaskNotLoadedError("sentence embedding", "embedding")
        return self._embedder

    def recognizer(self, model: str | None = None) -> Recognizer:
        """Return the named entity model with the given name.

        :param model: the name of the model; None selects the only one.
        :raises TaskNotLoadedError: if none is open.
        :raises InputError: with the code `model_not_found` if no model has the name, or if the name is None and several
            models are open.
        """
        if not self._recognizers:
            raise TaskNotLoadedError("named entities", "ner")
        if model is None and len(self._recognizers) == 1:
            return next(iter(self._recognizers.values()))
        if model is None or model not in self._recognizers:
            raise InputError(
                "model_not_found",
                "no model was named" if model is None else f"no model {model!r}",
                expected=f"one of: {', '.join(sorted(self._recognizers))}",
            )
        return self._recognizers[model]

    @property
    def summarizer(self) -> Summarizer:
        """The summarization model; raises `TaskNotLoadedError` if none is open."""
        if self._summarizer is None:
            raise TaskNotLoadedError("summarization", "summarization")
        return self._summarizer

    @property
    def reranker(self) -> Reranker:
        """The reranking model; raises `TaskNotLoadedError` if none is open."""
        if self._reranker is None:
            raise TaskNotLoadedError("reranking", "rerank")
        return self._reranker

    def embed(self, texts: Sequence[str], prompt_name: str | None = None) -> EmbeddingResult:
        """Embed several texts and report token counts and truncation; see `SentenceEmbedder.embed`."""
        return self.embedder.embed(texts, prompt_name)

    def generate_embedding(self, text: str) -> NDArray[np.float32]:
        """Embed one text: float32 `[dim]`. Logs a warning if the text was truncated."""
        vector: NDArray[np.float32] = self.generate_embeddings_batch([text])[0]
        return vector

    def generate_embeddings_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed several texts: float32 `[n, dim]`. Logs a warning if any text was truncated."""
        result = self.embed(texts)
        if truncated := int(result.truncated.sum()):
            limit = self.embedder.model.tokenizer.spec.max_tokens
            logger.warning("%d of %d texts were truncated to %d tokens", truncated, len(texts), limit)
        return result.vectors

    def get_embedding_model_name(self) -> str:
        """Return the name of the sentence embedding model."""
        return self.embedder.model.name

    def get_embedding_variant(self) -> str:
        """Return the name of the variant in use; for `auto`, this is the variant that was selected."""
        return self.embedder.model.variant

    def ner(
        self,
        texts: Sequence[str],
        model: str | None = None,
        *,
        aggregation_strategy: str | None = None,
        stride: int | None = None,
        sentence_starts: Sequence[Sequence[int]] | None = None,
    ) -> list[Entities]:
        """Find the entities of several texts and report token counts and truncation, in the order of the texts.

        :param model: the name of the model; required if several are open.
        :param aggregation_strategy: how tokens are grouped to entities (token classifiers only); None selects the
            manifest's default.
        :param stride: number of tokens shared by consecutive windows of a long text (token classifiers only); None
            selects the manifest's default.
        :param sentence_starts: for each text, the offsets in characters at which its sentences start; for spaCy models
            whose manifest says `"sentences": "given"`.
        :raises InputError: with the index of the first invalid text; then no text was run.
        """
        options = NerOptions(aggregation_strategy, stride, sentence_starts)
        return self.recognizer(model).recognize(texts, options)

    def extract_entities(self, text: str, model: str | None = None) -> list[Entity]:
        """Find the entities of one text, in the order of the text. Logs a warning if the text was truncated."""
        return self.extract_entities_batch([text], model)[0]

    def extract_entities_batch(self, texts: Sequence[str], model: str | None = None) -> list[list[Entity]]:
        """Find the entities of several texts. Logs a warning if any text was truncated."""
        results = self.ner(texts, model)
        if truncated := sum(result.truncated for result in results):
            logger.warning(
                "%d of %d texts were truncated; pass a stride to `ner` to read whole texts", truncated, len(texts)
            )
        return [list(result.entities) for result in results]

    def get_ner_model_names(self) -> list[str]:
        """Return the names of the named entity models; calls select a model by its name."""
        return list(self._recognizers)

    def summarize(self, messages: Sequence[str]) -> str:
        """Summarize one list of messages, read as one text. Logs a warning if this text was truncated."""
        return self.summarize_batch([messages])[0]

    def summarize_batch(self, inputs: Sequence[Sequence[str]]) -> list[str]:
        """Summarize several lists of messages. Logs a warning if any was truncated."""
        summaries = self.summarize_detailed(inputs)
        if truncated := sum(summary.truncated for summary in summaries):
            limit = self.summarizer.model.tokenizer.spec.max_tokens
            message = "%d of %d inputs were truncated to %d tokens; pass map_reduce to read whole inputs"
            logger.warning(message, truncated, len(summaries), limit)
        return [summary.text for summary in summaries]

    def summarize_detailed(
        self, inputs: Sequence[Sequence[str]], options: SummarizeOptions | None = None
    ) -> list[Summary]:
        """Summarize several lists of messages with options and full results; see `Summarizer.summarize_detailed`."""
        return self.summarizer.summarize_detailed(inputs, options)

    def get_summarization_model_name(self) -> str:
        """Return the name of the summarization model."""
        return self.summarizer.model.name

    def get_summarization_variant(self) -> str:
        """Return the name of the variant in use; for `auto`, this is the variant that was selected."""
        return self.summarizer.model.variant

    def rerank(self, query: str, documents: Sequence[str], top_k: int | None = None) -> list[Ranked]:
        """Rank documents for a query, and log a warning if a pair was truncated; see `Reranker.rerank`."""
        ranked = self.reranker.rerank(query, documents, top_k)
        if truncated := sum(each.truncated for each in ranked):
            limit = self.reranker.model.tokenizer.spec.max_tokens
            logger.warning("%d of %d pairs were truncated to %d tokens", truncated, len(ranked), limit)
        return ranked

    def warm_up(self) -> None:
        """Load the graphs of all models now instead of in their first calls."""
        for model in (self._embedder, *self._recognizers.values(), self._summarizer, self._reranker):
            if model is not None:
                model.load()

    def health_check(self) -> bool:
        """Run every model on a short text; true if at least one model is open and none fails."""
        try:
            if self._embedder is not None:
                self._embedder.embed(["health check"])
            for recognizer in self._recognizers.values():
                recognizer.self_test()
            if self._summarizer is not None:
                self._summarizer.self_test()
            if self._reranker is not None:
                self._reranker.self_test()
        except OnnxMlBridgeError:
            logger.exception("health check failed")
            return False
        return any((self._embedder, self._recognizers, self._summarizer, self._reranker))


def _variants(variant: str | Mapping[str, str]) -> dict[str, str]:
    """Return the name of the requested variant for every argument of `open` that takes a model."""
    if isinstance(variant, str):
        return dict.fromkeys(_TASKS, variant)
    if unknown := sorted(set(variant) - set(_TASKS)):
        raise ConfigError("variant", expected=f"the tasks: {', '.join(_TASKS)}", actual=", ".join(unknown))
    return {task: variant.get(task, AUTO) for task in _TASKS}


def _open_recognizers(
    ner: str | Path | Mapping[str, str | Path] | None, variant: str, threads: int | None
) -> dict[str, Recognizer]:
    if ner is None:
        return {}
    if isinstance(ner, Mapping):
        opened = {name: open_recognizer(path, variant, threads=threads) for name, path in ner.items()}
    else:
        recognizer = open_recognizer(ner, variant, threads=threads)
        opened = {recognizer.name: recognizer}
    for name, recognizer in opened.items():
        logger.info("%s: %s %s, variant %s", name, recognizer.name, recognizer.version, recognizer.variant)
    return opened
