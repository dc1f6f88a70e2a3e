"""The parity stage of GLiNER models; the original is the checkpoint in plain PyTorch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ...artifacts.families.gliner import GLINER, GlinerSpec
from ...artifacts.manifest import Manifest
from ...artifacts.manifest_sections import TokenizerSpec
from ...artifacts.staging import Staged
from ...runtime.gliner.preprocessor import GlinerPreprocessor
from ...runtime.gliner.recognizer import GlinerModel, GlinerRecognizer
from ...runtime.handles.recognizer import Recognizer
from ..ner.evaluation import NerParity, ner_texts, words_per_second
from ..ner.report import write_ner_report
from ..proof import Proof
from .evaluation import evaluate, evidence, gliner_inputs, golden_cases
from .original import OriginalGliner

__all__ = ["evidence", "golden_cases", "prove", "write_report"]


def prove(staged: Staged, folder: Path) -> Proof[NerParity]:
    """Compare every variant that the build settings name with the original model in `folder`."""
    settings, spec = staged.settings, staged.section(GlinerSpec)
    texts = ner_texts(spec.language)
    original = OriginalGliner(folder, staged.section(TokenizerSpec).max_tokens)
    inputs = gliner_inputs(texts, spec)
    references = [original.entities(entry.text, entry.call) for entry in inputs]
    recognizers = {name: Recognizer(GlinerRecognizer(_model(staged, name))) for name in sorted(settings.variants)}
    parity = evaluate(inputs, references, recognizers, settings.gates)
    call, options = inputs[0].call, inputs[0].options
    speeds = {"original": words_per_second(lambda chosen: [original.entities(each, call) for each in chosen], texts)}
    for name, recognizer in recognizers.items():
        speeds[name] = words_per_second(partial(recognizer.recognize, options=options), texts)
    return Proof(parity, speeds)


def write_report(proof: Proof[NerParity], manifest: Manifest, path: Path) -> None:
    """Write the HTML report to `path` atomically."""
    write_ner_report(
        GLINER, proof, manifest, path, original="the checkpoint in plain PyTorch", preprocessor="tokenizer"
    )


def _model(staged: Staged, variant: str) -> GlinerModel:
    spec, settings = staged.section(GlinerSpec), staged.settings
    preprocessor = GlinerPreprocessor.read(staged.folder, staged.section(TokenizerSpec), spec)
    graph = staged.variants[variant].graphs["entity_scorer"]
    return GlinerModel(staged.folder, settings.name, settings.version, variant, graph, spec, preprocessor)
