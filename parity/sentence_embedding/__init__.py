"""The parity stage of sentence embeddings; the original is the pipeline of sentence-transformers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ...artifacts.families.sentence_embedding import EmbeddingSpec
from ...artifacts.originals import original_errors
from ...artifacts.staging import Staged
from ...runtime.graph_model import staged_model
from ...runtime.handles.embedder import Embedder
from ...runtime.sentence_embedding import SentenceEmbedder
from ...runtime.tokenizer import TextTokenizer
from ..proof import Proof
from .evaluation import EmbeddingParity, evaluate, evidence, golden_cases, texts_per_second
from .original import load_original
from .report import write_report

__all__ = ["evidence", "golden_cases", "prove", "write_report"]


def prove(staged: Staged, folder: Path) -> Proof[EmbeddingParity]:
    """Compare every variant that the build settings name with the original model in `folder`."""
    settings = staged.settings
    options = settings.options
    original = load_original(folder, options.pooling, allow_pickle=options.allow_pickle)
    embedders = {
        name: Embedder(SentenceEmbedder(staged_model(staged, name, "encoder", EmbeddingSpec, TextTokenizer)))
        for name in sorted(settings.variants)
    }
    # The original is timed before ONNX Runtime starts its threads, because the thread pools would slow each other down
    with original_errors("sentence-transformers"):
        speeds = {"original": texts_per_second(partial(original.encode, batch_size=32, show_progress_bar=False))}
    parity = evaluate(original, embedders, settings.gates, spec=staged.section(EmbeddingSpec))
    speeds |= {name: texts_per_second(embedder.embed) for name, embedder in embedders.items()}
    return Proof(parity, speeds)
