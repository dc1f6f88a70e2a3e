"""What the builds of both named entity engines have in common: composing the manifest, and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..artifacts.card import ner_card
from ..artifacts.layout import FORMAT_VERSION, GOLDEN, MODEL_CARD, NER, PARITY, TASK_REVISIONS
from ..artifacts.manifest import GoldenSpec, Machine, Manifest, ParitySpec, Variant
from ..artifacts.seal import list_files
from ..artifacts.specs import SpacySpec, TokenClassificationSpec, TokenizerSpec
from ..export.source import LocalModel
from ..parity.ner import NerParity, write_evidence
from ..parity.ner_report import write_ner_report
from .config import ModelConfig
from .variants import drop_unwanted


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
    config, staging = exported.config, exported.staging
    cases = write_evidence(proof.parity, machine, versions, staging)
    metrics = {name: found.metrics for name, found in proof.parity.comparisons.items()}
    variants = {name: exported.variants[name] for name in proof.parity.comparisons}
    drop_unwanted(staging, exported.variants, variants)
    card = ner_card(config.name, config.version, model.source, variants, metrics, tokenizer=exported.tokenizer,
                    token_classification=exported.token_classification, spacy=exported.spacy)  # fmt: skip
    (staging / MODEL_CARD).write_text(card, encoding="utf-8")
    return Manifest(
        format_version=FORMAT_VERSION, task=NER, task_revision=TASK_REVISIONS[NER], engine=model.engine,
        name=config.name, version=config.version, source=model.source, builder=dict(versions), variants=variants,
        golden=GoldenSpec(GOLDEN, cases), parity=ParitySpec(PARITY, len(proof.parity.inputs), machine, metrics),
        files=list_files(staging), tokenizer=exported.tokenizer, token_classification=exported.token_classification,
        spacy=exported.spacy,
    )  # fmt: skip


def report(manifest: Manifest, proof: Proof, path: Path) -> None:
    """Write the report for people."""
    write_ner_report(proof.parity, manifest, proof.speeds, path)
