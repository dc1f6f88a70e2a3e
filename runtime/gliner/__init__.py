"""Recognize entities of any labels with GLiNER models."""

from __future__ import annotations

from collections.abc import Sequence

from ...artifacts.checks import Artifact
from ...artifacts.families.gliner import GlinerCase, GlinerSpec
from ...artifacts.manifest_sections import TokenizerSpec
from ..batching import DEFAULT_TOKEN_BUDGET
from ..handles.recognizer import RecognizeOptions, Recognizer
from ..loading import Figures, OpenArtifact, Report
from ..ner import replay_entities
from ..options import BridgeOptions
from .preprocessor import GlinerPreprocessor
from .recognizer import GlinerRecognizer, gliner_model

__all__ = ["load_preprocessor", "open_model", "replay"]


def load_preprocessor(artifact: Artifact) -> GlinerPreprocessor:
    """Load the tokenizer and the characters of words."""
    tokenizer, spec = artifact.manifest.section(TokenizerSpec), artifact.manifest.section(GlinerSpec)
    return GlinerPreprocessor.read(artifact.root, tokenizer, spec)


def open_model(opened: OpenArtifact[GlinerPreprocessor], options: BridgeOptions, name: str | None = None) -> Recognizer:
    """Create the handle of the opened variant; its graph is loaded by the first call."""
    backend = GlinerRecognizer(
        gliner_model(opened),
        threads=options.threads,
        token_budget=opened.lane.run_tokens or DEFAULT_TOKEN_BUDGET,
        text_limit=options.text_limit,
        lane=opened.lane,
    )
    return Recognizer(backend, name=name, timeout=options.timeout)


def replay(
    opened: OpenArtifact[GlinerPreprocessor], cases: Sequence[GlinerCase], threads: int, report: Report
) -> Figures:
    """Recognize the entities of the golden cases and compare them with the expected ones; see `replay_entities`."""
    recognizer = open_model(opened, BridgeOptions(threads=threads))
    return replay_entities(recognizer, cases, opened, report, options_of)


def options_of(case: GlinerCase) -> RecognizeOptions:
    """Return the options of a golden case."""
    return RecognizeOptions(
        labels=case.labels,
        threshold=case.threshold,
        nested=case.nested,
        multi_label=case.multi_label,
        stride=case.stride,
    )
