"""Exports the attention of long texts as a loop over blocks of queries, whose memory grows with the tokens alone.

While a model is traced, two functions replace its attention and its masks through transformers' `AttentionInterface`
and `AttentionMaskInterface`. They add symbolic nodes to the graph, which `graphs.attention_loop` makes loops of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

from ..graphs.attention_loop import Attention, AttentionLoops, Band
from ..graphs.files import clean
from ..graphs.graph_editor import GraphEditor
from ..graphs.token_sums import sum_in_blocks

logger = logging.getLogger(__name__)
# Models that read at most this number of tokens keep their plain attention
MAX_PLAIN_TOKENS = 1024
_NAME = "onnx_ml_bridge_blocks"
_DOMAIN = "onnx_ml_bridge"
_ATTENTION, _MASK = "BlockAttention", "BlockMask"
# Arguments of an attention that do not change its result: the mask already has the causality and the window.
_IGNORED = ("deterministic", "dropout", "is_causal", "output_attentions", "position_ids", "sliding_window", "use_cache")
# The limits of a mask on the tokens before and after a query: `_NO_LIMIT` for no limit, `_NO_BAND` for another mask
_NO_LIMIT = -1
_NO_BAND = (-2, -2)


def trace_in_blocks(model: Any, max_tokens: int, trace: Callable[[], ir.Model]) -> ir.Model:
    """Trace a model so that its attention runs over blocks of queries, if it reads more than `MAX_PLAIN_TOKENS`.

    Its sums over the tokens, such as that of a mean, then become sums of blocks. Attention stays plain, with a warning
    that says why, if it does not use transformers' interfaces (DeBERTa, MPNet, T5) or computes more than they describe.

    :param model: the model of transformers that `trace` traces.
    :param max_tokens: the length of the longest text.
    :param trace: returns the traced graph.
    """
    if max_tokens <= MAX_PLAIN_TOKENS:
        return trace()
    graph = _trace_in_blocks(model, max_tokens, trace)
    sum_in_blocks(graph.graph)
    clean(graph)
    return graph


def _trace_in_blocks(model: Any, max_tokens: int, trace: Callable[[], ir.Model]) -> ir.Model:
    """Return the graph with loops, or the plain graph if there cannot be loops."""
    problem: str | None = f"{type(model).__name__} does not use AttentionInterface"
    if model._supports_attention_backend and model._can_set_attn_implementation():
        with _symbolic_attention(model, max_tokens):
            graph = trace()
        problem = _problem(graph.graph)
        if not problem:
            _write_loops(graph)
            return graph
    logger.warning("the attention of %d tokens is not divided into blocks: %s", max_tokens, problem)
    return trace()


@contextmanager
def _symbolic_attention(model: Any, max_tokens: int) -> Iterator[None]:
    """Inside this context, the model's attention and its masks are symbolic nodes."""

    def mask(attention_mask: Tensor | None, mask_function: Callable[..., Tensor], **_: Any) -> Tensor | None:
        return None if attention_mask is None else _mask(attention_mask, mask_function, max_tokens)

    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, mask)
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Return a symbolic attention `[batch, tokens, heads, out]`, as transformers' attention functions do."""
    groups = query.shape[1] // key.shape[1]
    unknown = sorted(name for name, given in others.items() if given is not None and name not in _IGNORED)
    attributes: dict[str, Any] = {
        "scale": float(query.shape[-1] ** -0.5 if scaling is None else scaling),
        "softcap": float(softcap or 0),
        "unknown": ", ".join(unknown),
    }
    inputs = (query, _repeat(key, groups).transpose(2, 3), _repeat(value, groups), attention_mask)
    shape = (query.shape[0], query.shape[2], query.shape[1], value.shape[3])
    name = f"{_DOMAIN}::{_ATTENTION}"
    return torch.onnx.ops.symbolic(name, inputs, attributes, dtype=query.dtype, shape=shape, version=1), None


def _repeat(heads: Tensor, groups: int) -> Tensor:
    """Repeat every head `[batch, heads, tokens, size]` for each query head that shares it."""
    return heads if groups == 1 else heads.repeat_interleave(groups, 1)


