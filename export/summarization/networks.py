"""Traces the networks of a BART model; gives the parts that `compose` puts together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from ..graph_files import OPSET, export_module
from .modules import DecoderStep, SourceEncoder

# The table that embeds tokens and, transposed, scores them; one initializer for all parts.
TABLE = "shared_table"


@dataclass(frozen=True)
class GenerateParts:
    """The networks of a summarizer as graphs of their own; an int8 variant has the same parts with other insides.

    - `embed`: ids int64 `[rows, columns]` to float32 `[rows, columns, hidden]`.
    - `encoder`, `step`: as `SourceEncoder` and `DecoderStep`.
    - `score`: hidden states float32 `[rows, hidden]` to logits `[rows, tokens]`.

    Initializers of `embed` and `score` that have one name are one tensor.
    """

    embed: ir.Model
    encoder: ir.Model
    step: ir.Model
    score: ir.Model
    layers: int
    heads: int
    head_size: int


def trace_parts(model: Any) -> GenerateParts:
    """The parts of a `BartForConditionalGeneration` in float32 on the CPU."""
    config = model.config
    layers, heads = config.decoder_layers, config.decoder_attention_heads
    size = config.d_model // heads
    table = model.model.shared.weight.detach().numpy()
    bias = model.final_logits_bias.detach().numpy()[0]
    return GenerateParts(
        embed=_embed(table),
        encoder=_trace_encoder(model),
        step=_trace_step(model, layers, heads, size),
        score=_score(table, bias),
        layers=layers,
        heads=heads,
        head_size=size,
    )


def part_model(graph: ir.Graph, domains: dict[str, int] | None = None) -> ir.Model:
    """A part around a graph written by hand."""
    graph.opset_imports.update({"": OPSET, **(domains or {})})
    return ir.Model(graph, ir_version=10)


def value(name: str, dtype: ir.DataType, *dims: int | str | None) -> ir.Value:
    """An input or output of a part."""
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(dims))


def initializer(name: str, array: np.ndarray) -> ir.Value:
    """A constant of a part."""
    return ir.val(name, const_value=ir.tensor(np.asarray(array, order="C"), name=name))


def _embed(table: np.ndarray) -> ir.Model:
    ids, found = value("ids", ir.DataType.INT64, "rows", "columns"), None
    weight = initializer(TABLE, table)
    node = ir.node("Gather", [weight, ids], name="embed", num_outputs=1)
    found = node.outputs[0]
    found.name = "embeddings"
    return part_model(ir.Graph([ids], [found], nodes=[node], initializers=[weight], name="embed"))


def _score(table: np.ndarray, bias: np.ndarray) -> ir.Model:
    hidden = value("hidden", ir.DataType.FLOAT, "rows", table.shape[1])
    constants = [initializer(TABLE, table)]
    if bias.any():
        constants.append(initializer("score_bias", bias))
    node = ir.node("Gemm", [hidden, *constants], {"transB": 1}, name="score", num_outputs=1)
    node.outputs[0].name = "logits"
    return part_model(ir.Graph([hidden], [node.outputs[0]], nodes=[node], initializers=constants, name="score"))


def _trace_encoder(model: Any) -> ir.Model:
    layers = model.config.decoder_layers
    embeddings = _random(3, 7, model.config.d_model)
    mask = torch.ones(3, 7, dtype=torch.int64)
    mask[1, 5:] = 0
    dims = {0: "batch", 1: "tokens"}
    outputs = ["cross_mask"] + [f"cross_{kind}_{layer}" for layer in range(layers) for kind in ("keys", "values")]
    inputs = {"embeddings": embeddings, "attention_mask": mask}
    return export_module(SourceEncoder(model), inputs, outputs, dict.fromkeys(inputs, dims))


def _trace_step(model: Any, layers: int, heads: int, size: int) -> ir.Model:
    beams, batch, slots, tokens = 4, 3, 6, 7  # all different, so that no two dimensions are taken for one
    inputs: dict[str, torch.Tensor | list[torch.Tensor]] = {
        "embeddings": _random(beams, batch, model.config.d_model),
        "places": torch.full((beams, 1), 3),
        "past_mask": torch.zeros(batch, beams, slots),
        "new_mask": torch.zeros(beams, beams),
        "cross_mask": torch.zeros(batch, 1, 1, tokens),
        "past_keys": [_random(slots, batch, heads, size) for _ in range(layers)],
        "past_values": [_random(slots, batch, heads, size) for _ in range(layers)],
        "cross_keys": [_random(batch, heads, size, tokens) for _ in range(layers)],
        "cross_values": [_random(batch, heads, tokens, size) for _ in range(layers)],
    }
    past = {0: "slots", 1: "batch"}
    dynamic = {
        "embeddings": {0: "beams", 1: "batch"},
        "places": {0: "beams"},
        "past_mask": {0: "batch", 1: "beams", 2: "slots"},
        "new_mask": {0: "beams", 1: "beams"},
        "cross_mask": {0: "batch", 3: "tokens"},
        "past_keys": past,
        "past_values": past,
        "cross_keys": {0: "batch", 3: "tokens"},
        "cross_values": {0: "batch", 2: "tokens"},
    }
    outputs = ["hidden", "mask"] + [f"{kind}_{layer}" for layer in range(layers) for kind in ("keys", "values")]
    return export_module(DecoderStep(model), inputs, outputs, dynamic)


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))
