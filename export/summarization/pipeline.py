"""Exports BART checkpoints: graph, tokenizer and configuration files.

`load_model` loads a model from a folder. `export_model` exports a loaded model, so that tests can export small ones.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
from transformers import BartForConditionalGeneration

from ...artifacts.constants import EXACT, graph_file
from ...artifacts.errors import BuildError
from ...artifacts.families.summarization import SummarizationSpec
from ...artifacts.manifest_sections import TokenizerSpec
from ...graphs.files import save_graph
from ...graphs.summarization.composition import compose_graph
from ...graphs.summarization.parts import SummarizerParts
from ..checkpoints import load_checkpoint, refuse_unknown_architecture
from ..tokenizer_files import describe_tokenizer, save_tokenizer
from .settings import describe_generation
from .tracing import trace_parts

_MODEL_TYPE, _ARCHITECTURE = "bart", "BartForConditionalGeneration"
_LIMIT_SETTING = "model_max_length in tokenizer_config.json"
_GENERATION_CONFIG = "generation_config.json"


@dataclass(frozen=True)
class LoadedSummarizer:
    """A model in float32 on the CPU, ready to export, and its fast tokenizer."""

    model: Any
    tokenizer: Any


@dataclass(frozen=True)
class SummarizationExport:
    """An exported model: its fp32 parts, which quantize needs, the saved fp32 graph, and its manifest sections."""

    parts: SummarizerParts
    graph: ir.Model
    graph_file: str
    tokenizer: TokenizerSpec
    summarization: SummarizationSpec


def load_model(folder: Path, *, allow_pickle: bool = False) -> LoadedSummarizer:
    """Load a model and its tokenizer; architectures that are not supported are refused before loading.

    :raises BuildError: with the code `unsupported_model`, `unsafe_checkpoint` or `source`.
    """
    refuse_unknown_architecture(folder, {_MODEL_TYPE: _ARCHITECTURE})
    loaded = load_checkpoint(BartForConditionalGeneration, folder, "generation", allow_pickle=allow_pickle)
    return LoadedSummarizer(*loaded)


def export_model(loaded: LoadedSummarizer, folder: Path, staging: Path) -> SummarizationExport:
    """Export a loaded model into `staging`: graph, tokenizer, and the configuration files of `folder`.

    :raises BuildError: with the code `unsupported_model`, naming everything that cannot be reproduced.
    """
    if problems := _problems(loaded):
        raise BuildError("unsupported_model", f"the model has {'; '.join(problems)}")
    config = loaded.model.config
    tokenizer = describe_tokenizer(loaded.tokenizer, loaded.model, _LIMIT_SETTING)
    spec = describe_generation(loaded.model.generation_config, config.max_position_embeddings, config.vocab_size)
    parts = trace_parts(loaded.model)
    graph = compose_graph(parts, spec, tokenizer.pad_token_id)
    _save_configuration(loaded, folder, staging)
    save_tokenizer(loaded.tokenizer, staging)
    file = graph_file("model", EXACT)
    save_graph(graph, staging, file)
    return SummarizationExport(parts, graph, file, tokenizer, spec)


def _save_configuration(loaded: LoadedSummarizer, folder: Path, staging: Path) -> None:
    shutil.copyfile(folder / "config.json", staging / "config.json")
    if (folder / _GENERATION_CONFIG).is_file():
        shutil.copyfile(folder / _GENERATION_CONFIG, staging / _GENERATION_CONFIG)
    else:  # an older checkpoint has its settings in config.json, and transformers has read them from there
        loaded.model.generation_config.to_json_file(staging / _GENERATION_CONFIG)


def _problems(loaded: LoadedSummarizer) -> list[str]:
    """Return everything in a loaded model and its tokenizer that cannot be reproduced."""
    model, tokenizer, problems = loaded.model, loaded.tokenizer, []
    kind = type(model)
    if kind.__name__ != _ARCHITECTURE or not kind.__module__.startswith("transformers."):
        problems.append(f"the class {kind.__module__}.{kind.__name__}, not {_ARCHITECTURE}")
    table = model.model.shared.weight
    others = (model.model.encoder.embed_tokens.weight, model.model.decoder.embed_tokens.weight, model.lm_head.weight)
    if any(other.data_ptr() != table.data_ptr() for other in others):
        problems.append("separate tables for encoder, decoder or scores; all must share one")
    return problems + _tokenizer_problems(tokenizer, model.generation_config)


def _tokenizer_problems(tokenizer: Any, generation_config: Any) -> list[str]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return ["a tokenizer that is not a fast one (no tokenizer.json)"]
    problems = []
    if type(backend.model).__name__ != "BPE":
        problems.append(
            f"a {type(backend.model).__name__} tokenizer; only BPE is supported, since transformers cleans up the "
            "decoded text of others"
        )
    if tokenizer.pad_token is None:
        problems.append("a tokenizer without a padding token")
    elif tokenizer.pad_token_id != generation_config.pad_token_id:
        problems.append(
            f"the padding token {generation_config.pad_token_id} in generation_config, but "
            f"{tokenizer.pad_token_id} in the tokenizer"
        )
    if getattr(tokenizer, "split_special_tokens", False):
        problems.append("a tokenizer with split_special_tokens, which tokenizer.json cannot express")
    return problems
