"""The ML-BOM of an artifact is valid CycloneDX, deterministic, and leads from the checkpoint to int8."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from onnx_ml_bridge.artifacts.checks import read_artifact
from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.artifacts.sbom import sbom

VALID = Path(__file__).parents[1] / "golden" / "valid"
KNOWN = {(family.task, family.engine) for family in FAMILIES}


def artifacts() -> list[Path]:
    manifests = {path: json.loads((path / "manifest.json").read_bytes()) for path in sorted(VALID.iterdir())}
    return [path for path, manifest in manifests.items() if (manifest["task"], manifest["engine"]) in KNOWN]


@pytest.mark.parametrize("folder", artifacts(), ids=lambda folder: folder.name)
def test_it_is_valid_as_1_6_and_1_7(folder):
    raw = sbom(read_artifact(folder))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(raw.decode()) is None
    newer = json.loads(raw) | {"specVersion": "1.7"}
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(json.dumps(newer)) is None


@pytest.mark.families("sentence_embedding")
def test_it_says_what_the_variants_were_made_of():
    artifact = read_artifact(VALID / "tiny-embedding")
    bom = json.loads(sbom(artifact))
    assert sbom(artifact) == sbom(read_artifact(VALID / "tiny-embedding"))
    assert bom["metadata"]["component"]["hashes"][0]["content"] == artifact.identity
    components = {each["name"]: each for each in bom["components"]}
    ancestors = {
        name: each["pedigree"]["ancestors"][0]["name"] for name, each in components.items() if "pedigree" in each
    }
    assert ancestors == {"tiny-embedding-fp32": "model", "tiny-embedding-int8": "tiny-embedding-fp32"}
    files = {file["name"]: file["hashes"][0]["content"] for file in components["tiny-embedding-int8"]["components"]}
    assert files == {
        name: artifact.manifest.files[name].sha256 for name in ("onnx/model_int8.onnx", "onnx/model_int8.onnx_data")
    }
    metrics = components["tiny-embedding-int8"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert "cosine_min" in {each["type"] for each in metrics}
