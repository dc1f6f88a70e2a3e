"""What the builds of both named entity engines have in common: composing the manifest, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..artifacts.manifest import Machine, Manifest, Variant
from ..artifacts.manifest_sections import SpacySpec, TokenClassificationSpec, TokenizerSpec
from ..export.source import LocalModel
from ..parity.ner.evaluation import NerParity, write_evidence
from ..parity.ner.report import write_ner_report
from .config import ModelConfig
from .manifests import compose_manifest


@dataclass(frozen=True)
class Exported:
    """The variants in the staging folder, and the engine's sections of the manifest."""

    staging: Path
    config: ModelConfig
    variants: dict[str, Variant]
    tokenizer: TokenizerSpec | None = None
    token_classification: TokenClassificationSpec | None = None
    spacy: SpacySpec | None = None


@dataclass(frozen=True)
class Proof:
    """What the parity stage found, and the speeds for the report, in words per second."""

    parity: NerParity
    speeds: dict[str, float]


def compose(
    exported: Exported, model: LocalModel, proof: Proof, machine: Machine, versions: Mapping[str, str]
) -> Manifest:
    """Write evidence, golden cases and model card, drop what no variant needs, and give the manifest."""
    cases = write_evidence(proof.parity, machine, versions, exported.staging)
    return compose_manifest(
        exported,
        model,
        proof.parity,
        cases,
        machine,
        versions,
        tokenizer=exported.tokenizer,
        token_classification=exported.token_classification,
        spacy=exported.spacy,
    )


def report(manifest: Manifest, proof: Proof, path: Path) -> None:
    """Write the report for people."""
    write_ner_report(proof.parity, manifest, proof.speeds, path)
