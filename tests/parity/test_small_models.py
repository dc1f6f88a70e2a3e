"""Exports of every architecture, pooling mode and option of a pipeline return the vectors of sentence-transformers."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from onnx_ml_bridge import EmbedOptions
from onnx_ml_bridge.artifacts.families.sentence_embedding import Prompt
from small_exports import SmallExport, varied_texts
from small_models import DENSE_OUT, HIDDEN, MAX_TOKENS

TOLERANCE = 1e-5
ALL_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
PROMPTS = {"query": "Find what answers this: ", "passage": "Passage: ", "plain": ""}


def check_parity(small: SmallExport, prompt_name: str | None = None) -> None:
    texts = varied_texts()
    original = small.original(texts, prompt_name)
    result = small.embedder().embed(texts, EmbedOptions(prompt_name=prompt_name))
    worst = np.abs(result.vectors - original.vectors).max()
    # For vectors that are not normalized, the tolerance is relative to their largest element
    assert worst <= TOLERANCE * max(1.0, float(np.abs(original.vectors).max()))
    assert result.token_counts.tolist() == list(original.tokens)
    assert result.truncated.tolist() == list(original.truncated)
    # If all texts had nearly the same vector, the test would not detect errors
    assert np.ptp(original.vectors, axis=0).max() > 0.1


def test_the_texts_are_varied():
    texts = varied_texts()
    scripts = {unicodedata.name(letter, "").split()[0] for text in texts for letter in text if letter.isalpha()}
    assert 70 <= len(texts) <= 110
    assert {"LATIN", "CYRILLIC", "CJK", "HIRAGANA", "HEBREW", "DEVANAGARI", "HANGUL", "GREEK"} <= scripts
    assert "" in texts
    assert max(len(text.split()) for text in texts) > 400
    assert any(unicodedata.category(letter) == "So" for text in texts for letter in text)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet", "distilbert", "xlm-roberta"])
def test_mean_pooling(small, architecture):
    check_parity(small(architecture))


# With `test_mean_pooling`, every pooling mode is tested with two architectures. With a pair of modes, the model returns
# the concatenated vectors of both.
@pytest.mark.parametrize(
    ("architecture", "pooling"),
    [
        ("bert", "cls"),
        ("bert", "lasttoken"),
        ("roberta", ("weightedmean", "max")),
        ("mpnet", ("cls", "mean_sqrt_len_tokens")),
        ("distilbert", ("max", "weightedmean")),
        ("xlm-roberta", ("lasttoken", "mean_sqrt_len_tokens")),
        ("bert", ("mean", "max")),
    ],
)
def test_pooling_modes(small, architecture, pooling):
    export = small(architecture, pooling=pooling)
    spec = export.export.embedding
    assert spec.pooling == ((pooling,) if isinstance(pooling, str) else pooling)
    assert spec.dim == HIDDEN * len(spec.pooling)
    check_parity(export)


def test_dense_with_tanh(small):
    export = small("mpnet", dense="tanh")
    assert export.export.embedding.dim == DENSE_OUT
    check_parity(export)


def test_dense_with_residual(small):
    check_parity(small("bert", pooling=("cls", "mean"), dense="residual"))


def test_layer_norm_after_pooling(small):
    export = small("bert", dense="layernorm")
    check_parity(export)
    (weights,) = export.staging.glob("*_LayerNorm/*.safetensors")  # other libraries can open the artifact too
    assert weights.read_bytes() == (export.source / weights.relative_to(export.staging)).read_bytes()


def test_without_normalization(small):
    export = small("bert", normalize=False)
    assert not export.export.embedding.normalized
    norms = np.linalg.norm(export.embedder().embed(varied_texts()).vectors, axis=1)
    assert np.abs(norms - 1).min() > 0.1
    check_parity(export)


def test_dense_last_is_not_normalized(small):
    export = small("distilbert", dense="tanh", normalize=False)
    assert not export.export.embedding.normalized
    check_parity(export)


@pytest.mark.parametrize("prompt_name", [None, "query", "passage", "plain"])
def test_prompts_that_are_pooled(small, prompt_name):
    check_parity(small("bert", prompts=PROMPTS), prompt_name)


@pytest.mark.parametrize("prompt_name", [None, "query", "passage", "plain"])
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_prompts_left_out_of_every_pooling_mode(small, architecture, prompt_name):
    export = small(architecture, prompts=PROMPTS, include_prompt=False, pooling=ALL_MODES, normalize=False)
    names = [tensor.name for tensor in export.graphs["fp32"].inputs]
    assert names[-1] == "prompt_length"
    check_parity(export, prompt_name)


def test_prompt_lengths_are_those_of_the_original(small):
    export = small("bert", prompts=PROMPTS, include_prompt=False, pooling=ALL_MODES, normalize=False)
    counted = {
        name: Prompt(text, len(export.tokenizer.encode([text])[0].ids) - 1 if text else 0)  # does not count [SEP]
        for name, text in PROMPTS.items()
    }
    assert export.export.embedding.prompts | counted == export.export.embedding.prompts


@pytest.mark.parametrize("prompt_name", [None, "query"])
def test_default_prompt(small, prompt_name):
    export = small("distilbert", prompts=PROMPTS, default_prompt="passage")
    assert export.export.embedding.default_prompt == "passage"
    check_parity(export, prompt_name)


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
def test_texts_cut_on_the_left(small, architecture):
    export = small(architecture, truncation_side="left", max_seq_length=20)
    assert export.export.tokenizer.truncation_side == "left"
    assert export.embedder().embed(varied_texts()).truncated.sum() > 10
    check_parity(export)


# With BERT, the original's vector of a text depends on the padding on its left. The artifact must return the vector of
# the text without padding.
@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet"])
@pytest.mark.parametrize("prompt_name", [None, "query"])
def test_padding_on_the_left(small, architecture, prompt_name):
    export = small(
        architecture, padding_side="left", prompts=PROMPTS, include_prompt=False, pooling=ALL_MODES, normalize=False
    )
    check_parity(export, prompt_name)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_limits_below_the_positions(small, architecture):
    export = small(architecture, max_seq_length=16)
    assert export.export.tokenizer.max_tokens == 16
    assert export.embedder().embed(varied_texts()).token_counts.max() == 16
    check_parity(export)


def test_texts_may_fill_every_position(small):
    for architecture in ("bert", "roberta", "mpnet"):
        assert small(architecture).embedder().embed(varied_texts()).token_counts.max() == MAX_TOKENS
