"""Run the stages of a build on small token classifiers, as far as a test needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from onnx_ml_bridge import Recognizer
from onnx_ml_bridge.artifacts.constants import FORMAT_VERSION, GOLDEN, PARITY, graph_file
from onnx_ml_bridge.artifacts.families.token_classification import TOKEN_CLASSIFICATION
from onnx_ml_bridge.artifacts.golden import write_golden
from onnx_ml_bridge.artifacts.manifest import GoldenSpec, Graph, Machine, Manifest, ParitySpec, Source, Variant
from onnx_ml_bridge.artifacts.ner import EntityCase
from onnx_ml_bridge.artifacts.seal import list_files, seal, staging_for
from onnx_ml_bridge.export.token_classification import NerDefaults, TokenClassificationExport, export_model, load_model
from onnx_ml_bridge.graphs.files import describe_graph, save_graph
from onnx_ml_bridge.parity.adversarial import adversarial_texts
from onnx_ml_bridge.parity.ner.original import OriginalEntities
from onnx_ml_bridge.parity.texts import parity_texts
from onnx_ml_bridge.parity.token_classification import load_original, original_entities
from onnx_ml_bridge.quantize.calibration import describe_calibration, read_calibration_texts
from onnx_ml_bridge.quantize.int8 import QuantizedGraph, describe_quantization, output_error, quantize_graph
from onnx_ml_bridge.runtime.sentence_embedding import encoder_feeds
from onnx_ml_bridge.runtime.token_classification.classifier import TokenClassifier, TokenClassifierModel
from onnx_ml_bridge.runtime.tokenizer import TextTokenizer
from small_token_classifiers import TokenClassifier as TokenClassifierRecipe
from small_token_classifiers import make_token_classifier

# The tokenizers' limit; most texts of the tests have more tokens.
MAX_TOKENS = 24
STRIDES = (0, 9)  # a window of 24 tokens has 22 tokens of text
# The names of small models, one for every kind of tokenizer.
KINDS = ("bert", "deberta-v2", "distilbert", "roberta", "roberta-prefix", "xlm-roberta")
SPECIALS = "[CLS] [SEP] [PAD] [MASK] [UNK] <s> </s> <pad> <mask> <unk> ##ing"
_ODD = (
    *("", " ", "\n\t  ", "\u00a0", "\u200b", "\u200d\ufeff", "\u0301"),
    "Anna\r\nvon\r\rBerlin\n\nnach Paris",
    "a\u00a0b\u2003c\u3000d\u202fe",
    "x\u200by\u200dz \ufeffBerlin\u00ad-Mitte",
    "👩‍👩‍👧 🏳️‍🌈 and 🇫🇷🇩🇪 with 👍🏽 in São Paulo 🎉🎉",
    "e\u0301te\u0301 nai\u0308ve Zu\u0308rich \u0327\u0301\u0301\u0301",
    "שלום עולם, ירושלים \u202bעם\u202c סימנים",
    "السلام عليكم في القاهرة",
    "Привет, мир и Москва",
    "北京市和東京都、서울",
    f"before{SPECIALS}after {SPECIALS} [CLS]Anna[SEP]",
    "  Anna lebt in Ulm  ",
    "Anna, Berta,Carl;Dora  Emil   Fritz    .Gustav",
    "x" * 300,
    "Donaudampfschiffahrtsgesellschaft" * 12,
    "ab" * 60 + " Paris " + "é" * 150,
    "İstanbul ŞIŞLI ﬁn ﬂuß ẞ",
    "don't she'll U.S. e-mail@example.org http://a.b/c?d=1#e 1,000.50$ C++ #hash",
)


@dataclass(frozen=True)
class SmallTokenClassifier:
    """A small token classifier, its export in `staging`, and the graphs of its variants by name."""

    source: Path
    staging: Path
    export: TokenClassificationExport
    graphs: dict[str, Graph]
    tokenizer: TextTokenizer

    def classifier(self, variant: str = "fp32", **options: Any) -> Recognizer:
        """Return the handle of one variant, created as in a build; `options` are those of `TokenClassifier`."""
        model = TokenClassifierModel(
            self.staging, "small", "1", variant, self.graphs[variant], self.export.token_classification, self.tokenizer
        )
        return Recognizer(TokenClassifier(model, **options))

    @cached_property
    def pipeline(self) -> Any:
        """The original pipeline; the outputs of its network are cached by its inputs.

        The logits do not depend on the aggregation strategy, so all strategies can share them.
        """
        spec, limit = self.export.token_classification, self.export.tokenizer.max_tokens
        return remember(load_original(self.source, limit, ignore_labels=spec.ignore_labels))

    @cached_property
    def answers(self) -> dict[tuple[Any, ...], list[OriginalEntities]]:
        """A cache of the original's answers by texts and settings, which the tests of both languages share."""
        return {}

    def original(self, texts: Sequence[str], strategy: str, stride: int | None = None) -> list[OriginalEntities]:
        """Return the answers of the original pipeline."""
        key = (tuple(texts), strategy, stride)
        if key not in self.answers:
            self.answers[key] = original_entities(self.pipeline, texts, strategy, stride)
        return self.answers[key]

    def calibration(self) -> list[dict[str, Any]]:
        """Return inputs for the calibration of int8, one text each; fewer than in a build."""
        encoded = self.tokenizer.encode(read_calibration_texts(None)[::5])
        return [encoder_feeds(self.graphs["fp32"], *self.tokenizer.pad([tokens])) for tokens in encoded]


