"""The vector of a text does not depend on other texts, on the size of the batch or on padding, in both variants."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_ml_bridge.runtime.cpu import usable_cpus
from onnx_ml_bridge.runtime.sentence_embedding import encoder_feeds
from onnx_ml_bridge.runtime.session import create_session
from small_exports import SmallExport, varied_texts
from small_models import ARCHITECTURES

TOLERANCE = 1e-6
BUDGETS = (1, 128, 4096)

every_variant = pytest.mark.parametrize("variant", ["fp32", "int8"])
every_architecture = pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))


def alone(export: SmallExport, variant: str, texts: list[str]) -> np.ndarray:
    embedder = export.embedder(variant)
    return np.concatenate([embedder.embed([text]).vectors for text in texts])


def padded_run(export: SmallExport, variant: str, texts: list[str], extra: int, side: str, filler: int) -> np.ndarray:
    """Return vectors from a run with `extra` additional columns of padding, whose token ids are `filler`."""
    session = create_session(export.staging / export.graphs[variant].file, usable_cpus())
    ids, mask = export.tokenizer.pad(export.tokenizer.encode(texts))
    width = ((0, 0), (0, extra) if side == "right" else (extra, 0))
    ids = np.pad(ids, width, constant_values=export.tokenizer.spec.pad_token_id)
    mask = np.pad(mask, width)
    ids[:, slice(-extra, None) if side == "right" else slice(0, extra)] = filler
    (rows,) = session.run(["sentence_embedding"], encoder_feeds(export.graphs[variant], ids, mask))
    return rows


@every_variant
@every_architecture
def test_any_batch_gives_the_same_vectors(small_int8, architecture, variant):
    """The measured maximum difference between the vectors of a text in a batch and alone is 1.8e-7."""
    export, _ = small_int8(architecture)
    texts = varied_texts()
    expected = alone(export, variant, texts)
    for budget in BUDGETS:
        found = export.embedder(variant, token_budget=budget).embed(texts).vectors
        assert np.abs(found - expected).max() <= TOLERANCE


@every_variant
@every_architecture
def test_order_and_other_texts_do_not_change_a_vector(small_int8, architecture, variant):
    export, _ = small_int8(architecture)
    texts = varied_texts()
    embedder = export.embedder(variant, token_budget=4096)
    expected = embedder.embed(texts).vectors
    shuffled = np.random.default_rng(0).permutation(len(texts))[: len(texts) // 2]
    found = embedder.embed([texts[index] for index in shuffled]).vectors
    assert np.abs(found - expected[shuffled]).max() <= TOLERANCE


@every_variant
@every_architecture
def test_more_padding_does_not_change_a_vector(small_int8, architecture, variant):
    export, _ = small_int8(architecture)
    texts = [text for text in varied_texts() if len(text) < 200]
    longest = max(len(tokens.ids) for tokens in export.tokenizer.encode(texts))
    expected = alone(export, variant, texts)
    pad = export.tokenizer.spec.pad_token_id
    for extra in (1, export.tokenizer.spec.max_tokens - longest):
        found = padded_run(export, variant, texts, extra, "right", pad)
        assert np.abs(found - expected).max() <= TOLERANCE


@every_variant
def test_masked_tokens_do_not_change_the_result(small_int8, variant):
    """BERT numbers positions from the left whatever the token ids are, so tokens with the mask 0 can have any id."""
    export, _ = small_int8("bert")
    texts = [text for text in varied_texts() if len(text) < 200]
    found = padded_run(export, variant, texts, 9, "right", 1000)
    assert np.abs(found - alone(export, variant, texts)).max() <= TOLERANCE


def left_padding_differences(export: SmallExport, extra: int) -> np.ndarray:
    texts = [text for text in varied_texts() if len(text) < 200]
    found = padded_run(export, "fp32", texts, extra, "left", export.tokenizer.spec.pad_token_id)
    return np.abs(found - alone(export, "fp32", texts)).max(axis=1)


# Architectures that number positions from the first token that is not padding, so that a text can be padded on its left
counting_architectures = pytest.mark.parametrize("architecture", ["roberta", "mpnet", "xlm-roberta"])


@pytest.mark.parametrize("extra", [1, 7, 16, 31])
@counting_architectures
def test_padding_on_the_left_does_not_change_fp32_vectors(small, architecture, extra):
    assert left_padding_differences(small(architecture), extra).max() <= TOLERANCE
