"""The inputs of workloads: artifacts, their originals and files with texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from onnx_ml_bridge.artifacts.checks import Artifact, read_artifact
from onnx_ml_bridge.artifacts.constants import MANIFEST
from onnx_ml_bridge.artifacts.errors import BuildError
from onnx_ml_bridge.artifacts.onnx_file import read_onnx
from onnx_ml_bridge.export.source import LocalModel, resolve_source

from .workload import Request


def open_artifacts(request: Request) -> list[Artifact]:
    """Read the artifacts of a request.

    :raises OnnxMlBridgeError: if an artifact is refused.
    """
    return [read_artifact(folder.resolve()) for folder in request.artifacts]


def find_original(artifact: Artifact, request: Request) -> LocalModel:
    """Find the original model of an artifact: the one that the request names, else the one that the manifest names.

    :raises BuildError: if it does not exist, or has different weights than the artifact was built from.
    """
    name, source = artifact.manifest.name, artifact.manifest.source
    revision = f"@{source.revision}" if source.kind == "hub" else ""
    hint = f"Name it with --original {name}=SOURCE."
    if source.kind == "path" and name not in request.originals:
        raise BuildError("source", f"the manifest of {name} does not say where its original is", hint=hint)
    original = resolve_source(request.originals.get(name, f"{source.kind}:{source.id}{revision}"), allow_pickle=True)
    if original.source.weights_sha256 != source.weights_sha256:
        raise BuildError(
            "source",
            f"the original of {name} has other weights than the artifact was made from",
            expected=source.weights_sha256,
            actual=original.source.weights_sha256,
            hint=hint,
        )
    return original


def source_name(artifact: Artifact) -> str:
    """Return the source of the original from the manifest, as `KIND:ID`."""
    return f"{artifact.manifest.source.kind}:{artifact.manifest.source.id}"


def identities(artifacts: Iterable[Artifact]) -> dict[str, str]:
    """Return the SHA-256 of every artifact by name and version."""
    return {f"{each.manifest.name} {each.manifest.version}": each.identity for each in artifacts}


def variant_bytes(artifact: Artifact, variant: str) -> int:
    """Return the total size of all files that a variant needs: manifest, preprocessor, graphs and weights."""
    names = {MANIFEST, "manifest.sha256", *artifact.manifest.preprocessor_files()}
    for graph in artifact.variant(variant).graphs.values():
        data = read_onnx(artifact.path(graph.file)).external
        names.update([graph.file, *(str(PurePosixPath(graph.file).with_name(name)) for name in data)])
    return sum(artifact.path(name).stat().st_size for name in names)


def folder_bytes(folder: Path) -> int:
    """Return the total size of all files in a folder and its subfolders."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def write_texts(path: Path, texts: Iterable[str]) -> Path:
    """Write texts as JSON lines and return the path."""
    path.write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
    return path


def write_round_texts(folder: Path, texts: Sequence[str], rounds: int) -> tuple[tuple[Path, ...], tuple[int, ...]]:
    """Divide texts among the warm-up and the rounds, and return their files and their numbers of words.

    Every text occurs in only one round, so that no contender has an advantage because it has seen a text before.
    """
    parts = [texts[number :: rounds + 1] for number in range(rounds + 1)]
    files = [write_texts(folder / f"round-{number}.jsonl", part) for number, part in enumerate(parts)]
    return tuple(files), tuple(map(count_words, parts))


def count_words(texts: Iterable[str]) -> int:
    """Count the words of texts, which are separated by whitespace."""
    return sum(len(text.split()) for text in texts)


def write_bridge(artifacts: Path, path: Path) -> None:
    """Write a bridge.toml that opens all artifacts of a folder."""
    folders = sorted(each.parent for each in artifacts.glob("*/manifest.json"))
    tables = [f"[models.{json.dumps(folder.name)}]\npath = {json.dumps(str(folder.resolve()))}\n" for folder in folders]
    path.write_text("\n".join(tables), encoding="utf-8")
