"""The model card of a sentence embedding model."""

from __future__ import annotations

from examples import examples
from onnx_ml_bridge.artifacts.card import model_card
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.facts import headline_row
from onnx_ml_bridge.artifacts.families.sentence_embedding import SENTENCE_EMBEDDING


def test_the_table_shows_the_metrics_of_the_task():
    card = model_card(read_artifact(examples()[SENTENCE_EMBEDDING]).manifest, SENTENCE_EMBEDDING)
    assert "| variant | graphs | max abs | cosine min | cosine mean |" in card and "generate_embedding" in card
    assert "- Vectors: 16 float32 numbers, of length 1, compared by cosine.\n" in card
    assert "- Prompts: query.\n" in card  # a prompt with an empty text is not listed


def test_metrics_are_formatted_in_one_line():
    figures = {"cosine_min": 1.0, "max_abs": 3e-7, "token_mismatches": 0.0}
    assert headline_row(SENTENCE_EMBEDDING, figures) == "max abs 3.0e-07, cosine min 1.00000"