def _mask(attention_mask: Tensor, mask_function: Callable[..., Tensor], max_tokens: int) -> Tensor:
    """Return a symbolic mask `[batch, 1, 1, tokens]`, as transformers' mask functions do.

    :param attention_mask: bool `[batch, tokens]`.
    :param mask_function: returns whether a query sees a key, by the indices of text, head, query and key.
    """
    # In a thread of its own, the tensors of the function are no part of the traced graph
    with ThreadPoolExecutor(1) as thread:
        limits = thread.submit(_limits, mask_function, max_tokens).result()
    shape = (attention_mask.shape[0], 1, 1, attention_mask.shape[1])
    return torch.onnx.ops.symbolic(
        f"{_DOMAIN}::{_MASK}", (attention_mask,), {"limits": list(limits)}, dtype=torch.float32, shape=shape, version=1
    )


def _limits(mask_function: Callable[..., Tensor], max_tokens: int) -> tuple[int, int]:
    """Return how many tokens every query sees before and after itself, or `_NO_BAND` if it sees others."""
    positions = torch.arange(max_tokens)

    def seen(queries: Tensor) -> Tensor:
        zero = torch.zeros((), dtype=torch.int64)
        return mask_function(zero, zero, queries[:, None], positions[None, :]).expand(len(queries), max_tokens)

    if type(seen(positions[:1])) is not Tensor:  # a traced tensor: the function depends on the texts
        return _NO_BAND
    before = int(seen(positions[-1:]).sum()) - 1
    after = int(seen(positions[:1]).sum()) - 1
    queries = torch.unique(torch.linspace(0, max_tokens - 1, 65).long())
    distances = queries[:, None] - positions[None, :]
    if not torch.equal(seen(queries), (distances <= before) & (distances >= -after)):
        return _NO_BAND
    return _limit(before, max_tokens), _limit(after, max_tokens)


def _limit(seen: int, max_tokens: int) -> int:
    return _NO_LIMIT if seen == max_tokens - 1 else seen


def _problem(graph: ir.Graph) -> str | None:
    """Return why the symbolic nodes of a graph cannot become loops; None if they can."""
    attentions, masks = _nodes(graph, _ATTENTION), _nodes(graph, _MASK)
    if not attentions:
        return "no layer uses AttentionInterface"
    if unknown := {node.attributes.get_string("unknown") for node in attentions} - {""}:
        return f"a layer has {', '.join(sorted(unknown))}"
    if any(mask is None or mask.producer() not in masks for mask in (node.inputs[3] for node in attentions)):
        return "a layer has a mask of its own"
    if any(use.node not in attentions for mask in masks for use in mask.outputs[0].uses()):
        return "a mask is not only used by attention"
    if any(tuple(mask.attributes.get_ints("limits")) == _NO_BAND for mask in masks):
        return "a mask is neither full, nor causal, nor a sliding window"
    return None


def _nodes(graph: ir.Graph, op_type: str) -> list[ir.Node]:
    return [node for node in graph if node.domain == _DOMAIN and node.op_type == op_type]


def _write_loops(model: ir.Model) -> None:
    """Replace the symbolic nodes of a traced graph."""
    editor = GraphEditor(model.graph)
    loops = AttentionLoops(editor)
    masks: dict[ir.Value | None, tuple[ir.Value, Band]] = {}
    for node in _nodes(model.graph, _MASK):
        assert node.inputs[0] is not None
        masks[node.outputs[0]] = loops.padding(node, node.inputs[0]), _band(node)
    for node in _nodes(model.graph, _ATTENTION):
        result = loops.attend(node, _attention(node, *masks[node.inputs[3]]))
        result.type, result.shape = node.outputs[0].type, node.outputs[0].shape
        editor.replace(node, result)
    for node in _nodes(model.graph, _MASK):
        model.graph.remove(node, safe=True)
    model.graph.opset_imports.pop(_DOMAIN)


def _attention(node: ir.Node, padding: ir.Value, band: Band) -> Attention:
    """Return the operands of a symbolic attention."""
    queries, keys, values, _ = node.inputs
    shape, attributes = node.outputs[0].shape, node.attributes
    assert queries is not None and keys is not None and values is not None and shape is not None
    heads, out = shape[2], shape[3]
    assert isinstance(heads, int) and isinstance(out, int)
    return Attention(
        queries=queries,
        keys=keys,
        values=values,
        padding=padding,
        band=band,
        scale=attributes.get_float("scale", 1.0),
        softcap=attributes.get_float("softcap", 0.0),
        heads=heads,
        out=out,
    )


def _band(mask: ir.Node) -> Band:
    before, after = (None if limit == _NO_LIMIT else limit for limit in mask.attributes.get_ints("limits"))
    return Band(before, after)
