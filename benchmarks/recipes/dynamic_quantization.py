"""Quantize the fp32 graph of an artifact with onnxruntime's `quantize_dynamic`, in the folder layout of fastembed."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import onnx
from onnx_ml_bridge.artifacts.checks import Artifact
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec

_COPIED = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json")


def build(artifact: Artifact, folder: Path) -> Path:
    """Write the quantized graph and the tokenizer's files to `folder`."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    (folder / "onnx").mkdir(parents=True)
    source = folder / "source.onnx"
    onnx.save(_one_output(artifact), source)
    logging.disable(logging.WARNING)  # hides advice of onnxruntime to preprocess the graph, which the exporter has done
    quantize_dynamic(source, folder / "onnx/model.onnx", weight_type=QuantType.QInt8)
    logging.disable(logging.NOTSET)
    source.unlink()
    for name in _COPIED:
        if artifact.path(name).is_file():
            shutil.copyfile(artifact.path(name), folder / name)
    _set_limit(folder / "tokenizer_config.json", artifact.manifest.section(TokenizerSpec).max_tokens)
    return folder


def _one_output(artifact: Artifact) -> onnx.ModelProto:
    """Return the fp32 graph with the output `sentence_embedding` only, because fastembed uses the first output."""
    model = onnx.load(artifact.path(artifact.variant("fp32").graphs["encoder"].file))
    kept = [output for output in model.graph.output if output.name == "sentence_embedding"]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model


def _set_limit(path: Path, limit: int) -> None:
    """Set the length limit in tokenizer_config.json, so that fastembed cuts texts where the original does."""
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"model_max_length": limit, "max_length": limit}), encoding="utf-8")
