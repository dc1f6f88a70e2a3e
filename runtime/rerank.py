"""Score and rank documents for a query with an artifact of a cross-encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..artifacts.checks import Artifact
from ..artifacts.errors import ArtifactError, InferenceError
from ..artifacts.families.rerank import RERANK, RerankCase, RerankSpec
from ..artifacts.manifest_sections import TokenizerSpec
from ..artifacts.staging import Staged
from .array_equality import ArrayEquality
from .batching import DEFAULT_TOKEN_BUDGET, plan_batches
from .cancellation import Stop, Watch
from .graph_model import GraphModel, graph_model, staged_model
from .handles.reranker import Ranked, Ranking, Reranker
from .lane import LaneOptions
from .lane_call import Call, run_of
from .loading import OTHER_RESULTS, Figures, OpenArtifact, Report, reporting
from .options import DEFAULT_TEXT_LIMIT, BridgeOptions, ModelInfo, check_limits
from .pair_tokenizer import Pair, PairTokenizer
from .rank_agreement import rank_figures, ranking
from .tokenizer import check_text

# The maximum number of documents that are tokenized together, which bounds the memory of a call.
_MAX_BLOCK = 1024
_OUTPUT = "scores"
ROLE = "pair_scorer"


@dataclass(frozen=True, eq=False)
class Scored(ArrayEquality):
    """The scores of n documents, in their order.

    `scores` is float32 `[n]`. `token_counts`, int64 `[n]`, includes the query and special tokens. `truncated`, bool
    `[n]`, is true if the query or the document was truncated.
    """

    scores: NDArray[np.float32]
    token_counts: NDArray[np.int64]
    truncated: NDArray[np.bool_]


RerankModel = GraphModel[RerankSpec, PairTokenizer]


def staged_rerank_model(staged: Staged, variant: str) -> RerankModel:
    """Return the model of one variant of a staged model."""
    return staged_model(staged, variant, ROLE, RerankSpec, PairTokenizer)


class CrossEncoder:
    """One variant of a cross-encoder, a `RerankerBackend`."""

    def __init__(
        self,
        model: RerankModel,
        *,
        threads: int | None = None,
        token_budget: int = DEFAULT_TOKEN_BUDGET,
        text_limit: int = DEFAULT_TEXT_LIMIT,
        lane: LaneOptions | None = None,
    ) -> None:
        """Wrap a model without loading its graph.

        :param threads: threads of the model; None uses all CPUs this process may use.
        :param token_budget: maximum number of padded tokens of one run; a single pair may have more.
        :param text_limit: maximum size of a query or a document in bytes of UTF-8.
        :param lane: how runs are scheduled.
        """
        check_limits(threads=threads, token_budget=token_budget, text_limit=text_limit)
        self.model = model
        self._token_budget = token_budget
        self._text_limit = text_limit
        self._session = model.session(threads)
        self.lane = model.lane(lane, self._session)
        self.max_tokens = model.tokenizer.spec.max_tokens
        self.load, self.unload = self._session.load, self._session.unload

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""
        return self.model.info(RERANK)

    def check_texts(self, query: object, documents: Sequence[object]) -> None:
        """Raise `InputError` if the query or a document cannot be tokenized."""
        check_text(query, None, self._text_limit)
        for index, document in enumerate(documents):
            check_text(document, index, self._text_limit)

    def rank(self, query: str, documents: Sequence[str], watch: Watch) -> Ranking:
        """Return all documents by descending score; documents of equal scores keep their order."""
        scored = self._scored(query, documents, watch)
        order = ranking(scored.scores).tolist()
        ranked = [Ranked(index, float(scored.scores[index]), bool(scored.truncated[index])) for index in order]
        return Ranking(ranked, int(scored.token_counts.sum()))

    def score(self, query: str, documents: Sequence[str], watch: Watch | None = None) -> Scored:
        """Score documents for a query; the result has the order of the documents.

        :param watch: can stop the call.
        :raises InputError: for an invalid query or document; nothing was computed then.
        """
        self.check_texts(query, documents)
        return self._scored(query, documents, Watch() if watch is None else watch)

    def _scored(self, query: str, documents: Sequence[str], watch: Watch) -> Scored:
        documents = list(documents)
        scores = np.empty(len(documents), np.float32)
        counts, truncated = np.empty(len(documents), np.int64), np.empty(len(documents), np.bool_)
        with self.lane.call(watch) as call:
            for start in range(0, len(documents), _MAX_BLOCK):
                pairs = self.model.tokenizer.encode(query, documents[start : start + _MAX_BLOCK], watch)
                counts[start : start + _MAX_BLOCK] = [len(pair.ids) for pair in pairs]
                truncated[start : start + _MAX_BLOCK] = [pair.truncated for pair in pairs]
                for batch, values in self._run(pairs, call, is_last=start + _MAX_BLOCK >= len(documents)):
                    scores[[start + index for index in batch]] = values
        return Scored(scores, counts, truncated)

    def _run(
        self, pairs: Sequence[Pair], call: Call, *, is_last: bool
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Yield the indices of the pairs of each batch and their scores."""
        budget = self._token_budget
        batches = list(plan_batches([len(pair.ids) for pair in pairs], budget))
        runs = [
            run_of([pairs[index] for index in batch], self._scores, key=_OUTPUT, max_tokens=budget) for batch in batches
        ]
        for number, values in call.run(runs, is_last=is_last):
            yield batches[number], values

    def _scores(self, pairs: Sequence[Pair], stop: Stop) -> NDArray[np.float32]:
        """Run pairs, those of several calls among them, and return their scores, float32 `[pairs]`."""
        feeds = self.model.tokenizer.pad(pairs)
        names = [tensor.name for tensor in self.model.graph.inputs]
        (values,) = self._session.run([_OUTPUT], {name: feeds[name] for name in names}, stop)
        if values.shape != (len(pairs),) or not np.isfinite(values).all():
            problem = f"returned scores of shape {values.shape}, or one that is not finite"
            raise InferenceError(f"{self.model.name} ({self.model.variant}) {problem}")
        return values


