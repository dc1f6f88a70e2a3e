"""Sentence embeddings from an artifact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ArtifactError, InferenceError, InputError
from ..artifacts.families.sentence_embedding import SENTENCE_EMBEDDING, EmbeddingCase, EmbeddingSpec, Prompt
from .batching import DEFAULT_TOKEN_BUDGET, plan_batches
from .graph_model import GraphModel, check_limits, encoder_feeds, graph_model
from .loading import AUTO, OTHER_RESULTS, Figures, OpenArtifact, load_tokenizer, open_artifact
from .tokenizer import DEFAULT_TEXT_LIMIT, TextTokenizer, Tokens, check_text

# Texts are tokenized in windows of this many, so that memory stays bounded however long the list is.
_WINDOW = 4096
_OUTPUT = "sentence_embedding"
load_preprocessor = load_tokenizer


@dataclass(frozen=True)
class EmbeddingResult:
    """What `embed` gives for n texts.

    `vectors` is float32 `[n, dim]`, `token_counts` int64 `[n]` with special tokens and prompt, `truncated` bool `[n]`:
    whether a text was cut to the model's limit. `prompt_name` is the prompt used, if any.
    """

    vectors: NDArray[np.float32]
    token_counts: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    prompt_name: str | None


EmbeddingModel = GraphModel[EmbeddingSpec]


def embedding_model(opened: OpenArtifact[TextTokenizer]) -> EmbeddingModel:
    """The parts of a checked artifact."""
    return graph_model(opened, "encoder", opened.artifact.manifest.section(EmbeddingSpec))


class SentenceEmbedder:
    """One variant of a sentence embedding model. Thread-safe; the graph is loaded by the first call."""

    def __init__(
        self,
        model: EmbeddingModel,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        text_limit: int = DEFAULT_TEXT_LIMIT,
    ) -> None:
        """Wrap a model; nothing is loaded yet.

        :param threads: threads of one run; by default the CPUs that affinity and cgroup leave to the process.
        :param token_budget: padded tokens of one run.
        :param text_limit: bytes of UTF-8 above which a text is refused.
        """
        check_limits(threads=threads, token_budget=token_budget, text_limit=text_limit)
        self.model = model
        self._token_budget = token_budget
        self._text_limit = text_limit
        self._session = model.session(threads)

    @classmethod
    def open(
        cls,
        root: str | Path,
        variant: str = AUTO,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        text_limit: int = DEFAULT_TEXT_LIMIT,
    ) -> SentenceEmbedder:
        """Check the artifact at `root` and wrap one of its variants; the options are the constructor's."""
        model = embedding_model(open_artifact(root, variant, task=SENTENCE_EMBEDDING.task))
        return cls(model, threads=threads, token_budget=token_budget, text_limit=text_limit)

    def load(self) -> None:
        """Load the graph now instead of at the first call."""
        self._session.load()

    def embed(self, texts: Sequence[str], prompt_name: str | None = None) -> EmbeddingResult:
        """Embed the texts; without `prompt_name` the model's default prompt is used, if it has one.

        :raises InputError: for a text that cannot be embedded; nothing was computed then.
        """
        if isinstance(texts, (str, bytes)):
            raise InputError("input_type", "a single text where a list was expected", got=type(texts).__name__)
        name, prompt = self._prompt(prompt_name)
        checked = [prompt.text + check_text(text, index, self._text_limit) for index, text in enumerate(texts)]
        vectors = np.empty((len(checked), self.model.spec.dim), np.float32)
        counts = np.empty(len(checked), np.int64)
        truncated = np.empty(len(checked), np.bool_)
        for start in range(0, len(checked), _WINDOW):
            window = self.model.tokenizer.encode(checked[start : start + _WINDOW])
            counts[start : start + _WINDOW] = [len(tokens.ids) for tokens in window]
            truncated[start : start + _WINDOW] = [tokens.truncated for tokens in window]
            for batch, rows in self._run(window, prompt):
                vectors[[start + index for index in batch]] = rows
        return EmbeddingResult(vectors, counts, truncated, name)

    def _run(self, window: list[Tokens], prompt: Prompt) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        for batch in plan_batches([len(tokens.ids) for tokens in window], self._token_budget):
            ids, mask = self.model.tokenizer.pad([window[index] for index in batch])
            feeds = encoder_feeds(self.model.graph, ids, mask, prompt.tokens)
            (rows,) = self._session.run([_OUTPUT], feeds)
            self._check_rows(rows, len(batch))
            yield batch, rows

    def _check_rows(self, rows: NDArray[np.float32], texts: int) -> None:
        if rows.shape != (texts, self.model.spec.dim):
            raise InferenceError(f"{self.model.name} ({self.model.variant}) gave vectors of shape {rows.shape}")
        if not np.isfinite(rows).all():
            raise InferenceError(f"{self.model.name} ({self.model.variant}) gave a value that is not finite")

    def _prompt(self, name: str | None) -> tuple[str | None, Prompt]:
        spec = self.model.spec
        name = spec.default_prompt if name is None else name
        if name is None:
            return None, Prompt("", 0)
        if name not in spec.prompts:
            known = ", ".join(sorted(spec.prompts)) or "none"
            raise InputError("prompt_not_found", f"no prompt is called {name!r}", expected=f"one of: {known}")
        return name, spec.prompts[name]


