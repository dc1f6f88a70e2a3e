"""SmoothQuant: outlier channels move from activations into weights, where they cost less.

Xiao et al., 2022 (arXiv:2211.10438): with `s = max|x| ** alpha / max|w| ** (1 - alpha)` per channel, `x / s` is
quantized instead of `x` and the weight's rows are multiplied by `s`. The division is folded into what computes `x`:

- a LayerNormalization's scale and bias; who else reads its result (a residual connection) gets it multiplied back;
- the value projection of an attention, whose output channels pass the weighted sum over tokens one to one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from .calibration import ActivationStats
from .edit import GraphEditor
from .int8_scheme import Floats
from .matmul_groups import Linear, LinearGroup, constant

# Measured on MiniLM with rounding by GPTQ: 0.5 gave a mean cosine of 0.99933, 0.7 0.99948, 0.8 the same.
ALPHA = 0.7
_MIN_SCALE = 1e-4
_MIN_PEAK = 1e-5


def smooth(editor: GraphEditor, groups: Sequence[LinearGroup], stats: dict[str, ActivationStats]) -> None:
    """Fold smoothing into the graph wherever the producer of an activation allows it."""
    linears = {linear.node.outputs[0]: linear for group in groups for linear in group.linears}
    for group in groups:
        producer = group.activation.producer()
        if producer is None or group.activation.name is None:
            continue
        seen = stats[group.activation.name]
        scales = smoothing_scales(seen.absmax, [linear.weight for linear in group.linears])
        if producer.op_type == "LayerNormalization":
            _fold_into_norm(editor, producer, group, scales)
        elif (value := _value_projection(group.activation, linears)) is not None:
            _fold_into_linear(editor, value, scales)
        else:
            continue
        seen.divide(scales)
        for linear in group.linears:
            linear.weight *= scales[:, None]


def smoothing_scales(absmax: Floats, weights: Sequence[Floats]) -> Floats:
    """Scale of each input channel `[in]`, for the weights `[in, out]` that read them."""
    peak = np.maximum(np.max([np.abs(weight).max(1) for weight in weights], axis=0), _MIN_PEAK)
    scales = np.maximum(absmax, _MIN_PEAK) ** ALPHA / peak ** (1 - ALPHA)
    result: Floats = np.maximum(scales, _MIN_SCALE).astype(np.float32)
    return result


def _fold_into_norm(editor: GraphEditor, norm: ir.Node, group: LinearGroup, scales: Floats) -> None:
    """Make the norm give `x / scales`, and everyone but the group's linears the product with `scales` again."""
    smoothed = editor.after(norm)
    weight, bias = constant(norm.inputs[1]), constant(norm.inputs[2]) if len(norm.inputs) > 2 else None
    if weight is None:
        raise ValueError(f"{norm.name} has no constant scale")
    x = group.activation
    others = [use for use in x.uses() if use.node not in [linear.node for linear in group.linears]]
    inputs = [norm.inputs[0], smoothed.constant("scale", weight.numpy() / scales)]
    if bias is not None:
        inputs.append(smoothed.constant("bias", bias.numpy() / scales))
    result = smoothed.node("LayerNormalization", inputs, norm.attributes)
    for linear in group.linears:
        linear.node.replace_input_with(0, result)
    if others or x.is_graph_output():
        restored = smoothed.node("Mul", [result, smoothed.constant("channels", scales)])
        editor.redirect(x, restored, others)
    group.activation = result
    if not x.uses() and not x.is_graph_output():
        editor.graph.remove(norm, safe=True)


def _fold_into_linear(editor: GraphEditor, linear: Linear, scales: Floats) -> None:
    linear.weight /= scales
    for use in linear.node.outputs[0].uses():
        bias = next(value for value in use.node.inputs if constant(value) is not None)
        index = list(use.node.inputs).index(bias)
        tensor = constant(bias)
        assert tensor is not None  # _value_projection has looked
        use.node.replace_input_with(index, editor.after(linear.node).constant("bias", tensor.numpy() / scales))


def _value_projection(activation: ir.Value, linears: dict[ir.Value, Linear]) -> Linear | None:
    """The linear whose output channels are the channels of `activation`, if that is an attention's result.

    The way back is Reshape, Transpose(0, 2, 1, 3), MatMul(probabilities, v), Transpose(0, 2, 1, 3), Reshape, Add of a
    constant bias, MatMul: heads are split and joined in the same order, so channel c of the result is a weighted sum
    of channel c alone.
    """
    product = _back(activation, ("Reshape", 0), ("Transpose", 0))
    if product is None or (matmul := product.producer()) is None or matmul.op_type != "MatMul":
        return None
    biased = _back(matmul.inputs[1], ("Transpose", 0), ("Reshape", 0))
    add = biased.producer() if biased is not None else None
    if biased is None or add is None or add.op_type != "Add" or len(biased.uses()) != 1:
        return None
    found = [linears[value] for value in add.inputs if value in linears]
    biased_by_constant = any(constant(value) is not None for value in add.inputs)
    if len(found) != 1 or not biased_by_constant or len(found[0].node.outputs[0].uses()) != 1:
        return None
    return found[0]


def _back(value: ir.Value | None, *path: tuple[str, int]) -> ir.Value | None:
    """Follow the inputs of the operators in `path` backwards; a Transpose must swap the two middle axes."""
    for op_type, index in path:
        node = value.producer() if value is not None else None
        if node is None or node.op_type != op_type:
            return None
        if op_type == "Transpose" and list(node.attributes.get_ints("perm", [])) != [0, 2, 1, 3]:
            return None
        value = node.inputs[index]
    return value
