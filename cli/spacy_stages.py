"""The stages of a build from a spaCy pipeline, each on the staging folder that the one before has filled."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..artifacts.manifest import Variant, section
from ..export.source import LocalModel
from ..export.spacy_ner.pipeline import export_pipeline, load_pipeline
from ..graphs.files import describe_graph
from ..parity.ner.evaluation import NerInput, evaluate, ner_texts, words_per_second
from ..parity.spacy_ner import load_original, original_entities, some_sentence_starts
from ..runtime.entities import NerOptions
from ..runtime.spacy_ner.recognizer import SpacyModel, SpacyRecognizer, SpacyTexts
from ..runtime.spacy_ner.rules import read_rules
from ..runtime.spacy_ner.tables import read_tables
from .config import ModelConfig
from .ner_stages import Exported, Proof
from .ner_stages import compose as compose
from .ner_stages import report as report


def export(config: ModelConfig, model: LocalModel, staging: Path) -> Exported:
    """Write the graphs, the tokenizer's rules and the tables."""
    exported = export_pipeline(load_pipeline(model.folder), staging, config.options.sentences or "none")
    graphs = {role: describe_graph(graph, file) for role, (graph, file) in exported.graphs.items()}
    variants = {"fp32": Variant(graphs, config.gate_of("fp32"), None)}
    return Exported(staging, config, variants, spacy=exported.spec)


def quantize(exported: Exported) -> Exported:
    """Nothing: these networks are small, and in float32 their entities are exactly the original's."""
    return exported


def prove(exported: Exported, model: LocalModel) -> Proof:
    """Compare with the original, loaded anew as its users load it."""
    spec = section(exported.spacy, "spacy")
    texts = ner_texts(spec.language)
    original = load_original(model.folder, spec.sentences)
    starts = some_sentence_starts(original, texts) if spec.sentences == "given" else None
    recognizer = SpacyRecognizer(_model(exported))
    speeds = {"original": words_per_second(partial(original_entities, original), texts)}
    expected = original_entities(original, texts, starts)
    inputs = [NerInput(text, sentence_starts=starts[index] if starts else None) for index, text in enumerate(texts)]
    parity = evaluate(inputs, expected, {"fp32": recognizer}, {"fp32": exported.variants["fp32"].gate})
    # The same starts for as many texts as are timed: a model that wants them given has no other way to run
    speeds["fp32"] = words_per_second(
        lambda chosen: recognizer.recognize(chosen, NerOptions(sentence_starts=starts and starts[: len(chosen)])), texts
    )
    return Proof(parity, speeds)


def _model(exported: Exported) -> SpacyModel:
    spec, staging, config = section(exported.spacy, "spacy"), exported.staging, exported.config
    texts = SpacyTexts(read_rules(staging / spec.rules), read_tables(staging / spec.tables, spec))
    return SpacyModel(staging, config.name, config.version, "fp32", exported.variants["fp32"].graphs, spec, texts)
