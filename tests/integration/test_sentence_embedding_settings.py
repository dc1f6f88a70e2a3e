"""Settings of pipelines that change their tokens, or the size of their vectors, are refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from changed_checkpoints import change_json
from onnx_ml_bridge.export.sentence_embedding.pipeline import export_pipeline, load_pipeline
from onnx_ml_bridge.export.transformer_calls import call_problems
from refusing import refused
from small_models import MAX_TOKENS, make_model


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("pristine"), "bert")


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    """A copy of a model's folder, which a test may modify."""
    return Path(shutil.copytree(pristine, tmp_path / "model"))


def export(folder: Path) -> None:
    """Export to a staging folder, which must be empty if the export is refused."""
    staging = folder.parent / "staging"
    staging.mkdir()
    try:
        export_pipeline(load_pipeline(folder), folder, staging)
    finally:
        assert not list(staging.iterdir())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"query_length": 16}, ["query_length = 16"]),
        ({"document_length": 64}, ["document_length = 64"]),
        ({"processing_kwargs": {"text": {"max_length": 16}}}, [r"processing_kwargs\.text\.max_length = 16"]),
        ({"processing_kwargs": {"text": {"truncation": False}}}, [r"text\.truncation = False"]),
        ({"processing_kwargs": {"common": {"padding": "max_length"}}}, [r"common\.padding = 'max_length'"]),
        ({"processing_kwargs": {"text": {"stride": 4}}}, [r"text\.stride = 4"]),
        ({"processing_kwargs": {"text": ["padding"]}}, ["processing_kwargs = "]),
    ],
)
def test_other_lengths_and_arguments_of_the_tokenizer(folder, changes, words):
    change_json(folder / "sentence_bert_config.json", **changes)
    with refused("unsupported_model", *words, "sentence_bert_config.json"):
        export(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"query_length": None, "document_length": MAX_TOKENS},
        {"processing_kwargs": {"text": {"padding": True, "truncation": True, "max_length": MAX_TOKENS}}},
        {"processing_kwargs": {"text": {"padding": "longest", "truncation": "longest_first", "max_length": None}}},
        {"processing_kwargs": {"common": {"return_tensors": "pt"}, "image": {"size": 3}, "text": None}},
    ],
)
def test_settings_that_repeat_those_of_the_tokenizer(folder, changes):
    change_json(folder / "sentence_bert_config.json", **changes)
    assert call_problems(load_pipeline(folder)[0]) == []


def test_special_tokens_that_are_split(folder):
    change_json(folder / "tokenizer_config.json", split_special_tokens=True)
    with refused("unsupported_model", "split_special_tokens"):
        export(folder)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "8"])
def test_a_truncate_dim_that_is_no_number_of_elements(folder, value):
    change_json(folder / "config_sentence_transformers.json", truncate_dim=value)
    with refused("source", "truncate_dim in config_sentence_transformers.json", "an integer from 1"):
        export(folder)


def test_a_pooling_that_declares_another_dimension(folder):
    path = folder / "1_Pooling" / "config.json"
    (name,) = (name for name in json.loads(path.read_text()) if "dimension" in name)
    change_json(path, **{name: 16})
    with refused("unsupported_model", "another number of elements", "32", "16", "1_Pooling"):
        export(folder)
