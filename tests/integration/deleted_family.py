"""Tests of the package without one family; test_deletion.py runs this file with the plugin `without_family`."""

from __future__ import annotations

import importlib
import os

import pytest
from examples import VALID
from onnx_ml_bridge import Embedder, OnnxMlBridge, Recognizer, Reranker, Summarizer, verify
from onnx_ml_bridge.artifacts.errors import ArtifactError
from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.cli.console import EXIT_REFUSED
from onnx_ml_bridge.cli.main import create_app
from onnx_ml_bridge.runtime.loading import open_artifact
from typer.testing import CliRunner
from without_family import STAGES

DELETED = os.environ["WITHOUT_FAMILY"]
# The valid artifact of every family, and the handle of its task
EXAMPLES = {
    "sentence_embedding": ("tiny-embedding", Embedder),
    "token_classification": ("tiny-ner", Recognizer),
    "spacy_ner": ("tiny-spacy", Recognizer),
    "summarization": ("tiny-summary", Summarizer),
    "rerank": ("tiny-rerank", Reranker),
    "gliner": ("tiny-gliner", Recognizer),
}
ARTIFACT, HANDLE = VALID / EXAMPLES[DELETED][0], EXAMPLES[DELETED][1]


def test_it_is_deleted():
    assert DELETED not in {family.name for family in FAMILIES}
    assert {family.name for family in FAMILIES} == set(EXAMPLES) - {DELETED}
    for stage in STAGES:
        with pytest.raises(ModuleNotFoundError, match="deleted"):
            importlib.import_module(f"onnx_ml_bridge.{stage}.{DELETED}")


@pytest.mark.parametrize(
    "refuse",
    [
        lambda: open_artifact(ARTIFACT),
        lambda: OnnxMlBridge.open(ARTIFACT),
        lambda: HANDLE.open(ARTIFACT),
        lambda: verify(ARTIFACT),
    ],
    ids=["open_artifact", "open", "open_handle", "verify"],
)
def test_its_artifact_is_refused(refuse):
    with pytest.raises(ArtifactError, match=FAMILIES[0].task) as refused:
        refuse()
    assert refused.value.code == "unknown_task"


@pytest.mark.parametrize("command", ["show", "verify"])
def test_the_command_refuses_its_artifact(command):
    result = CliRunner().invoke(create_app(), [command, "--json", str(ARTIFACT)])
    assert result.exit_code == EXIT_REFUSED
    assert '"unknown_task"' in result.output


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_others_are_verified(family):
    assert verify(VALID / EXAMPLES[family.name][0]).variants