def load_preprocessor(artifact: Artifact) -> PairTokenizer:
    """Load the tokenizer of an artifact.

    :raises ArtifactError: with the code `tokenizer` if it is invalid.
    """
    spec = artifact.manifest.section(TokenizerSpec)
    return PairTokenizer(artifact.path(spec.file), spec)


def open_model(opened: OpenArtifact[PairTokenizer], options: BridgeOptions, name: str | None = None) -> Reranker:
    """Create the handle of the opened variant without loading its graph."""
    backend = _cross_encoder(opened, options)
    return Reranker(backend, name=name, timeout=options.timeout)


def _cross_encoder(opened: OpenArtifact[PairTokenizer], options: BridgeOptions) -> CrossEncoder:
    model = graph_model(opened, ROLE, opened.artifact.manifest.section(RerankSpec))
    return CrossEncoder(
        model,
        threads=options.threads,
        token_budget=opened.lane.run_tokens or DEFAULT_TOKEN_BUDGET,
        text_limit=options.text_limit,
        lane=opened.lane,
    )


def replay(opened: OpenArtifact[PairTokenizer], cases: Sequence[RerankCase], threads: int, report: Report) -> Figures:
    """Score the golden cases and compare the scores with the expected ones.

    :returns: the metrics `max_abs`, `order_differing`, `kendall_tau` and `top_1` over all cases.
    :raises ArtifactError: with the code `golden` if the tokens or the truncation of a case differ, or if a metric is
        outside of the variant's gate.
    """
    cross_encoder = _cross_encoder(opened, BridgeOptions(threads=threads))
    cross_encoder.load()
    answers = [cross_encoder.score(case.query, case.documents) for case in reporting(cases, report)]
    for number, (case, answer) in enumerate(zip(cases, answers, strict=True), start=1):
        expected = [(each.tokens, each.truncated) for each in case.expected]
        actual = list(zip(answer.token_counts.tolist(), answer.truncated.tolist(), strict=True))
        if actual != expected:
            raise ArtifactError("golden", f"tokens and truncated of case {number}", expected=expected, actual=actual)
    references = [np.array([each.score for each in case.expected]) for case in cases]
    figures = rank_figures(references, [answer.scores for answer in answers])
    gate = opened.artifact.manifest.variants[opened.variant].gate
    if misses := RERANK.gate_misses(figures, gate):
        raise ArtifactError("golden", f"variant {opened.variant}: {'; '.join(misses)}", hint=OTHER_RESULTS)
    return {name: figures[name] for name in ("max_abs", "order_differing", "kendall_tau", "top_1")}
