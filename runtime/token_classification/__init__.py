"""Recognize named entities with token classification models of transformers."""

from __future__ import annotations

from collections.abc import Sequence

from ...artifacts.ner import EntityCase
from ..loading import Figures, OpenArtifact, Report
from ..loading import load_tokenizer as load_preprocessor
from ..ner import replay_entities
from ..tokenizer import DEFAULT_TEXT_LIMIT, TextTokenizer
from .classifier import TokenClassifier, token_classifier_model

__all__ = ["load_preprocessor", "open_model", "replay"]


def open_model(
    opened: OpenArtifact[TextTokenizer], *, threads: int | None = None, text_limit: int = DEFAULT_TEXT_LIMIT
) -> TokenClassifier:
    """Create the classifier of the opened variant; its graph is loaded by the first call."""
    return TokenClassifier(token_classifier_model(opened), threads=threads, text_limit=text_limit)


def replay(opened: OpenArtifact[TextTokenizer], cases: Sequence[EntityCase], threads: int, report: Report) -> Figures:
    """Recognize the entities of the golden cases and compare them with the expected ones; see `replay_entities`."""
    artifact = opened.artifact
    variant = artifact.manifest.variants[opened.variant]
    return replay_entities(open_model(opened, threads=threads), cases, artifact.family, variant, report)
