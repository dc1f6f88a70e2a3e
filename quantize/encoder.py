"""The quantize stage of families whose model is an encoder: one graph that reads each text in a single run."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..artifacts.constants import EXACT, FP16, graph_file
from ..artifacts.manifest import Calibration, Variant
from ..artifacts.manifest_sections import TokenizerSpec
from ..artifacts.staging import Staged
from ..graphs.files import describe_graph, save_graph
from ..runtime.graph_model import encoder_feeds
from ..runtime.tokenizer import TextTokenizer
from .calibration import Feeds, describe_calibration, read_calibration_texts
from .fp16 import add_fp16
from .int8 import describe_quantization, output_error, quantize_graph

INT8 = "int8"


def quantize_encoder(staged: Staged, role: str, output: str, exact: Collection[str] = ()) -> Staged:
    """Add the variants of an encoder that reads texts; int8 is calibrated on the texts that the build settings name.

    :param role: the role of the graph in the manifest.
    :param output: the output whose error is recorded.
    :param exact: outputs whose last product stays float32 (`int8.quantize_graph`).
    """
    staged = add_requested_fp16(staged, role)
    if not is_requested(staged, INT8):
        return staged
    spec = staged.section(TokenizerSpec)
    tokenizer = TextTokenizer(staged.folder / spec.file, spec)
    texts = read_calibration_texts(staged.settings.calibration)
    encoded = tokenizer.encode(texts)
    graph = staged.variants[EXACT].graphs[role]
    feeds = [encoder_feeds(graph, *tokenizer.pad([tokens])) for tokens in encoded]
    calibration = describe_calibration(texts, sum(len(tokens.ids) for tokens in encoded))
    return add_int8(staged, role, output, feeds, calibration, exact)


def is_requested(staged: Staged, variant: str) -> bool:
    """Return whether the build settings name a variant."""
    return variant in staged.settings.variants


def add_requested_fp16(staged: Staged, role: str) -> Staged:
    """Add the fp16 variant if the build settings name it."""
    return add_fp16(staged, role) if is_requested(staged, FP16) else staged


def add_int8(
    staged: Staged,
    role: str,
    output: str,
    feeds: Sequence[Feeds],
    calibration: Calibration,
    exact: Collection[str] = (),
) -> Staged:
    """Quantize the fp32 graph of a role, calibrated on `feeds`, and add the result as the int8 variant."""
    source, file = staged.variants[EXACT].graphs[role].file, graph_file("model", INT8)
    quantized = quantize_graph(staged.folder, source, feeds, exact=exact)
    save_graph(quantized.model, staged.folder, file)
    error = output_error(staged.folder, source, file, output, feeds)
    quantization = describe_quantization(quantized, calibration, error)
    graphs = {role: describe_graph(quantized.model, file)}
    return staged.with_variant(INT8, Variant(graphs, staged.settings.gate(INT8), quantization))
