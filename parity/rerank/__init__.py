"""The parity stage of rerankers. The original is the `CrossEncoder` of sentence-transformers."""

from __future__ import annotations

from pathlib import Path

from ...artifacts.manifest_sections import TokenizerSpec
from ...artifacts.staging import Staged
from ...runtime.rerank import CrossEncoder, staged_rerank_model
from ..proof import Proof
from .evaluation import RerankParity, evaluate, evidence, golden_cases, pairs_per_second
from .inputs import rerank_inputs
from .original import load_original, original_scores, predict
from .report import write_report

__all__ = ["evidence", "golden_cases", "prove", "write_report"]


def prove(staged: Staged, folder: Path) -> Proof[RerankParity]:
    """Compare every variant that the build settings name with the original model in `folder`."""
    settings, max_tokens = staged.settings, staged.section(TokenizerSpec).max_tokens
    original = load_original(folder, allow_pickle=settings.options.allow_pickle)
    inputs = rerank_inputs()
    references = [original_scores(original, entry, max_tokens) for entry in inputs]
    # The original is timed before ONNX Runtime starts its threads, because the thread pools would slow each other down
    speeds = {"original": pairs_per_second(lambda entry: predict(original, entry.query, entry.documents), inputs)}
    rerankers = {name: CrossEncoder(staged_rerank_model(staged, name)) for name in sorted(settings.variants)}
    parity = evaluate(inputs, references, rerankers, settings.gates)
    for name, reranker in rerankers.items():
        speeds[name] = pairs_per_second(lambda entry, own=reranker: own.score(entry.query, entry.documents), inputs)  # type: ignore[misc]
    return Proof(parity, speeds)
