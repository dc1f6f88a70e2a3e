"""The parity stage of the toy family."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx_ml_bridge.artifacts.manifest import Manifest
from onnx_ml_bridge.artifacts.staging import Staged
from onnx_ml_bridge.parity.page import Tile, write_page
from onnx_ml_bridge.parity.proof import Proof, check_gate
from onnx_ml_bridge.parity.texts import parity_texts
from onnx_ml_bridge.runtime.graph_model import staged_model
from onnx_ml_bridge.runtime.tokenizer import TextTokenizer
from tokenizers import Tokenizer

from ...artifacts.families.readability import READABILITY, ReadabilityCase, ReadabilitySpec
from ...export.readability import load_model
from ...runtime.readability import ReadabilityScorer


@dataclass(frozen=True)
class Comparison:
    metrics: dict[str, float]


@dataclass(frozen=True)
class ReadabilityParity:
    inputs: list[str]
    original: list[float]
    comparisons: dict[str, Comparison]
    failures: dict[str, list[str]]


def prove(staged: Staged, folder: Path) -> Proof[ReadabilityParity]:
    model, tokenizer = load_model(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = [text for text in parity_texts()[::6] if text.strip()]
    original = [_score(model, tokenizer.encode(text).ids) for text in texts]
    comparisons = {name: _compare(staged, name, texts, original) for name in sorted(staged.settings.variants)}
    gates = staged.settings.gates
    failures = {name: check_gate(READABILITY.metrics, each.metrics, gates[name]) for name, each in comparisons.items()}
    return Proof(ReadabilityParity(texts, original, comparisons, failures), {})


def evidence(parity: ReadabilityParity) -> dict[str, Any]:
    return {"variants": {name: {"metrics": each.metrics} for name, each in parity.comparisons.items()}}


def golden_cases(parity: ReadabilityParity) -> list[ReadabilityCase]:
    return [ReadabilityCase(*pair) for pair in zip(parity.inputs[::10], parity.original[::10], strict=True)]


def write_report(proof: Proof[ReadabilityParity], manifest: Manifest, path: Path) -> None:
    tiles = [Tile(str(len(proof.parity.inputs)), "texts scored", "by the original and every variant")]
    write_page(__package__, READABILITY, proof.parity, manifest, path, tiles=tiles, plots=[])


def _score(model: torch.nn.Module, ids: list[int]) -> float:
    with torch.no_grad():
        return float(model(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long)))


def _compare(staged: Staged, variant: str, texts: list[str], original: list[float]) -> Comparison:
    scores = ReadabilityScorer(staged_model(staged, variant, "scorer", ReadabilitySpec, TextTokenizer)).score(texts)
    expected = np.array(original)
    return Comparison(
        {
            "max_abs": float(np.abs(scores - expected).max()),
            "correlation": float(np.corrcoef(scores, expected)[0, 1]),
        }
    )
