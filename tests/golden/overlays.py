"""The cases of this folder: manifests and artifacts that readers accept or refuse. README.md describes their format."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from onnx_ml_bridge.artifacts.families import FAMILIES
from onnx_ml_bridge.artifacts.family import Family
from onnx_ml_bridge.artifacts.strict_json import canonical
from overlay_operations import Operation, apply

GOLDEN = Path(__file__).parent
# The task and the engine of a manifest, which together name its family.
Pair = tuple[str, str]


@dataclass(frozen=True)
class ManifestCase:
    """A changed manifest of the artifact `base`; `code` is the error code of readers, None if the manifest is valid."""

    name: str
    base: str
    code: str | None
    manifest: Operation

    def manifest_bytes(self) -> bytes:
        """Return the manifest that readers parse."""
        return apply(self.manifest, base_manifest(self.base))


@dataclass(frozen=True)
class ArtifactCase:
    """An artifact made invalid by changes to the artifact `base`; `code` is the error code of readers."""

    name: str
    base: str
    code: str
    remove: Sequence[str] = ()
    change: Mapping[str, Operation] = field(default_factory=dict)
    reseal: bool = False

    def manifest_bytes(self) -> bytes:
        """Return the manifest with the changes of the case, but before its hashes are updated.

        If the case does not change the manifest, or removes it, the result is the manifest of the base.
        """
        raw = base_manifest(self.base)
        return apply(self.change["manifest.json"], raw) if "manifest.json" in self.change else raw

    def write(self, folder: Path) -> Path:
        """Write the artifact to a new folder and return the folder."""
        shutil.copytree(GOLDEN / "valid" / self.base, folder)
        for name in self.remove:
            (folder / name).unlink()
        for name, operation in self.change.items():
            path = folder / name
            path.write_bytes(apply(operation, path.read_bytes() if path.exists() else b""))
        if self.reseal:
            reseal(folder, self.change)
        return folder


def manifest_cases(families: Iterable[Family] | None = FAMILIES) -> dict[str, ManifestCase]:
    """Return the cases of manifests/ by name, without those that need a family outside `families`; None keeps all."""
    cases = [ManifestCase(**case) for case in read_cases("manifests")]
    return {case.name: case for case in cases if _is_readable(case, families)}


def artifact_cases(families: Iterable[Family] | None = FAMILIES) -> dict[str, ArtifactCase]:
    """Return the cases of invalid/ by name, without those that need a family outside `families`; None keeps all."""
    cases = [ArtifactCase(**case) for case in read_cases("invalid")]
    return {case.name: case for case in cases if _is_readable(case, families)}


def read_cases(folder: str) -> list[dict[str, Any]]:
    """Return the records of all cases in manifests/ or invalid/, with the base of each case."""
    files = [json.loads(path.read_bytes()) for path in sorted((GOLDEN / folder).iterdir())]
    return [{"base": file["base"], **case} for file in files for case in file["cases"]]


@cache
def base_manifest(base: str) -> bytes:
    """Return the bytes of a valid artifact's manifest."""
    return (GOLDEN / "valid" / base / "manifest.json").read_bytes()


def _is_readable(case: ManifestCase | ArtifactCase, families: Iterable[Family] | None) -> bool:
    """Return whether a reader that has only these families refuses the case with the expected error code.

    A reader that lacks the family of the base artifact, or the family that the changed manifest names, refuses the
    case with `unknown_task` instead.
    """
    if families is None:
        return True
    needed = {_named_pair(base_manifest(case.base)), _named_pair(case.manifest_bytes())}
    return needed & _pairs_of_bases() <= {(family.task, family.engine) for family in families}


@cache
def _pairs_of_bases() -> set[Pair | None]:
    return {_named_pair(base_manifest(path.name)) for path in (GOLDEN / "valid").iterdir()}


def _named_pair(manifest: bytes) -> Pair | None:
    """Return the task and the engine of a manifest; None if it is invalid or one of them is not a string."""
    try:
        data = json.loads(manifest)
    except (ValueError, RecursionError):
        return None
    pair = (data.get("task"), data.get("engine")) if isinstance(data, dict) else (None, None)
    return pair if all(isinstance(name, str) for name in pair) else None


def reseal(folder: Path, names: Collection[str], version: str | None = None) -> None:
    """Update the entries of the named files in the manifest, and the manifest's own hash.

    :param version: a new version number.
    """
    manifest = json.loads((folder / "manifest.json").read_bytes())
    if version is not None:
        manifest["version"] = version
    for name in manifest["files"].keys() & set(names):
        raw = (folder / name).read_bytes()
        manifest["files"][name] = {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    raw = canonical(manifest)
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(raw).hexdigest()}  manifest.json\n")
