"""Exports GLiNER models: one ONNX graph, from token ids to the logits of spans or words for every label."""

from __future__ import annotations

from .pipeline import export, export_model

__all__ = ["export", "export_model"]
