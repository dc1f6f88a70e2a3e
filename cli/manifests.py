"""Compose the manifest of a build from its staging folder and its parity results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..artifacts.card import model_card
from ..artifacts.constants import FORMAT_VERSION, GOLDEN, MODEL_CARD, PARITY
from ..artifacts.manifest import GoldenSpec, Machine, Manifest, ParitySpec, Variant
from ..artifacts.manifest_sections import IgnoredCodeSpec, Section
from ..artifacts.seal import describe_file, list_files
from ..artifacts.staging import Staged
from ..export.source import LocalModel
from ..parity.proof import Parity


def compose_manifest(
    staged: Staged, model: LocalModel, parity: Parity, cases: int, machine: Machine, versions: Mapping[str, str]
) -> Manifest:
    """Remove intermediate variants from the staging folder, write the model card, and return the manifest.

    :param cases: the number of golden cases in the staging folder.
    :param machine: the machine on which the metrics were measured.
    :param versions: the versions of the distributions that determine the bytes of the artifact.
    """
    settings, folder = staged.settings, staged.folder
    family = settings.family
    metrics = {name: comparison.metrics for name, comparison in parity.comparisons.items()}
    variants = {name: staged.variants[name] for name in settings.variants}
    _remove_intermediate(folder, staged.variants, variants)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        task=family.task,
        task_revision=max(section.revision() for section in staged.sections.values()),
        engine=family.engine,
        name=settings.name,
        version=settings.version,
        source=model.source,
        builder=dict(versions),
        variants=variants,
        golden=GoldenSpec(GOLDEN, cases),
        parity=ParitySpec(PARITY, len(parity.inputs), machine, metrics),
        files=list_files(folder),
        sections={**staged.sections, **_ignored_code(model)},
    )
    card = folder / MODEL_CARD
    card.write_text(model_card(manifest, family), encoding="utf-8")
    return replace(manifest, files={**manifest.files, MODEL_CARD: describe_file(card)})


def _ignored_code(model: LocalModel) -> dict[str, Section]:
    return {"ignored_code": IgnoredCodeSpec(model.ignored_code)} if model.ignored_code else {}


def _remove_intermediate(folder: Path, staged: Mapping[str, Variant], kept: Mapping[str, Variant]) -> None:
    """Remove the graphs of intermediate variants, such as fp32 if only int8 is built."""
    for name, variant in staged.items():
        if name not in kept:
            for graph in variant.graphs.values():
                for path in (folder / "onnx").glob(f"{Path(graph.file).name}*"):
                    path.unlink()
