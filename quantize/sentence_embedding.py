"""The quantize stage of sentence embeddings."""

from __future__ import annotations

from ..artifacts.staging import Staged
from .encoder import quantize_encoder


def quantize(staged: Staged) -> Staged:
    """Add the int8 variant of the encoder."""
    return quantize_encoder(staged, "encoder", "sentence_embedding")
