"""The last stage of every build: from a staging folder and its proof to the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..artifacts.card import model_card
from ..artifacts.constants import FORMAT_VERSION, GOLDEN, MODEL_CARD, PARITY
from ..artifacts.manifest import GoldenSpec, Machine, Manifest, ParitySpec, Variant
from ..artifacts.seal import describe_file, list_files
from ..artifacts.staging import Staged
from ..export.source import LocalModel
from ..parity.proof import Parity


def compose_manifest(
    staged: Staged, model: LocalModel, parity: Parity, cases: int, machine: Machine, versions: Mapping[str, str]
) -> Manifest:
    """Drop what no variant of the settings needs, write the model card, and compose the manifest of what is there.

    :param cases: golden cases that are in the staging folder.
    :param machine: where the figures were measured.
    """
    settings, folder = staged.settings, staged.folder
    family = settings.family
    metrics = {name: comparison.metrics for name, comparison in parity.comparisons.items()}
    variants = {name: staged.variants[name] for name in settings.variants}
    _drop_others(folder, staged.variants, variants)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        task=family.task,
        task_revision=family.revision,
        engine=family.engine,
        name=settings.name,
        version=settings.version,
        source=model.source,
        builder=dict(versions),
        variants=variants,
        golden=GoldenSpec(GOLDEN, cases),
        parity=ParitySpec(PARITY, len(parity.inputs), machine, metrics),
        files=list_files(folder),
        sections=staged.sections,
    )
    card = folder / MODEL_CARD
    card.write_text(model_card(manifest, family), encoding="utf-8")
    return replace(manifest, files={**manifest.files, MODEL_CARD: describe_file(card)})


def _drop_others(folder: Path, staged: Mapping[str, Variant], kept: Mapping[str, Variant]) -> None:
    """Remove graphs that served only to make others: fp32 where only int8 is built."""
    for name, variant in staged.items():
        if name not in kept:
            for graph in variant.graphs.values():
                for path in (folder / "onnx").glob(f"{Path(graph.file).name}*"):
                    path.unlink()
