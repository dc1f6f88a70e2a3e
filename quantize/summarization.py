"""The int8 variant of a summarizer: its networks one by one, and the table that embeds tokens and scores them.

The decoder is calibrated without a search: its step reads all tokens of a known sequence at once, as so many beams of
which each sees the ones before it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..artifacts.constants import EXACT, graph_file
from ..artifacts.families.summarization import SummarizationSpec
from ..artifacts.manifest import Variant
from ..artifacts.manifest_sections import TokenizerSpec
from ..artifacts.staging import Staged
from ..graphs.beam_search import compose_graph
from ..graphs.files import describe_graph, save_graph
from ..runtime import cpu
from ..runtime.graph_model import staged_model
from ..runtime.session import create_session
from ..runtime.summarization.summarize_options import SummarizeOptions
from ..runtime.summarization.summarizer import Summarizer
from ..runtime.tokenizer import TextTokenizer
from .calibration import Feeds, describe_calibration, read_calibration_texts
from .edit import GraphEditor
from .encoder import INT8
from .int8 import QuantizedGraph, describe_quantization, quantize_graph, quantize_rows_in_graph, quantize_table_lookup
from .int8_scheme import SYMMETRIC, noise_ratio_db, quantize_table
from .matmul_groups import constant

_MICROSOFT = "com.microsoft"
# Six bits and a sign: the table belongs to the outer graph, where no session option keeps products from saturating.
TABLE_LEVELS = 63
_MASKED = np.float32(-1e30)
# Rows that the error of the scores is measured on: each is multiplied with the whole table, twice.
_SCORED_ROWS = 1024
_ENCODER, _STEP = "encoder", "step"
_ROLE = "generate"
# Every text is summarized, and its summary read again token by token: so many give each product thousands of rows
_CALIBRATION_TEXTS = 96
_CALIBRATION_LENGTH = 64


def quantize(staged: Staged) -> Staged:
    """Add the int8 variant, calibrated on texts and on the greedy summaries that fp32 makes of them."""
    spec, tokenizer = staged.section(SummarizationSpec), staged.section(TokenizerSpec)
    texts = _calibration_texts(staged.settings.calibration)
    encoder = TextTokenizer(staged.folder / tokenizer.file, tokenizer)
    encoded = encoder.encode(texts)
    pairs = [encoder.pad([tokens]) for tokens in encoded]
    sequences = _greedy(staged, EXACT, texts)
    quantized = quantize_parts(
        staged.networks, [{"input_ids": ids, "attention_mask": mask} for ids, mask in pairs], sequences
    )
    file = graph_file("model", INT8)
    graph = compose_graph(quantized.parts, spec, tokenizer.pad_token_id)
    save_graph(graph, staged.folder, file)
    int8 = Variant({_ROLE: describe_graph(graph, file)}, staged.settings.gate(INT8), None)
    summaries = _greedy(staged.with_variant(INT8, int8), INT8, texts)
    same = sum(a == b for a, b in zip(sequences, summaries, strict=True)) / len(sequences)
    whole = QuantizedGraph(graph, quantized.layers, quantized.tables)
    calibration = describe_calibration(texts, sum(len(tokens.ids) for tokens in encoded))
    quantization = describe_quantization(whole, calibration, {"sequence_same": same})
    return staged.with_variant(INT8, replace(int8, quantization=quantization))


def _calibration_texts(path: Path | None) -> list[str]:
    """The configuration's texts, all of them; of the package's own set an even selection."""
    texts = read_calibration_texts(path)
    return texts if path else texts[:: max(1, len(texts) // _CALIBRATION_TEXTS)]


def _greedy(staged: Staged, variant: str, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of the summary of each text, searched with one beam."""
    model = staged_model(staged, variant, _ROLE, SummarizationSpec)
    longest = min(_CALIBRATION_LENGTH, model.spec.defaults.max_length)
    greedy = SummarizeOptions(num_beams=1, min_length=0, max_length=longest)
    return [summary.token_ids for summary in Summarizer(model).summarize_detailed([[text] for text in texts], greedy)]


class Networks(Protocol):
    """The parts of a summarizer, a dataclass: graphs with the inputs and outputs that the export gives them."""

    @property
    def embed(self) -> ir.Model:
        """Token ids to embeddings."""

    @property
    def encoder(self) -> ir.Model:
        """The source, embedded, to what every step reads of it."""

    @property
    def step(self) -> ir.Model:
        """One step of the decoder."""

    @property
    def score(self) -> ir.Model:
        """Hidden states to logits."""

    @property
    def layers(self) -> int:
        """Layers of the decoder."""

    @property
    def heads(self) -> int:
        """Heads of its attentions."""

    @property
    def head_size(self) -> int:
        """Channels of a head."""


Parts = TypeVar("Parts", bound=Networks)


@dataclass(frozen=True)
class QuantizedParts(Generic[Parts]):
    """The same parts in int8, the error of each product in dB, and the tables."""

    parts: Parts
    layers: dict[str, float]
    tables: tuple[str, ...]


