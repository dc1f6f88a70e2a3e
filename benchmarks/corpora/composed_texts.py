"""Texts composed from the parity sentences, the same ones at every call."""

from __future__ import annotations

import random

from onnx_ml_bridge.parity.texts import PLAIN, parity_texts, text_group

_MAX_WORDS = 40
# Sentences per text: many texts are short and a few are long, about 60 tokens on average with a BERT vocabulary.
_SENTENCES = (1, 1, 1, 2, 2, 2, 3, 3, 4, 8)


def composed_texts(count: int) -> list[str]:
    """Return `count` texts of 1 to 8 sentences, in no order of length."""
    sentences = [text for text in parity_texts() if _is_sentence(text)]
    source = random.Random(20260401)
    return [" ".join(source.sample(sentences, source.choice(_SENTENCES))) for _ in range(count)]


def _is_sentence(text: str) -> bool:
    return text_group(text) == PLAIN and len(text.split()) <= _MAX_WORDS