def remember(pipeline: Any) -> Any:
    """Cache the outputs of a pipeline's network by its inputs."""
    forward, seen = pipeline.model.forward, {}

    def remembered(**inputs: torch.Tensor) -> Any:
        key = tuple((name, tuple(value[0].tolist())) for name, value in sorted(inputs.items()))
        if key not in seen:
            seen[key] = forward(**inputs)
        return seen[key]

    pipeline.model.forward = remembered
    return pipeline


def export_token_classifier(
    folder: Path, name: str | TokenClassifierRecipe, *, defaults: NerDefaults | None = None, **options: Any
) -> SmallTokenClassifier:
    """Create the model with these options (see `make_token_classifier`) and export it."""
    source, staging = make_token_classifier(folder / "model", name, **options), folder / "staging"
    staging.mkdir()
    exported = export_model(load_model(source), source, staging, defaults)
    graphs = {"fp32": describe_graph(exported.graph, exported.graph_file)}
    tokenizer = TextTokenizer(staging / exported.tokenizer.file, exported.tokenizer)
    return SmallTokenClassifier(source, staging, exported, graphs, tokenizer)


def add_int8(small: SmallTokenClassifier) -> QuantizedGraph:
    """Quantize the export and save the result as its variant `int8`."""
    quantized = quantize_graph(small.staging, small.export.graph_file, small.calibration(), exact=("logits",))
    file = graph_file("model", "int8")
    save_graph(quantized.model, small.staging, file)
    small.graphs["int8"] = describe_graph(quantized.model, file)
    return quantized


def seal_token_classifier(
    small: SmallTokenClassifier, target: Path, cases: Sequence[EntityCase], int8: QuantizedGraph | None = None
) -> Path:
    """Seal a copy of the export as an artifact with these golden cases; `int8` is the result of `add_int8`."""
    gates = {"fp32": {"differing": 0.0, "score_max_abs": 1e-5, "token_mismatches": 0.0}, "int8": {"entity_f1": 0.9}}
    with staging_for(target) as staging:
        for path in small.staging.rglob("*"):
            if path.is_file():
                (staging / path.relative_to(small.staging)).parent.mkdir(parents=True, exist_ok=True)
                (staging / path.relative_to(small.staging)).write_bytes(path.read_bytes())
        write_golden(cases, staging / GOLDEN)
        (staging / PARITY).write_bytes(b"{}\n")
        quantization = {"int8": _quantization(small, int8)} if int8 else {}
        variants = {
            name: Variant({"token_classifier": graph}, gates[name], quantization.get(name))
            for name, graph in small.graphs.items()
        }
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            task=TOKEN_CLASSIFICATION.task,
            task_revision=TOKEN_CLASSIFICATION.revision,
            engine=TOKEN_CLASSIFICATION.engine,
            name=target.name,
            version="1",
            source=Source("path", "small", None, "0" * 64, None),
            builder={"onnx-ml-bridge": "0", "recipe": "small_token_classifiers"},
            variants=variants,
            parity=ParitySpec(PARITY, len(cases), Machine("any", (), 1), {name: {} for name in variants}),
            golden=GoldenSpec(GOLDEN, len(cases)),
            files=list_files(staging),
            sections={
                "tokenizer": small.export.tokenizer,
                "token_classification": small.export.token_classification,
            },
        )
        seal(staging, manifest, target)
    return target


def golden_cases(
    small: SmallTokenClassifier, texts: Sequence[str], strategy: str, stride: int | None
) -> list[EntityCase]:
    """Return golden cases with the original's answers for the texts."""
    answers = small.original(texts, strategy, stride)
    return [
        EntityCase(text, strategy, stride, None, answer.entities, answer.tokens, answer.truncated)
        for text, answer in zip(texts, answers, strict=True)
    ]


def _quantization(small: SmallTokenClassifier, quantized: QuantizedGraph) -> Any:
    texts, inputs = read_calibration_texts(None)[::5], small.calibration()
    calibration = describe_calibration(texts, sum(feeds["input_ids"].size for feeds in inputs))
    files = (small.export.graph_file, graph_file("model", "int8"))
    return describe_quantization(quantized, calibration, output_error(small.staging, *files, "logits", inputs))


@cache
def token_classifier_texts() -> list[str]:
    """Return about 60 different texts; most have several windows, and the unusual texts are always included."""
    return [*parity_texts()[::25], *adversarial_texts("en", 220, 20260204)[140::6], *_ODD]
