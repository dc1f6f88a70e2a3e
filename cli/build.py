"""The conductor: every model of models.toml through export, quantize, parity and seal."""

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
from ..artifacts.checks import check_hashes, read_artifact, sha256_file
from ..artifacts.constants import (
    FORMAT_VERSION,
    NER,
    SENTENCE_EMBEDDING,
    SPACY,
    SUMMARIZATION,
    TASK_REVISIONS,
    TRANSFORMERS,
)
from ..artifacts.errors import ArtifactError, BuildError, OnnxMlBridgeError
from ..artifacts.manifest import Manifest
from ..artifacts.seal import seal, staging_for
from ..export.requirements import require_extra
from ..export.source import LocalModel, resolve_source
from ..parity.summarization.references import read_references, references_hash
from ..parity.texts import parity_texts
from ..quantize.calibration import hash_texts, read_calibration_texts
from ..runtime import cpu
from .config import ModelConfig

REPORTS = ".reports"
_COMMON_BUILDERS = ("numpy", "onnx", "onnx-ir", "onnx-ml-bridge", "onnxruntime", "safetensors")
_TORCH_BUILDERS = ("onnxscript", "tokenizers", "torch", "transformers")
_OWN_PACKAGES = (
    "artifacts",
    "cli",
    "export",
    "export.bart",
    "export.spacy",
    "parity",
    "quantize",
    "runtime",
    "runtime.spacy",
)
_BUILDERS = {
    (SENTENCE_EMBEDDING, TRANSFORMERS): ("sentence-transformers", *_TORCH_BUILDERS),
    (NER, TRANSFORMERS): _TORCH_BUILDERS,
    (NER, SPACY): ("spacy", "thinc"),
    (SUMMARIZATION, TRANSFORMERS): _TORCH_BUILDERS,
}
logger = logging.getLogger(__name__)

# Called with the name of the stage that begins.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """What became of one model: `status` is `built`, `up to date` or `failed`."""

    name: str
    status: str
    source: str
    seconds: float
    path: str | None = None
    report: str | None = None
    identity: str | None = None
    bytes: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    error: dict[str, str] | None = None


def build_all(
    models: Iterable[ModelConfig], out: Path, progress: Callable[[ModelConfig], Progress], *, force: bool = False
) -> list[Built]:
    """Build every model, going on after one fails; nothing but its report is left of a failed one."""
    return [_build_or_report(model, out, progress(model), force=force) for model in models]


def build(model: ModelConfig, out: Path, progress: Progress, *, force: bool = False) -> Built:
    """Build one model into `out/NAME`, unless what is there was built from the same inputs.

    :raises OnnxMlBridgeError: when any stage fails; an artifact that was there before is still there.
    """
    started = time.perf_counter()
    target, reports = out / model.name, out / REPORTS / model.name
    progress("fetch")
    local = resolve_source(model.source, allow_pickle=model.options.allow_pickle)
    model = model.for_engine(local.engine)
    key = _build_key(model, local)
    if not force and (manifest := _up_to_date(target, reports, key)) is not None:
        return _summary(model, "up to date", started, target, reports, manifest)
    stages = _stages(model.task, local.engine)
    with staging_for(target) as staging:
        progress("export")
        exported = stages.export(model, local, staging)
        progress("quantize")
        exported = stages.quantize(exported)
        progress("parity")
        proof = stages.prove(exported, local)
        measured_on = cpu.describe(cpu.usable_cpus())
        manifest = stages.compose(exported, local, proof, measured_on, builder_versions(model.task, local.engine))
        reports.mkdir(parents=True, exist_ok=True)
        stages.report(manifest, proof, reports / "report.html")
        _require_gate(proof.parity.failures, reports)
        progress("seal")
        identity = seal(staging, manifest, target)
    record = {
        "identity": identity,
        "key": key,
        "seconds": round(time.perf_counter() - started, 1),
        "texts_per_second": {name: round(value, 1) for name, value in proof.speeds.items()},
    }
    (reports / "build.json").write_bytes(strict_json.canonical(record))
    return _summary(model, "built", started, target, reports, manifest)


def builder_versions(task: str, engine: str) -> dict[str, str]:
    """Versions of everything that decides the bytes of an artifact."""
    found = {"python": platform.python_version()}
    for name in (*_COMMON_BUILDERS, *_BUILDERS[task, engine]):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # onnxruntime may be there as onnxruntime-gpu
            continue
    return found


