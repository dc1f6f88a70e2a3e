"""Texts that are much longer than a model's limit are refused or truncated."""

import pytest
from examples import VALID
from onnx_ml_bridge import InputError
from onnx_ml_bridge.runtime.sentence_embedding import SentenceEmbedder

TINY = VALID / "tiny-embedding"


def test_ten_megabytes_of_text_are_refused_or_cut():
    text = "the cat sleeps. " * 650_000
    with pytest.raises(InputError) as refused:
        SentenceEmbedder.open(TINY).embed([text])
    assert refused.value.code == "input_too_large"
    assert SentenceEmbedder.open(TINY, text_limit=20_000_000).embed([text]).truncated.tolist() == [True]
