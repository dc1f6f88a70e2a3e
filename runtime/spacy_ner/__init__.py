"""Recognize named entities with an exported spaCy pipeline, without spaCy: rules, tables and ONNX graphs."""

from __future__ import annotations

from collections.abc import Sequence

from ...artifacts.ner import EntityCase
from ..handles.recognizer import Recognizer
from ..loading import Figures, OpenArtifact, Report
from ..ner import replay_entities
from ..options import BridgeOptions
from .recognizer import SpacyModel, SpacyPreprocessor, SpacyRecognizer, load_preprocessor

__all__ = ["load_preprocessor", "open_model", "replay"]


def open_model(opened: OpenArtifact[SpacyPreprocessor], options: BridgeOptions, name: str | None = None) -> Recognizer:
    """Create the handle of the opened variant; its graphs are loaded by the first call."""
    model = SpacyModel.of(opened)
    backend = SpacyRecognizer(model, threads=options.threads, text_limit=options.text_limit, lane=opened.lane)
    return Recognizer(backend, name=name, timeout=options.timeout)


def replay(
    opened: OpenArtifact[SpacyPreprocessor], cases: Sequence[EntityCase], threads: int, report: Report
) -> Figures:
    """Recognize the entities of the golden cases and compare them with the expected ones; see `replay_entities`."""
    return replay_entities(open_model(opened, BridgeOptions(threads=threads)), cases, opened, report)
