"""Export of sentence-transformers pipelines: encoder, pooling, dense layers and normalization as one graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sentence_transformers import SentenceTransformer

from ...artifacts.constants import EXACT
from ...artifacts.errors import BuildError
from ...artifacts.families.sentence_embedding import EmbeddingSpec
from ...artifacts.manifest import Variant
from ...artifacts.staging import BuildSettings, Staged
from ...graphs.files import describe_graph
from .pipeline import EmbeddingExport, export_pipeline, load_pipeline
from .plain import load_plain, save_modules
from .static import export_static, is_model2vec, is_static, load_model2vec


def export(folder: Path, settings: BuildSettings, staging: Path) -> Staged:
    """Export the pipeline in `folder`: fp32 graph, tokenizer and configuration files."""
    options = settings.options
    exported = load_and_export(folder, staging, options.pooling, allow_pickle=options.allow_pickle)
    embedding = with_dimensions(exported.embedding, options.dimensions or ())
    sections = {"embedding": embedding, "tokenizer": exported.tokenizer}
    graphs = {"encoder": describe_graph(exported.graph, exported.graph_file)}
    return Staged(staging, settings, sections, {EXACT: Variant(graphs, settings.gate(EXACT), None)})


def load_and_export(
    folder: Path, staging: Path, pooling: str | None = None, *, allow_pickle: bool = False
) -> EmbeddingExport:
    """Export a pipeline, a plain checkpoint with the named pooling, or static embeddings.

    :raises BuildError: with the code `unsupported_model`, `unsafe_checkpoint`, `config` or `source`.
    """
    pipeline = _load(folder, pooling, allow_pickle=allow_pickle)
    if is_static(pipeline):
        return export_static(pipeline, folder, staging)
    exported = export_pipeline(pipeline, folder, staging)
    if pooling is not None:
        save_modules(pipeline, staging)
    return exported


def with_dimensions(embedding: EmbeddingSpec, dimensions: Sequence[int]) -> EmbeddingSpec:
    """Return the section with the dimensions that calls may ask for, ascending.

    :raises BuildError: with the code `config` for a number that occurs twice, is below 1, or exceeds `dim`.
    """
    if len({*dimensions}) != len(dimensions) or not all(1 <= each <= embedding.dim for each in dimensions):
        expected = f"different numbers from 1 to {embedding.dim}"
        raise BuildError("config", "options.dimensions", expected=expected, actual=list(dimensions))
    return replace(embedding, dimensions=tuple(sorted(dimensions)))


def _load(folder: Path, pooling: str | None, *, allow_pickle: bool) -> SentenceTransformer:
    if pooling is not None:
        return load_plain(folder, pooling, allow_pickle=allow_pickle)
    if is_model2vec(folder):
        return load_model2vec(folder)
    return load_pipeline(folder, allow_pickle=allow_pickle)
