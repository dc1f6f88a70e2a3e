"""Attention over blocks of queries: a `Loop` with standard operators that never holds the scores of all queries.

The scores of 8,192 tokens and 12 heads take 3.2 GB per layer, those of a block of 256 queries 100 MB. A block reads
only the keys that its queries can see: causal attention computes half of the products, a sliding window a few percent.
The graph of a layer, with `size` queries in each of `turns` blocks:

    scaled queries [batch, heads, tokens, in], padded to turns * size tokens
    Loop: Softmax(queries of the block @ keys + mask) @ values, as [batch, size, heads, out]
    all blocks [turns, batch, size, heads, out] -> [batch, tokens, heads, out]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .graph_builder import GraphBuilder
from .graph_editor import GraphEditor, Insertion

# The number of queries of a block, at most. With more, the scores take more memory and not less time.
BLOCK = 256
# The score of a key that a query does not see. Unlike minus infinity, it keeps a query without any visible key, which
# exists only in padding, from becoming NaN.
MASKED = -1e30
MASKED_NAME = "masked_score"
# The axes of the result of a Loop, [turns, batch, size, heads, out], with the batch first
_BATCH_FIRST = [1, 0, 2, 3, 4]


@dataclass(frozen=True)
class Band:
    """The keys that a query sees: at most `before` tokens to its left and `after` to its right; None is no limit."""

    before: int | None
    after: int | None

    @property
    def is_full(self) -> bool:
        """Whether every query sees every key."""
        return self.before is None and self.after is None


@dataclass(frozen=True)
class Attention:
    """The operands of an attention.

    - `queries`: `[batch, heads, tokens, in]`
    - `keys`: transposed, `[batch, heads, in, tokens]`
    - `values`: `[batch, heads, tokens, out]`
    - `padding`: 0 for tokens and `MASKED` for padding, `[batch, 1, 1, tokens]`
    - `scale`: the factor of the scores
    - `softcap`: the scores are `softcap * tanh(scores / softcap)`; 0 leaves them as they are
    """

    queries: ir.Value
    keys: ir.Value
    values: ir.Value
    padding: ir.Value
    band: Band
    scale: float
    softcap: float
    heads: int
    out: int


@dataclass(frozen=True)
class _Blocks:
    """The division of the tokens into blocks; all values are int64 `[1]`, `queries` are the padded ones."""

    queries: ir.Value
    tokens: ir.Value
    turns: ir.Value
    size: ir.Value
    total: ir.Value


class AttentionLoops:
    """Writes the loops of all attentions of one graph."""

    def __init__(self, editor: GraphEditor) -> None:
        self._editor = editor
        self._names = GraphBuilder()  # the bodies of all loops are its subgraphs, which makes their names unique

    def padding(self, node: ir.Node, mask: ir.Value) -> ir.Value:
        """Add the `padding` of `Attention` before a node, from a mask `[batch, tokens]` that is true for tokens."""
        chain = self._editor.before(node)
        seen = chain.op("Unsqueeze", mask, self._integers(1, 2))
        return chain.op("Where", seen, self._float("visible_score", 0), self._masked())

    def attend(self, node: ir.Node, attention: Attention) -> ir.Value:
        """Add an attention before a node, and return its result `[batch, tokens, heads, out]`."""
        chain = self._editor.before(node)
        blocks = self._divide(chain, attention)
        positions = None if attention.band.is_full else self._positions(chain, blocks)
        body = self._body(f"{node.name}_body", attention, blocks, positions)
        attributes = {"body": ir.Attr("body", ir.AttributeType.GRAPH, body)}
        (results,) = chain.node("Loop", [chain.op("Squeeze", blocks.turns), None], attributes=attributes)
        results = chain.op("Transpose", results, perm=_BATCH_FIRST)
        merged = chain.op("Reshape", results, self._integers(0, -1, attention.heads, attention.out))
        return chain.op("Slice", merged, self._integers(0), blocks.tokens, self._integers(1))

    def _divide(self, chain: Insertion, attention: Attention) -> _Blocks:
        """Scale the queries and divide them into as few blocks as possible.

        All blocks have the same size, which leaves the least padding. With a window, they have `BLOCK` queries, since
        the first key of a block must not depend on the number of tokens: sums in another order have other last bits.
        """
        tokens = chain.op("Shape", attention.queries, start=2, end=3)
        turns = self._divide_up(chain, tokens, self._integers(BLOCK))
        if attention.band.before is None:
            size = self._divide_up(chain, tokens, turns)
        else:
            size = chain.op("Min", tokens, self._integers(BLOCK))
        total = chain.op("Mul", turns, size)
        scaled = chain.op("Mul", attention.queries, self._float(f"scale_{attention.scale!r}", attention.scale))
        before = self._integers(0, 0, 0, 0, 0, 0)
        pads = chain.op("Concat", before, chain.op("Sub", total, tokens), self._integers(0), axis=0)
        return _Blocks(chain.op("Pad", scaled, pads), tokens, turns, size, total)

    def _divide_up(self, chain: Insertion, number: ir.Value, divisor: ir.Value) -> ir.Value:
        raised = chain.op("Sub", chain.op("Add", number, divisor), self._integers(1))
        return chain.op("Div", raised, divisor)

    def _positions(self, chain: Insertion, blocks: _Blocks) -> ir.Value:
        """Return the positions of the padded queries, int64 `[total]`."""
        zero, one = (chain.op("Squeeze", self._integers(number)) for number in (0, 1))
        return chain.op("Range", zero, chain.op("Squeeze", blocks.total), one)

    def _body(self, name: str, attention: Attention, blocks: _Blocks, positions: ir.Value | None) -> ir.Graph:
        body = self._names.subgraph()
        turn = body.input(f"{name}_turn", ir.DataType.INT64, [])
        condition = body.input(f"{name}_condition", ir.DataType.BOOL, [])
        start = body.op("Mul", body.op("Unsqueeze", turn, self._integers(0)), blocks.size)
        stop = body.op("Add", start, blocks.size)
        queries = body.op("Slice", blocks.queries, start, stop, self._integers(2))
        keys, values, mask = attention.keys, attention.values, attention.padding
        if positions is not None:
            first, last = self._span(body, attention.band, blocks, start, stop)
            keys = body.op("Slice", keys, first, last, self._integers(3))
            values = body.op("Slice", values, first, last, self._integers(2))
            rows, columns = body.op("Slice", positions, start, stop), body.op("Slice", positions, first, last)
            mask = body.op("Slice", mask, first, last, self._integers(3))
            mask = body.op("Where", self._visible(body, attention.band, rows, columns), mask, self._masked())
        scores = self._cap(body, body.op("MatMul", queries, keys), attention.softcap)
        weights = body.op("Softmax", body.op("Add", scores, mask), axis=-1)
        result = body.op("Transpose", body.op("MatMul", weights, values), perm=[0, 2, 1, 3])
        go_on = body.op("Identity", condition)
        result.type, go_on.type = ir.TensorType(ir.DataType.FLOAT), ir.TensorType(ir.DataType.BOOL)
        return body.graph([go_on, result], name)

    def _span(
        self, body: GraphBuilder, band: Band, blocks: _Blocks, start: ir.Value, stop: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        """Return the first key that the queries from `start` to `stop` see, and the one after the last."""
        first, last = self._integers(0), blocks.tokens
        if band.before is not None:
            first = body.op("Max", first, body.op("Sub", start, self._integers(band.before)))
        if band.after is not None:
            last = body.op("Min", last, body.op("Add", stop, self._integers(band.after)))
        return first, last

    def _visible(self, body: GraphBuilder, band: Band, rows: ir.Value, columns: ir.Value) -> ir.Value:
        """Return which keys of the positions `columns` the queries of the positions `rows` see."""
        distances, limits = body.op("Sub", body.op("Unsqueeze", rows, self._integers(1)), columns), []
        if band.before is not None:
            limits.append(body.op("LessOrEqual", distances, self._integers(band.before)))
        if band.after is not None:
            limits.append(body.op("GreaterOrEqual", distances, self._integers(-band.after)))
        return limits[0] if len(limits) == 1 else body.op("And", *limits)

    def _cap(self, body: GraphBuilder, scores: ir.Value, softcap: float) -> ir.Value:
        if not softcap:
            return scores
        cap = self._float(f"softcap_{softcap!r}", softcap)
        return body.op("Mul", body.op("Tanh", body.op("Div", scores, cap)), cap)

    def _integers(self, *numbers: int) -> ir.Value:
        return self._editor.constant(np.array(numbers, np.int64), name=f"integers_{'_'.join(map(str, numbers))}")

    def _float(self, name: str, number: float) -> ir.Value:
        return self._editor.constant(np.float32(number), name=name)

    def _masked(self) -> ir.Value:
        return self._float(MASKED_NAME, MASKED)


def attention_loops(graph: ir.Graph) -> list[ir.Node]:
    """Return the loops of a graph that `attend` has written."""
    return [node for node in graph if _products(node) is not None]


def looped_values(result: ir.Value | None) -> ir.Value | None:
    """Return the `values` of the attention that computes `result`; None if it is not the result of `attend`."""
    node = result.producer() if result is not None else None
    for expected in ("Slice", "Reshape", "Transpose"):
        if node is None or node.op_type != expected or (operand := node.inputs[0]) is None:
            return None
        node = operand.producer()
    products = _products(node)
    if products is None:
        return None
    values = products[1].inputs[1]
    part = _producer(values, "Slice")
    # The values of a window are sliced inside of the body
    return part.inputs[0] if part is not None and part.graph is products[1].graph else values


def float32_nodes(graph: ir.Graph) -> list[ir.Node]:
    """Return the nodes of attentions that stay float32 in a graph of float16: all loops, and those of their masks."""
    loops = attention_loops(graph)
    paddings = [node.inputs[index] for node, index in map(_padding_use, loops)]
    masks = {mask: None for value in paddings if (mask := _producer(value, "Where")) is not None}
    return [*loops, *masks]


def use_half_products(loop: ir.Node) -> None:
    """Compute the products of a loop in float16, and the rest of its attention in float32.

    All nodes around it except `float32_nodes` have been converted to float16, with casts around those.
    """
    products = _products(loop)
    assert products is not None  # the loop is one of `attention_loops`
    reader, index = _padding_use(loop)
    rounded = _producer(reader.inputs[index], "Cast")
    assert rounded is not None
    reader.replace_input_with(index, rounded.inputs[0])
    body = GraphEditor(loop.attributes["body"].as_graph())
    for value in (value for node in body.graph for value in node.outputs if not value.is_graph_output()):
        value.type = value.shape = None  # they are inferred again
    weights = products[1].inputs[0]
    assert weights is not None
    for value, dtype in ((weights, ir.DataType.FLOAT16), *((node.outputs[0], ir.DataType.FLOAT) for node in products)):
        producer, uses = value.producer(), list(value.uses())
        assert producer is not None
        body.redirect(value, body.after(producer).op("Cast", value, to=int(dtype)), uses)


def _padding_use(loop: ir.Node) -> tuple[ir.Node, int]:
    """Return the node in the body of a loop that reads the `padding` of its attention, and the index of this input."""
    body = loop.attributes["body"].as_graph()
    (softmax,) = [node for node in body if node.op_type == "Softmax"]
    add = _producer(softmax.inputs[0], "Add")
    assert add is not None
    where = _producer(add.inputs[1], "Where")
    if where is None or where.graph is not body:
        return add, 1
    part = _producer(where.inputs[1], "Slice")
    assert part is not None
    return part, 0


def _products(node: ir.Node | None) -> tuple[ir.Node, ir.Node] | None:
    """Return a loop's product of queries and keys, and that of weights and values; None for other nodes."""
    if node is None or node.op_type != "Loop":
        return None
    products = [each for each in node.attributes["body"].as_graph() if each.op_type == "MatMul"]
    if len(products) != 2 or _producer(products[1].inputs[0], "Softmax") is None:
        return None
    return products[0], products[1]


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type else None
