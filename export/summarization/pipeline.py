"""Exports checkpoints of BART, mBART and Pegasus: graph, tokenizer and configuration files.

`load_model` loads a model from a folder. `export_model` exports a loaded model, so that tests can export small ones.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from transformers import AutoModelForSeq2SeqLM

from ...artifacts.constants import EXACT, graph_file
from ...artifacts.errors import BuildError
from ...artifacts.families.summarization import SummarizationSpec
from ...artifacts.manifest_sections import TokenizerSpec
from ...graphs.files import save_graph
from ...graphs.summarization.composition import compose_graph
from ...graphs.summarization.parts import SummarizerParts
from ..checkpoints import load_checkpoint, refuse_unknown_architecture
from ..encoder_checks import refuse_dependence_on_padding
from ..tokenizer_files import describe_tokenizer, save_tokenizer
from .clean_up import with_clean_up
from .settings import describe_generation
from .tracing import trace_parts

# The class of each `model_type`
_ARCHITECTURES = {
    "bart": "BartForConditionalGeneration",
    "mbart": "MBartForConditionalGeneration",
    "pegasus": "PegasusForConditionalGeneration",
}
# The models of the tokenizers library whose decoded text tokenizer.json can reproduce
_TOKENIZER_MODELS = ("BPE", "Unigram")
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
    refuse_unknown_architecture(folder, _ARCHITECTURES)
    loaded = load_checkpoint(AutoModelForSeq2SeqLM, folder, "generation", allow_pickle=allow_pickle)
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
    refuse_dependence_on_padding(loaded.model, partial(_decoder_states, loaded.model), tokenizer, ["right"])
    parts = trace_parts(loaded.model)
    graph = compose_graph(parts, spec, tokenizer.pad_token_id)
    _save_configuration(loaded, folder, staging)
    save_tokenizer(with_clean_up(loaded.tokenizer), staging)
    file = graph_file("model", EXACT)
    save_graph(graph, staging, file)
    return SummarizationExport(parts, graph, file, tokenizer, spec)


def _decoder_states(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the last hidden states of the decoder, which reads the same tokens as the encoder."""
    states: torch.Tensor = model.model(input_ids=ids, attention_mask=mask, decoder_input_ids=ids).last_hidden_state
    return states


def _save_configuration(loaded: LoadedSummarizer, folder: Path, staging: Path) -> None:
    shutil.copyfile(folder / "config.json", staging / "config.json")
    if (folder / _GENERATION_CONFIG).is_file():
        shutil.copyfile(folder / _GENERATION_CONFIG, staging / _GENERATION_CONFIG)
    else:  # an older checkpoint has its settings in config.json, and transformers has read them from there
        loaded.model.generation_config.to_json_file(staging / _GENERATION_CONFIG)


def _problems(loaded: LoadedSummarizer) -> list[str]:
    """Return everything in a loaded model and its tokenizer that cannot be reproduced."""
    model, tokenizer, problems = loaded.model, loaded.tokenizer, []
    kind, known = type(model), _ARCHITECTURES.values()
    if kind.__name__ not in known or not kind.__module__.startswith("transformers."):
        problems.append(f"the class {kind.__module__}.{kind.__name__}, not one of {', '.join(known)}")
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
    if (kind := type(backend.model).__name__) not in _TOKENIZER_MODELS:
        problems.append(f"a {kind} tokenizer; only {' and '.join(_TOKENIZER_MODELS)} are supported")
    if tokenizer.pad_token is None:
        problems.append("a tokenizer without a padding token")
    if generation_config.pad_token_id is None:
        problems.append("no pad_token_id in generation_config: its decoder has no padding token")
    elif tokenizer.pad_token_id not in (None, generation_config.pad_token_id):
        problems.append(
            f"the padding token {generation_config.pad_token_id} in generation_config, but "
            f"{tokenizer.pad_token_id} in the tokenizer"
        )
    if getattr(tokenizer, "split_special_tokens", False):
        problems.append("a tokenizer with split_special_tokens, which tokenizer.json cannot express")
    return problems
