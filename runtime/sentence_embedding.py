"""Compute sentence embeddings with an artifact of the family `sentence_embedding`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ArtifactError, InferenceError, InputError
from ..artifacts.families.sentence_embedding import SENTENCE_EMBEDDING, EmbeddingCase, EmbeddingSpec, Prompt
from .array_equality import ArrayEquality
from .batching import DEFAULT_TOKEN_BUDGET, plan_batches
from .graph_model import GraphModel, check_limits, encoder_feeds, graph_model
from .loading import AUTO, OTHER_RESULTS, Figures, OpenArtifact, Report, load_tokenizer, open_artifact, reporting
from .tokenizer import DEFAULT_TEXT_LIMIT, TextTokenizer, Tokens, check_text

# A list of texts is processed in blocks of this many, so that the token ids of all texts are never in memory at once.
_BLOCK_TEXTS = 4096
_OUTPUT = "sentence_embedding"
load_preprocessor = load_tokenizer


@dataclass(frozen=True, eq=False)
class EmbeddingResult(ArrayEquality):
    """The embeddings of n texts.

    `vectors` is float32 `[n, dim]`. `token_counts`, int64 `[n]`, includes special tokens and the prompt. `truncated`,
    bool `[n]`, tells which texts were truncated to the model's limit. `prompt_name` is the name of the prompt that was
    used, or None.
    """

    vectors: NDArray[np.float32]
    token_counts: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    prompt_name: str | None


EmbeddingModel = GraphModel[EmbeddingSpec, TextTokenizer]


def embedding_model(opened: OpenArtifact[TextTokenizer]) -> EmbeddingModel:
    """Return the model of the chosen variant of a checked artifact."""
    return graph_model(opened, "encoder", opened.artifact.manifest.section(EmbeddingSpec))


class SentenceEmbedder:
    """One variant of a sentence embedding model. Thread-safe; the first call loads the graph."""

    def __init__(
        self,
        model: EmbeddingModel,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        text_limit: int = DEFAULT_TEXT_LIMIT,
    ) -> None:
        """Wrap a model without loading its graph.

        :param threads: threads of one run; None uses all CPUs this process may use.
        :param token_budget: maximum number of padded tokens of one run; see `plan_batches`.
        :param text_limit: maximum size of a text in bytes of UTF-8.
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
        """Check the artifact at `root` and create one of its variants; the other arguments are the constructor's."""
        model = embedding_model(open_artifact(root, variant, task=SENTENCE_EMBEDDING.task))
        return cls(model, threads=threads, token_budget=token_budget, text_limit=text_limit)

    def load(self) -> None:
        """Load the graph now instead of in the first call."""
        self._session.load()

    def embed(self, texts: Sequence[str], prompt_name: str | None = None) -> EmbeddingResult:
        """Embed texts; the result has their order.

        :param prompt_name: the prompt to put before every text; None selects the model's default prompt, if it has one.
        :raises InputError: with the index of the first invalid text, or for an unknown prompt; then no text was run.
        """
        if isinstance(texts, (str, bytes)):
            raise InputError("input_type", "a single text where a list was expected", actual=type(texts).__name__)
        name, prompt = self._prompt(prompt_name)
        checked = [prompt.text + check_text(text, index, self._text_limit) for index, text in enumerate(texts)]
        vectors = np.empty((len(checked), self.model.spec.dim), np.float32)
        counts = np.empty(len(checked), np.int64)
        truncated = np.empty(len(checked), np.bool_)
        for start in range(0, len(checked), _BLOCK_TEXTS):
            encoded = self.model.tokenizer.encode(checked[start : start + _BLOCK_TEXTS])
            counts[start : start + _BLOCK_TEXTS] = [len(tokens.ids) for tokens in encoded]
            truncated[start : start + _BLOCK_TEXTS] = [tokens.truncated for tokens in encoded]
            for batch, rows in self._run(encoded, prompt):
                vectors[[start + index for index in batch]] = rows
        return EmbeddingResult(vectors, counts, truncated, name)

    def _run(self, encoded: list[Tokens], prompt: Prompt) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Yield the indices of the texts of each batch and their embeddings, float32 `[batch, dim]`."""
        for batch in plan_batches([len(tokens.ids) for tokens in encoded], self._token_budget):
            ids, mask = self.model.tokenizer.pad([encoded[index] for index in batch])
            feeds = encoder_feeds(self.model.graph, ids, mask, prompt.tokens)
            (rows,) = self._session.run([_OUTPUT], feeds)
            self._check_rows(rows, len(batch))
            yield batch, rows

    def _check_rows(self, rows: NDArray[np.float32], texts: int) -> None:
        """Raise `InferenceError` for embeddings with an invalid shape or a value that is not finite."""
        expected, who = (texts, self.model.spec.dim), f"{self.model.name} ({self.model.variant})"
        if rows.shape != expected:
            raise InferenceError(f"{who} returned vectors of shape {rows.shape}, expected {expected}")
        if not np.isfinite(rows).all():
            raise InferenceError(f"{who} returned a value that is not finite")

    def _prompt(self, name: str | None) -> tuple[str | None, Prompt]:
        """Return the name of the prompt to use and the prompt; None and an empty prompt if there is none."""
        spec = self.model.spec
        name = spec.default_prompt if name is None else name
        if name is None:
            return None, Prompt("", 0)
        if name not in spec.prompts:
            known = ", ".join(sorted(spec.prompts)) or "none"
            raise InputError("prompt_not_found", f"the prompt {name!r} does not exist", expected=f"one of: {known}")
        return name, spec.prompts[name]


def open_model(
    opened: OpenArtifact[TextTokenizer], *, threads: int | None = None, text_limit: int = DEFAULT_TEXT_LIMIT
) -> SentenceEmbedder:
    """Create the embedder of the opened variant; its graph is loaded by the first call."""
    return SentenceEmbedder(embedding_model(opened), threads=threads, text_limit=text_limit)


def replay(
    opened: OpenArtifact[TextTokenizer], cases: Sequence[EmbeddingCase], threads: int, report: Report
) -> Figures:
    """Embed the golden cases and compare the vectors with the expected ones.

    :returns: the metrics `max_abs` and `cosine_min` over all cases.
    :raises ArtifactError: with the code `golden` if a case is outside of the variant's gate.
    """
    embedder = open_model(opened, threads=threads)
    gate = opened.artifact.manifest.variants[opened.variant].gate
    embedder.load()
    figures = [_compare(embedder, case) for case in reporting(cases, report)]
    for number, (case, (max_abs, cosine)) in enumerate(zip(cases, figures, strict=True), start=1):
        floor = gate.get("cosine_min" if case.group == "plain" else "cosine_min_hard", -1.0)
        if max_abs > gate.get("max_abs", np.inf) or cosine < floor:
            raise ArtifactError(
                "golden",
                f"case {number} with variant {opened.variant}",
                expected=f"max abs <= {gate.get('max_abs', 'any')}, cosine >= {floor}",
                actual=f"max abs {max_abs:.2e}, cosine {cosine:.6f}",
                hint=OTHER_RESULTS,
            )
    return {"max_abs": max(max_abs for max_abs, _ in figures), "cosine_min": min(cosine for _, cosine in figures)}


def _compare(embedder: SentenceEmbedder, case: EmbeddingCase) -> tuple[float, float]:
    """Compare one case: the maximum absolute difference and the cosine of its vector and the expected one.

    :raises ArtifactError: with the code `golden` if the token count, `truncated` or the dimension differ.
    """
    result = embedder.embed([case.input], case.prompt_name)
    reference = np.array(case.expected.vector, np.float64)
    vector = result.vectors[0].astype(np.float64)
    actual = (int(result.token_counts[0]), bool(result.truncated[0]), vector.shape)
    expected = (case.expected.tokens, case.expected.truncated, reference.shape)
    if actual != expected:
        raise ArtifactError("golden", "tokens, truncated and shape", expected=expected, actual=actual)
    norm = float(np.linalg.norm(vector) * np.linalg.norm(reference))
    both_zero = not vector.any() and not reference.any()
    return float(np.abs(vector - reference).max()), float(vector @ reference / norm) if norm else float(both_zero)
