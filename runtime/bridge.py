"""`OnnxMlBridge`: the calls a knowledge-graph engine makes, with the names it knows them by."""

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

if TYPE_CHECKING:  # a family's modules are imported when a model of it is opened
    from .sentence_embedding import EmbeddingResult, SentenceEmbedder
    from .summarization.summarize_options import SummarizeOptions
    from .summarization.summarizer import Summarizer, Summary

logger = logging.getLogger(__name__)

# The arguments of `open` and their tasks
_TASKS = {"embedding": "sentence-embedding", "ner": "ner", "summarization": "summarization"}


class OnnxMlBridge:
    """Models behind one object, usable from several threads at once; the Rust crate offers the same calls."""

    def __init__(
        self,
        embedder: SentenceEmbedder | None,
        recognizers: Mapping[str, Recognizer] | None = None,
        summarizer: Summarizer | None = None,
    ) -> None:
        """Take opened models; `open` is what applications call."""
        self._embedder = embedder
        self._recognizers = dict(recognizers or {})
        self._summarizer = summarizer

    @classmethod
    def open(
        cls,
        *,
        embedding: str | Path | None = None,
        ner: str | Path | Mapping[str, str | Path] | None = None,
        summarization: str | Path | None = None,
        variant: str | Mapping[str, str] = AUTO,
        threads: int | None = None,
    ) -> OnnxMlBridge:
        """Check the artifacts and make them ready; graphs are loaded by the first call, or by `warm_up`.

        :param embedding: folder of a sentence embedding artifact.
        :param ner: folder of a named entity artifact, or several by the name that calls choose them by.
        :param summarization: folder of a summarization artifact.
        :param variant: `fp32`, `int8`, ... or `auto`; or one per task, as in `{"embedding": "int8"}`.
        :param threads: threads of one call; by default the CPUs that affinity and cgroup leave to the process.
        :raises ArtifactError: when an artifact is refused.
        """
        chosen = _variants(variant)
        embedder: SentenceEmbedder | None = None
        if embedding is not None:
            embedder = open_model(embedding, chosen["embedding"], task=_TASKS["embedding"], threads=threads)
        summarizer: Summarizer | None = None
        if summarization is not None:
            variant = chosen["summarization"]
            summarizer = open_model(summarization, variant, task=_TASKS["summarization"], threads=threads)
        for model in (embedder, summarizer):
            if model is not None:
                logger.info("%s %s: variant %s", model.model.name, model.model.version, model.model.variant)
        return cls(embedder, _open_recognizers(ner, chosen["ner"], threads), summarizer)

    @property
    def embedder(self) -> SentenceEmbedder:
        """The sentence embedding model, or `TaskNotLoadedError`."""
        if self._embedder is None:
            raise TaskNotLoadedError("sentence embedding", "embedding")
        return self._embedder

    def recognizer(self, model: str | None = None) -> Recognizer:
        """The named entity model of that name; without a name the only one that is open.

        :raises TaskNotLoadedError: when none is open.
        :raises InputError: with the code `model_not_found` for another name, or for none where several are open.
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
        """The summarization model, or `TaskNotLoadedError`."""
        if self._summarizer is None:
            raise TaskNotLoadedError("summarization", "summarization")
        return self._summarizer

    def embed(self, texts: Sequence[str], prompt_name: str | None = None) -> EmbeddingResult:
        """Vectors, token counts and what was truncated; see `SentenceEmbedder.embed`."""
        return self.embedder.embed(texts, prompt_name)

    def generate_embedding(self, text: str) -> NDArray[np.float32]:
        """Vector of one text, float32 `[dim]`; logs a warning if the text was cut."""
        vector: NDArray[np.float32] = self.generate_embeddings_batch([text])[0]
        return vector

    def generate_embeddings_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of several texts, float32 `[n, dim]`; logs a warning if any was cut."""
        result = self.embed(texts)
        if cut := int(result.truncated.sum()):
            limit = self.embedder.model.tokenizer.spec.max_tokens
            logger.warning("%d of %d texts were cut to %d tokens", cut, len(texts), limit)
        return result.vectors

    def get_embedding_model_name(self) -> str:
        """Name of the sentence embedding model."""
        return self.embedder.model.name

    def get_embedding_variant(self) -> str:
        """The variant in use: what `auto` chose, or what was asked for."""
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
        """Entities, token counts and what was truncated, for every text in order.

        :param model: the name of the model where several are open.
        :param aggregation_strategy: how tokens become entities, instead of the manifest's (transformers models).
        :param stride: tokens that neighbouring windows of a long text share, instead of the manifest's (transformers).
        :param sentence_starts: for each text the places in characters where its sentences start; for spaCy models whose
            sentences are `given`.
        :raises InputError: for a text that is refused; nothing is given back then.
        """
        options = NerOptions(aggregation_strategy, stride, sentence_starts)
        return self.recognizer(model).recognize(texts, options)

    def extract_entities(self, text: str, model: str | None = None) -> list[Entity]:
        """Entities of one text, in its order; logs a warning if the text was cut."""
        return self.extract_entities_batch([text], model)[0]

    def extract_entities_batch(self, texts: Sequence[str], model: str | None = None) -> list[list[Entity]]:
        """Entities of every text; logs a warning if any was cut."""
        results = self.ner(texts, model)
        if cut := sum(result.truncated for result in results):
            logger.warning("%d of %d texts were cut to the model's limit; a stride reads them whole", cut, len(texts))
        return [list(result.entities) for result in results]

    def get_ner_model_names(self) -> list[str]:
        """The names that calls choose named entity models by."""
        return list(self._recognizers)

    def summarize(self, messages: Sequence[str]) -> str:
        """The summary of messages that belong together; logs a warning if they were cut."""
        return self.summarize_batch([messages])[0]

    def summarize_batch(self, inputs: Sequence[Sequence[str]]) -> list[str]:
        """The summary of every list of messages; logs a warning if any was cut."""
        found = self.summarize_detailed(inputs)
        if cut := sum(summary.truncated for summary in found):
            limit = self.summarizer.model.tokenizer.spec.max_tokens
            logger.warning("%d of %d inputs were cut to %d tokens; map_reduce reads them whole", cut, len(found), limit)
        return [summary.text for summary in found]

    def summarize_detailed(
        self, inputs: Sequence[Sequence[str]], options: SummarizeOptions | None = None
    ) -> list[Summary]:
        """Summaries with their tokens, scores and what was truncated; see `Summarizer.summarize_detailed`."""
        return self.summarizer.summarize_detailed(inputs, options)

    def get_summarization_model_name(self) -> str:
        """Name of the summarization model."""
        return self.summarizer.model.name

    def get_summarization_variant(self) -> str:
        """The variant in use: what `auto` chose, or what was asked for."""
        return self.summarizer.model.variant

    def warm_up(self) -> None:
        """Load every opened model now."""
        for model in (self._embedder, *self._recognizers.values(), self._summarizer):
            if model is not None:
                model.load()

    def health_check(self) -> bool:
        """Whether every opened model answers."""
        try:
            if self._embedder is not None:
                self._embedder.embed(["health check"])
            for recognizer in self._recognizers.values():
                recognizer.self_test()
            if self._summarizer is not None:
                self._summarizer.self_test()
        except OnnxMlBridgeError:
            logger.exception("health check failed")
            return False
        return any((self._embedder, self._recognizers, self._summarizer))


def _variants(variant: str | Mapping[str, str]) -> dict[str, str]:
    """The variant of every task."""
    if isinstance(variant, str):
        return dict.fromkeys(_TASKS, variant)
    if unknown := sorted(set(variant) - set(_TASKS)):
        raise ConfigError("variant", expected=f"the tasks: {', '.join(_TASKS)}", got=", ".join(unknown))
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
