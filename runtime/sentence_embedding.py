"""Compute sentence embeddings with an artifact of the family `sentence_embedding`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..artifacts.errors import ArtifactError, InferenceError, InputError
from ..artifacts.families.sentence_embedding import SENTENCE_EMBEDDING, EmbeddingCase, EmbeddingSpec, Prompt
from .batching import DEFAULT_TOKEN_BUDGET, plan_batches
from .cancellation import Stop, Watch
from .dimensions import check_dimensions, shortened
from .graph_model import GraphModel, encoder_feeds, graph_model
from .handles.embedder import Embedder, Embedding, EmbedOptions
from .lane import LaneOptions
from .lane_call import Call, run_of
from .loading import OTHER_RESULTS, Figures, OpenArtifact, Report, load_tokenizer, reporting
from .options import DEFAULT_TEXT_LIMIT, BridgeOptions, ModelInfo, check_limits
from .text_windows import TextWindow, text_windows
from .tokenizer import HasIds, TextTokenizer, check_text

# A list of texts is processed in blocks of this many, so that the token ids of all texts are never in memory at once.
_BLOCK_TEXTS = 4096
_OUTPUT = "sentence_embedding"
load_preprocessor = load_tokenizer


EmbeddingModel = GraphModel[EmbeddingSpec, TextTokenizer]


class SentenceEmbedder:
    """One variant of a sentence embedding model, an `EmbedderBackend`."""

    def __init__(
        self,
        model: EmbeddingModel,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        text_limit: int = DEFAULT_TEXT_LIMIT,
        lane: LaneOptions | None = None,
    ) -> None:
        """Wrap a model without loading its graph.

        :param threads: threads of the model; None uses all CPUs this process may use.
        :param token_budget: maximum number of padded tokens of one run; see `plan_batches`.
        :param text_limit: maximum size of a text in bytes of UTF-8.
        :param lane: how runs are scheduled.
        """
        check_limits(threads=threads, token_budget=token_budget, text_limit=text_limit)
        self.model = model
        self.dim = model.spec.dim
        self.normalized = model.spec.normalized
        self.max_tokens = model.tokenizer.spec.max_tokens
        self._token_budget = token_budget
        self._text_limit = text_limit
        self._session = model.session(threads)
        self.lane = model.lane(lane, self._session)
        self.load, self.unload = self._session.load, self._session.unload

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""
        return self.model.info(SENTENCE_EMBEDDING)

    def check(self, options: EmbedOptions) -> None:
        """Raise `InputError` for an unknown prompt, `ConfigError` for dimensions that the manifest does not list."""
        self._prompt(options.prompt_name)
        check_dimensions(options.dimensions, self.model.spec.dimensions)

    def prepare(self, value: object, index: int | None, options: EmbedOptions) -> str:
        """Return a text if it can be tokenized, and raise `InputError` otherwise."""
        return check_text(value, index, self._text_limit)

    def results(self, inputs: Sequence[str], options: EmbedOptions, watch: Watch) -> Iterator[tuple[int, Embedding]]:
        """Yield the index and the embedding of every text, batch by batch."""
        prompt = self._prompt(options.prompt_name)
        with self.lane.call(watch) as call:
            for start in range(0, len(inputs), _BLOCK_TEXTS):
                texts = [prompt.text + text for text in inputs[start : start + _BLOCK_TEXTS]]
                encoded = self.model.tokenizer.encode(texts, watch)
                is_last = start + _BLOCK_TEXTS >= len(inputs)
                for index, row in self._run(encoded, prompt, call, is_last):
                    tokens = encoded[index]
                    vector = shortened(row, options.dimensions, normalized=self.normalized)
                    yield start + index, Embedding(vector, len(tokens.ids), tokens.truncated)

    def split(self, text: str, options: EmbedOptions, stride: int) -> Iterator[TextWindow]:
        """Yield the windows of a text in their order."""
        return text_windows(self.model.tokenizer, self._prompt(options.prompt_name).text, text, stride)

    def embed_windows(
        self, windows: Sequence[TextWindow], options: EmbedOptions, watch: Watch
    ) -> list[NDArray[np.float32]]:
        """Embed windows that `split` returned: float32 `[dim]`, or `[dimensions]` of the options, for each."""
        with self.lane.call(watch) as call:
            vectors = dict(self._run(windows, self._prompt(options.prompt_name), call, is_last=True))
        whole = (vectors[index] for index in range(len(windows)))
        return [shortened(vector, options.dimensions, normalized=self.normalized) for vector in whole]

    def _run(
        self, encoded: Sequence[HasIds], prompt: Prompt, call: Call, is_last: bool
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the index of each text and its embedding, float32 `[dim]`."""
        batches = list(plan_batches([len(tokens.ids) for tokens in encoded], self._token_budget))
        work, budget = partial(self._embed, prompt_tokens=prompt.tokens), self._token_budget
        runs = [
            run_of([encoded[index] for index in batch], work, key=prompt.tokens, max_tokens=budget) for batch in batches
        ]
        for number, rows in call.run(runs, is_last=is_last):
            yield from zip(batches[number], rows, strict=True)

    def _embed(self, encoded: Sequence[HasIds], stop: Stop, prompt_tokens: int) -> NDArray[np.float32]:
        """Run texts, those of several calls among them, and return their embeddings, float32 `[texts, dim]`."""
        ids, mask = self.model.tokenizer.pad(encoded)
        (rows,) = self._session.run([_OUTPUT], encoder_feeds(self.model.graph, ids, mask, prompt_tokens), stop)
        self._check_rows(rows, len(encoded))
        return rows

    def _check_rows(self, rows: NDArray[np.float32], texts: int) -> None:
        """Raise `InferenceError` for embeddings with an invalid shape or a value that is not finite."""
        expected, who = (texts, self.model.spec.dim), f"{self.model.name} ({self.model.variant})"
        if rows.shape != expected:
            raise InferenceError(f"{who} returned vectors of shape {rows.shape}, expected {expected}")
        if not np.isfinite(rows).all():
            raise InferenceError(f"{who} returned a value that is not finite")

    def _prompt(self, name: str | None) -> Prompt:
        """Return the prompt to use, an empty one if there is none."""
        spec = self.model.spec
        name = spec.default_prompt if name is None else name
        if name is None:
            return Prompt("", 0)
        if name not in spec.prompts:
            known = ", ".join(sorted(spec.prompts)) or "none"
            raise InputError("prompt_not_found", f"the prompt {name!r} does not exist", expected=f"one of: {known}")
        return spec.prompts[name]


