"""BART checkpoints to the files of an artifact: graph, tokenizer, configuration.

`load_model` finds a model by folder, `export_model` works on a loaded one, so that tests enter with small models.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
from transformers import BartForConditionalGeneration

from ...artifacts.constants import graph_file
from ...artifacts.errors import BuildError
from ...artifacts.families.summarization import SummarizationSpec
from ...artifacts.manifest_sections import TokenizerSpec
from ..checkpoints import load_checkpoint, refuse_unknown_architecture
from ..graph_files import save_graph
from ..tokenizer_files import describe_tokenizer, save_tokenizer
from .compose import compose_graph
from .networks import GenerateParts, trace_parts
from .settings import describe_generation

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
    """An exported model: its networks for other precisions, the fp32 graph as saved, its parts of the manifest."""

    parts: GenerateParts
    graph: ir.Model
    graph_file: str
    tokenizer: TokenizerSpec
    summarization: SummarizationSpec


def load_model(folder: Path, *, allow_pickle: bool = False) -> LoadedSummarizer:
    """Load a model and its tokenizer, after refusing families that cannot be reproduced.

    :raises BuildError: with the code `unsupported_model`, `unsafe_checkpoint` or `source`.
    """
    refuse_unknown_architecture(folder, {_MODEL_TYPE: _ARCHITECTURE})
    family = BartForConditionalGeneration
    return LoadedSummarizer(*load_checkpoint(family, folder, "generation", allow_pickle=allow_pickle))


def export_model(loaded: LoadedSummarizer, folder: Path, staging: Path) -> SummarizationExport:
    """Export a loaded model into `staging`: graph, tokenizer, and the configuration files of `folder`.

    :raises BuildError: with the code `unsupported_model` for what cannot be reproduced, all of it at once.
    """
    if problems := _problems(loaded):
        raise BuildError("unsupported_model", f"the model has {'; '.join(problems)}")
    config = loaded.model.config
    tokenizer = describe_tokenizer(loaded.tokenizer, config, _LIMIT_SETTING)
    spec = describe_generation(loaded.model.generation_config, config.max_position_embeddings, config.vocab_size)
    parts = trace_parts(loaded.model)
    graph = compose_graph(parts, spec, tokenizer.pad_token_id)
    _save_configuration(loaded, folder, staging)
    save_tokenizer(loaded.tokenizer, staging)
    file = graph_file("model", "fp32")
    save_graph(graph, staging, file)
    return SummarizationExport(parts, graph, file, tokenizer, spec)


def _save_configuration(loaded: LoadedSummarizer, folder: Path, staging: Path) -> None:
    shutil.copyfile(folder / "config.json", staging / "config.json")
    if (folder / _GENERATION_CONFIG).is_file():
        shutil.copyfile(folder / _GENERATION_CONFIG, staging / _GENERATION_CONFIG)
    else:  # an older checkpoint keeps its settings in config.json; transformers has found them there
        loaded.model.generation_config.to_json_file(staging / _GENERATION_CONFIG)


def _problems(loaded: LoadedSummarizer) -> list[str]:
    """What of a loaded model and its tokenizer cannot be reproduced, in words."""
    model, tokenizer, problems = loaded.model, loaded.tokenizer, []
    kind = type(model)
    if kind.__name__ != _ARCHITECTURE or not kind.__module__.startswith("transformers."):
        problems.append(f"the class {kind.__module__}.{kind.__name__}, not {_ARCHITECTURE}")
    table = model.model.shared.weight
    others = (model.model.encoder.embed_tokens.weight, model.model.decoder.embed_tokens.weight, model.lm_head.weight)
    if any(other.data_ptr() != table.data_ptr() for other in others):
        problems.append("tables of its own for encoder, decoder or scores, where all must share one")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [*problems, "a tokenizer that is not a fast one"]
    if type(backend.model).__name__ != "BPE":
        problems.append(
            f"a tokenizer of the kind {type(backend.model).__name__}, not BPE, whose texts transformers "
            "tidies up when it decodes"
        )
    if tokenizer.pad_token is None:
        problems.append("a tokenizer without a padding token")
    elif tokenizer.pad_token_id != model.generation_config.pad_token_id:
        problems.append(
            f"padding {model.generation_config.pad_token_id} in generation_config, "
            f"{tokenizer.pad_token_id} in the tokenizer"
        )
    if getattr(tokenizer, "split_special_tokens", False):
        problems.append(
            "a tokenizer that takes special tokens apart (split_special_tokens), which tokenizer.json cannot say"
        )
    return problems
