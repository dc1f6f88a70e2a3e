"""Every architecture of the matrix: Python and Rust return the vectors of the original, alone and in a batch.

`make test` runs a few architectures; with ONNX_ML_BRIDGE_ARCHITECTURES=all, as in `make architectures`, all of them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from model_results import record
from numpy.typing import NDArray
from onnx_ml_bridge import EmbedOptions
from onnx_ml_bridge.artifacts.families.sentence_embedding import EmbeddingCase, ExpectedEmbedding
from onnx_ml_bridge.parity.sentence_embedding.original import OriginalEmbeddings
from onnx_ml_bridge.parity.texts import PLAIN
from rust_command import rust_answers
from small_encoders import ENCODERS, HIDDEN, PROMPTS, make_encoder
from small_exports import SmallExport, add_int8, cosines, export_saved, seal_small, varied_texts

# What test_small_models.py lacks: windows of attention, RMS norms, dense heads with prompts, and a decoder
FEW = ("embedding-gemma", "qwen3")
NAMES = sorted(ENCODERS) if os.environ.get("ONNX_ML_BRIDGE_ARCHITECTURES") == "all" else FEW
VARIANTS = ("fp32", "int8")
ALONE = slice(None, None, 3)

pytestmark = [pytest.mark.families("sentence_embedding"), pytest.mark.usefixtures("one_thread")]


@dataclass(frozen=True)
class Made:
    """A small model, its export with both variants, and its artifact."""

    name: str
    small: SmallExport
    artifact: Path

    @cached_property
    def original(self) -> OriginalEmbeddings:
        return self.small.original(varied_texts())

    @cached_property
    def vectors(self) -> dict[str, NDArray[np.float32]]:
        return {name: self.small.embedder(name).embed(varied_texts()).vectors for name in VARIANTS}


@pytest.fixture(scope="module", params=NAMES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp(request.param)
    small = export_saved(make_encoder(folder, ENCODERS[request.param]), folder / "staging")
    int8 = add_int8(small)
    # The artifact has one golden case, because it must have any; the tests below compare many texts
    vector = tuple(map(float, map(str, small.embedder().embed(["a"]).vectors[0])))
    case = EmbeddingCase("a", None, PLAIN, ExpectedEmbedding(vector, 3, False))
    return Made(request.param, small, seal_small(small, folder / "artifact", [case], int8))


def test_the_vectors_of_the_original(made):
    original, result = made.original, made.small.embedder().embed(varied_texts())
    difference = float(np.abs(result.vectors - original.vectors).max())
    record("embeddings", made.name, {"model_type": ENCODERS[made.name].model_type, "fp32": difference})
    assert difference <= 1e-5
    assert np.ptp(original.vectors, axis=0).max() > 0.1  # the texts do not all have nearly the same vector
    assert result.token_counts.tolist() == list(original.tokens)
    assert result.truncated.tolist() == list(original.truncated)


@pytest.mark.parametrize("prompt", sorted(PROMPTS))
def test_prompts(made, prompt):
    if prompt not in made.small.export.embedding.prompts:
        pytest.skip("the model has no prompts")
    texts = varied_texts()[::4]
    found = made.small.embedder().embed(texts, EmbedOptions(prompt_name=prompt)).vectors
    assert np.abs(found - made.small.original(texts, prompt).vectors).max() <= 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_text_alone_has_the_same_vector(made, variant):
    texts, embedder = varied_texts()[ALONE], made.small.embedder(variant)
    alone = np.concatenate([embedder.embed([text]).vectors for text in texts])
    difference = float(np.abs(alone - made.vectors[variant][ALONE]).max())
    record("embeddings", made.name, {f"alone {variant}": difference})
    assert difference <= 1e-6


def test_int8_stays_close(made):
    found = cosines(made.original.vectors, made.vectors["int8"])
    record("embeddings", made.name, {"int8": float(found.min())})
    assert made.original.vectors.shape[1] >= HIDDEN and found.min() >= 0.99


@pytest.mark.parametrize("variant", VARIANTS)
def test_rust_returns_the_vectors_of_python(rust, made, variant):
    command = [str(rust), "embed", "--model", str(made.artifact), "--variant", variant]
    answers = [each["embedding"] for each in rust_answers(command, list(map(json.dumps, varied_texts())))]
    difference = float(np.abs(np.array(answers, np.float32) - made.vectors[variant]).max())
    record("embeddings", made.name, {f"rust {variant}": difference})
    assert difference <= 1e-6