def open_model(opened: OpenArtifact[TextTokenizer], options: BridgeOptions, name: str | None = None) -> Embedder:
    """Create the handle of the opened variant; its graph is loaded by the first call."""
    model = graph_model(opened, "encoder", opened.artifact.manifest.section(EmbeddingSpec))
    backend = SentenceEmbedder(
        model,
        threads=options.threads,
        token_budget=opened.lane.run_tokens or DEFAULT_TOKEN_BUDGET,
        text_limit=options.text_limit,
        lane=opened.lane,
    )
    return Embedder(backend, name=name, timeout=options.timeout)


def replay(
    opened: OpenArtifact[TextTokenizer], cases: Sequence[EmbeddingCase], threads: int, report: Report
) -> Figures:
    """Embed the golden cases and compare the vectors with the expected ones.

    :returns: the metrics `max_abs` and `cosine_min` over all cases.
    :raises ArtifactError: with the code `golden` if a case is outside of the variant's gate.
    """
    embedder = open_model(opened, BridgeOptions(threads=threads))
    gate = opened.artifact.manifest.variants[opened.variant].gate
    embedder.warm_up()
    figures = [_compare(embedder, case) for case in reporting(cases, report)]
    for number, (case, (max_abs, cosine)) in enumerate(zip(cases, figures, strict=True), start=1):
        measured = {"max_abs": max_abs, "cosine_min" if case.group == "plain" else "cosine_min_hard": cosine}
        if case.dimensions is not None:
            measured = {f"{name}_at_{case.dimensions}": value for name, value in measured.items()}
        if misses := SENTENCE_EMBEDDING.gate_misses(measured, gate):
            problem = f"case {number} with variant {opened.variant}: {'; '.join(misses)}"
            raise ArtifactError("golden", problem, hint=OTHER_RESULTS)
    return {"max_abs": max(max_abs for max_abs, _ in figures), "cosine_min": min(cosine for _, cosine in figures)}


def _compare(embedder: Embedder, case: EmbeddingCase) -> tuple[float, float]:
    """Compare one case: the maximum absolute difference and the cosine of its vector and the expected one.

    :raises ArtifactError: with the code `golden` if the token count, `truncated` or the dimension differ.
    """
    options = EmbedOptions(prompt_name=case.prompt_name, dimensions=case.dimensions)
    result = embedder.embed([case.input], options)
    reference = np.array(case.expected.vector, np.float64)
    vector = result.vectors[0].astype(np.float64)
    assert result.token_counts is not None  # an ONNX model counts
    actual = (int(result.token_counts[0]), bool(result.truncated[0]), vector.shape)
    expected = (case.expected.tokens, case.expected.truncated, reference.shape)
    if actual != expected:
        raise ArtifactError("golden", "tokens, truncated and shape", expected=expected, actual=actual)
    norm = float(np.linalg.norm(vector) * np.linalg.norm(reference))
    both_zero = not vector.any() and not reference.any()
    return float(np.abs(vector - reference).max()), float(vector @ reference / norm) if norm else float(both_zero)
