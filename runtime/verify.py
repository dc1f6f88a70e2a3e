"""`verify`: all checks of an artifact, then its golden cases on this CPU.

Loading a graph is no security boundary: an engine can crash on a hostile one. The replay therefore happens in a child
process, `python -m onnx_ml_bridge.runtime.verify FAMILY DIR MEMORY`, with limits on memory and time.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts.checks import Artifact, check_all, read_artifact
from ..artifacts.errors import ArtifactError, ConfigError, InputError, OnnxMlBridgeError
from ..artifacts.families import FAMILIES
from ..artifacts.family import Family
from ..artifacts.golden import read_golden
from . import cpu
from .loading import Figures, OpenArtifact, runtime_of
from .session import import_onnxruntime

_TIMEOUT_SECONDS = 300
_MIN_MEMORY = 8 << 30
# Every thread takes address space, which is what is limited
_MAX_THREADS = 8


@dataclass(frozen=True)
class VariantReplay:
    """How close a variant came to the golden cases: their number, and the figures of the family's metrics.

    A figure is None where the model has no such value, as scores of spaCy's entities.
    """

    cases: int
    figures: Figures

    def to_json(self) -> dict[str, float | None]:
        """The figures beside the number of cases."""
        return {"cases": self.cases, **self.figures}


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` measured; `identity` is the SHA-256 of manifest.json, `bytes` counts the listed files."""

    name: str
    version: str
    identity: str
    files: int
    bytes: int
    variants: dict[str, VariantReplay]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return vars(self) | {"variants": {name: replay.to_json() for name, replay in self.variants.items()}}


def verify(root: str | Path, families: Iterable[Family] = FAMILIES) -> VerifyReport:
    """Hash every file, check every graph and replay the golden cases with every variant.

    :param families: the families that are known here.
    :raises ArtifactError: with the code of the first check that fails.
    :raises DependencyError: when ONNX Runtime is not installed.
    """
    artifact = read_artifact(root, families)
    check_all(artifact)
    runtime_of(artifact.family).load_preprocessor(artifact)
    import_onnxruntime()
    sizes = [entry.size for entry in artifact.manifest.files.values()]
    variants = _replay_in_child(artifact, max(_MIN_MEMORY, 4 * sum(sizes)))
    manifest = artifact.manifest
    return VerifyReport(manifest.name, manifest.version, artifact.identity, len(sizes), sum(sizes), variants)


def replay(artifact: Artifact) -> dict[str, VariantReplay]:
    """Replay the golden cases in this process, variant by variant, or raise `golden` at the first miss."""
    manifest, runtime = artifact.manifest, runtime_of(artifact.family)
    preprocessor = runtime.load_preprocessor(artifact)
    cases: list[Any] = read_golden(artifact.path(manifest.golden.file), artifact.family.case)
    if len(cases) != manifest.golden.cases:
        raise ArtifactError("golden", "number of golden cases", expected=manifest.golden.cases, got=len(cases))
    threads = min(_MAX_THREADS, cpu.usable_cpus())
    return {
        name: VariantReplay(len(cases), runtime.replay(OpenArtifact(artifact, name, preprocessor), cases, threads))
        for name in sorted(manifest.variants)
    }


def _replay_in_child(artifact: Artifact, memory: int) -> dict[str, VariantReplay]:
    # -P: without it the current directory, which may be the artifact, would be searched for modules first
    command = [
        sys.executable,
        "-P",
        "-m",
        __name__,
        artifact.family.declaration,
        str(artifact.root.absolute()),
        str(memory),
    ]
    try:
        child = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ArtifactError("graph", f"the replay did not end within {_TIMEOUT_SECONDS} s") from error
    try:
        answer = json.loads(child.stdout)
    except ValueError as error:
        detail = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ArtifactError("graph", f"the replay died with exit status {child.returncode}: {detail}") from error
    if "error" in answer:
        raise ArtifactError(answer["error"]["code"], answer["error"]["message"])
    return {name: VariantReplay(figures.pop("cases"), figures) for name, figures in answer["variants"].items()}


def _child(declaration: str, root: str, memory: str) -> None:
    """Entry of the child process: one JSON object on stdout, the figures or an error."""
    _limit_memory(int(memory))
    module, _, name = declaration.partition(":")
    family: Family = getattr(importlib.import_module(module), name)
    try:
        variants = {name: result.to_json() for name, result in replay(read_artifact(root, [family])).items()}
        print(json.dumps({"variants": variants}))
    except OnnxMlBridgeError as error:
        # A case whose input or settings are refused is a wrong case; a graph that loads but fails to run a wrong graph
        code = "golden" if isinstance(error, (ConfigError, InputError)) else "graph"
        code = error.code if isinstance(error, ArtifactError) else code
        print(json.dumps({"error": {"code": code, "message": str(error)}}))


def _limit_memory(limit: int) -> None:
    if sys.platform == "linux":  # elsewhere the limit is not there or cannot be lowered
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _child(*sys.argv[1:])
