"""Named entities from an artifact of either engine."""

from __future__ import annotations

from pathlib import Path

from ..artifacts.checks import Artifact
from ..artifacts.constants import NER, SPACY
from .entities import Recognizer
from .loading import AUTO, OpenArtifact, load_tokenizer, open_artifact
from .spacy_ner.recognizer import SpacyModel, SpacyRecognizer, SpacyTexts, load_spacy_texts
from .token_classification.classifier import TokenClassifier, token_classifier_model
from .tokenizer import DEFAULT_TEXT_LIMIT, TextTokenizer

NerTexts = SpacyTexts | TextTokenizer


def open_recognizer(
    root: str | Path, variant: str = AUTO, *, threads: int | None = None, text_limit: int = DEFAULT_TEXT_LIMIT
) -> Recognizer:
    """Check the artifact at `root` and wrap one of its variants.

    :raises ArtifactError: with the code of the first check that fails.
    """
    return recognizer_of(open_artifact(root, NER, variant, load_ner_texts), threads=threads, text_limit=text_limit)


def load_ner_texts(artifact: Artifact) -> NerTexts:
    """The rules and tables of a spaCy pipeline, or a tokenizer."""
    return load_spacy_texts(artifact) if artifact.manifest.engine == SPACY else load_tokenizer(artifact)


def recognizer_of(
    opened: OpenArtifact[NerTexts], *, threads: int | None = None, text_limit: int = DEFAULT_TEXT_LIMIT
) -> Recognizer:
    """The recognizer of a checked artifact's engine."""
    artifact, variant, texts = opened.artifact, opened.variant, opened.texts
    if isinstance(texts, SpacyTexts):
        model = SpacyModel.of(OpenArtifact(artifact, variant, texts))
        return SpacyRecognizer(model, threads=threads, text_limit=text_limit)
    classifier = token_classifier_model(OpenArtifact(artifact, variant, texts))
    return TokenClassifier(classifier, threads=threads, text_limit=text_limit)
