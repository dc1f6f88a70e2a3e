"""Texts composed of sentences of the parity texts; every call returns the same texts."""

from __future__ import annotations

import random

from onnx_ml_bridge.parity.texts import PLAIN, parity_texts, text_group

_MAX_WORDS = 40
# The number of sentences of every text is drawn from this list, so that many texts are short and a few are long. A text
# has about 60 tokens on average with a BERT vocabulary.
_SENTENCES = (1, 1, 1, 2, 2, 2, 3, 3, 4, 8)


def composed_texts(count: int) -> list[str]:
    """Return `count` texts of 1 to 8 sentences, which are not ordered by length."""
    sentences = [text for text in parity_texts() if _is_sentence(text)]
    source = random.Random(20260401)
    return [" ".join(source.sample(sentences, source.choice(_SENTENCES))) for _ in range(count)]


def _is_sentence(text: str) -> bool:
    return text_group(text) == PLAIN and len(text.split()) <= _MAX_WORDS
