"""The last stage of every family's build: from a staging folder and its proof to the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ..artifacts.card import model_card
from ..artifacts.constants import FORMAT_VERSION, GOLDEN, MODEL_CARD, PARITY, TASK_REVISIONS
from ..artifacts.manifest import GoldenSpec, Machine, Manifest, ParitySpec, Variant
from ..artifacts.seal import describe_file, list_files
from ..export.source import LocalModel
from .config import ModelConfig


class Exported(Protocol):
    """What a family's stages have put into the staging folder."""

    @property
    def staging(self) -> Path:
        """The folder."""

    @property
    def config(self) -> ModelConfig:
        """What was asked for."""

    @property
    def variants(self) -> Mapping[str, Variant]:
        """The graphs that were made, by variant; some only for others to be made of them."""


class Compared(Protocol):
    """One variant against the original."""

    @property
    def metrics(self) -> dict[str, float]:
        """Its figures."""


class Parity(Protocol):
    """What a family's proof found."""

    @property
    def inputs(self) -> Sequence[Any]:
        """What was judged."""

    @property
    def comparisons(self) -> Mapping[str, Compared]:
        """The wanted variants, each against the original."""


def compose_manifest(
    exported: Exported,
    model: LocalModel,
    parity: Parity,
    cases: int,
    measured_on: Machine,
    versions: Mapping[str, str],
    **sections: Any,
) -> Manifest:
    """Drop what no wanted variant needs, write the model card, and give the manifest of what is there.

    :param cases: golden cases that the proof left in the staging folder.
    :param sections: the manifest's sections of the task and the engine.
    """
    config, staging = exported.config, exported.staging
    metrics = {name: found.metrics for name, found in parity.comparisons.items()}
    variants = {name: exported.variants[name] for name in config.variants}
    _drop_unwanted(staging, exported.variants, variants)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        task=config.task,
        task_revision=TASK_REVISIONS[config.task],
        engine=model.engine,
        name=config.name,
        version=config.version,
        source=model.source,
        builder=dict(versions),
        variants=variants,
        golden=GoldenSpec(GOLDEN, cases),
        parity=ParitySpec(PARITY, len(parity.inputs), measured_on, metrics),
        files=list_files(staging),
        **sections,
    )
    card = staging / MODEL_CARD
    card.write_text(model_card(manifest), encoding="utf-8")
    return replace(manifest, files={**manifest.files, MODEL_CARD: describe_file(card)})


def _drop_unwanted(staging: Path, made: Mapping[str, Variant], expected: Mapping[str, Variant]) -> None:
    """Remove graphs that served only to make others: fp32 where int8 alone is wanted."""
    for name, variant in made.items():
        if name not in expected:
            for graph in variant.graphs.values():
                for path in (staging / "onnx").glob(f"{Path(graph.file).name}*"):
                    path.unlink()
