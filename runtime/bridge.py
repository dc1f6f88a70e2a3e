"""`OnnxMlBridge`: the calls a knowledge-graph engine makes, with the names it knows them by."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ConfigError, OnnxMlBridgeError, TaskNotLoadedError
from .embedding import EmbeddingResult, SentenceEmbedder
from .opening import AUTO

logger = logging.getLogger(__name__)


class OnnxMlBridge:
    """Models behind one object, usable from several threads at once; the Rust crate offers the same calls."""

    def __init__(self, embedder: SentenceEmbedder | None) -> None:
        """Take opened models; `open` is what applications call."""
        self._embedder = embedder

    @classmethod
    def open(
        cls,
        *,
        embedding: str | Path | None = None,
        variant: str | Mapping[str, str] = AUTO,
        threads: int | None = None,
    ) -> OnnxMlBridge:
        """Check the artifacts and make them ready; graphs are loaded by the first call, or by `warm_up`.

        :param embedding: folder of a sentence embedding artifact.
        :param variant: `fp32`, `int8`, ... or `auto`; or one per task, as in `{"embedding": "int8"}`.
        :param threads: threads of one run; by default the CPUs that affinity and cgroup leave to the process.
        :raises ArtifactError: when an artifact is refused.
        """
        if not isinstance(variant, str) and (unknown := sorted(set(variant) - {"embedding"})):
            raise ConfigError("variant", expected="the tasks: embedding", got=", ".join(unknown))
        chosen = variant if isinstance(variant, str) else variant.get("embedding", AUTO)
        if embedding is None:
            return cls(None)
        embedder = SentenceEmbedder.open(embedding, chosen, threads=threads)
        model = embedder.model
        logger.info("%s %s: variant %s", model.name, model.version, model.variant)
        return cls(embedder)

    @property
    def embedder(self) -> SentenceEmbedder:
        """The sentence embedding model, or `TaskNotLoadedError`."""
        if self._embedder is None:
            raise TaskNotLoadedError("sentence embedding", "embedding")
        return self._embedder

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

    def warm_up(self) -> None:
        """Load every opened model now."""
        if self._embedder is not None:
            self._embedder.load()

    def health_check(self) -> bool:
        """Whether every opened model answers with finite values."""
        try:
            if self._embedder is not None:
                self._embedder.embed(["health check"])
        except OnnxMlBridgeError:
            logger.exception("health check failed")
            return False
        return self._embedder is not None
