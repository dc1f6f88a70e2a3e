"""Recognize named entities with token classification models of transformers."""

from __future__ import annotations

from collections.abc import Sequence

from ...artifacts.ner import EntityCase
from ..batching import DEFAULT_TOKEN_BUDGET
from ..handles.recognizer import Recognizer
from ..loading import Figures, OpenArtifact, Report
from ..loading import load_tokenizer as load_preprocessor
from ..ner import replay_entities
from ..options import BridgeOptions
from ..tokenizer import TextTokenizer
from .classifier import TokenClassifier, token_classifier_model

__all__ = ["load_preprocessor", "open_model", "replay"]


def open_model(opened: OpenArtifact[TextTokenizer], options: BridgeOptions, name: str | None = None) -> Recognizer:
    """Create the handle of the opened variant; its graph is loaded by the first call."""
    model = token_classifier_model(opened)
    backend = TokenClassifier(
        model,
        threads=options.threads,
        token_budget=opened.lane.run_tokens or DEFAULT_TOKEN_BUDGET,
        text_limit=options.text_limit,
        lane=opened.lane,
    )
    return Recognizer(backend, name=name, timeout=options.timeout)


def replay(opened: OpenArtifact[TextTokenizer], cases: Sequence[EntityCase], threads: int, report: Report) -> Figures:
    """Recognize the entities of the golden cases and compare them with the expected ones; see `replay_entities`."""
    return replay_entities(open_model(opened, BridgeOptions(threads=threads)), cases, opened, report)
