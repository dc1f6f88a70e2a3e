"""Cases that readers of artifacts must accept or refuse: overlays on valid artifacts. README.md has the form."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from onnx_ml_bridge.artifacts.strict_json import canonical
from overlay_operations import Operation, apply

GOLDEN = Path(__file__).parent
# Task and engine.
Family = tuple[str, str]


@dataclass(frozen=True)
class ManifestCase:
    """The bytes of a manifest and the code that readers must refuse them with, or None where they are valid."""

    name: str
    base: str
    code: str | None
    manifest: Operation

    def manifest_bytes(self) -> bytes:
        return apply(self.manifest, base_manifest(self.base))


@dataclass(frozen=True)
class ArtifactCase:
    """An invalid artifact and the code that readers must refuse it with."""

    name: str
    base: str
    code: str
    remove: Sequence[str] = ()
    change: Mapping[str, Operation] = field(default_factory=dict)
    reseal: bool = False

    def manifest_bytes(self) -> bytes:
        """The manifest as the case changes it; the base's where the case removes it."""
        raw = base_manifest(self.base)
        return apply(self.change["manifest.json"], raw) if "manifest.json" in self.change else raw

    def write(self, folder: Path) -> Path:
        """Write the artifact as a new folder, and return it.

        The base is copied: a reader refuses hard links.
        """
        shutil.copytree(GOLDEN / "valid" / self.base, folder)
        for name in self.remove:
            (folder / name).unlink()
        for name, operation in self.change.items():
            path = folder / name
            path.write_bytes(apply(operation, path.read_bytes() if path.exists() else b""))
        if self.reseal:
            _reseal(folder, self.change)
        return folder


def valid_artifacts(families: Collection[Family] | None = None) -> dict[str, Path]:
    """The bases by name; with `families`, those of these families."""
    folders = {path.name: path for path in sorted((GOLDEN / "valid").iterdir())}
    return {name: path for name, path in folders.items() if families is None or family_of(name) in families}


def manifest_cases(families: Collection[Family] | None = None) -> dict[str, ManifestCase]:
    """The cases of manifests/ by name; with `families`, those that need no other family."""
    cases = [ManifestCase(**case) for case in _read_cases("manifests")]
    return {case.name: case for case in cases if families is None or needed_families(case) <= set(families)}


def artifact_cases(families: Collection[Family] | None = None) -> dict[str, ArtifactCase]:
    """The cases of invalid/ by name; with `families`, those that need no other family."""
    cases = [ArtifactCase(**case) for case in _read_cases("invalid")]
    return {case.name: case for case in cases if families is None or needed_families(case) <= set(families)}


def needed_families(case: ManifestCase | ArtifactCase) -> set[Family]:
    """The families that a reader must know to give the case its code: the base's and the one its manifest names."""
    named = None if case.code == "unknown_task" else _named_family(case.manifest_bytes())
    return {family for family in (family_of(case.base), named) if family}


@cache
def family_of(base: str) -> Family:
    """The family of a valid artifact."""
    family = _named_family(base_manifest(base))
    if family is None:
        raise ValueError(f"the manifest of {base} names no task and engine")
    return family


@cache
def base_manifest(base: str) -> bytes:
    """The bytes of a valid artifact's manifest."""
    return (GOLDEN / "valid" / base / "manifest.json").read_bytes()


def _read_cases(folder: str) -> list[dict[str, Any]]:
    cases = []
    for path in sorted((GOLDEN / folder).iterdir()):
        overlays = json.loads(path.read_bytes())
        cases += [{"base": overlays["base"], **case} for case in overlays["cases"]]
    names = [case["name"] for case in cases]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two cases of {folder} have one name: {sorted(repeated)}")
    return cases


def _named_family(manifest: bytes) -> Family | None:
    """The task and the engine of a manifest that may be wrong."""
    try:
        data = json.loads(manifest)
    except (ValueError, RecursionError):
        return None
    pair = (data.get("task"), data.get("engine")) if isinstance(data, dict) else ()
    return pair if len(pair) == 2 and all(isinstance(word, str) for word in pair) else None


def _reseal(folder: Path, names: Collection[str]) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name in manifest["files"].keys() & set(names):
        raw = (folder / name).read_bytes()
        manifest["files"][name] = {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    raw = canonical(manifest)
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(raw).hexdigest()}  manifest.json\n")