def open_model(
    opened: OpenArtifact[TextTokenizer], *, threads: int | None = None, text_limit: int = DEFAULT_TEXT_LIMIT
) -> SentenceEmbedder:
    """Wrap the opened variant; no graph is loaded yet."""
    return SentenceEmbedder(embedding_model(opened), threads=threads, text_limit=text_limit)


def replay(opened: OpenArtifact[TextTokenizer], cases: Sequence[EmbeddingCase], threads: int) -> Figures:
    """Embed the golden cases and return `max_abs` and `cosine_min` over all of them.

    :raises ArtifactError: with the code `golden` for a case that is outside the variant's gate.
    """
    embedder = open_model(opened, threads=threads)
    gate = opened.artifact.manifest.variants[opened.variant].gate
    figures = [_compare(embedder, case) for case in cases]
    for number, (case, (max_abs, cosine)) in enumerate(zip(cases, figures, strict=True), start=1):
        floor = gate.get("cosine_min" if case.group == "plain" else "cosine_min_hard", -1.0)
        if max_abs > gate.get("max_abs", np.inf) or cosine < floor:
            raise ArtifactError(
                "golden",
                f"case {number} with variant {opened.variant}",
                expected=f"max abs <= {gate.get('max_abs', 'any')}, cosine >= {floor}",
                got=f"max abs {max_abs:.2e}, cosine {cosine:.6f}",
                hint=OTHER_RESULTS,
            )
    return {"max_abs": max(max_abs for max_abs, _ in figures), "cosine_min": min(cosine for _, cosine in figures)}


def _compare(embedder: SentenceEmbedder, case: EmbeddingCase) -> tuple[float, float]:
    """Largest absolute difference and cosine to the expected vector, or `ArtifactError` for another tokenization."""
    result = embedder.embed([case.input], case.prompt_name)
    reference = np.array(case.expected.vector, np.float64)
    vector = result.vectors[0].astype(np.float64)
    actual = (int(result.token_counts[0]), bool(result.truncated[0]), vector.shape)
    expected = (case.expected.tokens, case.expected.truncated, reference.shape)
    if actual != expected:
        raise ArtifactError("golden", "tokens, truncated and shape", expected=expected, got=actual)
    norm = float(np.linalg.norm(vector) * np.linalg.norm(reference))
    both_zero = not vector.any() and not reference.any()
    return float(np.abs(vector - reference).max()), float(vector @ reference / norm) if norm else float(both_zero)
