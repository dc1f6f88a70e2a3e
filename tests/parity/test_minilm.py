"""Both variants of all-MiniLM-L6-v2 are compared with sentence-transformers on all parity texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from onnx_ml_bridge import Embedder, Model
from onnx_ml_bridge.artifacts.constants import data_file, graph_file
from onnx_ml_bridge.artifacts.families.sentence_embedding import SENTENCE_EMBEDDING
from onnx_ml_bridge.export.source import resolve_source
from onnx_ml_bridge.parity.sentence_embedding.comparison import Comparison
from onnx_ml_bridge.parity.sentence_embedding.evaluation import evaluate
from onnx_ml_bridge.parity.sentence_embedding.original import load_original
from onnx_ml_bridge.parity.texts import HARD, PLAIN, parity_texts, text_group
from onnx_ml_bridge.quantize.calibration import read_calibration_texts
from onnx_ml_bridge.runtime.cpu import usable_cpus
from onnx_ml_bridge.runtime.sentence_embedding import SentenceEmbedder, encoder_feeds
from onnx_ml_bridge.runtime.session import create_session

VARIANTS = ["fp32", "int8"]
GATES = SENTENCE_EMBEDDING.gates
every_variant = pytest.mark.parametrize("variant", VARIANTS)


@dataclass(frozen=True)
class Evaluated:
    comparisons: dict[str, Comparison]
    texts: int


@pytest.fixture(scope="module")
def embedders(minilm_artifact) -> dict[str, Embedder]:
    return {name: Embedder.open(Model(minilm_artifact, variant=name)) for name in VARIANTS}


@pytest.fixture(scope="module")
def evaluated(minilm_config, embedders) -> Evaluated:
    original = load_original(resolve_source(minilm_config.source).folder)
    parity = evaluate(original, embedders, GATES)
    return Evaluated(parity.comparisons, len(parity.inputs))


@every_variant
def test_tokens_and_truncation_are_the_originals(evaluated, variant):
    assert evaluated.texts == len(parity_texts())
    assert evaluated.comparisons[variant].metrics["token_mismatches"] == 0


def test_fp32_is_the_original(evaluated):
    """The measured maximum difference from the original's vectors is 2.6e-7."""
    assert evaluated.comparisons["fp32"].metrics["max_abs"] <= 1e-5


def test_int8_is_close_on_plain_texts(evaluated):
    """The measured cosines to the original's vectors are 0.99848 (lowest) and 0.99941 (mean)."""
    metrics = evaluated.comparisons["int8"].metrics
    assert metrics["cosine_min"] >= 0.997
    assert metrics["cosine_mean"] >= 0.999


def test_int8_is_close_on_hard_texts(evaluated):
    """The measured cosines to the original's vectors are 0.99698 (lowest) and 0.99887 (mean)."""
    metrics = evaluated.comparisons["int8"].metrics
    assert metrics["cosine_min_hard"] >= 0.99
    assert metrics["cosine_mean_hard"] >= 0.997


def test_the_default_gates_are_as_strict():
    int8 = GATES["int8"]
    assert GATES["fp32"]["max_abs"] <= 1e-5
    assert int8["cosine_min"] >= 0.997
    assert int8["cosine_mean"] >= 0.999
    assert int8["cosine_min_hard"] >= 0.99
    assert int8["cosine_mean_hard"] >= 0.997


def test_int8_is_about_a_quarter_in_size(minilm_artifact):
    """The measured size of int8 is 25.5% of the size of fp32."""
    sizes = {}
    for variant in VARIANTS:
        file = graph_file("model", variant)
        sizes[variant] = sum((minilm_artifact / name).stat().st_size for name in (file, data_file(file)))
    assert sizes["int8"] <= 0.27 * sizes["fp32"]


def test_no_parity_text_is_in_the_calibration_set():
    calibration = {text.strip().casefold() for text in read_calibration_texts(None)}
    parity = {text.strip().casefold() for text in parity_texts()}
    assert not calibration & parity


def test_no_parity_text_is_part_of_a_calibration_text():
    calibration = "\n".join(read_calibration_texts(None)).casefold()
    assert not [text for text in parity_texts() if len(text.split()) >= 5 and text.casefold() in calibration]


def test_the_parity_texts_are_many_and_of_all_lengths():
    texts = parity_texts()
    words = [len(text.split()) for text in texts]
    groups = [text_group(text) for text in texts]
    assert len(texts) >= 500
    assert {0, 1} <= set(words)
    assert max(words) == 600
    assert min(words) == 0
    assert groups.count(PLAIN) >= 250
    assert groups.count(HARD) >= 80
    assert parity_texts() == texts


@pytest.fixture(scope="module")
def sample() -> list[str]:
    """About 40 parity texts of all lengths up to the model's limit."""
    return parity_texts()[::13]


@every_variant
def test_other_texts_do_not_change_a_vector(embedders, sample, variant):
    """The measured maximum difference between the vectors of a text in a batch and alone is 9e-8."""
    expected = one_by_one(embedders[variant], sample)
    for budget in (256, 2048):
        model = Embedder(SentenceEmbedder(embedders[variant].backend.model, token_budget=budget))
        assert np.abs(model.embed(sample).vectors - expected).max() <= 1e-6
        assert np.abs(model.embed(sample[::-1]).vectors[::-1] - expected).max() <= 1e-6


@every_variant
def test_padding_does_not_change_a_vector(embedders, sample, variant):
    """Compare texts that are padded to the length of the longest one with texts alone.

    The measured maximum difference is 9e-8.
    """
    model = embedders[variant].backend.model
    session = create_session(model.root / model.graph.file, usable_cpus())
    expected = one_by_one(embedders[variant], sample)
    ids, mask = model.tokenizer.pad(model.tokenizer.encode(sample))
    for start in range(0, len(sample), 8):
        feeds = encoder_feeds(model.graph, ids[start : start + 8], mask[start : start + 8])
        (found,) = session.run(["sentence_embedding"], feeds)
        assert np.abs(found - expected[start : start + 8]).max() <= 1e-6


def one_by_one(embedder: Embedder, texts: list[str]) -> np.ndarray:
    return np.concatenate([embedder.embed([text]).vectors for text in texts])
