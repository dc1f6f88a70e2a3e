"""Texts that are much longer than a model's limit are refused or truncated."""

import pytest
from examples import VALID
from onnx_ml_bridge import BridgeOptions, Embedder, InputError

TINY = VALID / "tiny-embedding"


def test_ten_megabytes_of_text_are_refused_or_cut():
    text = "the cat sleeps. " * 650_000
    with pytest.raises(InputError) as refused:
        Embedder.open(TINY).embed([text])
    assert refused.value.code == "input_too_large"
    assert Embedder.open(TINY, BridgeOptions(text_limit=20_000_000)).embed([text]).truncated.tolist() == [True]
