"""Whether a store in a folder is intact, whatever happened to its writers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def problems(root: Path) -> list[str]:
    """Return what is wrong with a store: torn artifacts and records, and records that name missing artifacts."""
    whole = {folder.name for folder in _folders(root / "artifacts") if _is_whole(folder)}
    found = [
        f"artifact {folder.name[:8]} is torn" for folder in _folders(root / "artifacts") if folder.name not in whole
    ]
    for model in _folders(root / "models"):
        versions = _records(model / "versions")
        for name, record in versions.items():
            if record is None:
                found.append(f"record of {name} is torn")
            elif not record.get("yanked") and record["identity"] not in whole:
                found.append(f"version {name} has no artifact")
        for name, record in _records(model / "refs").items():
            if record is None:
                found.append(f"record of the tag {name} is torn")
            elif (versions.get(record["version"]) or {}).get("identity") != record["identity"]:
                found.append(f"tag {name} names a missing version")
    return found


def tag_of(root: Path, model: str, tag: str) -> str | None:
    """Return the version that a tag names."""
    record = _records(root / "models" / model / "refs").get(tag)
    return None if record is None else record["version"]


def versions_of(root: Path, model: str) -> set[str]:
    """Return the versions of a model that were not yanked."""
    records = _records(root / "models" / model / "versions")
    return {name for name, record in records.items() if record is not None and not record.get("yanked")}


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _records(folder: Path) -> dict[str, Any]:
    """Return the records of a folder by name, None for one that is not a record."""
    if not folder.is_dir():
        return {}
    return {path.stem: _record(path) for path in sorted(folder.glob("[!.]*.json"))}


def _record(path: Path) -> Any:
    try:
        record = json.loads(path.read_bytes())
    except ValueError:
        return None
    return record if isinstance(record, dict) and "identity" in record else None


def _is_whole(folder: Path) -> bool:
    try:
        raw = (folder / "manifest.json").read_bytes()
        identity = hashlib.sha256(raw).hexdigest()
        files = json.loads(raw)["files"]
        present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        return (
            identity == folder.name
            and (folder / "manifest.sha256").read_bytes() == f"{identity}  manifest.json\n".encode()
            and present == {*files, "manifest.json", "manifest.sha256"}
            and all(_sha256(folder / name) == entry["sha256"] for name, entry in files.items())
        )
    except (OSError, ValueError):
        return False


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