def _stages(task: str, engine: str) -> Any:
    """The module of a family's stages, imported when it is needed: what one family needs, another does without."""
    if (task, engine) == (SENTENCE_EMBEDDING, TRANSFORMERS):
        from . import embedding_stages as stages
    elif (task, engine) == (NER, SPACY):
        require_extra("spacy")
        from . import spacy_stages as stages  # type: ignore[no-redef]
    elif (task, engine) == (SUMMARIZATION, TRANSFORMERS):
        from . import summarization_stages as stages  # type: ignore[no-redef]
    else:
        from . import token_classifier_stages as stages  # type: ignore[no-redef]
    return stages


def _build_or_report(model: ModelConfig, out: Path, progress: Progress, *, force: bool) -> Built:
    started = time.perf_counter()
    try:
        return build(model, out, progress, force=force)
    except Exception as error:  # torch and transformers raise anything; the other models are built all the same
        if not isinstance(error, (OnnxMlBridgeError, OSError)):
            logger.exception("building %s failed in a library", model.name)
        code = error.code if isinstance(error, OnnxMlBridgeError) else "io" if isinstance(error, OSError) else "source"
        page = out / REPORTS / model.name / "report.html"
        return Built(
            model.name,
            "failed",
            model.source,
            round(time.perf_counter() - started, 1),
            report=str(page) if code == "gate" else None,
            error={"code": code, "message": str(error)},
        )


def _require_gate(failures: dict[str, list[str]], reports: Path) -> None:
    missed = [f"{variant}: {problem}" for variant, problems in failures.items() for problem in problems]
    if missed:
        raise BuildError("gate", f"parity was not reached: {'; '.join(missed)}", hint=f"See {reports / 'report.html'}.")


def _build_key(model: ModelConfig, local: LocalModel) -> str:
    """Hash of everything the artifact follows from but the machine: settings, source files, texts, versions."""
    # Files are told by what they hold, not by where they lie
    settings = model.model_dump(mode="json", exclude={"calibration": True, "options": {"references"}})
    references = model.options.references
    files = sorted(path for path in local.folder.rglob("*") if path.is_file() and path.suffix in _SOURCE_SUFFIXES)
    parts = {
        "settings": settings,
        "source": asdict(local.source),
        "files": {path.relative_to(local.folder).as_posix(): sha256_file(path) for path in files},
        "calibration": hash_texts(read_calibration_texts(model.calibration)),
        "parity": hash_texts(parity_texts()),
        "references": None if references is None else references_hash(read_references(references)),
        "format": [FORMAT_VERSION, TASK_REVISIONS[model.task]],
        "versions": builder_versions(model.task, local.engine),
        "code": _own_code(),
    }
    return hashlib.sha256(strict_json.canonical(parts)).hexdigest()


def _own_code() -> str:
    """Hash of the code an artifact is made by, so that a change of it builds again before any version is raised."""
    digest = hashlib.sha256()
    for package in _OWN_PACKAGES:
        folder = resources.files(__package__.replace(".cli", f".{package}"))
        for file in sorted(folder.iterdir(), key=lambda item: item.name):
            if file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()


_SOURCE_SUFFIXES = (".json", ".cfg", ".safetensors", ".txt", ".model", ".md", ".bin")


def _up_to_date(target: Path, reports: Path, key: str) -> Manifest | None:
    """The manifest of the artifact at `target` if it is whole and was built from the same inputs."""
    try:
        record = json.loads((reports / "build.json").read_text(encoding="utf-8"))
        artifact = read_artifact(target)
        check_hashes(artifact, artifact.manifest.files)
        is_same = (record["key"], record["identity"]) == (key, artifact.identity)
    except (OSError, ValueError, KeyError, TypeError, ArtifactError):
        return None
    return artifact.manifest if is_same else None


def _summary(model: ModelConfig, status: str, started: float, target: Path, reports: Path, manifest: Manifest) -> Built:
    return Built(
        model.name,
        status,
        model.source,
        round(time.perf_counter() - started, 1),
        str(target),
        str(reports / "report.html"),
        read_artifact(target).identity,
        {name: manifest.variant_bytes(name) for name in sorted(manifest.variants)},
        manifest.parity.variants,
    )
