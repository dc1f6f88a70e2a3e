"""Export of sentence-transformers pipelines: encoder, pooling, dense layers and normalization as one graph."""

from __future__ import annotations

from pathlib import Path

from ...artifacts.constants import EXACT
from ...artifacts.manifest import Variant
from ...artifacts.staging import BuildSettings, Staged
from ...graphs.files import describe_graph
from .pipeline import export_pipeline, load_pipeline


def export(folder: Path, settings: BuildSettings, staging: Path) -> Staged:
    """Export the pipeline in `folder`: fp32 graph, tokenizer and configuration files."""
    pipeline = load_pipeline(folder, allow_pickle=settings.options.allow_pickle)
    exported = export_pipeline(pipeline, folder, staging)
    sections = {"embedding": exported.embedding, "tokenizer": exported.tokenizer}
    graphs = {"encoder": describe_graph(exported.graph, exported.graph_file)}
    return Staged(staging, settings, sections, {EXACT: Variant(graphs, settings.gate(EXACT), None)})
