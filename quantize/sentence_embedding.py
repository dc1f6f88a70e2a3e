"""The quantize stage of sentence embeddings."""

from __future__ import annotations

from ..artifacts.staging import Staged
from .encoder import quantize_encoder


def quantize(staged: Staged) -> Staged:
    """Quantize the encoder of the fp32 variant, and add the result as the int8 variant."""
    return quantize_encoder(staged, "encoder", "sentence_embedding")
