"""The stages of a build from a token classifier, each on the staging folder that the one before has filled."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from ..artifacts.constants import graph_file
from ..artifacts.manifest import Variant, section
from ..artifacts.manifest_sections import TokenClassificationSpec
from ..export.source import LocalModel
from ..export.token_classification import STRATEGIES, NerDefaults, export_model, load_model
from ..graphs.files import describe_graph, save_graph
from ..parity.ner.evaluation import NerInput, evaluate, ner_texts, words_per_second
from ..parity.token_classification import load_original, original_entities
from ..quantize.calibration import describe_calibration, read_calibration_texts
from ..quantize.int8 import describe_quantization, output_error, quantize_graph
from ..runtime.entities import NerOptions
from ..runtime.sentence_embedding import encoder_feeds
from ..runtime.token_classification.classifier import TokenClassifier, TokenClassifierModel
from ..runtime.tokenizer import TextTokenizer
from .config import ModelConfig
from .ner_stages import Exported, Proof
from .ner_stages import compose as compose
from .ner_stages import report as report

_ROLE, _OUTPUT = "token_classifier", "logits"
# Every other strategy, and windows, are judged on every so many texts.
_EVERY = 8


def export(config: ModelConfig, model: LocalModel, staging: Path) -> Exported:
    """Write the fp32 graph, the tokenizer and config.json."""
    options = config.options
    given = {
        "aggregation_strategy": options.aggregation_strategy,
        "stride": options.stride,
        "language": options.language,
    }
    defaults = NerDefaults(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    if options.ignore_labels is not None:
        defaults = replace(defaults, ignore_labels=tuple(options.ignore_labels))
    loaded = load_model(model.folder, allow_pickle=options.allow_pickle)
    exported = export_model(loaded, model.folder, staging, defaults)
    gate = config.gate_of("fp32") if "fp32" in config.variants else {}
    variants = {"fp32": Variant({_ROLE: describe_graph(exported.graph, exported.graph_file)}, gate, None)}
    return Exported(staging, config, variants, exported.tokenizer, exported.token_classification)


def quantize(exported: Exported) -> Exported:
    """Add the int8 variant, if it is wanted."""
    if "int8" not in exported.config.variants:
        return exported
    staging, graph = exported.staging, exported.variants["fp32"].graphs[_ROLE]
    texts = read_calibration_texts(exported.config.calibration)
    tokenizer = _tokenizer(exported)
    encoded = tokenizer.encode(texts)
    inputs = [encoder_feeds(graph, *tokenizer.pad([tokens])) for tokens in encoded]
    quantized = quantize_graph(staging, graph.file, inputs, exact=(_OUTPUT,))
    file = graph_file("model", "int8")
    save_graph(quantized.model, staging, file)
    calibration = describe_calibration(texts, sum(len(tokens.ids) for tokens in encoded))
    error = output_error(staging, graph.file, file, _OUTPUT, inputs)
    described = describe_quantization(quantized, calibration, error)
    int8 = Variant({_ROLE: describe_graph(quantized.model, file)}, exported.config.gate_of("int8"), described)
    return replace(exported, variants={**exported.variants, "int8": int8})


def prove(exported: Exported, model: LocalModel) -> Proof:
    """Compare every wanted variant with the original, loaded anew as its users load it."""
    spec = section(exported.token_classification, "token_classification")
    texts = ner_texts(spec.language)
    original = load_original(
        model.folder,
        section(exported.tokenizer, "tokenizer").max_tokens,
        ignore_labels=spec.ignore_labels,
        allow_pickle=exported.config.options.allow_pickle,
    )
    speeds = {
        "original": words_per_second(
            partial(original_entities, original, aggregation_strategy=spec.aggregation_strategy, stride=spec.stride),
            texts,
        )
    }
    inputs, expected = [], []
    for strategy, stride, chosen in _settings(spec, texts):
        expected += original_entities(original, chosen, strategy, stride)
        inputs += [NerInput(text, strategy, stride) for text in chosen]
    classifiers = {name: TokenClassifier(_model(exported, name)) for name in sorted(exported.config.variants)}
    parity = evaluate(inputs, expected, classifiers, {name: exported.config.gate_of(name) for name in classifiers})
    speeds |= {
        name: words_per_second(partial(classifier.recognize, options=NerOptions()), texts)
        for name, classifier in classifiers.items()
    }
    return Proof(parity, speeds)


def _settings(spec: TokenClassificationSpec, texts: list[str]) -> list[tuple[str, int | None, list[str]]]:
    """The settings that texts are judged with: all texts with the model's own, some with every other strategy."""
    others = [(strategy, None if strategy == "none" else spec.stride) for strategy in STRATEGIES]
    # A call cannot take a manifest's stride back, so without one there is nothing to compare `none` with
    others = [each for each in others if not (each[0] == "none" and spec.stride is not None)]
    own = (spec.aggregation_strategy, spec.stride)
    return [(*own, texts), *((*each, texts[::_EVERY]) for each in others if each != own)]


def _model(exported: Exported, variant: str) -> TokenClassifierModel:
    graph, config = exported.variants[variant].graphs[_ROLE], exported.config
    spec = section(exported.token_classification, "token_classification")
    tokenizer = _tokenizer(exported)
    return TokenClassifierModel(exported.staging, config.name, config.version, variant, graph, spec, tokenizer)


def _tokenizer(exported: Exported) -> TextTokenizer:
    spec = section(exported.tokenizer, "tokenizer")
    return TextTokenizer(exported.staging / spec.file, spec)
