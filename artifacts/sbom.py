"""A CycloneDX ML-BOM of an artifact: what its variants were made of, in canonical JSON and without a time.

The checkpoint is the ancestor of fp32, and fp32 that of the other variants. The serial number is a UUIDv5 of the
identity, so that the same artifact has the same BOM.
"""

from __future__ import annotations

import uuid
from typing import Any

from .checks import Artifact
from .constants import EXACT
from .errors import missing_store_library
from .manifest import Manifest, Tensor, Variant
from .strict_json import canonical

SPEC_VERSION = "1.6"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "onnx-ml-bridge")


def sbom(artifact: Artifact) -> bytes:
    """Return the ML-BOM of an artifact as canonical JSON.

    :raises DependencyError: if the library `packaging` is missing.
    """
    manifest, identity = artifact.manifest, artifact.identity
    root = _reference(identity, "")
    variants = sorted(manifest.variants)
    checkpoint = _reference(identity, "checkpoint")
    return canonical(
        {
            "bomFormat": "CycloneDX",
            "specVersion": SPEC_VERSION,
            "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, identity)}",
            "version": 1,
            "metadata": {
                "component": _component(manifest, root, manifest.name) | {"hashes": _hashes(identity)},
                "tools": {"components": [_tool(name, version) for name, version in sorted(manifest.builder.items())]},
            },
            "components": [_checkpoint(manifest, checkpoint), *(_variant(artifact, name) for name in variants)],
            "dependencies": [
                {"ref": root, "dependsOn": [_reference(identity, name) for name in variants]},
                *({"ref": _reference(identity, name), "dependsOn": []} for name in variants),
                {"ref": checkpoint, "dependsOn": []},
            ],
        }
    )


def _component(manifest: Manifest, reference: str, name: str) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": name,
        "version": manifest.version,
        "licenses": _licenses(manifest.source.license),
    }


def _checkpoint(manifest: Manifest, reference: str) -> dict[str, Any]:
    source = manifest.source
    component = _component(manifest, reference, source.id) | {"version": source.revision or "unknown"}
    properties = [{"name": "onnx-ml-bridge:source", "value": source.kind}]
    return component | {"hashes": _hashes(source.weights_sha256), "properties": properties}


def _variant(artifact: Artifact, name: str) -> dict[str, Any]:
    """Return the component of a variant, with its graphs, its measured quality and what it was made from."""
    manifest, variant = artifact.manifest, artifact.manifest.variants[name]
    parent = "checkpoint" if name == EXACT else EXACT
    ancestor = (
        _checkpoint(manifest, _reference(artifact.identity, f"{name}:checkpoint"))
        if parent == "checkpoint"
        else _component(manifest, _reference(artifact.identity, f"{name}:{parent}"), f"{manifest.name}-{parent}")
    )
    return _component(manifest, _reference(artifact.identity, name), f"{manifest.name}-{name}") | {
        "components": [_file(manifest, artifact.identity, name, file) for file in _files(manifest, variant)],
        "pedigree": {"ancestors": [ancestor]},
        "modelCard": _card(manifest, name),
    }


def _card(manifest: Manifest, name: str) -> dict[str, Any]:
    graphs = manifest.variants[name].graphs.values()
    figures = manifest.parity.variants.get(name, {})
    return {
        "modelParameters": {
            "task": manifest.task,
            "architectureFamily": manifest.engine,
            "inputs": [_format(tensor) for graph in graphs for tensor in graph.inputs],
            "outputs": [_format(tensor) for graph in graphs for tensor in graph.outputs],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {"type": metric, "value": str(value), "slice": f"{manifest.parity.texts} texts, against the original"}
                for metric, value in sorted(figures.items())
                if value is not None
            ]
        },
    }


def _format(tensor: Tensor) -> dict[str, str]:
    return {"format": f"{tensor.name}: {tensor.dtype}[{', '.join(str(each) for each in tensor.dims)}]"}


def _files(manifest: Manifest, variant: Variant) -> list[str]:
    """Return the graphs of a variant and the files with their tensors."""
    graphs = [graph.file for graph in variant.graphs.values()]
    return sorted(name for name in manifest.files if name in graphs or name.removesuffix("_data") in graphs)


def _file(manifest: Manifest, identity: str, variant: str, name: str) -> dict[str, Any]:
    reference = _reference(identity, f"{variant}:{name}")
    return {"type": "file", "bom-ref": reference, "name": name, "hashes": _hashes(manifest.files[name].sha256)}


def _tool(name: str, version: str) -> dict[str, str]:
    return {"type": "library", "name": name, "version": version}


def _hashes(sha256: str | None) -> list[dict[str, str]]:
    return [] if sha256 is None else [{"alg": "SHA-256", "content": sha256}]


def _licenses(text: str | None) -> list[dict[str, Any]]:
    """Return a license as an SPDX expression if it is one, else by its name; nothing if the source states none."""
    if not text:
        return []
    try:
        from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
    except ImportError as error:
        raise missing_store_library("an SBOM requires", "packaging") from error
    try:
        return [{"expression": str(canonicalize_license_expression(text))}]
    except InvalidLicenseExpression:
        return [{"license": {"name": text}}]


def _reference(identity: str, part: str) -> str:
    return f"{identity}/{part}".rstrip("/")
