"""`verify`: check every file of an artifact, then run its golden cases on this CPU.

A malicious graph can crash ONNX Runtime. The golden cases therefore run in a child process with limits on memory and
time: `python -m onnx_ml_bridge.runtime.verify DECLARATION DIR MEMORY`, where `DECLARATION` is `Family.declaration` and
`MEMORY` is in bytes.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..artifacts.checks import Artifact, check_all, read_artifact
from ..artifacts.errors import ArtifactError, ConfigError, InputError, OnnxMlBridgeError
from ..artifacts.families import FAMILIES
from ..artifacts.family import Family
from ..artifacts.golden import read_golden
from . import cpu
from .loading import Figures, OpenArtifact, runtime_of
from .options import StrPath
from .session import import_onnxruntime

_TIMEOUT_SECONDS = 300
_MIN_MEMORY = 8 << 30
# The number of threads is limited, because every thread reserves address space, which counts towards the memory limit.
_MAX_THREADS = 8


@dataclass(frozen=True)
class VariantReplay:
    """The number of golden cases of a variant, and the values of the family's metrics over them.

    A value is None if the metric does not apply: spaCy's entities, for example, have no scores.
    """

    cases: int
    figures: Figures

    def to_json(self) -> dict[str, float | None]:
        """Return the replay as JSON values: the number of cases and the metrics in one object."""
        return {"cases": self.cases, **self.figures}


@dataclass(frozen=True)
class VerifyReport:
    """The result of `verify`.

    `identity` is the SHA-256 of manifest.json in hexadecimal, `files` the number of files that the manifest lists,
    `bytes` their total size.
    """

    name: str
    version: str
    identity: str
    files: int
    bytes: int
    variants: dict[str, VariantReplay]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values, as the subcommand `verify` prints it."""
        return vars(self) | {"variants": {name: replay.to_json() for name, replay in self.variants.items()}}


def verify(root: StrPath, families: Iterable[Family] = FAMILIES) -> VerifyReport:
    """Hash every file, check every graph and run the golden cases with every variant.

    :param families: the known families.
    :raises ArtifactError: with the code of the first check that fails.
    :raises DependencyError: if ONNX Runtime is not installed.
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
    """Run the golden cases with every variant, in this process.

    :raises ArtifactError: with the code `golden` if the answers of a variant are outside of its gate.
    """
    manifest, runtime = artifact.manifest, runtime_of(artifact.family)
    preprocessor = runtime.load_preprocessor(artifact)
    cases: list[Any] = read_golden(artifact.path(manifest.golden.file), artifact.family.case)
    if len(cases) != manifest.golden.cases:
        raise ArtifactError("golden", "number of golden cases", expected=manifest.golden.cases, actual=len(cases))
    threads = min(_MAX_THREADS, cpu.usable_cpus())
    return {
        name: VariantReplay(len(cases), runtime.replay(OpenArtifact(artifact, name, preprocessor), cases, threads))
        for name in sorted(manifest.variants)
    }


def _replay_in_child(artifact: Artifact, memory: int) -> dict[str, VariantReplay]:
    # The option -P keeps the current directory, which may be the artifact, out of the module search path.
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
        raise ArtifactError("graph", f"the golden cases did not finish within {_TIMEOUT_SECONDS} s") from error
    try:
        answer = json.loads(child.stdout)
    except ValueError as error:
        detail = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ArtifactError(
            "graph", f"running the golden cases failed with exit status {child.returncode}: {detail}"
        ) from error
    if "error" in answer:
        raise ArtifactError(answer["error"]["code"], answer["error"]["message"])
    return {name: VariantReplay(figures.pop("cases"), figures) for name, figures in answer["variants"].items()}


def _child(declaration: str, root: str, memory: str) -> None:
    """Run the child process: print one JSON object with the results of all variants or an error."""
    _limit_memory(int(memory))
    module, _, name = declaration.partition(":")
    family: Family = getattr(importlib.import_module(module), name)
    try:
        variants = {name: result.to_json() for name, result in replay(read_artifact(root, [family])).items()}
        print(json.dumps({"variants": variants}))
    except OnnxMlBridgeError as error:
        # Invalid inputs or options mean that the golden cases are invalid; any other error comes from a graph.
        code = "golden" if isinstance(error, (ConfigError, InputError)) else "graph"
        code = error.code if isinstance(error, ArtifactError) else code
        print(json.dumps({"error": {"code": code, "message": str(error)}}))


def _limit_memory(limit: int) -> None:
    if sys.platform == "linux":  # on other systems, the address space of a process cannot be limited
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _child(*sys.argv[1:])
