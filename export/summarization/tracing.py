"""Traces the networks of a summarizer into the parts of `graphs.summarization`."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch

from ...graphs.summarization.parts import SummarizerParts, embed_model, score_model
from ..tracing import export_module
from .modules import DecoderStep, SourceEncoder


def trace_parts(model: Any) -> SummarizerParts:
    """Return the parts of a model of transformers in float32 on the CPU: a BART, mBART or Pegasus."""
    config = model.config
    layers, heads = config.decoder_layers, config.decoder_attention_heads
    head_size = config.d_model // heads
    table = model.model.shared.weight.detach().numpy()
    return SummarizerParts(
        embed=embed_model(table),
        encoder=_trace_encoder(model),
        step=_trace_step(model, layers, heads, head_size),
        score=score_model(table, model.final_logits_bias.detach().numpy()[0]),
        layers=layers,
        heads=heads,
        head_size=head_size,
    )


def _trace_encoder(model: Any) -> ir.Model:
    layers = model.config.decoder_layers
    mask = torch.ones(3, 7, dtype=torch.int64)
    mask[1, 5:] = 0
    outputs = ["cross_mask"] + [f"cross_{kind}_{layer}" for layer in range(layers) for kind in ("keys", "values")]
    inputs = {"embeddings": _random(3, 7, model.config.d_model), "attention_mask": mask}
    return export_module(SourceEncoder(model), inputs, outputs, {name: {0: "batch", 1: "tokens"} for name in inputs})


def _trace_step(model: Any, layers: int, heads: int, head_size: int) -> ir.Model:
    # The sizes of the example inputs all differ, so that the tracer does not treat two dimensions as one
    beams, batch, slots, tokens = 4, 3, 6, 7
    inputs: dict[str, torch.Tensor | list[torch.Tensor]] = {
        "embeddings": _random(beams, batch, model.config.d_model),
        "positions": torch.full((beams, 1), 3),
        "past_mask": torch.zeros(batch, beams, slots),
        "new_mask": torch.zeros(beams, beams),
        "cross_mask": torch.zeros(batch, 1, 1, tokens),
        "past_keys": [_random(slots, batch, heads, head_size) for _ in range(layers)],
        "past_values": [_random(slots, batch, heads, head_size) for _ in range(layers)],
        "cross_keys": [_random(batch, heads, 1, head_size, tokens) for _ in range(layers)],
        "cross_values": [_random(batch, heads, 1, tokens, head_size) for _ in range(layers)],
    }
    dynamic = {
        "embeddings": {0: "beams", 1: "batch"},
        "positions": {0: "beams"},
        "past_mask": {0: "batch", 1: "beams", 2: "slots"},
        "new_mask": {0: "beams", 1: "beams"},
        "cross_mask": {0: "batch", 3: "tokens"},
        "past_keys": {0: "slots", 1: "batch"},
        "past_values": {0: "slots", 1: "batch"},
        "cross_keys": {0: "batch", 4: "tokens"},
        "cross_values": {0: "batch", 3: "tokens"},
    }
    outputs = ["hidden", "mask"] + [f"{kind}_{layer}" for layer in range(layers) for kind in ("keys", "values")]
    return export_module(DecoderStep(model), inputs, outputs, dynamic)


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))
