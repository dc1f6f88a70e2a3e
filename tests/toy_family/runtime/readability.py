"""The runtime of the toy family."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx_ml_bridge.artifacts.errors import ArtifactError
from onnx_ml_bridge.runtime.graph_model import GraphModel, encoder_feeds, graph_model
from onnx_ml_bridge.runtime.loading import Figures, OpenArtifact, Report, load_tokenizer, reporting
from onnx_ml_bridge.runtime.options import BridgeOptions
from onnx_ml_bridge.runtime.tokenizer import TextTokenizer

from ..artifacts.families.readability import ReadabilityCase, ReadabilitySpec

load_preprocessor = load_tokenizer


class ReadabilityScorer:
    """Scores texts one by one."""

    def __init__(self, model: GraphModel[ReadabilitySpec, TextTokenizer], threads: int | None = None) -> None:
        self._model = model
        self._session = model.session(threads)

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return scores of the texts, float32 `[n]`."""
        scores = []
        for tokens in self._model.tokenizer.encode(list(texts)):
            feeds = encoder_feeds(self._model.graph, *self._model.tokenizer.pad([tokens]))
            scores.append(self._session.run(["score"], feeds)[0][0])
        return np.array(scores, np.float32)


def open_model(
    opened: OpenArtifact[TextTokenizer], options: BridgeOptions, name: str | None = None
) -> ReadabilityScorer:
    spec = opened.artifact.manifest.section(ReadabilitySpec)
    return ReadabilityScorer(graph_model(opened, "scorer", spec), options.threads)


def replay(
    opened: OpenArtifact[TextTokenizer], cases: Sequence[ReadabilityCase], threads: int, report: Report
) -> Figures:
    scorer = open_model(opened, BridgeOptions(threads=threads))
    scores = np.concatenate([scorer.score([case.input]) for case in reporting(cases, report)])
    expected = np.array([case.score for case in cases])
    figures = {
        "max_abs": float(np.abs(scores - expected).max()),
        "correlation": float(np.corrcoef(scores, expected)[0, 1]),
    }
    gate = opened.artifact.manifest.variants[opened.variant].gate
    if misses := opened.artifact.family.gate_misses(figures, gate):
        raise ArtifactError("golden", "; ".join(misses))
    return dict(figures)