def quantize_parts(parts: Parts, sources: Sequence[Feeds], sequences: Sequence[Sequence[int]]) -> QuantizedParts[Parts]:
    """Quantize every network, calibrated on texts and on the summaries of these texts.

    :param sources: `input_ids` and `attention_mask` of one text each, int64 `[1, tokens]`, without padding.
    :param sequences: the token ids that were generated for each, with the decoder's start token.
    """
    table = _table(parts.embed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, model in ((_ENCODER, parts.encoder), (_STEP, parts.step)):
            ir.save(model, folder / f"{name}.onnx", external_data=f"{name}.onnx_data", size_threshold_bytes=1024)
        texts = [_encoder_feeds(table, each) for each in sources]
        encoder = _quantized(folder, _ENCODER, texts)
        steps = _step_feeds(parts, folder, table, texts, sequences)
        step = _quantized(folder, _STEP, steps)
        hidden = _hidden(folder, steps)
    score, ratio = _quantize_score(parts.score, table, hidden)
    layers = {
        f"{name}.{layer}": value
        for name, found in ((_ENCODER, encoder), (_STEP, step))
        for layer, value in found.layers.items()
    }
    made = replace(parts, embed=_quantize_embed(parts.embed), encoder=encoder.model, step=step.model, score=score)  # type: ignore[type-var]
    return QuantizedParts(made, {**layers, "score": ratio}, (*encoder.tables, *step.tables, "shared_table"))


def _quantized(folder: Path, name: str, feeds: Sequence[Feeds]) -> QuantizedGraph:
    found = quantize_graph(folder, f"{name}.onnx", feeds)
    ir.external_data.load_to_model(found.model)  # the files it was read from are about to go
    return found


def _table(embed: ir.Model) -> NDArray[np.float32]:
    """The table of embeddings, float32 `[tokens, hidden]`."""
    tensor = constant(next(iter(embed.graph)).inputs[0])
    assert tensor is not None  # the export puts it there
    return tensor.numpy()


def _encoder_feeds(table: NDArray[np.float32], source: Feeds) -> Feeds:
    return {"embeddings": table[source["input_ids"]], "attention_mask": source["attention_mask"]}


def _step_feeds(
    parts: Networks,
    folder: Path,
    table: NDArray[np.float32],
    texts: Sequence[Feeds],
    sequences: Sequence[Sequence[int]],
) -> list[Feeds]:
    """One run of the step over each whole sequence; the cache has one slot, which nobody sees."""
    session = create_session(folder / f"{_ENCODER}.onnx", cpu.usable_cpus())
    names = [output.name for output in session.get_outputs()]
    empty = np.zeros((1, 1, parts.heads, parts.head_size), np.float32)
    past = {f"past_{kind}_{layer}": empty for kind in ("keys", "values") for layer in range(parts.layers)}
    feeds: list[Feeds] = []
    for text, sequence in zip(texts, sequences, strict=True):
        read = np.array(sequence[:-1], np.int64)  # the last token is generated but never read
        count = len(read)
        feeds.append(
            {
                "embeddings": table[read][:, None],
                "places": np.arange(count)[:, None],
                "past_mask": np.full((1, count, 1), _MASKED),
                "new_mask": np.triu(np.full((count, count), _MASKED), 1),
                **dict(zip(names, session.run(None, dict(text)), strict=True)),
                **past,
            }
        )
    return feeds


def _hidden(folder: Path, steps: Sequence[Feeds]) -> NDArray[np.float32]:
    """What the step gives for tokens evenly chosen from all sequences, float32 `[n, hidden]`."""
    session = create_session(folder / f"{_STEP}.onnx", cpu.usable_cpus())
    hidden = np.concatenate([session.run(["hidden"], dict(feeds))[0] for feeds in steps])
    return hidden[:: math.ceil(len(hidden) / _SCORED_ROWS)]


def _quantize_embed(embed: ir.Model) -> ir.Model:
    model = embed.clone()
    editor = GraphEditor(model.graph)
    quantize_table_lookup(editor, next(iter(model.graph)), TABLE_LEVELS)
    editor.drop_unused_constants()
    return model


def _quantize_score(score: ir.Model, table: NDArray[np.float32], hidden: NDArray[np.float32]) -> tuple[ir.Model, float]:
    """Score with the embeddings' own entries; gives the graph and its signal to noise ratio in dB."""
    model = score.clone()
    editor = GraphEditor(model.graph)
    product = next(iter(model.graph))
    x, weight = product.inputs[0], product.inputs[1]
    assert x is not None and weight is not None  # as the export writes it
    entries, scales = quantize_table(table, TABLE_LEVELS)
    chain = editor.before(product)
    q, scale = quantize_rows_in_graph(chain, x, SYMMETRIC)
    zero_point = editor.constant("zero_point_128", np.uint8(128))
    weights = [
        editor.constant(f"{weight.name}_int8", entries),
        editor.constant(f"{weight.name}_scores", scales[:, 0]),
        editor.constant(f"{weight.name}_zeros", np.zeros(len(table), np.int8)),
    ]
    one = editor.constant("one", np.float32(1))
    found = chain.node("QGemm", [q, one, zero_point, *weights], {"transB": 1}, domain=_MICROSOFT)
    found = chain.node("Mul", [found, scale])
    if len(product.inputs) > 2:
        found = chain.node("Add", [found, product.inputs[2]])
    editor.replace(product, found)
    editor.drop_unused_constants()
    model.graph.opset_imports[_MICROSOFT] = 1
    return model, noise_ratio_db(hidden @ table.T, hidden @ (entries * scales).T)
