"""Quantize the fp32 graph of an artifact with NNCF, OpenVINO's tool for int8 models, in the format of OpenVINO."""

from __future__ import annotations

from pathlib import Path

from onnx_ml_bridge.artifacts.checks import Artifact
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
from onnx_ml_bridge.quantize.calibration import read_calibration_texts
from onnx_ml_bridge.runtime.graph_model import encoder_feeds
from onnx_ml_bridge.runtime.tokenizer import TextTokenizer


def build(artifact: Artifact, folder: Path) -> Path:
    """Quantize with the calibration texts of this project, and return the path of the model.

    :raises ImportError: if NNCF or OpenVINO is not installed.
    """
    import nncf
    import openvino

    spec, graph = artifact.manifest.section(TokenizerSpec), artifact.variant("fp32").graphs["encoder"]
    tokenizer = TextTokenizer(artifact.path(spec.file), spec)
    encoded = tokenizer.encode(read_calibration_texts(None))
    feeds = [encoder_feeds(graph, *tokenizer.pad([tokens])) for tokens in encoded]
    model = openvino.Core().read_model(artifact.path(graph.file))
    kind = nncf.ModelType.TRANSFORMER
    quantized = nncf.quantize(model, nncf.Dataset(feeds), model_type=kind, subset_size=len(feeds))
    folder.mkdir(parents=True)
    openvino.save_model(quantized, folder / "model.xml", compress_to_fp16=False)
    return folder / "model.xml"
