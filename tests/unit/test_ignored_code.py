"""The optional section `ignored_code` of the manifest, which tests/golden/manifests covers too, and what it states."""

from __future__ import annotations

from dataclasses import replace

import pytest
from examples import examples
from onnx_ml_bridge.artifacts.card import model_card
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.manifest import parse_manifest
from onnx_ml_bridge.artifacts.manifest_sections import IgnoredCodeSpec

REFERENCE = 'config.json (auto_map: {"AutoModel": "modeling.Model"})'
ENCODERS = [family for family in examples() if family.name in ("sentence_embedding", "token_classification")]


@pytest.mark.parametrize("family", ENCODERS, ids=lambda family: family.name)
def test_the_section_is_read_and_stated(family):
    manifest = read_artifact(examples()[family]).manifest
    assert "code" not in family.facts(manifest)
    spec = IgnoredCodeSpec((REFERENCE,))
    ignoring = replace(manifest, sections={**manifest.sections, "ignored_code": spec})
    assert parse_manifest(ignoring.to_bytes()).section(IgnoredCodeSpec) == spec
    fact = f"proven against transformers' own class, the checkpoint's code ignored: {REFERENCE}"
    assert family.facts(ignoring)["code"] == fact and f"- Code: {fact}." in model_card(ignoring, family)
