"""The export stage of the toy family; `ReadabilityModel` is its original."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from onnx_ml_bridge.artifacts.constants import EXACT, TOKENIZER, graph_file
from onnx_ml_bridge.artifacts.manifest import Variant
from onnx_ml_bridge.artifacts.manifest_sections import TokenizerSpec
from onnx_ml_bridge.artifacts.staging import BuildSettings, Staged
from onnx_ml_bridge.export.tracing import export_module
from onnx_ml_bridge.graphs.files import describe_graph, save_graph
from safetensors.torch import load_file
from torch import Tensor, nn

from ..artifacts.families.readability import ReadabilitySpec

HIDDEN = 32


class ReadabilityModel(nn.Module):
    """The mean of embedded tokens through two linear layers: int64 `[batch, tokens]` to float32 `[batch]`."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, HIDDEN)
        self.inner = nn.Linear(HIDDEN, 2 * HIDDEN)
        self.outer = nn.Linear(2 * HIDDEN, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.unsqueeze(-1).float()
        hidden = torch.tanh(self.inner(self.embed(input_ids)))
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1.0)
        return self.outer(mean).squeeze(-1)


def load_model(folder: Path) -> ReadabilityModel:
    model = ReadabilityModel(json.loads((folder / "config.json").read_text())["vocab_size"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def export(folder: Path, settings: BuildSettings, staging: Path) -> Staged:
    model, config = load_model(folder), json.loads((folder / "config.json").read_text())
    shutil.copyfile(folder / TOKENIZER, staging / TOKENIZER)
    ids = torch.tensor([[2, 3, 4], [3, 4, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    graph = export_module(model, inputs, ["score"], {name: {0: "batch", 1: "tokens"} for name in inputs})
    file = graph_file("model", EXACT)
    save_graph(graph, staging, file)
    tokenizer = TokenizerSpec(TOKENIZER, config["vocab_size"], config["max_tokens"], "right", "[PAD]", 0)
    sections = {"readability": ReadabilitySpec(settings.options.best), "tokenizer": tokenizer}
    variant = Variant({"scorer": describe_graph(graph, file)}, settings.gate(EXACT), None)
    return Staged(staging, settings, sections, {EXACT: variant})
