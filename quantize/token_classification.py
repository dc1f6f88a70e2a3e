"""The quantize stage of token classifiers."""

from __future__ import annotations

from ..artifacts.staging import Staged
from .encoder import quantize_encoder


def quantize(staged: Staged) -> Staged:
    """Add the int8 variant; its last product stays float32, since labels are decided there."""
    return quantize_encoder(staged, "token_classifier", "logits", exact=("logits",))
