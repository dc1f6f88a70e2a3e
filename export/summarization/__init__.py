"""Export of BART (also distilled), mBART and Pegasus: one graph with encoder, decoder step and beam search."""

from __future__ import annotations

from pathlib import Path

from ...artifacts.constants import EXACT
from ...artifacts.manifest import Variant
from ...artifacts.staging import BuildSettings, Staged
from ...graphs.files import describe_graph
from .pipeline import export_model, load_model


def export(folder: Path, settings: BuildSettings, staging: Path) -> Staged:
    """Export the model in `folder`: fp32 graph, tokenizer and configuration files.

    The result also has the fp32 parts of the graph in memory, which the quantize stage reads.
    """
    loaded = load_model(folder, allow_pickle=settings.options.allow_pickle)
    exported = export_model(loaded, folder, staging)
    sections = {"summarization": exported.summarization, "tokenizer": exported.tokenizer}
    graphs = {"generate": describe_graph(exported.graph, exported.graph_file)}
    variants = {EXACT: Variant(graphs, settings.gate(EXACT), None)}
    return Staged(staging, settings, sections, variants, networks=exported.parts)
