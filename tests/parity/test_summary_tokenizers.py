"""The tokenizers of mBART and Pegasus: tokens, decoded text and truncation of the original, in Python and in Rust.

A graph that copies its input returns the tokens of a text as its summary. So every golden case of its artifact is one
tokenization, which `verify` compares in both languages. ONNX_ML_BRIDGE_TEXTS is the number of texts of each tokenizer.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_results import record
from odd_texts import ODD
from onnx_ml_bridge import verify
from onnx_ml_bridge.artifacts.families.summarization import (
    ExpectedSummary,
    FixedGeneration,
    GenerationDefaults,
    SummarizationSpec,
    SummaryCase,
)
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
from onnx_ml_bridge.export.summarization.clean_up import with_clean_up
from onnx_ml_bridge.export.tokenizer_files import describe_tokenizer, save_tokenizer
from onnx_ml_bridge.parity.adversarial import adversarial_texts
from onnx_ml_bridge.parity.texts import parity_texts
from onnx_ml_bridge.runtime.chunks import is_whitespace
from onnx_ml_bridge.runtime.summarization.summarizer import token_ids
from onnx_ml_bridge.runtime.tokenizer import TextTokenizer
from rust_command import rust_verify
from small_summarizers import copying_graph, make_artifact
from small_unigrams import LANGUAGE, UNIGRAM_TOKENIZERS, save_sentencepiece
from transformers import AutoTokenizer

TEXTS = int(os.environ.get("ONNX_ML_BRIDGE_TEXTS", "200"))
LIMIT = 64
# Texts with special tokens, and texts that transformers cleans up
SPECIALS = ("</s>", "<pad>", "<mask>", "<mask_1>", "<unk_7>", LANGUAGE, "\u2581", " .", " ' ", " n't", " 've ")
KINDS = [
    (name, source, is_cleaned)
    for name in UNIGRAM_TOKENIZERS
    for source, is_cleaned in (("tokenizer.json", False), ("SentencePiece", True))
]

pytestmark = pytest.mark.families("summarization")


def texts() -> list[str]:
    """Return half prose, half adversarial texts, with at least one character that is not whitespace."""
    prose = parity_texts()
    chosen = [*ODD, *prose[:: max(1, 2 * len(prose) // TEXTS)], *adversarial_texts("fr", TEXTS, 20261127, SPECIALS)]
    return [text for text in dict.fromkeys(chosen) if not is_whitespace(text)]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}, {kind[1]}")
def kind(request: pytest.FixtureRequest) -> tuple[str, str, bool]:
    return request.param


@pytest.fixture(scope="module")
def original(kind: tuple[str, str, bool], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The original's tokenizer, loaded from a checkpoint with tokenizer.json or with a SentencePiece model."""
    name, source, is_cleaned = kind
    folder = tmp_path_factory.mktemp(name)
    settings = {"model_max_length": LIMIT, "clean_up_tokenization_spaces": is_cleaned}
    if source == "tokenizer.json":
        UNIGRAM_TOKENIZERS[name](**settings).save_pretrained(folder)
    else:
        save_sentencepiece(folder, name, **settings)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(tokenizer).__name__.lower() == f"{name}tokenizer"
    assert tokenizer.clean_up_tokenization_spaces == is_cleaned
    return tokenizer


def save(original: Any, folder: Path) -> TokenizerSpec:
    """Write the tokenizer of an artifact, as the export does."""
    save_tokenizer(with_clean_up(original), folder)
    return describe_tokenizer(original, torch.nn.Module())


@pytest.fixture(scope="module")
def exported(original: Any, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = tmp_path_factory.mktemp("exported")
    spec = save(original, folder)
    return TextTokenizer(folder / spec.file, spec)


def test_tokens_and_truncation_are_those_of_the_original(original, exported):
    expected = [tuple(original(text, truncation=True, max_length=LIMIT)["input_ids"]) for text in texts()]
    whole = [len(original(text, truncation=False, verbose=False)["input_ids"]) for text in texts()]
    found = exported.encode(texts())
    assert [each.ids for each in found] == expected
    assert [each.truncated for each in found] == [count > LIMIT for count in whole]
    assert [exported.count(text) for text in texts()] == whole
    assert 10 < sum(count > LIMIT for count in whole) < len(whole) - 10


def test_decoded_texts_are_those_of_the_original(original, exported):
    # Tokens of the texts, and random ones, which no text has
    source = np.random.default_rng(0)
    random_ids = [source.integers(0, len(original), 40).tolist() for _ in range(TEXTS)]
    sequences = [original(text)["input_ids"] for text in texts()] + random_ids
    expected = [original.decode(ids, skip_special_tokens=True) for ids in sequences]
    assert [exported.decode(ids) for ids in sequences] == expected
    plain = [original.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) for ids in sequences]
    assert (plain != expected) == original.clean_up_tokenization_spaces


def test_the_saved_tokenizer_decodes_the_same_in_transformers(original, tmp_path):
    save(original, tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    for text in texts()[::7]:
        ids = original(text)["input_ids"]
        assert saved(text)["input_ids"] == ids
        assert saved.decode(ids, skip_special_tokens=True) == original.decode(ids, skip_special_tokens=True)


def test_every_golden_case_is_the_originals_tokenization_in_both_languages(rust, kind, original, tmp_path):
    eos, pad = original.eos_token_id, original.pad_token_id
    start = original.convert_tokens_to_ids(LANGUAGE)
    defaults = GenerationDefaults(num_beams=1, min_length=0, max_length=LIMIT + 1, length_penalty=1.0)
    spec = SummarizationSpec(" ", start, eos, LIMIT + 1, defaults, FixedGeneration(0, True, None, None))

    def case(text: str) -> SummaryCase:
        ids = original(text, truncation=True, max_length=LIMIT)["input_ids"]
        truncated = len(original(text, truncation=False, verbose=False)["input_ids"]) > LIMIT
        kept = token_ids(np.array([start, *ids]), eos, pad)
        decoded = original.decode(list(kept), skip_special_tokens=True)
        return SummaryCase((text,), defaults, ExpectedSummary(decoded, kept), truncated, {})

    cases = [case(text) for text in texts()]
    artifact = make_artifact(
        tmp_path / "artifact",
        copying_graph(start),
        cases,
        {"differing": len(cases)},
        spec=spec,
        save=lambda folder: save(original, folder),
    )
    python, in_rust = verify(artifact).variants["fp32"], rust_verify(rust, artifact)["fp32"]
    assert python.cases == in_rust["cases"] == len(cases) >= TEXTS
    differing = {"python": python.figures["differing"], "rust": in_rust["differing"]}
    name, source, _ = kind
    figures = {f"{language} differing": count for language, count in differing.items()}
    record("tokenizations", f"{name}, {source}", {"tokenizer": name, "source": source, "texts": len(cases), **figures})
    assert differing == {"python": 0, "rust": 0}
    wrong = [replace(cases[0], expected=ExpectedSummary("another text", cases[0].expected.token_ids)), *cases[1:]]
    worse = make_artifact(
        tmp_path / "worse",
        copying_graph(start),
        wrong,
        {"differing": 1},
        spec=spec,
        save=lambda folder: save(original, folder),
    )
    assert rust_verify(rust, worse)["fp32"]["differing"] == 1
