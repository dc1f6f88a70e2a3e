"""The quantize stage of the toy family."""

from __future__ import annotations

from onnx_ml_bridge.artifacts.staging import Staged
from onnx_ml_bridge.quantize.encoder import quantize_encoder


def quantize(staged: Staged) -> Staged:
    return quantize_encoder(staged, "scorer", "score")
