"""The graphs that a summarizer's graph is composed of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..files import IR_VERSION, OPSET
from ..graph_builder import initializer

# The name of the table that embeds tokens. Transposed, the same table computes the scores of tokens.
TABLE = "shared_table"
# The value that is added to the attention scores of masked tokens. It is far below every score, but finite: a row in
# which every token is masked gets equal weights instead of NaN.
MASKED = -1e30


@dataclass(frozen=True)
class SummarizerParts:
    """The parts of an encoder-decoder model as separate graphs; fp32 and int8 parts have the same interface.

    - `embed`: ids int64 `[rows, columns]` to float32 `[rows, columns, hidden]`.
    - `encoder`: `embeddings` float32 `[batch, tokens, hidden]` and `attention_mask` int64 `[batch, tokens]` to
      `cross_mask` float32 `[batch, 1, 1, tokens]`, 0 or `MASKED`, then for each decoder layer `cross_keys_LAYER`
      `[batch, heads, 1, head_size, tokens]` and `cross_values_LAYER` `[batch, heads, 1, tokens, head_size]`, float32.
    - `step`: one step of the decoder, which reads one token of every beam. The cache has a slot for every token that
      any beam has read; a mask holds 0 for the slots of a beam's own sequence, else `MASKED`. Inputs, in this order:
      `embeddings` float32 `[beams, batch, hidden]`, `positions` int64 `[beams, 1]`, `past_mask` float32
      `[batch, beams, slots]`, `new_mask` float32 `[beams, beams]` (the same for the tokens of this step), `cross_mask`,
      then `past_keys_LAYER` of all layers, `past_values_LAYER` of all layers (float32
      `[slots, batch, heads, head_size]`), `cross_keys_LAYER` and `cross_values_LAYER` of all layers. Outputs: `hidden`
      `[beams * batch, hidden]`, `mask` `[batch, beams, slots + beams]`, then for each layer `keys_LAYER` and
      `values_LAYER` `[slots + beams, batch, heads, head_size]`, float32.
    - `score`: hidden states float32 `[rows, hidden]` to logits `[rows, vocabulary]`.

    Initializers of `embed` and `score` with the same name are one tensor in the composed graph.
    """

    embed: ir.Model
    encoder: ir.Model
    step: ir.Model
    score: ir.Model
    layers: int
    heads: int
    head_size: int


def embed_model(table: NDArray[np.float32]) -> ir.Model:
    """Return the part `embed`: a lookup in the table `[vocabulary, hidden]`."""
    ids = ir.val("ids", ir.DataType.INT64, ["rows", "columns"])
    weight = initializer(TABLE, table)
    return _one_node_model("embed", "Gather", [weight, ids], "embeddings", [ids], [weight])


def score_model(table: NDArray[np.float32], bias: NDArray[np.float32]) -> ir.Model:
    """Return the part `score`: the product with the transposed table, plus a bias `[vocabulary]` that is not zero."""
    hidden = ir.val("hidden", ir.DataType.FLOAT, ["rows", table.shape[1]])
    constants = [initializer(TABLE, table)]
    if bias.any():
        constants.append(initializer("score_bias", bias))
    return _one_node_model("score", "Gemm", [hidden, *constants], "logits", [hidden], constants, {"transB": 1})


def _one_node_model(
    name: str,
    op_type: str,
    node_inputs: Sequence[ir.Value],
    output: str,
    inputs: Sequence[ir.Value],
    constants: Sequence[ir.Value],
    attributes: Mapping[str, int] | None = None,
) -> ir.Model:
    node = ir.node(op_type, node_inputs, attributes, name=name, num_outputs=1)
    node.outputs[0].name = output
    graph = ir.Graph(inputs, node.outputs, nodes=[node], initializers=constants, opset_imports={"": OPSET}, name=name)
    return ir.Model(graph, ir_version=IR_VERSION)
