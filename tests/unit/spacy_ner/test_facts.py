"""The facts of a spaCy pipeline in its model card: the components that the artifact reproduces, and how to call it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from examples import examples
from onnx_ml_bridge.artifacts.card import model_card
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families.spacy_ner import SPACY_NER, SpacySpec

MANIFEST = read_artifact(examples()[SPACY_NER]).manifest


@pytest.mark.parametrize(
    ("sentences", "said"),
    [
        ("none", "the component ner alone: each text is one sentence"),
        ("parser", "the whole pipeline: its parser splits sentences"),
        ("given", "the pipeline with the sentence_starts that each call passes"),
    ],
)
def test_facts_and_card_say_what_the_artifact_reproduces(sentences, said):
    spec = replace(MANIFEST.section(SpacySpec), sentences=sentences)
    manifest = replace(MANIFEST, sections={"spacy": spec})
    assert SPACY_NER.facts(manifest)["reproduces"] == said
    card = model_card(manifest, SPACY_NER)
    assert f"- Reproduces: {said}.\n" in card and "- Scores: none.\n" in card and "language: en\n" in card
    assert ("sentence_starts=[[0, 10]]" in card) == (sentences == "given")
