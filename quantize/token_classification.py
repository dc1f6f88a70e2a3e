"""The quantize stage of token classifiers."""

from __future__ import annotations

from ..artifacts.staging import Staged
from .encoder import quantize_encoder


def quantize(staged: Staged) -> Staged:
    """Add the int8 variant; the product of the logits stays float32, since it is small and decides the labels."""
    return quantize_encoder(staged, "token_classifier", "logits", exact=("logits",))
