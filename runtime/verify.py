"""`verify`: check every file of an artifact, then run its golden cases on this CPU.

A malicious graph can crash ONNX Runtime or run for ever. The golden cases therefore run in a child process with limits
on memory and time: `python -m onnx_ml_bridge.runtime.verify DECLARATION DIR MEMORY DEVICE [VARIANT]`. `DECLARATION` is
`Family.declaration`, `MEMORY` is in bytes, 0 for no limit, and `DEVICE` names the device that runs the graphs. The
child prints one JSON object per line: `{"variant", "done", "cases"}` when the graphs of a variant are loaded and after
every case, at last `{"variants"}` or `{"error"}`.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..artifacts.checks import Artifact, check_all, read_artifact
from ..artifacts.errors import ArtifactError, ConfigError, DeviceError, InputError, OnnxMlBridgeError
from ..artifacts.families import FAMILIES
from ..artifacts.family import Family
from ..artifacts.golden import read_golden
from ..artifacts.store.locate import local_folder
from ..artifacts.trust.enforced import check_signed
from ..artifacts.trust.keys import read_keys
from . import cpu
from .cancellation import check_timeout
from .device_selection import select_devices
from .devices import Devices
from .loading import Figures, OpenArtifact, runtime_of
from .local_only import check_local_store
from .options import StrPath
from .session import import_onnxruntime
from .supervised import child_events

# The maximum time in which the child process loads the graphs of a variant, or runs one case. An endless loop in a
# graph has no other sign: the child is alive, and its CPU is busy.
_SILENCE_SECONDS = 120
_MIN_MEMORY = 8 << 30
# The number of threads is limited, because every thread reserves address space, which counts towards the memory limit.
_MAX_THREADS = 8
_WHAT = "the replay of the golden cases"

# A function that is called with the name of a variant, the number of golden cases that it has finished, and the number
# of all golden cases.
Progress = Callable[[str, int, int], None]


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


def verify(
    root: StrPath,
    families: Iterable[Family] = FAMILIES,
    timeout: float | None = None,
    progress: Progress | None = None,
    *,
    device: str = "cpu",
    variant: str | None = None,
    keys: Iterable[StrPath] = (),
) -> VerifyReport:
    """Hash every file, check every graph and run the golden cases with every variant, or with one.

    :param families: the known families.
    :param timeout: the maximum time of the call in seconds; None means no limit.
    :param progress: called when the graphs of a variant are loaded, and after every golden case.
    :param device: the device that runs the graphs; see `Model`. Only on the CPU, the memory of the replay is limited.
    :param variant: the variant that is replayed; None means all of them.
    :param keys: paths of public keys in PEM (P-256), of which one must have signed the artifact and the tag that names
        it; without any key, signatures are not checked.
    :raises ArtifactError: with the code of the first check that fails; `io` if a file cannot be read, `variant` if the
        artifact has no such variant.
    :raises BackendError: with the code `not_local` for a store that is not a folder, if ONNX_ML_BRIDGE_LOCAL_ONLY=1.
    :raises ConfigError: if the timeout is not a number above 0, or the device is no device.
    :raises DeviceError: if the device cannot be used.
    :raises DependencyError: if ONNX Runtime is not installed.
    :raises StoppedError: with the code `timeout` if the call exceeds its timeout, or if it needs more than 120 seconds
        to load the graphs of a variant or to run a golden case.
    """
    check_timeout(timeout)
    started = time.monotonic()
    trusted = read_keys(keys)
    check_local_store(root)
    artifact = read_artifact(local_folder(root, keys=trusted), families)
    check_signed(artifact, trusted)
    if variant is not None:
        artifact.variant(variant)
    check_all(artifact)
    runtime_of(artifact.family).load_preprocessor(artifact)
    import_onnxruntime()
    devices = select_devices(device)
    rest = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
    variants = _replay_in_child(artifact, devices, variant, rest, progress)
    manifest = artifact.manifest
    sizes = [entry.size for entry in manifest.files.values()]
    return VerifyReport(manifest.name, manifest.version, artifact.identity, len(sizes), sum(sizes), variants)


def verify_variant(artifact: Artifact, variant: str, devices: Devices, timeout: float | None = None) -> VariantReplay:
    """Hash every file of an artifact that is open, check every graph, and run the golden cases with one variant.

    :param devices: the devices that run the graphs.
    :param timeout: the maximum time of the replay in seconds; None means no limit.
    :raises OnnxMlBridgeError: as `verify` does.
    """
    check_timeout(timeout)
    check_all(artifact)
    import_onnxruntime()
    return _replay_in_child(artifact, devices, variant, timeout, None)[variant]


def replay(
    artifact: Artifact, progress: Progress | None = None, device: str = "cpu", variant: str | None = None
) -> dict[str, VariantReplay]:
    """Run the golden cases with every variant, or with one, in this process.

    :param device: the device that runs the graphs.
    :raises ArtifactError: with the code `golden` if the answers of a variant are outside of its gate.
    """
    manifest, runtime = artifact.manifest, runtime_of(artifact.family)
    preprocessor = runtime.load_preprocessor(artifact)
    cases: list[Any] = read_golden(artifact.path(manifest.golden.file), artifact.family.case)
    if len(cases) != manifest.golden.cases:
        raise ArtifactError("golden", "number of golden cases", expected=manifest.golden.cases, actual=len(cases))
    threads = min(_MAX_THREADS, cpu.usable_cpus())
    devices = select_devices(device)
    replays = {}
    for name in sorted(manifest.variants) if variant is None else [variant]:

        def report(done: int, variant: str = name) -> None:
            if progress is not None:
                progress(variant, done, len(cases))

        figures = runtime.replay(OpenArtifact(artifact, name, preprocessor, devices), cases, threads, report)
        replays[name] = VariantReplay(len(cases), figures)
    return replays


def _replay_in_child(
    artifact: Artifact, devices: Devices, variant: str | None, timeout: float | None, progress: Progress | None
) -> dict[str, VariantReplay]:
    # The drivers of GPUs reserve far more address space than they use
    memory = max(_MIN_MEMORY, 4 * sum(each.size for each in artifact.manifest.files.values())) if devices.is_cpu else 0
    # The option -P keeps the current directory, which may be the artifact, out of the module search path.
    arguments = [artifact.family.declaration, str(artifact.root.absolute()), str(memory), devices.name]
    arguments += [] if variant is None else [variant]
    command = [sys.executable, "-P", "-m", __name__, *arguments]
    for event in child_events(command, _WHAT, silence=_SILENCE_SECONDS, timeout=timeout):
        if "error" in event:
            raise ArtifactError(event["error"]["code"], event["error"]["message"])
        if "variants" in event:
            return {name: VariantReplay(figures.pop("cases"), figures) for name, figures in event["variants"].items()}
        if progress is not None:
            progress(event["variant"], event["done"], event["cases"])
    raise ArtifactError("graph", f"{_WHAT} ended without an answer")


def _child(declaration: str, root: str, memory: str, device: str, variant: str | None = None) -> None:
    """Run the child process: print the progress, then the results of the variants or an error."""
    if int(memory):
        _limit_memory(int(memory))
    module, _, name = declaration.partition(":")
    family: Family = getattr(importlib.import_module(module), name)
    try:
        replays = replay(read_artifact(root, [family]), _print_progress, device, variant)
        print(json.dumps({"variants": {name: result.to_json() for name, result in replays.items()}}))
    except OnnxMlBridgeError as error:
        print(json.dumps({"error": {"code": refusal_code(error), "message": str(error)}}))


def refusal_code(error: OnnxMlBridgeError) -> str:
    """Return the code with which an artifact is refused whose replay raises an error.

    Invalid inputs or options mean that the golden cases are invalid; an error of another kind comes from a graph.
    """
    if isinstance(error, (ArtifactError, DeviceError)):
        return error.code
    return "golden" if isinstance(error, (ConfigError, InputError)) else "graph"


def _print_progress(variant: str, done: int, cases: int) -> None:
    print(json.dumps({"variant": variant, "done": done, "cases": cases}), flush=True)


def _limit_memory(limit: int) -> None:
    if sys.platform == "linux":  # on other systems, the address space of a process cannot be limited
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _child(*sys.argv[1:])
