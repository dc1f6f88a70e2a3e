"""SmoothQuant: moves outlier channels from activations into weights, where they cost less precision.

Xiao et al., 2022 (arXiv:2211.10438). With `s = max|x| ** alpha / max|w| ** (1 - alpha)` per channel, `x / s` is
quantized instead of `x`, and the rows of the weight are multiplied by `s`. The division is folded into the producer of
`x`:

- into scale and bias of a LayerNormalization; for other readers of its result (a residual connection), the result is
  multiplied by `s` again;
- into the scale of an RMS norm, which is a Mul by a constant vector; other readers keep the Mul as it was;
- into the value projection of an attention: each channel of the attention's result is a weighted sum of one channel of
  the projection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ..graphs.attention_loop import looped_values
from ..graphs.graph_editor import GraphEditor
from .calibration import ActivationStats
from .int8_scheme import Floats
from .matmul_groups import Linear, LinearGroup, constant

# The exponent `alpha`. On MiniLM with weights rounded by GPTQ, the mean cosine is 0.99933 with the exponent 0.5, and
# 0.99948 with 0.7 and with 0.8.
ALPHA = 0.7
_MIN_SCALE = 1e-4
_MIN_PEAK = 1e-5


def smooth(editor: GraphEditor, groups: Sequence[LinearGroup], stats: Mapping[str, ActivationStats]) -> None:
    """Smooth every activation if the node that computes it can be changed; update groups and statistics in place."""
    linears = {linear.node.outputs[0]: linear for group in groups for linear in group.linears}
    for group in groups:
        producer = group.activation.producer()
        if producer is None or group.activation.name is None:
            continue
        observed = stats[group.activation.name]
        scales = smoothing_scales(observed.absmax, [linear.weight for linear in group.linears])
        if producer.op_type == "LayerNormalization":
            _fold_into_norm(editor, producer, group, scales)
        elif (vector := _constant_vector(producer, len(scales))) is not None:
            _fold_into_scale(editor, producer, vector, group, scales)
        elif (projection := _value_projection(group.activation, linears)) and projection.weight.shape[1] == len(scales):
            _fold_into_linear(editor, projection, scales)
        else:
            continue
        observed.divide(scales)
        for linear in group.linears:
            linear.weight *= scales[:, None]


def smoothing_scales(absmax: Floats, weights: Sequence[Floats]) -> Floats:
    """Return the scale of each input channel, `[in]`.

    :param absmax: the largest magnitude of each channel of the activation, `[in]`.
    :param weights: all weights `[in, out]` that it is multiplied with.
    """
    peak = np.maximum(np.max([np.abs(weight).max(1) for weight in weights], axis=0), _MIN_PEAK)
    scales = np.maximum(absmax, _MIN_PEAK) ** ALPHA / peak ** (1 - ALPHA)
    result: Floats = np.maximum(scales, _MIN_SCALE).astype(np.float32)
    return result


def _fold_into_norm(editor: GraphEditor, norm: ir.Node, group: LinearGroup, scales: Floats) -> None:
    """Add a LayerNormalization that computes `x / scales` for the linears of the group.

    Other readers of `x` read the result multiplied by `scales`.
    """
    chain = editor.after(norm)
    weight, bias = constant(norm.inputs[1]), constant(norm.inputs[2]) if len(norm.inputs) > 2 else None
    if weight is None:
        raise ValueError(f"{norm.name} has no constant scale")
    x = group.activation
    others = [use for use in x.uses() if use.node not in [linear.node for linear in group.linears]]
    inputs = [norm.inputs[0], chain.constant(weight.numpy() / scales, name="scale")]
    if bias is not None:
        inputs.append(chain.constant(bias.numpy() / scales, name="bias"))
    (smoothed,) = chain.node("LayerNormalization", inputs, attributes=norm.attributes)
    for linear in group.linears:
        linear.node.replace_input_with(0, smoothed)
    if others or x.is_graph_output():
        restored = chain.op("Mul", smoothed, chain.constant(scales, name="channels"))
        editor.redirect(x, restored, others)
    group.activation = smoothed
    if not x.uses() and not x.is_graph_output():
        editor.graph.remove(norm, safe=True)


def _constant_vector(node: ir.Node, channels: int) -> ir.Value | None:
    """Return the operand of a Mul that is a constant vector `[channels]`; None for any other node."""
    if node.op_type != "Mul" or node.domain != "":
        return None
    tensors = [(value, constant(value)) for value in node.inputs]
    vectors = [value for value, tensor in tensors if tensor is not None and list(tensor.shape) == [channels]]
    return vectors[0] if len(vectors) == 1 else None


def _fold_into_scale(
    editor: GraphEditor, product: ir.Node, vector: ir.Value, group: LinearGroup, scales: Floats
) -> None:
    """Add a Mul whose constant vector is divided by `scales`, for the linears of the group."""
    tensor = constant(vector)
    assert tensor is not None  # _constant_vector has checked it
    chain = editor.after(product)
    divided = chain.constant(tensor.numpy() / scales, name="scale")
    x = group.activation
    smoothed = chain.op("Mul", *(divided if value is vector else value for value in product.inputs))
    for linear in group.linears:
        linear.node.replace_input_with(0, smoothed)
    group.activation = smoothed
    if not x.uses() and not x.is_graph_output():
        editor.graph.remove(product, safe=True)


def _fold_into_linear(editor: GraphEditor, linear: Linear, scales: Floats) -> None:
    """Divide the output channels of a linear, and of the bias that is added to it if there is one, by `scales`."""
    linear.weight /= scales
    for use in linear.node.outputs[0].uses():
        for index, value in enumerate(use.node.inputs):
            tensor = constant(value) if use.node.op_type == "Add" else None
            if tensor is not None:
                divided = editor.after(linear.node).constant(tensor.numpy() / scales, name="bias")
                use.node.replace_input_with(index, divided)


def _value_projection(activation: ir.Value, linears: Mapping[ir.Value, Linear]) -> Linear | None:
    """Return the value projection of the attention that computes `activation`; None if no attention computes it.

    The operators from the activation backwards are: Reshape, attention, Transpose(0, 2, 1, 3), Reshape, an Add if the
    projection has a bias, MatMul. Heads are split and merged in the same order, so channel c of the result is a
    weighted sum of channel c of the projection.
    """
    values = _upstream(_weighted_values(_upstream(activation, ("Reshape", 0))), ("Transpose", 0), ("Reshape", 0))
    if values is None or len(values.uses()) != 1:
        return None
    if values in linears:
        return linears[values]
    add = values.producer()
    if add is None or add.op_type != "Add":
        return None
    projections = [linears[value] for value in add.inputs if value is not None and value in linears]
    has_constant_bias = any(constant(value) is not None for value in add.inputs)
    if len(projections) != 1 or not has_constant_bias or len(projections[0].node.outputs[0].uses()) != 1:
        return None
    return projections[0]


def _weighted_values(result: ir.Value | None) -> ir.Value | None:
    """Return the values `[batch, heads, tokens, size]` of the attention that computes `result`; None for other nodes.

    The attention is a loop over blocks of queries, or the operators MatMul(probabilities, values) and
    Transpose(0, 2, 1, 3).
    """
    if (values := looped_values(result)) is not None:
        return values
    product = _upstream(result, ("Transpose", 0))
    matmul = product.producer() if product is not None else None
    return matmul.inputs[1] if matmul is not None and matmul.op_type == "MatMul" else None


def _upstream(value: ir.Value | None, *path: tuple[str, int]) -> ir.Value | None:
    """Return the input of a chain of operators that computes `value`; None if other operators compute it.

    A Transpose must swap the two middle axes.

    :param path: for each operator, from the last to the first: its type, and the index of the input to follow.
    """
    for op_type, index in path:
        node = value.producer() if value is not None else None
        if node is None or node.op_type != op_type:
            return None
        if op_type == "Transpose" and list(node.attributes.get_ints("perm", [])) != [0, 2, 1, 3]:
            return None
        value = node.inputs[index]
    return value
