"""Recognize named entities with an exported spaCy pipeline, without spaCy: rules, tables and ONNX graphs."""

from __future__ import annotations

from collections.abc import Sequence

from ...artifacts.ner import EntityCase
from ..loading import Figures, OpenArtifact, Report
from ..ner import replay_entities
from ..tokenizer import DEFAULT_TEXT_LIMIT
from .recognizer import SpacyModel, SpacyPreprocessor, SpacyRecognizer, load_preprocessor

__all__ = ["load_preprocessor", "open_model", "replay"]


def open_model(
    opened: OpenArtifact[SpacyPreprocessor], *, threads: int | None = None, text_limit: int = DEFAULT_TEXT_LIMIT
) -> SpacyRecognizer:
    """Create the recognizer of the opened variant; its graphs are loaded by the first call."""
    return SpacyRecognizer(SpacyModel.of(opened), threads=threads, text_limit=text_limit)


def replay(
    opened: OpenArtifact[SpacyPreprocessor], cases: Sequence[EntityCase], threads: int, report: Report
) -> Figures:
    """Recognize the entities of the golden cases and compare them with the expected ones; see `replay_entities`."""
    artifact = opened.artifact
    variant = artifact.manifest.variants[opened.variant]
    return replay_entities(open_model(opened, threads=threads), cases, artifact.family, variant, report)
