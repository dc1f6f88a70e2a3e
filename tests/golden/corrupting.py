"""Ways to change an artifact, right or wrong, so that only what is meant to be wrong is wrong."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx_ml_bridge.artifacts.strict_json import canonical, canonical_line
from safetensors.numpy import load, save

# Changes an artifact's folder.
Corrupt = Callable[[Path], object]


def seal_by_hand(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest, right or wrong, with its matching hash."""
    (folder / "manifest.json").write_bytes(canonical(manifest))
    hash_by_hand(folder)


def hash_by_hand(folder: Path) -> None:
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "manifest.sha256").write_text(f"{digest}  manifest.json\n")


def relist(folder: Path) -> None:
    """List the files as they are now, so that only what they hold is wrong."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name, entry in manifest["files"].items():
        raw = (folder / name).read_bytes()
        entry |= {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    seal_by_hand(folder, manifest)


def edit_file(name: str, change: Callable[[bytes], bytes]) -> Corrupt:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return apply


def relisted(change: Corrupt) -> Corrupt:
    def apply(folder: Path) -> None:
        change(folder)
        relist(folder)

    return apply


def edit_manifest(change: Callable[[dict[str, Any]], object]) -> Corrupt:
    def apply(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        change(manifest)
        seal_by_hand(folder, manifest)

    return apply


def flip(position: int) -> Callable[[bytes], bytes]:
    def apply(raw: bytes) -> bytes:
        index = position % len(raw)
        return raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]

    return apply


def edit_graph(
    change: Callable[[onnx.ModelProto], object],
    declare: Callable[[dict[str, Any]], object] = lambda manifest: None,
    file: str = "onnx/model.onnx",
) -> Corrupt:
    """Change an fp32 graph, list it as it then is, and declare the change in the manifest."""

    def apply(folder: Path) -> None:
        path = folder / file
        model = onnx.load(path, load_external_data=False)
        change(model)
        path.write_bytes(model.SerializeToString(deterministic=True))
        edit_manifest(declare)(folder)
        relist(folder)

    return apply


def edit_case(
    change: Callable[[dict[str, Any]], object], is_meant: Callable[[dict[str, Any]], object] = lambda case: True
) -> Corrupt:
    """Leave the first golden case of those that are meant, changed."""

    def apply(raw: bytes) -> bytes:
        case = next(case for case in map(json.loads, raw.splitlines()) if is_meant(case))
        change(case)
        return json.dumps(case).encode() + b"\n"

    def corrupt(folder: Path) -> None:
        edit_file("golden.jsonl", apply)(folder)
        edit_manifest(lambda manifest: manifest["golden"].update(cases=1))(folder)
        relist(folder)

    return corrupt


def edit_json(name: str, change: Callable[[dict[str, Any]], object]) -> Corrupt:
    """Change a file of one JSON object, and list it as it then is."""

    def apply(raw: bytes) -> bytes:
        value = json.loads(raw)
        change(value)
        return canonical_line(value)

    return relisted(edit_file(name, apply))


def edit_tensors(name: str, change: Callable[[dict[str, Any]], object]) -> Corrupt:
    """Change the tensors of a safetensors file, and list it as it then is."""

    def apply(raw: bytes) -> bytes:
        tensors = load(raw)
        change(tensors)
        return save({key: np.ascontiguousarray(tensors[key]) for key in sorted(tensors)})

    return relisted(edit_file(name, apply))


def graph_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The fp32 graph of an artifact's main role."""
    graphs = manifest["variants"]["fp32"]["graphs"]
    graph: dict[str, Any] = graphs[
        next(role for role in ("encoder", "token_classifier", "spacy_ner") if role in graphs)
    ]
    return graph


def changed_manifest(manifest: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> bytes:
    """The bytes of a manifest with one change."""
    changed = copy.deepcopy(manifest)
    change(changed)
    return canonical(changed)
