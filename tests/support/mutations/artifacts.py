"""Mutated artifacts, sealed again: the listed sizes and hashes are those of the changed files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from examples import VALID
from onnx_ml_bridge.artifacts.checks import hash_line
from onnx_ml_bridge.artifacts.strict_json import canonical, canonical_line

from .binary import mutated_bytes, mutated_protobuf, mutated_safetensors
from .json_values import mutated_json

MANIFEST, MANIFEST_HASH = "manifest.json", "manifest.sha256"
# What is mutated, and how often relative to the others
KINDS = {"manifest": 8, "graph": 4, "tokenizer": 3, "rules": 2, "tables": 2, "golden": 1, "parity": 1}


@dataclass(frozen=True)
class Mutated:
    """A mutated artifact: the valid one it was made of, what was mutated, and the new content of files."""

    base: str
    kind: str
    changed: Mapping[str, bytes]

    def write(self, folder: Path, originals: Path) -> Path:
        """Write the artifact to a new folder. Files that are the same are hard links to those in `originals`."""
        for name in base_files(self.base):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name not in self.changed:
                os.link(originals / self.base / name, path)
        for name, raw in self.changed.items():
            (folder / name).write_bytes(raw)
        return folder


@cache
def base_files(base: str) -> dict[str, bytes]:
    """Return the content of the files of a valid artifact by path."""
    root = VALID / base
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@cache
def _manifest(base: str) -> dict[str, Any]:
    return json.loads(base_files(base)[MANIFEST])


@cache
def bases() -> list[str]:
    """Return the names of the valid artifacts."""
    return sorted(path.name for path in VALID.iterdir())


def mutated_artifact(source: Random) -> Mutated:
    """Return a mutated artifact; equal sources return equal artifacts."""
    base = source.choice(bases())
    files = _files_by_kind(base)
    kind = source.choices(*zip(*((kind, weight) for kind, weight in KINDS.items() if kind in files), strict=True))[0]
    name = source.choice(files[kind])
    if kind == "manifest":
        return Mutated(base, kind, sealed(mutated_json(_manifest(base), source)))
    raw = base_files(base)[name]
    changed, extra = (_one_case(raw, source), {"cases": 1}) if kind == "golden" else (_MUTATE[kind](raw, source), {})
    return Mutated(base, kind, resealed(_manifest(base), {name: changed}, extra))


def _files_by_kind(base: str) -> dict[str, list[str]]:
    manifest = _manifest(base)
    graphs = [graph["file"] for variant in manifest["variants"].values() for graph in variant["graphs"].values()]
    spacy = manifest.get("spacy", {})
    named = {
        "manifest": [MANIFEST],
        "graph": sorted(graphs),
        "tokenizer": [manifest["tokenizer"]["file"]] if "tokenizer" in manifest else [],
        "rules": [spacy["rules"]] if spacy else [],
        "tables": [spacy["tables"]] if spacy else [],
        "golden": [manifest["golden"]["file"]],
        "parity": [manifest["parity"]["file"]],
    }
    return {kind: names for kind, names in named.items() if names}


def _mutated_text(raw: bytes, source: Random) -> bytes:
    return mutated_bytes(raw, source) if source.random() < 0.1 else mutated_json(json.loads(raw), source)


def _one_case(raw: bytes, source: Random) -> bytes:
    """Return a file of one golden case, so that its replay is short."""
    case = json.loads(min(raw.splitlines(), key=len))
    if source.random() < 0.1:
        return mutated_bytes(canonical_line(case), source)
    return mutated_json(case, source, line=True)


_MUTATE: dict[str, Callable[[bytes, Random], bytes]] = {
    "graph": mutated_protobuf,
    "tokenizer": _mutated_text,
    "rules": _mutated_text,
    "tables": mutated_safetensors,
    "parity": mutated_bytes,
}


def resealed(manifest: Mapping[str, Any], changed: Mapping[str, bytes], golden: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the changed files, and the manifest with their sizes and hashes and the changed fields of `golden`."""
    entries = {name: {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()} for name, raw in changed.items()}
    fields = {"files": {**manifest["files"], **entries}, "golden": {**manifest["golden"], **golden}}
    return {**changed, **sealed(canonical({**manifest, **fields}))}


def sealed(manifest: bytes) -> dict[str, bytes]:
    """Return a manifest and the file with its hash."""
    return {MANIFEST: manifest, MANIFEST_HASH: hash_line(hashlib.sha256(manifest).hexdigest())}
