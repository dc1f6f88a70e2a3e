"""Build the models of models.toml: run the stages export, quantize, parity and seal."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..artifacts import strict_json
from ..artifacts.checks import Artifact, check_hashes, read_artifact, sha256_file
from ..artifacts.constants import EXACT, FORMAT_VERSION
from ..artifacts.errors import ArtifactError, BuildError, OnnxMlBridgeError
from ..artifacts.facts import headline_row
from ..artifacts.families import FAMILIES
from ..artifacts.family import Family
from ..artifacts.manifest import Manifest
from ..artifacts.new_file import new_file
from ..artifacts.seal import seal, staging_for
from ..artifacts.staging import BuildSettings, Staged
from ..export.requirements import require_extra
from ..export.source import LocalModel, resolve_source
from ..parity.proof import Proof, parity_of, write_evidence
from ..parity.texts import parity_texts
from ..quantize.calibration import hash_texts, read_calibration_texts
from ..runtime import cpu
from .config import ModelConfig
from .manifests import compose_manifest
from .options import path_options

REPORTS = ".reports"
# Python distributions whose versions determine the bytes of artifacts of every family
_COMMON_BUILDERS = ("numpy", "onnx", "onnx-ir", "onnx-ml-bridge", "onnxruntime", "safetensors")
# The subpackages whose code determines the bytes of an artifact
_OWN_PACKAGES = ("artifacts", "cli", "export", "graphs", "parity", "quantize", "runtime")
logger = logging.getLogger(__name__)

# A callback that is called with the name of each stage when the stage begins
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """The result of building one model.

    `status` is `built`, `up to date` or `failed`. `seconds` is the duration of the build. `bytes`, `metrics` and
    `headlines` map the name of a variant to its size, its metrics and its headline metrics as text. `error` has the
    keys `code` and `message`.
    """

    name: str
    status: str
    source: str
    seconds: float
    path: str | None = None
    report: str | None = None
    identity: str | None = None
    bytes: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    headlines: dict[str, str] = field(default_factory=dict)
    error: dict[str, str] | None = None


def build_all(
    models: Iterable[ModelConfig],
    out: Path,
    progress: Callable[[ModelConfig], Progress],
    *,
    force: bool = False,
    families: Iterable[Family] = FAMILIES,
) -> list[Built]:
    """Build every model; a failure does not prevent the other builds.

    No artifact is written for a model whose build fails. If the model missed its gate, its parity report is written.

    :param progress: called for each model when its build begins; returns the callback for its stages.
    :param force: build a model even if its artifact is up to date.
    """
    families = tuple(families)
    return [_build_or_report(model, out, progress(model), force=force, families=families) for model in models]


def build(
    model: ModelConfig,
    out: Path,
    progress: Progress,
    *,
    force: bool = False,
    families: Iterable[Family] = FAMILIES,
) -> Built:
    """Build one model into `out/NAME`, unless the artifact there is up to date.

    :param progress: called with the name of each stage when it begins.
    :param force: build the model even if its artifact is up to date.
    :param families: the families that can be built.
    :raises OnnxMlBridgeError: if a stage fails; an existing artifact is unchanged then.
    """
    started, families = time.perf_counter(), tuple(families)
    target, reports = out / model.name, out / REPORTS / model.name
    progress("fetch")
    allowed = {name: bool(model.options.get(name)) for name in ("allow_pickle", "ignore_code")}
    local = resolve_source(model.source, weights_sha256=model.weights_sha256, **allowed)
    settings = model.settings(local.engine, families)
    key = _build_key(settings, local)
    if not force and (artifact := _up_to_date(target, reports, key, families)) is not None:
        return _summary(model, "up to date", started, target, reports, artifact)
    with staging_for(target) as staging:
        staged = _stage(settings, local, staging, progress)
        progress("parity")
        proof = parity_of(settings.family).prove(staged, local.folder)
        manifest = _compose(staged, local, proof)
        reports.mkdir(parents=True, exist_ok=True)
        parity_of(settings.family).write_report(proof, manifest, reports / "report.html")
        _require_gate(proof.parity.failures, reports)
        progress("seal")
        identity = seal(staging, manifest, target, families)
    _record_build(reports, key, identity, time.perf_counter() - started, proof)
    return _summary(model, "built", started, target, reports, read_artifact(target, families))


def builder_versions(family: Family) -> dict[str, str]:
    """Return the versions of Python and of the distributions that determine the bytes of an artifact."""
    versions = {"python": platform.python_version()}
    for name in (*_COMMON_BUILDERS, *family.builders):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # for example, onnxruntime may be installed as onnxruntime-gpu
            continue
    return versions


def _stage(settings: BuildSettings, local: LocalModel, staging: Path, progress: Progress) -> Staged:
    """Export and quantize a model into the staging folder."""
    family = settings.family
    if family.extra is not None:
        require_extra(family.extra)
    progress("export")
    staged: Staged = family.module("export").export(local.folder, settings, staging)
    progress("quantize")
    if set(settings.variants) - {EXACT}:
        staged = family.module("quantize").quantize(staged)
    return staged


def _compose(staged: Staged, local: LocalModel, proof: Proof[Any]) -> Manifest:
    """Write parity.json, golden.jsonl and the model card, and return the manifest."""
    family, machine = staged.settings.family, cpu.describe(cpu.usable_cpus())
    versions = builder_versions(family)
    cases = write_evidence(family, proof.parity, machine, versions, staged.folder)
    return compose_manifest(staged, local, proof.parity, cases, machine, versions)


def _record_build(reports: Path, key: str, identity: str, seconds: float, proof: Proof[Any]) -> None:
    record = {
        "identity": identity,
        "key": key,
        "seconds": round(seconds, 1),
        "texts_per_second": {name: round(value, 1) for name, value in proof.speeds.items()},
    }
    with new_file(reports / "build.json") as file:
        file.write(strict_json.canonical(record))


def _build_or_report(
    model: ModelConfig, out: Path, progress: Progress, *, force: bool, families: tuple[Family, ...]
) -> Built:
    started = time.perf_counter()
    try:
        return build(model, out, progress, force=force, families=families)
    except Exception as error:  # a defect of this package must not prevent the other builds
        code, message = _describe(error, model.name)
        page = out / REPORTS / model.name / "report.html"
        return Built(
            model.name,
            "failed",
            model.source,
            round(time.perf_counter() - started, 1),
            report=str(page) if code == "gate" else None,
            error={"code": code, "message": message},
        )


def _describe(error: Exception, name: str) -> tuple[str, str]:
    """Return the code and the message of a failed build; log the traceback of a defect of this package."""
    if isinstance(error, OnnxMlBridgeError):
        return error.code, str(error)
    if isinstance(error, OSError):
        return "io", str(error)
    logger.error("build of %s failed with an unexpected exception", name, exc_info=error)
    return (
        "internal",
        f"{type(error).__name__}: {error}. This is a defect of onnx-ml-bridge; the log has the traceback.",
    )


def _require_gate(failures: dict[str, list[str]], reports: Path) -> None:
    missed = [f"{variant}: {problem}" for variant, problems in failures.items() for problem in problems]
    if missed:
        raise BuildError("gate", f"the gate was missed: {'; '.join(missed)}", hint=f"See {reports / 'report.html'}.")


def _build_key(settings: BuildSettings, local: LocalModel) -> str:
    """Return a hash of all inputs of a build except the machine: settings, source files, texts, versions and code."""
    family = settings.family
    files = sorted(path for path in local.folder.rglob("*") if path.is_file() and path.suffix in _SOURCE_SUFFIXES)
    # For an option that is a file, the hash includes the content of the file instead of its path
    paths = path_options(settings.options)
    options = {name: value for name, value in vars(settings.options).items() if name not in paths}
    parts = {
        "model": [settings.name, settings.version, *settings.variants],
        "gates": settings.gates,
        "options": options | {name: _file_hash(name, path) for name, path in paths.items()},
        "source": asdict(local.source),
        "files": {path.relative_to(local.folder).as_posix(): sha256_file(path) for path in files},
        "calibration": hash_texts(read_calibration_texts(settings.calibration)),
        "parity": hash_texts(parity_texts()),
        "format": [FORMAT_VERSION, family.task, family.engine, family.revision],
        "versions": builder_versions(family),
        "code": _own_code(),
    }
    return hashlib.sha256(strict_json.canonical(parts)).hexdigest()


def _file_hash(option: str, path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise BuildError("config", f"options.{option} {path}: {error}") from error


def _own_code() -> str:
    """Return a hash of the code of this package, so that a change of the code triggers a new build."""
    digest = hashlib.sha256()
    for package in _OWN_PACKAGES:
        folder = Path(str(resources.files(__package__.replace(".cli", f".{package}"))))
        for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            digest.update(file.read_bytes())
    return digest.hexdigest()


_SOURCE_SUFFIXES = (".json", ".cfg", ".safetensors", ".txt", ".model", ".md", ".bin")


def _up_to_date(target: Path, reports: Path, key: str, families: Iterable[Family]) -> Artifact | None:
    """Return the artifact at `target` if its files are intact and it was built with this build key, else None."""
    try:
        record = json.loads((reports / "build.json").read_text(encoding="utf-8"))
        artifact = read_artifact(target, families)
        check_hashes(artifact, artifact.manifest.files)
        is_same = (record["key"], record["identity"]) == (key, artifact.identity)
    except (OSError, ValueError, KeyError, TypeError, ArtifactError):
        return None
    return artifact if is_same else None


def _summary(model: ModelConfig, status: str, started: float, target: Path, reports: Path, artifact: Artifact) -> Built:
    manifest = artifact.manifest
    metrics = manifest.parity.variants
    return Built(
        name=model.name,
        status=status,
        source=model.source,
        seconds=round(time.perf_counter() - started, 1),
        path=str(target),
        report=str(reports / "report.html"),
        identity=artifact.identity,
        bytes={name: manifest.variant_bytes(name) for name in sorted(manifest.variants)},
        metrics=metrics,
        headlines={name: headline_row(artifact.family, figures) for name, figures in metrics.items()},
    )
