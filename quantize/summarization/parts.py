"""Quantizes the parts of a summarizer (`SummarizerParts`) separately.

The decoder is calibrated without a search: one run of its step reads all tokens of a known sequence as if they were
beams. The mask lets each token see only the tokens before it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...graphs.files import save_graph
from ...graphs.graph_builder import MICROSOFT
from ...graphs.graph_editor import GraphEditor
from ...graphs.summarization.parts import MASKED, TABLE, SummarizerParts
from ...runtime import cpu
from ...runtime.session import create_session
from ..calibration import Feeds
from ..int8 import INT8_OPSETS, QuantizedGraph, quantize_graph, quantize_rows_in_graph, quantize_table_lookup
from ..int8_scheme import SYMMETRIC, Floats, noise_ratio_db, quantize_table
from ..matmul_groups import constant

# The largest magnitude of an entry of the int8 embedding table: half of the range of int8. On CPUs without VNNI,
# products with larger entries could saturate. The session option that prevents this elsewhere has no effect on this
# table, because the table belongs to the outer graph; see FORMAT.md, "int8 graphs".
TABLE_LEVELS = 63
# The number of rows with which the error of the scores is measured; each is multiplied with the whole table twice.
_SCORED_ROWS = 1024
_ENCODER, _STEP = "encoder", "step"


@dataclass(frozen=True)
class QuantizedParts:
    """The parts in int8, the error of each product in dB, and the names of the int8 tables."""

    parts: SummarizerParts
    layers: dict[str, float]
    tables: tuple[str, ...]


def quantize_parts(
    parts: SummarizerParts, sources: Sequence[Feeds], sequences: Sequence[Sequence[int]]
) -> QuantizedParts:
    """Quantize every part, calibrated on texts and on summaries of these texts.

    :param sources: `input_ids` and `attention_mask` of one text each, int64 `[1, tokens]`, without padding.
    :param sequences: the token ids of each text's summary, starting with the decoder's start token.
    """
    table = _table(parts.embed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, model in ((_ENCODER, parts.encoder), (_STEP, parts.step)):
            save_graph(model, folder, _file(name))
        texts = [_encoder_feeds(table, source) for source in sources]
        encoder = _quantize_network(folder, _ENCODER, texts)
        steps = _step_feeds(parts, folder, table, texts, sequences)
        step = _quantize_network(folder, _STEP, steps)
        hidden = _hidden_states(folder, steps)
    score, ratio = _quantize_score(parts.score, table, hidden)
    layers = {
        f"{name}.{layer}": value
        for name, quantized in ((_ENCODER, encoder), (_STEP, step))
        for layer, value in quantized.layers.items()
    }
    int8 = replace(parts, embed=_quantize_embed(parts.embed), encoder=encoder.model, step=step.model, score=score)
    return QuantizedParts(int8, {**layers, "score": ratio}, (*encoder.tables, *step.tables, TABLE))


def _file(name: str) -> str:
    return f"{name}.onnx"


def _quantize_network(folder: Path, name: str, feeds: Sequence[Feeds]) -> QuantizedGraph:
    quantized = quantize_graph(folder, _file(name), feeds)
    ir.external_data.load_to_model(quantized.model)  # load the weights, because the folder is temporary
    return quantized


def _table(embed: ir.Model) -> NDArray[np.float32]:
    """Return the embedding table, float32 `[vocabulary, hidden]`."""
    tensor = constant(next(iter(embed.graph)).inputs[0])
    assert tensor is not None  # the table is the first input of every node that `embed_model` creates
    return tensor.numpy()


def _encoder_feeds(table: NDArray[np.float32], source: Feeds) -> Feeds:
    return {"embeddings": table[source["input_ids"]], "attention_mask": source["attention_mask"]}


def _step_feeds(
    parts: SummarizerParts,
    folder: Path,
    table: NDArray[np.float32],
    texts: Sequence[Feeds],
    sequences: Sequence[Sequence[int]],
) -> list[Feeds]:
    """Return, for each sequence, the inputs of the run of the decoder step that reads the whole sequence.

    The cache of these runs is empty except for one masked slot.
    """
    session = create_session(folder / _file(_ENCODER), cpu.usable_cpus())
    names = [output.name for output in session.get_outputs()]
    empty = np.zeros((1, 1, parts.heads, parts.head_size), np.float32)
    past = {f"past_{kind}_{layer}": empty for kind in ("keys", "values") for layer in range(parts.layers)}
    feeds: list[Feeds] = []
    for text, sequence in zip(texts, sequences, strict=True):
        encoded = dict(zip(names, session.run(None, dict(text)), strict=True))
        # The last token is left out, because the decoder generates it but never reads it
        feeds.append({**_sequence_feeds(table, sequence[:-1]), **encoded, **past})
    return feeds


def _sequence_feeds(table: NDArray[np.float32], tokens: Sequence[int]) -> Feeds:
    """Return the inputs of the decoder step that depend only on the tokens of a sequence."""
    count = len(tokens)
    return {
        "embeddings": table[np.array(tokens, np.int64)][:, None],
        "positions": np.arange(count)[:, None],
        "past_mask": np.full((1, count, 1), MASKED, np.float32),
        "new_mask": np.triu(np.full((count, count), MASKED, np.float32), 1),
    }


def _hidden_states(folder: Path, steps: Sequence[Feeds]) -> NDArray[np.float32]:
    """Return hidden states of tokens that are evenly spaced over all sequences, float32 `[n, hidden]`."""
    session = create_session(folder / _file(_STEP), cpu.usable_cpus())
    hidden = np.concatenate([session.run(["hidden"], dict(feeds))[0] for feeds in steps])
    return hidden[:: math.ceil(len(hidden) / _SCORED_ROWS)]


def _quantize_embed(embed: ir.Model) -> ir.Model:
    model = embed.clone()
    editor = GraphEditor(model.graph)
    quantize_table_lookup(editor, next(iter(model.graph)), TABLE_LEVELS)
    editor.drop_unused_constants()
    return model


def _quantize_score(score: ir.Model, table: NDArray[np.float32], hidden: NDArray[np.float32]) -> tuple[ir.Model, float]:
    """Return the part `score` with the int8 entries of `embed`, and its signal-to-noise ratio in dB."""
    model = score.clone()
    editor = GraphEditor(model.graph)
    entries, scales = quantize_table(table, TABLE_LEVELS)
    _replace_scores(editor, next(iter(model.graph)), entries, scales)
    editor.drop_unused_constants()
    model.graph.opset_imports.update(INT8_OPSETS)
    return model, noise_ratio_db(hidden @ table.T, hidden @ (entries * scales).T)


def _replace_scores(editor: GraphEditor, product: ir.Node, entries: NDArray[np.int8], scales: Floats) -> None:
    """Replace the product with the transposed table by a product of bytes.

    :param product: the Gemm of `score_model`.
    :param entries: int8 `[vocabulary, hidden]`; `scales` are `[vocabulary, 1]`.
    """
    x, weight, *bias = product.inputs
    assert x is not None and weight is not None  # `score_model` creates the product with both inputs
    chain = editor.before(product)
    q, scale = quantize_rows_in_graph(chain, x, SYMMETRIC, entries.shape[1])
    zero_point = editor.constant(np.uint8(SYMMETRIC.zero_point), name=f"zero_point_{SYMMETRIC.zero_point}")
    weights = [
        editor.constant(entries, name=f"{weight.name}_int8"),
        editor.constant(scales[:, 0], name=f"{weight.name}_scores"),
        editor.constant(np.zeros(len(entries), np.int8), name=f"{weight.name}_zeros"),
    ]
    one = editor.constant(np.float32(1), name="one")
    logits = chain.op("QGemm", q, one, zero_point, *weights, domain=MICROSOFT, transB=1)
    logits = chain.op("Mul", logits, scale)
    editor.replace(product, chain.op("Add", logits, *bias) if bias else logits)
