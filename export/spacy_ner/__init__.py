"""Export of spaCy's entity recognizer: ONNX graphs, portable tokenizer rules and tables."""

from __future__ import annotations

from pathlib import Path

from ...artifacts.constants import EXACT
from ...artifacts.manifest import Variant
from ...artifacts.staging import BuildSettings, Staged
from ...graphs.files import describe_graph
from .pipeline import export_pipeline, load_pipeline


def export(folder: Path, settings: BuildSettings, staging: Path) -> Staged:
    """Export the pipeline in `folder`: graphs, tokenizer rules and tables."""
    exported = export_pipeline(load_pipeline(folder), staging, settings.options.sentences or "none")
    graphs = {role: describe_graph(graph, file) for role, (graph, file) in exported.graphs.items()}
    return Staged(staging, settings, {"spacy": exported.spec}, {EXACT: Variant(graphs, settings.gate(EXACT), None)})
